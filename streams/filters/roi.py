"""A region of interest, cut out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.filtering import Geometry
from streams.types import InputError, Resolution

USAGE = "roi:X,Y,WIDTH,HEIGHT", "only this part of the sensor, in pixels from its top left"


def create(value: str) -> Region:
    """The filter for "X,Y,WIDTH,HEIGHT"; InputError for anything else."""
    parts = value.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"roi takes X,Y,WIDTH,HEIGHT in pixels, got {value!r}; write for example roi:40,0,160,120")
    x, y, width, height = map(int, parts)
    if not width or not height:
        raise InputError(f"roi needs a width and a height of at least 1 pixel, got {value!r}")
    return Region(x, y, width, height)


@dataclass
class Region(Geometry):
    """Cuts out a part, given in pixels of the events; pictures of another size lose the same share of theirs."""

    x: int
    y: int
    width: int
    height: int

    def prepare(self, resolution: Resolution, sensor: str) -> Resolution:
        """Begin on events of this resolution. Raises InputError for a region that sticks out."""
        self._whole = resolution
        if self.x + self.width > resolution.width or self.y + self.height > resolution.height:
            raise InputError(f"the region {self.x},{self.y},{self.width},{self.height} sticks out of {resolution} "
                             "pixels; choose a smaller one")
        return super().prepare(resolution, sensor)

    def image(self, image: np.ndarray) -> np.ndarray:
        """The part of the picture."""
        rows, columns = (_share(start, length, whole, side) for start, length, whole, side in (
            (self.y, self.height, self._whole.height, image.shape[0]),
            (self.x, self.width, self._whole.width, image.shape[1])))
        return image[rows, columns]


def _share(start: int, length: int, whole: int, side: int) -> slice:
    """The same part of a side of other length, at least one pixel."""
    first = min(round(start * side / whole), side - 1)
    return slice(first, max(first + 1, round((start + length) * side / whole)))
