"""A source behind filters: what the user does not want is held back and counted, apart from what was lost.

    source = filtered(open_source("drive.aedat4"), ["noise:5", "rotate:90"])
    for item in source: ...                   # the same types; its info tells the new resolution
    filter_counts(source)                     # [FilterCount("noise:5", 6676, 5120), ...]
    fitting(source.info, ["roi:0,0,9999,1"])  # ([], {"roi": "the region ... sticks out of ..."})

Filters run in the order in which they are given, on events as they come and on the pictures beside them, so that both
views keep one geometry. What passes does not depend on how the stream is cut into packets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from streams.timeline import begins_us
from streams.types import (
    EVENT_DTYPE,
    OPAQUE,
    Events,
    Frame,
    InputError,
    Packet,
    Resolution,
    Source,
    SourceInfo,
    copied,
)

OUTSIDE = np.iinfo(np.uint16).max


class Filter(Protocol):
    """One filter at work on one stream.

    learning: whether it still watches what it will hold back. Events that come in are inside the resolution.
    """

    learning: bool

    def prepare(self, resolution: Resolution, sensor: str) -> Resolution:
        """Begin on events of this resolution; returns that of what comes out. Raises InputError if it does not fit."""

    def events(self, events: Events) -> Events:
        """What passes, in the same order; never writes its input."""

    def image(self, image: np.ndarray) -> np.ndarray:
        """A picture [H, W, ...] in the geometry of the events that come out."""

    def reset(self) -> None:
        """Forget the events before: the stream goes on elsewhere. What was learned stays."""

    def settle(self) -> None:
        """Learn from what was seen so far; nothing more comes."""


class Selection:
    """A filter that lets some events through as they are: keep() says which, pictures stay as they are."""

    learning = False

    def prepare(self, resolution: Resolution, sensor: str) -> Resolution:
        """Begin on events of this resolution."""
        return resolution

    def keep(self, events: Events) -> np.ndarray:
        """Which events pass, bool [n]."""
        raise NotImplementedError

    def events(self, events: Events) -> Events:
        """What passes."""
        return chosen(events, self.keep(events))

    def image(self, image: np.ndarray) -> np.ndarray:
        """The same picture."""
        return image

    def reset(self) -> None:
        """Nothing to forget."""

    def settle(self) -> None:
        """Nothing to learn."""


class Geometry:
    """A filter that moves pixels, given by what image() does to a picture; events go where their pixel goes."""

    learning = False

    def prepare(self, resolution: Resolution, sensor: str) -> Resolution:
        """Begin on events of this resolution."""
        pixels = np.arange(resolution.width * resolution.height).reshape(resolution.hw)
        moved = self.image(pixels)
        target = np.full((2, pixels.size), OUTSIDE, np.uint16)
        target[:, moved.ravel()] = np.indices(moved.shape).reshape(2, -1)
        self._y, self._x = target
        self._width = resolution.width
        return Resolution(moved.shape[1], moved.shape[0])

    def events(self, events: Events) -> Events:
        """The events where they belong now, without those whose pixel is gone."""
        pixel = events["y"].astype(np.intp)
        pixel *= self._width
        pixel += events["x"]
        x = self._x[pixel]
        inside = x != OUTSIDE
        if inside.all():
            moved = copied(events)
        else:
            moved, pixel, x = chosen(events, inside), pixel[inside], x[inside]
        moved["x"], moved["y"] = x, self._y[pixel]
        return moved

    def image(self, image: np.ndarray) -> np.ndarray:
        """The moved picture."""
        raise NotImplementedError

    def reset(self) -> None:
        """Nothing to forget."""

    def settle(self) -> None:
        """Nothing to learn."""


def chosen(events: Events, which: np.ndarray) -> Events:
    """The events of a mask, bool [n], a copy."""
    return events.view(OPAQUE)[which].view(EVENT_DTYPE)


def number(spec: str, value: str, low: float, high: float, unit: str) -> float:
    """A filter's value as a number from low to high. Raises InputError naming the filter as `spec` writes it."""
    try:
        parsed = float(value)
    except ValueError:
        parsed = float("nan")
    if not low <= parsed <= high:
        raise InputError(f"{spec} takes {low:g} to {high:g} {unit}, got {value!r}")
    return parsed


@dataclass
class FilterCount:
    """How many events came to a filter and how many it let through."""

    filter: str
    n_in: int = 0
    n_out: int = 0


class Filtered:
    """A source behind filters, each NAME[:VALUE]; see filtered(). counts: one per filter, in their order."""

    def __init__(self, source: Source, specs: Sequence[str]) -> None:
        from streams.filters import create

        self._source = source
        self._filters = [create(spec) for spec in specs]
        self._counts = [FilterCount(spec) for spec in specs]
        self.losses = source.losses
        self._held: Events | None = None
        self._info = self._prepared(source.info)
        self._learn()

    def _prepared(self, info: SourceInfo) -> SourceInfo:
        came = info.event_resolution or info.frame_resolution
        if came is None:
            raise InputError(f"{info.name} does not tell its size, and filters need it; leave them out")
        self._came, resolution = came, came
        for each in self._filters:
            resolution = each.prepare(resolution, info.sensor)
        frames = info.frame_resolution
        if frames is not None:
            height, width = self._image(np.empty((*frames.hw, 3), np.uint8)).shape[:2]
            frames = Resolution(width, height)
        return replace(info, event_resolution=info.event_resolution and resolution, frame_resolution=frames,
                       format=info.format or type(self._source).__module__.rpartition(".")[2],
                       filters=", ".join([*([info.filters] if info.filters else []),
                                          *(count.filter for count in self._counts)]))

    def _learn(self) -> None:
        """Let filters that learn see the first part of a recording before its first event is given out."""
        info = self._source.info
        if info.live or info.start_us is None or info.duration_us is None or not self._learning:
            return
        before = replace(self.losses)
        for item in self._source:
            if isinstance(item, np.ndarray):
                self._events(item)
            if not self._learning:
                break
        for each in self._filters:
            each.settle()
        self._counts = [FilterCount(count.filter) for count in self._counts]
        self.seek(info.start_us)
        # what was lost there is counted when it is read
        vars(self.losses).update(vars(before))

    @property
    def counts(self) -> list[FilterCount]:
        """What each filter has let through so far, those of the source behind this one first."""
        return [*filter_counts(self._source), *self._counts]

    @property
    def _learning(self) -> bool:
        return any(each.learning for each in self._filters)

    @property
    def info(self) -> SourceInfo:
        """What this source is, in its new geometry; reading it consumes nothing."""
        return self._info

    def __iter__(self) -> Iterator[Packet]:
        for item in self._source:
            begin_us = begins_us(item) if isinstance(item, (np.ndarray, Frame)) else None
            if self._held is not None and begin_us is not None and begin_us >= int(self._held["t"][0]):
                held, self._held = self._held, None
                yield held
            if isinstance(item, Frame):
                yield replace(item, image=np.ascontiguousarray(self._image(item.image)))
            elif not isinstance(item, np.ndarray):
                yield item
            else:
                packet = self._events(item)
                if len(packet) and self._begins_too_late(packet, begin_us):
                    self._held = packet
                else:
                    yield packet
        if self._held is not None:
            held, self._held = self._held, None
            yield held

    def _begins_too_late(self, packet: Events, begin_us: int | None) -> bool:
        """Whether a frame may follow that begins before what is left of the packet: items come by where they begin."""
        return self._info.frame_resolution is not None and int(packet["t"][0]) != begin_us

    def _events(self, events: Events) -> Events:
        if not self._came.contains(events):
            events = chosen(events, (events["x"] < self._came.width) & (events["y"] < self._came.height))
        for each, count in zip(self._filters, self._counts, strict=True):
            count.n_in += len(events)
            if len(events):
                events = each.events(events)
            count.n_out += len(events)
        return events

    def _image(self, image: np.ndarray) -> np.ndarray:
        for each in self._filters:
            image = each.image(image)
        return image

    def seek(self, t_us: int) -> None:
        """Continue at t_us; filters begin anew there, but keep what they learned."""
        self._source.seek(t_us)
        self._held = None
        for each in self._filters:
            each.reset()

    def rate_histogram(self, bins: int) -> np.ndarray:
        """Events per second in `bins` equal parts of the recording, float64 [bins], before the filters."""
        return self._source.rate_histogram(bins)

    def close(self) -> None:
        """Release the device, file or child process."""
        self._source.close()

    def __enter__(self) -> Filtered:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def filtered(source: Source, specs: Sequence[str]) -> Source:
    """The source behind filters, each NAME[:VALUE] (streams/filters), in this order; itself without any.

    A recording's first part is read by filters that learn. Raises InputError, and closes the source, for filters that
    are unknown or do not fit it.
    """
    if not specs:
        return source
    try:
        return Filtered(source, specs)
    except BaseException:
        source.close()
        raise


def filter_counts(source: Source) -> list[FilterCount]:
    """What each filter of a source has let through so far; nothing without filters."""
    counts: list[FilterCount] = getattr(source, "counts", [])
    return counts


def fitting(info: SourceInfo, specs: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Those of some filters, NAME[:VALUE] each, that fit a source, in order, and by NAME why the others do not."""
    from streams.filters import create

    resolution, fit, reasons = info.event_resolution or info.frame_resolution, list[str](), dict[str, str]()
    for spec in specs:
        try:
            if resolution is None:
                raise InputError(f"{info.name} does not tell its size, and filters need it")
            resolution = create(spec).prepare(resolution, info.sensor)
            fit.append(spec)
        except InputError as error:
            reasons[spec.partition(":")[0]] = str(error)
    return fit, reasons
