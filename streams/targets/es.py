"""Writes Event Stream (.es): a byte for time and polarity and four for the place of every event.

Specification: github.com/neuromorphicsystems/event_stream, version 2; streams.sources.es reads it.
"""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path

import numpy as np

from streams.targets.content import ByteTarget, Facts
from streams.types import Events

NAME = "Event Stream"
KEEPS = frozenset({"size"})
OVERFLOW, OVERFLOW_US, EVENT_BYTES = 0xFF, 127, 5


def open_target(path: Path, facts: Facts) -> ByteTarget:
    """Begin to write."""
    size = facts.size
    header = struct.pack("<12sBBBBHH", b"Event Stream", 2, 0, 0, 1, size.width, size.height)
    return ByteTarget(path, header, partial(encoded, height=size.height), facts.offset_us)


def encoded(packet: Events, last_us: int | None, height: int) -> tuple[bytes, int | None]:
    """The records of a packet [n] after a time, and its last time; the origin is at the bottom left."""
    if len(packet) == 0:
        return b"", last_us
    silence, step = np.divmod(np.diff(packet["t"], prepend=0 if last_us is None else last_us), OVERFLOW_US)
    ends = np.cumsum(silence + EVENT_BYTES)
    data = np.full(int(ends[-1]), OVERFLOW, np.uint8)
    x = packet["x"].astype(np.int64)
    y = height - 1 - packet["y"].astype(np.int64)
    for place, values in enumerate((step << 1 | packet["p"], x & 0xFF, x >> 8, y & 0xFF, y >> 8)):
        data[ends - EVENT_BYTES + place] = values
    return data.tobytes(), int(packet["t"][-1])
