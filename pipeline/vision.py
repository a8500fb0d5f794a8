"""The bundled pair's eye: a small convolutional encoder that turns a window into object slots and tokens.

    eye = SlotEncoder(VisionConfig(channels=15, colour=True))
    seen = eye.slots(eye(pixels))            # pixels float32 [B, 15, 128, 128]
    seen.attributes.shape                    # (B, 6, ATTRIBUTES)

Dense heads on an 8x8 grid (objectness, class, colour, direction, speed, offset, velocity, size) are decoded to
the SLOTS best peaks, sorted from top to bottom; each slot becomes one visual token, one more token describes
the whole scene. Idea of detecting peaks on a heat map: CenterNet (Zhou et al. 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streams.scenes.world import CLASSES, COLOURS, DIRECTIONS, PLACES, SPEEDS

GRID = 8
SLOTS = 6
THRESHOLD = 0.45
"""Objectness above which a peak is an object."""

GROUPS = {"cls": len(CLASSES), "colour": len(COLOURS), "direction": len(DIRECTIONS), "speed": len(SPEEDS)}
REGRESSION = 7
"""Offset x, y in cells; velocity x, y and speed in views per second; width and height in views."""
HEADS = 1 + sum(GROUPS.values()) + REGRESSION
RBF = 8
ATTRIBUTES = 1 + sum(GROUPS.values()) + 3 + 2 + 2 * RBF
SCENE = len(PLACES) + 1


@dataclass(frozen=True)
class VisionConfig:
    """channels: of the input. colour: whether the input carries colour. widths: of the four stages."""

    channels: int
    colour: bool
    widths: tuple[int, ...] = (16, 32, 64, 128)
    residual: int = 2


@dataclass(frozen=True, eq=False)
class Features:
    """Encoder output: cells [B, 64, C] row by row, heads [B, 64, HEADS], scene [B, SCENE] logits."""

    cells: Tensor
    heads: Tensor
    scene: Tensor


@dataclass(frozen=True, eq=False)
class Slots:
    """Objects found, from top to bottom, empty slots last.

    attributes [B, SLOTS, ATTRIBUTES] soft values, features [B, SLOTS, C], scene [B, SCENE] probabilities,
    boxes [B, SLOTS, 4] normalised x0 y0 x1 y1 at mid-window, found [B, SLOTS] bool.
    """

    attributes: Tensor
    features: Tensor
    scene: Tensor
    boxes: Tensor
    found: Tensor


def boxes_after(slots: Slots, after_s: float) -> Tensor:
    """Where the objects are after_s seconds after mid-window, by their seen velocity: [B, SLOTS, 4] in 0..1."""
    first = 1 + sum(GROUPS.values())
    velocity = slots.attributes[..., first:first + 2]
    return (slots.boxes + torch.cat([velocity, velocity], -1) * after_s).clamp(0, 1)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm2(self.second(F.relu(self.norm1(self.first(x))))))


def _down(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, 2, kernel // 2, bias=False), nn.BatchNorm2d(outputs),
                         nn.ReLU())


class SlotEncoder(nn.Module):
    """Four stages of stride 2 over the preprocessed window, dense heads on the last."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c, d = config.widths
        self.body = nn.Sequential(
            _down(config.channels, a, 5), _down(a, b, 3), _down(b, c, 3),
            *[_Residual(c) for _ in range(config.residual)], _down(c, d, 3),
            *[_Residual(d) for _ in range(config.residual)])
        self.head = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, HEADS))
        self.scene = nn.Linear(d, SCENE)

    def forward(self, pixels: Tensor) -> Features:
        """Encode float32 [B, channels, 128, 128]."""
        cells = self.body(pixels.contiguous(memory_format=torch.channels_last)).flatten(2).transpose(1, 2)
        return Features(cells, self.head(cells), self.scene(cells.mean(1)))

    def slots(self, features: Features) -> Slots:
        """Decode the dense heads to the best SLOTS peaks."""
        heads, batch = features.heads, features.heads.shape[0]
        objectness = heads[..., 0].sigmoid().view(batch, 1, GRID, GRID)
        peaks = objectness * (F.max_pool2d(objectness, 3, 1, 1) == objectness)
        score, cell = peaks.flatten(1).topk(SLOTS, 1)
        found = score > THRESHOLD
        chosen = heads.gather(1, cell[..., None].expand(-1, -1, HEADS))
        regression = chosen[..., -REGRESSION:]
        x = ((cell % GRID) + 0.5 + regression[..., 0]) / GRID
        y = ((cell // GRID) + 0.5 + regression[..., 1]) / GRID
        order = torch.where(found, y, y + 1000).argsort(1)
        x, y, found, cell = (v.gather(1, order) for v in (x, y, found, cell))
        chosen = chosen.gather(1, order[..., None].expand_as(chosen))
        cells = features.cells.gather(1, cell[..., None].expand(-1, -1, features.cells.shape[-1]))
        mask = found[..., None].float()
        attributes = describe(self._soft(chosen), chosen[..., -5:-2], chosen[..., -2:], x, y) * mask
        scene = torch.cat([features.scene[:, :-1].softmax(-1), features.scene[:, -1:].sigmoid()], -1)
        half = chosen[..., -2:].clamp(0.01, 1) / 2
        boxes = torch.stack([x - half[..., 0], y - half[..., 1], x + half[..., 0], y + half[..., 1]], -1)
        return Slots(attributes, cells * mask, scene, boxes.clamp(0, 1), found)

    def _soft(self, chosen: Tensor) -> list[Tensor]:
        parts = chosen[..., 1:-REGRESSION].split(list(GROUPS.values()), -1)
        soft = [part.softmax(-1) for part in parts]
        if not self.config.colour:
            soft[1] = torch.zeros_like(soft[1])
        return soft


def describe(soft: list[Tensor], velocity: Tensor, size: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Attribute vector [..., ATTRIBUTES] of objects: presence, soft attributes by GROUPS, velocity, size, place."""
    places = (torch.arange(RBF, device=x.device) + 0.5) / RBF
    near = [torch.exp(-(((v[..., None] - places) / 0.095) ** 2)) for v in (x, y)]
    return torch.cat([torch.ones_like(x)[..., None], *soft, velocity, size, *near], -1)
