"""Several drafters guess together: their drafts become one tree, and the budget goes where acceptance is likely.

    drafter = create(models, None)                    # the event VLM, memory and, where it was trained, EAGLE
    drafter = create(models, "vlm+recall+medusa")     # these

A node names all who proposed it. How likely a guess is accepted is counted per drafter and confidence while answers
are made: a drafter that has been wrong gets less of the tree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from pipeline import drafters
from pipeline.models import Models
from pipeline.types import Draft, Drafter, Prefix, Rule, Scores, Verdict
from streams.types import InputError, Window

DEFAULT = ("vlm", "recall", "eagle")
BINS = 5
"""Steps of confidence that acceptance is counted for."""

UNSURE, PRIOR = 0.5, 4.0
"""Confidence of a drafter that gives none, and how many guesses its own word is worth against what was counted."""


def create(models: Models, variant: str | None) -> MixDrafter:
    """Make it of the drafters in variant, joined by +. Raises InputError for less than two and for another mix."""
    names = variant.split("+") if variant else [name for name in DEFAULT if _available(name, models)]
    if len(set(names)) < 2 or any(name.partition(":")[0] in ("mix", "none") for name in names):
        raise InputError(f"mix:{'+'.join(names)} is not allowed; join two or more drafters that guess, for example "
                         "mix:vlm+recall")
    return MixDrafter(f"mix:{variant}" if variant else "mix", [drafters.create(name, models) for name in names])


def _available(name: str, models: Models) -> bool:
    return name == "recall" or (name == "vlm" and models.event is not None) or (models.heads / name).is_dir()


@dataclass
class _Guess:
    """A node of the common tree: who proposed it with what confidence, and the chance that it is accepted when its
    parent is."""

    token: int
    parent: int
    chance: float = 0.0
    voters: list[tuple[str, float]] = field(default_factory=list)
    state: torch.Tensor | None = None


class MixDrafter:
    """Merges the drafts of its members."""

    def __init__(self, name: str, members: Sequence[Drafter]) -> None:
        self.name, self._members = name, members
        self.parameters = sum(member.parameters for member in members)
        self._counts: dict[tuple[str, int], list[float]] = {}
        self._voters: list[list[tuple[str, float]]] = []

    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Every member begins; those that wait for the verifier should come last."""
        for member in self._members:
            member.start(window, prompt, rule, prefix)

    def propose(self, budget: int) -> Draft:
        """The `budget` nodes of all drafts that are likeliest to be accepted."""
        guesses: list[_Guess] = []
        for member in self._members:
            self._merge(member.name, member.propose(budget), guesses)
        totals: list[float] = []
        for guess in guesses:
            totals.append(guess.chance * (totals[guess.parent] if guess.parent >= 0 else 1.0))
        # sorting is stable: of equals the parent, which comes first, stays
        kept = sorted(sorted(range(len(guesses)), key=lambda i: -totals[i])[:budget])
        number = {-1: -1} | {node: i for i, node in enumerate(kept)}
        chosen = [guesses[i] for i in kept]
        self._voters = [guess.voters for guess in chosen]
        return Draft([guess.token for guess in chosen], [number[guess.parent] for guess in chosen],
                     ["+".join(name for name, _ in guess.voters) for guess in chosen],
                     [guess.chance for guess in chosen], _states(chosen))

    def _merge(self, name: str, draft: Draft, guesses: list[_Guess]) -> None:
        place: dict[int, int] = {-1: -1}
        at = {(guess.parent, guess.token): i for i, guess in enumerate(guesses)}
        for node, (token, parent) in enumerate(zip(draft.tokens, draft.parents, strict=True)):
            key = (place[parent], token)
            if key not in at:
                at[key] = len(guesses)
                guesses.append(_Guess(token, place[parent]))
            place[node] = at[key]
            guess = guesses[at[key]]
            confidence = UNSURE if draft.probs is None else draft.probs[node]
            guess.voters.append((name, confidence))
            guess.chance = max(guess.chance, self.chance(name, confidence))
            if guess.state is None and draft.hidden is not None:
                guess.state = draft.hidden[node]

    def chance(self, name: str, confidence: float) -> float:
        """How likely a guess of this drafter with this confidence is accepted when its parent is."""
        accepted, reached = self._counts.get((name, _bin(confidence)), (0.0, 0.0))
        return (accepted + PRIOR * confidence) / (reached + PRIOR)

    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Count who was right, and let every member take over what was said."""
        accepted = set(verdict.path)
        # at the very end of an answer nobody is asked for guesses
        for node, (parent, voters) in enumerate(zip(draft.parents, self._voters if len(draft) else [], strict=True)):
            if parent < 0 or parent in accepted:
                for name, confidence in voters:
                    count = self._counts.setdefault((name, _bin(confidence)), [0.0, 0.0])
                    count[0] += node in accepted
                    count[1] += 1
        for member in self._members:
            member.observe(draft, scores, verdict)

    def finish(self, tokens: list[int]) -> None:
        """Tell the members."""
        for member in self._members:
            member.finish(tokens)


def _bin(confidence: float) -> int:
    return min(BINS - 1, int(confidence * BINS))


def _states(guesses: list[_Guess]) -> torch.Tensor | None:
    """Aligned states [N, D], NaN for guesses without one; None when there are none at all."""
    known = next((guess.state for guess in guesses if guess.state is not None), None)
    if known is None:
        return None
    nothing = torch.full_like(known, math.nan)
    return torch.stack([nothing if guess.state is None else guess.state for guess in guesses])
