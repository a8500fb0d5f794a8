"""Live sources that several visitors watch: each may pause for himself, the last one to leave turns it off.

    shelf = Shelf()                              # one per program
    player = shelf.take(services.open_player(uri))
    player.pause()                               # a live one freezes for this visitor only
    player.close()                               # closes the source when nobody else watches it

Files pass through untouched: their player belongs to one visitor anyway.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from streams.player import Player, PlayerState
from streams.types import Events, Frame, InputError, SourceInfo, Window

HELD_US = 1_000_000
"""How much a frozen view keeps: what a question is about."""


class LiveView:
    """One visitor's view of a live player, with the methods of a Player. Pausing freezes this view only."""

    def __init__(self, player: Player, release: Callable[[], None]) -> None:
        self._player, self._release = player, release
        self._held: tuple[PlayerState, Window] | None = None

    @property
    def info(self) -> SourceInfo:
        """What the source is."""
        return self._player.info

    @property
    def speed(self) -> float:
        """A live source plays at speed 1."""
        return 1.0

    @speed.setter
    def speed(self, speed: float) -> None:
        if speed != 1:
            raise InputError(f"{self.info.name} is live and plays at speed 1 only, got {speed:g}")

    def play(self) -> None:
        """Follow the newest data again."""
        self._held = None

    def pause(self) -> None:
        """Keep the last second as it is now."""
        if self._held is None:
            state = self._player.state()
            window = self._player.window(state.position_us, HELD_US)
            self._held = replace(state, playing=False), window

    def step(self, dt_us: int) -> None:
        """A live source cannot step. Raises InputError."""
        raise InputError(f"{self.info.name} is live and cannot be sought; record it first")

    seek = step

    def state(self) -> PlayerState:
        """Where this view stands; losses and errors are always the newest."""
        now, held = self._player.state(), self._held
        if held is None:
            return now
        return replace(held[0], error=now.error, n_dropped=now.n_dropped, n_rejected=now.n_rejected,
                       damage=now.damage)

    def events(self, start_us: int, end_us: int) -> Events:
        """Events in [start_us, end_us)."""
        held = self._held
        if held is None:
            return self._player.events(start_us, end_us)
        first, last = np.searchsorted(held[1].events["t"], (start_us, end_us))
        return held[1].events[first:last]

    def frame_at(self, t_us: int) -> Frame | None:
        """Latest frame at or before t_us."""
        held = self._held
        if held is None:
            return self._player.frame_at(t_us)
        return next((frame for frame in reversed(held[1].frames) if frame.t_us <= t_us), None)

    def window(self, end_us: int, length_us: int) -> Window:
        """The window that ends at end_us, or the frozen second."""
        held = self._held
        return self._player.window(end_us, length_us) if held is None else held[1]

    def wait_until(self, predicate: Callable[[PlayerState], bool], timeout_s: float = 5.0) -> bool:
        """Wait until the predicate holds for the shared player's state."""
        return self._player.wait_until(predicate, timeout_s)

    def close(self) -> None:
        """Stop watching. May be called any number of times."""
        release, self._release = self._release, _nothing
        release()


def _nothing() -> None:
    """What closing a second time does."""


Watched = Player | LiveView
"""What a session plays."""


class Shelf:
    """Counts who watches which live player."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchers: Counter[Player] = Counter()

    def take(self, player: Player) -> Watched:
        """One more visitor watches this player; close what you get to leave."""
        if not player.info.live:
            return player
        with self._lock:
            self._watchers[player] += 1
        return LiveView(player, lambda: self._leave(player))

    def _leave(self, player: Player) -> None:
        with self._lock:
            self._watchers[player] -= 1
            last = self._watchers[player] == 0
            if last:
                del self._watchers[player]
        if last:
            player.close()
