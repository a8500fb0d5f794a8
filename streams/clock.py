"""Time stamps of files made monotonic: counters that wrap, clocks that restart, events that come a little late.

    t_us = unwrapped(raw["t"], 24, before=None)      # a 24-bit counter as int64 that goes on
    clock = Clock(losses)
    packet = clock.straightened(packet, after_us=last_us)

What is wild beyond repair stays as it is: streams.validation refuses it.
"""

from __future__ import annotations

import numpy as np

from streams.types import Events, Losses
from streams.validation import ABSURD_JUMP_US

JITTER_US = 10_000
"""An event that comes this little after a later one is moved to its time."""
RESTART_US = 1_000_000
"""A clock that steps back by more than this and stays there was reset."""
NEIGHBOURS = 9
"""So many events on either side of a step decide whether it stays."""
MOST_RESTARTS = 16
"""Per packet; more are noise, not a clock."""


def unwrapped(raw: np.ndarray, bits: int, before: int | None) -> np.ndarray:
    """Values [n] of a counter of `bits` bits as int64 that goes on where the counter wraps.

    before: the last value already unwrapped, None at the start of a recording. Steps back by less than half of the
    counter's range stay steps back.
    """
    values = raw.astype(np.int64)
    if len(values) == 0:
        return values
    span = 1 << bits
    first = int(values[0]) if before is None else before
    steps = np.diff(values, prepend=first % span)
    return first + np.cumsum((steps + span // 2) % span - span // 2)


def held(values: np.ndarray, known: np.ndarray, before: int, places: np.ndarray | None = None) -> np.ndarray:
    """Each of values [n] where `known` [n] is True, elsewhere the last known one, at first `before`; int64.

    places: only at these places [m]; default: at all n.
    """
    last = np.cumsum(known, dtype=np.int32)
    table = np.concatenate([[before], values[known].astype(np.int64)])
    return table[last if places is None else last[places]]


class Clock:
    """Joins what comes after a restart to what came before and moves late events; counts both in `losses`.

    offset_us: what is added to the recording's own times because of restarts so far.
    """

    def __init__(self, losses: Losses, offset_us: int = 0) -> None:
        self.offset_us = offset_us
        self._losses = losses

    def straightened(self, packet: Events, after_us: int | None) -> Events:
        """A packet [n], changed in place, whose time goes on from after_us (None: nothing came before)."""
        t = packet["t"]
        if len(t) == 0:
            return packet
        if self.offset_us:
            t += self.offset_us
        before_us = int(t[0]) if after_us is None else after_us
        steps = np.diff(t, prepend=before_us)
        if steps.min() >= 0 and steps.max() <= ABSURD_JUMP_US:
            return packet
        for index in np.flatnonzero((steps < -RESTART_US) | (steps > ABSURD_JUMP_US))[:MOST_RESTARTS]:
            self._join(t, int(index), after_us)
        floor_us = np.maximum.accumulate(t)
        if after_us is not None:
            floor_us = np.maximum(floor_us, after_us)
        late = (t < floor_us) & (t >= floor_us - JITTER_US)
        if late.any():
            self._losses.n_clamped += int(np.count_nonzero(late))
            t[late] = floor_us[late]
        return packet

    def _join(self, t: np.ndarray, index: int, after_us: int | None) -> None:
        earlier = t[max(0, index - NEIGHBOURS):index]
        if len(earlier) == 0 and after_us is None:
            return
        level_us = int(np.median(earlier)) if len(earlier) else int(after_us or 0)
        new_us = int(np.median(t[index:index + NEIGHBOURS]))
        # In Python's integers: the difference of two damaged times may not fit into 64 bits.
        if -RESTART_US <= new_us - level_us <= ABSURD_JUMP_US:
            return
        shift_us = (int(earlier.max()) if len(earlier) else int(after_us or 0)) - int(t[index])
        if abs(shift_us) < 1 << 62:
            t[index:] += shift_us
            self.offset_us += shift_us
            self._losses.n_restarts += 1
