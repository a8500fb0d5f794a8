"""The measured speed-up: the same question with guesses and without, each twice, in the order A B B A.

    for message in compare(converse, unread, window, question, settings, cancel): publish([message])

Every run begins a conversation of its own, without memory: `recall` would repeat the answer that it has just heard.
It is about a window that no model has read, as a new question is: reading belongs to both ways.
The runs follow each other, because side by side they would share the processor and measure that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.types import Caption, Cycle
from streams.types import Window
from ui.answer_messages import Compared, Measured
from ui.services import Answer, AskSettings

PLAIN = "none"
ORDER: tuple[Literal["plain", "drafted"], ...] = ("plain", "drafted", "drafted", "plain")


@dataclass(frozen=True)
class _Run:
    side: str
    text: str
    seconds: float
    lossless: bool
    complete: bool


def compare(converse: Callable[[], Answer], unread: Callable[[Window], Window], window: Window, question: str,
            settings: AskSettings, cancel: threading.Event) -> Iterator[Compared | Measured]:
    """Compared messages while the runs are made, one Measured at the end; converse, unread: see Services.

    Raises InputError as an answer does.
    """
    runs: list[_Run] = []
    for number, side in enumerate(ORDER):
        run = yield from _run(converse(), number, side, unread(window), question, settings, cancel)
        if run is None or not run.complete:
            yield Measured(question, settings.drafter, 0.0, 0.0, None, False, True, "stopped before all four runs")
            return
        runs.append(run)
    plain_s, drafted_s = (sum(run.seconds for run in runs if run.side == side) / 2 for side in ("plain", "drafted"))
    yield Measured(question, settings.drafter, plain_s, drafted_s, plain_s / drafted_s if drafted_s > 0 else None,
                   len({run.text for run in runs}) == 1, all(run.lossless for run in runs))


def _run(answer: Answer, number: int, side: Literal["plain", "drafted"], window: Window, question: str,
         settings: AskSettings, cancel: threading.Event) -> Iterator[Compared]:
    """One run; returns what it gave, None when it was given up before it began."""
    settings = replace(settings, drafter=PLAIN) if side == "plain" else settings
    text, seconds, checks = "", 0.0, 0
    result: _Run | None = None

    def now(done: bool) -> Compared:
        return Compared(question, settings.drafter, number, len(ORDER), side, text, seconds, checks, done)

    yield now(False)
    with closing(answer(window, question, settings, cancel)) as records:
        for record in records:
            if isinstance(record, Cycle):
                text += "".join(token.text for token in record.emitted)
                seconds = max((span.end_s for span in record.spans), default=seconds)
                checks += 1
                yield now(False)
            elif isinstance(record, Caption):
                seconds = record.total_s
                result = _Run(side, text, seconds, record.lossless, record.stopped != "cancelled")
    yield now(True)
    return result
