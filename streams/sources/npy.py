"""Events in a NumPy file: EventGPT's dictionaries of x, y, t, p, structured arrays, and tables [n, 4].

    with open_source("sample1.npy") as source:
        for item in source: ...

Formats: numpy.lib.format; EventGPT saves {'x', 'y', 't', 'p'} with t in µs, DSEC in µs of the recording. A table's
columns and unit of time are found as in streams.columns. Nothing in the file is executed (streams.pickles).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from streams.columns import column_of, packet_of, sniffed, tick_of
from streams.pickles import MAGIC, load_npy
from streams.recording import CHUNK_RECORDS, RecordingSource, cut_off
from streams.types import InputError, Losses, Packet

SNIFFED_ROWS = 10_000
UNSORTED_SHARE = 0.1
"""Share of steps back in time beyond which events are sorted."""


def matches(path: Path, head: bytes) -> bool:
    """Whether a file that starts with these bytes is a NumPy file."""
    return head.startswith(MAGIC)


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording at this path. Raises InputError when it holds no events.

    reconstruct_frames: give it accumulated frames, 20 a second, of origin "reconstructed".
    """
    path = Path(uri)
    content, is_whole = load_npy(path)
    columns, tick_us = _columns(path, content)
    tick_us = tick_us or tick_of(columns[0])
    t = columns[0]
    if np.count_nonzero(t[1:] < t[:-1]) > UNSORTED_SHARE * len(t):
        # Not a clock that jitters: the events have another order, such as that of their pixels.
        columns = [column[np.argsort(t, kind="stable")] for column in columns]

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        losses.damage = losses.damage if is_whole else cut_off(path)
        for start in range(place or 0, len(columns[0]), CHUNK_RECORDS):
            part = [column[start:start + CHUNK_RECORDS] for column in columns]
            yield start, packet_of(part, tick_us, losses)

    return RecordingSource(path, read, reconstruct_frames=reconstruct_frames)


def _columns(path: Path, content: Any) -> tuple[list[np.ndarray], float | None]:
    """(t, x, y, p) each [n] of numbers, and the tick in µs that their names state. Raises InputError."""
    if isinstance(content, np.ndarray) and content.dtype.names is None:
        if content.ndim != 2 or content.shape[1] < 4 or not len(content) or content.dtype.kind not in "iuf":
            raise InputError(f"{path} holds an array of {content.dtype} {content.shape}; events are a table [n, 4] "
                             "or arrays t, x, y and p")
        try:
            order = sniffed(content[:SNIFFED_ROWS, :8])
        except InputError as error:
            raise InputError(f"{path} holds no table of events: {error}") from None
        return [content[:, order.index(letter)] for letter in "txyp"], None
    names = content.dtype.names if isinstance(content, np.ndarray) else tuple(content)
    found = {column: (name, tick_us) for name in names for column, tick_us in [column_of(name)] if column}
    if set(found) != set("txyp"):
        raise InputError(f"{path} holds {', '.join(map(str, names))[:100] or 'nothing'}; events need t, x, y and p")
    columns = [np.atleast_1d(content[found[letter][0]]) for letter in "txyp"]
    if any(c.ndim != 1 or len(c) != len(columns[0]) or c.dtype.kind not in "iufb" for c in columns):
        raise InputError(f"{path} holds t, x, y and p of different lengths or kinds; each is one number per event")
    # Dictionaries are EventGPT's and have µs: events may be too few to tell.
    is_theirs = not isinstance(content, np.ndarray) and columns[0].dtype.kind in "iu"
    return columns, 1.0 if is_theirs else found["t"][1]
