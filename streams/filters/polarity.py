"""Only ON or only OFF events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.filtering import Selection
from streams.types import Events, InputError

USAGE = "polarity:on|off", "only events that got brighter (on) or darker (off)"


def create(value: str) -> OnePolarity:
    """The filter for "on" or "off"; InputError for anything else."""
    if value not in ("on", "off"):
        raise InputError(f"polarity takes on or off, got {value!r}; write polarity:on or polarity:off")
    return OnePolarity(value == "on")


@dataclass
class OnePolarity(Selection):
    """Lets events of one polarity through."""

    on: bool

    def keep(self, events: Events) -> np.ndarray:
        """Which events pass, bool [n]."""
        return np.equal(events["p"], self.on)
