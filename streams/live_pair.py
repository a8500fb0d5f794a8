"""Two live sources as one: the events of the first, the frames of the second moved into the first one's time.

    source = LivePair(open_source("dv://"), open_source("webcam://0"), offset_us=None)

Each has a thread that drains it. Their clocks are joined by when things arrive on this machine: the shortest way that
anything took from its time stamp to here is taken as equal for both. How far events and frames then still seem to be
apart is estimated every few seconds and told in losses.skew. With offset_us="auto" the frames are moved by it once,
when it was believed SURE times in a row and hardly changed; otherwise it changes nothing, since a picture that jumps
again and again is worse. Both are handed over in order of their begin (streams/ordering.py).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np

from streams.ordering import LONGEST_LOOK_S, InOrder
from streams.pairing import Changes, Estimate, Rates, estimate, sentence
from streams.timeline import begins_us
from streams.types import Frame, InputError, Losses, Packet, Source, SourceInfo, empty_packet

WAITING = 256
"""Items that may wait for the consumer; of more the oldest go and are counted."""
PULSE_S = 0.1
LOOK_S = 3.0
"""So often the skew is estimated."""
REACH_US = 500_000
SURE, SAME_US = 3, 20_000
"""So many estimates in a row, each believed and within this of the one before, are taken when nothing was given."""
DRIFT_US_S = 200
"""Two clocks drift apart by at most so much: what was the shortest way once is not believed for ever."""


def joined(events: SourceInfo, frames: SourceInfo) -> SourceInfo:
    """What a pair of sources is."""
    return replace(events, name=f"{events.name} + {frames.name}", frame_resolution=frames.frame_resolution,
                   frames_origin=frames.frames_origin, format="pair")


class LivePair:
    """See above. offset_us: to add to the frames' time, None = nothing, "auto" = what is estimated, once that is sure.
    clock: seconds, that of losses.arrived_s."""

    def __init__(self, events: Source, frames: Source, offset_us: int | Literal["auto"] | None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._sources = (events, frames)
        self.info: SourceInfo = joined(events.info, frames.info)
        self.losses = Losses()
        """Of both sources together, and what the consumer was too slow for."""
        self._clock = clock
        self._offset_us = offset_us if isinstance(offset_us, int) else 0
        self._settling, self._believed_us = offset_us == "auto", list[int]()
        self._why = ("until an estimate is sure" if self._settling else "as they came" if offset_us is None
                     else "as given")
        self._order = InOrder(with_frames=True, clock=clock)
        self._arrived: tuple[deque[float], deque[float]] = deque(), deque()
        """When the events and frames that wait in self._order arrived."""
        self._last_frame_us: int | None = None
        self._queue: deque[tuple[Packet, float]] = deque()
        self._changed = threading.Condition()
        self._running = 2
        self._closed = False
        self._error: Exception | None = None
        self._n_dropped = self._n_frames_dropped = 0
        self._ways: list[tuple[float, float] | None] = [None, None]
        """Shortest way in µs from time stamp to here, and when it was taken, of events and frames."""
        self._rates, self._changes = Rates(), Changes(kept=300)
        self._looked_s = self._given_s = clock()
        self._skew: str | None = None
        self._threads = [threading.Thread(target=self._drain, args=(place,), name="pair", daemon=True)
                         for place in range(2)]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[Packet]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed or self._running == 0,
                                       LONGEST_LOOK_S if any(self._arrived) else PULSE_S)
                taken = self._queue.popleft() if self._queue else None
                over = taken is None and (self._closed or self._running == 0)
            if taken is not None:
                self._take(*taken)
            for item in self._order.rest() if over else self._order.ready():
                self.losses.arrived_s = self._arrived[isinstance(item, Frame)].popleft()
                self._given_s = self._clock()
                self._count()
                yield item
            self._count()
            if over:
                if self._error is not None and not self._closed:
                    raise self._error
                return
            if self._clock() - self._given_s >= PULSE_S:
                self._given_s = self._clock()
                yield empty_packet()

    # Both threads.

    def _drain(self, place: int) -> None:
        source = self._sources[place]
        try:
            for item in source:
                if self._closed:
                    break
                if isinstance(item, Frame) != bool(place) or begins_us(item) is None:
                    continue
                arrived_s = source.losses.arrived_s
                arrived_s = self._clock() if arrived_s is None else arrived_s
                with self._changed:
                    self._offer(self._placed(item, place, arrived_s), arrived_s)
        except Exception as error:  # for who iterates
            self._error = self._error or error
        with self._changed:
            # Frames alone are no event camera: the end of the events is the end.
            self._running = self._running - 1 if place else 0
            self._changed.notify_all()

    def _placed(self, item: Packet, place: int, arrived_s: float) -> Packet:
        """The item in the time of the events, as far as its arrival tells it."""
        newest_us = item.t_us if isinstance(item, Frame) else int(item["t"][-1])
        way_us = arrived_s * 1e6 - newest_us
        if (known := self._ways[place]) is not None:
            way_us = min(way_us, known[0] + DRIFT_US_S * (arrived_s - known[1]))
        self._ways[place] = way_us, arrived_s
        of_events = self._ways[0]
        if not isinstance(item, Frame) or of_events is None:
            return item
        return replace(item, t_us=item.t_us + round(way_us - of_events[0]))

    def _offer(self, item: Packet, arrived_s: float) -> None:
        if self._ways[0] is None:
            return  # without events there is no time yet to put a frame into
        self._queue.append((item, arrived_s))
        while len(self._queue) > WAITING:
            old, _ = self._queue.popleft()
            if isinstance(old, Frame):
                self._n_frames_dropped += 1
            else:
                self._n_dropped += len(old)
        self._changed.notify()

    # The consumer.

    def _take(self, item: Packet, arrived_s: float) -> None:
        """Put an item where it belongs among those that wait; a frame that would go back in time is dropped."""
        self._look(item)
        if isinstance(item, Frame):
            item = replace(item, t_us=item.t_us + self._offset_us)
            if self._last_frame_us is not None and item.t_us <= self._last_frame_us:
                with self._changed:
                    self._n_frames_dropped += 1
                return
            self._last_frame_us = item.t_us
        self._arrived[isinstance(item, Frame)].append(arrived_s)
        self._order.add(item)

    def _look(self, item: Packet) -> None:
        """Note what helps to estimate the offset, and estimate it now and then."""
        if isinstance(item, Frame):
            self._changes.add(item)
        else:
            self._rates.add(item)
        if self._clock() - self._looked_s > LOOK_S:
            self._looked_s = self._clock()
            times_us, cumulative = self._rates.cumulative()
            found = estimate(times_us - self._offset_us, cumulative, self._changes, REACH_US)
            if found is not None:
                # It was sought around the offset that there is.
                found = replace(found, offset_us=found.offset_us + self._offset_us)
            if self._settling:
                self._settle(found)
            self._skew = sentence(self._offset_us, found, "clocks joined by arrival", self._why)

    def _settle(self, found: Estimate | None) -> None:
        """Take an estimate when it is sure, and none after it."""
        known = self._believed_us
        if found is None or not found.believed or (known and abs(found.offset_us - known[-1]) > SAME_US):
            known.clear()
        if found is not None and found.believed:
            known.append(found.offset_us)
        if len(known) >= SURE:
            self._offset_us, self._settling = known[-1], False
            self._why = "by an estimate that was taken once"

    def _count(self) -> None:
        mine, theirs = (source.losses for source in self._sources)
        for name in ("n_rejected", "n_late", "n_clamped", "n_restarts", "n_gaps"):
            setattr(self.losses, name, getattr(mine, name) + getattr(theirs, name))
        self.losses.n_late += self._order.n_late
        self.losses.n_dropped = mine.n_dropped + self._n_dropped
        self.losses.n_others_dropped = mine.n_others_dropped + theirs.n_others_dropped + self._n_frames_dropped
        self.losses.gaps = mine.gaps
        self.losses.outage, self.losses.damage = mine.outage or theirs.outage, mine.damage or theirs.damage
        self.losses.skew = self._skew

    def seek(self, t_us: int) -> None:
        """A live source has no past. Raises InputError."""
        raise InputError(f"{self.info.name} is live: seeking works in recordings only, record it first.")

    def rate_histogram(self, bins: int) -> np.ndarray:
        """A live source has no length. Raises InputError."""
        raise InputError(f"{self.info.name} is live: only a recording has a rate histogram, record it first.")

    def close(self) -> None:
        """Close both; may be called any number of times, from any thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for source in self._sources:
            source.close()

    def __enter__(self) -> LivePair:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
