"""A refractory period: after an event that passed, its pixel is silent for a while."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.filtering import Selection, number
from streams.types import Events, Resolution

USAGE = "refractory:MS", "no event of a pixel within MS of its last one that passed"

NEVER = -(1 << 62)


def create(value: str) -> RefractoryPeriod:
    """The filter for a time in ms; InputError for anything else."""
    return RefractoryPeriod(round(1000 * number("refractory", value, 0.001, 10_000, "milliseconds")))


@dataclass
class RefractoryPeriod(Selection):
    """Lets an event through when the last one of its pixel that passed is at least period_us ago."""

    period_us: int

    def prepare(self, resolution: Resolution, sensor: str) -> Resolution:
        """Begin on events of this resolution."""
        self._width = resolution.width
        self._passed_us = np.full(resolution.width * resolution.height, NEVER, np.int64)
        return resolution

    def reset(self) -> None:
        """Forget the events before."""
        self._passed_us.fill(NEVER)

    def keep(self, events: Events) -> np.ndarray:
        """Which events pass, bool [n]."""
        pixel = events["y"].astype(np.int32) * self._width + events["x"]
        order = _by_pixel(pixel)
        pixel, t = pixel[order], events["t"][order]
        begins = np.ones(len(t), bool)
        begins[1:] = pixel[1:] != pixel[:-1]
        # Long after the event before it, whether that one passed or not, an event passes.
        since_us = np.empty_like(t)
        since_us[1:] = t[1:] - t[:-1]
        since_us[begins] = t[begins] - self._passed_us[pixel[begins]]
        passes = since_us >= self.period_us
        self._within_bursts(t, pixel, begins | passes, passes)
        self._passed_us[pixel[passes]] = t[passes]
        kept = np.empty(len(t), bool)
        kept[order] = passes
        return kept

    def _within_bursts(self, t: np.ndarray, pixel: np.ndarray, heads: np.ndarray, passes: np.ndarray) -> None:
        """Of events that follow each other closely at one pixel, let one pass per period: all bursts in parallel."""
        head = np.flatnonzero(heads)
        stop = np.append(head[1:], len(t))
        last_us = np.where(passes[head], t[head], self._passed_us[pixel[head]])
        # Times that grow from burst to burst, so that one search serves all of them.
        start_us = int(t.min())
        shift = np.arange(len(head)) * (int(t.max()) - start_us + self.period_us + 2) - start_us
        grown = t + np.repeat(shift, stop - head)
        open_ = np.flatnonzero(t[stop - 1] - last_us >= self.period_us)
        while len(open_):
            found = np.searchsorted(grown, last_us[open_] + self.period_us + shift[open_])
            passes[found] = True
            last_us[open_] = t[found]
            open_ = open_[t[stop[open_] - 1] - last_us[open_] >= self.period_us]


def _by_pixel(pixel: np.ndarray) -> np.ndarray:
    """Indices that sort by pixel and leave the order within each."""
    # numpy sorts 16 bits by radix; twice that is four times as fast as sorting 32 (measured)
    low = np.argsort(pixel.astype(np.uint16), kind="stable")
    return low[np.argsort((pixel >> 16).astype(np.uint16)[low], kind="stable")]
