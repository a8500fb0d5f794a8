"""The size of a sensor that a recording does not state, from where its events are.

    extent = Extent()
    for packet in source: extent.add(packet)
    extent.resolution()                    # 599 x 475 px of events fit 640x480
"""

from __future__ import annotations

import numpy as np

from streams.types import Events, Resolution

LARGEST_SIDE = 4096
"""Pixels; no event sensor is larger."""
STRAY_SHARE = 1e-4
"""Share of events that may lie outside: damage must not enlarge the sensor."""
FEW_STRAYS = 3
"""So many events, of at least 200 times as many, lie outside if they would more than double the sensor."""
MOST_STRAYS = 0.25
"""Share of events that may lie outside of every known sensor, as thin as THIN: a stretch of foreign bytes does that."""
THIN = 0.02
"""Events per column or row, over that of where most events are, below which they are damage, not a large sensor."""

SENSORS = [Resolution(*size) for size in (
    (34, 34), (128, 128), (240, 180), (304, 240), (320, 240), (346, 260), (320, 320), (480, 320), (640, 480),
    (768, 640), (1280, 720), (1280, 800))]
"""N-MNIST, DVS128, DAVIS240, ATIS, DVXplorer Lite, DAVIS346, GenX320, ... by area."""


class Extent:
    """Counts the events of every column and row."""

    def __init__(self) -> None:
        self._columns, self._rows = np.zeros(1 << 16, np.int64), np.zeros(1 << 16, np.int64)

    def add(self, packet: Events) -> None:
        """Count a packet [n]."""
        self.add_coordinates(packet["x"], packet["y"])

    def add_coordinates(self, x: np.ndarray, y: np.ndarray) -> None:
        """Count events at x and y px [n], each below 65536."""
        for counts, places in ((self._columns, x), (self._rows, y)):
            found = np.bincount(places)
            counts[:len(found)] += found

    def resolution(self) -> Resolution | None:
        """The smallest known sensor of which the events fill at least half of each side, else just where they are.

        None without events.
        """
        if not self._columns.any():
            return None
        width, height = (_side(counts) for counts in (self._columns, self._rows))
        for sensor in SENSORS:
            if width <= sensor.width <= 2 * width and height <= sensor.height <= 2 * height:
                return sensor
        return Resolution(_known_side(self._columns, width, SENSORS[-1].width),
                          _known_side(self._rows, height, SENSORS[-1].height))


def _known_side(counts: np.ndarray, side: int, largest: int) -> int:
    """A side that is larger than that of any known sensor, without what lies thinly beyond those."""
    within = np.cumsum(counts[:side])
    total, beyond = int(within[-1]), int(within[-1] - within[min(largest, side) - 1])
    # Where most events are they lie densely, whatever else the damage has scattered over the sensor.
    core = int(np.searchsorted(within, (1 - MOST_STRAYS) * total)) + 1
    thin = beyond / max(1, side - largest) < THIN * (1 - MOST_STRAYS) * total / core
    return _side(counts[:largest]) if thin and beyond < MOST_STRAYS * total else side


def _side(counts: np.ndarray) -> int:
    counts = counts[:LARGEST_SIDE]
    if not counts.any():
        return 1
    n_events = int(counts.sum())
    # From the far end: the last place at and beyond which there are more than strays.
    beyond = np.cumsum(counts[::-1])[::-1]
    side, inner = (int(np.flatnonzero(beyond > strays)[-1]) + 1
                   for strays in (STRAY_SHARE * n_events, min(FEW_STRAYS, n_events // 200)))
    return inner if 2 * inner < side else side
