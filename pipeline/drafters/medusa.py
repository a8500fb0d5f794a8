"""Medusa: heads on the verifier's last state, each guessing one token further ahead.

    drafter = create(models, None)          # the tree found by calibration; "chain": only the likeliest of each head

Head k reads the state that led to the last known token and guesses the k-th token after it, without knowing those
between; so every node of a level has the same guesses after it (Medusa-1: Cai et al. 2024, verifier untouched).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.checkpoints import (
    beside,
    check_names,
    fingerprint,
    load_module,
    padded,
    read_checkpoint,
    write_checkpoint,
)
from pipeline.decoder import Decoder
from pipeline.drafters import folder_of, verifier_of
from pipeline.models import Models
from pipeline.trees import grow_ranks
from pipeline.types import VLM, Draft, Prefix, Rule, Scores, Verdict
from streams.types import InputError, Window

VARIANTS = ("chain",)
"""What bench compares beside the plain name."""

HEADS = 4


class ResBlock(nn.Module):
    """x + SiLU(W x + b); W starts at zero, so that a head begins as the verifier's own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, size)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x + F.silu(self.linear(x))


class MedusaHeads(nn.ModuleList):
    """Heads of (ResBlock, word scores); names in a checkpoint are 0.0.linear.weight, 0.1.weight and so on."""

    def __init__(self, size: int, vocabulary: int, heads: int = HEADS) -> None:
        super().__init__(nn.Sequential(ResBlock(size), nn.Linear(size, vocabulary, bias=False)) for _ in range(heads))

    def forward(self, states: Tensor) -> Tensor:
        """Scores [heads, ..., V] of the 1st, 2nd, ... token after the one that states [..., D] led to."""
        return torch.stack([head(states) for head in self])


def create(models: Models, variant: str | None) -> MedusaDrafter:
    """Make it. Raises InputError where no heads were trained for the pair and for a variant that does not exist."""
    folder = folder_of(models, "medusa", variant, VARIANTS)
    heads, tree = load_heads(folder, verifier_of(models, "medusa"))
    if variant == "chain":
        tree = [(0,) * length for length in range(1, len(heads) + 1)]
    return MedusaDrafter(f"medusa:{variant}" if variant else "medusa", heads, tree, models.tokenizer.eos,
                         models.tokenizer.size)


def load_heads(folder: Path, verifier: Decoder) -> tuple[MedusaHeads, list[tuple[int, ...]]]:
    """Heads from a checkpoint with the published names, and their tree. The number of heads is read from the weights:
    published config files are wrong about it. Raises InputError where they do not fit the verifier."""
    config, state = read_checkpoint(folder, "train it with: parafovea train medusa")
    state = {name.removeprefix("medusa_head."): value for name, value in state.items()}
    count = len({name.split(".")[0] for name in state})
    size, vocabulary = verifier.config.hidden_size, verifier.config.vocab_size
    rows = len(state["0.1.weight"]) if "0.1.weight" in state else vocabulary
    if vocabulary < rows <= padded(vocabulary):
        state = {name: value[:vocabulary] if name.endswith(".1.weight") else value for name, value in state.items()}
    heads = MedusaHeads(size, min(rows, vocabulary), count)
    check_names(state, set(heads.state_dict()), set(), folder)
    if "verifier" in config and config["verifier"] != fingerprint(verifier):
        raise InputError(f"the heads in {folder} were trained together with a verifier that is not this one "
                         f"(Medusa-2); use them with --model mini:{folder.parent}")
    load_module(heads, state, folder)
    tree = [tuple(path) for path in config.get("medusa_choices", [])] or [
        (0,) * length for length in range(1, count + 1)]
    return beside(heads, verifier), tree


def save_heads(heads: MedusaHeads, tree: Sequence[tuple[int, ...]], folder: Path, **facts: float | str) -> None:
    """Write a checkpoint with the published names and the tree."""
    write_checkpoint(folder, {"medusa_num_heads": len(heads), "medusa_num_layers": 1,
                              "medusa_choices": [list(path) for path in tree], **facts}, heads.state_dict())


class MedusaDrafter:
    """Draws a tree of fixed shape from one look of all heads."""

    compared: str | None = None
    event: VLM | None = None

    def __init__(self, name: str, heads: MedusaHeads, tree: Sequence[tuple[int, ...]], eos: int, words: int) -> None:
        """words: of the verifier; special tokens that the heads have never seen they do not say."""
        self.name, self._heads, self._tree, self._eos, self._words = name, heads, tree, eos, words
        self.parameters = sum(p.numel() for p in heads.parameters())

    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Wait for the verifier's state that led to the end of the question."""
        self._rule, self._known, self._state = rule, 0, prefix().hidden[-1, -1]

    @torch.inference_mode()
    def propose(self, budget: int) -> Draft:
        """At most `budget` nodes of the tree."""
        logits = self._heads(self._state)
        logits = F.pad(logits, (0, self._words - logits.shape[-1]), value=float("-inf"))
        ahead = self._rule.preferences(logits, list(range(self._known, self._known + len(logits)))).log_softmax(-1)

        def expand(tokens: list[int], parents: list[int], nodes: list[int]) -> Tensor:
            depths = Draft(tokens, parents, [""] * len(tokens)).depths()
            return torch.stack([ahead[depths[node]] for node in nodes])

        grown = grow_ranks(ahead[0], expand, budget, self._tree, self._eos)
        return Draft(grown.tokens, grown.parents, [self.name] * len(grown.tokens), grown.probs)

    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Go on from the state that led to the verifier's own token."""
        self._state = scores.hidden[verdict.path[-1] + 1 if verdict.path else 0, -1]
        self._known += len(verdict.path) + 1

    def finish(self, tokens: list[int]) -> None:
        """Nothing to keep."""
