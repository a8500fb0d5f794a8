"""`cameras`, `record` and `serve`: what is attached, a live source into a file, a source onto the network."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app import terminal
from app.compose import quiet_libraries
from streams.filtering import filtered
from streams.reconnection import shifted
from streams.sources import open_leniently
from streams.timeline import begins_us
from streams.types import Frame, InputError, Losses, Packet, Samples, Source

if TYPE_CHECKING:
    from streams.server import Server

LOOP_GAP_US = 10_000
"""Between the last event of a recording and its first one, when it begins again."""
TELL_S = 1.0
"""So often the terminal says how it goes."""


def cameras(as_json: bool) -> None:
    """List the event cameras that are attached."""
    from streams.sources.dv import discover

    found = discover()
    for camera in found:
        if as_json:
            terminal.print_json({"type": "camera", **camera})
        else:
            terminal.page.print(f"{camera['uri']}  {camera['model']}, firmware {camera['firmware']}, "
                                f"USB {camera['usb']}")
            terminal.page.print(f"    options: {camera['uri']}?{'&'.join(camera['options'])}")
    if as_json:
        terminal.print_json({"type": "cameras", "count": len(found)})
    elif not found:
        terminal.people.print("no event camera is attached; webcam://0 and synthetic://0 need none")


def record(uri: str, out: Path, seconds: float | None, compression: str, filters: Sequence[str] = ()) -> None:
    """Write a source to an AEDAT4 file until it ends, Ctrl-C, or `seconds` of its own time are over."""
    quiet_libraries()
    from streams.recorder import Recorder

    if seconds is not None and not 0 < seconds < math.inf:
        raise InputError(f"--seconds must be positive, got {seconds:g}")
    recorders: list[Recorder] = []
    n_samples: Counter[str] = Counter()

    def keep(samples: Samples) -> None:
        for recorder in recorders:  # none while a filter learns: that part is read once more
            recorder.write(samples)
            n_samples[samples.kind] += len(samples.data)

    with filtered(terminal.opened(uri, lambda uri: open_leniently(uri, sensors=keep)), filters) as source:
        info = source.info
        if info.duration_us is None and not info.live and seconds is None:
            raise InputError(f"{info.name} never ends; say with --seconds how much of it to record")
        reconstructed = info.frames_origin == "reconstructed"
        n_events = n_frames = 0
        # Frames that a reader makes of the events need not be stored: it makes them again.
        recorder = Recorder(out, info.event_resolution, None if reconstructed else info.frame_resolution,
                            info.events_origin, None if reconstructed else info.frames_origin,
                            info.sensor or info.name, compression,  # type: ignore[arg-type]
                            sensors=bool(info.samples), filters=info.filters)
        recorders.append(recorder)
        with recorder, terminal.people.status("recording, Ctrl-C ends") as status, \
                contextlib.suppress(KeyboardInterrupt):
            told_s = 0.0
            for item in _for_seconds(source, seconds):
                if isinstance(item, Frame):
                    if not reconstructed:
                        recorder.write(item)
                        n_frames += 1
                else:
                    recorder.write(item)
                    n_events += len(item)
                if time.monotonic() - told_s > TELL_S:
                    told_s = time.monotonic()
                    status.update(_progress(n_events, n_frames, recorder.n_bytes, source.losses))
        also = f", {n_samples['imu']:,} IMU samples, {n_samples['triggers']:,} triggers" if n_samples else ""
        terminal.people.print(f"{out}: {_progress(n_events, n_frames, recorder.n_bytes, source.losses)}{also}")
        terminal.say_filtered(source)
        if source.losses.skew:
            terminal.people.print(source.losses.skew, style="dim")
        if source.losses.damage:
            terminal.people.print(f"parafovea: {source.losses.damage}", style="yellow")


def _progress(n_events: int, n_frames: int, n_bytes: int, losses: Losses) -> str:
    return ", ".join([f"{n_events:,} events", f"{n_frames:,} frames", f"{n_bytes / 1e6:.1f} MB",
                      *terminal.lost(losses)])


def _for_seconds(source: Source, seconds: float | None) -> Iterator[Packet]:
    """The items of the first `seconds` of the source's own time; None = all."""
    end_us: int | None = None
    for item in source:
        begin_us = begins_us(item)
        if seconds is not None and begin_us is not None:
            end_us = begin_us + round(seconds * 1e6) if end_us is None else end_us
            if isinstance(item, Frame):
                if item.t_us >= end_us:
                    return
            elif item["t"][-1] >= end_us:
                yield item[item["t"] < end_us]
                return
        yield item


def serve(uri: str, host: str, ports: Sequence[int | None], sockets: tuple[Path, ...], speed: float,
          loop: bool, compression: str, filters: Sequence[str] = ()) -> None:
    """Publish a source until it ends or Ctrl-C; a recording at its own pace.

    ports: of events, frames, IMU and triggers, 0 = any free one, None = that much above the port of the events.
    """
    quiet_libraries()
    from streams.server import KINDS, Place, Server

    if not 0 < speed < math.inf:
        raise InputError(f"--speed must be positive, got {speed:g}")
    if len(sockets) > len(KINDS):
        raise InputError(f"{len(sockets)} sockets are given; at most {len(KINDS)} are used: for {', '.join(KINDS)}")
    first = ports[0] or 0
    places: list[Place] = [*sockets] or [(host, (first and first + number) if port is None else port)
                                         for number, port in enumerate(ports)]
    samples: deque[Samples] = deque()
    with (filtered(terminal.opened(uri, lambda uri: open_leniently(uri, sensors=samples.append)), filters) as source,
          Server(source.info, places, compression) as server):  # type: ignore[arg-type]
        samples.clear()  # a filter that learned has read the first part, which comes once more
        terminal.people.print(f"{source.info.name} is served at {server.uri} (Ctrl-C ends)", soft_wrap=True)
        if server.unserved:
            terminal.people.print(f"parafovea: {' and '.join(server.unserved)} not served: give a --socket for each of "
                                  f"{', '.join(KINDS)}, in this order", style="yellow")
        sent = 0
        with terminal.people.status("serving") as status, contextlib.suppress(KeyboardInterrupt):
            told_s = 0.0
            for item in paced(source, None if source.info.live else speed, loop, samples):
                server.publish(item)
                sent += len(item) if isinstance(item, np.ndarray) else 0
                if time.monotonic() - told_s > TELL_S:
                    told_s = time.monotonic()
                    status.update(_served(sent, server, source.losses))
            # What still waits is on its way: a reader gets the end of the recording too.
            deadline_s = time.monotonic() + 5
            while not server.drained() and time.monotonic() < deadline_s:
                time.sleep(0.01)
        terminal.people.print(_served(sent, server, source.losses))
        terminal.say_filtered(source)


def _served(sent: int, server: Server, losses: Losses) -> str:
    before = terminal.lost(losses)
    lost = [f"{server.n_dropped:,} events", *(
        f"{count:,} {what}" for count, what in ((server.n_frames_dropped, "frames"),
                                                (server.n_samples_dropped, "samples")) if count)]
    return (f"{sent:,} events, {server.n_clients} readers, {' and '.join(lost)} lost by slow readers"
            + (f"; of the source: {', '.join(before)}" if before else ""))


def paced(source: Source, speed: float | None, loop: bool = False,
          samples: deque[Samples] | None = None) -> Iterator[Packet | Samples]:
    """The items, each not before it is due by the source's own clock; speed None = as they come.

    loop: again and again, in a time that goes on. samples: where the source puts those of the IMU and triggers while it
    is read; they are taken out and come between the items.
    """
    start: tuple[float, int] | None = None
    shift_us = 0
    while True:
        first_us = last_us = None
        for item in _with_samples(source, samples):
            if (span_us := _span_us(item)) is not None:
                first_us = min(span_us[0], span_us[0] if first_us is None else first_us)
                last_us = max(span_us[1], span_us[1] if last_us is None else last_us)
                item = shifted(item, shift_us) if shift_us else item
                if speed is not None:
                    due_us = span_us[0] + shift_us
                    start = start or (time.monotonic(), due_us)
                    time.sleep(max(0.0, start[0] + (due_us - start[1]) / 1e6 / speed - time.monotonic()))
            yield item
        if not loop or source.info.live or first_us is None or last_us is None:
            return
        shift_us += last_us + LOOP_GAP_US - first_us
        source.seek(first_us)


def _with_samples(source: Source, samples: deque[Samples] | None) -> Iterator[Packet | Samples]:
    """Everything, samples after the item that was handed over before them."""
    for item in source:
        while samples:
            yield samples.popleft()
        yield item
    while samples:
        yield samples.popleft()


def _span_us(item: Packet | Samples) -> tuple[int, int] | None:
    """Begin and end of an item, None of an empty packet."""
    if isinstance(item, Frame):
        return item.begin_us, item.t_us
    t = (item.data if isinstance(item, Samples) else item)["t"]
    return (int(t[0]), int(t[-1])) if len(t) else None
