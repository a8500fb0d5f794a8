"""Events in HDF5 files: DSEC's, and others with columns or a table of t, x, y, p, read in a supervised child process.

    with open_source("events.h5") as source:
        for item in source: ...

Formats: DSEC (dsec.ifi.uzh.ch) has events/t in µs, x, y, p and t_offset in µs, which is added; v2e a table "events"
[n, 4] of t, x, y, p; others are told by the names of their columns. Prophesee's own compression (ECF) cannot be read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streams.isolation import Child, ChildError, Message, resolution_of, stream
from streams.recording import RecordingSource
from streams.types import Frame, InputError, Losses, Packet

MAGIC = b"\x89HDF\r\n\x1a\n"
PROGRAM = [sys.executable, "-P", "-m", "streams.hdf5_child"]


def matches(path: Path, head: bytes) -> bool:
    """Whether a file that starts with these bytes is HDF5."""
    return head.startswith(MAGIC)


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording at this path. Raises InputError when it holds no events that can be read.

    reconstruct_frames: give it accumulated frames, 20 a second, of origin "reconstructed".
    """
    path = Path(uri)

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        try:
            child, opened = _opened(path)
            with child:
                for packet in stream(child, opened, losses, place, frames=False, validate=False):
                    assert not isinstance(packet, Frame)
                    yield int(packet["t"][0]), packet
        except ChildError as error:
            losses.damage = f"{path.name} is damaged ({error}): everything that could be read was delivered"

    try:
        child, opened = _opened(path)
    except ChildError as error:
        raise InputError(f"{path} cannot be read as events: {error}; give an HDF5 file with t, x, y and p") from None
    child.close()
    resolution = resolution_of(opened, "event_resolution") if opened["stated"] else None
    return RecordingSource(path, read, resolution, reconstruct_frames=reconstruct_frames)


def _opened(path: Path) -> tuple[Child, Message]:
    """A child that has the file open, and what it says about it. Raises ChildError, and InputError for no library."""
    child = Child({"task": "hdf5", "path": str(path)}, PROGRAM)
    try:
        return child, child.expect("open")
    except BaseException:
        child.close()
        raise
