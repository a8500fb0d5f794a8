"""Prophesee DAT recordings: 8 bytes per event, decoded with numpy.

    with open_source("car.dat") as source:
        for item in source: ...

Specification: docs.prophesee.ai, "DAT file format". Lines "% ...", a byte for the type and one for the size of an
event, then the time in µs (32 bits) and x (14 bits), y (14), polarity (4). Version 1 had x (9), y (8), polarity (1).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from streams.clock import unwrapped
from streams.prophesee import HEADER_BYTES, Header, read_header
from streams.recording import RecordingSource, record_packets
from streams.types import InputError, Losses, Packet, events_from_columns

EVENT_BYTES = 8
CD_TYPES = (0x00, 0x0C)
"""2D and contrast-detection events have the same layout."""


def matches(path: Path, head: bytes) -> bool:
    """True for a header "% ..." without an encoding, followed by the size of an event that DAT has."""
    header = read_header(head)
    if header is None or header.encoding:
        return False
    return head[header.n_bytes + 1:header.n_bytes + 2] == bytes([EVENT_BYTES]) and bool(
        {"data", "version", "height", "date"} & set(header.fields))


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording at this path. Raises InputError when nothing in it can be read or it holds no CD events.

    reconstruct_frames: give it accumulated frames, 20 a second, of origin "reconstructed".
    """
    path = Path(uri)
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    header = read_header(head)
    assert header is not None
    kind = head[header.n_bytes]
    if kind not in CD_TYPES:
        raise InputError(f"{path} holds DAT events of type {kind}; only contrast detection (0 or 12) can be read")
    n_bytes, layout = header.n_bytes + 2, _layout(header)

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        def decode(data: bytes, before_us: int | None) -> tuple[np.ndarray, int]:
            raw = np.frombuffer(data, "<u4").reshape(-1, 2)
            t_us = unwrapped(raw[:, 0], 32, before_us)
            x, y, p = ((raw[:, 1] >> shift) & mask for shift, mask in layout)
            return events_from_columns(t_us, x, y, p), int(t_us[-1])

        return record_packets(path, place, (n_bytes, None), EVENT_BYTES, decode, losses)

    return RecordingSource(path, read, header.resolution, header.sensor, reconstruct_frames, **header.origins)


def _layout(header: Header) -> tuple[tuple[int, int], ...]:
    """(shift, mask) of x, y and polarity."""
    old = header.fields.get("version") == "1"
    return ((0, 0x1FF), (9, 0xFF), (17, 1)) if old else ((0, 0x3FFF), (14, 0x3FFF), (28, 1))
