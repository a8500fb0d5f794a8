"""Live sources that several visitors watch: each looks where he wants, the last one to leave turns it off.

    shelf = Shelf()                              # one per program
    player = shelf.take(services.open_player(uri), choose)    # choose(info): the filters to look through
    player.pause() ; player.seek(t_us)           # this visitor looks back, within what the shared player keeps
    player.follow()                              # at the newest data again
    player = shelf.again(player, choose)         # the same through other filters, where and as it plays
    player.close()                               # closes the source when nobody else watches it

The player of a file belongs to one visitor anyway; filters of a live source act behind the shared player.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from streams.player import FASTEST, RATE_SPAN_US, SLOWEST, Player, PlayerState
from streams.refiltering import behind
from streams.sensor_taps import SensorTaps
from streams.timeline import Timeline
from streams.types import Events, Frame, InputError, Packet, Source, SourceInfo, Window
from streams.windows import clamped_span

CATCH_UP_S = 3.0
"""Patience with filters that go through what was kept."""
NEAR_US = 20_000
"""Nearer to the newest data than this is following it."""


class LiveView:
    """One visitor's view of a live player, with the methods of a Player.

    It follows the newest data until it is paused, sought or slowed down; then it plays behind by some seconds, for as
    long as the shared player keeps that, and follows again when it has caught up. A paused view keeps what it shows.
    shared: the player that others watch too, where `player` is one behind filters.
    """

    loop_us: tuple[int, int] | None = None

    def __init__(self, player: Player, release: Callable[[], None], shared: Player | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._player, self._release, self._clock = player, release, clock
        self.shared = shared or player
        self._lock = threading.Lock()
        self._paused: Timeline | None = None
        self._following, self._speed = True, 1.0
        self._anchor_us, self._anchor_s = 0, clock()

    @property
    def info(self) -> SourceInfo:
        """What the source is."""
        return self._player.info

    @property
    def sensors(self) -> SensorTaps:
        """IMU and triggers of the source, for who taps them."""
        return self._player.sensors

    @property
    def closed(self) -> bool:
        """Whether nothing comes any more."""
        return self._player.closed

    @property
    def bare(self) -> Source:
        """The source before this visitor's filters."""
        return self.shared.source

    @property
    def filters(self) -> tuple[str, ...]:
        """What this visitor looks through."""
        return self._player.filters

    @property
    def speed(self) -> float:
        """Seconds of the source per second; other than 1 only behind the newest data."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        if not SLOWEST <= speed <= FASTEST:
            raise InputError(f"the speed must lie between {SLOWEST} and {FASTEST:g}, got {speed:g}")
        now = self._player.state()
        with self._lock:
            at_us = self._position_us(now)
            if self._following and speed > 1:
                raise InputError(f"{self.info.name} is live and shows its newest data; go back before going faster")
            self._following = self._following and speed == 1
            self._anchor(at_us)
            self._speed = float(speed)

    def tap(self, hear: Callable[[Packet], None]) -> Callable[[], None]:
        """Let hear(item) have everything that the source gives from now on; see Player.tap."""
        return self._player.tap(hear)

    def play(self) -> None:
        """Go on from where the view was paused, behind the newest data."""
        now = self._player.state()
        with self._lock:
            if self._paused is not None:
                self._paused, self._following = None, False
                self._anchor(self._anchor_us)
                self._position_us(now)

    def follow(self) -> None:
        """Show the newest data again."""
        with self._lock:
            self._paused, self._following, self._speed = None, True, 1.0

    def pause(self) -> None:
        """Stop here and keep everything that can be sought, while the source runs on."""
        now, kept = self._player.state(), self._player.kept()
        with self._lock:
            if self._paused is None:
                self._anchor(self._position_us(now))
                self._paused, self._following = kept, False
                self._oldest_us, self._newest_us = now.oldest_us, now.newest_us

    def step(self, dt_us: int) -> None:
        """Pause and move by dt_us, either way, within what is kept."""
        self.pause()
        self.seek(self.state().position_us + dt_us)

    def seek(self, t_us: int) -> None:
        """Look at t_us, clamped to what is kept; at its end a view that plays follows again."""
        now = self._player.state()
        with self._lock:
            oldest_us, newest_us = self._bounds(now)
            self._anchor(min(newest_us, max(oldest_us, t_us)))
            self._following = self._paused is None and newest_us - self._anchor_us < NEAR_US

    def stand_as(self, other: LiveView) -> None:
        """Look where another view does, once that is here."""
        state = other.state()
        if state.following:
            return
        self._player.wait_until(lambda now: now.newest_us >= state.newest_us or now.ended, CATCH_UP_S)
        self.pause()
        self.seek(state.position_us)
        if state.playing:
            self.play()
            self.speed = state.speed

    def state(self) -> PlayerState:
        """Where this view stands; losses and errors are always the newest."""
        now = self._player.state()
        with self._lock:
            position_us, paused = self._position_us(now), self._paused
            if self._following:
                return now
            oldest_us, newest_us = self._bounds(now)
            state = replace(now, position_us=position_us, playing=paused is None and now.playing, speed=self._speed,
                            oldest_us=oldest_us, newest_us=newest_us, following=False)
        shown = paused or self._player.kept()
        rate_hz = shown.count(position_us - RATE_SPAN_US, position_us) / (RATE_SPAN_US * 1e-6)
        return replace(state, event_rate_hz=rate_hz)

    def events(self, start_us: int, end_us: int) -> Events:
        """Events in [start_us, end_us)."""
        paused = self._paused
        return self._player.events(start_us, end_us) if paused is None else paused.events(start_us, end_us)

    def frame_at(self, t_us: int) -> Frame | None:
        """Latest frame at or before t_us."""
        paused = self._paused
        return self._player.frame_at(t_us) if paused is None else paused.frame_at(t_us)

    def window(self, end_us: int, length_us: int) -> Window:
        """The window that ends at end_us, from what is kept."""
        paused, state = self._paused, self.state()
        if paused is None:
            return self._player.window(end_us, length_us)
        span = clamped_span(end_us, length_us, state.oldest_us, state.newest_us)
        return paused.window(*span, state.start_us)

    def wait_until(self, predicate: Callable[[PlayerState], bool], timeout_s: float = 5.0) -> bool:
        """Wait until the predicate holds for the shared player's state."""
        return self._player.wait_until(predicate, timeout_s)

    def close(self) -> None:
        """Stop watching. May be called any number of times."""
        release, self._release = self._release, _nothing
        self._paused = None
        release()

    # The playhead; with the lock held.

    def _anchor(self, at_us: int) -> None:
        self._anchor_us, self._anchor_s = at_us, self._clock()

    def _bounds(self, now: PlayerState) -> tuple[int, int]:
        return (now.oldest_us, now.newest_us) if self._paused is None else (self._oldest_us, self._newest_us)

    def _position_us(self, now: PlayerState) -> int:
        """Where the view is: the newest, the paused place, or as far behind as its clock and the buffer say."""
        if self._following:
            return now.position_us
        if self._paused is not None:
            return self._anchor_us
        at_us = self._anchor_us + round((self._clock() - self._anchor_s) * 1e6 * self._speed)
        if at_us >= now.newest_us:
            self._following, self._speed = now.playing, 1.0
            return now.position_us
        if at_us < now.oldest_us:
            self._anchor(now.oldest_us)
        return max(at_us, now.oldest_us)


def _nothing() -> None:
    """What closing a second time does."""


def _everything(_: SourceInfo) -> Sequence[str]:
    return ()


Watched = Player | LiveView
"""What a session plays."""
Choose = Callable[[SourceInfo], Sequence[str]]
"""The filters, NAME[:VALUE] each, to look at a source through; they fit it."""


class Shelf:
    """Counts who watches which live player."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchers: Counter[Player] = Counter()

    def take(self, player: Player, choose: Choose = _everything) -> Watched:
        """One more visitor watches this player; close what you get to leave. Raises InputError."""
        return self._behind(player, choose(player.bare.info))

    def again(self, watched: Watched, choose: Choose) -> Watched:
        """The same source through other filters, where and as it plays; close `watched` afterwards, if what you get is
        not the same. Raises InputError."""
        specs = choose(watched.bare.info)
        if tuple(specs) == watched.filters:
            return watched
        view = self._behind(watched if isinstance(watched, Player) else watched.shared, specs)
        if isinstance(view, LiveView) and isinstance(watched, LiveView):
            view.stand_as(watched)
        return view

    def _behind(self, player: Player, specs: Sequence[str]) -> Watched:
        if not player.info.live:
            return player if tuple(specs) == player.filters else behind(player, specs)
        with self._lock:
            self._watchers[player] += 1
        try:
            own = behind(player, specs) if specs else player
        except BaseException:
            self._leave(player)
            raise

        def release() -> None:
            if own is not player:
                own.close()
            self._leave(player)

        return LiveView(own, release, player)

    def _leave(self, player: Player) -> None:
        with self._lock:
            self._watchers[player] -= 1
            last = self._watchers[player] == 0
            if last:
                del self._watchers[player]
        if last:
            player.close()
