"""What a recording is like, beyond counts: rates, silences, polarity, pixels, frames; in memory that does not grow.

    inspection = Inspection(source.info)
    for item in source: inspection.add(item)
    inspection.found().peak_10ms_hz
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from streams.filters.hot import hot_pixels
from streams.representations import pixel_index
from streams.types import EVENT_DTYPE, OPAQUE, Events, Frame, Packet, Resolution, SourceInfo

BIN_US = 10_000
MOST_BINS = 5_000_000
"""Recordings of more than 14 hours are counted in longer parts than 10 ms."""
CURVE_PARTS = 60
SILENCE_US = 100_000
GATHERED_EVENTS = 1 << 20
LISTED_PIXELS = 100


@dataclass(frozen=True)
class Spread:
    """The smallest, mean and largest of some values."""

    least: float
    mean: float
    most: float


@dataclass(frozen=True)
class Inspected:
    """What was found. Rates in events per second, times in seconds from the recording's start; None: not there.

    peak_10ms_hz, peak_1s_hz: in the busiest part of that length, parts begin with the recording. rates_hz: in
    CURVE_PARTS equal parts. n_silences: of at least 0.1 s between two events. x, y: smallest and largest place of
    an event. fired_share: of the pixels had an event. hot: (x, y, events) of the busiest hot pixels (by the rule of
    the filter `hot` over the whole recording), n_hot: all of them, hot_share: of the events are theirs.
    """

    mean_hz: float
    peak_10ms_hz: float | None
    peak_10ms_at_s: float | None
    peak_1s_hz: float | None
    peak_1s_at_s: float | None
    rates_hz: list[float]
    n_silences: int
    longest_silence_s: float | None
    longest_silence_at_s: float | None
    on_share: float | None
    x: tuple[int, int] | None
    y: tuple[int, int] | None
    fired_share: float | None
    n_hot: int
    hot_share: float
    hot: list[tuple[int, int, int]]
    frame_interval_s: Spread | None
    exposure_s: Spread | None

    def to_json(self) -> dict[str, Any]:
        """As plain data; spreads as [least, mean, most]."""
        return {name: [value.least, value.mean, value.most] if isinstance(value, Spread) else value
                for name, value in vars(self).items()}


class Inspection:
    """Collects what Inspected tells of a source with a known duration."""

    def __init__(self, info: SourceInfo) -> None:
        self._start_us, self._span_us = info.start_us or 0, (info.duration_us or 0) + 1
        self._bin_us = BIN_US * -(-self._span_us // (BIN_US * MOST_BINS))
        self._counts = np.zeros(-(-self._span_us // self._bin_us), np.int64)
        self._resolution = info.event_resolution or Resolution(1, 1)
        self._pixels = np.zeros(self._resolution.width * self._resolution.height, np.int64)
        self._waiting: list[Events] = []
        self._n_events = self._n_on = self._n_silences = 0
        self._last_us: int | None = None
        self._longest = (0, 0)
        self._intervals, self._exposures = _Running(), _Running()
        self._frame_us: int | None = None

    def add(self, item: Packet) -> None:
        """The next packet or Frame."""
        if isinstance(item, Frame):
            if self._frame_us is not None:
                self._intervals.add((item.t_us - self._frame_us) * 1e-6)
            self._frame_us = item.t_us
            self._exposures.add(item.exposure_us * 1e-6)
        elif len(item):
            self._waiting.append(item)
            self._n_events += len(item)
            if sum(map(len, self._waiting)) >= GATHERED_EVENTS:
                self._count()

    def _count(self) -> None:
        if not self._waiting:
            return
        # As opaque items: numpy copies structured ones field by field, 13 times as slow (measured).
        events = np.concatenate([packet.view(OPAQUE) for packet in self._waiting]).view(EVENT_DTYPE)
        self._waiting = []
        self._n_on += int(np.count_nonzero(events["p"]))
        self._pixels += np.bincount(pixel_index(events, self._resolution), minlength=len(self._pixels))
        t = events["t"].copy()
        first, last = (min(max(0, (int(edge) - self._start_us) // self._bin_us), len(self._counts) - 1)
                       for edge in (t[0], t[-1]))
        edges = self._start_us + self._bin_us * np.arange(first + 1, last + 1)
        self._counts[first:last + 1] += np.diff([0, *np.searchsorted(t, edges), len(t)])
        steps = np.diff(t, prepend=t[0] if self._last_us is None else self._last_us)
        self._n_silences += int(np.count_nonzero(steps >= SILENCE_US))
        longest = int(steps.argmax())
        self._longest = max(self._longest, (int(steps[longest]), int(t[longest] - steps[longest])))
        self._last_us = int(t[-1])

    def found(self) -> Inspected:
        """Everything, of what was added so far."""
        self._count()
        counts = self._pixels.reshape(self._resolution.hw)
        hot = hot_pixels(counts)
        rows, columns = np.nonzero(hot)
        order = np.argsort(-counts[hot], kind="stable")[:LISTED_PIXELS]
        xs, ys = np.flatnonzero(counts.any(axis=0)), np.flatnonzero(counts.any(axis=1))
        peak, second = self._peak(1), self._peak(1_000_000 // self._bin_us)
        silence_us, silence_at_us = self._longest
        has = self._n_events > 0
        return Inspected(
            self._n_events / (self._span_us * 1e-6), *peak, *second, self._curve(), self._n_silences,
            silence_us * 1e-6 if has else None, (silence_at_us - self._start_us) * 1e-6 if silence_us else None,
            self._n_on / self._n_events if has else None,
            (int(xs[0]), int(xs[-1])) if has else None, (int(ys[0]), int(ys[-1])) if has else None,
            float(np.count_nonzero(counts) / counts.size) if has else None, len(rows),
            float(counts[hot].sum() / self._n_events) if has else 0.0,
            [(int(columns[at]), int(rows[at]), int(counts[rows[at], columns[at]])) for at in order],
            self._intervals.spread(), self._exposures.spread())

    def _peak(self, bins: int) -> tuple[float | None, float | None]:
        """(Rate, begin) of the busiest whole part of so many bins; a last part of one bin may be shorter."""
        n_parts = len(self._counts) // bins if bins else 0
        if not n_parts or not self._n_events:
            return None, None
        sums = self._counts[:n_parts * bins].reshape(n_parts, bins).sum(axis=1)
        busiest, part_s = int(sums.argmax()), bins * self._bin_us * 1e-6
        return float(sums[busiest] / part_s), busiest * part_s

    def _curve(self) -> list[float]:
        """Rates in CURVE_PARTS parts, or in as many as there are bins."""
        edges = np.linspace(0, len(self._counts), min(CURVE_PARTS, len(self._counts)) + 1).astype(int)
        sums = np.add.reduceat(self._counts, edges[:-1])
        return [float(rate) for rate in np.round(sums / (np.diff(edges) * self._bin_us * 1e-6), 1)]


class _Running:
    """Smallest, sum and largest of values that come one by one."""

    def __init__(self) -> None:
        self._n, self._sum, self._least, self._most = 0, 0.0, float("inf"), float("-inf")

    def add(self, value: float) -> None:
        self._n, self._sum = self._n + 1, self._sum + value
        self._least, self._most = min(self._least, value), max(self._most, value)

    def spread(self) -> Spread | None:
        return Spread(self._least, self._sum / self._n, self._most) if self._n else None
