"""AEDAT4 recordings (iniVation cameras, and what we record ourselves), read in a supervised child process.

    with open_source("drive.aedat4") as source:
        print(source.info)                      # consumes nothing
        for packet in source: ...               # event packets and Frames in time order

dv-processing reads; when it refuses, hangs or crashes, the `aedat` package salvages what lies before the damage.
Files that we wrote say in the metadata of each stream ("parafoveaOrigin") where the data comes from; others are
taken for camera recordings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from streams.delivery import resolution_of, stream
from streams.isolation import WATCHDOG_S, Child, ChildError, Message
from streams.opening import tell_opening
from streams.types import EventsOrigin, Frame, FramesOrigin, InputError, Losses, Packet, Samples, SensorSink, SourceInfo

MAGIC = b"#!AER-DAT4.0\r\n"
SLOWEST_OPEN_BYTES_S = 200e6
"""dv-processing walks through a file without a table when it opens it; a disk may be this slow."""


def matches(path: Path, head: bytes) -> bool:
    """Whether a file that starts with these bytes is an AEDAT4 recording."""
    return head.startswith(MAGIC)


def open_source(uri: str, reconstruct_frames: bool = True, sensors: SensorSink | None = None) -> Aedat4Source:
    """Open the recording at this path. Raises InputError when nothing in it can be read.

    reconstruct_frames: give a recording without frames accumulated ones, 20 a second, of origin "reconstructed".
    sensors: gets IMU and triggers.
    """
    return Aedat4Source(uri, reconstruct_frames, sensors=sensors)


@dataclass
class Contents:
    """What reading everything found: counts, first and last time in µs (None: nothing), what was lost."""

    n_events: int
    n_frames: int
    start_us: int | None
    end_us: int | None
    losses: Losses


class Aedat4Source:
    """A recording as a Source (streams/types.py).

    reconstruct_frames: as in open_source. child_argv: stands in for the real child process.
    Raises InputError when nothing can be read.
    """

    def __init__(self, uri: str, reconstruct_frames: bool = True, child_argv: Sequence[str] | None = None,
                 sensors: SensorSink | None = None) -> None:
        self._path = _checked(Path(uri))
        self._losses = Losses()
        self._contents: Contents | None = None
        self._reader = _Reader(self._path, reconstruct_frames, child_argv, wants_sensors=sensors is not None)
        self._sensors = sensors
        try:
            self._info = self._describe(self._reader.opened)
        except BaseException:
            self._reader.close()
            raise
        self._stream = self._reader.read(None, self._losses, sensors=sensors)

    def _describe(self, opened: Message) -> SourceInfo:
        start_us, end_us = opened["start_us"], opened["end_us"]
        if start_us is None:
            contents = self._read_contents()
            start_us, end_us = contents.start_us, contents.end_us
            self._losses.damage = contents.losses.damage
        return SourceInfo(
            name=self._path.name,
            event_resolution=resolution_of(opened, "event_resolution"),
            frame_resolution=resolution_of(opened, "frame_resolution"),
            start_us=start_us,
            duration_us=None if start_us is None else end_us - start_us,
            events_origin=_known(opened["events_origin"], EventsOrigin),
            frames_origin=_known(opened["frames_origin"], FramesOrigin),
            sensor=opened["sensor"], filters=opened.get("filters", ""), samples=tuple(opened.get("samples", ())),
        )

    @property
    def info(self) -> SourceInfo:
        """What this recording is; reading it consumes nothing."""
        return self._info

    @property
    def losses(self) -> Losses:
        """Counters of what was lost so far."""
        return self._losses

    def _read_contents(self) -> Contents:
        """Read everything once and say what is there; before iterating, which it would disturb. Raises InputError."""
        if self._contents is None:
            contents = Contents(0, 0, None, None, Losses())
            tell_opening()
            frames = self._reader.opened["frames_origin"] != "reconstructed"
            for packet in self._reader.read(None, contents.losses, frames):
                if isinstance(packet, Frame):
                    first_us = last_us = packet.t_us
                    contents.n_frames += 1
                else:
                    first_us, last_us = int(packet["t"][0]), int(packet["t"][-1])
                    contents.n_events += len(packet)
                contents.start_us = first_us if contents.start_us is None else contents.start_us
                contents.end_us = last_us
            self._contents = contents
        return self._contents

    def __iter__(self) -> Iterator[Packet]:
        return self

    def __next__(self) -> Packet:
        """Next packet or Frame; after seek() from there, also within a running loop."""
        return next(self._stream)

    def seek(self, t_us: int) -> None:
        """Continue with the first event or Frame at or after t_us (recording clock); works after the end too."""
        self._stream = self._reader.read(t_us, self._losses, sensors=self._sensors)

    def rate_histogram(self, bins: int) -> np.ndarray:
        """Events per second in `bins` equal parts of the recording, float64 [bins]; reads it once, consumes nothing."""
        if bins < 1:
            raise ValueError(f"a histogram needs at least one bin, got {bins}")
        counts = np.zeros(bins, np.int64)
        start_us, span_us = self._info.start_us or 0, max(self._info.duration_us or 0, 1)
        reader = _Reader(self._path, False, self._reader.argv, self._reader.salvaging)
        try:
            for packet in reader.read(None, Losses(), frames=False):
                assert not isinstance(packet, Frame)
                places = (packet["t"] - start_us) * bins // span_us
                counts += np.bincount(np.clip(places, 0, bins - 1), minlength=bins)
        finally:
            reader.close()
        return counts / (span_us * 1e-6 / bins)

    def close(self) -> None:
        """End the child process; may be called any number of times."""
        self._reader.close()

    def __enter__(self) -> Aedat4Source:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Reader:
    """A child on one recording; once dv-processing has failed on it, the salvage reader takes over for good."""

    def __init__(self, path: Path, reconstruct: bool, argv: Sequence[str] | None, salvaging: bool = False,
                 wants_sensors: bool = False) -> None:
        self.argv = argv
        self.salvaging, self._wants_sensors = salvaging, wants_sensors
        self._path = path
        self._reconstruct = reconstruct
        self._damage: str | None = None
        self._closed = False
        self._child: Child | None = None
        try:
            self.opened = self._open()
        except ChildError as error:
            if error.kind == "empty":
                raise InputError(f"{path} has no events and no frames: give a recording of a camera.") from None
            self.salvaging, self._damage = True, self._sentence(error)
            try:
                self.opened = self._open()
            except ChildError:
                raise self._unreadable() from None

    def _open(self) -> Message:
        name = "salvage" if self.salvaging else "recording"
        task: Message = {"task": name, "path": str(self._path), "reconstruct": self._reconstruct}
        if self._wants_sensors:
            task["sensors"] = True
        child = Child(task, self.argv)
        try:
            patience_s = WATCHDOG_S + self._path.stat().st_size / SLOWEST_OPEN_BYTES_S
            opened = child.expect("open", patience_s)
        except BaseException:
            child.close()
            raise
        self._child = child
        if self._closed:
            # Closed from another thread meanwhile: nobody else would end this child.
            child.close()
        return opened

    def read(self, start_us: int | None, losses: Losses, frames: bool = True,
             sensors: SensorSink | None = None) -> Iterator[Packet]:
        """Everything from start_us on; what was read before a damage is kept, then the salvage reader goes on."""
        nothing = start_us is None
        samples_us = dict.fromkeys(("imu", "triggers"), start_us)

        def hear(samples: Samples) -> None:
            samples_us[samples.kind] = 1 + int(samples.data["t"][-1])
            if sensors is not None:
                sensors(samples)

        while not self._closed:
            losses.damage = losses.damage or self._damage
            try:
                if self._child is None or not self._child.alive:
                    self._open()
                assert self._child is not None
                for packet in stream(self._child, self.opened, losses, start_us, frames, sensors=hear,
                                     samples_us=samples_us):
                    nothing = False
                    start_us = 1 + (packet.t_us if isinstance(packet, Frame) else int(packet["t"][-1]))
                    yield packet
                return
            except ChildError as error:
                if self._closed:
                    return
                self._damage = losses.damage = losses.damage or self._sentence(error)
                if self.salvaging and nothing:
                    raise self._unreadable() from None
                if self.salvaging:
                    return
                self.salvaging = True

    def _sentence(self, error: ChildError) -> str:
        reasons = {
            "hung": "the decoder stopped answering",
            "died": "the decoder crashed",
            "refused": "cut off, or its index is corrupt",
        }
        reason = reasons.get(error.kind, str(error))
        return f"{self._path.name} is damaged ({reason}): everything that could be read was delivered."

    def _unreadable(self) -> InputError:
        return InputError(
            f"{self._path} is damaged and nothing in it can be read: copy it again from where it was recorded."
        )

    def close(self) -> None:
        self._closed = True
        if self._child is not None:
            self._child.close()


def _known(origin: str | None, allowed: Any) -> Any:
    """An origin from a file's metadata, "camera" for what nobody ever wrote there."""
    return origin if origin is None or origin in get_args(allowed) else "camera"


def _checked(path: Path) -> Path:
    """The path, when it leads to what looks like an AEDAT4 file. Raises InputError."""
    if not path.exists():
        raise InputError(f"{path} does not exist: give the path of an .aedat4 recording.")
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the path of one .aedat4 recording in it.")
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if not head:
        raise InputError(f"{path} is empty: copy it again from where it was recorded.")
    if not head.startswith(MAGIC):
        raise InputError(f"{path} is not an AEDAT4 recording: it does not start with {MAGIC[:12].decode()}.")
    if path.suffix != ".aedat4":
        raise InputError(f"{path} is an AEDAT4 recording but is not named so: rename it to end in .aedat4.")
    return path
