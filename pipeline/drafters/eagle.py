"""EAGLE: one layer that guesses the verifier's next state from its last one and the token it led to.

    drafter = create(models, None)          # EAGLE-2, a tree that grows where it is likely
    drafter = create(models, "static")      # EAGLE-1's fixed tree; "chain": no branches; "hass": HASS's training;
                                            # or a folder in the format that EAGLE's authors publish

Feature f of a token is the verifier's state that its head reads; the layer sees (f of a token, the next token) and
says the next f, which the verifier's own head turns into words (EAGLE-1: Li et al. 2024a; dynamic tree: EAGLE-2, Li
et al. 2024b; training through its own guesses: HASS, Zhang et al. 2025).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pipeline.checkpoints import beside, check_names, load_module, padded, read_checkpoint, write_checkpoint
from pipeline.decoder import FUSED, Decoder, DecoderConfig, fused, unfused
from pipeline.drafters import folder_of, verifier_of
from pipeline.heads import SHAPES, DraftHead, HeadDrafter
from pipeline.models import Models
from pipeline.packed import PackedLinear
from streams.types import InputError

VARIANTS = (*SHAPES[1:], "hass")
"""What bench compares beside the plain name, which is the first shape."""


class EagleHead(DraftHead):
    """The layer: fc of (token embedding, feature), then attention and MLP; its input is not normalised."""

    aligned = True

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.fc = PackedLinear(2 * config.hidden_size, config.hidden_size)

    def features(self, hidden: Tensor) -> Tensor:
        """The state that the verifier's head reads."""
        return hidden[..., -1, :]

    def enter(self, words: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """The same for both: fc of the two side by side."""
        x = self.fc(torch.cat([words, features], -1))
        return x, x

    @property
    def entrance(self) -> PackedLinear:
        """fc."""
        return self.fc

    def logits(self, features: Tensor, verifier: Decoder) -> Tensor:
        """Through the verifier's own head."""
        scores: Tensor = verifier.head(features)
        return scores


def create(models: Models, variant: str | None) -> HeadDrafter:
    """Make it. Raises InputError where no head was trained for the pair and for a variant that does not exist."""
    verifier = verifier_of(models, "eagle")
    folder = folder_of(models, "eagle", variant, (*SHAPES, "hass"))
    if variant == "hass":
        folder = folder.with_name("eagle-hass")
    shape = variant if variant in SHAPES else SHAPES[0]
    name = f"eagle:{variant}" if variant else "eagle"
    return HeadDrafter(name, verifier, load_head(folder, verifier), models.tokenizer.eos, shape)


INSIDE = {source for name, sources in FUSED.items() if name != "attention_norm.weight" for source in sources}


def load_head(folder: Path, verifier: Decoder) -> EagleHead:
    """A head from a checkpoint with the published names. Raises InputError where it does not fit the verifier."""
    config, state = read_checkpoint(folder, "train it with: parafovea train eagle")
    check_names(state, {"fc.weight", *(f"layers.0.{name}" for name in INSIDE)}, {"fc.bias", "embed_tokens.weight"},
                folder)
    embedded = state.pop("embed_tokens.weight", None)
    # not needed: words are embedded by the verifier, which may know special tokens that the head has never seen
    if embedded is not None and len(embedded) > padded(len(verifier.embed.weight)):
        raise InputError(f"the checkpoint in {folder} was made for {len(embedded)} tokens, the verifier "
                         f"has {len(verifier.embed.weight)}; use a head trained for it")
    head = EagleHead(DecoderConfig.from_llama(config))
    own = {"fc.weight": state["fc.weight"], "fc.bias": state.get("fc.bias", torch.zeros(len(state["fc.weight"])))}
    own |= {f"layer.{name}": value for name, value in fused(state, "layers.0.").items()}
    load_module(head, own, folder)
    if head.config.hidden_size != verifier.config.hidden_size:
        raise InputError(f"the checkpoint in {folder} was made for states of {head.config.hidden_size} numbers, the "
                         f"verifier has {verifier.config.hidden_size}; use a head trained for it")
    return beside(head, verifier)


def save_head(head: EagleHead, folder: Path, **facts: float) -> None:
    """Write a checkpoint with the published names."""
    state = {"fc.weight": head.fc.weight.data, "fc.bias": head.fc.bias.data}
    state |= {f"layers.0.{name}": value for name, value in unfused(head.layer).items()}
    write_checkpoint(folder, head.config.to_llama(architectures=["EagleModel"], **facts), state)


