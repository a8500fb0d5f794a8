"""The program inside the child process that writes HDF5: its library may crash the process that meets a full disk.

    python -P -m streams.hdf5_writer       # a JSON line, then packets of EVENT_DTYPE, each after its length as int64

Format: dsec.ifi.uzh.ch, "data format". Exit code 0 means that the file is whole; else stderr has one sentence.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from streams.types import EVENT_DTYPE, Events

CHUNK_EVENTS = 1 << 16
BUFFERED_EVENTS = 1 << 20


def write(stream: BinaryIO) -> None:
    """Columns that grow, a buffer of events at a time, so that chunks are compressed once."""
    import h5py
    import hdf5plugin

    facts = json.loads(stream.readline())
    filters = {} if facts["codec"] == "none" else dict(hdf5plugin.Blosc(cname=facts["codec"]))
    with h5py.File(facts["path"], "w") as file:
        file["t_offset"] = np.int64(facts["start_us"])
        file.attrs.update(facts["attributes"])

        def column(name: str, kind: str) -> Any:
            return file.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(CHUNK_EVENTS,), **filters)

        # 32 bits hold 71 minutes.
        ticks = "u4" if facts["end_us"] - facts["start_us"] < 1 << 32 else "i8"
        columns = {name: column(f"events/{name}", kind)
                   for name, kind in (("t", ticks), ("x", "u2"), ("y", "u2"), ("p", "u1"))}
        index = column("ms_to_idx", "u8")
        for packet in _gathered(stream):
            t = packet["t"] - facts["start_us"]
            # Every millisecond up to the last event's: a later packet cannot change where it begins.
            rows = np.arange(len(index), int(t[-1]) // 1000 + 1) * 1000
            _append(index, len(columns["t"]) + np.searchsorted(t, rows))
            for name, data in columns.items():
                _append(data, t if name == "t" else packet[name])


def _gathered(stream: BinaryIO) -> Iterator[Events]:
    """What arrives, in packets of a million events or more, and the rest."""
    waiting: list[Events] = []
    while length := stream.read(8):
        packet = np.frombuffer(stream.read(int.from_bytes(length, "little")), EVENT_DTYPE)
        waiting.append(packet)
        if sum(map(len, waiting)) >= BUFFERED_EVENTS:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _append(column: Any, values: np.ndarray) -> None:
    column.resize(len(column) + len(values), axis=0)
    column[len(column) - len(values):] = values


def main() -> None:
    """Write one file, then exit without running destructors of the library."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = 0
    try:
        write(sys.stdin.buffer)
    except ImportError:
        sys.stderr.write("missing")
        code = 1
    except Exception as error:
        reason = re.search(r"error message = '([^']+)'", str(error))
        sys.stderr.write(reason[1] if reason else (str(error).splitlines() or [type(error).__name__])[0][:200])
        code = 1
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
