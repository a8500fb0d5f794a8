"""SpecVLM: an EAGLE head that also sees what the verifier saw, a few rows of it.

    drafter = create(models, None)          # a gate chooses how the visual rows are compressed, once per question
    drafter = create(models, "pool")        # always so: none, prune, pool, convolve or resample; or a folder

The layer is EAGLE's with a norm before its attention. In front of the text stand the verifier's last states of its
visual rows, compressed by one of five operators: none of them, every twentieth, means of twenty, a convolution over
three, or what two learnt queries gather from all. A gate that reads the question's states chooses (SpecVLM, Huang et
al. 2025). The authors prune at random and let visual embeddings in; here pruning is even, so that a draft can be
repeated, and the states stand for the embeddings, which a session does not show.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.checkpoints import beside, check_names, load_module, read_checkpoint, write_checkpoint
from pipeline.decoder import FUSED, Decoder, DecoderConfig, RMSNorm, fused, unfused
from pipeline.drafters import folder_of, verifier_of
from pipeline.drafters.eagle import EagleHead
from pipeline.heads import HeadDrafter
from pipeline.models import Models
from pipeline.types import Prefix
from streams.types import InputError

VARIANTS = OPERATORS = ("none", "prune", "pool", "convolve", "resample")

FEWER, STRIDE, QUERIES = 20, 3, 2
"""Rows that pruning and pooling make one of, rows that the convolution makes one of, and rows of the resampler."""


class SpecVlmHead(EagleHead):
    """The layer, the operators that have weights, and the gate; operator: the one that is always taken."""

    def __init__(self, config: DecoderConfig, operator: str | None = None) -> None:
        super().__init__(config)
        size = config.hidden_size
        self.operator = operator
        self.layer.attention_norm = RMSNorm(size, config.norm_eps)
        self.gate = nn.Linear(size, len(OPERATORS))
        self.convolve = nn.Conv1d(size, size, STRIDE, STRIDE)
        self.queries = nn.Parameter(torch.randn(QUERIES, size))
        self.resample = nn.MultiheadAttention(size, config.heads, batch_first=True)

    def compress(self, operator: str, visual: Tensor) -> Tensor:
        """Rows [B, K, D] of visual rows [B, V, D], K <= V but for a resampler of one row."""
        if operator == "none" or not visual.shape[1]:
            return visual[:, :0]
        if operator == "prune":
            return visual[:, ::FEWER]
        if operator == "pool":
            return F.avg_pool1d(visual.transpose(1, 2), FEWER, ceil_mode=True).transpose(1, 2)
        if operator == "convolve":
            filled = F.pad(visual.transpose(1, 2), (0, -visual.shape[1] % STRIDE))
            rows: Tensor = self.convolve(filled).transpose(1, 2)
            return rows
        gathered: Tensor = self.resample(self.queries.expand(len(visual), -1, -1), visual, visual,
                                         need_weights=False)[0]
        return gathered

    def choose(self, question: Tensor) -> str:
        """The operator for a question, from the states [N, D] that led to its tokens."""
        return self.operator or OPERATORS[int(self.gate(question.mean(0)).argmax())]

    def front(self, seen: Prefix) -> Tensor:
        """The compressed visual rows."""
        states = self.features(seen.hidden)
        operator = self.choose(states[max(0, seen.visual - 1):])
        return self.compress(operator, states[None, :seen.visual])[0]


def create(models: Models, variant: str | None) -> HeadDrafter:
    """Make it. Raises InputError where no head was trained for the pair and for a variant that does not exist."""
    verifier = verifier_of(models, "specvlm")
    head = load_head(folder_of(models, "specvlm", variant, OPERATORS), verifier)
    head.operator = variant if variant in OPERATORS else None
    return HeadDrafter(f"specvlm:{variant}" if variant else "specvlm", verifier, head, models.tokenizer.eos)


INSIDE = {f"layers.0.{source}" for sources in FUSED.values() for source in sources}


def load_head(folder: Path, verifier: Decoder) -> SpecVlmHead:
    """A head from a checkpoint; names inside the layer are EAGLE's. Raises InputError where it does not fit the
    verifier."""
    config, state = read_checkpoint(folder, "train it with: parafovea train specvlm")
    head = SpecVlmHead(DecoderConfig.from_llama(config))
    outside = {name for name in head.state_dict() if not name.startswith("layer.")}
    check_names(state, outside | INSIDE, set(), folder)
    inside = {f"layer.{name}": value for name, value in fused(state, "layers.0.").items()}
    load_module(head, {name: state[name] for name in outside} | inside, folder)
    if head.config.hidden_size != verifier.config.hidden_size:
        raise InputError(f"the checkpoint in {folder} was made for states of {head.config.hidden_size} numbers, the "
                         f"verifier has {verifier.config.hidden_size}; use a head trained for it")
    return beside(head, verifier)


def save_head(head: SpecVlmHead, folder: Path, **facts: float) -> None:
    """Write a checkpoint; names inside the layer are EAGLE's."""
    state = {name: value for name, value in head.state_dict().items() if not name.startswith("layer.")}
    state |= {f"layers.0.{name}": value for name, value in unfused(head.layer).items()}
    write_checkpoint(folder, head.config.to_llama(architectures=["SpecVlmModel"], **facts), state)
