"""EAGLE-3: a layer over the verifier's low, middle and high states that guesses words, not states.

    drafter = create(models, None)          # a tree that grows where it is likely; "static" or "chain"

Features are a mix of three tapped layers; the layer has norms of its own for words and features, a head of its own over
a reduced vocabulary, and is trained through its own guesses without any loss on states (Li et al. 2025).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.checkpoints import beside, check_names, load_module, padded, read_checkpoint, write_checkpoint
from pipeline.decoder import FUSED, Decoder, DecoderConfig, RMSNorm, fused, unfused
from pipeline.drafters import folder_of, verifier_of
from pipeline.heads import SHAPES, DraftHead, HeadDrafter
from pipeline.models import Models
from pipeline.packed import PackedLinear
from streams.types import InputError

VARIANTS = SHAPES[1:]
"""What bench compares beside the plain name, which is the first shape."""

LEVELS = 3
"""Low, middle and high: the first taps of the verifier, before its last state."""


class Eagle3Head(DraftHead):
    """The layer, its mix of levels, its norms and its head; d2t, t2d: the words it knows."""

    aligned = False
    d2t: Tensor
    t2d: Tensor

    def __init__(self, config: DecoderConfig, words: Tensor) -> None:
        """words: ids of the verifier's tokens that the head can say, ascending int64 [draft vocabulary]."""
        super().__init__(config)
        size = config.hidden_size
        self.fc = nn.Linear(LEVELS * size, size, bias=False)
        self.layer.qkv = PackedLinear(2 * size, sum(self.layer.split), bias=False)
        self.input_norm, self.hidden_norm, self.norm = (RMSNorm(size, config.norm_eps) for _ in range(3))
        self.head = nn.Linear(size, len(words), bias=False)
        known = torch.zeros(config.vocab_size, dtype=torch.bool)
        known[words] = True
        self.register_buffer("d2t", words - torch.arange(len(words)))
        self.register_buffer("t2d", known)

    def features(self, hidden: Tensor) -> Tensor:
        """The mix of the three levels."""
        mixed: Tensor = self.fc(hidden[..., :LEVELS, :].flatten(-2))
        return mixed

    def enter(self, words: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Past attention go the features as they are; into it words and features, each normalised."""
        return features, torch.cat([self.input_norm(words), self.hidden_norm(features)], -1)

    def draft_logits(self, features: Tensor) -> Tensor:
        """Scores [..., draft vocabulary]."""
        scores: Tensor = self.head(self.norm(features))
        return scores

    def logits(self, features: Tensor, verifier: Decoder) -> Tensor:
        """Scores of all words, minus infinity for those it cannot say."""
        own = self.draft_logits(features)
        full = own.new_full((*own.shape[:-1], len(self.t2d)), float("-inf"))
        full[..., self.d2t + torch.arange(len(self.d2t), device=own.device)] = own
        return full


def create(models: Models, variant: str | None) -> HeadDrafter:
    """Make it. Raises InputError where no head was trained for the pair and for a variant that does not exist."""
    verifier = verifier_of(models, "eagle3")
    if len(models.rgb.taps) != LEVELS + 1:
        raise InputError(f"drafter 'eagle3' needs low, middle and high states of the verifier, and {models.rgb.name} "
                         "has too few layers; use --drafter eagle")
    head = load_head(folder_of(models, "eagle3", variant, SHAPES), verifier)
    shape = variant if variant in SHAPES else SHAPES[0]
    return HeadDrafter(f"eagle3:{variant}" if variant else "eagle3", verifier, head, models.tokenizer.eos, shape)


OUTSIDE = {"midlayer.hidden_norm.weight": "hidden_norm.weight", "midlayer.input_layernorm.weight": "input_norm.weight",
           "fc.weight": "fc.weight", "norm.weight": "norm.weight", "lm_head.weight": "head.weight"}
"""Published names of what is not inside the layer, and ours."""

INSIDE = {f"midlayer.{source}" for name, sources in FUSED.items() if name != "attention_norm.weight"
          for source in sources}


def load_head(folder: Path, verifier: Decoder) -> Eagle3Head:
    """A head from a checkpoint with the published names. Raises InputError where it does not fit the verifier."""
    config, state = read_checkpoint(folder, "train it with: parafovea train eagle3")
    check_names(state, {*OUTSIDE, *INSIDE}, {"d2t", "t2d", "embed_tokens.weight"}, folder)
    words, vocabulary = len(state["lm_head.weight"]), verifier.config.vocab_size
    if words < vocabulary and "d2t" not in state:
        raise InputError(f"the checkpoint in {folder} knows {words} of {vocabulary} words and does not say which: d2t "
                         "is missing; copy the whole checkpoint")
    if config["vocab_size"] > padded(vocabulary) or config["hidden_size"] != verifier.config.hidden_size:
        raise InputError(f"the checkpoint in {folder} was made for {config['vocab_size']} words and states of "
                         f"{config['hidden_size']} numbers, the verifier has {vocabulary} and "
                         f"{verifier.config.hidden_size}; use a head trained for it")
    said = torch.arange(words) + state.get("d2t", torch.zeros(words, dtype=torch.int64)).long()
    if int(said.max()) >= vocabulary or len(said.unique()) != words:
        raise InputError(f"the vocabulary map d2t in {folder} names words outside the verifier's {vocabulary}, or one "
                         "twice; use a head trained for it")
    # a verifier that knows special tokens beyond the head's words never hears them from it
    head = Eagle3Head(DecoderConfig.from_llama(config | {"vocab_size": vocabulary}), said)
    own = {ours: state[name] for name, ours in OUTSIDE.items()} | {"d2t": head.d2t, "t2d": head.t2d}
    inside = fused({name: state[name] for name in INSIDE}, "midlayer.")
    load_module(head, own | {f"layer.{name}": value for name, value in inside.items()}, folder)
    return beside(head, verifier)


def save_head(head: Eagle3Head, folder: Path, **facts: float) -> None:
    """Write a checkpoint with the published names."""
    own = head.state_dict()
    state = {name: own[ours] for name, ours in OUTSIDE.items()} | {"d2t": own["d2t"], "t2d": own["t2d"]}
    state |= {f"midlayer.{name}": value for name, value in unfused(head.layer).items()}
    write_checkpoint(folder, head.config.to_llama(architectures=["LlamaForCausalLMEagle3"],
                                                  draft_vocab_size=len(head.d2t), **facts), state)
