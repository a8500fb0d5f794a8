"""Training of the encoders: dense targets on the grid and losses.

    losses(eye(pixels), targets(truths), colour=True)
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.vision import GRID, GROUPS, REGRESSION, SCENE_GROUPS, Features
from streams.scenes.world import CAMERAS, CLASSES, COLOURS, DIRECTIONS, PLACES, SPEEDS, TIMES, Observation

VOCABULARIES: dict[str, tuple[str | None, ...]] = {
    "cls": CLASSES, "colour": (*COLOURS, None), "direction": tuple(DIRECTIONS), "speed": tuple(SPEEDS)}
SCENE_VOCABULARIES = {"place": PLACES, "time": TIMES, "camera": CAMERAS}
NEAR = 1.7
"""Cells within this distance (in cells) of an object learn its attributes."""

Targets = dict[str, Tensor]


def targets(truths: list[Observation]) -> Targets:
    """Grid targets: heat [B, 256], labels [B, 256, 4] (-100 = none), regression [B, 256, 7], scene labels [B, 3]."""
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
            bump = np.exp(-0.7 * distance2)
            home = distance2.argmin()
            bump[home] = 1
            heat[row] = np.maximum(heat[row], bump)
            mine = (distance2 < nearest) & ((distance2 < NEAR**2) | (np.arange(cells) == home))
            nearest[mine] = distance2[mine]
            labels[row, mine] = [VOCABULARIES[g].index(getattr(thing, g)) for g in GROUPS]
            x0, y0, x1, y1 = thing.box
            known = np.broadcast_to([thing.vx, thing.vy, thing.growth, x1 - x0, y1 - y0], (int(mine.sum()), 5))
            regression[row, mine] = np.concatenate([dx[mine, None], dy[mine, None], known], 1)
    return {"heat": torch.from_numpy(heat), "labels": torch.from_numpy(labels),
            "regression": torch.from_numpy(regression),
            "scene": torch.tensor([[words.index(getattr(t, name)) for name, words in SCENE_VOCABULARIES.items()]
                                   for t in truths])}


def losses(features: Features, target: Targets, colour: bool) -> dict[str, Tensor]:
    """The parts of the encoder's loss; their sum is minimised."""
    heads, heat = features.heads, target["heat"]
    objectness = F.binary_cross_entropy_with_logits(heads[..., 0], heat, reduction="none") * (1 + 3 * heat)
    known = target["labels"][..., 0] >= 0
    parts = heads[known][:, 1:-REGRESSION].split(list(GROUPS.values()), -1)
    result = {"objectness": objectness.sum(1).mean() * 0.07}
    for i, (name, logits) in enumerate(zip(GROUPS, parts, strict=True)):
        if (name != "colour" or colour) and len(logits):
            result[name] = F.cross_entropy(logits, target["labels"][known][:, i])
    if known.any():
        result["regression"] = 3 * F.smooth_l1_loss(heads[known][:, -REGRESSION:], target["regression"][known],
                                                    beta=0.1)
    for i, (name, logits) in enumerate(zip(SCENE_GROUPS, features.scene.split(list(SCENE_GROUPS.values()), -1),
                                           strict=True)):
        result[name] = 0.3 * F.cross_entropy(logits, target["scene"][:, i])
    return result
