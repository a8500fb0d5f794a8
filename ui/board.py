"""What a page that connects, or connects again, has to be told.

    board = Board()
    board.add(message)                  # everything that was ever published
    outbox.put(board.messages())        # the part that still matters
"""

from __future__ import annotations

from ui.answer_messages import AnswerStarted, Marked
from ui.protocol import Histogram, Message, Playing, SourceFailed, SourceLoading, SourceOpened

SAME_MARK_S = 1.0
"""A caption of nearly the same moment replaces the one before (a recording that is played again)."""
MAX_MARKS = 1000


class Board:
    """Newest state, newest caption and question with their words, and the marks of all captions."""

    def __init__(self) -> None:
        self._source: Message | None = None
        self._latest: dict[str, Message] = {}
        self._answers: dict[str, list[Message]] = {}
        self._marks: list[Marked] = []

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
        elif not isinstance(message, Playing):
            for told in self._answers.values():
                if told[0].id == message.id:
                    told.append(message)

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
        return told + self._marks + [m for answer in self._answers.values() for m in answer]
