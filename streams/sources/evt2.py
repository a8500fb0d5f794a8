"""Prophesee RAW recordings in EVT 2.0: one 32-bit word per event, decoded with numpy.

    with open_source("dot.raw") as source:
        for item in source: ...

Specification: docs.prophesee.ai, "EVT 2.0 format". A word is type (4 bits), then for CD_OFF (0) and CD_ON (1) the low
6 bits of the time in µs, x (11), y (11); for EVT_TIME_HIGH (8) the upper 28 bits. Other words carry no events.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from streams.prophesee import TIME_HIGH, header_of, high_times, read_header
from streams.recording import RecordingSource, record_packets
from streams.types import Losses, Packet, events_from_columns

KINDS = (0x0, 0x1, TIME_HIGH, 0xA, 0xE, 0xF)
"""Types that a word can have."""


def matches(path: Path, head: bytes) -> bool:
    """True for a RAW header that names EVT 2.0, or that is Prophesee's and names nothing (older files)."""
    header = read_header(head)
    if header is None or header.encoding:
        return header is not None and header.encoding == "2.0"
    start = head[header.n_bytes:]
    kinds = np.frombuffer(start[:len(start) // 4 * 4], "<u4") >> 28
    return bool("prophesee" in " ".join(header.fields.values()).lower() and np.isin(kinds, KINDS).all()
                and (kinds == TIME_HIGH).any())


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording at this path. Raises InputError when nothing in it can be read.

    reconstruct_frames: give it accumulated frames, 20 a second, of origin "reconstructed".
    """
    path = Path(uri)
    header = header_of(path)

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        return record_packets(path, place, (header.n_bytes, None), 4,
                              lambda data, high: _decoded(np.frombuffer(data, "<u4"), high, losses), losses)

    return RecordingSource(path, read, header.resolution, header.sensor, reconstruct_frames, **header.origins)


def _decoded(words: np.ndarray, high: int | None, losses: Losses) -> tuple[np.ndarray, int | None]:
    """Events of words [n] and the time word after them; `high` was the one before."""
    kind = words >> 28
    highs, after = high_times(words & 0xFFFFFFF, kind == TIME_HIGH, high)
    is_event = kind <= 1
    timed = is_event & (highs >= 0)
    losses.n_rejected += int(np.count_nonzero(is_event)) - int(np.count_nonzero(timed))
    words, highs = words[timed], highs[timed]
    t = (highs << 6) | ((words >> 22) & 0x3F)
    return events_from_columns(t, (words >> 11) & 0x7FF, words & 0x7FF, (words >> 28) == 1), after
