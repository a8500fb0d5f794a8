"""How likely a guess is accepted when its parent is: counted while answers are made.

    chances = Chances()
    chances.of("vlm", 0.93)                     # before anything was counted: the drafter's own word
    chances.learn(draft, verdict)

Drafters are over- or underconfident, each in its own way, so what is counted is kept per drafter and confidence.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.types import Draft, Verdict

BINS = 5
"""Steps of confidence that acceptance is counted for."""

UNSURE, PRIOR, MEMORY = 0.5, 4.0, 0.99
"""Confidence of a drafter that gives none; how many guesses its own word is worth against what was counted; how much
of a count is left after the next guess of its kind."""


class Chances:
    """Counts of accepted guesses by who made them and how sure they were."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], tuple[float, float]] = {}

    def of(self, origin: str, confidence: float | None) -> float:
        """The chance of a guess of this drafter with this confidence (None = it gives none)."""
        sure = UNSURE if confidence is None else confidence
        accepted, reached = self._counts.get((origin, _bin(sure)), (0.0, 0.0))
        return (accepted + PRIOR * sure) / (reached + PRIOR)

    def count(self, origin: str, confidence: float | None, accepted: bool) -> None:
        """One guess whose parent was accepted turned out so."""
        key = (origin, _bin(UNSURE if confidence is None else confidence))
        before = self._counts.get(key, (0.0, 0.0))
        self._counts[key] = (before[0] * MEMORY + accepted, before[1] * MEMORY + 1)

    def learn(self, draft: Draft, verdict: Verdict) -> None:
        """Count the verdict on every node whose parent was accepted."""
        passed = set(verdict.path)
        for node, (parent, origin) in enumerate(zip(draft.parents, draft.origin, strict=True)):
            if parent < 0 or parent in passed:
                self.count(origin, _confidence(draft, node), node in passed)

    def judge(self, draft: Draft, said: Sequence[int]) -> None:
        """Count every guess, checked or not, about tokens that are known by now: those the verifier said next."""
        known = {-1: 0}
        for node, (token, parent, origin) in enumerate(zip(draft.tokens, draft.parents, draft.origin, strict=True)):
            place = known.get(parent, len(said))
            if place < len(said):
                self.count(origin, _confidence(draft, node), token == said[place])
                if token == said[place]:
                    known[node] = place + 1

    def gains(self, draft: Draft) -> list[float]:
        """Per node, how likely it and everything before it is accepted: the tokens it is expected to save."""
        gains: list[float] = []
        for node, (parent, origin) in enumerate(zip(draft.parents, draft.origin, strict=True)):
            chance = self.of(origin, _confidence(draft, node))
            gains.append(chance * (gains[parent] if parent >= 0 else 1.0))
        return gains


def _confidence(draft: Draft, node: int) -> float | None:
    return None if draft.probs is None else draft.probs[node]


def _bin(confidence: float) -> int:
    return min(BINS - 1, int(confidence * BINS))


def likeliest(draft: Draft, gains: list[float], size: int) -> Draft:
    """The `size` nodes of a draft with the largest gains; a gain never exceeds its parent's, so parents stay."""
    if size >= len(draft):
        return draft
    # sorting is stable: of equals the parent, which comes first, stays
    kept = sorted(sorted(range(len(draft)), key=lambda node: -gains[node])[:size])
    number = {-1: -1} | {node: i for i, node in enumerate(kept)}
    return Draft([draft.tokens[node] for node in kept], [number[draft.parents[node]] for node in kept],
                 [draft.origin[node] for node in kept],
                 None if draft.probs is None else [draft.probs[node] for node in kept],
                 None if draft.hidden is None else draft.hidden[kept])
