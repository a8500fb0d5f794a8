"""Does cosine predict acceptance? Curves, predictors and the claimed thresholds, from guesses that were judged.

    guesses = Guesses()
    for done, total in compare(models, ["vlm"], windows, [], table, DETAILED, listen=guesses.listen): ...
    guesses.to_json("vlm")

Every guess whose parent was accepted counts: only there do the drafter's and the verifier's state belong to the same
words. Intervals are by bootstrap over clips, because the words of one answer depend on each other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline import claims
from pipeline.isotonic import Isotonic, curve, ranking
from pipeline.measure import PLAIN, QUESTIONS, Answer
from pipeline.statistics import tokens_per_round
from pipeline.types import Cycle, Node

DETAILED = {"detailed": QUESTIONS["detailed"]}
"""The question that is asked: its answers are long."""

FIRST_WORDS = 3
"""Words at the start of an answer that are nearly always the same."""

FEWEST = 30
"""Guesses that a curve of its own needs."""


@dataclass(frozen=True)
class Guess:
    """One drafted token whose parent was accepted. round: of its drafter, over all answers; depth from 1; word: of the
    answer that it belongs to, from 0; p_verify: what the verifier gave it."""

    clip: int
    round: int
    depth: int
    word: int
    accepted: bool
    cos_sim: float | None
    p_draft: float | None
    p_verify: float


@dataclass
class Rounds:
    """Rounds per clip, and in how many the verifier added a token of its own: an answer may end with a guess."""

    number: Counter[int] = field(default_factory=Counter)
    own: Counter[int] = field(default_factory=Counter)

    def of(self, clips: Iterable[int]) -> Rounds:
        """Those of some clips."""
        chosen = list(clips)
        return Rounds(Counter({clip: self.number[clip] for clip in chosen}),
                      Counter({clip: self.own[clip] for clip in chosen}))


@dataclass
class Guesses:
    """Judged guesses and rounds, by drafter; plain decoding's tokens by clip."""

    answers: dict[int, list[int]] = field(default_factory=dict)
    guesses: dict[str, list[Guess]] = field(default_factory=lambda: defaultdict(list))
    rounds: dict[str, Rounds] = field(default_factory=lambda: defaultdict(Rounds))

    def listen(self, name: str, clip: int, answer: Answer) -> None:
        """Keep what one answer shows."""
        text = ""
        if name == PLAIN:
            self.answers[clip] = answer.tokens
        for cycle in answer.cycles:
            rounds = self.rounds[name]
            self.guesses[name] += _judged(cycle, clip, rounds.number.total(), text)
            rounds.number[clip] += 1
            rounds.own[clip] += cycle.emitted[-1].kind != "accepted"
            text += "".join(token.text for token in cycle.emitted)

    def left_out(self, name: str) -> str | None:
        """Why a drafter has no curve; None when it has one."""
        if not self.guesses[name]:
            return f"{name} guessed nothing"
        if all(guess.cos_sim is None for guess in self.guesses[name]):
            return f"{name} has no hidden state that could be compared with the verifier's, so it has no cosine"
        return None

    def to_json(self, name: str) -> dict[str, Any]:
        """One drafter's part of the "calibration" line: curves by depth counted from 0, predictors, thresholds."""
        guesses, rounds = self.guesses[name], self.rounds[name]
        later = [guess for guess in guesses if guess.word >= FIRST_WORDS]
        depths = {"all": guesses} | {str(depth - 1): [guess for guess in guesses if guess.depth == depth]
                                     for depth in sorted({guess.depth for guess in guesses})}
        predicted = predicted_tau(guesses, rounds)
        return {"guesses": len(guesses), "accepted": round(float(np.mean([guess.accepted for guess in guesses])), 4),
                "curves": {depth: acceptance_curve(some) for depth, some in depths.items()
                           if depth == "all" or len(some) >= FEWEST},
                "sampled_curve": acceptance_curve(guesses, lambda guess: guess.p_verify),
                "predictors": {"all": predictors(guesses), f"without_first_{FIRST_WORDS}_words": predictors(later)},
                "predicted_tau": None if predicted is None else round(predicted, 3),
                "thresholds": [threshold(guesses, rounds, claim) for claim in claims.THRESHOLDS]}


def _judged(cycle: Cycle, clip: int, number: int, text: str) -> list[Guess]:
    """The reached guesses of a round that begins after `text`."""
    before: list[str] = []
    found = []
    for node in cycle.nodes:
        before.append((text if node.parent < 0 else before[node.parent]) + node.text)
        if node.verdict != "unreached":
            found.append(_guess(node, clip, number, max(0, len(before[-1].split()) - 1)))
    return found


def _guess(node: Node, clip: int, number: int, word: int) -> Guess:
    assert node.p_verify is not None
    return Guess(clip, number, node.depth, word, node.verdict == "accepted", node.cos_sim, node.p_draft,
                 node.p_verify)


def acceptance_curve(guesses: Sequence[Guess], value: Callable[[Guess], float] = lambda guess: guess.accepted,
                     ) -> dict[str, list[float]]:
    """Acceptance by cosine, with its band.

    value: what is fitted; p_verify gives the chance that sampling at temperature 1 would accept the guess.
    """
    known = [(guess.clip, guess.cos_sim, value(guess)) for guess in guesses if guess.cos_sim is not None]
    return curve(*zip(*known, strict=True))


def predictors(guesses: Sequence[Guess]) -> dict[str, Any]:
    """How well each number known before the verdict ranks guesses: Spearman's correlation with acceptance and ROC AUC.

    None where a drafter does not give the number, or where all guesses share one fate.
    """
    rows: dict[str, Any] = {"guesses": len(guesses)}
    for name in ("cos_sim", "p_draft"):
        pairs = [(value, guess.accepted) for guess in guesses if (value := getattr(guess, name)) is not None]
        rows[name] = ranking([value for value, _ in pairs], [accepted for _, accepted in pairs])
    return rows


def threshold(guesses: Sequence[Guess], rounds: Rounds, claim: tuple[float, float, float, float]) -> dict[str, Any]:
    """One row of the claimed threshold table, measured: acceptance over the threshold, and τ if cosine were the rule.

    The latter is an estimate: beyond the first rejected guess there is no cosine, so shares are conditional on
    the verifier's own acceptance.
    """
    cosine, rate, chain, speedup = claim
    over = [guess for guess in guesses if guess.cos_sim is not None and guess.cos_sim > cosine]
    tau = _tau(guesses, rounds, lambda guess: float(guess.cos_sim is not None and guess.cos_sim > cosine))
    return {"threshold": cosine, "share_over": round(len(over) / len(guesses), 4),
            "accepted_over": round(float(np.mean([guess.accepted for guess in over])), 4) if over else None,
            "tau_if_cosine_ruled": round(tau, 3), "claimed_formula": round(claims.speedup(tau), 3),
            "claimed": {"acceptance": rate, "chain": chain, "speedup": speedup}}


def predicted_tau(guesses: Sequence[Guess], rounds: Rounds) -> float | None:
    """τ that the curves predict for clips they were not fitted on: each half of the clips from the other half.

    None with fewer than two clips, or where the curves of one half do not cover all depths of the other.
    """
    total, clips = 0.0, sorted(rounds.number)
    for part in (0, 1):
        chosen = set(clips[part::2])
        own = [guess for guess in guesses if guess.clip in chosen]
        fits = _fits([guess for guess in guesses if guess.clip not in chosen])
        if any(guess.depth not in fits or guess.cos_sim is None for guess in own) or not own:
            return None
        measured = rounds.of(chosen)
        total += measured.number.total() * _tau(own, measured, lambda guess, fits=fits: float(fits[guess.depth](  # type: ignore[misc]
            np.array([guess.cos_sim]))[0]))
    return total / rounds.number.total()


def _fits(guesses: Sequence[Guess]) -> dict[int, Isotonic]:
    fits = {}
    for depth in {guess.depth for guess in guesses}:
        pairs = [(guess.cos_sim, float(guess.accepted)) for guess in guesses
                 if guess.depth == depth and guess.cos_sim is not None]
        if pairs:
            fits[depth] = Isotonic.fit(*np.array(pairs).T)
    return fits


def _tau(guesses: Sequence[Guess], rounds: Rounds, chance: Callable[[Guess], float]) -> float:
    """Tokens per round when a level passes with the sum of its siblings' chances; whether it is drafted at all is
    as measured. One sibling at most is right."""
    levels: dict[int, dict[int, list[Guess]]] = defaultdict(lambda: defaultdict(list))
    for guess in guesses:
        levels[guess.depth][guess.round].append(guess)
    passed, before = [], rounds.number.total()
    for depth in sorted(levels):
        chances = [min(1.0, sum(map(chance, siblings))) for siblings in levels[depth].values()]
        passed.append(sum(chances) / before if before else 0.0)
        before = sum(any(guess.accepted for guess in siblings) for siblings in levels[depth].values())
    return tokens_per_round(passed, rounds.own.total() / rounds.number.total())
