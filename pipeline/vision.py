"""The bundled pair's eye: a small convolutional encoder that turns a window into object slots and tokens.

    eye = SlotEncoder(VisionConfig(channels=19, colour=True))
    seen = eye.slots(eye(pixels))            # pixels float32 [B, 19, 128, 128]
    seen.attributes.shape                    # (B, 6, ATTRIBUTES)

Dense heads on a 16x16 grid (objectness, class, colour, direction, speed, offset, velocity, growth, size) are decoded
to the SLOTS best peaks, sorted from top to bottom; each slot becomes one visual token, one more token describes the
whole scene, and the coarse 8x8 grid is kept for those who want to look for themselves. Idea of detecting peaks on
a heat map: CenterNet (Zhou et al. 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streams.scenes.world import CAMERAS, CLASSES, COLOURS, DIRECTIONS, PLACES, SPEEDS, TIMES

GRID = 16
COARSE = 8
"""Sides of the grid that objects are found on and of the one that goes to the decoder."""

SLOTS = 6
THRESHOLD = 0.45
"""Objectness above which a peak is an object."""

STRANGE, STRANGE_WIDTH = 2.0, 32
"""Logit above which a window is called strange: one familiar training window in a hundred is."""

GROUPS = {"cls": len(CLASSES), "colour": len(COLOURS) + 1, "direction": len(DIRECTIONS), "speed": len(SPEEDS)}
"""Choices per attribute; the last colour is "cannot be told"."""

REGRESSION = 7
"""Offset x, y in cells; velocity x, y in views per second and growth per second; width and height in views."""
HEADS = 1 + sum(GROUPS.values()) + REGRESSION
RBF = 8
ATTRIBUTES = 1 + sum(GROUPS.values()) + 3 + 2 + 2 * RBF
VELOCITY_AT = [1 + sum(GROUPS.values()), 2 + sum(GROUPS.values())]
SIZE_AT = [ATTRIBUTES - 2 * RBF - 2, ATTRIBUTES - 2 * RBF - 1]
"""Places of velocity and size in an attribute vector."""

NEARBY, ELAPSED_S = 0.07, (0.25, 0.5, 1.0, 2.0)
"""Views within which two looks are at the same place, and times that may have passed between them."""

SCENE_GROUPS = {"place": len(PLACES), "time": len(TIMES), "camera": len(CAMERAS)}
SCENE = sum(SCENE_GROUPS.values())


@dataclass(frozen=True)
class VisionConfig:
    """channels: of the input. colour: whether the input carries colour. grid: whether the decoder reads the coarse
    grid beside the slots. widths: of the four stages."""

    channels: int
    colour: bool
    grid: bool = False
    widths: tuple[int, ...] = (24, 48, 96, 128)
    residual: int = 2


@dataclass(frozen=True, eq=False)
class Features:
    """Encoder output, cells row by row: fine [B, 256, F], coarse [B, 64, C], heads [B, 256, HEADS], scene logits
    [B, SCENE], strange: logit [B] that this is no scene of the rendered world."""

    fine: Tensor
    coarse: Tensor
    heads: Tensor
    scene: Tensor
    strange: Tensor


@dataclass(frozen=True, eq=False)
class Slots:
    """Objects found, from top to bottom, empty slots last.

    attributes [B, SLOTS, ATTRIBUTES] soft values, features [B, SLOTS, F], scene [B, SCENE] probabilities,
    boxes [B, SLOTS, 4] normalised x0 y0 x1 y1 at mid-window, found [B, SLOTS] bool, grid [B, 64, C] (perfect slots,
    which training begins with, have none: [B, 0, C]),
    strange [B] bool: nothing like the rendered world, so that nothing should be said about it.
    """

    attributes: Tensor
    features: Tensor
    scene: Tensor
    boxes: Tensor
    found: Tensor
    grid: Tensor
    strange: Tensor


@dataclass(frozen=True, eq=False)
class Memory:
    """What was seen in the window before: attributes [B, SLOTS, ATTRIBUTES] and whether there was one, known [B]."""

    attributes: Tensor
    known: Tensor

    @staticmethod
    def none(batch: int, device: torch.device | None = None) -> Memory:
        """The memory of a conversation that begins."""
        return Memory(torch.zeros(batch, SLOTS, ATTRIBUTES, device=device),
                      torch.zeros(batch, dtype=torch.bool, device=device))


def remember(slots: Slots) -> Memory:
    """What the next window is compared with."""
    return Memory(slots.attributes, torch.ones(len(slots.found), dtype=torch.bool, device=slots.found.device))


def changes(now: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """How surely each object of now [B, N, ATTRIBUTES] is new since before [B, M, ATTRIBUTES], and each of before gone.

    Returns [B, N] and [B, M] in 0..1. An object is the same when it has the same class and colour (where neither side
    sees colours, the same class), or when it is where the other must have moved to: a class may be misread once. One
    may stand for two: of two red dogs after one, neither is called new here; the decoder can still count.
    """
    alike = torch.maximum(_same_name(now, before), _same_place(now, before))
    return now[..., 0] * (1 - alike.amax(2)), before[..., 0] * (1 - alike.amax(1))


def company(attributes: Tensor) -> Tensor:
    """How many other objects of the same class, and of the same colour, each of [B, N, ATTRIBUTES] has: [B, N, 2].

    Soft counts: classes and colours are probabilities. A colour that cannot be told is like no other.
    """
    classes, colours = GROUPS["cls"], GROUPS["colour"]
    counts = []
    for of_group in (attributes[..., 1:1 + classes], attributes[..., 1 + classes:classes + colours]):
        alike = of_group @ of_group.transpose(1, 2)
        counts.append(alike.sum(2) - alike.diagonal(dim1=1, dim2=2))
    return torch.stack(counts, -1)


def _same_name(now: Tensor, before: Tensor) -> Tensor:
    start, likeness = 1, torch.ones(now.shape[0], now.shape[1], before.shape[1], device=now.device)
    for name, size in GROUPS.items():
        a, b = now[..., start:start + size], before[..., start:start + size]
        start += size
        if name == "cls" or (name == "colour" and bool(a.any()) and bool(b.any())):
            likeness = likeness * (a @ b.transpose(1, 2))
    return likeness


def _same_place(now: Tensor, before: Tensor) -> Tensor:
    """1 where an object of before has moved to an object of now of about its size within one of ELAPSED_S."""
    moved = now[..., VELOCITY_AT, None].transpose(-1, -2) * torch.tensor(ELAPSED_S, device=now.device)[:, None]
    origin = places(now)[..., None, :] - moved
    distance = torch.cdist(origin.flatten(1, 2), places(before)).unflatten(1, origin.shape[1:3]).amin(2)
    area, other = (v[..., SIZE_AT].clamp(min=1e-3).prod(-1) for v in (now, before))
    ratio = area[:, :, None] / other[:, None, :]
    there = now[..., 0, None] * before[..., None, :, 0]
    return there * torch.exp(-((distance / NEARBY) ** 2)) * (2 * torch.minimum(ratio, 1 / ratio)).clamp(max=1)


def places(attributes: Tensor) -> Tensor:
    """Centres [B, N, 2] in views from place codes."""
    codes = attributes[..., -2 * RBF:].unflatten(-1, (2, RBF))
    return (codes * _centres(codes.device)).sum(-1) / codes.sum(-1).clamp(min=1e-6)


def boxes_after(slots: Slots, after_s: float) -> Tensor:
    """Where the objects are after_s seconds after mid-window, by their seen velocity: [B, SLOTS, 4] in 0..1."""
    velocity = slots.attributes[..., VELOCITY_AT]
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
        self.near = nn.Sequential(_down(config.channels, a, 5), _down(a, b, 3), _down(b, c, 3),
                                  *[_Residual(c) for _ in range(config.residual)])
        self.far = nn.Sequential(_down(c, d, 3), *[_Residual(d) for _ in range(config.residual)])
        self.head = nn.Sequential(nn.Linear(c + d, d), nn.ReLU(), nn.Linear(d, HEADS))
        self.scene = nn.Linear(d, SCENE)
        self.strange = nn.Sequential(nn.Linear(2 * d, STRANGE_WIDTH), nn.ReLU(), nn.Linear(STRANGE_WIDTH, 1))

    def forward(self, pixels: Tensor) -> Features:
        """Encode float32 [B, channels, 128, 128]."""
        near = self.near(pixels.contiguous(memory_format=torch.channels_last))
        far = self.far(near)
        wide = F.interpolate(far, scale_factor=2.0, mode="bilinear", align_corners=False)
        fine = torch.cat([near, wide], 1).flatten(2).transpose(1, 2)
        coarse = far.flatten(2).transpose(1, 2)
        # trained by itself afterwards: it must not pull at what the rest has learnt to see
        overall = torch.cat([coarse.mean(1), coarse.std(1)], -1).detach()
        return Features(fine, coarse, self.head(fine), self.scene(coarse.mean(1)), self.strange(overall)[:, 0])

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
        cells = features.fine.gather(1, cell[..., None].expand(-1, -1, features.fine.shape[-1]))
        mask = found[..., None].float()
        attributes = describe(self._soft(chosen), chosen[..., -5:-2], chosen[..., -2:], x, y) * mask
        scene = torch.cat([part.softmax(-1) for part in features.scene.split(list(SCENE_GROUPS.values()), -1)], -1)
        half = chosen[..., -2:].clamp(0.01, 1) / 2
        boxes = torch.stack([x - half[..., 0], y - half[..., 1], x + half[..., 0], y + half[..., 1]], -1)
        strange = features.strange > STRANGE
        return Slots(attributes, cells * mask, scene, boxes.clamp(0, 1), found, features.coarse, strange)

    def _soft(self, chosen: Tensor) -> list[Tensor]:
        parts = chosen[..., 1:-REGRESSION].split(list(GROUPS.values()), -1)
        soft = [part.softmax(-1) for part in parts]
        if not self.config.colour:
            soft[1] = torch.zeros_like(soft[1])
        return soft


def describe(soft: list[Tensor], velocity: Tensor, size: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Attribute vector [..., ATTRIBUTES] of objects: presence, soft attributes by GROUPS, velocity, size, place."""
    return torch.cat([torch.ones_like(x)[..., None], *soft, velocity, size, place_code(x, y)], -1)


def place_code(x: Tensor, y: Tensor) -> Tensor:
    """A place in the view as 2 * RBF soft values [..., 2 * RBF], the last part of an attribute vector."""
    return torch.cat([torch.exp(-(((v[..., None] - _centres(x.device)) / 0.095) ** 2)) for v in (x, y)], -1)


def _centres(device: torch.device) -> Tensor:
    """Where along a side of the view each value of a place code is largest."""
    return (torch.arange(RBF, device=device) + 0.5) / RBF
