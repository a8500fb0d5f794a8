"""Does cosine predict acceptance? Curves, predictors and the claimed thresholds, from guesses that were judged.

    guesses = Guesses()
    for done, total in compare(models, ["vlm"], windows, [], table, DETAILED, listen=guesses.listen): ...
    guesses.to_json("vlm", tau, seconds)             # needs scipy: pip install 'parafovea[report]'

Every guess whose parent was accepted counts: only there do the drafter's and the verifier's state belong to the same
words. Intervals are by bootstrap over clips, because the words of one answer depend on each other.
"""

from __future__ import annotations

import importlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline import claims
from pipeline.measure import QUESTIONS, Answer
from pipeline.statistics import tokens_per_round
from pipeline.types import Cycle, Node
from streams.types import InputError

DETAILED = {"detailed": QUESTIONS["detailed"]}
"""The question that is asked: its answers are long."""

FIRST_WORDS = 3
"""Words at the start of an answer that are nearly always the same."""

FEWEST = 30
"""Guesses that a curve of its own needs."""

DRAWS, POINTS = 200, 41


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
    """Judged guesses and rounds, by drafter."""

    guesses: dict[str, list[Guess]] = field(default_factory=lambda: defaultdict(list))
    rounds: dict[str, Rounds] = field(default_factory=lambda: defaultdict(Rounds))

    def listen(self, name: str, clip: int, answer: Answer) -> None:
        """Keep what one answer shows."""
        text = ""
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
                "curves": {depth: curve(some) for depth, some in depths.items()
                           if depth == "all" or len(some) >= FEWEST},
                "sampled_curve": curve(guesses, lambda guess: guess.p_verify),
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


def science(part: str) -> Any:
    """A module of scipy. Raises InputError when it is not installed."""
    try:
        return importlib.import_module(f"scipy.{part}")
    except ImportError as error:
        raise InputError("calibrate needs scipy; install it with `pip install 'parafovea[report]'`") from error


@dataclass(frozen=True)
class Isotonic:
    """A rising step function: heights [N] at places [N], linear between them, constant outside."""

    places: np.ndarray
    heights: np.ndarray

    @classmethod
    def fit(cls, places: np.ndarray, values: np.ndarray) -> Isotonic:
        """Least squares over values [N] at places [N] (pool adjacent violators)."""
        unique, inverse, counts = np.unique(places, return_inverse=True, return_counts=True)
        means = np.bincount(inverse, values) / counts
        fitted = science("optimize").isotonic_regression(means, weights=counts.astype(float))
        return cls(unique, fitted.x)

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Heights at places [M]."""
        return np.interp(places, self.places, self.heights)


def curve(guesses: Sequence[Guess], value: Callable[[Guess], float] = lambda guess: guess.accepted,
          ) -> dict[str, list[float]]:
    """Acceptance by cosine: isotonic fit over the observed range and its 95 % band by bootstrap over clips.

    value: what is fitted; p_verify gives the chance that sampling at temperature 1 would accept the guess.
    """
    known = [guess for guess in guesses if guess.cos_sim is not None]
    places = np.array([guess.cos_sim for guess in known])
    values = np.array([float(value(guess)) for guess in known])
    grid = np.linspace(places.min(), places.max(), POINTS)
    rows: dict[int, list[int]] = defaultdict(list)
    for row, guess in enumerate(known):
        rows[guess.clip].append(row)
    clips, rng = [np.array(some) for some in rows.values()], np.random.default_rng(0)
    fits = []
    for _ in range(DRAWS):
        drawn = np.concatenate([clips[clip] for clip in rng.integers(0, len(clips), len(clips))])
        fits.append(Isotonic.fit(places[drawn], values[drawn])(grid))
    low, high = np.quantile(fits, [0.025, 0.975], axis=0)
    return {"cos_sim": _rounded(grid), "acceptance": _rounded(Isotonic.fit(places, values)(grid)),
            "low": _rounded(low), "high": _rounded(high)}


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 4) for value in values]


def predictors(guesses: Sequence[Guess]) -> dict[str, Any]:
    """How well each number known before the verdict ranks guesses: Spearman's correlation with acceptance and ROC AUC.

    None where a drafter does not give the number, or where all guesses share one fate.
    """
    rows: dict[str, Any] = {"guesses": len(guesses)}
    for name in ("cos_sim", "p_draft"):
        pairs = [(value, guess.accepted) for guess in guesses if (value := getattr(guess, name)) is not None]
        rows[name] = ranking([value for value, _ in pairs], [accepted for _, accepted in pairs])
    return rows


def ranking(values: Sequence[float], accepted: Sequence[bool]) -> dict[str, float] | None:
    """Spearman's correlation and ROC AUC of values for acceptance; None where either side is constant."""
    if len(set(values)) < 2 or len(set(accepted)) < 2:
        return None
    stats = science("stats")
    own, fate = np.array(values), np.array(accepted)
    wins = stats.mannwhitneyu(own[fate], own[~fate]).statistic
    return {"spearman": round(float(stats.spearmanr(own, fate).statistic), 4),
            "auc": round(float(wins) / (int(fate.sum()) * int((~fate).sum())), 4)}


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
