"""Which drafted tokens pass: the verifier's own choice at every node decides.

    rule = Greedy()                                  # or Sampling(temperature=0.8, seed=7), or rule_for("typical")
    verdict = walk(draft, scores, rule, index=0)

The verifier picks its token at each row, a child with that token is accepted, and the walk goes on there. Greedy and
Sampling accept nothing else and are lossless: sampling uses Gumbel-argmax with noise keyed by (seed, index of the
token in the answer), so the text is token for token what plain decoding with the same seed gives (drafter-invariant
coupling, Daliri et al. 2024). Typical and Cosine also accept guesses that the verifier would not have said: lossy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.trees import children_of
from pipeline.types import Draft, Rule, Scores, Verdict
from streams.types import InputError


class _Likeliest:
    """The verifier's own words are the most probable ones."""

    only_likeliest = True

    def preferences(self, logits: Tensor, indices: list[int]) -> Tensor:
        """The logits themselves."""
        return logits

    def choose(self, logits: Tensor, indices: list[int]) -> list[int]:
        """Arg-max of each row of logits [R, V]."""
        tokens: list[int] = logits.argmax(-1).tolist()
        return tokens


@dataclass(frozen=True)
class Greedy(_Likeliest):
    """The most probable token; equals greedy decoding."""

    name: str = "greedy"
    lossless: bool = True

    def tolerates(self, draft: Draft, scores: Scores) -> list[bool]:
        """No guess but the verifier's own."""
        return [False] * len(draft)


@dataclass(frozen=True)
class Sampling:
    """A token drawn at a temperature, from the top_k likeliest (0 = all) and those that make up top_p; equals plain
    decoding with the same seed."""

    temperature: float
    seed: int = 0
    top_k: int = 0
    top_p: float = 1.0
    name: str = "sampling"
    lossless: bool = True
    only_likeliest: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.temperature <= 10:
            raise InputError(f"temperature {self.temperature} is not allowed; use 0 for greedy decoding or a value "
                             "up to 10")
        if self.seed < 0:
            raise InputError(f"seed {self.seed} is not allowed; use 0 or a positive number")
        if self.top_k < 0:
            raise InputError(f"top-k {self.top_k} is not allowed; use 0 for all tokens or how many may be drawn")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top-p {self.top_p} is not allowed; use a share above 0 and up to 1")

    def preferences(self, logits: Tensor, indices: list[int]) -> Tensor:
        """Logits at the temperature plus the noise of each row's place in the answer, -inf for what is cut off."""
        warped = _cut(logits.double() / self.temperature, self.top_k, self.top_p)
        noise = np.stack([gumbel(self.seed, index, logits.shape[-1]) for index in indices])
        return warped + torch.from_numpy(noise).to(logits.device)

    def choose(self, logits: Tensor, indices: list[int]) -> list[int]:
        """Gumbel-argmax over each row of logits [R, V]."""
        tokens: list[int] = self.preferences(logits, indices).argmax(-1).tolist()
        return tokens

    def tolerates(self, draft: Draft, scores: Scores) -> list[bool]:
        """No guess but the one that is drawn."""
        return [False] * len(draft)


def _cut(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Logits [R, V] with -inf outside the top_k likeliest and outside the fewest that make up top_p."""
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, -1).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if top_p < 1:
        ranked, order = logits.softmax(-1).sort(dim=-1, descending=True, stable=True)
        beyond = ranked.cumsum(-1) - ranked >= top_p
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), float("-inf"))
    return logits


@dataclass(frozen=True)
class Typical(_Likeliest):
    """Medusa's typical acceptance (Cai et al. 2024 §2.3.1): a guess passes when its probability exceeds
    min(epsilon, delta * exp(-entropy)). LOSSY: the text may differ from plain decoding's; own words are greedy."""

    epsilon: float = 0.09
    delta: float = 0.3
    name: str = "typical"
    lossless: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < 1:
            raise InputError(f"typical:{self.epsilon} is not allowed; use a probability between 0 and 1")

    def tolerates(self, draft: Draft, scores: Scores) -> list[bool]:
        """The guesses that are probable enough for how sure the verifier is."""
        if not len(draft):
            return []
        rows = scores.logits[torch.tensor(draft.parents, device=scores.logits.device) + 1].log_softmax(-1)
        entropy = -(rows.exp() * rows).sum(-1)
        least = (self.delta * torch.exp(-entropy)).clamp(max=self.epsilon)
        tokens = torch.tensor(draft.tokens, device=rows.device)
        passed: list[bool] = (rows.gather(-1, tokens[:, None])[:, 0].exp() > least).tolist()
        return passed


@dataclass(frozen=True)
class Cosine(_Likeliest):
    """The original study's rule: a guess passes when its cos_sim exceeds a threshold, whatever the word. LOSSY; kept
    to show what it does. Own words are greedy."""

    threshold: float = 0.9
    name: str = "cosine"
    lossless: bool = False

    def __post_init__(self) -> None:
        if not -1 <= self.threshold < 1:
            raise InputError(f"cosine:{self.threshold} is not allowed; use a threshold from -1 up to 1")

    def tolerates(self, draft: Draft, scores: Scores) -> list[bool]:
        """The guesses whose state is near the verifier's; none of a drafter without states."""
        return [cosine is not None and cosine > self.threshold for cosine in cosines(draft, scores)]


def cosines(draft: Draft, scores: Scores) -> list[float | None]:
    """cos_sim of every node: between the drafter's aligned state and the verifier's for the same prefix (design.md
    §2.4); None where the drafter has no state."""
    if draft.hidden is None:
        return [None] * len(draft)
    rows = torch.tensor(draft.parents, device=scores.hidden.device) + 1
    # an event VLM may be on another device
    theirs = draft.hidden.to(scores.hidden.device).float()
    values: list[float] = F.cosine_similarity(theirs, scores.hidden[rows, -1].float(), dim=-1).tolist()
    # a drafter that merges others marks the nodes of those without states by NaN
    return [None if value != value else value for value in values]


def gumbel(seed: int, index: int, size: int) -> np.ndarray:
    """Gumbel noise float64 [size] of one position of one answer."""
    uniform = np.random.default_rng([seed, index]).random(size)
    noise: np.ndarray = -np.log(-np.log(np.clip(uniform, 1e-300, 1 - 1e-16)))
    return noise


RULES = ("greedy", "sampling", "typical[:EPSILON]", "cosine[:THRESHOLD]")
"""Names of rules, for people."""


def rule_for(name: str = "", temperature: float = 0.0, seed: int = 0, top_k: int = 0, top_p: float = 1.0) -> Rule:
    """A rule by name; without one greedy at temperature 0, otherwise seeded sampling. Raises InputError for a name or
    value that is not allowed."""
    stem, _, value = name.partition(":")
    if stem in ("typical", "cosine"):
        return _lossy(stem, value, temperature)
    if value or stem not in ("", "greedy", "sampling"):
        raise InputError(f"unknown acceptance rule {name!r}; use one of {', '.join(RULES)}")
    if (stem or "greedy") == "greedy" and temperature == 0:
        return Greedy()
    if stem == "greedy":
        raise InputError(f"greedy decoding has no temperature, got {temperature}; use the rule sampling")
    return Sampling(temperature, seed, top_k, top_p)


def _lossy(stem: str, value: str, temperature: float) -> Rule:
    if temperature:
        raise InputError(f"the rule {stem} chooses its own words greedily; leave the temperature at 0, got "
                         f"{temperature}")
    kind: type[Typical] | type[Cosine] = Typical if stem == "typical" else Cosine
    if not value:
        return kind()
    try:
        number = float(value)
    except ValueError as error:
        raise InputError(f"{stem}:{value} is not allowed; use a number, for example cosine:0.9") from error
    return kind(number)


def walk(draft: Draft, scores: Scores, rule: Rule, index: int) -> Verdict:
    """Follow the verifier's choices down the tree; index: position of the next token in the answer."""
    said = rule.choose(scores.logits, [index, *(index + depth for depth in draft.depths())])
    tolerated = rule.tolerates(draft, scores)
    node, path = -1, list[int]()
    while True:
        token = said[node + 1]
        children = children_of(draft.parents, node)
        passed = next((child for child in children if draft.tokens[child] == token),
                      next((child for child in children if tolerated[child]), None))
        if passed is None:
            kind = "plain" if not len(draft) else "recovered" if children else "bonus"
            return Verdict(path, token, kind)  # type: ignore[arg-type]
        path.append(passed)
        node = passed
