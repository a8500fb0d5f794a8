"""Mirrored: for a camera behind a mirror."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.filtering import Geometry
from streams.types import InputError

USAGE = "flip:horizontal|vertical", "mirrored left to right (horizontal) or upside down (vertical)"


def create(value: str) -> Flip:
    """The filter for "horizontal" or "vertical"; InputError for anything else."""
    if value not in ("horizontal", "vertical"):
        raise InputError(f"flip takes horizontal or vertical, got {value!r}; for both, rotate:180")
    return Flip(0 if value == "vertical" else 1)


@dataclass
class Flip(Geometry):
    """Mirrors along an axis of a picture: 0 = rows, 1 = columns."""

    axis: int

    def image(self, image: np.ndarray) -> np.ndarray:
        """The mirrored picture."""
        return np.flip(image, self.axis)
