"""The verifier drafts for itself with some of its attention left out; no weights, no training.

    drafter = create(models, None)          # leaves out what hardly changes a state; "0.97": another threshold

While the verifier reads, the cosine of the states before and after each layer's attention is measured. Where it is at
least the threshold, attention says little about this prompt and the draft does without it; MLPs are kept, and so is
the attention of the first and the last layer (Adaptive Skipping Decoding, Metel et al. 2024). Where none is that
redundant, nothing is left out: the verifier then drafts for itself, all of it is accepted, and every guess costs a
whole step, which can only lose time; whoever chooses the budget from measured costs sees that.

The draft runs on the verifier's own cache. A guess less probable than a confidence ends the draft; that confidence
follows the measured acceptance (Draft & Verify, Zhang et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.drafters import verifier_of
from pipeline.models import Models
from pipeline.types import VLM, Draft, Prefix, Rule, Scores, Verdict
from streams.types import InputError, Window

THRESHOLD = 0.985
"""Published cosine from which on attention is left out."""

TARGET = 0.9
"""Acceptance rate that the confidence is steered to."""

FIRST_CONFIDENCE, STEP = 0.8, 0.01
RATE_MEMORY, CONFIDENCE_MEMORY = 0.5, 0.9
"""Weights of the past in the moving averages of the acceptance rate and of the confidence; all as published."""


def create(models: Models, variant: str | None) -> SkipDrafter:
    """Make it. Raises InputError for a verifier whose layers are not ours to leave out, and for a variant that is not a
    threshold in 0..1."""
    verifier_of(models, "skip")
    try:
        threshold = THRESHOLD if variant is None else float(variant)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 1:
        raise InputError(f"drafter 'skip' has no variant {variant!r}; give the cosine from which on attention is left "
                         f"out, from 0 (nearly all) to 1 (none): skip:{THRESHOLD}")
    return SkipDrafter(f"skip:{variant}" if variant else "skip", threshold, models.tokenizer.eos)


def redundant(cosines: list[float], threshold: float) -> frozenset[int]:
    """Layers between the first and the last whose attention has a cosine of at least the threshold."""
    return frozenset(layer for layer in range(1, len(cosines) - 1) if cosines[layer] >= threshold)


@dataclass
class Confidence:
    """The least probability of a guess after which drafting goes on; rate: moving average of acceptance."""

    least: float = FIRST_CONFIDENCE
    rate: float = TARGET

    def learn(self, accepted: int, probs: list[float]) -> None:
        """Ask for more while too little of what was drafted is accepted, for less when a draft was cut in vain.

        accepted: how many of the drafted tokens; probs: of the tokens, in order, at least one.
        """
        self.rate = RATE_MEMORY * self.rate + (1 - RATE_MEMORY) * accepted / len(probs)
        wanted = self.least
        if self.rate < TARGET:
            wanted += STEP
        elif probs[-1] < self.least:  # a draft that was not cut says nothing about a lower confidence
            wanted -= STEP
        self.least = min(1.0, max(0.0, CONFIDENCE_MEMORY * self.least + (1 - CONFIDENCE_MEMORY) * wanted))


class SkipDrafter:
    """Draws chains with a part of the verifier; what it learned of its confidence lives as long as it does."""

    parameters = 0
    compared: str | None = "own"
    event: VLM | None = None

    def __init__(self, name: str, threshold: float, eos: int) -> None:
        self.name, self._threshold, self._eos = name, threshold, eos
        self.confidence = Confidence()
        self.skipped: frozenset[int] = frozenset()

    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Wait for the verifier's cosines and choose what to leave out."""
        seen = prefix()
        assert seen.ahead is not None
        self.skipped = redundant(seen.cosines or [], self._threshold)
        self._rule, self._known, self._ahead = rule, 0, seen.ahead

    def propose(self, budget: int) -> Draft:
        """A chain of up to `budget` tokens; the last one is the first that is not sure, or <eos>."""
        tokens, probs, states = list[int](), list[float](), list[Tensor]()

        def choose(scores: Scores) -> int | None:
            token = self._rule.choose(scores.logits, [self._known + len(tokens)])[0]
            tokens.append(token)
            probs.append(float(scores.logits[0].softmax(-1)[token]))
            states.append(scores.hidden[0, -1])
            ended = len(tokens) >= budget or token == self._eos or probs[-1] < self.confidence.least
            return None if ended else token

        if budget < 1:
            return Draft.none()
        self._ahead(self.skipped, choose)
        return Draft.chain(tokens, self.name, probs, torch.stack(states))

    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Steer the confidence by what was accepted."""
        own = [node for node, origin in enumerate(draft.origin) if self.name in origin.split("+")]
        confidences = [float(draft.probs[node] or 0.0) for node in own] if draft.probs is not None else []
        if confidences:
            self.confidence.learn(sum(node in own for node in verdict.path), confidences)
        self._known += len(verdict.path) + 1

    def finish(self, tokens: list[int]) -> None:
        """Let the verifier's cache go."""
        del self._ahead
