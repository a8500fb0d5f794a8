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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from streams.clock import held, unwrapped
from streams.prophesee import header_of, read_header
from streams.recording import RecordingSource, record_packets
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
    header = header_of(path)

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        return record_packets(path, place, (header.n_bytes, State()), 2,
                              lambda data, state: decoded(np.frombuffer(data, "<u2"), state, losses), losses)

    return RecordingSource(path, read, header.resolution, header.sensor, reconstruct_frames, **header.origins)


def decoded(words: np.ndarray, state: State, losses: Losses) -> tuple[Events, State]:
    """Raw events of words [n] uint16 and the state after them; events before the first time and row are rejected."""
    kind, content = words >> 12, words & 0xFFF
    is_vector = (kind == VECT_12) | (kind == VECT_8)
    chosen = np.flatnonzero((kind == ADDR_X) | is_vector)
    time_words, after = _times(kind, content, state)
    t = held(*time_words, -1 if state.t_us is None else state.t_us, chosen)
    is_row = kind == ADDR_Y
    y = held(content & 0x7FF, is_row, state.y, chosen)
    after = replace(after, y=_last(content[is_row] & 0x7FF, state.y))
    address, valid = content[chosen].astype(np.int64), np.ones(len(chosen), np.uint16)
    if is_vector.any() or (kind == VECT_BASE_X).any():
        after = _expand(kind, content, is_vector[chosen], chosen, state, after, address, valid)

    ready = (t >= 0) & (y >= 0) & (address >= 0)
    losses.n_rejected += int(np.bitwise_count(valid[~ready]).sum())
    x = address & 0x7FF
    if not is_vector.any():
        return events_from_columns(t[ready], x[ready], y[ready], address[ready] >> 11 & 1), after
    valid[~ready] = 0
    bits = np.unpackbits(valid.astype("<u2").view(np.uint8).reshape(-1, 2), axis=1, bitorder="little")
    word, bit = np.nonzero(bits)
    return events_from_columns(t[word], x[word] + bit, y[word], address[word] >> 11 & 1), after


def _expand(kind: np.ndarray, content: np.ndarray, is_vector: np.ndarray, chosen: np.ndarray, state: State,
            after: State, address: np.ndarray, valid: np.ndarray) -> State:
    """Set address and valid bits of those of the chosen words [m] that are vectors; the state after all words [n].

    An address that is not known yet, or lies to the right of every sensor, becomes -1.
    """
    is_base = kind == VECT_BASE_X
    moved = np.cumsum(np.where(kind == VECT_12, 12, np.where(kind == VECT_8, 8, 0)))
    base = held(content, is_base, state.base, chosen)
    since = held(moved, is_base, -state.advanced, chosen)
    width = np.where(kind[chosen] == VECT_12, 12, 8)
    # The base moves on behind a vector, so its own width does not count yet.
    x = (base & 0x7FF) + moved[chosen] - width - since
    known = (base >= 0) & (x <= 0x7FF)
    vector = np.where(known, base & 0x800 | x, -1)
    address[is_vector] = vector[is_vector]
    valid[is_vector] = (content[chosen] & np.where(width == 12, 0xFFF, 0xFF))[is_vector]
    advanced = int(moved[-1]) - _last(moved[is_base], -state.advanced)
    return replace(after, base=_last(content[is_base], state.base), advanced=min(advanced, 0x1000))


def _last(values: np.ndarray, before: int) -> int:
    return int(values[-1]) if len(values) else before


def _times(kind: np.ndarray, content: np.ndarray, state: State) -> tuple[tuple[np.ndarray, np.ndarray], State]:
    """((time [n] at the time words, which words they are [n]), the state with the last of them)."""
    is_time = (kind == TIME_HIGH) | (kind == TIME_LOW)
    times = np.zeros(len(kind), np.int64)
    kinds, values = kind[is_time], content[is_time].astype(np.int64)
    if len(values) == 0:
        return (times, is_time), state
    high = held(values, kinds == TIME_HIGH, state.high)
    # A new upper half comes before its lower half, which is 0 until then.
    renewed = (kinds == TIME_HIGH) & (high != np.concatenate([[state.high], high[:-1]]))
    low = held(np.where(renewed, 0, values), renewed | (kinds == TIME_LOW), state.low)
    known = high >= 0
    t_us = np.full(len(values), -1, np.int64)
    t_us[known] = unwrapped((high[known] << 12) | low[known], TIME_BITS, state.t_us)
    times[is_time] = t_us
    last_us = int(t_us[-1]) if known[-1] else None
    return (times, is_time), replace(state, t_us=last_us, high=int(high[-1]), low=int(low[-1]))
