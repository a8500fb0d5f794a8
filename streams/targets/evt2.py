"""Writes Prophesee RAW in EVT 2.0: a word for the upper time where it changes, one per event.

Specification: docs.prophesee.ai, "EVT 2.0 format"; streams.sources.evt2 reads it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streams.prophesee import TIME_HIGH, raw_header
from streams.targets.content import ByteTarget, Facts, check_size
from streams.types import Events

NAME = "EVT 2.0"
KEEPS = frozenset({"size", "origin", "clock", "sensor"})


def open_target(path: Path, facts: Facts) -> ByteTarget:
    """Begin to write. Raises InputError for a sensor beyond 2048 px."""
    check_size(NAME, facts.size, 2048)
    return ByteTarget(path, raw_header("2.0", facts.size, facts.sensor, facts.events_origin, facts.offset_us), encoded,
                      facts.offset_us)


def encoded(packet: Events, high: int | None) -> tuple[bytes, int | None]:
    """The words of a packet [n] after an upper time (µs / 64), and the last one."""
    if len(packet) == 0:
        return b"", high
    highs = packet["t"] >> 6
    words = np.empty((len(packet), 2), "<u4")
    words[:, 0] = TIME_HIGH << 28 | highs & 0xFFFFFFF
    words[:, 1] = (packet["p"].astype(np.int64) << 28 | (packet["t"] & 63) << 22 | packet["x"].astype(np.int64) << 11
                   | packet["y"])
    is_new = np.diff(highs, prepend=-1 if high is None else high) != 0
    return words[np.stack([is_new, np.ones(len(packet), bool)], axis=1)].tobytes(), int(highs[-1])
