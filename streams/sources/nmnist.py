"""N-MNIST and N-Caltech101 recordings (.bin): 5 bytes per event, decoded with numpy.

    with open_source("00002.bin") as source:
        for item in source: ...

Format: garrickorchard.com/datasets. x, y (8 bits each), polarity (1 bit), time in µs (23 bits, most significant byte
first). A record with y = 240 is no event: all later times are 8192 µs more. There is no header: a file is recognised
by time that runs forward in its first records.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from streams.clock import unwrapped
from streams.recording import RecordingSource, record_packets
from streams.types import Losses, Packet, events_from_columns

EVENT_BYTES = 5
TIME_BITS = 23
OVERFLOW_Y, OVERFLOW_US = 240, 1 << 13
LEAST_EVENTS = 4
FORWARD_SHARE = 0.98
"""Share of steps in time that go forward; 0.5 in random bytes."""
LONGEST_STEP_US = 1_000_000


def matches(path: Path, head: bytes) -> bool:
    """Whether bytes that name no other format look like events in order of time, at more than one place."""
    raw = _records(head[:len(head) // EVENT_BYTES * EVENT_BYTES])
    if path.suffix.lower() != ".bin" or len(raw) < LEAST_EVENTS:
        return False
    steps = np.diff(_times(raw))
    return bool(np.mean((steps >= 0) & (steps < LONGEST_STEP_US)) >= FORWARD_SHARE and steps.any()
                and len(np.unique(raw[:, 0])) > 1)


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording at this path. Raises InputError when nothing in it can be read.

    reconstruct_frames: give it accumulated frames, 20 a second, of origin "reconstructed".
    """
    path = Path(uri)

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        return record_packets(path, place, (0, (None, 0)), EVENT_BYTES, _decoded, losses)

    return RecordingSource(path, read, reconstruct_frames=reconstruct_frames)


def _decoded(data: bytes, state: tuple[int | None, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Events of whole records; state: the last counter, unwrapped, and what all overflows so far add."""
    before_us, added_us = state
    raw = _records(data)
    t_us = unwrapped(_times(raw), TIME_BITS, before_us)
    is_event = raw[:, 1] != OVERFLOW_Y
    moved_us = added_us + OVERFLOW_US * np.cumsum(~is_event)
    packet = events_from_columns(t_us + moved_us, raw[:, 0], raw[:, 1], raw[:, 2] >> 7)
    return packet[is_event], (int(t_us[-1]), int(moved_us[-1]))


def _records(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8).reshape(-1, EVENT_BYTES)


def _times(raw: np.ndarray) -> np.ndarray:
    """Times [n] in µs of records [n, 5]."""
    high, middle, low = (raw[:, at].astype(np.int64) for at in (2, 3, 4))
    return (high & 0x7F) << 16 | middle << 8 | low
