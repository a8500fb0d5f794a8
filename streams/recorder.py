"""Write events and frames to an AEDAT4 recording, in a supervised child process.

    with Recorder("walk.aedat4", Resolution(346, 260), None, "simulated", None) as recorder:
        recorder.write(packet)                  # event packets and Frames in time order

Nothing is ever half-written under the target's name: a temporary file beside it is renamed when everything is in it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from streams.isolation import Child, ChildError
from streams.types import (
    EVENT_DTYPE,
    Events,
    EventsOrigin,
    Frame,
    FramesOrigin,
    InputError,
    Packet,
    Resolution,
)

Compression = Literal["none", "lz4", "lz4_high", "zstd", "zstd_high"]

SLOT_EVENTS = 16384
"""Events per packet of the file; small enough that the slowest compression takes well under a second for one."""
WRITE_S = 15.0
"""Patience: a slow disk is not a hang."""


class Recorder:
    """Writes one AEDAT4 file; close() puts it in place, leaving the `with` block by an exception leaves nothing.

    path must end in .aedat4; an existing file is replaced. frame_resolution and frames_origin are None for a
    recording without frames. Where events and frames come from is stored with each stream and read back by
    streams.sources.aedat4. sensor: name of the camera. compression: lz4 is fastest, zstd smaller, the *_high ones
    are for archives only (0.05 to 1 Mev/s). child_argv: stands in for the real child process.
    Raises InputError when the file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        event_resolution: Resolution,
        frame_resolution: Resolution | None,
        events_origin: EventsOrigin,
        frames_origin: FramesOrigin | None,
        sensor: str = "Parafovea",
        compression: Compression = "zstd",
        child_argv: Sequence[str] | None = None,
    ) -> None:
        self._path = Path(path)
        if self._path.suffix != ".aedat4":
            raise InputError(f"{path} cannot be recorded: give a name that ends in .aedat4.")
        if not self._path.parent.is_dir():
            raise InputError(f"{path} cannot be recorded: the folder {self._path.parent} does not exist.")
        self._temporary = self._path.with_name(f".{self._path.stem}.{os.getpid()}.partial.aedat4")
        self._event_resolution, self._frame_resolution = event_resolution, frame_resolution
        self._last_us: int | None = None
        self._open = True
        task = {
            "task": "write",
            "path": str(self._temporary),
            "sensor": sensor,
            "compression": compression,
            "event_resolution": _pair(event_resolution),
            "frame_resolution": _pair(frame_resolution),
            "events_origin": events_origin,
            "frames_origin": frames_origin,
        }
        try:
            self._child = Child(task, child_argv)
        except ChildError as error:
            raise self._failed(error) from None
        try:
            self._child.expect("open", WRITE_S)
            picture_bytes = frame_resolution.width * frame_resolution.height * 3 if frame_resolution else 0
            self._ring = self._child.share(max(SLOT_EVENTS * EVENT_DTYPE.itemsize, picture_bytes))
        except ChildError as error:
            self.abort()
            raise self._failed(error) from None

    def write(self, item: Packet) -> None:
        """Append a packet (sorted by t, not before the last one) or a Frame. Raises ValueError, InputError."""
        if not self._open:
            raise ValueError(f"{self._path} is closed: nothing more can be written to it")
        try:
            if isinstance(item, Frame):
                self._write_frame(item)
            else:
                self._write_events(item)
        except ChildError as error:
            self.abort()
            raise self._failed(error) from None

    def _write_events(self, packet: Events) -> None:
        if len(packet) == 0:
            return
        t = packet["t"]
        if not self._event_resolution.contains(packet):
            raise ValueError(f"events outside the sensor of {self._event_resolution} cannot be recorded")
        if np.any(t[1:] < t[:-1]) or (self._last_us is not None and t[0] < self._last_us):
            raise ValueError("events cannot be recorded: their time runs backwards")
        self._last_us = int(t[-1])
        for begin in range(0, len(packet), SLOT_EVENTS):
            part = packet[begin : begin + SLOT_EVENTS]
            slot = self._slot()
            self._ring.array(slot, EVENT_DTYPE, len(part))[:] = part
            self._child.send("events", slot=slot, n=len(part))

    def _write_frame(self, frame: Frame) -> None:
        if frame.resolution != self._frame_resolution:
            raise ValueError(f"a frame of {frame.resolution} does not fit {self._frame_resolution}")
        slot, image = self._slot(), frame.image
        self._ring.array(slot, image.dtype, image.size).reshape(image.shape)[:] = image
        times = {"t_us": int(frame.t_us), "exposure_us": int(frame.exposure_us)}
        self._child.send("frame", slot=slot, height=image.shape[0], width=image.shape[1], **times)

    def _slot(self) -> int:
        return int(self._child.expect("free", WRITE_S)["slot"])

    def close(self) -> None:
        """Finish the file and put it in place; may be called any number of times. Raises InputError."""
        if not self._open:
            return
        try:
            self._child.send("end")
            while self._child.receive(WRITE_S)["type"] != "end":
                pass
            os.replace(self._temporary, self._path)
        except (ChildError, OSError) as error:
            raise self._failed(error) from None
        finally:
            self.abort()

    def abort(self) -> None:
        """Stop without a file; after close() this does nothing."""
        self._open = False
        self._child.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def _failed(self, error: Exception) -> InputError:
        return InputError(f"{self._path} cannot be written ({error}): is the disk full or protected?")

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def _pair(resolution: Resolution | None) -> tuple[int, int] | None:
    return None if resolution is None else (resolution.width, resolution.height)
