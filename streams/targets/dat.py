"""Writes Prophesee DAT: 8 bytes per event.

Specification: docs.prophesee.ai, "DAT file format"; streams.sources.dat reads it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streams.prophesee import fact_lines
from streams.targets.content import ByteTarget, Facts, check_size
from streams.types import Events, InputError

NAME = "DAT"
KEEPS = frozenset({"size", "origin", "clock", "sensor"})
CONTRAST_DETECTION, EVENT_BYTES = 0x0C, 8
LONGEST_SILENCE_US = (1 << 31) - 1
"""A reader takes a larger step of the 32-bit time for one back."""


def open_target(path: Path, facts: Facts) -> ByteTarget:
    """Begin to write. Raises InputError for a sensor beyond 16384 px."""
    check_size(NAME, facts.size, 1 << 14)
    lines = ["Data file containing CD events.", "Version 2", f"Width {facts.size.width}", f"Height {facts.size.height}",
             *fact_lines(facts.sensor, facts.events_origin, facts.offset_us)]
    header = "".join(f"% {line}\n" for line in lines).encode() + bytes([CONTRAST_DETECTION, EVENT_BYTES])
    return ByteTarget(path, header, encoded, facts.offset_us)


def encoded(packet: Events, last_us: int | None) -> tuple[bytes, int | None]:
    """The records of a packet [n] after a time, and its last time. Raises InputError for too long a silence."""
    if len(packet) == 0:
        return b"", last_us
    t = packet["t"]
    if np.any(np.diff(t, prepend=t[0] if last_us is None else last_us) > LONGEST_SILENCE_US):
        raise InputError("DAT cannot hold a silence of more than 35 minutes; cut it out with --range or use .aedat4")
    words = np.empty((len(packet), 2), "<u4")
    words[:, 0] = t & 0xFFFFFFFF
    words[:, 1] = packet["p"].astype(np.uint32) << 28 | packet["y"].astype(np.uint32) << 14 | packet["x"]
    return words.tobytes(), int(t[-1])
