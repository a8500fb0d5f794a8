"""Write events and frames to an AEDAT4 recording.

    with Recorder("walk.aedat4", Resolution(346, 260), None, "simulated", None) as recorder:
        recorder.write(packet)                  # event packets and Frames in time order

Nothing is ever half-written under the target's name: a temporary file beside it is renamed when everything is in it.
What an error of the disk interrupts is put in place up to there: it is readable. Compressing and writing happen in a
thread of their own, behind a bounded queue, so that a camera is not kept waiting by a disk.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from pathlib import Path

import numpy as np

from streams.aedat4 import (
    TABLE_PLACE,
    VERSION_LINE,
    Compression,
    Description,
    Entry,
    Stream,
    events_body,
    frame_body,
    imu_body,
    packet_head,
    table_body,
    triggers_body,
)
from streams.types import Events, EventsOrigin, Frame, FramesOrigin, InputError, Packet, Resolution, Samples

PACKET_EVENTS = 16384
"""Events per packet of the file: what a reader decodes to find one."""
QUEUE_PACKETS = 512
"""Packets that may wait for the disk: 128 MiB of events."""


class Recorder:
    """Writes one AEDAT4 file; close() puts it in place, leaving the `with` block by an exception leaves nothing.

    path must end in .aedat4; an existing file is replaced. A recording has those streams whose resolution is given.
    Where events and frames come from is stored with each stream and read back by streams.sources.aedat4. sensor: name
    of the camera. compression: lz4 is fastest, zstd smaller, the *_high ones are for archives only. sensors: make room
    for Samples. filters: that the events have passed, kept with them. Raises InputError when the file cannot be
    written; write() and close() do too, and what was written before is then in place (recorded_us says up to where),
    unless `keep` is False.
    """

    def __init__(self, path: str | Path, event_resolution: Resolution | None, frame_resolution: Resolution | None,
                 events_origin: EventsOrigin | None, frames_origin: FramesOrigin | None, sensor: str = "Parafovea",
                 compression: Compression = "zstd", sensors: bool = False, keep: bool = True,
                 filters: str = "") -> None:
        self._path = Path(path)
        if self._path.suffix != ".aedat4":
            raise InputError(f"{path} cannot be recorded: give a name that ends in .aedat4.")
        if not self._path.parent.is_dir():
            raise InputError(f"{path} cannot be recorded: the folder {self._path.parent} does not exist.")
        self._temporary = self._path.with_name(f".{self._path.stem}.{os.getpid()}.partial.aedat4")
        self._resolutions = {"events": event_resolution, "frames": frame_resolution}
        streams = [Stream("events", event_resolution, events_origin, filters)] if event_resolution else []
        streams += [Stream("frames", frame_resolution, frames_origin)] if frame_resolution else []
        streams += [Stream("imu"), Stream("triggers")] if sensors else []
        self._numbers = {stream.kind: number for number, stream in enumerate(streams)}
        self._frames_origin = frames_origin
        self.recorded_us: int | None = None
        """Time of the newest event or frame that is in the file."""
        self.n_bytes = 0
        """Size of the file so far."""
        self._last_us: int | None = None
        self._keep = keep
        self._open = True
        self._error: Exception | None = None
        description = Description(sensor, compression, tuple(streams))
        self._compress = description.compressor()
        self._entries: list[Entry] = []
        try:
            self._file = open(self._temporary, "wb", buffering=0)  # noqa: SIM115
            self._append(VERSION_LINE + description.header())
        except OSError as error:
            self.abort()
            raise self._failed(error) from None
        self._queue: queue.Queue[Packet | Samples | None] = queue.Queue(QUEUE_PACKETS)
        self._thread = threading.Thread(target=self._write_all, name="recorder", daemon=True)
        self._thread.start()

    def write(self, item: Packet | Samples) -> None:
        """Append a packet (sorted by t, not before the last one), a Frame or Samples; waits when the disk is slow.

        Raises ValueError for what does not belong into this recording, InputError when the disk failed.
        """
        if not self._open:
            raise ValueError(f"{self._path} is closed: nothing more can be written to it")
        if self._error is not None:
            self.close()
        if isinstance(item, Frame):
            if item.resolution != self._resolutions["frames"]:
                raise ValueError(f"a frame of {item.resolution} does not fit {self._resolutions['frames']}")
            self._queue.put(item)
        elif isinstance(item, Samples):
            self._queue.put(item)
        elif len(item):
            self._check(item)
            for begin in range(0, len(item), PACKET_EVENTS):
                self._queue.put(item[begin:begin + PACKET_EVENTS])

    @property
    def waiting(self) -> int:
        """Packets that wait for the disk, of at most QUEUE_PACKETS."""
        return self._queue.qsize()

    def _check(self, packet: Events) -> None:
        t, resolution = packet["t"], self._resolutions["events"]
        if resolution is None or not resolution.contains(packet):
            raise ValueError(f"events outside the sensor of {resolution} cannot be recorded")
        if np.any(t[1:] < t[:-1]) or (self._last_us is not None and t[0] < self._last_us):
            raise ValueError("events cannot be recorded: their time runs backwards")
        self._last_us = int(t[-1])

    # The writing thread.

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is not None:
                continue  # so that nobody waits for ever in put()
            try:
                self._write_one(item)
            except Exception as error:  # whatever it is, write() and close() report it
                self._error = error

    def _write_one(self, item: Packet | Samples) -> None:
        if isinstance(item, Frame):
            kind, body, n = "frames", frame_body(item, self._frames_origin), 1
            first_us, last_us = item.begin_us, item.t_us
        elif isinstance(item, Samples):
            kind, n = item.kind, len(item.data)
            body = imu_body(item.data) if kind == "imu" else triggers_body(item.data)
            first_us, last_us = int(item.data["t"][0]), int(item.data["t"][-1])
        else:
            kind, body, n = "events", events_body(item), len(item)
            first_us, last_us = int(item["t"][0]), int(item["t"][-1])
        content, number = self._compress(body), self._numbers[kind]
        place = self.n_bytes + len(packet_head(number, content))
        self._append(packet_head(number, content) + content)
        # A reader looks a frame up by the time of its stamp, the begin of the exposure.
        self._entries.append(Entry(place, number, len(content), n, first_us, first_us if kind == "frames" else last_us))
        self.recorded_us = last_us if self.recorded_us is None else max(self.recorded_us, last_us)

    def _append(self, data: bytes) -> None:
        """All of it, or nothing and OSError."""
        left = memoryview(data)
        try:
            while len(left):
                left = left[self._file.write(left) or 0:]
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self.n_bytes)
                self._file.seek(self.n_bytes)
            raise
        self.n_bytes += len(data)

    def close(self) -> None:
        """Finish the file and put it in place; may be called any number of times. Raises InputError."""
        if not self._open:
            return
        self._open = False
        self._queue.put(None)
        self._thread.join()
        error = self._error
        try:
            self._finish()
        except OSError as raised:
            error = error or raised
        self._file.close()
        try:
            if error is None or self._keep:
                os.replace(self._temporary, self._path)
            else:
                self._temporary.unlink()
        except OSError as raised:
            error = error or raised
        if error is not None:
            raise self._failed(error) from None

    def _finish(self) -> None:
        """Append the table, and say in the header where it is; a file without one is readable too."""
        place = self.n_bytes
        self._append(self._compress(table_body(self._entries)))
        self._file.seek(len(VERSION_LINE) + TABLE_PLACE)
        self._file.write(place.to_bytes(8, "little"))

    def abort(self) -> None:
        """Stop without a file; after close() this does nothing."""
        if not self._open:
            return
        self._open = False
        if hasattr(self, "_thread"):
            self._error = self._error or InterruptedError()
            self._queue.put(None)
            self._thread.join()
        with contextlib.suppress(OSError, AttributeError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def _failed(self, error: Exception) -> InputError:
        reason = getattr(error, "strerror", None) or str(error)
        kept = " What was recorded before is in it." if self._entries and self._keep else ""
        return InputError(f"{self._path} cannot be written ({reason}): make room or choose another folder.{kept}")

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
