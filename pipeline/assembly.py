"""Puts a checkpoint's tensors into modules that were built on the meta device: one matrix at a time, nothing twice.

    with torch.device("meta"):
        decoder, tower = Decoder(config), CLIPVisionModel(clip)
    fill_decoder(decoder, state.under("language_model."), where)
    fill(tower, state.under("vision_tower."), where)

Nothing is ever ignored in silence: a missing, unexpected or misshapen tensor is an InputError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.decoder import Decoder, fused, llama_names, rotary
from pipeline.packed import PackedLinear
from pipeline.placement import Placement
from streams.types import InputError


def fill(module: nn.Module, state: Mapping[str, Tensor], where: Placement, name: str = "the checkpoint") -> None:
    """Give a module its weights, on their device, in their type, frozen. name: of the checkpoint, for errors."""
    wanted = set(module.state_dict())
    _same_names(name, wanted, set(state))
    shapes = {key: value.shape for key, value in module.state_dict().items()}
    moved = {key: _placed(state[key], where) for key in wanted}
    _same_shapes(name, shapes, moved)
    module.load_state_dict(moved, assign=True)
    for owner in module.modules():
        for buffer, value in owner.named_buffers(recurse=False):
            if value.is_meta:
                # CLIP's only buffer outside the checkpoint; counting is all it does
                assert buffer == "position_ids", buffer
                owner.register_buffer(buffer, torch.arange(value.shape[-1], device=where.device)[None], False)
    module.eval().requires_grad_(False)


def fill_decoder(decoder: Decoder, state: Mapping[str, Tensor], where: Placement, name: str = "the checkpoint",
                 words: int | None = None) -> None:
    """Give a decoder its weights from transformers' Llama names, layer after layer.

    words: size of the vocabulary; rows beyond it only pad and are cut off, so that none is ever said.
    """
    config, tied = decoder.config, decoder.config.tied
    wanted, found = set(llama_names(config)), set(state)
    # a tied head is written by some savers and left out by others
    _same_names(name, wanted, found - ({"lm_head.weight"} if tied else set()))
    for i, layer in enumerate(decoder.layers):
        shapes = {key: value.shape for key, value in layer.state_dict().items()}
        own = {key: _placed(value, where) for key, value in fused(state, f"model.layers.{i}.").items()}
        _same_shapes(name, shapes, own)
        layer.load_state_dict(own, assign=True)
        if where.bits:
            quantise(layer, where)
    embedded = _placed(state["model.embed_tokens.weight"], where)
    head = embedded if tied else _placed(state["lm_head.weight"], where)
    _same_shapes(name, {"embed": decoder.embed.weight.shape, "head": decoder.head.weight.shape},
                 {"embed": embedded, "head": head})
    if words is not None and words > len(head):
        raise InputError(f"{name} knows {len(head)} words and its tokenizer {words}; they do not belong together")
    decoder.embed.weight = nn.Parameter(embedded[:words], requires_grad=False)
    decoder.head.weight = nn.Parameter(head[:words], requires_grad=False)
    decoder.config = config = replace(config, vocab_size=len(head[:words]))
    decoder.norm.weight = nn.Parameter(_placed(state["model.norm.weight"], where), requires_grad=False)
    decoder.cos, decoder.sin = (table.to(where.device, where.dtype) for table in rotary(config))
    decoder.eval().requires_grad_(False)


def quantise(layer: nn.Module, where: Placement) -> None:
    """Put bitsandbytes' matrices in place of a layer's own; they take less memory, and several rows more time."""
    for name, child in list(layer.named_children()):
        if not isinstance(child, PackedLinear):
            continue
        setattr(layer, name, _four(child, where) if where.bits == 4 else _eight(child, where))


def _four(matrix: nn.Linear, where: Placement) -> nn.Module:
    import bitsandbytes as bnb

    small = bnb.nn.Linear4bit(matrix.in_features, matrix.out_features, bias=False, compute_dtype=where.dtype,
                              quant_type="nf4")
    small.weight = bnb.nn.Params4bit(matrix.weight.data, requires_grad=False, quant_type="nf4")
    moved: nn.Module = small.to(where.device)
    return moved


def _eight(matrix: nn.Linear, where: Placement) -> nn.Module:
    import bitsandbytes as bnb

    small = bnb.nn.Linear8bitLt(matrix.in_features, matrix.out_features, bias=False, has_fp16_weights=False)
    small.weight = bnb.nn.Int8Params(matrix.weight.data, requires_grad=False, has_fp16_weights=False)
    moved: nn.Module = small.to(where.device)
    return moved


def _placed(value: Tensor, where: Placement) -> Tensor:
    return value.to(where.device, where.dtype if value.is_floating_point() else value.dtype)


def _same_names(name: str, wanted: set[str], found: set[str]) -> None:
    if missing := sorted(wanted - found):
        raise InputError(f"{name} lacks {len(missing)} tensors, first {missing[0]}; it is another kind of model, or "
                         "damaged")
    if unexpected := sorted(found - wanted):
        raise InputError(f"{name} has {len(unexpected)} tensors that do not belong there, first {unexpected[0]}; it is "
                         "another kind of model")


def _same_shapes(name: str, wanted: Mapping[str, torch.Size], found: Mapping[str, Tensor]) -> None:
    for key, value in found.items():
        if value.shape != wanted[key]:
            raise InputError(f"{name} does not fit its config.json: {key} is {list(value.shape)}, expected "
                             f"{list(wanted[key])}; copy both again")
