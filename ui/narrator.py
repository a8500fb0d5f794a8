"""One visitor's voice: captions that run by themselves, questions, comparisons, traces; one after the other.

    narrator = Narrator(services, publish, turns)
    narrator.use(player)                        # captions begin with the first full second that was played
    asking = narrator.ask("What is happening?")
    for text in asking.follow(): ...            # the answer so far, growing

One worker thread per visitor; it never holds a lock while a model works. A question cancels the running caption.
"""

from __future__ import annotations

import threading

from streams.types import InputError
from ui.asking import Asking, about_now, about_range
from ui.caption_clock import CaptionClock
from ui.services import AskSettings, Services
from ui.sharing import Watched
from ui.telling import Publish, Teller
from ui.trace import Trace
from ui.turns import Turns

CAPTION_QUESTION = "What is happening?"


class Narrator:
    """Answers for one visitor, in one worker thread.

    captions: whether captions run. watched: whether anybody looks (no captions for a hidden tab). settings: how to
    answer; the next answer takes them. teller: makes the answers, keeps their traces.
    """

    def __init__(self, services: Services, publish: Publish, turns: Turns) -> None:
        self.captions = True
        self.watched = False
        self.settings = AskSettings()
        self.teller = Teller(services, publish, turns)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._player: Watched | None = None
        self._clock = CaptionClock()
        self._asked: Asking | None = None
        self._running: Asking | None = None
        self._thread = threading.Thread(target=self._work, name="narrator", daemon=True)
        self._thread.start()

    def use(self, player: Watched) -> None:
        """Speak about another source from now on; a caption about the old one is cancelled."""
        with self._lock:
            self._player = player
            self._clock.forget()
            self._cancel_caption()

    def jumped(self) -> None:
        """The visitor moved the playhead: start counting windows from there."""
        with self._lock:
            if self._player is not None:
                state = self._player.state()
                self._clock.restart(state.position_us, state.start_us)

    def unread(self, position_us: int) -> int:
        """Windows that no model has read so far."""
        with self._lock:
            return self._clock.unread(position_us) if self.captions and self.watched else 0

    def switch_captions(self, on: bool) -> None:
        """Turn captions on or off; off cancels the running one."""
        with self._lock:
            self.captions = on
            self._clock.forget()
            if not on:
                self._cancel_caption()

    def set_up(self, settings: AskSettings, window_s: float = 1.0, period_s: float = 2.0) -> None:
        """How to answer from now on, how much of the recording an answer is about, how often captions come."""
        with self._lock:
            self.settings = settings
            self._clock.window_us, self._clock.period_us = round(window_s * 1e6), round(period_s * 1e6)

    def ask(self, question: str, range_s: tuple[float, float] | None = None) -> Asking | None:
        """Ask about the seconds before the playhead, or a range of the recording; None while another is answered.

        Raises InputError when there is nothing to ask about.
        """
        with self._lock:
            if self._player is None:
                raise InputError("there is nothing to ask about yet: open a recording first")
            state = self._player.state()
            length_us = self._clock.window_us
            end_us = about_now(state, length_us)
            if range_s is not None and not state.live:
                end_us, length_us = about_range(state, *range_s)
            return self._begin(Asking("question", question, self._player, end_us, length_us, self.settings))

    def compare(self) -> Asking | None:
        """Measure the last question with and without guesses; None while another is answered.

        Raises InputError when no question was asked yet.
        """
        with self._lock:
            last = self.teller.kept.get("question")
            if last is None or self._player is None:
                raise InputError("ask a question first; the comparison answers it again, with guesses and without")
            return self._begin(Asking("question", last.trace.header["question"], self._player, 0, 0, last.settings,
                                      comparing=last.window))

    def replay(self, trace: Trace) -> Asking | None:
        """Play a trace back without a model; None while another question is answered."""
        with self._lock:
            return self._begin(Asking("question", trace.header["question"], self._player, 0, 0, self.settings, trace))

    def _begin(self, asking: Asking) -> Asking | None:
        if self._asked is not None and not self._asked.over:
            return None
        self._asked = asking
        self._cancel_caption()
        self._wake.set()
        return asking

    def stop(self) -> None:
        """Stop the question that is being answered; what was said stays."""
        with self._lock:
            if self._asked is not None:
                self._asked.cancel.set()

    def close(self) -> None:
        """Cancel everything and end the worker thread (it may outlive this call by one step of a model)."""
        with self._lock:
            self._closed = True
            self.teller.closed = True
            for asking in (self._asked, self._running):
                if asking is not None:
                    asking.cancel.set()
            self._wake.set()

    def _cancel_caption(self) -> None:
        if self._running is not None and self._running.who == "caption":
            self._running.cancel.set()

    def _work(self) -> None:
        while not self._closed:
            asking = self._next()
            if asking is None:
                self._wake.wait(0.1)
                self._wake.clear()
                continue
            sound = self.teller.serve(asking)
            with self._lock:
                self.captions = self.captions and (sound or asking.who != "caption")
                self._running = None
                if asking is self._asked:
                    self._asked = None
            asking.tell(finished=True)
        if self._asked is not None:
            self._asked.tell(finished=True)

    def _next(self) -> Asking | None:
        """The question, or else the caption that is due."""
        with self._lock:
            if self._asked is not None:
                self._running = self._asked
                return self._running
            if not (self.captions and self.watched and self._player and self._player.info.frame_resolution):
                return None
            state = self._player.state()
            if not state.playing or not self._clock.due(state.position_us, state.start_us, state.duration_us):
                return None
            self._clock.take(state.position_us)
            self._running = Asking("caption", CAPTION_QUESTION, self._player, state.position_us,
                                   self._clock.window_us, self.settings)
            return self._running
