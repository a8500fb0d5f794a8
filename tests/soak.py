"""Millions of events per second for minutes through the live path, to a consumer that pauses: is every loss counted?

    python tests/soak.py                          # 10 minutes at 5 M events/s; exit code 1 when it does not hold
    python tests/soak.py --minutes 1 --rate 2e6

A process in place of a camera hands events to the supervised child's protocol (shared slots, drop-oldest); this one
validates them, makes windows and sometimes stands still. Produced must equal delivered plus counted, in total and in
the windows, and the memory of both processes must be flat: after a tenth of the time each further tenth has the median
of all within 5 %. Linux only (reads /proc).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from streams.isolation_child import Parent, serve
from streams.supervised import SupervisedSource
from streams.types import Events, Losses, events_from_columns
from streams.windows import windows

PACKET_EVENTS, PACKET_US = 50_000, 10_000
WIDTH, HEIGHT = 640, 480
WINDOW_US = 50_000
SAMPLE_S, FLAT, PARTS = 0.5, 0.05, 10
"""Memory is looked at so often; the median of each part of the time but the first may differ by this share."""
BUSY_S, PAUSE_S = 3.0, (0.05, 1.5)
"""The consumer works for so long on the average, then stands still for a time between these."""


def produce(rate_hz: float, n_packets: int) -> None:
    """The process in place of a camera: n_packets of PACKET_EVENTS, at rate_hz or, for 0, as fast as they are taken."""
    parent, rng = Parent(), np.random.default_rng(0)
    parent.receive()
    parent.send("started")
    packets = [events_from_columns(np.sort(rng.integers(0, PACKET_US, PACKET_EVENTS)),
                                   rng.integers(0, WIDTH, PACKET_EVENTS), rng.integers(0, HEIGHT, PACKET_EVENTS),
                                   rng.random(PACKET_EVENTS) < 0.5) for _ in range(8)]
    offsets = [packet["t"].copy() for packet in packets]

    def read(start_us: int | None, frames: bool) -> Iterator[Events]:
        begin_s = time.monotonic()
        for number in range(n_packets):
            due_s = begin_s + number * PACKET_EVENTS / rate_hz if rate_hz else 0.0
            while (left_s := due_s - time.monotonic()) > 0:
                parent.beat()
                while message := parent.receive(wait=False):
                    parent.handle(message)
                time.sleep(min(left_s, 0.01))
            packet = packets[number % 8]
            np.add(offsets[number % 8], number * PACKET_US, out=packet["t"])
            yield packet

    serve(parent, {"sensor": "soak", "event_resolution": [WIDTH, HEIGHT], "frame_resolution": None,
                   "events_origin": "simulated", "frames_origin": None, "start_us": None, "end_us": None}, read, True)


@dataclass
class Soak:
    """What went in and what came out, in events; in_windows and windows_dropped: as the windows say. bytes: samples of
    the memory of both processes together."""

    produced: int
    delivered: int = 0
    dropped: int = 0
    rejected: int = 0
    in_windows: int = 0
    windows_dropped: int = 0
    newest_us: int = 0
    pauses: int = 0
    bytes: list[int] = field(default_factory=list, repr=False)

    def exact(self) -> bool:
        """Whether every event was delivered or counted, by the source and by the windows."""
        return (self.produced == self.delivered + self.dropped + self.rejected
                and (self.in_windows, self.windows_dropped) == (self.delivered, self.dropped))

    def spread(self) -> float:
        """Largest deviation of a part of the time from the whole, by medians of the memory, as a share."""
        later = np.array(self.parts()[1:])
        return float(np.abs(later / np.median(later) - 1).max())

    def parts(self) -> list[float]:
        """Median of the memory in each part of the time, bytes."""
        return [float(np.median(part)) for part in np.array_split(np.array(self.bytes), PARTS)]


class _Counting:
    """The source with a count of what passes through."""

    def __init__(self, source: SupervisedSource) -> None:
        self._source, self.info, self.losses = source, source.info, source.losses
        self.n_events = 0

    def __iter__(self) -> Iterator[Events]:
        for item in self._source:
            self.n_events += len(item)  # type: ignore[arg-type]
            yield item  # type: ignore[misc]


def soak(n_packets: int, rate_hz: float, pause: Callable[[int, Losses], bool]) -> Soak:
    """Run it; pause(windows so far, losses) may stand still, and says whether it did."""
    argv = [sys.executable, __file__, "--produce", str(rate_hz), str(n_packets)]
    found, told_s = Soak(n_packets * PACKET_EVENTS), 0.0
    with SupervisedSource({"task": "soak"}, "soak", child_argv=argv) as source:
        counting = _Counting(source)
        made = windows(counting, WINDOW_US, begin_us=0)  # type: ignore[arg-type]
        for number, window in enumerate(made):
            found.in_windows += len(window.events)
            found.windows_dropped += window.n_dropped
            found.newest_us = int(window.events["t"][-1]) if len(window.events) else found.newest_us
            found.pauses += pause(number, source.losses)
            if time.monotonic() - told_s > SAMPLE_S:
                told_s = time.monotonic()
                found.bytes.append(resident(os.getpid()) + resident(source._child._process.pid))
        found.delivered = counting.n_events
        found.dropped, found.rejected = source.losses.n_dropped, source.losses.n_rejected
    return found


def resident(pid: int) -> int:
    """Memory of a process in bytes, without what it shares."""
    total, shared = map(int, Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    return (total - shared) * os.sysconf("SC_PAGE_SIZE")


def sleeping(seed: int) -> Callable[[int, Losses], bool]:
    """A consumer that stands still now and then."""
    rng = np.random.default_rng(seed)
    busy_until_s = time.monotonic() + rng.exponential(BUSY_S)

    def pause(number: int, losses: Losses) -> bool:
        nonlocal busy_until_s
        if time.monotonic() < busy_until_s:
            return False
        time.sleep(rng.uniform(*PAUSE_S))
        busy_until_s = time.monotonic() + rng.exponential(BUSY_S)
        return True

    return pause


def main() -> None:
    """Run it by the clock and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=5e6, help="events per second")
    parser.add_argument("--produce", nargs=2, type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.produce:
        produce(options.produce[0], int(options.produce[1]))
        return
    started_s, busy_s = time.monotonic(), time.process_time()
    found = soak(round(options.minutes * 60 * options.rate / PACKET_EVENTS), options.rate, sleeping(0))
    seconds = time.monotonic() - started_s
    line = asdict(found) | {"type": "soak", "seconds": round(seconds, 1),
                            "rate_mev_s": round(found.produced / seconds / 1e6, 2),
                            "reader_cpu": round((time.process_time() - busy_s) / seconds, 2), "exact": found.exact(),
                            "memory_mb": round(float(np.median(found.bytes)) / 1e6, 1),
                            "memory_mb_by_part": [round(part / 1e6, 1) for part in found.parts()],
                            "largest_memory_mb": round(max(found.bytes) / 1e6, 1),
                            "memory_spread": round(found.spread(), 4)}
    del line["bytes"]
    print(f"{found.produced:,} produced = {found.delivered:,} delivered + {found.dropped:,} dropped + "
          f"{found.rejected:,} refused: {'exact' if found.exact() else 'NOT EXACT'}; {found.pauses} pauses; memory "
          f"{line['memory_mb']} MB +- {found.spread():.1%}", file=sys.stderr)
    print(json.dumps(line))
    sys.exit(0 if found.exact() and found.spread() <= FLAT else 1)


if __name__ == "__main__":
    main()
