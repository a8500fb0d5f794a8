"""A stretch of a stream in memory, cut by time: what windows and playback are made of.

    timeline = Timeline(source.info)
    for item in source: timeline.add(item)
    timeline.window(0, 1_000_000, clock_start_us=0)       # everything in [0 s, 1 s)

Sources order their items by where they begin, so begins_us() and settled_us() say what may still come.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

import numpy as np

from streams.types import (
    EVENT_DTYPE,
    OPAQUE,
    Events,
    Frame,
    InputError,
    Packet,
    Resolution,
    SourceInfo,
    Window,
    empty_packet,
)

READOUT_US = 50_000
"""Longest time by which a live sensor's frame comes after the events of its exposure."""


def begins_us(item: Packet) -> int | None:
    """Earliest time in an item: a packet's first event, the begin of a frame's exposure; None if empty."""
    if isinstance(item, Frame):
        return item.begin_us
    return int(item["t"][0]) if len(item) else None


def settled_us(item: Packet, info: SourceInfo) -> int | None:
    """Everything before this time has been handed over once `item` has; None for an empty packet.

    Sources order items by where they begin, so a frame may still fall inside a packet that came before it; a
    live sensor hands a frame over only after its readout.
    """
    begin_us = begins_us(item)
    if begin_us is None or isinstance(item, Frame):
        return begin_us
    if info.frame_resolution is None:
        return _last(item)
    return begin_us - (READOUT_US if info.live and info.events_origin != "simulated" else 0)


def merge(events: Iterable[Events], frames: Iterator[Frame]) -> Iterator[Events | Frame]:
    """Both in time order; a packet that spans the time of a frame is cut there."""
    frame = next(frames, None)
    for packet in events:
        while frame is not None and len(packet) and frame.t_us <= packet["t"][-1]:
            cut = int(np.searchsorted(packet["t"], frame.t_us))
            yield packet[:cut]
            yield frame
            packet, frame = packet[cut:], next(frames, None)
        yield packet
    if frame is not None:
        yield frame
        yield from frames


class Timeline:
    """A stretch of a stream in memory: packets, frames and losses in order of time, cut by time."""

    def __init__(self, info: SourceInfo) -> None:
        self.info = info
        self.n_bytes = 0
        """Size of the events and pictures held."""
        self.last_us: int | None = None
        """Time of the newest event or frame ever added."""
        self.resolution: Resolution | None = info.event_resolution or info.frame_resolution
        self._packets: list[Events] = []
        self._frames: list[Frame] = []
        self._dropped: list[tuple[int, int]] = []

    def add(self, item: Packet) -> None:
        """Append the next item of the source; empty packets leave no trace."""
        if isinstance(item, Frame):
            insort(self._frames, item, key=_time)
            self.n_bytes += item.image.nbytes
            self.resolution = self.resolution or item.resolution
            newest_us = item.t_us
        elif len(item):
            self._packets.append(item)
            self.n_bytes += item.nbytes
            newest_us = _last(item)
        else:
            return
        self.last_us = newest_us if self.last_us is None else max(self.last_us, newest_us)

    def add_dropped(self, t_us: int, count: int) -> None:
        """Note that the source lost `count` events around t_us."""
        if count > 0:
            self._dropped.append((t_us, count))

    def events(self, start_us: int, end_us: int) -> Events:
        """Events in [start_us, end_us) [n], a copy."""
        parts = self._parts(start_us, end_us)
        if not parts:
            return empty_packet()
        return np.concatenate([part.view(OPAQUE) for part in parts]).view(EVENT_DTYPE)

    def count(self, start_us: int, end_us: int) -> int:
        """Number of events in [start_us, end_us)."""
        return sum(len(part) for part in self._parts(start_us, end_us))

    def frames(self, start_us: int, end_us: int) -> list[Frame]:
        """Frames with start_us <= t_us < end_us."""
        return self._frames[bisect_left(self._frames, start_us, key=_time):
                            bisect_left(self._frames, end_us, key=_time)]

    def frame_at(self, t_us: int) -> Frame | None:
        """Latest frame at or before t_us, None when there is none."""
        index = bisect_right(self._frames, t_us, key=_time)
        return self._frames[index - 1] if index else None

    def items(self) -> list[Packet]:
        """All packets and frames, ordered by where they begin."""
        return sorted([*self._packets, *self._frames], key=lambda item: begins_us(item) or 0)

    def window(self, start_us: int, end_us: int, clock_start_us: int) -> Window:
        """Everything in [start_us, end_us). Raises InputError when the source never told a resolution."""
        if self.resolution is None:
            raise InputError(f"{self.info.name} tells no resolution and has no frames; one is needed")
        n_dropped = sum(count for t_us, count in self._dropped if start_us <= t_us < end_us)
        return Window(start_us, end_us, self.events(start_us, end_us), self.frames(start_us, end_us),
                      self.resolution, self.info.events_origin, self.info.frames_origin, n_dropped,
                      clock_start_us)

    def forget_before(self, t_us: int) -> None:
        """Release what lies before t_us; the frame that was last shown at t_us stays."""
        stale = bisect_left(self._packets, t_us, key=_last)
        self.n_bytes -= sum(packet.nbytes for packet in self._packets[:stale])
        del self._packets[:stale]
        shown = max(0, bisect_right(self._frames, t_us, key=_time) - 1)
        self.n_bytes -= sum(frame.image.nbytes for frame in self._frames[:shown])
        del self._frames[:shown]
        self._dropped = [(at_us, count) for at_us, count in self._dropped if at_us >= t_us]

    def copy(self) -> Timeline:
        """A second view of the same items, unaffected by what is added or forgotten later."""
        twin = Timeline(self.info)
        twin.n_bytes, twin.last_us, twin.resolution = self.n_bytes, self.last_us, self.resolution
        twin._packets, twin._frames, twin._dropped = [*self._packets], [*self._frames], [*self._dropped]
        return twin

    def _parts(self, start_us: int, end_us: int) -> list[Events]:
        first = bisect_left(self._packets, start_us, key=_last)
        stop = bisect_left(self._packets, end_us, lo=first, key=_first)
        # bisect on the time column takes log n steps where searchsorted would copy the strided column.
        return [packet[bisect_left(packet["t"], start_us):bisect_left(packet["t"], end_us)]
                for packet in self._packets[first:stop]]


def _time(frame: Frame) -> int:
    return frame.t_us


def _first(packet: Events) -> int:
    return int(packet["t"][0])


def _last(packet: Events) -> int:
    return int(packet["t"][-1])
