"""The stages of `train mini` that need both sides: distillation of the event side, then the cos_sim adapter.

    for progress in finish_pair(SMOKE, Path("runs/mini")): ...

What distillation leaves is kept beside the pair, not in it: measured, it guessed hardly more of the RGB side's words
and forgot to decline (see the model card).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from pipeline.placement import Placement
from pipeline.training.adapters import train_adapter
from pipeline.training.distillation import distil
from pipeline.training.eye import CPU
from pipeline.training.fitting import Run, Words
from pipeline.training.loop import Progress
from pipeline.training.mini import Sizes, drawings, ensure_tokenizer, export
from pipeline.training.traces import collect_traces, load_traces
from pipeline.training.workers import Workers
from pipeline.vlms.mini import load

DISTILLED = "distilled"
"""Folder beside the pair for the event side after distillation, to measure what that changes."""


def finish_pair(sizes: Sizes, folder: Path, device: torch.device = CPU) -> Iterator[Progress]:
    """Distil a copy of the event side, fit the adapter; both sides must have been trained in this folder."""
    icons = drawings(sizes, folder)
    tokenizer = ensure_tokenizer(folder, icons)
    yield from distil(sizes.distilled, folder, tokenizer, icons, device)
    export("event", folder, tokenizer, "event-distilled", folder / DISTILLED)
    yield from fit_adapter(sizes, folder, device)


def fit_adapter(sizes: Sizes, folder: Path, device: torch.device = CPU) -> Iterator[Progress]:
    """Let the pair speak about scenes and fit L1, which cos_sim is measured through; leaves folder/adapter-L1."""
    rgb, event = load("rgb", folder, Placement(device)), load("event", folder, Placement(device))
    yield from collect_traces(rgb, event, sizes.adapter_scenes, folder / "traces")
    traces, held_out = load_traces(folder / "traces")
    run = Run(sizes.adapter, folder / "adapter-L1", stages=False, workers=Workers(device=device))
    yield from train_adapter("L1", event.model.decoder, Words(rgb.model.decoder, device), traces, held_out, run)
