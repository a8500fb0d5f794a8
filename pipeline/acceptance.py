"""Which drafted tokens pass: the verifier's own choice at every node decides.

    rule = Greedy()                                  # or Sampling(temperature=0.8, seed=7)
    verdict = walk(draft, scores, rule, index=0)

Both rules are lossless: the verifier picks its token at each row, a child with that token is accepted, and the
walk goes on there. Sampling uses Gumbel-argmax with noise keyed by (seed, index of the token in the answer), so
the text is token for token what plain decoding with the same seed gives (drafter-invariant coupling, Daliri et
al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.trees import children_of
from pipeline.types import Draft, Rule, Scores, Verdict
from streams.types import InputError


@dataclass(frozen=True)
class Greedy:
    """The most probable token; equals greedy decoding."""

    name: str = "greedy"
    lossless: bool = True

    def preferences(self, logits: Tensor, indices: list[int]) -> Tensor:
        """The logits themselves."""
        return logits

    def choose(self, logits: Tensor, indices: list[int]) -> list[int]:
        """Arg-max of each row of logits [R, V]."""
        tokens: list[int] = logits.argmax(-1).tolist()
        return tokens


@dataclass(frozen=True)
class Sampling:
    """A token drawn at a temperature; equals plain decoding with the same seed."""

    temperature: float
    seed: int = 0
    name: str = "sampling"
    lossless: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.temperature <= 10:
            raise InputError(f"temperature {self.temperature} is not allowed; use 0 for greedy decoding or a value "
                             "up to 10")
        if self.seed < 0:
            raise InputError(f"seed {self.seed} is not allowed; use 0 or a positive number")

    def preferences(self, logits: Tensor, indices: list[int]) -> Tensor:
        """Logits at the temperature plus the noise of each row's place in the answer."""
        noise = np.stack([gumbel(self.seed, index, logits.shape[-1]) for index in indices])
        return logits.double() / self.temperature + torch.from_numpy(noise).to(logits.device)

    def choose(self, logits: Tensor, indices: list[int]) -> list[int]:
        """Gumbel-argmax over each row of logits [R, V]."""
        tokens: list[int] = self.preferences(logits, indices).argmax(-1).tolist()
        return tokens


def gumbel(seed: int, index: int, size: int) -> np.ndarray:
    """Gumbel noise float64 [size] of one position of one answer."""
    uniform = np.random.default_rng([seed, index]).random(size)
    noise: np.ndarray = -np.log(-np.log(np.clip(uniform, 1e-300, 1 - 1e-16)))
    return noise


def rule_for(temperature: float, seed: int) -> Rule:
    """The default rule: greedy at temperature 0, otherwise seeded sampling."""
    return Greedy() if temperature == 0 else Sampling(temperature, seed)


def walk(draft: Draft, scores: Scores, rule: Rule, index: int) -> Verdict:
    """Follow the verifier's choices down the tree; index: position of the next token in the answer."""
    said = rule.choose(scores.logits, [index, *(index + depth for depth in draft.depths())])
    node, path = -1, list[int]()
    while True:
        token = said[node + 1]
        children = children_of(draft.parents, node)
        passed = next((child for child in children if draft.tokens[child] == token), None)
        if passed is None:
            kind = "plain" if not len(draft) else "recovered" if children else "bonus"
            return Verdict(path, token, kind)  # type: ignore[arg-type]
        path.append(passed)
        node = passed
