"""Events in HDF5 files: DSEC's, and others with columns or a table of t, x, y, p, read in a supervised child process.

    with open_source("events.h5") as source:
        for item in source: ...

Formats: DSEC (dsec.ifi.uzh.ch) has events/t in µs, x, y, p and t_offset in µs, which is added; v2e a table "events"
[n, 4] of t, x, y, p; others are told by the names of their columns. Prophesee's own compression (ECF) cannot be read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streams.delivery import resolution_of, stream
from streams.isolation import Child, ChildError, Message
from streams.recording import RecordingSource
from streams.types import Frame, InputError, Losses, Packet, events_origin_of

MAGIC = b"\x89HDF\r\n\x1a\n"
PROGRAM = [sys.executable, "-P", "-m", "streams.hdf5_child"]


def matches(path: Path, head: bytes) -> bool:
    """Whether a file that starts with these bytes is HDF5."""
    return head.startswith(MAGIC)


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording at this path. Raises InputError when it holds no events that can be read.

    reconstruct_frames: give it accumulated frames, 20 a second, of origin "reconstructed".
    """
    file = _File(Path(uri))
    try:
        with file.reader() as (_, opened):
            resolution = resolution_of(opened, "event_resolution") if opened.get("stated") else None
        return RecordingSource(file.path, file.read, resolution, opened.get("sensor", ""), reconstruct_frames,
                               file.close, events_origin_of(opened.get("events_origin", "")))
    except ChildError as error:
        raise InputError(f"{uri} cannot be read as events: {error}; give an HDF5 file with t, x, y "
                         "and p, or the recording that it was made from") from None
    except BaseException:
        file.close()
        raise


class _File:
    """One file and the children that have it open: one, or more while it is read at several places."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: list[tuple[Child, Message]] = []
        self._closed = False

    def read(self, place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        """As streams.recording wants it; a place is a time in µs."""
        try:
            with self.reader() as (child, opened):
                for packet in stream(child, opened, losses, place, frames=False, validate=False):
                    assert not isinstance(packet, Frame)
                    yield int(packet["t"][0]), packet
        except ChildError as error:
            if not self._closed:
                losses.damage = f"{self.path.name} is damaged ({error}): everything that could be read was delivered"

    @contextmanager
    def reader(self) -> Iterator[tuple[Child, Message]]:
        """A child that has the file open, and what it says about it. Raises ChildError; InputError for no library."""
        child, opened = self._idle.pop() if self._idle else self._opened()
        try:
            yield child, opened
        finally:
            if self._closed or not child.alive:
                child.close()
            else:
                self._idle.append((child, opened))

    def _opened(self) -> tuple[Child, Message]:
        child = Child({"task": "hdf5", "path": str(self.path)}, PROGRAM)
        try:
            return child, child.expect("open")
        except BaseException:
            child.close()
            raise

    def close(self) -> None:
        """End the children; may be called any number of times."""
        self._closed = True
        while self._idle:
            self._idle.pop()[0].close()
