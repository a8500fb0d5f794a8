"""Writes what EventGPT reads: a NumPy file with a dictionary of t (µs), x, y and p, each an array [n].

Such a file is a pickle, read by numpy.load(path, allow_pickle=True).item(): whoever reads it holds all of it in
memory, and so does this writer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streams.targets.content import Facts
from streams.types import InputError, Packet

NAME = "EventGPT's NPY"
KEEPS = frozenset({"clock"})
KINDS = {"x": np.uint16, "y": np.uint16, "t": np.int64, "p": np.uint8}
MOST_EVENTS = 50_000_000


def open_target(path: Path, facts: Facts) -> EventGptTarget:
    """Begin to write."""
    return EventGptTarget(path)


class EventGptTarget:
    """Collects columns and writes them at the end. Raises InputError beyond 50 million events."""

    def __init__(self, path: Path) -> None:
        self._path, self._n = path, 0
        self._columns: dict[str, list[np.ndarray]] = {name: [np.empty(0, kind)] for name, kind in KINDS.items()}

    def write(self, packet: Packet) -> None:
        """Append events."""
        self._n += len(packet)  # type: ignore[arg-type]
        if self._n > MOST_EVENTS:
            raise InputError(f"more than {MOST_EVENTS:,} events do not belong into one dictionary; cut them with "
                             "--range or leave out --format eventgpt")
        for name, parts in self._columns.items():
            parts.append(packet[name].astype(KINDS[name]))  # type: ignore[index]

    def __enter__(self) -> EventGptTarget:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            table = {name: np.concatenate(parts) for name, parts in self._columns.items()}
            with self._path.open("wb") as file:
                np.save(file, np.array(table, dtype=object), allow_pickle=True)
