"""Events as text: one event a line, in whatever order of columns, separator and unit of time.

    with open_source("events.csv") as source:
        for item in source: ...

There is no specification; these are read: a first line with names (t,x,y,p; a unit as in "time_ns" or "t [s]"; the
size as in faery's t,x@640,y@480,on), or none (the columns are told by their values); commas, semicolons, tabs or
spaces; comment lines that begin with # or %, also "%geometry:640,480"; a first line "346 260" with the size (RPG's
event-camera data set); polarity 0 / 1 or -1 / 1; time in s, ms, µs or ns. Lines that are no events are counted as
rejected.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streams.columns import column_of, packet_of, sniffed, tick_of
from streams.opening import tell_opening
from streams.recording import RecordingSource
from streams.types import Events, EventsOrigin, InputError, Losses, Packet, Resolution, events_origin_of

HEAD_BYTES = 1 << 16
CHUNK_BYTES = 1 << 20
LONGEST_LINE = 4096
FEWEST_COLUMNS, MOST_COLUMNS = 4, 16
NUMBER = rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
SEPARATOR = rb"(?:[ \t]*[,;][ \t]*|[ \t]+)"
ROW = re.compile(rb"[ \t]*" + NUMBER + rb"(?:" + SEPARATOR + NUMBER + rb")+[ \t,;]*")
AS_SPACES = bytes.maketrans(b",;\t\r", b"    ")


@dataclass(frozen=True)
class _Layout:
    """How to read the lines: order has a letter of txyp or - per column; n_bytes is where the data begins."""

    order: str
    tick_us: float
    n_bytes: int
    resolution: Resolution | None
    events_origin: EventsOrigin


def matches(path: Path, head: bytes) -> bool:
    """Whether these bytes are text with at least one line of four or more numbers, and little else."""
    lines = _lines(head)
    if b"\0" in head or not lines:
        return False
    rows = [line for line in lines if _width(line) >= FEWEST_COLUMNS]
    others = [line for line in lines[:-1] if line.strip() and not line.startswith((b"#", b"%")) and line not in rows]
    return len(rows) > 0 and len(others) <= max(1, len(rows) // 10)


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording at this path. Raises InputError when its columns are not those of events.

    reconstruct_frames: give it accumulated frames, 20 a second, of origin "reconstructed".
    """
    path = Path(uri)
    with path.open("rb") as file:
        layout = _layout(path, file.read(HEAD_BYTES))

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        offset, rest = place or layout.n_bytes, b""
        with path.open("rb") as file:
            file.seek(offset)
            while data := file.read(CHUNK_BYTES):
                tell_opening(path, offset)
                whole, newline, rest = (rest + data).rpartition(b"\n")
                if newline:
                    yield offset, _decoded(whole, layout, losses)
                    offset += len(whole) + 1
                elif len(rest) > LONGEST_LINE:
                    # No line is so long: what is not text must not pile up.
                    losses.n_rejected, offset, rest = losses.n_rejected + 1, offset + len(rest), b""
            if rest.strip():
                yield offset, _decoded(rest, layout, losses)

    return RecordingSource(path, read, layout.resolution, reconstruct_frames=reconstruct_frames,
                           events_origin=layout.events_origin)


def _lines(text: bytes) -> list[bytes]:
    """Lines, without the last when it is cut off by the end of the head."""
    lines = text.splitlines()
    return lines[:-1] if len(lines) > 1 and not text.endswith((b"\n", b"\r")) else lines


def _width(line: bytes) -> int:
    """How many numbers a line consists of, 0 when it has anything else."""
    if len(line) > LONGEST_LINE or not ROW.fullmatch(line):
        return 0
    return len(line.translate(AS_SPACES).split())


def _layout(path: Path, head: bytes) -> _Layout:
    """How to read a file that begins with these bytes. Raises InputError."""
    resolution, names, n_bytes = None, b"", 0
    for line in _lines(head):
        width = _width(line)
        if width >= FEWEST_COLUMNS:
            break
        size = re.fullmatch(rb"(?:[#%]\s*geometry:)?\s*(\d{1,4})[\s,x]+(\d{1,4})\s*", line)
        if size and int(size[1]) and int(size[2]):
            resolution = Resolution(int(size[1]), int(size[2]))
        elif line.strip() and not width:
            names = line.lstrip(b"#% \t")
        n_bytes = head.index(line, n_bytes) + len(line)
    n_bytes += len(head[n_bytes:]) - len(head[n_bytes:].lstrip(b"\r\n")) if n_bytes else 0
    stated = re.search(rb"x@(\d{1,4})\D+y@(\d{1,4})", names)
    if stated and int(stated[1]) and int(stated[2]):
        resolution = Resolution(int(stated[1]), int(stated[2]))
    table, _ = _table(b"\n".join(_lines(head[n_bytes:])))
    if not FEWEST_COLUMNS <= table.shape[1] <= MOST_COLUMNS or not len(table):
        raise InputError(f"{path} has no lines of {FEWEST_COLUMNS} to {MOST_COLUMNS} numbers; events are t, x, y, p")
    order, tick_us = _named(names, table.shape[1])
    try:
        order = order or sniffed(table)
    except InputError as error:
        raise InputError(f"{path} holds no events: {error}") from None
    origin = re.search(rb"^# events_origin:(\w+)\s*$", head[:n_bytes], re.MULTILINE)
    return _Layout(order, tick_us or tick_of(table[:, order.index("t")]), n_bytes, resolution,
                   events_origin_of(origin[1].decode() if origin else ""))


def _named(line: bytes, width: int) -> tuple[str, float | None]:
    """(order, tick in µs) that a line of names states; ("", None) when it names no events."""
    text = line.decode("latin-1").strip(" \r")
    names = re.split(r"[,;\t]" if re.search(r"[,;\t]", text) else r"\s+(?![\[(])", re.sub(r"@\d+", "", text))
    columns = [column_of(name) for name in names]
    order = "".join(letter or "-" for letter, _ in columns)
    if len(order) != width or sorted(order.replace("-", "")) != sorted("txyp"):
        return "", None
    return order, columns[order.index("t")][1]


def _decoded(text: bytes, layout: _Layout, losses: Losses) -> Events:
    """Raw events of whole lines."""
    table, n_bad = _table(text, len(layout.order))
    losses.n_rejected += n_bad
    columns = [table[:, layout.order.index(letter)] for letter in "txyp"]
    return packet_of(columns, layout.tick_us, losses)


def _table(text: bytes, width: int | None = None) -> tuple[np.ndarray, int]:
    """(numbers [n, width] float64, number of lines that are something else); width None: that of most lines."""
    plain = text.translate(AS_SPACES)
    if width is not None:
        values = _numbers(plain)
        n_lines = plain.count(b"\n") + 1
        if len(values) == n_lines * width:
            return values.reshape(-1, width), 0
    # Something is wrong in some line: keep the others.
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith((b"#", b"%"))]
    widths = np.array([_width(line) for line in lines], int)
    if width is None:
        width = int(np.bincount(widths).argmax()) if len(widths) else 0
    good = [line for line, found in zip(lines, widths, strict=True) if found == width and width]
    values = _numbers(b"\n".join(good).translate(AS_SPACES))
    if not good or len(values) != len(good) * width:
        return np.empty((0, max(width, 1))), len(lines)
    return values.reshape(-1, width), len(lines) - len(good)


def _numbers(text: bytes) -> np.ndarray:
    """Numbers separated by white space; not all of them, or none, when there is anything else."""
    with warnings.catch_warnings():
        # What is a warning in older versions of NumPy is an error in newer ones.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return np.fromstring(text.decode("latin-1"), np.float64, sep=" ")
        except ValueError:
            return np.empty(0)
