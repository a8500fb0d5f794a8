"""What was said before is the cheapest guess: memory of earlier answers and of the text so far.

Longest-suffix match over the last answers (question included) and the present one, the most recent wins
(prompt lookup, Saxena 2023; REST, He et al. 2024). Never proposes special tokens. Has no hidden state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pipeline.drafters import refuse_variant
from pipeline.models import Models
from pipeline.types import Draft, Prefix, Rule, Scores, Verdict
from streams.types import Window

ANSWERS = 32
"""How many earlier answers are remembered."""

LONGEST = 12
"""Suffix length beyond which a longer match says nothing more."""


def create(models: Models, variant: str | None) -> RecallDrafter:
    """Make it; the memory lives as long as the drafter."""
    refuse_variant("recall", variant)
    return RecallDrafter(models)


class RecallDrafter:
    """Continues the most recent place where the same words were said."""

    name = "recall"
    parameters = 0
    compared: str | None = None

    def __init__(self, models: Models) -> None:
        self._tokenizer = models.tokenizer
        self._memory: deque[list[int]] = deque(maxlen=ANSWERS)
        self._specials = set(models.tokenizer.specials.values())
        self._line: list[int] = []
        self._prompt_size = 0

    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Begin a new line with the question, so that the same question recalls the same answer."""
        self._line = self._tokenizer.prompt(prompt)
        self._prompt_size = len(self._line)

    def propose(self, budget: int) -> Draft:
        """The continuation of the longest match, up to `budget` tokens, empty when nothing matches."""
        best, tail = 0, list[int]()
        for old in [self._line, *reversed(self._memory)]:
            for end in range(len(old) - 1, 0, -1):
                if old[end] in self._specials or old[end - 1] != self._line[-1]:
                    continue
                length = self._matched(old, end)
                if length > best:
                    best, tail = length, old[end:end + budget]
        cut = next((i for i, token in enumerate(tail) if token in self._specials), len(tail))
        return Draft.chain(tail[:cut], self.name)

    def _matched(self, old: list[int], end: int) -> int:
        """How many tokens before old[end] equal the end of the present line."""
        length = 0
        while (length < min(LONGEST, end, len(self._line)) and old[end - 1 - length] == self._line[-1 - length]):
            length += 1
        return length

    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Append what was confirmed."""
        self._line += [*(draft.tokens[node] for node in verdict.path), verdict.token]

    def finish(self, tokens: list[int]) -> None:
        """Remember the whole answer with its question."""
        self._memory.append(self._line[:self._prompt_size] + tokens)
