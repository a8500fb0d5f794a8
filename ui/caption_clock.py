"""When the next live caption is due, and what no model has read.

    clock = CaptionClock()
    if clock.due(state.position_us, state.start_us, state.duration_us):
        clock.take(state.position_us)
"""

from __future__ import annotations

CAPTION_PERIOD_US = 2_000_000
WINDOW_US = 1_000_000


class CaptionClock:
    """Which windows are due on a grid of recording time, and how many went by without a model reading them.

    period_us: from one caption to the next. window_us: how much of the recording a caption is about.
    """

    def __init__(self) -> None:
        self.period_us, self.window_us = CAPTION_PERIOD_US, WINDOW_US
        self._next_us: int | None = None
        self._start_us = 0
        self._first_us = WINDOW_US
        self._unread = 0

    def restart(self, position_us: int, start_us: int) -> None:
        """Begin the grid here (a source was opened, somebody jumped): the first full window is due at once."""
        self._next_us, self._start_us = max(position_us, start_us + self._first_us), start_us

    def forget(self) -> None:
        """A new source: nothing was missed yet."""
        self._next_us, self._unread = None, 0

    def due(self, position_us: int, start_us: int, duration_us: int | None = None) -> bool:
        """True when a caption should begin now; in a recording shorter than a window, towards its end."""
        self._first_us = self.window_us if duration_us is None else min(self.window_us, duration_us * 3 // 4)
        elsewhere = start_us != self._start_us  # the start is known only when the first data has come
        if self._next_us is None or elsewhere or position_us < self._next_us - self.period_us:
            self.restart(position_us, start_us)
        return self._next_us is not None and position_us >= self._next_us

    def take(self, position_us: int) -> None:
        """A caption begins now; windows that were due before this one stay unread."""
        due_us = position_us if self._next_us is None else self._next_us
        missed = (position_us - due_us) // self.period_us
        self._unread += missed
        self._next_us = due_us + (missed + 1) * self.period_us

    def unread(self, position_us: int) -> int:
        """Windows that no model has read so far."""
        late = 0 if self._next_us is None else (position_us - self._next_us) // self.period_us
        return self._unread + max(0, late)
