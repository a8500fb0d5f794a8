"""Turned by quarters: for a camera that is mounted on its side or upside down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.filtering import Geometry
from streams.types import InputError

USAGE = "rotate:90|180|270", "turned clockwise by so many degrees"


def create(value: str) -> Rotate:
    """The filter for 90, 180 or 270 degrees; InputError for anything else."""
    if value not in ("90", "180", "270"):
        raise InputError(f"rotate takes 90, 180 or 270 degrees (clockwise), got {value!r}")
    return Rotate(int(value) // 90)


@dataclass
class Rotate(Geometry):
    """Turns clockwise by quarters."""

    quarters: int

    def image(self, image: np.ndarray) -> np.ndarray:
        """The turned picture."""
        return np.rot90(image, -self.quarters)
