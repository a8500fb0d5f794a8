"""Prophesee RAW recordings in EVT 2.1: 64-bit words of up to 32 events beside each other, decoded with numpy.

    with open_source("street.raw") as source:
        for item in source: ...

Specification: docs.prophesee.ai, "EVT 2.1 format". The upper half of a word is as in EVT 2.0 (EVT_NEG 0, EVT_POS 1,
EVT_TIME_HIGH 8); bit n of the lower half says that there is an event at x + n. Some sensors write the halves in the
other order: the header says "endianness=legacy", and files that do not say so are told by their time words.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from streams.prophesee import TIME_HIGH, header_of, high_times, read_header
from streams.recording import RecordingSource, record_packets
from streams.types import Losses, Packet, events_from_columns


def matches(path: Path, head: bytes) -> bool:
    """True for a RAW header that names EVT 2.1."""
    header = read_header(head)
    return header is not None and header.encoding == "2.1"


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording at this path. Raises InputError when nothing in it can be read.

    reconstruct_frames: give it accumulated frames, 20 a second, of origin "reconstructed".
    """
    path = Path(uri)
    header = header_of(path)
    with path.open("rb") as file:
        file.seek(header.n_bytes)
        start = np.frombuffer(file.read(1 << 16)[:-8] + bytes(8), np.uint8)
    legacy = header.legacy or _seems_swapped(start[:len(start) // 8 * 8].view("<u4").reshape(-1, 2))

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        def decode(data: bytes, high: int | None) -> tuple[np.ndarray, int | None]:
            halves = np.frombuffer(data, "<u4").reshape(-1, 2)
            return _decoded(halves[:, 0 if legacy else 1], halves[:, 1 if legacy else 0], high, losses)

        return record_packets(path, place, (header.n_bytes, None), 8, decode, losses)

    return RecordingSource(path, read, header.resolution, header.sensor, reconstruct_frames, **header.origins)


def _seems_swapped(halves: np.ndarray) -> bool:
    """Whether the first of both halves [n, 2] looks more like type and address than the second."""
    likely = [np.count_nonzero((halves[:, side] >> 28 == TIME_HIGH) & (halves[:, 1 - side] == 0)) for side in (0, 1)]
    return bool(likely[0] > likely[1])


def _decoded(upper: np.ndarray, valid: np.ndarray, high: int | None, losses: Losses) -> tuple[np.ndarray, int | None]:
    """Events of n words given as halves, and the time word after them; `high` was the one before."""
    kind = upper >> 28
    highs, after = high_times(upper & 0xFFFFFFF, kind == TIME_HIGH, high)
    is_event = kind <= 1
    timed = is_event & (highs >= 0)
    losses.n_rejected += int(np.bitwise_count(valid[is_event & ~timed]).sum())
    upper, valid, highs = upper[timed], valid[timed], highs[timed]
    bits = np.unpackbits(np.ascontiguousarray(valid).view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
    word, bit = np.nonzero(bits)
    upper = upper[word]
    t = (highs[word] << 6) | ((upper >> 22) & 0x3F)
    return events_from_columns(t, ((upper >> 11) & 0x7FF) + bit, upper & 0x7FF, (upper >> 28) == 1), after
