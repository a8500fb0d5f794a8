"""The first stages of `train mini`: the eyes, and the slots they see, kept for the decoders.

    for progress in train_eye("rgb", steps=8000, folder=Path("runs/mini"), icons=icons): ...
    for progress in cache_slots("rgb", scenes=6000, folder=Path("runs/mini"), icons=icons): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.inputs import EVENT_CHANNELS, RGB_CHANNELS
from pipeline.training.data import TRAIN_SEEDS, Example, batch, recorded, shots_of
from pipeline.training.loop import Progress, Schedule, train
from pipeline.training.slots import match, seen_only
from pipeline.training.vision import losses, targets
from pipeline.vision import SlotEncoder, Slots, VisionConfig
from streams.scenes.render import Drawings

BATCH = 32
HIDDEN = ("near.", "far.", "head.0.")
CPU = torch.device("cpu")
SEEN_SEEDS = TRAIN_SEEDS + 400_000_000
"""First of the training scenes that the eyes look at for the decoders: none that the eyes were trained on."""


def vision_config(modality: str) -> VisionConfig:
    """The encoder of one side of the pair."""
    rgb = modality == "rgb"
    return VisionConfig(RGB_CHANNELS if rgb else EVENT_CHANNELS, colour=rgb, grid=rgb)


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

    return train(f"{modality}-eye", eye, loss_of_step, Schedule(steps, 2e-3, flat=0.25), folder, HIDDEN)


def trained_eye(modality: str, folder: Path) -> SlotEncoder:
    """The encoder that train_eye left, ready for inference."""
    eye = SlotEncoder(vision_config(modality))
    eye.load_state_dict(torch.load(folder / f"{modality}-eye.pt", weights_only=True, map_location=CPU)["model"])
    head = folder / f"{modality}-strange.pt"
    if head.exists():
        eye.strange.load_state_dict(torch.load(head, weights_only=True, map_location=CPU)["model"])
    eye.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return eye.eval().requires_grad_(False)


def look(eye: SlotEncoder, examples: list[Example], device: torch.device = CPU) -> Slots:
    """What an eye sees in some examples."""
    pixels = torch.from_numpy(np.stack([pixels for pixels, _ in examples]))
    with torch.inference_mode():
        slots = eye.slots(eye(pixels.to(device)))
    return Slots(**{name: value.cpu().clone() for name, value in vars(slots).items()})


def cache_slots(modality: str, scenes: int, folder: Path, icons: Drawings, device: torch.device = CPU,
                ) -> Iterator[Progress]:
    """What the eye sees of training scenes and of the window before each; leaves folder/MODALITY-slots.pt."""
    path = folder / f"{modality}-slots.pt"
    parts: list[dict[str, Any]] = torch.load(path, weights_only=True) if path.exists() else []
    eye = trained_eye(modality, folder).to(device)
    for start in range(len(parts) * BATCH, scenes, BATCH):
        seeds = range(SEEN_SEEDS + start, SEEN_SEEDS + start + BATCH)
        pairs = [shots_of(seed, icons) for seed in seeds]
        now = [recorded(modality, shot, seed, icons) for seed, (shot, _) in zip(seeds, pairs, strict=True)]
        before = [recorded(modality, earlier, seed, icons) if earlier else example
                  for seed, (_, earlier), example in zip(seeds, pairs, now, strict=True)]
        slots, remembered = look(eye, now, device), look(eye, before, device)
        found, _ = seen_only([truth for _, truth in before], match(remembered, [truth for _, truth in before]))
        part: dict[str, Any] = {name: value.half() if value.is_floating_point() else value
                                for name, value in vars(slots).items()}
        parts.append(part | {
            "remembered": remembered.attributes.half(), "truths": [truth.to_json() for _, truth in now],
            "earlier": [earlier and truth.to_json() for truth, (_, earlier) in zip(found, pairs, strict=True)]})
        if start + BATCH >= scenes or len(parts) % 50 == 0:
            torch.save(parts, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)
        yield Progress(f"{modality}-slots", min(start + BATCH, scenes), scenes, {}, 0.0)
