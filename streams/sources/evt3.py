"""Prophesee RAW recordings in EVT 3.0: 16-bit words that change a state, decoded with numpy.

    with open_source("legs.raw") as source:
        for item in source: ...
    packet, state = decoded(words, state)          # also for EVT 3.0 in other containers

Specification: docs.prophesee.ai, "EVT 3.0 format". Upper 4 bits: 0 EVT_ADDR_Y, 2 EVT_ADDR_X (an event; bit 11 is the
polarity), 3 VECT_BASE_X, 4 VECT_12 and 5 VECT_8 (an event for each bit, then the base moves on), 6 EVT_TIME_LOW,
8 EVT_TIME_HIGH (12 bits each of a 24-bit time in µs). Other words carry no events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streams.clock import held, unwrapped
from streams.prophesee import read_header
from streams.recording import RecordingSource, record_chunks
from streams.types import Events, Losses, Packet, events_from_columns

ADDR_Y, ADDR_X, VECT_BASE_X, VECT_12, VECT_8, TIME_LOW, TIME_HIGH = 0, 2, 3, 4, 5, 6, 8
TIME_BITS = 24


@dataclass(frozen=True)
class State:
    """What the words so far have set; None and -1: nothing yet.

    t_us: unwrapped time, high and low: its two words. base: VECT_BASE_X with the polarity in bit 11, advanced by x px.
    """

    t_us: int | None = None
    high: int = -1
    low: int = 0
    y: int = -1
    base: int = -1
    advanced: int = 0


def matches(path: Path, head: bytes) -> bool:
    """True for a RAW header that names EVT 3.0."""
    header = read_header(head)
    return header is not None and header.encoding == "3.0"


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording at this path. Raises InputError when nothing in it can be read.

    reconstruct_frames: give it accumulated frames, 20 a second, of origin "reconstructed".
    """
    path = Path(uri)
    with path.open("rb") as file:
        header = read_header(file.read(1 << 16))
    assert header is not None
    n_bytes = header.n_bytes

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        offset, state = place or (n_bytes, State())
        for at, data in record_chunks(path, offset, 2, losses):
            packet, after = decoded(np.frombuffer(data, "<u2"), state, losses)
            yield (at, state), packet
            state = after

    return RecordingSource(path, read, header.resolution, header.sensor, reconstruct_frames)


def decoded(words: np.ndarray, state: State, losses: Losses) -> tuple[Events, State]:
    """Raw events of words [n] uint16 and the state after them; events before the first time and row are rejected."""
    kind, content = words >> 12, (words & 0xFFF).astype(np.int64)
    t, state = _times(kind, content, state)
    y = held(content & 0x7FF, kind == ADDR_Y, state.y)
    is_base = kind == VECT_BASE_X
    base = held(content, is_base, state.base)
    x_shift = np.cumsum(np.where(kind == VECT_12, 12, np.where(kind == VECT_8, 8, 0)))
    since = held(x_shift, is_base, -state.advanced)
    after = State(state.t_us, state.high, state.low, int(y[-1]), int(base[-1]), int(x_shift[-1] - since[-1]))

    single = kind == ADDR_X
    vector = (kind == VECT_12) | (kind == VECT_8)
    valid = np.where(single, 1, np.where(kind == VECT_12, content, np.where(kind == VECT_8, content & 0xFF, 0)))
    ready = (t >= 0) & (y >= 0) & (single | (base >= 0))
    losses.n_rejected += int(np.bitwise_count(valid[(single | vector) & ~ready]).sum())
    chosen = np.flatnonzero((single | vector) & ready)
    bits = np.unpackbits(valid[chosen].astype("<u2").view(np.uint8).reshape(-1, 2), axis=1, bitorder="little")
    word, bit = np.nonzero(bits)
    word = chosen[word]
    # The base of a vector moves on behind it, so its own width does not count yet.
    width = np.where(kind == VECT_12, 12, 8)
    address = np.where(single, content, base)
    moved = np.where(single, 0, x_shift - width - since)
    x = np.minimum((address & 0x7FF)[word] + moved[word] + bit, 0xFFFF)
    return events_from_columns(t[word], x, y[word], (address >> 11 & 1)[word]), after


def _times(kind: np.ndarray, content: np.ndarray, state: State) -> tuple[np.ndarray, State]:
    """Time in force at each word [n], -1 before the first; and the state with the last of them."""
    is_time = (kind == TIME_HIGH) | (kind == TIME_LOW)
    kinds, values = kind[is_time], content[is_time]
    if len(values) == 0:
        return np.full(len(kind), -1 if state.t_us is None else state.t_us), state
    high = held(values, kinds == TIME_HIGH, state.high)
    # A new upper half comes before its lower half, which is 0 until then.
    renewed = (kinds == TIME_HIGH) & (high != np.concatenate([[state.high], high[:-1]]))
    low = held(np.where(renewed, 0, values), renewed | (kinds == TIME_LOW), state.low)
    known = high >= 0
    t_us = np.full(len(values), -1, np.int64)
    t_us[known] = unwrapped((high[known] << 12) | low[known], TIME_BITS, state.t_us)
    marks = np.zeros(len(kind), np.int64)
    marks[is_time] = t_us
    times = held(marks, is_time, -1 if state.t_us is None else state.t_us)
    last_us = int(t_us[-1]) if known[-1] else None
    return times, State(last_us, int(high[-1]), int(low[-1]), state.y, state.base, state.advanced)
