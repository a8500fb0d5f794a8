"""Writes a NumPy structured array [n] of t_us (int64), x, y (uint16) and p (0 or 1).

numpy.load(path, mmap_mode="r") reads it without loading it, and streams.sources.npy does too.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from streams.targets.content import Facts
from streams.types import Packet

NAME = "NPY"
KEEPS = frozenset({"clock"})
DTYPE = np.dtype([("t_us", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])


def open_target(path: Path, facts: Facts) -> NpyTarget:
    """Begin to write."""
    return NpyTarget(path)


class NpyTarget:
    """A file whose header is written again when it is known how many events there are."""

    def __init__(self, path: Path) -> None:
        self._n = 0
        self._file = path.open("wb")
        self._file.write(self._header())

    def _header(self) -> bytes:
        """NumPy leaves room for growing the first axis, so that the length of a header does not depend on it."""
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": DTYPE.descr, "fortran_order": False,
                                                      "shape": (self._n,)})
        return buffer.getvalue()

    def write(self, packet: Packet) -> None:
        """Append events."""
        records = np.empty(len(packet), DTYPE)  # type: ignore[arg-type]
        for name, column in zip(DTYPE.names or (), "txyp", strict=True):
            records[name] = packet[column]  # type: ignore[index]
        self._file.write(records.tobytes())
        self._n += len(records)

    def __enter__(self) -> NpyTarget:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._file.write(self._header())
