"""One visitor's voice: captions that run by themselves, and questions, answered one after the other.

    narrator = Narrator(services.converse(), publish, turnstile)
    narrator.use(player)                        # captions begin with the first full second that was played
    asking = narrator.ask("What is happening?")
    for text in asking.follow(): ...            # the answer so far, growing

One worker thread per visitor; it never holds a lock while a model works. A question cancels the running caption.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from streams.types import InputError
from ui.answer_messages import Marked, Who
from ui.protocol import Message
from ui.services import Answer, AskSettings
from ui.sharing import Watched
from ui.transcript import Transcript

CAPTION_PERIOD_US = 2_000_000
WINDOW_US = 1_000_000
CAPTION_QUESTION = "What is happening?"
DEFECT = "the model stopped with an error; the program's log says why"

Publish = Callable[[list[Message]], None]

log = logging.getLogger(__name__)


class CaptionClock:
    """Which windows are due on a grid of recording time, and how many went by without a model reading them."""

    def __init__(self) -> None:
        self._next_us: int | None = None
        self._start_us = 0
        self._first_us = WINDOW_US
        self._unread = 0

    def restart(self, position_us: int, start_us: int) -> None:
        """Begin the grid here (a source was opened, somebody jumped): the first full second is due at once."""
        self._next_us, self._start_us = max(position_us, start_us + self._first_us), start_us

    def forget(self) -> None:
        """A new source: nothing was missed yet."""
        self._next_us, self._unread = None, 0

    def due(self, position_us: int, start_us: int, duration_us: int | None = None) -> bool:
        """True when a caption should begin now; in a recording shorter than a second, towards its end."""
        self._first_us = WINDOW_US if duration_us is None else min(WINDOW_US, duration_us * 3 // 4)
        elsewhere = start_us != self._start_us  # the start is known only when the first data has come
        if self._next_us is None or elsewhere or position_us < self._next_us - CAPTION_PERIOD_US:
            self.restart(position_us, start_us)
        return position_us >= self._next_us

    def take(self, position_us: int) -> None:
        """A caption begins now; windows that were due before this one stay unread."""
        missed = (position_us - self._next_us) // CAPTION_PERIOD_US
        self._unread += missed
        self._next_us += (missed + 1) * CAPTION_PERIOD_US

    def unread(self, position_us: int) -> int:
        """Windows that no model has read so far."""
        late = 0 if self._next_us is None else (position_us - self._next_us) // CAPTION_PERIOD_US
        return self._unread + max(0, late)


class Turnstile:
    """How many visitors' answers are being made or wait for the models, in the whole program."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def enter(self) -> bool:
        """Count one in; True when somebody else is already there."""
        with self._lock:
            self._inside += 1
            return self._inside > 1

    def leave(self) -> None:
        """Count one out."""
        with self._lock:
            self._inside -= 1


@dataclass(eq=False)
class Asking:
    """One question on its way: what is said so far, and how to stop it."""

    who: Who
    question: str
    player: Watched
    end_us: int
    settings: AskSettings
    cancel: threading.Event = field(default_factory=threading.Event)
    text: str = ""
    error: str | None = None
    finished: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def tell(self, text: str | None = None, error: str | None = None, finished: bool = False) -> None:
        """Note progress and wake whoever follows."""
        with self._changed:
            self.text = self.text if text is None else text
            self.error = error or self.error
            self.finished = self.finished or finished
            self._changed.notify_all()

    def follow(self, period_s: float = 0.15) -> Iterator[str]:
        """The growing answer, at most once per period; ends when the answer does, with its full text."""
        pause = threading.Event()
        seen = ""
        while True:
            with self._changed:
                self._changed.wait_for(lambda seen=seen: self.finished or self.text != seen)
                seen, finished = self.text, self.finished
            yield seen
            if finished:
                return
            pause.wait(period_s)


class Narrator:
    """Answers for one visitor, in one worker thread.

    captions: whether captions run. watched: whether anybody looks (no captions for a hidden tab).
    settings: how to answer; the next answer takes them.
    """

    def __init__(self, answer: Answer, publish: Publish, turnstile: Turnstile) -> None:
        self.captions = True
        self.watched = False
        self.settings = AskSettings()
        self._answer, self._publish, self._turnstile = answer, publish, turnstile
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._player: Watched | None = None
        self._clock = CaptionClock()
        self._asked: Asking | None = None
        self._running: Asking | None = None
        self._numbers = itertools.count(1)
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

    def ask(self, question: str) -> Asking | None:
        """Ask about the last second before the playhead; None while another question is being answered."""
        with self._lock:
            if self._player is None:
                raise InputError("there is nothing to ask about yet: open a recording first")
            if self._asked is not None:
                return None
            state = self._player.state()
            end_us = max(state.position_us, state.start_us + min(WINDOW_US, state.duration_us or WINDOW_US))
            self._asked = Asking("question", question, self._player, end_us, self.settings)
            self._cancel_caption()
            self._wake.set()
            return self._asked

    def stop(self) -> None:
        """Stop the question that is being answered; what was said stays."""
        with self._lock:
            if self._asked is not None:
                self._asked.cancel.set()

    def close(self) -> None:
        """Cancel everything and end the worker thread (it may outlive this call by one step of a model)."""
        with self._lock:
            self._closed = True
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
            self._narrate(asking)
            with self._lock:
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
            if not state.playing or not self._clock.due(state.position_us, state.start_us,
                                                            state.duration_us):
                return None
            self._clock.take(state.position_us)
            self._running = Asking("caption", CAPTION_QUESTION, self._player, state.position_us, self.settings)
            return self._running

    def _narrate(self, asking: Asking) -> None:
        """Answer one question and publish every step; nothing that goes wrong leaves this function."""
        waits = self._turnstile.enter()
        transcript: Transcript | None = None
        try:
            asking.player.wait_until(lambda state: not state.loading)
            window = asking.player.window(asking.end_us, WINDOW_US)
            start_us = asking.player.state().start_us
            transcript = Transcript(f"a{next(self._numbers)}", asking.who, asking.question,
                                    (window.start_us - start_us) / 1e6, (window.end_us - start_us) / 1e6,
                                    asking.settings.drafter, waits)
            self._publish([transcript.started])
            # closing: the models serve one answer at a time, an answer that breaks off here must let go of them
            with closing(self._answer(window, asking.question, asking.settings, asking.cancel)) as records:
                for record in records:
                    self._publish(transcript.messages(record))
                    asking.tell(transcript.text)
            self._finish(asking, transcript)
        except InputError as error:
            self._fail(asking, transcript, str(error))
        except Exception:
            if self._closed or asking.cancel.is_set():
                log.debug("an answer that nobody waits for failed", exc_info=True)
            else:
                log.exception("answering %r failed", asking.question)
                self.captions = self.captions and asking.who != "caption"
            self._fail(asking, transcript, DEFECT)
        finally:
            self._turnstile.leave()

    def _finish(self, asking: Asking, transcript: Transcript) -> None:
        if transcript.finished is None:
            self._publish([transcript.stopped()])
        elif asking.who == "caption" and transcript.text and not asking.cancel.is_set():
            self._publish([Marked(transcript.started.end_s, transcript.text)])

    def _fail(self, asking: Asking, transcript: Transcript | None, reason: str) -> None:
        """Say why an answer failed, or that it was stopped."""
        if transcript is None:
            transcript = Transcript(f"a{next(self._numbers)}", asking.who, asking.question, 0.0, 0.0)
            self._publish([transcript.started])
        if asking.cancel.is_set():
            self._publish([transcript.stopped()])
        else:
            asking.tell(error=reason)
            self._publish([transcript.failed(reason)])
