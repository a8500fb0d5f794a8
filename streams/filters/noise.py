"""Background activity: what a pixel tells although nothing happens there (Delbruck 2008, "Frame-free dynamic digital
vision").

An event passes when one of the eight pixels around its own had an event within the time before it. Its own pixel does
not count, so that hot pixels do not support themselves; polarity does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streams.filtering import Selection, number
from streams.types import Events, Resolution

USAGE = "noise[:MS]", "no background activity: only events with one beside them in the MS (default 5) before"

DEFAULT_MS = "5"
LONGEST_US = 1_000_000
NEVER, LATE = -(1 << 30), np.iinfo(np.int32).max
REBASE_US = 1 << 30
"""Times are kept in 32 bit, relative to a moment that moves along when they get larger than this."""
MOST_EVENTS = 8192
"""Of one stretch: what is computed for it fits a processor's cache."""


def create(value: str) -> BackgroundActivity:
    """The filter for a time in ms; InputError for anything else."""
    ms = number("noise", value or DEFAULT_MS, 0.1, LONGEST_US / 1000, "milliseconds")
    return BackgroundActivity(round(1000 * ms))


@dataclass
class BackgroundActivity(Selection):
    """Lets events through that had company within within_us before them."""

    within_us: int

    def prepare(self, resolution: Resolution, sensor: str) -> Resolution:
        """Begin on events of this resolution."""
        # a rim of one pixel spares the question whether a neighbour exists
        self._width = resolution.width + 2
        self._newest_us = np.full(self._width * (resolution.height + 2), NEVER, np.int32)
        self._first = np.full(self._newest_us.size, LATE, np.int32)
        self._around = np.array([row * self._width + column for row in (-1, 0, 1) for column in (-1, 0, 1)
                                 if row or column])[:, None]
        self._epoch_us = 0
        return resolution

    def reset(self) -> None:
        """Forget the events before."""
        self._newest_us.fill(NEVER)

    def keep(self, events: Events) -> np.ndarray:
        """Which events pass, bool [n]."""
        t = np.ascontiguousarray(events["t"])
        pixel = events["y"].astype(np.intp)
        pixel += 1
        pixel *= self._width
        pixel += events["x"]
        pixel += 1
        kept = np.empty(len(t), bool)
        for part in self._parts(t):
            self._rebase(int(t[part.start]))
            kept[part] = self._accompanied((t[part] - self._epoch_us).astype(np.int32), pixel[part])
        return kept

    def _parts(self, t: np.ndarray) -> Iterator[slice]:
        """Stretches no longer than within_us: inside one, every earlier event is recent."""
        start = 0
        while start < len(t):
            near = np.searchsorted(t[start:start + MOST_EVENTS], t[start] + self.within_us, "right")
            stop = start + max(1, int(near))
            yield slice(start, stop)
            start = stop

    def _rebase(self, now_us: int) -> None:
        passed_us = now_us - self._epoch_us
        if not 0 <= passed_us < REBASE_US:
            older = self._newest_us.astype(np.int64) - passed_us
            self._newest_us = np.clip(older, NEVER, 0).astype(np.int32)
            self._epoch_us = now_us

    def _accompanied(self, t: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        """Which events of one stretch have an event beside them that is recent, or earlier in the stretch itself."""
        place = np.arange(len(t), dtype=np.int32)
        # of repeated indices the last assignment stays, which is a pixel's first event here
        self._first[pixel[::-1]] = place[::-1]
        beside = self._around + pixel
        kept: np.ndarray = (self._newest_us.take(beside).max(0) >= t - self.within_us) \
            | (self._first.take(beside).min(0) < place)
        self._newest_us[pixel] = t
        self._first[pixel] = LATE
        return kept
