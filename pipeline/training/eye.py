"""The first stages of `train mini`: the eyes, and the slots they see, kept for the decoders.

    for progress in train_eye("rgb", steps=5500, folder=Path("runs/mini"), icons=icons): ...
    for progress in cache_slots("rgb", scenes=8000, folder=Path("runs/mini"), icons=icons): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.inputs import EVENT_CHANNELS, RGB_CHANNELS
from pipeline.training.data import TRAIN_SEEDS, batch, make
from pipeline.training.loop import Progress, Schedule, train
from pipeline.training.vision import losses, targets
from pipeline.vision import SlotEncoder, VisionConfig
from streams.scenes.render import Drawings

BATCH = 32
CPU = torch.device("cpu")
SEEN_SEEDS = TRAIN_SEEDS + 400_000_000
"""First of the training scenes that the eyes look at for the decoders: none that the eyes were trained on."""


def vision_config(modality: str) -> VisionConfig:
    """The encoder of one side of the pair."""
    if modality == "rgb":
        return VisionConfig(RGB_CHANNELS, colour=True, grid=True, widths=(24, 48, 96, 128))
    return VisionConfig(EVENT_CHANNELS, colour=False)


def train_eye(modality: str, steps: int, folder: Path, icons: Drawings, device: torch.device = CPU,
              ) -> Iterator[Progress]:
    """Train one encoder on fresh scenes; leaves folder/MODALITY-eye.pt."""
    torch.manual_seed(0)
    eye = SlotEncoder(vision_config(modality)).to(device)
    eye.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_of_step(step: int) -> dict[str, Tensor]:
        pixels, truths = batch(modality, step, BATCH, icons)
        wanted = {name: value.to(device) for name, value in targets(truths).items()}
        return losses(eye(pixels.to(device)), wanted, colour=modality == "rgb")

    return train(f"{modality}-eye", eye, loss_of_step, Schedule(steps, 2e-3, flat=0.25), folder)


def trained_eye(modality: str, folder: Path) -> SlotEncoder:
    """The encoder that train_eye left, ready for inference."""
    eye = SlotEncoder(vision_config(modality))
    eye.load_state_dict(torch.load(folder / f"{modality}-eye.pt", weights_only=True, map_location=CPU)["model"])
    head = folder / f"{modality}-strange.pt"
    if head.exists():
        eye.strange.load_state_dict(torch.load(head, weights_only=True, map_location=CPU)["model"])
    eye.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return eye.eval().requires_grad_(False)


def cache_slots(modality: str, scenes: int, folder: Path, icons: Drawings, device: torch.device = CPU,
                ) -> Iterator[Progress]:
    """Slots of training scenes as the eye sees them, with their truths; leaves folder/MODALITY-slots.pt, in batches."""
    path = folder / f"{modality}-slots.pt"
    parts: list[dict[str, Any]] = torch.load(path, weights_only=True) if path.exists() else []
    eye = trained_eye(modality, folder).to(device)
    for start in range(len(parts) * BATCH, scenes, BATCH):
        made = [make(modality, SEEN_SEEDS + start + i, icons) for i in range(BATCH)]
        with torch.inference_mode():
            slots = eye.slots(eye(torch.from_numpy(np.stack([pixels for pixels, _ in made])).to(device)))
        part: dict[str, Any] = {name: value.cpu().half() if value.is_floating_point() else value.cpu().clone()
                                for name, value in vars(slots).items()}
        parts.append(part | {"truths": [truth.to_json() for _, truth in made]})
        if start + BATCH >= scenes or len(parts) % 50 == 0:
            torch.save(parts, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)
        yield Progress(f"{modality}-slots", min(start + BATCH, scenes), scenes, {}, 0.0)
