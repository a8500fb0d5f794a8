"""The program inside the supervised child that reads HDF5: its library crashes or hangs on some damaged files.

    python -P -m streams.hdf5_child       # then speak the protocol of streams/isolation.py on stdin and stdout

Task "hdf5" reads the events of one file.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np

from streams.columns import column_of, tick_of
from streams.isolation_child import LARGEST_SIDE, Damaged, Message, Parent, Refused, serve
from streams.types import Events, Frame, InputError, events_from_columns

CHUNK_EVENTS = 65_536
SNIFFED_EVENTS = 10_000
KNOWN_FILTERS = {36559: "Prophesee's ECF"}
DEPTH = 3
"""Groups within groups that are searched for events."""


def read_hdf5(parent: Parent, path: str) -> None:
    """Task "hdf5": the first group or table with t, x, y and p. Raises Refused."""
    import h5py
    import hdf5plugin  # noqa: F401  (registers the filters that DSEC is compressed with)

    parent.send("started")
    try:
        file = h5py.File(path, "r")
        found = _columns(file, h5py, DEPTH)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise Refused("refused", _first_line(error)) from None
    if found is None:
        raise Refused("empty", "it has no events: no group or table with t, x, y and p")
    columns, tick_us = found
    if missing := _missing_filter(columns["t"], h5py):
        raise Refused("refused", f"it is compressed with {missing}, which hdf5plugin does not know")
    offset_us = _scalar(file, "t_offset")
    is_dsec = "t_offset" in file or "ms_to_idx" in file
    try:
        t = columns["t"]
        tick_us = tick_us or (1.0 if is_dsec else tick_of(np.asarray(t[:SNIFFED_EVENTS])))
    except (OSError, RuntimeError, ValueError) as error:
        raise Refused("refused", _first_line(error)) from None
    size = [_attribute(file, columns["x"], name) for name in ("width", "height")]
    opened: Message = {"event_resolution": size if all(size) else [LARGEST_SIDE, LARGEST_SIDE],
                       "frame_resolution": None, "stated": all(size), "n_events": len(t),
                       "events_origin": _text(file, "events_origin"), "sensor": _text(file, "sensor")}

    def read(start_us: int | None, frames: bool) -> Iterator[Events | Frame]:
        try:
            start = 0 if start_us is None else _index_at((start_us - offset_us) / tick_us, t)
            for begin in range(start, len(t), CHUNK_EVENTS):
                yield _events(columns, slice(begin, begin + CHUNK_EVENTS), tick_us, offset_us)
        except (OSError, RuntimeError, ValueError, KeyError):
            raise Damaged from None

    serve(parent, opened, read)


def _columns(group: Any, h5py: Any, depth: int) -> tuple[dict[str, Any], float | None] | None:
    """({'t': ..., 'x', 'y', 'p'}, tick in µs that the names state) of a group or the groups in it."""
    found = {column: (group[name], tick_us) for name in group if isinstance(group.get(name), h5py.Dataset)
             for column, tick_us in [column_of(name)] if column}
    if set(found) == set("txyp"):
        columns = {column: dataset for column, (dataset, _) in found.items()}
        if len({dataset.shape for dataset in columns.values()}) == 1 and columns["t"].ndim == 1:
            return columns, found["t"][1]
    for name in group:
        entry = group.get(name)
        if isinstance(entry, h5py.Dataset) and entry.dtype.names and entry.ndim == 1:
            named = {column_of(field)[0]: field for field in entry.dtype.names}
            if set(named) >= set("txyp"):
                return {letter: _Field(entry, named[letter]) for letter in "txyp"}, column_of(named["t"])[1]
        elif isinstance(entry, h5py.Dataset) and name == "events" and entry.ndim == 2 and entry.shape[1] == 4:
            # v2e writes a table of t, x, y, p.
            return {letter: _Field(entry, place) for place, letter in enumerate("txyp")}, None
        elif isinstance(entry, h5py.Group) and depth and (deeper := _columns(entry, h5py, depth - 1)):
            return deeper
    return None


def _missing_filter(column: Any, h5py: Any) -> str:
    """What a column is compressed with when it cannot be read because of that, else ""."""
    settings = column.id.get_create_plist()
    numbers = [settings.get_filter(index)[0] for index in range(settings.get_nfilters())]
    missing = [number for number in numbers if not h5py.h5z.filter_avail(number)]
    return KNOWN_FILTERS.get(missing[0], f"filter {missing[0]}") if missing else ""


class _Field:
    """One column of a table, read like a data set of its own."""

    def __init__(self, table: Any, field: str | int) -> None:
        self.attrs, self.id = table.attrs, table.id
        self._table, self._field = table, field

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, rows: Any) -> Any:
        part = self._table[rows]
        return part[self._field] if isinstance(self._field, str) else part[..., self._field]


def _events(columns: dict[str, Any], rows: slice, tick_us: float, offset_us: int) -> Events:
    """Raw events of some rows; what is no pixel becomes one outside every sensor."""
    t, x, y, p = (np.nan_to_num(np.asarray(columns[letter][rows]), nan=-1) for letter in "txyp")
    ticks = t.astype(np.int64) if tick_us == 1 else np.round(t.astype(np.float64) * tick_us).astype(np.int64)
    x, y = (np.where((side >= 0) & (side < LARGEST_SIDE), side, 0xFFFF) for side in (x, y))
    return events_from_columns(ticks + offset_us, x, y, p > 0)


def _index_at(tick: float, t: Any) -> int:
    """Index of the first time at or after a tick, by halving: every look decompresses only one chunk.

    DSEC's ms_to_idx would save a few looks, but only in its files and only while it is undamaged.
    """
    low, high = 0, len(t)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if t[middle] < tick else (low, middle)
    return low


def _scalar(file: Any, name: str) -> int:
    """A whole number stored beside the events (DSEC's t_offset), 0 when there is none."""
    try:
        return int(np.asarray(file[name]).reshape(-1)[0])
    except (KeyError, TypeError, ValueError, OSError, RuntimeError, IndexError):
        return 0


def _attribute(file: Any, column: Any, name: str) -> int:
    for holder in (file, column):
        value = holder.attrs.get(name)
        if value is not None and np.ndim(value) == 0 and 0 < int(value) <= LARGEST_SIDE:
            return int(value)
    return 0


def _text(file: Any, name: str) -> str:
    value = file.attrs.get(name)
    return value[:80] if isinstance(value, str) else ""


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].strip('"\' .')[:200]


def main() -> None:
    """Do the one task that the parent sends, then exit without running destructors of the library."""
    parent = Parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        task = parent.receive() or {}
        read_hdf5(parent, task["path"])
    except SystemExit:
        pass
    except Refused as error:
        parent.send("error", kind=error.kind, message=str(error))
    except ImportError:
        parent.send("error", kind="missing", message="HDF5 recordings need h5py and hdf5plugin: run "
                                                     "`pip install 'parafovea[hdf5]'`")
    except InputError as error:
        parent.send("error", kind="refused", message=str(error))
    except BaseException as error:
        parent.send("error", kind="failed", message=_first_line(error))
    # Waiting for the interpreter to end could wait for a thread that waits for the parent.
    os._exit(0)


if __name__ == "__main__":
    main()
