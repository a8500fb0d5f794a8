"""What the page is told about answers: the words of every round with their verdicts, work, counts.

    [AnswerStarted(...), WordsDrafted(...), RoundJudged(...), Numbers(...), ..., AnswerDone(...)]

Part of ui.protocol, which gives them their wire form.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
    """One piece of work on the time axis: lane "events" | "prefill" | "draft_prefill" | "draft" | "verify".

    amount: events per second that came in meanwhile, None for the lanes of the models.
    """

    lane: str
    start_s: float
    end_s: float
    amount: float | None = None


@dataclass(frozen=True)
class AnswerStarted:
    """A question (the visitor's or the running caption's) goes to the models.

    start_s, end_s: the window in the recording. how: the settings in words. rates_hz: events per second in equal
    parts of the window. replayed: name of the trace that is played back, no model runs; empty for a real answer.
    """

    k: ClassVar[str] = "start"
    id: str
    who: Who
    question: str
    start_s: float
    end_s: float
    drafter: str
    how: str = ""
    rates_hz: list[float] = field(default_factory=list)
    replayed: str = ""


@dataclass(frozen=True)
class Queued:
    """How many other answers the models make first; 0: they begin with this one now."""

    k: ClassVar[str] = "queued"
    id: str
    place: int


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
    """Running counts of one answer. acceptance_rate: design.md §5; words are tokens. delay_s: from the question, or
    the end of the caption's window, to the newest word, waiting for other visitors included."""

    k: ClassVar[str] = "numbers"
    id: str
    acceptance_rate: float | None
    words_per_check: float | None
    words_per_s: float | None
    first_guess_s: float | None
    first_word_s: float | None
    words: int
    checks: int
    delay_s: float | None = None


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
    start_s: float = 0.0


@dataclass(frozen=True)
class Agreement:
    """How often guesses were accepted, by their cos_sim, in this visit.

    drafter: every one has a scale of its own. Bin i of n holds cos_sim in [i/n, (i+1)/n), the first everything below,
    the last 1 itself.
    """

    k: ClassVar[str] = "agreement"
    drafter: str
    accepted: list[int]
    total: list[int]


@dataclass(frozen=True)
class Compared:
    """One of the runs that measure the speed-up, in the making. side: "plain" or "drafted"; run counts from 0."""

    k: ClassVar[str] = "compare"
    question: str
    drafter: str
    run: int
    runs: int
    side: Literal["plain", "drafted"]
    text: str
    seconds: float
    checks: int
    done: bool


@dataclass(frozen=True)
class Measured:
    """What the runs say together: seconds per answer (mean), plain / drafted, whether all texts are the same.

    stopped: why there is no result, empty when there is one.
    """

    k: ClassVar[str] = "measured"
    question: str
    drafter: str
    plain_s: float
    drafted_s: float
    speedup: float | None
    same: bool
    lossless: bool
    stopped: str = ""


AnswerMessage: TypeAlias = (AnswerStarted | Queued | WordsDrafted | RoundJudged | Numbers | AnswerDone | Marked
                           | Agreement | Compared | Measured)
"""All of them."""
