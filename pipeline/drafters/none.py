"""No draft at all: plain decoding, the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.drafters import refuse_variant
from pipeline.models import Models
from pipeline.types import VLM, Draft, Prefix, Rule, Scores, Verdict
from streams.types import Window


def create(models: Models, variant: str | None) -> NoneDrafter:
    """Make it."""
    refuse_variant("none", variant)
    return NoneDrafter()


class NoneDrafter:
    """Proposes nothing."""

    name = "none"
    parameters = 0
    compared: str | None = None
    event: VLM | None = None

    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Nothing to do."""

    def propose(self, budget: int) -> Draft:
        """The empty draft."""
        return Draft.none()

    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Nothing to learn."""

    def finish(self, tokens: list[int]) -> None:
        """Nothing to keep."""
