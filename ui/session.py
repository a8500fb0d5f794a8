"""One visitor: a browser tab with its own player, its own narrator and its own view settings.

    session = Session(services, turns, shelf)
    session.open("Bundled story", uri)          # raises InputError and keeps the last good source
    session.obey(Command("seek", 2.5))
    session.close()                             # the tab was closed: player freed, answer cancelled
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

from streams.filtering import fitting
from streams.live_recording import LiveRecording
from streams.opening import watched
from streams.player import Player
from streams.types import InputError, SourceInfo
from ui.answer_messages import Marked
from ui.board import Board
from ui.chat import Chat
from ui.choosing import choose, look_for_cameras, look_through_soon
from ui.links import Link
from ui.looking_through import sifted
from ui.narrator import Narrator
from ui.protocol import (
    VERSION,
    Command,
    Filtering,
    Hello,
    Histogram,
    Message,
    Offers,
    Playing,
    SourceFailed,
    SourceLoading,
    SourceOpened,
    View,
)
from ui.services import Services
from ui.sharing import LiveView, Shelf, Watched
from ui.turns import Turns

HISTOGRAM_BINS = 160
MAX_UPLOAD_BYTES = 2 << 30
LOADING_PERIOD_S = 0.3
"""How often a page is told how much of a recording was read to open it."""
PROGRAM = secrets.token_hex(4)
"""Tells a page that comes back whether this is still the program that it knew."""

EVENTS_ORIGIN = {"camera": "camera", "simulated": "simulated from video", "rendered": "rendered scene"}
FRAMES_ORIGIN = {"camera": "camera", "video": "video", "rendered": "rendered scene",
                 "reconstructed": "reconstructed from events"}

log = logging.getLogger(__name__)


class Outbox(Protocol):
    """Where a session's messages go while a page is connected."""

    def put(self, messages: list[Message]) -> None:
        """Send soon; callable from any thread."""

    def end(self, replaced: bool) -> None:
        """Close: another connection took over, or the session is over."""


class Recorded(Protocol):
    """What a visitor began and what ends when he leaves."""

    file: LiveRecording
    kept: bool
    heard: Watched
    """The player that it hears."""

    def state(self) -> dict[str, object]:
        """How far it is."""

    def take(self) -> Path:
        """End it; the file. Raises InputError."""

    def leave(self) -> None:
        """End it because the visitor is gone."""


class Session:
    """One visitor. view: how the events are drawn. range_s: what questions are about, None = the seconds before the
    playhead; loop: it plays again and again. delay_ms, lag_ms: see protocol.Playing. link: what the page's address
    asks for; ready: it is open. uri: where the source can be read once more, None = nowhere. recording: of a live
    source, see ui.saving. wanted: filters to look through, NAME[:VALUE] each, possible or not.
    """

    def __init__(self, services: Services, turns: Turns, shelf: Shelf, link: Link | None = None) -> None:
        self.token = secrets.token_urlsafe(24)
        self.view = View()
        self.wanted: Sequence[str] = link.filters if link else ()
        self._reasons: dict[str, str] = {}
        self.range_s: tuple[float, float] | None = None
        self.loop = True
        self.delay_ms: int | None = None
        self.lag_ms: int | None = None
        self.player: Watched | None = None
        self.source_name: str | None = None
        self.uri: str | None = None
        self.recording: Recorded | None = None
        self.chat = Chat()
        self.seen_s = time.monotonic()
        self.narrator = Narrator(services, self.publish, turns)
        self.link, self.ready = link or Link(), threading.Event()
        self.narrator.set_up(self.link.settings, self.link.window_s)
        self.services, self._shelf = services, shelf
        self.cameras: dict[str, str] = {}
        self._release: Callable[[], None] = _nothing
        self._board, self._outbox = Board(), None
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._closed = False

    # messages

    def publish(self, messages: list[Message]) -> None:
        """Tell the page, now or when it connects."""
        with self._lock:
            for message in messages:
                self._board.add(message)
            if self._outbox is not None:
                self._outbox.put(messages)

    def marks(self) -> list[Marked]:
        """The captions of the source that is open."""
        with self._lock:
            return self._board.marks

    def attach(self, outbox: Outbox) -> None:
        """A page connected: tell it everything so far, then everything new; an older connection ends."""
        with self._lock:
            if self._outbox is not None:
                self._outbox.end(replaced=True)
            self._outbox = outbox
            services = self.services
            hello = Hello(VERSION, services.models, services.note, services.cos_adapter, self.narrator.captions,
                          **asdict(self.view), curves=services.curves, program=PROGRAM)
            outbox.put([hello, self.offers(), self.filtering(), *self._board.messages()])
        self.narrator.watched = True

    def offers(self) -> Offers:
        """What there is to choose from now."""
        services = self.services
        return Offers(list(services.listed()), bool(services.network), services.open_webcam is not None,
                      MAX_UPLOAD_BYTES)

    def detach(self, outbox: Outbox) -> None:
        """The page is gone, perhaps only for a moment."""
        with self._lock:
            if self._outbox is outbox:
                self._outbox = None
                self.narrator.watched = False
                self.seen_s = time.monotonic()

    @property
    def filters(self) -> tuple[str, ...]:
        """What the source is looked at through now, NAME[:VALUE] each."""
        return self.player.filters if self.player is not None else ()

    @property
    def connected(self) -> bool:
        """True while a page is connected."""
        return self._outbox is not None

    # recording

    def begin_recording(self, recording: Recorded) -> bool:
        """Have this end when the visitor leaves; False when he records already, has left, or plays something else than
        it hears by now."""
        with self._lock:
            if self.recording is not None or self._closed or recording.heard is not self.player:
                return False
            self.recording = recording
            return True

    def end_recording(self) -> Recorded | None:
        """What is recorded, for who asks first; it is his to end."""
        with self._lock:
            recording, self.recording = self.recording, None
            return recording

    # source

    def open(self, name: str, uri: str, first: bool = False) -> None:
        """Open a source and switch to it; first: unless the visitor was faster and has one. Raises InputError and keeps
        the last good one when that fails."""
        self.open_with(name, lambda: self.services.open_player(uri), uri=uri, first=first)

    def open_with(self, name: str, opener: Callable[[], Player], release: Callable[[], None] | None = None,
                  uri: str | None = None, first: bool = False) -> None:
        """Open what opener() gives and switch to it; release: called once it is closed again, or did not open. uri:
        where it can be read once more.

        Raises InputError and keeps the last good source when that fails.
        """
        release = release or _nothing
        with self._opening:
            if first and self.player is not None:
                return
            self.publish([SourceLoading(name)])
            try:
                with watched(self._teller(name)):
                    player = self._shelf.take(opener(), self._choose)
            except InputError as error:
                release()
                self.publish([SourceFailed(name, str(error), self.source_name)])
                raise
            except Exception as error:
                release()
                log.exception("opening %s failed", name)
                reason = "it could not be opened because of an error in the program; its log says more"
                self.publish([SourceFailed(name, reason, self.source_name)])
                raise InputError(reason) from error
            with self._lock:
                gone, old, release_old = self._closed, self.player, self._release
                if not gone:
                    self.player, self.source_name, self.range_s, self._release = player, name, None, release
                    self.lag_ms, self.uri = None, uri
            if gone:
                player.close()
                release()
                return
            self.narrator.use(player)
            self.publish([_opened(name, player), self.filtering()])
            player.play()
        if old is not None:
            old.close()
            if old.closed and (recording := self.recording) is not None:
                recording.file.end("nobody watches this source any more")
        release_old()
        self._measure_soon(player)

    def look_through(self) -> None:
        """Look at the source through the filters that are wanted now, where and as it plays. May take seconds; those
        that are not possible are left out, and the page is told why."""
        with self._opening:
            if self.player is None:
                self._choose(None)
            else:
                self._exchange(self.player)
            self.publish([self.filtering()])

    def filtering(self) -> Filtering:
        """What the page is told of the filters."""
        return Filtering(list(self.wanted), self._reasons)

    def _choose(self, info: SourceInfo | None) -> list[str]:
        """Of the filters that he wants those that fit a source."""
        specs, self._reasons = sifted(self.wanted)
        if info is not None:
            specs, misfits = fitting(info, specs)
            self._reasons |= misfits
        return specs

    def _exchange(self, old: Watched) -> None:
        """Play the same through the filters that are wanted now."""
        name = self.source_name or ""
        try:
            player = self._shelf.again(old, self._choose)
        except Exception as error:
            log.info("filtering %s failed", name, exc_info=True)
            reason = str(error) if isinstance(error, InputError) else "it cannot be read any more; open it again"
            self.publish([SourceFailed(name, reason, None)])
            return
        if player is old:
            return
        with self._lock:
            gone, recording = self._closed, self.recording
            if not gone:
                self.player = player
        if gone:
            player.close()
            return
        if recording is not None:
            recording.file.end("the filters were changed")
        self.narrator.use(player)
        if _shape(player.info) != _shape(old.info):
            self.publish([_opened(name, player)])
        old.close()
        self._measure_soon(player)

    def _teller(self, name: str) -> Callable[[float | None], None]:
        """What hears how much of a large recording was read to open it, and tells the page now and then."""
        told_s = time.monotonic()

        def tell(share: float | None) -> None:
            nonlocal told_s
            if time.monotonic() - told_s >= LOADING_PERIOD_S:
                told_s = time.monotonic()
                self.publish([SourceLoading(name, share)])

        return tell

    def _measure_soon(self, player: Watched) -> None:
        if not player.info.live:
            threading.Thread(target=self._measure, args=(player,), name="histogram", daemon=True).start()

    def _measure(self, player: Watched) -> None:
        """Compute the event rate over the recording once, for the scrubber."""
        try:
            rates = player.rate_histogram(HISTOGRAM_BINS)
        except Exception:
            log.info("no event-rate histogram for %s", player.info.name, exc_info=True)
            return
        highest = max(1.0, float(rates.max(initial=0.0)))
        if self.player is player and not player.closed:
            self.publish([Histogram([round(float(rate) / highest, 3) for rate in rates])])

    def playing(self) -> Playing | None:
        """Where the player is now; None without a source."""
        player = self.player
        if player is None:
            return None
        state = player.state()
        at_us = state.position_us
        return Playing((at_us - state.start_us) / 1e6, _seconds(state.duration_us), state.playing, state.speed,
                       state.live, state.ended, state.loading, state.error, state.damage,
                       round(state.event_rate_hz), state.n_dropped, state.n_rejected,
                       self.narrator.unread(at_us), self.narrator.captions,
                       (state.oldest_us - state.start_us) / 1e6, (state.newest_us - state.start_us) / 1e6,
                       state.following, None if self.range_s is None else list(self.range_s), self.loop, self.delay_ms,
                       self.lag_ms if state.following else None, state.n_gaps, state.outage, state.skew,
                       [[count.filter, count.n_in, count.n_out] for count in state.filters], len(player.filters),
                       state.n_others_dropped, state.n_late)

    # commands

    def obey(self, command: Command) -> None:
        """Do what the page wants; may block for the time of a seek."""
        if command.kind in ("palette", "style", "layout"):
            self.view = replace(self.view, **{command.kind: command.value})
        elif command.kind == "accumulation":
            self.view = replace(self.view, accumulation_ms=int(command.value))
        elif command.kind == "filters":
            self.wanted = command.value
            look_through_soon(self)
        elif command.kind == "captions":
            self.narrator.switch_captions(command.value)
        elif command.kind == "open":
            choose(self, command.value)
        elif command.kind == "cameras":
            look_for_cameras(self)
        elif command.kind == "hidden":
            self.narrator.watched = not command.value
            self.narrator.jumped()
        else:
            try:
                self._act(command)
            except InputError as error:
                log.info("%s: %s", command, error)

    def _act(self, command: Command) -> None:
        if command.kind == "stop":
            self.narrator.stop()
        elif command.kind == "compare":
            self.narrator.compare()
        elif self.player is not None:
            self._steer(self.player, command)

    def _steer(self, player: Watched, command: Command) -> None:
        state = player.state()
        kind = command.kind
        if kind == "toggle":
            kind = "pause" if state.playing else "play"
        if kind == "pause":
            player.pause()
        elif kind == "play":
            player.play()
        elif kind == "speed":
            player.speed = command.value
        elif kind == "follow":
            if isinstance(player, LiveView):
                player.follow()
        elif kind in ("range", "loop"):
            self._select(player, command)
        elif kind == "step":
            player.step(int(command.value) * self.view.accumulation_ms * 1000)
        elif kind in ("seek", "skip"):
            origin_us = state.position_us if kind == "skip" else state.start_us
            player.seek(origin_us + round(command.value * 1e6))
            self.narrator.jumped()

    def _select(self, player: Watched, command: Command) -> None:
        """Select a part of the recording, or switch whether it plays again and again."""
        if player.info.live:
            raise InputError(f"{player.info.name} is live; only a part of a recording can be selected")
        if command.kind == "loop":
            self.loop = command.value
        else:
            self.range_s = command.value
        start_us, part = player.state().start_us, self.range_s if self.loop else None
        player.loop_us = part and (start_us + round(part[0] * 1e6), start_us + round(part[1] * 1e6))

    def close(self) -> None:
        """Free the player and cancel the answer; safe to call twice."""
        with self._lock:
            self._closed = True
            recording, self.recording = self.recording, None
            outbox, self._outbox = self._outbox, None
            player, self.player = self.player, None
        self.narrator.close()
        if recording is not None:
            recording.leave()
        if outbox is not None:
            outbox.end(replaced=False)
        if player is not None:
            player.close()
        self._release()


def _nothing() -> None:
    """What there is to release of a source that brought nothing with it."""


def _shape(info: SourceInfo) -> tuple[object, object]:
    return info.event_resolution, info.frame_resolution


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / 1e6


def _opened(name: str, player: Watched) -> SourceOpened:
    info: SourceInfo = player.info
    return SourceOpened(name, info.sensor, info.live, _seconds(player.state().duration_us),
                        EVENTS_ORIGIN.get(info.events_origin or ""), FRAMES_ORIGIN.get(info.frames_origin or ""),
                        str(info.event_resolution) if info.event_resolution else None,
                        str(info.frame_resolution) if info.frame_resolution else None)
