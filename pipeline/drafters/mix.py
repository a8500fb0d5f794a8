"""Several drafters guess together: their drafts become one tree, and the budget goes where acceptance is likely.

    drafter = create(models, None)                    # the event VLM and memory
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
from pipeline.chances import Chances, likeliest
from pipeline.models import Models
from pipeline.types import VLM, Draft, Drafter, Prefix, Rule, Scores, Verdict
from streams.types import InputError, Window

DEFAULT = ("vlm", "recall")


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
    """A node of the common tree."""

    token: int
    parent: int
    names: list[str] = field(default_factory=list)
    prob: float | None = None
    state: torch.Tensor | None = None


class MixDrafter:
    """Merges the drafts of its members."""

    def __init__(self, name: str, members: Sequence[Drafter]) -> None:
        self.name, self._members, self._chances = name, members, Chances()
        self._guessed = Draft.none()
        self.parameters = sum(member.parameters for member in members)
        self.compared = "+".join(dict.fromkeys(member.compared for member in members if member.compared)) or None

    @property
    def event(self) -> VLM | None:
        """The event VLM that any of them reads windows with."""
        return next((member.event for member in self._members if member.event is not None), None)

    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Every member begins; those that wait for the verifier should come last."""
        for member in self._members:
            member.start(window, prompt, rule, prefix)

    def propose(self, budget: int) -> Draft:
        """The `budget` nodes of all drafts that are likeliest to be accepted."""
        self._guessed = merged([(member.name, member.propose(budget)) for member in self._members])
        return likeliest(self._guessed, self._chances.gains(self._guessed), budget)

    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Count who was right, also of guesses that were not checked, and let every member take over what was said."""
        said = [*(draft.tokens[node] for node in verdict.path), verdict.token]
        self._chances.judge(self._guessed, said)
        self._guessed = Draft.none()
        for member in self._members:
            member.observe(draft, scores, verdict)

    def finish(self, tokens: list[int]) -> None:
        """Tell the members."""
        for member in self._members:
            member.finish(tokens)


def merged(drafts: Sequence[tuple[str, Draft]]) -> Draft:
    """One tree of several drafts by name; equal guesses are one node that names all who made it."""
    guesses: list[_Guess] = []
    at: dict[tuple[int, int], int] = {}
    for name, draft in drafts:
        place = {-1: -1}
        for node, (token, parent) in enumerate(zip(draft.tokens, draft.parents, strict=True)):
            key = (place[parent], token)
            if key not in at:
                at[key] = len(guesses)
                guesses.append(_Guess(token, place[parent]))
            place[node] = at[key]
            _vote(guesses[at[key]], name, draft, node)
    return Draft([guess.token for guess in guesses], [guess.parent for guess in guesses],
                 ["+".join(guess.names) for guess in guesses], [guess.prob for guess in guesses], _states(guesses))


def _vote(guess: _Guess, name: str, draft: Draft, node: int) -> None:
    guess.names.append(name)
    prob = draft.probs[node] if draft.probs is not None else None
    if prob is not None:
        guess.prob = max(prob, guess.prob or 0.0)
    if guess.state is None and draft.hidden is not None:
        guess.state = draft.hidden[node]


def _states(guesses: list[_Guess]) -> torch.Tensor | None:
    """Aligned states [N, D], NaN for guesses without one; None when there are none at all."""
    known = next((guess.state for guess in guesses if guess.state is not None), None)
    if known is None:
        return None
    nothing = torch.full_like(known, math.nan)
    return torch.stack([nothing if guess.state is None else guess.state for guess in guesses])
