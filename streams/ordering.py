"""Event packets and frames that come over two connections, put in order of where they begin.

    order = InOrder(with_frames=True)
    order.add(packet) ; order.add(frame)         # each stream in its own order, however late
    for item in order.ready(): ...               # in order of begin

A frame waits for an event of its time; events wait for a frame of theirs, but not while none is due by the shortest of
the last intervals. A stream that has nothing for PATIENCE_S while the other one waits counts as silent and is not
waited for until it is heard again. What it then still brings from before is late: it is handed over at once and
counted, since neither throwing it away nor waiting for ever would be better.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from streams.types import Events, Frame

PATIENCE_S = 0.5
"""Silence after which a stream is not waited for."""
LONGEST_LOOK_S = 0.005
"""What passes between two looks counts as silence up to here: a process that stood still itself has heard nothing."""
MOST_BYTES = 64 << 20
"""Of more that waits the oldest goes."""
INTERVALS = 8


@dataclass
class _Stream:
    """awaited: whether the other one waits for it. known_us: what begins before it has come."""

    awaited: bool
    items: deque[tuple[int, Events | Frame]] = field(default_factory=deque)
    known_us: int | None = None
    silent_s: float = 0.0


class InOrder:
    """See above. clock: seconds.

    n_late: packets and frames so far that came after one which begins later had been handed over.
    """

    def __init__(self, with_frames: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.n_late = 0
        self._events, self._frames = _Stream(True), _Stream(with_frames)
        self._begins_us: deque[int] = deque(maxlen=INTERVALS + 1)
        self._passed_us: int | None = None
        self._n_bytes = 0
        self._clock, self._looked_s = clock, clock()

    def add(self, item: Events | Frame) -> None:
        """The next packet (not empty) of the events, or the next frame."""
        if isinstance(item, Frame):
            stream, begin_us = self._frames, item.begin_us
            self._begins_us.append(begin_us)
            intervals_us = [after - before for before, after in pairwise(self._begins_us)]
            stream.known_us = begin_us + max(0, min(intervals_us, default=0))
        else:
            stream, begin_us = self._events, int(item["t"][0])
            stream.known_us = int(item["t"][-1])
        late_us = 0 if self._passed_us is None else max(0, self._passed_us - begin_us)
        self.n_late += late_us > 0
        # Waiting does not help against what is later than that: it would only make the other one stutter.
        stream.awaited, stream.silent_s = late_us < PATIENCE_S * 1e6, 0.0
        stream.items.append((begin_us, item))
        self._n_bytes += _bytes(item)

    def no_more_frames(self) -> None:
        """Their connection has ended."""
        self._frames.awaited = False

    def rest(self) -> Iterator[Events | Frame]:
        """Everything that still waits: both have ended."""
        self._events.awaited = self._frames.awaited = False
        yield from self.ready()

    def ready(self) -> Iterator[Events | Frame]:
        """What may be handed over now, in order; to be asked for again and again."""
        now_s = self._clock()
        step_s, self._looked_s = min(now_s - self._looked_s, LONGEST_LOOK_S), now_s
        while (item := self._next(step_s)) is not None:
            step_s = 0.0
            yield item

    def _next(self, step_s: float) -> Events | Frame | None:
        first, other = self._events, self._frames
        if other.items and not (first.items and first.items[0][0] <= other.items[0][0]):
            first, other = other, first
        if not first.items:
            return None
        begin_us, item = first.items[0]
        known = bool(other.items) or (other.known_us is not None and begin_us <= other.known_us)
        if not known and other.awaited:
            other.silent_s += step_s
            if other.silent_s < PATIENCE_S and self._n_bytes <= MOST_BYTES:
                return None
            other.awaited = other.silent_s < PATIENCE_S
        first.items.popleft()
        self._n_bytes -= _bytes(item)
        self._passed_us = begin_us if self._passed_us is None else max(self._passed_us, begin_us)
        return item


def _bytes(item: Events | Frame) -> int:
    return item.image.nbytes if isinstance(item, Frame) else item.nbytes
