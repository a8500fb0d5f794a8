"""Writes Prophesee RAW in EVT 3.0: words for the upper and lower time and the row where they change, one per event.

Specification: docs.prophesee.ai, "EVT 3.0 format"; streams.sources.evt3 reads it. The time has 24 bits (16.8 s), so
over silence the upper time is written every 4096 µs, as cameras do: readers count where it wraps.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np

from streams.prophesee import raw_header
from streams.targets.content import ByteTarget, Facts, check_size
from streams.types import Events

NAME = "EVT 3.0"
KEEPS = frozenset({"size", "origin", "clock", "sensor"})
State: TypeAlias = tuple[int, int, int]
"""Upper time, not wrapped, lower time and row of the last event."""
BEFORE: State = (-1, -1, -1)


def open_target(path: Path, facts: Facts) -> ByteTarget:
    """Begin to write. Raises InputError for a sensor beyond 2048 px."""
    check_size(NAME, facts.size, 2048)
    return ByteTarget(path, raw_header("3.0", facts.size, facts.sensor, facts.events_origin, facts.offset_us), encoded,
                      facts.offset_us)


def encoded(packet: Events, state: State | None) -> tuple[bytes, State | None]:
    """The words of a packet [n], and the state after it."""
    if len(packet) == 0:
        return b"", state
    before = state or BEFORE
    high, low, y = packet["t"] >> 12, packet["t"] & 0xFFF, packet["y"].astype(np.int64)
    steps = np.diff(high, prepend=before[0])
    n_high = np.where(steps < 0, 1, steps)
    # A new upper time makes the lower one 0 until it is said.
    new_low = (np.diff(low, prepend=before[1]) != 0) | (n_high > 0)
    new_y = np.diff(y, prepend=before[2]) != 0
    ends = np.cumsum(n_high + new_low + new_y + 1)
    words = np.empty(int(ends[-1]), "<u2")
    words[ends - 1] = 0x2000 | packet["p"].astype(np.uint16) << 11 | packet["x"]
    words[(ends - 2)[new_y]] = y[new_y]
    words[(ends - 2 - new_y)[new_low]] = 0x6000 | low[new_low]
    # Of each event's upper times: how many come after it.
    later = np.repeat(np.cumsum(n_high), n_high) - 1 - np.arange(int(n_high.sum()))
    words[np.repeat(ends - 2 - new_y - new_low, n_high) - later] = 0x8000 | np.repeat(high, n_high) - later & 0xFFF
    return words.tobytes(), (int(high[-1]), int(low[-1]), int(y[-1]))
