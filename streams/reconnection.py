"""A live source that comes back: when a camera is unplugged or a peer goes, it is opened again and the gap is marked.

    source = Reconnecting(lambda losses: open_camera("dv://", losses=losses), give_up_s=60)
    for item in source: ...         # empty packets while it is away; source.losses.outage says why

Time goes on through a gap as it did outside; a device whose clock began anew is moved there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import overload

import numpy as np

from streams.types import (
    Frame,
    InputError,
    Losses,
    Packet,
    Samples,
    SensorSink,
    Source,
    SourceInfo,
    empty_packet,
)

RETRY_S = 1.0
PULSE_S = 0.1
"""So often an empty packet says that time passes while the source is away."""
GIVE_UP_S = 60.0
CLOCK_SLACK_US = 2_000_000
"""A clock that differs by less from what is expected after a gap has run on through it."""
MOST_GAPS = 1000
"""Newest gaps whose places are remembered."""


class Reconnecting:
    """The source that `opener` opens, opened again whenever it ends by itself. Raises what opener raises at first.

    give_up_s: how long to try after it went; 0 = the end is the end. clock: seconds. wait: sleeps until its argument in
    seconds has passed or the event that it is given is set.
    """

    def __init__(self, opener: Callable[[Losses], Source], give_up_s: float = GIVE_UP_S,
                 clock: Callable[[], float] = time.monotonic,
                 wait: Callable[[threading.Event, float], object] = threading.Event.wait) -> None:
        self._opener, self._give_up_s, self._clock, self._wait = opener, give_up_s, clock, wait
        self.losses = Losses()
        """Of all connections together: the opener's sources go on counting in it."""
        self._source = opener(self.losses)
        self._info = self._source.info
        self._closed = threading.Event()
        self._shift_us = 0
        self._last_us: int | None = None
        self._last_s = clock()
        self._gap_from_us: int | None = None
        self._lock = threading.Lock()

    @property
    def info(self) -> SourceInfo:
        """What this source is; reading it consumes nothing."""
        return self._info

    def __iter__(self) -> Iterator[Packet]:
        while not self._closed.is_set():
            error: str | None = None
            try:
                for item in self._source:
                    yield self._placed(item)
            except InputError as raised:
                error = str(raised)
            if self._closed.is_set():
                return
            reason = error or self.losses.damage or f"{self._info.name} ended."
            self.losses.damage = None
            if not (yield from self._reopened(reason)):
                self.losses.damage, self.losses.outage = self.losses.damage or reason, None
                return

    def _reopened(self, reason: str) -> Generator[Packet, None, bool]:
        """Empty packets until the source is there again (True), or until it is given up or closed (False)."""
        self._source.close()
        went_s = self._clock()
        if self._give_up_s > 0:
            self.losses.outage = f"{reason.rstrip('.')}: waiting for it to come back."
        while self._clock() - went_s < self._give_up_s and not self._closed.is_set():
            next_s = self._clock() + RETRY_S
            while self._clock() < next_s and not self._closed.is_set():
                self._wait(self._closed, PULSE_S)
                yield empty_packet()
            attempt = _Attempt(lambda: self._opener(self.losses))
            while not attempt.done.wait(PULSE_S) and not self._closed.is_set():
                yield empty_packet()
            source = attempt.take()
            if source is not None:
                return self._adopt(source)
        return False

    def _adopt(self, source: Source) -> bool:
        """Go on with this one, counting what it loses on top of what was lost; False when it is another camera."""
        before, now = self._info, source.info
        if (before.event_resolution, before.frame_resolution) != (now.event_resolution, now.frame_resolution):
            source.close()
            self.losses.damage = (f"{now.name} came back with {now.event_resolution} pixels instead of "
                                  f"{before.event_resolution}: open it anew.")
            return False
        with self._lock:
            self._source = source
            if self._closed.is_set():
                source.close()
        self.losses.outage = None
        self._gap_from_us = self._last_us
        return True

    def _placed(self, item: Packet) -> Packet:
        """The item in the time of the first connection; the first one after a gap ends the gap."""
        if isinstance(item, Frame):
            first_us = item.t_us
        elif len(item):
            first_us = int(item["t"][0])
        else:
            return item
        if self._gap_from_us is not None:
            self._end_gap(first_us, self._gap_from_us)
        if self._shift_us:
            item = shifted(item, self._shift_us)
        last_us = item.t_us if isinstance(item, Frame) else int(item["t"][-1])
        self._last_us = last_us if self._last_us is None else max(self._last_us, last_us)
        self._last_s = self._clock()
        return item

    def placed(self, samples: Samples) -> Samples | None:
        """Samples in the time of the first connection; None, and counted, between a gap and its first event, where that
        is unknown, and of a kind that was not there at first."""
        if self._gap_from_us is not None or samples.kind not in self._info.samples:
            self.losses.n_others_dropped += len(samples.data)
            return None
        return shifted(samples, self._shift_us)

    def _end_gap(self, first_us: int, from_us: int) -> None:
        expected_us = from_us + round((self._clock() - self._last_s) * 1e6)
        if not from_us < first_us + self._shift_us <= expected_us + CLOCK_SLACK_US:
            self._shift_us = max(expected_us, from_us + 1) - first_us
        self.losses.n_gaps += 1
        self.losses.gaps = [*self.losses.gaps, (from_us, first_us + self._shift_us)][-MOST_GAPS:]
        self._gap_from_us = None

    def seek(self, t_us: int) -> None:
        """Raise InputError: live."""
        self._source.seek(t_us)

    def rate_histogram(self, bins: int) -> np.ndarray:
        """Raise InputError: live."""
        return self._source.rate_histogram(bins)

    def close(self) -> None:
        """Let it go, also while it is away; may be called any number of times, from any thread, and does not wait for
        a device or peer that does not answer."""
        with self._lock:
            self._closed.set()
            self._source.close()

    def __enter__(self) -> Reconnecting:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Attempt:
    """Opens a source in a thread of its own: a device or peer that does not answer must not hold up who closes it."""

    def __init__(self, opener: Callable[[], Source]) -> None:
        self.done = threading.Event()
        self._source: Source | None = None
        self._error: Exception | None = None
        self._abandoned = False
        self._lock = threading.Lock()
        threading.Thread(target=self._open, args=(opener,), name="reopening", daemon=True).start()

    def _open(self, opener: Callable[[], Source]) -> None:
        source: Source | None = None
        try:
            source = opener()
        except InputError:
            pass  # not there yet
        except Exception as error:  # for the thread that asks
            self._error = error
        with self._lock:
            self._source = source
            if self._abandoned and source is not None:
                source.close()
        self.done.set()

    def take(self) -> Source | None:
        """What was opened, None when it is not there; what opens later is closed at once. Raises what opening raised
        beside InputError."""
        with self._lock:
            if not self.done.is_set() and self._source is None:
                self._abandoned = True
        if self._error is not None:
            raise self._error
        return self._source


def reconnecting(opener: Callable[[Losses, SensorSink | None], Source], give_up_s: float,
                 sensors: SensorSink | None) -> Reconnecting:
    """A Reconnecting that hands samples to `sensors` in the time of the first connection; opener gets what to hand
    them to, None when nobody wants them."""
    def hand_over(samples: Samples) -> None:
        if sensors is not None and (placed := source.placed(samples)) is not None:
            sensors(placed)

    source = Reconnecting(lambda losses: opener(losses, hand_over if sensors else None), give_up_s)
    return source


@overload
def shifted(item: Samples, shift_us: int) -> Samples: ...
@overload
def shifted(item: Packet, shift_us: int) -> Packet: ...
def shifted(item: Packet | Samples, shift_us: int) -> Packet | Samples:
    """A copy of an event packet, Frame or Samples, later by shift_us."""
    if isinstance(item, Frame):
        return replace(item, t_us=item.t_us + shift_us)
    moved = (item.data if isinstance(item, Samples) else item).copy()
    moved["t"] += shift_us
    return Samples(item.kind, moved) if isinstance(item, Samples) else moved
