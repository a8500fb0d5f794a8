"""What is known about a recording before it is written, and what every writer offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from streams.aedat4 import Compression
from streams.types import Events, EventsOrigin, FramesOrigin, InputError, Packet, Resolution, Samples

LATEST_START_US = 60_000_000
"""A counter that begins at 0 may count up to here before the first event; later recordings begin at 0."""


@dataclass(frozen=True)
class Facts:
    """What is written: resolutions None = no such stream; nothing is before start_us or after end_us.

    compression: None = what the format is usually written with. samples: whether there may be Samples. filters:
    that the events have passed.
    """

    resolution: Resolution | None
    events_origin: EventsOrigin | None = "camera"
    frame_resolution: Resolution | None = None
    frames_origin: FramesOrigin | None = None
    sensor: str = ""
    start_us: int = 0
    end_us: int = 0
    compression: Compression | None = None
    samples: bool = False
    filters: str = ""

    @property
    def offset_us(self) -> int:
        """What formats that count from 0 take off the times: nothing where the recording begins near 0."""
        return 0 if 0 <= self.start_us <= LATEST_START_US else self.start_us

    @property
    def size(self) -> Resolution:
        """Of the events' sensor; only for what has events."""
        assert self.resolution is not None
        return self.resolution


class Target(Protocol):
    """A file that is being written; leaving the `with` block finishes it, or gives it up after an exception."""

    def write(self, item: Packet | Samples) -> None:
        """Append events (sorted, not before the last ones), or a Frame or Samples where it keeps them.

        Raises InputError or OSError.
        """

    def __enter__(self) -> Target: ...

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None: ...


Encode: TypeAlias = Callable[[Events, Any], tuple[bytes, Any]]
"""encode(packet, state) gives the bytes of a packet, and the state after it; state None = nothing came before."""


class ByteTarget:
    """A format that is a header and then the bytes of event after event. offset_us is taken off the times."""

    def __init__(self, path: Path, header: bytes, encode: Encode, offset_us: int = 0) -> None:
        self._encode, self._offset_us, self._state = encode, offset_us, None
        self._file = path.open("wb")
        self._file.write(header)

    def write(self, packet: Packet | Samples) -> None:
        """Append events."""
        assert isinstance(packet, np.ndarray)
        if self._offset_us:
            packet = packet.copy()
            packet["t"] -= self._offset_us
        data, self._state = self._encode(packet, self._state)
        self._file.write(data)

    def __enter__(self) -> ByteTarget:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self._file.close()


def check_size(name: str, size: Resolution, largest: int) -> None:
    """Raise InputError for a sensor of more than `largest` px a side."""
    if max(size.width, size.height) > largest:
        raise InputError(f"{name} holds sensors up to {largest}x{largest} px, this one has {size}; use .aedat4")
