"""Cut a stream into windows of time, however the stream was cut into packets.

    for window in windows(open_source("drive.aedat4"), length_us=1_000_000, stride_us=500_000):
        window.events, window.frames                      # everything in [window.start_us, window.end_us)

Windows lie on a grid that begins with the recording. Live code pushes items into a WindowAssembler itself, or
takes latest_windows(), which always gives the newest complete window and counts the ones it skipped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from streams.timeline import Timeline, begins_us, settled_us
from streams.types import InputError, Packet, Source, SourceInfo, Window

MOST_WINDOWS_AT_ONCE = 100_000
"""More windows than this between two items means that a time stamp is wrong."""


@dataclass
class WindowAssembler:
    """Collects the items of one source and hands out windows as soon as they are complete.

    length_us, stride_us: window k is [begin + k * stride, begin + k * stride + length), where begin is begin_us,
    info.start_us or, when both are None, the begin of the first item. Items before begin are left out.
    Memory is bounded: what no future window needs is forgotten. Raises InputError for lengths below 1 µs.
    """

    info: SourceInfo
    length_us: int
    stride_us: int
    begin_us: int | None = None
    _timeline: Timeline = field(init=False, repr=False)
    _begin_us: int | None = field(init=False, repr=False)
    _emitted: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        if self.length_us < 1 or self.stride_us < 1:
            raise InputError(f"windows need a length and a stride of at least 1 µs, got {self.length_us} and "
                             f"{self.stride_us}; give positive times")
        self._timeline = Timeline(self.info)
        self._begin_us = self.info.start_us if self.begin_us is None else self.begin_us

    def push(self, item: Packet, n_dropped: int = 0) -> list[Window]:
        """Take the next item and return the windows it completes, oldest first.

        n_dropped: events the source lost since the previous item. Raises InputError for an absurd jump in
        time.
        """
        item_us, until_us = begins_us(item), settled_us(item, self.info)
        dropped_us = self._timeline.last_us if item_us is None else item_us
        if dropped_us is not None:
            self._timeline.add_dropped(dropped_us, n_dropped)
        if item_us is None or until_us is None:
            return []
        if self._begin_us is None:
            self._begin_us = item_us
        self._timeline.add(item)
        self._timeline.forget_before(self._next_us(self._begin_us))
        return self._complete(self._begin_us, until_us)

    def flush(self, n_dropped: int = 0) -> list[Window]:
        """The stream has ended: return complete windows and a last one for data that no window held yet."""
        last_us = self._timeline.last_us
        if self._begin_us is None or last_us is None:
            return []
        self._timeline.add_dropped(last_us, n_dropped)
        ready = self._complete(self._begin_us, last_us)
        # Complete windows end at or before the last item, so what follows them is in no window yet.
        next_us = self._next_us(self._begin_us)
        rest = next_us, next_us + self.length_us
        if self._timeline.count(*rest) or self._timeline.frames(*rest):
            ready.append(self._emit(self._begin_us))
        return ready

    def _next_us(self, begin_us: int) -> int:
        return begin_us + self._emitted * self.stride_us

    def _complete(self, begin_us: int, until_us: int) -> list[Window]:
        count = max(0, (until_us - self._next_us(begin_us) - self.length_us) // self.stride_us + 1)
        if count > MOST_WINDOWS_AT_ONCE:
            raise InputError(f"{self.info.name} jumps to {until_us} µs, {count} windows ahead; the times are "
                             "damaged or the windows too short, choose a longer stride")
        return [self._emit(begin_us) for _ in range(count)]

    def _emit(self, begin_us: int) -> Window:
        start_us = self._next_us(begin_us)
        clock_us = begin_us if self.info.start_us is None else self.info.start_us
        window = self._timeline.window(start_us, start_us + self.length_us, clock_us)
        self._emitted += 1
        self._timeline.forget_before(self._next_us(begin_us))
        return window


def windows(source: Source, length_us: int, stride_us: int | None = None,
            begin_us: int | None = None) -> Iterator[Window]:
    """Half-open windows of length_us every stride_us (default: length_us) over the rest of a source.

    begin_us: where the first window begins (after a seek); default: the start of the recording.

    Quiet windows come too; the last one may reach beyond the recording. Events that a live source dropped are
    counted in the window in which its counter grew. Raises InputError for lengths below 1 µs.
    """
    assembler = WindowAssembler(source.info, length_us, length_us if stride_us is None else stride_us,
                                begin_us)

    def read() -> Iterator[Window]:
        seen = source.losses.n_dropped
        for item in source:
            dropped = source.losses.n_dropped
            yield from assembler.push(item, dropped - seen)
            seen = dropped
        yield from assembler.flush(source.losses.n_dropped - seen)

    return read()


def clamped_span(end_us: int, length_us: int, first_us: int, stop_us: int) -> tuple[int, int]:
    """(start, end) of a window that ends at end_us, moved into [first_us, stop_us), shortened only to fit."""
    end_us = min(max(end_us, first_us + length_us), max(stop_us, first_us + 1))
    return max(first_us, end_us - length_us), end_us


def window_at(source: Source, end_us: int, length_us: int) -> Window:
    """The window that ends at end_us (recording clock), moved into the recording when it would stick out.

    A file of known length is sought, anything else is read from where it stands. Raises InputError for a
    length below 1 µs, for a source without data and where a damaged recording has nothing readable.
    """
    if length_us < 1:
        raise InputError(f"a window needs a length of at least 1 µs, got {length_us}; give a positive time")
    info, timeline = source.info, Timeline(source.info)
    first_us, stop_us = info.start_us, None
    if not info.live and first_us is not None and info.duration_us is not None:
        stop_us = first_us + info.duration_us + 1
        start_us, end_us = clamped_span(end_us, length_us, first_us, stop_us)
        source.seek(start_us)
    seen = source.losses.n_dropped
    for item in source:
        item_us, until_us = begins_us(item), settled_us(item, info)
        if item_us is None or until_us is None:
            continue
        first_us = item_us if first_us is None else first_us
        timeline.add(item)
        timeline.forget_before(min(until_us, max(end_us, first_us + length_us)) - length_us)
        if until_us >= max(end_us, first_us + length_us):
            break
    if first_us is None or (timeline.last_us is None and stop_us is None):
        raise InputError(f"{info.name} has no data; give a recording with events or frames")
    if stop_us is None:
        stop_us = first_us + 1 if timeline.last_us is None else timeline.last_us + 1
    start_us, end_us = clamped_span(end_us, length_us, first_us, stop_us)
    timeline.add_dropped(start_us, source.losses.n_dropped - seen)
    window = timeline.window(start_us, end_us, first_us)
    if source.losses.damage and not len(window.events) and not window.frames:
        raise InputError(f"nothing is readable at {end_us} µs of {info.name}: {source.losses.damage}")
    return window


class LatestWindows:
    """The newest complete window of a live source, each time one is asked for.

    A thread keeps draining the source; iteration waits for the next complete window and ends with the source.
    n_skipped: windows that were replaced by a newer one before anybody took them. delay_s: how long the newest item
    that was there when the last window was complete took from its arrival on this machine until the window was taken.
    """

    def __init__(self, source: Source, length_us: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.n_skipped = 0
        self.delay_s: float | None = None
        self._losses, self._clock = source.losses, clock
        self._arrived_s: float | None = None
        self._windows = windows(source, length_us)
        self._newest: Window | None = None
        self._error: Exception | None = None
        self._done = False
        self._changed = threading.Condition()
        threading.Thread(target=self._drain, name="latest-windows", daemon=True).start()

    def __iter__(self) -> LatestWindows:
        return self

    def __next__(self) -> Window:
        while True:
            window = self.within(None)
            if window is not None:
                return window

    def within(self, seconds: float | None) -> Window | None:
        """The newest window, None when there was none for so long. Raises StopIteration at the end, and what the source
        raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._done, seconds)
            newest, self._newest = self._newest, None
            if newest is not None:
                self.delay_s = None if self._arrived_s is None else self._clock() - self._arrived_s
                return newest
            if self._error is not None:
                raise self._error
            if self._done:
                raise StopIteration
            return None

    def close(self) -> None:
        """Stop handing out windows; closing the source ends the thread behind it."""
        with self._changed:
            self._done, self._newest = True, None
            self._changed.notify_all()

    def _drain(self) -> None:
        error: Exception | None = None
        try:
            for window in self._windows:
                with self._changed:
                    if self._done:
                        return
                    self.n_skipped += self._newest is not None
                    self._newest, self._arrived_s = window, self._losses.arrived_s
                    self._changed.notify_all()
        except Exception as raised:  # handed to the consumer, whose thread can report it
            error = raised
        with self._changed:
            self._error, self._done = error, True
            self._changed.notify_all()


def latest_windows(source: Source, length_us: int) -> LatestWindows:
    """Start draining a live source and iterate over its newest complete windows of length_us."""
    return LatestWindows(source, length_us)
