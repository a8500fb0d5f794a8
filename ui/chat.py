"""Questions and answers of one visitor: the newest are shown, all are kept to be taken away.

    chat.begin("What is happening?")            # the answer's turn; its "content" grows
    chat.shown()                                # for gr.Chatbot: the newest, as text
    chat.text()                                 # everything, for a file

A turn is {"role": "user" | "assistant", "content": text}.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

SHOWN = 12
"""Turns on the page: all of them travel with every change, and each is some fifty nodes in the browser."""
KEPT = 2000
"""Turns in memory."""
NAMES = {"user": "Question", "assistant": "Answer"}


class Chat:
    """turns: all that are kept, in order: a question, its answer, a question, its answer."""

    def __init__(self) -> None:
        self.turns: list[dict[str, str]] = []

    def begin(self, question: str) -> dict[str, str]:
        """Add a question; returns the turn of its answer, to be filled."""
        answer = {"role": "assistant", "content": ""}
        self.turns += [{"role": "user", "content": question}, answer]
        del self.turns[:-KEPT]
        return answer

    def last_question(self) -> str | None:
        """The newest question; None when there is none."""
        return next((turn["content"] for turn in reversed(self.turns) if turn["role"] == "user"), None)

    def shown(self) -> list[dict[str, str]]:
        """The newest turns. gr.Chatbot takes HTML even with Markdown off (an image in an answer would be fetched)."""
        newest = [turn | {"content": html.escape(turn["content"], quote=False)} for turn in self.turns[-SHOWN:]]
        older = (len(self.turns) - len(newest)) // 2
        if not older:
            return newest
        note = f"({older} earlier {'questions are' if older > 1 else 'question is'} in the file: Take away, chat)"
        return [{"role": "assistant", "content": note}, *newest]

    def text(self) -> str:
        """Everything as lines of text."""
        return "".join(f"{NAMES[turn['role']]}: {turn['content'].strip()}\n" for turn in self.turns)

    def bring_back(self, shown: Sequence[dict[str, Any]]) -> None:
        """Take what a page shows as the beginning: the program was started again and has forgotten it."""
        turns = [{"role": turn["role"], "content": html.unescape(_text(turn["content"]))} for turn in shown
                 if turn.get("role") in NAMES][-SHOWN:]
        first = next((i for i, turn in enumerate(turns) if turn["role"] == "user"), len(turns))
        self.turns = turns[first:]


def _text(content: Any) -> str:
    """Of a turn as gr.Chatbot gives it back: a string, or a list of blocks."""
    if isinstance(content, str):
        return content
    return "".join(str(block.get("text", "")) for block in content if isinstance(block, dict))
