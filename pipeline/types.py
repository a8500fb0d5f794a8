"""The records of speculative decoding: what is drafted, scored, judged and shown.

    draft = Draft.chain([17, 4], origin="vlm")       # two nodes, the second a child of the first
    Draft.none()                                     # no draft: plain decoding

A draft is always a tree of tokens over the last committed token. Tensors live in Draft, Scores and Verdict;
Drafted, Cycle and Caption are plain Python, shared by page, command line, bench, logs and tests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import torch

from pipeline.decoder import Decoder
from pipeline.text import Tokenizer
from streams.types import Window

Kind: TypeAlias = Literal["accepted", "recovered", "bonus", "plain"]
Box: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 in the RGB view, each 0..1."""


@dataclass(frozen=True, eq=False)
class Draft:
    """A tree of guessed tokens.

    tokens [N]; parents [N] with parents[i] < i, -1 = child of the last committed token; origin [N] names the
    drafter of each node; probs [N] = the drafter's probability of each token given its prefix, None where it has none;
    hidden float32 [N, D_verifier] = the drafter's (aligned) state that predicted each token, NaN for nodes that have
    none, or None.
    """

    tokens: list[int]
    parents: list[int]
    origin: list[str]
    probs: Sequence[float | None] | None = None
    hidden: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if not len(self.tokens) == len(self.parents) == len(self.origin):
            raise ValueError(f"a draft needs one parent and origin per token, got {len(self.tokens)} tokens, "
                             f"{len(self.parents)} parents, {len(self.origin)} origins")
        if any(not -1 <= parent < i for i, parent in enumerate(self.parents)):
            raise ValueError(f"parents must come before their children, got {self.parents}")

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def none(cls) -> Draft:
        """The empty draft: plain decoding."""
        return cls([], [], [])

    @classmethod
    def chain(cls, tokens: list[int], origin: str, probs: Sequence[float | None] | None = None,
              hidden: torch.Tensor | None = None) -> Draft:
        """A draft without branches."""
        return cls(list(tokens), list(range(-1, len(tokens) - 1)), [origin] * len(tokens), probs, hidden)

    def trunk(self) -> Draft:
        """The chain of first children, for a verifier that cannot score branches."""
        kept: list[int] = []
        for node, parent in enumerate(self.parents):
            if parent == (kept[-1] if kept else -1):
                kept.append(node)
        probs = None if self.probs is None else [self.probs[node] for node in kept]
        chain = Draft.chain([self.tokens[node] for node in kept], "", probs,
                            None if self.hidden is None else self.hidden[kept])
        return replace(chain, origin=[self.origin[node] for node in kept])

    def depths(self) -> list[int]:
        """Depth of each node, 1 for children of the last committed token."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(1 if parent < 0 else depths[parent] + 1)
        return depths


@dataclass(frozen=True, eq=False)
class Scores:
    """What the verifier says about a draft of N nodes, from one forward pass.

    logits [N+1, V]: row 0 follows the last committed token, row i+1 follows node i.
    hidden [N+1, taps, D]: states of the tapped layers at the same rows. find: gives the boxes; None = there are none.
    """

    logits: torch.Tensor
    hidden: torch.Tensor
    find: Callable[[], list[Box | None]] | None = None

    @cached_property
    def boxes(self) -> list[Box | None]:
        """By row, the box of the object that the next word is about, at the end of the window, None where it is about
        none. Who wants them asks before the next commit(): they are looked for in the session's cache, and most scores
        are asked by drafters, which do not want them."""
        return [None] * len(self.logits) if self.find is None else self.find()


Ahead: TypeAlias = Callable[[Collection[int], Callable[[Scores], int | None]], None]
"""Runs the verifier word by word after what is committed, with the attention of some layers left out, and commits
nothing: the second argument says the next token from the Scores [1, ...] of the last one; None ends."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """What the verifier made of the window and the question.

    prompt: tokens of the question; visual: rows in front of it; hidden [visual + len(prompt) - 1, taps, D]: states of
    the tapped layers at all rows but the last token of the prompt, which the first verify pass feeds.
    cosines: of the states before and after each layer's attention, mean over all rows; ahead: lends the verifier to
    who drafts with it. Both None where the verifier is somebody else's code.
    """

    prompt: list[int]
    visual: int
    hidden: torch.Tensor
    cosines: list[float] | None = None
    ahead: Ahead | None = None


@dataclass(frozen=True)
class Verdict:
    """path: accepted nodes from the root down; token: the verifier's own next token; kind: of that token."""

    path: list[int]
    token: int
    kind: Literal["recovered", "bonus", "plain"]


@dataclass(frozen=True)
class Span:
    """One piece of work: lane "prefill" | "draft_prefill" | "draft" | "verify", seconds since the question."""

    lane: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Node:
    """One drafted token with its verdict. cos_sim: see design §2.4, None where undefined or not reached."""

    text: str
    token: int
    parent: int
    depth: int
    origin: str
    verdict: Literal["pending", "accepted", "rejected", "unreached"]
    cos_sim: float | None = None
    p_draft: float | None = None
    p_verify: float | None = None
    box: Box | None = None


@dataclass(frozen=True)
class Emitted:
    """One token of the answer; replaces: text of the rejected guess it stands for; box: the object it is about."""

    text: str
    token: int
    kind: Kind
    replaces: str | None = None
    box: Box | None = None


@dataclass(frozen=True)
class Drafted:
    """A draft that has not been checked yet: what the page shows as guesses. at_s: seconds since the question."""

    round: int
    nodes: list[Node]
    at_s: float


@dataclass(frozen=True)
class Cycle:
    """One draft-verify round. Concatenating `emitted[].text` over all cycles gives the answer."""

    round: int
    nodes: list[Node]
    emitted: list[Emitted]
    spans: list[Span]

    def seconds(self, lane: str) -> float:
        """Time spent in one lane during this round."""
        return sum(span.end_s - span.start_s for span in self.spans if span.lane == lane)

    def to_json(self) -> dict[str, Any]:
        """The "cycle" line of design.md §8."""
        # design.md §8 counts depth from 0
        drafted = [asdict(node) | {"depth": node.depth - 1} for node in self.nodes]
        return {"type": "cycle", "round": self.round, "drafted": drafted,
                "emitted": [asdict(token) for token in self.emitted],
                "draft_s": round(self.seconds("draft"), 6), "verify_s": round(self.seconds("verify"), 6),
                "spans": [asdict(span) for span in self.spans]}


@dataclass(frozen=True)
class Caption:
    """A finished answer with its counts. Times are seconds since the question was asked."""

    start_us: int
    end_us: int
    question: str
    text: str
    drafter: str
    rule: str
    lossless: bool
    cycles: int
    tokens: int
    drafted: int
    accepted: int
    acceptance_rate: float | None
    first_draft_s: float | None
    first_token_s: float
    total_s: float
    cos_adapter: str | None
    frames_origin: str | None
    events_origin: str | None
    n_dropped: int = 0
    damaged: bool = False
    stopped: str = "eos"
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def acceptance_length(self) -> float:
        """τ: tokens emitted per verify pass, the verifier's own included."""
        return self.tokens / max(1, self.cycles)

    def to_json(self) -> dict[str, Any]:
        """The "caption" line of design.md §8."""
        line = {"type": "caption", **asdict(self), "acceptance_length": round(self.acceptance_length, 4)}
        line.update(line.pop("extra"))
        return line


Record: TypeAlias = Drafted | Cycle | Caption
"""What answering a question yields: for every round a Drafted (unless empty) and a Cycle; one Caption last."""


class Session(Protocol):
    """One answer in the making inside one VLM: a window and a prompt, then committed tokens.

    The last committed token is not yet in the cache; score() feeds it together with the draft.
    trees: whether score() takes drafts that branch.
    """

    trees: bool

    def prefill(self) -> None:
        """Read the window and the prompt."""

    def score(self, draft: Draft) -> Scores:
        """Score a draft in one forward pass; commits nothing."""

    def commit(self, draft: Draft, verdict: Verdict) -> None:
        """Keep the accepted path of the draft just scored and append the verdict's token."""

    def extend(self, tokens: Sequence[int]) -> None:
        """Append tokens that somebody else verified; the next score() feeds them."""

    def rewind(self, n_committed: int) -> None:
        """Forget all committed tokens after the first n_committed."""

    @property
    def prefix(self) -> Prefix:
        """What prefill() read. Raises RuntimeError before it."""

    @property
    def committed(self) -> list[int]:
        """Tokens of the answer so far."""


class VLM(Protocol):
    """A vision language model: opens sessions; its vocabulary is that of `tokenizer`."""

    name: str
    hidden_size: int
    tokenizer: Tokenizer
    decoder: Decoder | None
    """The decoder whose states a draft head may go on from; None where it is somebody else's code."""
    taps: tuple[int, ...]
    """Layers whose entering states Scores.hidden holds; the last is FINAL. Deep verifiers: low, middle, high, FINAL."""
    reads: Literal["frames", "events", "nothing"]
    """What of a window it looks at."""

    @property
    def parameters(self) -> int:
        """Number of weights."""

    def open(self, window: Window, prompt: str) -> Session:
        """Begin an answer about a window; returns at once, Session.prefill() does the work."""

    def look(self, window: Window) -> None:
        """See what there is in a window that will be asked about, where that is kept for open(). May be called while
        another thread makes an answer."""


class Rule(Protocol):
    """Which token the verifier says at a row of logits; acceptance follows from equality with it."""

    @property
    def name(self) -> str:
        """Name for people and JSON."""

    @property
    def lossless(self) -> bool:
        """Whether the text equals plain decoding's."""

    @property
    def only_likeliest(self) -> bool:
        """Whether choose() is nothing but arg-max, so that it need not be asked where that is known."""

    def preferences(self, logits: torch.Tensor, indices: list[int]) -> torch.Tensor:
        """Scores [R, V] whose largest is the token said at each row: what a drafter should rank its guesses by."""

    def choose(self, logits: torch.Tensor, indices: list[int]) -> list[int]:
        """One token per row of logits [R, V]; indices [R]: place of that token within the answer, from 0."""

    def tolerates(self, draft: Draft, scores: Scores) -> list[bool]:
        """Which nodes pass although the verifier would have said something else; all False in a lossless rule."""


class Drafter(Protocol):
    """Guesses what the verifier will say next.

    start() begins an answer, propose() returns at most `budget` nodes, observe() reports what became of them.
    parameters: number of weights that the guessing costs. compared: what its states reach the verifier's space through,
    where cos_sim is measured: the level of an adapter, "own" where they are there by themselves, None without states.
    event: the event VLM that it reads windows with, None where it reads none.
    """

    name: str
    parameters: int
    compared: str | None

    @property
    def event(self) -> VLM | None:
        """See above."""

    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Begin an answer. prefix() waits until the verifier has read; who can guess without it does not call it."""

    def propose(self, budget: int) -> Draft:
        """Guess; may return fewer nodes, or none."""

    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Learn the verdict on the draft that was checked: the one just proposed, or one that others added to."""

    def finish(self, tokens: list[int]) -> None:
        """The answer is complete: its verified tokens."""


@runtime_checkable
class Previews(Protocol):
    """A drafter whose first guess can be shown before it has made the others."""

    def preview(self) -> Draft:
        """The likeliest first token of what propose() says next, which it does not change; one node at most."""


Records: TypeAlias = Iterator[Record]
