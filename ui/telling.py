"""Makes one answer: from the question to its last word, published step by step and kept as a trace.

    teller = Teller(services, publish, turns)
    teller.serve(asking)                        # in the narrator's thread

An answer comes from the models, from a trace that is played back, or is a comparison of both ways to decode.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import PurePath

import numpy as np

from pipeline.types import Caption, Cycle, Records
from streams.types import InputError, Window
from ui.agreement import AgreementCounts
from ui.answer_messages import AnswerStarted, Marked, Measured, Queued, Who
from ui.asking import Asking
from ui.comparing import compare
from ui.protocol import Message
from ui.services import AskSettings, Services
from ui.trace import Trace, paced
from ui.transcript import Transcript
from ui.turns import Turns

DEFECT = "the model stopped with an error; the program's log says why"
PARTS = 20
"""Of a window, for its event rates."""

Publish = Callable[[list[Message]], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Kept:
    """One answer to take away or to measure again: how it was made, what it is about, how it was asked for."""

    trace: Trace
    window: Window
    settings: AskSettings


class Teller:
    """Makes the answers of one visitor. kept: the newest caption and the newest answer. closed: he has left."""

    def __init__(self, services: Services, publish: Publish, turns: Turns) -> None:
        self.kept: dict[Who, Kept] = {}
        self.closed = False
        self._services, self._answer = services, services.converse()
        self._publish, self._turns = publish, turns
        self._counts = AgreementCounts()
        self._numbers = itertools.count(1)

    def serve(self, asking: Asking) -> bool:
        """Make one answer and publish every step; False when the models broke. Nothing that goes wrong leaves this."""
        told: list[Transcript] = []
        try:
            if asking.comparing is not None:
                self._measure(asking, asking.comparing)
            elif asking.trace is not None:
                self._tell(asking, self._transcript(asking, told), paced(asking.trace, asking.cancel))
            else:
                self._narrate(asking, told)
        except InputError as error:
            self._fail(asking, told, str(error))
        except Exception:
            self._fail(asking, told, DEFECT)
            if not (self.closed or asking.cancel.is_set()):
                log.exception("answering %r failed", asking.question)
                return False
            log.debug("an answer that nobody waits for failed", exc_info=True)
        return True

    def _narrate(self, asking: Asking, told: list[Transcript]) -> None:
        """Let the models answer, when it is our turn."""
        began = time.monotonic()
        window = asking.window()
        transcript = self._transcript(asking, told, _rates(window), window.start_us, window.end_us)
        header = asdict(transcript.started) | asdict(asking.settings) | {"models": self._services.models,
                                                                        "source": asking.player.info.name,
                                                                        "filters": list(asking.player.filters)}
        for key in ("id", "replayed"):
            header.pop(key)
        with self._turns.take(asking.who == "question", asking.cancel, self._place(asking, transcript)) as mine:
            transcript.waited_s = time.monotonic() - began
            if mine:
                records = self._answer(window, asking.question, asking.settings, asking.cancel)
                trace = Trace(header)
                self.kept[asking.who] = Kept(trace, window, asking.settings)
                self._tell(asking, transcript, records, trace)
        self._finish(asking, transcript)

    def _place(self, asking: Asking, transcript: Transcript) -> Callable[[int], None]:
        def told(place: int) -> None:
            asking.tell(place=place)
            self._publish([Queued(transcript.id, place)])
        return told

    def _tell(self, asking: Asking, transcript: Transcript, records: Records, trace: Trace | None = None) -> None:
        """Publish every step of an answer, and keep it as a trace."""
        cycles: list[Cycle] = []
        # closing: the models serve one answer at a time, an answer that breaks off here must let go of them
        with closing(records):
            for record in records:
                rate_hz = None
                if trace is not None:
                    state = asking.player.state()
                    rate_hz = state.event_rate_hz if state.playing else 0.0
                    trace.records.append(record)
                asking.over = isinstance(record, Caption)
                self._publish(transcript.messages(record, rate_hz))
                asking.tell(transcript.text)
                if isinstance(record, Cycle):
                    cycles.append(record)
                elif isinstance(record, Caption) and record.cos_adapter and trace is not None:
                    self._counts.add(record.drafter, (node for cycle in cycles for node in cycle.nodes))
                    self._publish([self._counts.message(record.drafter)])
        if trace is None:
            self._finish(asking, transcript)

    def _measure(self, asking: Asking, window: Window) -> None:
        with self._turns.take(True, asking.cancel, lambda place: asking.tell(place=place)) as mine:
            if not mine:
                return
            for message in compare(self._services.converse, self._services.unread, window, asking.question,
                                   asking.settings, asking.cancel):
                asking.over = isinstance(message, Measured)
                self._publish([message])
                if asking.over:
                    asking.tell("measured")

    def _transcript(self, asking: Asking, told: list[Transcript], rates: list[float] | None = None,
                    start_us: int = 0, end_us: int = 0) -> Transcript:
        answer = f"a{next(self._numbers)}"
        if asking.trace is not None:
            header = asking.trace.header
            started = AnswerStarted(answer, "question", asking.question, header["start_s"], header["end_s"],
                                    header.get("drafter", ""), header.get("how", ""), header.get("rates_hz", []),
                                    PurePath(header.get("file", "a trace")).name)
        else:
            zero_us = asking.player.state().start_us if end_us else 0
            started = AnswerStarted(answer, asking.who, asking.question, (start_us - zero_us) / 1e6,
                                    (end_us - zero_us) / 1e6, asking.settings.drafter, asking.settings.in_words(),
                                    rates or [])
        told.append(Transcript(started))
        self._publish([started])
        return told[-1]

    def _finish(self, asking: Asking, transcript: Transcript) -> None:
        asking.over = True
        if transcript.finished is None:
            self._publish([transcript.stopped()])
        elif asking.who == "caption" and transcript.text and not asking.cancel.is_set():
            started = transcript.started
            self._publish([Marked(started.end_s, transcript.text, started.start_s)])

    def _fail(self, asking: Asking, told: list[Transcript], reason: str) -> None:
        """Say why an answer failed, or that it was stopped."""
        asking.over = True
        if asking.comparing is not None:
            asking.tell(error=reason)
            self._publish([Measured(asking.question, asking.settings.drafter, 0.0, 0.0, None, False, True, reason)])
            return
        transcript = told[-1] if told else self._transcript(asking, told)
        if asking.cancel.is_set():
            self._publish([transcript.stopped()])
        else:
            asking.tell(error=reason)
            self._publish([transcript.failed(reason)])


def _rates(window: Window) -> list[float]:
    """Events per second in equal parts of a window."""
    counts, _ = np.histogram(window.events["t"], PARTS, (window.start_us, window.end_us))
    return [float(rate) for rate in counts * PARTS / (window.end_us - window.start_us) * 1e6]
