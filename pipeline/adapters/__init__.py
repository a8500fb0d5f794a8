"""Adapters between the event VLM's hidden states and the RGB VLM's: for cos_sim, and for reading words.

    adapter = load_adapter(folder)
    aligned, past = adapter.follow(event_states)     # [B, T, D_event] -> [B, T, D_rgb], one row per word to be said

Levels L1 to L6 and B1 have the shapes of the original study (xifan-zhang/EventGPT), scaled to the pair's widths, after
an input projection where those differ. None sees anything later than the words before the one to be said.
"""

from __future__ import annotations

from inspect import signature
from pathlib import Path

import torch

from pipeline.adapters.adapter import Adapter
from pipeline.adapters.bottleneck import BottleneckAdapter, StackedAdapter, WideAdapter
from pipeline.adapters.causal import AttentionAdapter, CausalAdapter, EagleAdapter, FusedAdapter, VerifierAdapter
from pipeline.adapters.lora import LoraAdapter, lora_sizes
from pipeline.checkpoints import check_names, load_module, read_checkpoint, write_checkpoint
from pipeline.decoder import DecoderConfig
from streams.types import InputError

__all__ = ["LEVELS", "Adapter", "BottleneckAdapter", "CausalAdapter", "LoraAdapter", "load_adapter", "new_adapter",
           "save_adapter"]

LEVELS: dict[str, type[Adapter]] = {kind.name: kind for kind in (
    BottleneckAdapter, StackedAdapter, WideAdapter, AttentionAdapter, EagleAdapter, FusedAdapter, VerifierAdapter,
    LoraAdapter)}

BOTTLENECK, RANK = 64, 16
"""Width of L1's and L2's narrow layers (L3's are four times that), and rank of L6."""


def new_adapter(level: str, event: DecoderConfig, verifier: DecoderConfig) -> Adapter:
    """An untrained adapter for the decoders of a pair."""
    kind = LEVELS[level]
    sizes = {"inputs": (event if "event" in kind.reads else verifier).hidden_size, "outputs": verifier.hidden_size}
    if issubclass(kind, CausalAdapter):
        # the study's eight heads, or as many as the width can be cut into
        heads = next(count for count in (8, 5, 4, 3, 2, 1) if verifier.hidden_size % count == 0)
        return kind(**sizes, heads=heads)
    if issubclass(kind, LoraAdapter):
        return kind(**sizes | lora_sizes(event), rank=RANK)
    return kind(**sizes, bottleneck=4 * BOTTLENECK if level == "L3" else BOTTLENECK)


def save_adapter(adapter: Adapter, folder: Path, **facts: float) -> None:
    """Write config.json (level, sizes and measured facts) and model.safetensors, weights in 16 bit."""
    write_checkpoint(folder, {"variant": adapter.name, **adapter.sizes, **facts}, adapter.state_dict())


def load_adapter(folder: Path, device: torch.device | None = None, remedy: str = "train it again") -> Adapter:
    """Read an adapter of any level for inference. Raises InputError for one that is not there, damaged or unknown."""
    config, state = read_checkpoint(folder, remedy)
    level = config.get("variant")
    if level not in LEVELS:
        raise InputError(f"the checkpoint in {folder} is of adapter {level}; known are {', '.join(LEVELS)}")
    sizes = list(signature(LEVELS[level]).parameters)
    if missing := [name for name in sizes if not isinstance(config.get(name), int)]:
        raise InputError(f"config.json in {folder} does not say {', '.join(missing)} of adapter {level}; {remedy}")
    adapter = LEVELS[level](**{name: config[name] for name in sizes})
    check_names(state, set(adapter.state_dict()), set(), folder)
    load_module(adapter, state, folder)
    return adapter.eval().requires_grad_(False).to(device or torch.device("cpu"))
