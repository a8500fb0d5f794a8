"""Measures live streams over loopback: prints one JSON line, what it means on stderr.

    python tests/measure_network.py                            # 5 M events/s for 60 s, delay at 1 M events/s, a pause
    python tests/measure_network.py --only delay --seconds 20

One process publishes through streams/server.py as `parafovea serve` does, 640x480, random pixels, LZ4. This one reads
through `tcp://`, so through dv-processing in its supervised child, into a Player as the page does. Events are stamped
with the host's clock when they are published: the delay is from there until they are in the player's buffer, where
the next picture or window shows them. The length of a picture or window is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
BATCH_S = 0.01
"""A camera hands over what happened in so long."""
AHEAD_S = 0.05
"""A publisher that is later than this gives up catching up by bursts, and says so."""
PAUSE_S = 4.0


def publish(rate_hz: float, seconds: float, compression: str) -> None:
    """Serve random events at rate_hz for `seconds` once somebody reads; the counts as JSON at the end."""
    from streams.server import Server
    from streams.types import Resolution, SourceInfo, events_from_columns

    rng, n = np.random.default_rng(0), round(rate_hz * BATCH_S)
    info = SourceInfo("measurement", Resolution(640, 480), None, live=True, events_origin="rendered")
    batches = [events_from_columns(np.sort(rng.integers(-round(BATCH_S * 1e6), 0, n)), rng.integers(0, 640, n),
                                   rng.integers(0, 480, n), rng.random(n) < 0.5) for _ in range(8)]
    offsets = [batch["t"].copy() for batch in batches]
    with Server(info, [("127.0.0.1", 0)], compression) as server:  # type: ignore[arg-type]
        print(server.places["events"], flush=True)
        while not server.n_clients:
            time.sleep(0.01)
        time.sleep(0.5)
        sent, worst_s, busy_s = 0, 0.0, time.process_time()
        start_s = time.monotonic()
        for number in range(round(seconds / BATCH_S)):
            due_s = start_s + number * BATCH_S
            time.sleep(max(0.0, due_s - time.monotonic()))
            late_s = time.monotonic() - due_s
            worst_s = max(worst_s, late_s)
            batch, offset = batches[number % 8], offsets[number % 8]
            # By the schedule, so that time never runs backwards; that the publisher was late counts as delay.
            np.add(offset, round(due_s * 1e6), out=batch["t"])
            server.publish(batch)
            sent += n
        took_s = time.monotonic() - start_s
        while not server.drained() and server.n_clients:
            time.sleep(0.01)
        busy_s = time.process_time() - busy_s
        # What the sockets hold is on its way; the reader ends the connection when it has it all.
        print(json.dumps({"sent": sent, "took_s": round(took_s, 2), "server_dropped": server.n_dropped,
                          "publisher_late_ms": round(worst_s * 1e3, 1), "publisher_cpu": round(busy_s / took_s, 2)}),
              flush=True)
        sys.stdin.read()


class Publisher:
    """A process that publishes; address: where. finish() gives its counts."""

    def __init__(self, rate_hz: float, seconds: float, compression: str) -> None:
        argv = [sys.executable, __file__, "--publish", str(rate_hz), str(seconds), compression]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._lines = self._process.stdout
        self.address = self._lines.readline().strip()

    def counts(self) -> dict[str, Any]:
        """Wait until all is sent."""
        return dict(json.loads(self._lines.readline()))

    def end(self) -> None:
        """Close the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def through_player(rate_hz: float, seconds: float, compression: str) -> dict[str, Any]:
    """Read everything into a player; delay of its newest event, asked for every 2 ms, and what was lost."""
    from streams.player import Player
    from streams.sources.tcp import open_source

    publisher = Publisher(rate_hz, seconds, compression)
    counting = Counting(open_source(f"tcp://{publisher.address}?frames=none", give_up_s=0))
    player = Player(counting, history_us=2_000_000).start()
    busy_s = time.process_time()
    start_s = time.monotonic()
    counts = publisher.counts()
    settle(counting, counts["sent"] - counts["server_dropped"])
    busy_s = (time.process_time() - busy_s) / (time.monotonic() - start_s)
    player.close()
    publisher.end()
    return counts | counting.counts() | {"reader_cpu": round(busy_s, 2)} | told("delay", counting.delays_s)


def with_a_pause(rate_hz: float, seconds: float, compression: str) -> dict[str, Any]:
    """Read, stop for PAUSE_S in the middle, read on: the oldest is lost, everything is counted."""
    from streams.sources.tcp import open_source

    publisher = Publisher(rate_hz, seconds, compression)
    source = Counting(open_source(f"tcp://{publisher.address}?frames=none", give_up_s=0))
    began_s, paused, newest_us = time.monotonic(), False, 0
    counts: dict[str, Any] | None = None
    for item in source:
        if len(item):
            newest_us = int(item["t"][-1])
        if not paused and time.monotonic() - began_s > seconds / 3:
            paused = True
            time.sleep(PAUSE_S)
            source.after_pause = True
        if time.monotonic() - began_s > seconds and len(item) == 0:
            counts = counts or publisher.counts()
            if source.n_events + source.losses.n_dropped >= counts["sent"] - counts["server_dropped"]:
                break
    source.close()
    publisher.end()
    return (counts or {}) | source.counts() | {"first_after_pause_late_ms": source.first_after_ms,
                                               "newest_us": newest_us}


class Counting:
    """A source that counts what passes through it and how late it is."""

    def __init__(self, source: Any) -> None:
        self._source, self.info, self.losses = source, source.info, source.losses
        self.n_events = 0
        self.delays_s: list[float] = []
        self.after_pause, self.first_after_ms = False, 0.0

    def __iter__(self) -> Any:
        for item in self._source:
            if len(item):
                late_s = time.monotonic() - int(item["t"][-1]) * 1e-6
                self.delays_s.append(late_s)
                if self.after_pause:
                    self.after_pause, self.first_after_ms = False, round(late_s * 1e3)
                self.n_events += len(item)
            yield item

    def counts(self) -> dict[str, Any]:
        """What arrived and what did not."""
        return {"delivered": self.n_events, "reader_dropped": self.losses.n_dropped,
                "rejected": self.losses.n_rejected}

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def settle(source: Counting, total: int) -> None:
    """Wait until all that was sent is delivered or counted, or nothing comes any more."""
    last, since_s = -1, time.monotonic()
    while (done := source.n_events + source.losses.n_dropped + source.losses.n_rejected) < total:
        if done != last:
            last, since_s = done, time.monotonic()
        if time.monotonic() - since_s > 3:
            return
        time.sleep(0.02)


def told(name: str, values_s: list[float]) -> dict[str, float]:
    """Quantiles in ms."""
    return {f"{name}_{label}_ms": round(float(np.quantile(values_s, share)) * 1e3, 1)
            for label, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))} if values_s else {}


def machine() -> dict[str, Any]:
    """What this was measured on."""
    from importlib.metadata import version

    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True,
                            text=True).stdout.strip()
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")] if Path("/proc/cpuinfo").exists() else [platform.processor()]
    return {"processor": names[0], "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "commit": commit,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "dv-processing", "lz4")}}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["loss", "delay", "pause"])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each part; the pause takes a third of it")
    parser.add_argument("--rate", type=float, default=5e6, help="events per second, of loss and pause")
    parser.add_argument("--compression", default="lz4")
    parser.add_argument("--publish", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.publish:
        publish(float(options.publish[0]), float(options.publish[1]), options.publish[2])
        return
    line: dict[str, Any] = {"type": "network", **machine()}
    parts = {"loss": lambda: through_player(options.rate, options.seconds, options.compression),
             "delay": lambda: through_player(1e6, options.seconds / 2, options.compression),
             "pause": lambda: with_a_pause(options.rate, max(12.0, options.seconds / 3), options.compression)}
    for name, measure in parts.items():
        if options.only in (None, name):
            line[name] = result = measure()
            lost = result["sent"] - result["delivered"]
            counted = result["server_dropped"] + result["reader_dropped"] + result["rejected"]
            result["uncounted"] = lost - counted
            print(f"{name}: {result}", file=sys.stderr)
    print(json.dumps(line))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
