"""What the page is told about answers: the words of every round with their verdicts, work, counts.

    [AnswerStarted(...), WordsDrafted(...), RoundJudged(...), Numbers(...), ..., AnswerDone(...)]

Part of ui.protocol, which gives them their wire form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from pipeline.types import Box

State: TypeAlias = Literal["pending", "accepted", "rejected", "unreached", "recovered", "bonus", "plain"]
Who: TypeAlias = Literal["caption", "question"]


@dataclass(frozen=True)
class Word:
    """One token on the page: a guess with its verdict, or a token of the verifier's own.

    id: stays the same from guess to verdict. parent: id of the guess before it in the draft, None at the start
    of a round. main: on the line that the sentence shows; the other branches of a tree appear in the
    round-by-round view. drafted_s / checked_s: seconds since the question.
    """

    id: str
    text: str
    state: State
    round: int
    main: bool = True
    depth: int = 0
    parent: str | None = None
    origin: str = ""
    cos_sim: float | None = None
    p_draft: float | None = None
    p_verify: float | None = None
    drafted_s: float | None = None
    checked_s: float | None = None
    replaces: str | None = None
    replaced_by: str | None = None
    box: Box | None = None


@dataclass(frozen=True)
class Work:
    """One piece of work on the time axis: lane "prefill" | "draft_prefill" | "draft" | "verify"."""

    lane: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class AnswerStarted:
    """A question (the visitor's or the running caption's) goes to the models; waits: another visitor is first."""

    k: ClassVar[str] = "start"
    id: str
    who: Who
    question: str
    start_s: float
    end_s: float
    drafter: str
    waits: bool


@dataclass(frozen=True)
class WordsDrafted:
    """Guesses that nobody has checked yet."""

    k: ClassVar[str] = "drafted"
    id: str
    round: int
    words: list[Word]


@dataclass(frozen=True)
class RoundJudged:
    """The verdicts of one round, in the order of the sentence; replaces the guesses of the same round."""

    k: ClassVar[str] = "judged"
    id: str
    round: int
    words: list[Word]
    work: list[Work]
    accepted: int
    drafted: int


@dataclass(frozen=True)
class Numbers:
    """Running counts of one answer. acceptance_rate: design.md §5; words are tokens."""

    k: ClassVar[str] = "numbers"
    id: str
    acceptance_rate: float | None
    words_per_check: float | None
    words_per_s: float | None
    first_guess_s: float | None
    first_word_s: float | None
    words: int
    checks: int


@dataclass(frozen=True)
class AnswerDone:
    """An answer is complete, was stopped, or failed (error says why in one sentence)."""

    k: ClassVar[str] = "done"
    id: str
    text: str
    stopped: str
    lossless: bool = True
    rule: str = ""
    drafter: str = ""
    total_s: float = 0.0
    cos_adapter: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Marked:
    """A finished caption for the line under the views and for the scrubber."""

    k: ClassVar[str] = "mark"
    end_s: float
    text: str


AnswerMessage: TypeAlias = AnswerStarted | WordsDrafted | RoundJudged | Numbers | AnswerDone | Marked
"""All of them."""
