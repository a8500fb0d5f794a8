"""What a page that connects, or connects again, has to be told.

    board = Board()
    board.add(message)                  # everything that was ever published
    outbox.put(board.messages())        # the part that still matters
"""

from __future__ import annotations

from ui.answer_messages import Agreement, AnswerStarted, Compared, Marked, Measured
from ui.protocol import (
    Cameras,
    Filtering,
    Histogram,
    Message,
    Offers,
    Playing,
    SourceFailed,
    SourceLoading,
    SourceOpened,
)

SAME_MARK_S = 1.0
"""A caption of nearly the same moment replaces the one before (a recording that is played again)."""
MAX_MARKS = 1000
MEASURED = -1
"""Place of a comparison's result among its runs."""


class Board:
    """Newest state, newest caption and question with their words, marks of all captions, counts, newest comparison."""

    def __init__(self) -> None:
        self._source: Message | None = None
        self._latest: dict[str, Message] = {}
        self._answers: dict[str, list[Message]] = {}
        self._marks: list[Marked] = []
        self._counts: dict[str, Message] = {}
        self._runs: dict[int, Message] = {}

    def add(self, message: Message) -> None:
        """Remember one message, forgetting what it makes obsolete."""
        if isinstance(message, (SourceOpened, SourceFailed, SourceLoading)):
            self._on_source(message)
        elif isinstance(message, AnswerStarted):
            self._answers[message.who] = [message]
        elif isinstance(message, Marked):
            marks = [mark for mark in self._marks if abs(mark.end_s - message.end_s) >= SAME_MARK_S]
            self._marks = [*marks[1 - MAX_MARKS:], message]
        elif isinstance(message, Histogram):
            self._latest["histogram"] = message
        elif isinstance(message, Agreement):
            self._counts[message.drafter] = message
        elif isinstance(message, (Compared, Measured)):
            self._on_comparison(message)
        elif not isinstance(message, (Playing, Offers, Cameras, Filtering)):
            for told in self._answers.values():
                if told[0].id == message.id:
                    told.append(message)

    def _on_comparison(self, message: Compared | Measured) -> None:
        """Keep the newest state of every run, then the result."""
        if isinstance(message, Measured):
            self._runs[MEASURED] = message
        else:
            if message.run == 0 and MEASURED in self._runs:
                self._runs.clear()
            self._runs[message.run] = message

    @property
    def marks(self) -> list[Marked]:
        """All captions of this source, in the order they were made."""
        return list(self._marks)

    def _on_source(self, message: SourceOpened | SourceFailed | SourceLoading) -> None:
        if isinstance(message, SourceOpened):
            self._source = message
            self._latest.clear()
            self._answers.pop("caption", None)
            self._marks.clear()
        self._latest["source"] = message

    def messages(self) -> list[Message]:
        """Everything, in an order that a fresh page understands."""
        told = [self._source] if self._source else []
        told += [message for message in self._latest.values() if message is not self._source]
        told += [*self._marks, *self._counts.values(), *self._runs.values()]
        return told + [message for answer in self._answers.values() for message in answer]
