"""Live iniVation cameras (DAVIS, DVXplorer) through dv-processing, in a supervised child process.

    with open_source("dv://") as source:        # the first camera; "dv://00000391" the one with this serial number
        for packet in source: ...               # event packets, Frames, empty packets while nothing happens

When the consumer is slower than the camera the newest packets are kept, and source.losses.n_dropped counts the events
of the others. A frame comes when its readout is done, so somewhat later than events of the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from streams.isolation import Child, ChildError, resolution_of, stream
from streams.types import InputError, Losses, Packet, SourceInfo

SCHEME = "dv://"
OPEN_S = 10.0
"""Patience for a camera to start over USB."""
SLOT_EVENTS = 8192
"""Small slots: a batch of 10 ms of a quiet scene should not occupy the place of ten."""


def open_source(uri: str, child_argv: Sequence[str] | None = None) -> DvSource:
    """Open "dv://" (the first camera) or "dv://SERIAL". Raises InputError when there is no such camera."""
    return DvSource(uri, child_argv)


def discover(child_argv: Sequence[str] | None = None) -> list[str]:
    """URIs of the attached cameras, ["dv://00000391", ...]. Raises InputError when dv-processing is missing."""
    try:
        with Child({"task": "discover"}, child_argv) as child:
            return [SCHEME + serial for serial in child.expect("cameras", OPEN_S)["serials"]]
    except ChildError as error:
        raise InputError(f"cameras cannot be listed ({error}): unplug them and plug them in again.") from None


class DvSource:
    """A live camera as a Source (streams/types.py); child_argv stands in for the real child process.

    Raises InputError when there is no such camera, it cannot be opened or dv-processing is missing.
    """

    def __init__(self, uri: str, child_argv: Sequence[str] | None = None) -> None:
        serial = uri.removeprefix(SCHEME).strip("/")
        self._closed = False
        try:
            self._child = Child({"task": "camera", "serial": serial}, child_argv, live=True)
            opened = self._child.expect("open", OPEN_S)
        except ChildError as error:
            name = f"camera {serial}" if serial else "camera"
            if error.kind == "empty":
                raise InputError("no camera found: plug in an iniVation camera or give a recording.") from None
            raise InputError(f"{name} cannot be opened ({error}): check its cable and permissions.") from None
        self._info = SourceInfo(
            name=opened["sensor"],
            event_resolution=resolution_of(opened, "event_resolution"),
            frame_resolution=resolution_of(opened, "frame_resolution"),
            live=True,
            events_origin=opened["events_origin"],
            frames_origin=opened["frames_origin"],
            sensor=opened["sensor"],
        )
        self._stream = stream(self._child, opened, self._child.losses, slot_events=SLOT_EVENTS)

    @property
    def info(self) -> SourceInfo:
        """What this camera is; reading it consumes nothing."""
        return self._info

    @property
    def losses(self) -> Losses:
        """Counters of what was lost so far; damage says why the camera stopped."""
        return self._child.losses

    def __iter__(self) -> Iterator[Packet]:
        return self

    def __next__(self) -> Packet:
        """Next packet or Frame; ends when the camera is closed, unplugged or stops answering."""
        try:
            return next(self._stream)
        except ChildError as error:
            self._child.close()
            if not self._closed:
                self.losses.damage = f"{self._info.name} stopped ({error})."
            raise StopIteration from None

    def seek(self, t_us: int) -> None:
        """A camera has no past. Raises InputError."""
        raise InputError(f"{self._info.name} is live: seeking works in recordings only, record it first.")

    def rate_histogram(self, bins: int) -> np.ndarray:
        """A camera has no length. Raises InputError."""
        raise InputError(f"{self._info.name} is live: only a recording has a rate histogram, record it first.")

    def close(self) -> None:
        """Let the camera go; may be called any number of times, from any thread."""
        self._closed = True
        self._child.close()

    def __enter__(self) -> DvSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
