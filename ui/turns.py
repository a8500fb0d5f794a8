"""Whose turn it is: one answer at a time in the whole program, first come first served, questions before captions.

    with turns.take(urgent=True, cancel=cancel, told=show_place) as mine:
        if mine: ...                        # the models are ours until the end of the block
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

POLL_S = 0.1
"""How often somebody who waits looks whether he still wants his turn."""


class Turns:
    """The line before the models; its first member has them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._line: list[_Ticket] = []

    @contextmanager
    def take(self, urgent: bool, cancel: threading.Event, told: Callable[[int], None]) -> Iterator[bool]:
        """Wait for a turn and hold it for the block; False inside when cancel was set while waiting.

        told(place): how many are served first, whenever that changes; not called when nobody is.
        """
        ticket = self._join(urgent)
        try:
            yield self._wait(ticket, cancel, told)
        finally:
            with self._changed:
                self._line.remove(ticket)
                self._changed.notify_all()

    def _join(self, urgent: bool) -> _Ticket:
        ticket = _Ticket(urgent)
        with self._changed:
            waiting = self._line[1:]
            later = next((i for i, other in enumerate(waiting) if urgent and not other.urgent), len(waiting))
            self._line.insert(min(1, len(self._line)) + later, ticket)
            self._changed.notify_all()
        return ticket

    def _wait(self, ticket: _Ticket, cancel: threading.Event, told: Callable[[int], None]) -> bool:
        known = 0
        while not cancel.is_set():
            with self._changed:
                place = self._line.index(ticket)
                if place == known and place:
                    self._changed.wait(POLL_S)
                    place = self._line.index(ticket)
            if place != known:
                known = place
                told(place)
            if place == 0:
                return True
        return False


class _Ticket:
    def __init__(self, urgent: bool) -> None:
        self.urgent = urgent
