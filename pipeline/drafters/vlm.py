"""The event VLM guesses a chain of words from the events of the same window (Leviathan et al. 2023, across modalities).

It reads its own input while the verifier still reads frames. Its hidden states are mapped to the verifier's by
the L1 adapter, so that every guess has a cos_sim.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from pipeline.drafters import refuse_variant
from pipeline.models import Models
from pipeline.types import Draft, Prefix, Rule, Scores, Verdict
from streams.types import InputError, Window


def create(models: Models, variant: str | None) -> VlmDrafter:
    """Make it. Raises InputError when no event VLM is loaded."""
    refuse_variant("vlm", variant)
    if models.event is None:
        raise InputError("drafter 'vlm' needs an event VLM, and none is loaded; use --drafter recall or none")
    return VlmDrafter(models)


class VlmDrafter:
    """Decodes the event VLM one token at a time; its session is rewound to what the verifier confirmed."""

    name = "vlm"

    def __init__(self, models: Models) -> None:
        assert models.event is not None
        self._models = models
        self._known = 0
        self.parameters = models.event.parameters

    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Read the events and the prompt."""
        assert self._models.event is not None
        self._session = self._models.event.open(window, prompt)
        self._session.prefill()
        self._rule, self._known = rule, 0

    @torch.inference_mode()
    def propose(self, budget: int) -> Draft:
        """A chain of up to `budget` tokens, chosen by the verifier's own rule; ends after <eos>."""
        tokens: list[int] = []
        probs: list[float] = []
        states: list[torch.Tensor] = []
        nothing = Draft.none()
        while len(tokens) < budget:
            scores = self._session.score(nothing)
            token = self._rule.choose(scores.logits, [self._known + len(tokens)])[0]
            self._session.commit(nothing, Verdict([], token, "plain"))
            tokens.append(token)
            probs.append(float(scores.logits[0].softmax(-1)[token]))
            states.append(scores.hidden[0, -1])
            if token == self._models.tokenizer.eos:
                break
        hidden = None
        if self._models.adapter is not None and states:
            hidden = self._models.adapter(torch.stack(states))
        return Draft.chain(tokens, self.name, probs, hidden)

    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Go back to the last guess that was confirmed and take over the rest, the verifier's token last."""
        said = [*(draft.tokens[node] for node in verdict.path), verdict.token]
        guessed = self._session.committed[self._known:]
        shared = next((i for i, pair in enumerate(zip(guessed, said, strict=False)) if pair[0] != pair[1]),
                      min(len(guessed), len(said)))
        # the verifier's token is fed again even where it was guessed: its state is not in the cache yet
        shared = min(shared, len(verdict.path))
        self._session.rewind(self._known + shared)
        self._session.extend(said[shared:])
        self._known += len(said)

    def finish(self, tokens: list[int]) -> None:
        """Nothing to keep."""
