"""Writes HDF5 as DSEC does, in a child process: events/t, x, y, p, an index of milliseconds, an offset of the clock.

t counts µs from t_offset in 32 bits (64 in recordings of more than 71 minutes); ms_to_idx[k] is the first event at or
after k ms. The sensor's name and size and the events' origin are attributes of ours. Other programs need hdf5plugin to
read it, as for DSEC itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from streams.targets.content import Facts
from streams.types import InputError, Packet

NAME = "HDF5"
KEEPS = frozenset({"size", "origin", "clock", "sensor"})
PROGRAM = [sys.executable, "-P", "-m", "streams.hdf5_writer"]


def open_target(path: Path, facts: Facts) -> Hdf5Target:
    """Begin to write, with Blosc and Zstandard as DSEC unless something else is said."""
    return Hdf5Target(path, facts)


class Hdf5Target:
    """Hands packets to the child. Raises OSError for a full disk, InputError for a missing library."""

    def __init__(self, path: Path, facts: Facts) -> None:
        attributes = {"width": facts.size.width, "height": facts.size.height, "events_origin": str(facts.events_origin),
                      "sensor": facts.sensor}
        # As DSEC: times count from where the recording begins, also when that is near 0.
        about = {"path": str(path), "start_us": facts.start_us, "end_us": facts.end_us, "attributes": attributes,
                 "codec": (facts.compression or "zstd").removesuffix("_high")}
        self._child = subprocess.Popen(PROGRAM, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        self._send(json.dumps(about).encode() + b"\n")

    def write(self, packet: Packet) -> None:
        """Append events."""
        data = np.ascontiguousarray(packet).tobytes()
        self._send(len(data).to_bytes(8, "little") + data)

    def _send(self, data: bytes) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(data)
        except BrokenPipeError:
            self._finish()
            raise OSError("its writer ended early") from None

    def _finish(self) -> None:
        """Wait for the child's end. Raises OSError or InputError when the file is not whole."""
        _, said = self._child.communicate()
        if said == b"missing":
            raise InputError("HDF5 recordings need h5py and hdf5plugin: run `pip install 'parafovea[hdf5]'`")
        if self._child.returncode:
            raise OSError(0, said.decode("utf-8", "replace").strip() or "its writer crashed")

    def __enter__(self) -> Hdf5Target:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            self._finish()
        else:
            self._child.kill()
            self._child.communicate()
