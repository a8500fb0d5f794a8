"""The types every source produces and every consumer reads: events, frames, windows.

    packet = empty_packet()                    # structured array of EVENT_DTYPE, sorted by t
    Resolution(346, 260).contains(packet)      # True

Time is int64 microseconds in the recording's own clock, from the moment a source hands over a packet.
Coordinates are pixels with the origin at the top left. Polarity True is ON (brighter).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np

EVENT_DTYPE = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")], align=True)
"""One event: time in µs, x and y in px, polarity (True = brighter). Aligned to 16 bytes."""

OPAQUE = np.dtype(("V", EVENT_DTYPE.itemsize))
"""An event without its fields: numpy copies structured arrays field by field, these ten times as fast (measured)."""

IMU_DTYPE = np.dtype([("t", "<i8"), ("temperature", "<f4"),
                      *((f"{what}_{axis}", "<f4") for what in ("acceleration", "rotation", "magnetic")
                        for axis in "xyz")])
"""One sample of a camera's inertial sensor: µs, °C, g, °/s, µT."""

TRIGGER_DTYPE = np.dtype([("t", "<i8"), ("kind", "i1")])
"""One trigger: µs, and its kind as iniVation numbers them (1 rising, 2 falling edge, 3 pulse of SIGNAL_IN ...)."""

Events: TypeAlias = np.ndarray
"""Structured array [n] of EVENT_DTYPE, sorted by t; length 0 means "time passed, nothing happened"."""

EventsOrigin: TypeAlias = Literal["camera", "simulated", "rendered"]
FramesOrigin: TypeAlias = Literal["camera", "video", "rendered", "reconstructed"]


class InputError(ValueError):
    """Something a person gave us is wrong: one sentence saying what was got, what is allowed, what to do."""


def events_origin_of(text: str) -> EventsOrigin:
    """An origin that a file states, "camera" for what nobody ever wrote there."""
    return text if text in get_args(EventsOrigin) else "camera"  # type: ignore[return-value]


def empty_packet() -> Events:
    """Return a packet without events."""
    return np.empty(0, EVENT_DTYPE)


def events_from_columns(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> Events:
    """Assemble a packet [n] from columns: t µs, x px, y px, p truthy for ON. Does not sort."""
    packet = np.empty(len(t), EVENT_DTYPE)
    packet["t"], packet["x"], packet["y"], packet["p"] = t, x, y, p
    return packet


def copied(events: Events) -> Events:
    """A copy [n] of contiguous events, with whatever lies between their fields."""
    return events.view(OPAQUE).copy().view(EVENT_DTYPE)


@dataclass(frozen=True)
class Resolution:
    """Size of a sensor or an image in pixels."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"a resolution needs positive sides, got {self.width}x{self.height}")

    @property
    def hw(self) -> tuple[int, int]:
        """Array shape (height, width)."""
        return self.height, self.width

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width / self.height

    def contains(self, events: Events) -> bool:
        """True when every event lies inside."""
        return bool(np.all((events["x"] < self.width) & (events["y"] < self.height)))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, eq=False)
class Frame:
    """One RGB picture: t_us at mid-exposure, exposure_us long, image uint8 [H, W, 3] RGB."""

    t_us: int
    exposure_us: int
    image: np.ndarray

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(f"a frame is uint8 [H, W, 3] RGB, got {self.image.dtype} {self.image.shape}")

    @property
    def begin_us(self) -> int:
        """Begin of the exposure."""
        return self.t_us - self.exposure_us // 2

    @property
    def resolution(self) -> Resolution:
        """Size of the picture."""
        return Resolution(self.image.shape[1], self.image.shape[0])


@dataclass(frozen=True, eq=False)
class Samples:
    """What a camera measures beside events and frames: kind "imu" or "triggers", data [n] of its dtype above.

    AEDAT4 recordings, cameras and network streams that are opened with sensors= hand them to that function while they
    are read, for who records, publishes or counts everything: open_source(uri, sensors=recorder.write).
    """

    kind: Literal["imu", "triggers"]
    data: np.ndarray


SensorSink: TypeAlias = Callable[[Samples], None]
"""Gets the Samples of a source, batch after batch, each stream in order of time."""

Packet: TypeAlias = "np.ndarray | Frame"
"""What a source yields: an event packet or a Frame."""


@dataclass(frozen=True)
class SourceInfo:
    """What a source is, known before anything is consumed.

    name: short name for people. event_resolution / frame_resolution: None when it has no such stream.
    live: a camera (keeps only the newest) as opposed to a file (waits). start_us / duration_us: in the
    source's own clock, None when not known in advance. *_origin: where each stream comes from, None = no stream.
    format: module in streams/sources that reads it, "" when the source's own module says so. filters: NAME[:VALUE] of
    those that its events have passed, in their order, a comma and a space between them; also when it was recorded.
    samples: kinds of Samples that it hands to who opened it with sensors=, () when nobody asked.
    """

    name: str
    event_resolution: Resolution | None
    frame_resolution: Resolution | None
    live: bool = False
    start_us: int | None = None
    duration_us: int | None = None
    events_origin: EventsOrigin | None = "camera"
    frames_origin: FramesOrigin | None = None
    sensor: str = ""
    format: str = ""
    filters: str = ""
    samples: tuple[str, ...] = ()


@dataclass
class Losses:
    """What a source could not deliver, counted while it is read, and how late it is.

    n_rejected: events, frames and samples refused by validation (outside the sensor, time running backwards, absurd
    jumps).
    n_dropped: events thrown away because the consumer of a live source was too slow; n_others_dropped: frames, and
    samples of the IMU and triggers, likewise.
    n_late: packets and frames of a live source that came after what begins later, for longer than could be waited: they
    are not lost, but windows that were complete by then lack them.
    n_clamped: events that came a little after later ones and were moved to their time.
    n_restarts: times that the recording's clock started again and was joined to what came before.
    n_gaps: times that a live source was away and came back; gaps: (start_us, end_us) of the newest of them.
    outage: one sentence while a live source is away or silent, None while it delivers.
    damage: one sentence when the recording is damaged and reading ended early, else None.
    arrived_s: time.monotonic() when the newest item that a live source handed over had reached this machine.
    skew: one sentence on how the clocks of events and frames were joined where they come from two devices.
    """

    n_rejected: int = 0
    n_dropped: int = 0
    n_others_dropped: int = 0
    n_late: int = 0
    n_clamped: int = 0
    n_restarts: int = 0
    n_gaps: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    outage: str | None = None
    damage: str | None = None
    arrived_s: float | None = None
    skew: str | None = None


class Source(Protocol):
    """A stream of event packets (sorted by t) and Frames, in time order.

    Iterating reads on from the current position. seek() works on files only (live sources raise InputError).
    close() may be called any number of times. Sources are context managers.
    """

    @property
    def info(self) -> SourceInfo:
        """What this source is; reading it consumes nothing."""

    @property
    def losses(self) -> Losses:
        """Counters of what was lost so far."""

    def __iter__(self) -> Iterator[Packet]: ...

    def seek(self, t_us: int) -> None:
        """Continue iteration with the first packet or frame at or after t_us (recording clock)."""

    def rate_histogram(self, bins: int) -> np.ndarray:
        """Events per second in `bins` equal parts of the recording, float64 [bins]; consumes nothing."""

    def close(self) -> None:
        """Release the device, file or child process."""

    def __enter__(self) -> Source: ...

    def __exit__(self, *exc: object) -> None: ...


@dataclass(frozen=True, eq=False)
class Window:
    """Everything between start_us and end_us (half-open), however the stream was cut into packets.

    events: [n] sorted by t. frames: sorted by t_us. resolution: of the events. n_dropped: events lost in
    this span because a live consumer was too slow. clock_start_us: the start of the recording, for people.
    previous: the window that the same conversation spoke about before, itself without a previous one.
    """

    start_us: int
    end_us: int
    events: Events
    frames: list[Frame]
    resolution: Resolution
    events_origin: EventsOrigin | None = "camera"
    frames_origin: FramesOrigin | None = None
    n_dropped: int = 0
    clock_start_us: int = field(default=0)
    previous: Window | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.end_us <= self.start_us:
            raise ValueError(f"a window needs end_us > start_us, got [{self.start_us}, {self.end_us})")

    @property
    def duration_us(self) -> int:
        """Length of the window in µs."""
        return self.end_us - self.start_us
