"""Frames of a DAVIS out of the samples of its pixels in AEDAT 2.0.

    shutter = Shutter(Resolution(240, 180), starting_pixel(records))
    for frame in shutter.frames(address, t_us): ...

Specification: jAER's DavisChip. Every pixel is read twice, after its reset and at the end of its exposure; the darker
a pixel, the less its value has fallen. Bits of an address: 31 sample, 22-30 y, 12-21 x, 10-11 kind of reading,
0-9 value.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from streams.types import Frame, Resolution

APS = 1 << 31
RESET, SIGNAL = 0, 1
WHOLE_SHARE = 0.95
"""Share of the pixels that must have been read twice."""
MOST_CHUNKS = 64
"""Chunks of a file that a frame can take; one that takes longer is not a frame."""


def _kind(address: np.ndarray) -> np.ndarray:
    """RESET, SIGNAL or another number for samples [n]."""
    return (address >> 10) & 3


def _pixel(address: np.ndarray) -> np.ndarray:
    """Row (bits 10 and up) and column of samples [n] in one number."""
    return (address >> 12) & 0x7FFFF


def starting_pixel(records: np.ndarray) -> int | None:
    """The pixel that a frame begins with: of those at a corner, the one before which there is the longest pause.

    records: structured [n] with address and t; None without samples.
    """
    address = records["address"].astype(np.int64)
    samples = ((address & APS) != 0) & (_kind(address) <= SIGNAL)
    address, t = address[samples], records["t"][samples].astype(np.int64)
    if len(address) == 0:
        return None
    pixel = _pixel(address)
    columns, rows = pixel & 0x3FF, pixel >> 10
    pause = np.diff(t, prepend=t[0])
    at_corner = np.isin(columns, (columns.min(), columns.max())) & np.isin(rows, (rows.min(), rows.max()))
    starts = at_corner & (_kind(address) == RESET)
    if not starts.any():
        return None
    corners = np.unique(pixel[starts])
    return int(max(corners, key=lambda corner: pause[starts & (pixel == corner)].mean()))


class Shutter:
    """Gathers samples until a frame is whole.

    is_open: a frame has begun. patience: chunks to wait for its end.
    """

    def __init__(self, resolution: Resolution, start: int | None) -> None:
        self.is_open, self.patience = False, MOST_CHUNKS
        self._resolution, self._start = resolution, start
        self._values = np.full((2, *resolution.hw), -1, np.int16)
        self._begin_us = self._end_us = 0

    def frames(self, address: np.ndarray, t_us: np.ndarray) -> list[Frame]:
        """The frames that are whole after the records [n] of a chunk, oldest first."""
        samples = np.flatnonzero(((address & APS) != 0) & (_kind(address) <= SIGNAL))
        if self._start is None or len(samples) == 0:
            return []
        address, t_us = address[samples], t_us[samples]
        starts = np.flatnonzero((_kind(address) == RESET) & (_pixel(address) == self._start))
        n_pixels = self._resolution.width * self._resolution.height
        # Nearer to each other they are not frames but damage.
        starts = starts[np.diff(starts, prepend=-n_pixels) > n_pixels // 2]
        found: list[Frame] = []
        for part, (begin, end) in enumerate(pairwise([0, *starts, len(address)])):
            if part:
                found += self._finished()
                self.is_open, self._begin_us = True, int(t_us[begin])
            self._take(address[begin:end], t_us[begin:end])
        if self.is_open and self._share() == 1:
            found += self._finished()
        return found

    def _take(self, address: np.ndarray, t_us: np.ndarray) -> None:
        if not self.is_open or len(address) == 0:
            return
        x, y = (address >> 12) & 0x3FF, (address >> 22) & 0x1FF
        inside = (x < self._resolution.width) & (y < self._resolution.height)
        address, x, y = address[inside], x[inside], y[inside]
        self._values[_kind(address), self._resolution.height - 1 - y, x] = address & 0x3FF
        self._end_us = int(t_us[-1])

    def _share(self) -> float:
        return float(np.mean(self._values.min(axis=0) >= 0))

    def _finished(self) -> list[Frame]:
        """The frame that was open, none when too much of it is missing; everything is ready for the next."""
        whole = self.is_open and self._share() >= WHOLE_SHARE
        reset, signal = self._values.astype(np.int32)
        self._values[:], self.is_open = -1, False
        if not whole:
            return []
        grey = np.clip((reset - signal) >> 2, 0, 255).astype(np.uint8)
        exposure_us = max(0, self._end_us - self._begin_us)
        return [Frame(self._begin_us + exposure_us // 2, exposure_us, np.repeat(grey[..., None], 3, axis=2))]
