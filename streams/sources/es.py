"""Event Stream recordings (.es) of DVS events, decoded with numpy.

    with open_source("walk.es") as source:
        for item in source: ...

Specification: github.com/neuromorphicsystems/event_stream, version 2. 16 bytes of header, width and height (16 bits
each), then a chain of records: a byte 0xFF is 127 µs of silence, a byte 0xFE a mark without meaning, any other byte
the time since the last record (7 bits) and the polarity (lowest bit), followed by x and y (16 bits each). The origin
is at the bottom left.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from streams.opening import tell_opening
from streams.recording import RecordingSource, cut_off
from streams.types import InputError, Losses, Packet, Resolution, events_from_columns

MAGIC = b"Event Stream"
HEADER_BYTES = 20
EVENT_BYTES = 5
CHUNK_BYTES = 1 << 18
OVERFLOW, RESET, OVERFLOW_US = 0xFF, 0xFE, 127
KINDS = {0: "generic", 2: "ATIS", 3: "asynchronous display", 4: "color"}


def matches(path: Path, head: bytes) -> bool:
    """Whether a file that starts with these bytes is an Event Stream."""
    return head.startswith(MAGIC)


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording at this path. Raises InputError when it holds no DVS events or nothing can be read.

    reconstruct_frames: give it accumulated frames, 20 a second, of origin "reconstructed".
    """
    path = Path(uri)
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        raise InputError(f"{path} ends within its header; copy it again from where it was recorded")
    major, kind, width, height = struct.unpack("<12xBxxBHH", head)
    if major != 2 or kind != 1:
        found = f"{KINDS.get(kind, 'unknown')} events" if major == 2 else f"version {major}"
        raise InputError(f"{path} is an Event Stream of {found}; only DVS events of version 2 can be read")
    if not (width > 0 and height > 0):
        raise InputError(f"{path} claims a sensor of {width}x{height} px; it is damaged, copy it again")

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        offset, before_us = place or (HEADER_BYTES, 0)
        with path.open("rb") as file:
            file.seek(offset)
            rest = b""
            while data := file.read(CHUNK_BYTES):
                tell_opening(path, offset)
                records = np.frombuffer(rest + data, np.uint8)
                used, packet, after_us = _decoded(records, height, before_us)
                yield (offset, before_us), packet
                offset, before_us, rest = offset + used, after_us, records[used:].tobytes()
            if rest:
                losses.damage = cut_off(path)

    return RecordingSource(path, read, Resolution(width, height), reconstruct_frames=reconstruct_frames)


def _decoded(data: np.ndarray, height: int, before_us: int) -> tuple[int, np.ndarray, int]:
    """(bytes used, events, time after them) of the records at the start of data [n] uint8."""
    is_event = data < RESET
    starts = _chain(np.where(is_event, EVENT_BYTES, 1))
    if starts[-1] + (EVENT_BYTES if is_event[starts[-1]] else 1) > len(data):
        used, starts = int(starts[-1]), starts[:-1]
    else:
        used = len(data)
    first = data[starts]
    steps_us = np.where(first < RESET, first >> 1, np.where(first == OVERFLOW, OVERFLOW_US, 0)).astype(np.int64)
    t_us = before_us + np.cumsum(steps_us)
    events = starts[first < RESET]
    x, y = (data[events + at].astype(np.int64) | data[events + at + 1].astype(np.int64) << 8 for at in (1, 3))
    # What lies outside stays outside: validation refuses it.
    packet = events_from_columns(t_us[first < RESET], x, np.where(y < height, height - 1 - y, y), data[events] & 1)
    return used, packet, int(t_us[-1]) if len(t_us) else before_us


def _chain(step: np.ndarray) -> np.ndarray:
    """Places 0, step[0], step[0] + step[step[0]], ... below n, for step [n] >= 1."""
    n = len(step)
    jump = np.append(np.minimum(np.arange(n) + step, n), n)
    places = np.zeros(1, np.int64)
    # Each round knows twice as many places: those known, and where they lead after as many jumps.
    while places[-1] < n:
        places = np.concatenate([places, jump[places]])
        jump = jump[jump]
    return places[places < n]
