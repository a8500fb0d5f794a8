"""How fast events come in: what `bench --ingest` measures, each as a function of files and numbers.

    path = write_recording(folder, moving_edges(4_000_000, SENSOR))
    isolated_seconds(path) ; bare_seconds("dv_processing", path) ; live_delays_ms(1_000_000, seconds=10)

Rates are of the best of several rounds, so that other programs disturb them least.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from streams.dv_child.bare import Columns, digest
from streams.filtering import filtered
from streams.recorder import Recorder
from streams.sources import open_source
from streams.types import (
    Events,
    Frame,
    InputError,
    Losses,
    Packet,
    Resolution,
    Source,
    SourceInfo,
    events_from_columns,
)
from streams.windows import latest_windows

SENSOR = Resolution(640, 480)
PACKET_US = 10_000
"""Events come in packets of this time, as dv-processing's cameras hand them over by default."""
PEER_S = 300.0
"""Patience for a library that reads by itself."""


def moving_edges(count: int, resolution: Resolution, rate_hz: float = 5e6, edges: int = 24, seed: int = 0) -> Events:
    """Sorted events [count] along straight edges that move over the sensor, with scatter, at a constant rate."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, max(1, int(count / rate_hz * 1e6)), count))
    which, along = rng.integers(0, edges, count), rng.uniform(-1, 1, count)
    side = np.array([resolution.width, resolution.height])
    angle, length = rng.uniform(0, np.pi, edges), rng.uniform(0.03, 0.25, edges) * side[0]
    half = length[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    start, speed = rng.uniform(0, 1, (edges, 2)) * side, rng.uniform(-0.5, 0.5, (edges, 2)) * side
    place = start[which] + speed[which] * t[:, None] * 1e-6 + half[which] * along[:, None]
    x, y = np.floor(place + rng.normal(0, 1, place.shape)).astype(np.int64).T % side[:, None]
    return events_from_columns(t, x, y, rng.random(count) < 0.5)


def packets_of(events: Events) -> Iterator[Events]:
    """Events cut every PACKET_US."""
    edges = np.arange(int(events["t"][0]), int(events["t"][-1]) + 1, PACKET_US)[1:]
    yield from np.split(events, np.searchsorted(events["t"], edges))


def write_recording(path: Path, events: Events, spec: str = "") -> float:
    """Write an AEDAT4 of events (LZ4), of those that pass a filter, with our recorder; seconds that it took."""
    with filtered(_Packets(list(packets_of(events))), [spec] if spec else []) as source:
        started_s = time.perf_counter()
        with Recorder(path, source.info.event_resolution, None, "simulated", None, compression="lz4",
                      filters=source.info.filters) as recorder:
            for packet in source:
                recorder.write(packet)
    return time.perf_counter() - started_s


class _Packets:
    """Packets as a live source, so that no filter reads any of them beforehand."""

    def __init__(self, packets: list[Events]) -> None:
        self._packets, self.losses = packets, Losses()
        self.info = SourceInfo("bench", SENSOR, None, live=True, events_origin="simulated")

    def __iter__(self) -> Iterator[Packet]:
        yield from self._packets

    def seek(self, t_us: int) -> None:
        """Not possible."""
        raise InputError("packets cannot be sought in")

    def rate_histogram(self, bins: int) -> np.ndarray:
        """Nothing is known beforehand."""
        return np.zeros(bins, np.int64)

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> _Packets:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def best_of(rounds: int, action: Callable[[], object]) -> float:
    """Seconds of the fastest of several rounds."""
    seconds = []
    for _ in range(rounds):
        started_s = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started_s)
    return min(seconds)


def read_all(source: Source) -> int:
    """Read a recording from its start; the number of its events."""
    source.seek(source.info.start_us or 0)
    return sum(len(item) for item in source if not isinstance(item, Frame))


def reading(path: Path, rounds: int) -> tuple[float, float, list[int]]:
    """(seconds to open, seconds to read, digest) of a recording through `streams`, as the program reads it."""
    started_s = time.perf_counter()
    with open_source(str(path), reconstruct_frames=False) as source:
        opened_s = time.perf_counter() - started_s
        seconds = best_of(rounds, lambda: read_all(source))
        source.seek(source.info.start_us or 0)
        return opened_s, seconds, digest(_columns(source))


def _columns(source: Source) -> Iterator[Columns]:
    for item in source:
        assert not isinstance(item, Frame)
        yield item["t"], item["x"], item["y"], item["p"]


def bare_reading(library: str, path: Path, rounds: int) -> tuple[float, list[int]]:
    """(seconds, digest) of a library that reads an AEDAT4 by itself, in a process of its own. Raises InputError."""
    command = [sys.executable, "-P", "-m", "streams.dv_child.bare", library, str(path), str(rounds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PEER_S, check=True,
                              cwd=Path(__file__).resolve().parent.parent)
        line = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()[-1:] or ["it crashed"]
        raise InputError(f"{library} did not read the file ({reason[0]})") from None
    except (subprocess.TimeoutExpired, ValueError):
        raise InputError(f"{library} did not read the file within {PEER_S:g} s") from None
    return line["seconds"], line["digest"]


def other_formats() -> dict[str, str]:
    """Formats that we can write, beside AEDAT4, and their suffixes."""
    from streams.targets import FORMATS

    return {names[0]: suffix for suffix, names in FORMATS.items() if names[0] != "aedat4"} | {"evt2": ".raw"}


def write_format(name: str, path: Path, events: Events) -> None:
    """Write events in a format. Raises InputError for a library that is missing."""
    from streams.targets import open_target
    from streams.targets.content import Facts

    facts = Facts(SENSOR, "simulated", start_us=int(events["t"][0]), end_us=int(events["t"][-1]) + 1)
    with open_target(name, path, facts) as target:
        for packet in packets_of(events):
            target.write(packet)


def images() -> dict[str, Callable[[Events], object]]:
    """Ways of drawing events at SENSOR; the names begin with the library that draws. Tensors are made within; on them
    polarities are drawn in compiled C where a compiler is found, and once more without."""
    from pipeline import native
    from pipeline import representations as tensors
    from pipeline.event_images import render
    from streams import representations as arrays

    def on_wins(events: Events, compiled: bool) -> object:
        native.switch(compiled)
        try:
            return tensors.polarity_image(tensors.event_tensor(events), SENSOR, "positive")
        finally:
            native.switch(True)

    native.switch(True)
    return {
        "numpy ON wins": lambda events: arrays.polarity_image(events, SENSOR, "positive"),
        "numpy last wins": lambda events: arrays.polarity_image(events, SENSOR, "last"),
        "numpy counts": lambda events: arrays.event_counts(events, SENSOR),
        "numpy EventGPT's RGB": lambda events: render(events, SENSOR),
        "torch ON wins": lambda events: on_wins(events, compiled=True),
        "torch ON wins, not compiled": lambda events: on_wins(events, compiled=False),
        "torch last wins": lambda events: tensors.polarity_image(tensors.event_tensor(events), SENSOR, "last"),
        "torch counts": lambda events: tensors.event_counts(tensors.event_tensor(events), SENSOR),
    }


def _publish(pipe: Connection, rate_hz: float, seconds: float) -> None:
    """A process that serves events whose times are those of the clock at which they are published."""
    from streams.server import Server

    info = SourceInfo("bench", SENSOR, None, live=True, events_origin="simulated")
    events = moving_edges(round(rate_hz * 1e-6 * PACKET_US), SENSOR, rate_hz)
    with Server(info, [("127.0.0.1", 0)]) as server:
        pipe.send(server.places["events"])
        while server.n_clients == 0:
            time.sleep(0.001)
        begin_s, n_sent = time.monotonic(), 0
        for number in range(1, round(seconds * 1e6 / PACKET_US) + 1):
            time.sleep(max(0.0, begin_s + number * PACKET_US * 1e-6 - time.monotonic()))
            packet = events.copy()
            packet["t"] += round(time.monotonic() * 1e6) - int(events["t"][-1])
            # Two packets never overlap: the clock may have stood still for less than a packet's length.
            packet["t"] = np.maximum(packet["t"], round(begin_s * 1e6) + (number - 1) * PACKET_US)
            server.publish(packet)
            n_sent += len(packet)
        while not server.drained():
            time.sleep(0.001)
        pipe.send((n_sent, server.n_dropped))
        pipe.recv()


def live_delays(rate_hz: float, seconds: float, window_us: int,
                show: Callable[[Events], object]) -> dict[str, float | int]:
    """Delay over the real tcp:// path on this machine: from the end of a window, by the clock at which its last events
    were published, until it was read, made a window and drawn with `show`. In ms, with what was lost."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_publish, args=(theirs, rate_hz, seconds), daemon=True)
    process.start()
    delays_us, first_us = list[float](), None
    try:
        with open_source(f"tcp://{ours.recv()}?frames=none", give_up_s=0) as source:
            newest = latest_windows(source, window_us)
            for window in newest:
                show(window.events)
                delays_us.append(time.monotonic() * 1e6 - window.end_us)
                first_us = window.start_us if first_us is None else first_us
                if window.end_us - first_us > seconds * 1e6 - 3 * window_us:
                    break
            n_sent, n_server = ours.recv()
            n_source, n_skipped = source.losses.n_dropped, newest.n_skipped
            newest.close()
    finally:
        ours.send(None)
        process.join(5)
        process.kill()
    # The first windows also start the reader.
    late = np.array(delays_us[len(delays_us) // 10:]) / 1e3
    return {"rate_mev_s": rate_hz / 1e6, "seconds": seconds, "window_ms": window_us / 1e3, "windows": len(delays_us),
            "p50_ms": round(float(np.percentile(late, 50)), 2), "p95_ms": round(float(np.percentile(late, 95)), 2),
            "max_ms": round(float(late.max()), 2), "n_sent": n_sent, "n_dropped": n_server + n_source,
            "windows_skipped": n_skipped}
