"""Training of the encoders: dense targets on the grid, losses, and how many scenes come out entirely right.

    losses(eye(pixels), targets(truths), colour=True)
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.training.data import event_example, rgb_example
from pipeline.vision import GRID, GROUPS, REGRESSION, Features, SlotEncoder
from streams.scenes.world import CLASSES, COLOURS, DIRECTIONS, PLACES, SPEEDS, Observation

VOCABULARIES = {"cls": CLASSES, "colour": tuple(COLOURS), "direction": tuple(DIRECTIONS), "speed": tuple(SPEEDS)}
NEAR = 1.0
"""Cells within this distance (in cells) of an object learn its attributes."""

Targets = dict[str, Tensor]


def targets(truths: list[Observation]) -> Targets:
    """Grid targets: heat [B, 64], labels [B, 64, 4] (-100 = none), regression [B, 64, 7], place and night [B]."""
    batch, cells = len(truths), GRID * GRID
    heat = np.zeros((batch, cells), np.float32)
    labels = np.full((batch, cells, len(GROUPS)), -100, np.int64)
    regression = np.zeros((batch, cells, REGRESSION), np.float32)
    grid_x, grid_y = (v.ravel() + 0.5 for v in np.meshgrid(np.arange(GRID), np.arange(GRID)))
    for row, truth in enumerate(truths):
        nearest = np.full(cells, np.inf)
        for thing in truth.objects:
            dx, dy = thing.x * GRID - grid_x, thing.y * GRID - grid_y
            distance2 = dx * dx + dy * dy
            bump = np.exp(-2 * distance2)
            home = distance2.argmin()
            bump[home] = 1
            heat[row] = np.maximum(heat[row], bump)
            mine = (distance2 < nearest) & ((distance2 < NEAR**2) | (np.arange(cells) == home))
            nearest[mine] = distance2[mine]
            labels[row, mine] = [VOCABULARIES[g].index(getattr(thing, g)) for g in GROUPS]
            x0, y0, x1, y1 = thing.box
            known = np.broadcast_to([thing.vx, thing.vy, thing.rate, x1 - x0, y1 - y0], (int(mine.sum()), 5))
            regression[row, mine] = np.concatenate([dx[mine, None], dy[mine, None], known], 1)
    return {"heat": torch.from_numpy(heat), "labels": torch.from_numpy(labels),
            "regression": torch.from_numpy(regression),
            "place": torch.tensor([PLACES.index(t.place) for t in truths]),
            "night": torch.tensor([float(t.night) for t in truths])}


def losses(features: Features, target: Targets, colour: bool) -> dict[str, Tensor]:
    """The parts of the encoder's loss; their sum is minimised."""
    heads, heat = features.heads, target["heat"]
    objectness = F.binary_cross_entropy_with_logits(heads[..., 0], heat, reduction="none") * (1 + 3 * heat)
    known = target["labels"][..., 0] >= 0
    parts = heads[known][:, 1:-REGRESSION].split(list(GROUPS.values()), -1)
    result = {"objectness": objectness.sum(1).mean() * 0.2}
    for i, (name, logits) in enumerate(zip(GROUPS, parts, strict=True)):
        if (name != "colour" or colour) and len(logits):
            result[name] = F.cross_entropy(logits, target["labels"][known][:, i])
    if known.any():
        result["regression"] = 3 * F.smooth_l1_loss(heads[known][:, -REGRESSION:], target["regression"][known],
                                                    beta=0.1)
    result["place"] = 0.3 * F.cross_entropy(features.scene[:, :-1], target["place"])
    result["night"] = 0.3 * F.binary_cross_entropy_with_logits(features.scene[:, -1], target["night"])
    return result


@torch.inference_mode()
def scene_accuracy(eye: SlotEncoder, modality: str, seeds: Iterable[int], plain: bool = True) -> dict[str, float]:
    """Shares on unseen scenes: objects found, attributes right where found, and whole scenes right."""
    eye.eval()
    example = rgb_example if modality == "rgb" else event_example
    groups = [g for g in GROUPS if g != "colour" or eye.config.colour]
    hits = dict.fromkeys([*groups, "found", "place", "night", "whole"], 0)
    objects = found = scenes = 0
    for seed in seeds:
        pixels, truth = example(seed, plain=plain)
        slots = eye.slots(eye(torch.from_numpy(pixels)[None]))
        right, matched = _compare(slots, truth, groups, hits)
        place = int(slots.scene[0, :-1].argmax()) == PLACES.index(truth.place)
        night = bool(slots.scene[0, -1] > 0.5) == truth.night
        hits["place"] += place
        hits["night"] += night
        hits["whole"] += right and place and night
        found += matched
        objects += len(truth.objects)
        scenes += 1
    hits["found"] = found
    sizes = {"found": objects, "place": scenes, "night": scenes, "whole": scenes}
    return {name: count / max(1, sizes.get(name, found)) for name, count in hits.items()}


def _compare(slots, truth: Observation, groups: list[str], hits: dict[str, int]) -> tuple[bool, int]:  # type: ignore[no-untyped-def]
    count = int(slots.found[0].sum())
    centre = (slots.boxes[0, :count, :2] + slots.boxes[0, :count, 2:]) / 2
    free, right = set(range(count)), count == len(truth.objects)
    sizes = list(GROUPS.values())
    for thing in truth.objects:
        distance = {i: float((centre[i] - torch.tensor([thing.x, thing.y])).abs().sum()) for i in free}
        best = min(distance, key=lambda i: distance[i], default=None)
        if best is None or distance[best] > 0.16:
            right = False
            continue
        free.remove(best)
        parts = dict(zip(GROUPS, slots.attributes[0, best, 1:1 + sum(sizes)].split(sizes), strict=True))
        for group in groups:
            correct = VOCABULARIES[group][int(parts[group].argmax())] == getattr(thing, group)
            hits[group] += correct
            right = right and correct
    return right, count - len(free)
