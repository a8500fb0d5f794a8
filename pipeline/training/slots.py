"""What the decoders are trained on instead of pictures: slots of the eye, perfect slots, memories of a window before.

    source = SlotSource("rgb", vision_config("rgb"), Path("runs/mini"), icons)
    looks = source.seen(rng, 8)          # or source.perfect(rng, 8), before there is an eye

A perfect memory is made from the slots themselves: most things were there before, some were not, some are gone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from pipeline.training.data import TRAIN_SEEDS, truth_of
from pipeline.training.vision import SCENE_VOCABULARIES, VOCABULARIES
from pipeline.vision import (
    ATTRIBUTES,
    GROUPS,
    RBF,
    SCENE_GROUPS,
    SLOTS,
    Memory,
    Slots,
    VisionConfig,
    describe,
    place_code,
)
from streams.scenes.render import Drawings
from streams.scenes.world import Observation, ObservedObject
from streams.types import InputError

MATCHED = 0.24
"""A slot is about an object when their centres are within this distance in x and y together, in views."""

STRANGE_SHARE = 0.06
"""Share of training windows that are called strange."""

TWINS, MORE_TWINS = 0.2, 0.4
"""Share of scenes of several objects in which two are made the same kind of thing, and the chance of one more: two or
three dogs are rare otherwise, and every answer about "the dog" is another then."""

NO_MEMORY, SAME = 0.15, 0.3
"""Shares of training conversations that begin with this window (besides those of which no earlier one was cached, and
twins), and, among perfect memories, in which nothing came or went."""


def oracle_slots(truths: list[Observation], colour: bool, config: VisionConfig) -> Slots:
    """Slots as a nearly perfect eye would give them, with soft noise, for training before the eye is ready."""
    batch, (near, far) = len(truths), config.widths[-2:]
    soft = [torch.zeros(batch, SLOTS, size) for size in GROUPS.values()]
    numbers = torch.zeros(batch, SLOTS, 7)
    found = torch.zeros(batch, SLOTS, dtype=torch.bool)
    scene = [torch.zeros(batch, size) for size in SCENE_GROUPS.values()]
    for row, truth in enumerate(truths):
        for i, thing in enumerate(truth.objects[:SLOTS]):
            found[row, i] = True
            for group, name in zip(soft, GROUPS, strict=True):
                group[row, i, VOCABULARIES[name].index(getattr(thing, name))] = 1
            x0, y0, x1, y1 = thing.box
            numbers[row, i] = torch.tensor([thing.vx, thing.vy, thing.growth, x1 - x0, y1 - y0, thing.x, thing.y])
        for group, (name, words) in zip(scene, SCENE_VOCABULARIES.items(), strict=True):
            group[row, words.index(getattr(truth, name))] = 1
    soft, scene = [_doubtful(group) for group in soft], [_doubtful(group) for group in scene]
    if not colour:
        soft[1] = torch.zeros_like(soft[1])
    numbers = numbers + torch.randn_like(numbers) * 0.006
    mask = found[..., None].float()
    attributes = describe(soft, numbers[..., :3], numbers[..., 3:5], numbers[..., 5], numbers[..., 6]) * mask
    half = numbers[..., 3:5] / 2
    boxes = torch.cat([numbers[..., 5:] - half, numbers[..., 5:] + half], -1)
    return Slots(attributes, torch.zeros(batch, SLOTS, near + far), torch.cat(scene, -1), boxes, found,
                 torch.zeros(batch, 0, far), torch.zeros(batch, dtype=torch.bool))


def estranged(slots: Slots, rng: random.Random) -> tuple[Slots, list[int]]:
    """The same slots with some windows called strange, and which: nothing is to be said about those."""
    rows = [row for row in range(len(slots.found)) if rng.random() < STRANGE_SHARE]
    strange = torch.zeros_like(slots.strange)
    strange[rows] = True
    return replace(slots, strange=strange), rows


def _doubtful(group: Tensor) -> Tensor:
    doubt = torch.rand(*group.shape[:-1], 1) ** 4 * 0.4
    return group * (1 - doubt) + doubt * torch.softmax(torch.randn_like(group) * 2, -1)


Twins: TypeAlias = dict[int, list[tuple[int, int]]]
"""By scene: pairs of an object and another that was made the same kind of thing."""


def twinned(truths: list[Observation], rng: random.Random) -> tuple[list[Observation], Twins]:
    """The same truths, but in some of them one or more objects are of the class of another.

    All have a colour, or none: things that exist only as drawings have none.
    """
    told, twins = list(truths), Twins()
    for row, truth in enumerate(truths):
        pairs = [(i, k) for i, model in enumerate(truth.objects) for k, other in enumerate(truth.objects)
                 if model.cls != other.cls and (model.colour is None) == (other.colour is None)]
        if not pairs or rng.random() > TWINS:
            continue
        model, _ = rng.choice(pairs)
        others = [k for i, k in pairs if i == model]
        twins[row] = [(model, other) for other in rng.sample(others, _how_many(len(others), rng))]
        things = list(truth.objects)
        for _, other in twins[row]:
            things[other] = replace(things[other], cls=things[model].cls)
        told[row] = replace(truth, objects=tuple(things))
    return told, twins


def _how_many(most: int, rng: random.Random) -> int:
    count = 1
    while count < most and rng.random() < MORE_TWINS:
        count += 1
    return count


def match(slots: Slots, truths: list[Observation]) -> list[list[int | None]]:
    """For every row and object of its truth: the slot that is about it, None where the eye did not find it."""
    centres = ((slots.boxes[..., :2] + slots.boxes[..., 2:]) / 2).tolist()
    found, result = slots.found.tolist(), []
    for row, truth in enumerate(truths):
        pairs = sorted((abs(x - thing.x) + abs(y - thing.y), i, k)
                       for i, thing in enumerate(truth.objects)
                       for k, (x, y) in enumerate(centres[row]) if found[row][k])
        homes: list[int | None] = [None] * len(truth.objects)
        for distance, i, k in pairs:
            if distance < MATCHED and homes[i] is None and k not in homes:
                homes[i] = k
        result.append(homes)
    return result


def seen_only(truths: list[Observation], matches: list[list[int | None]],
              ) -> tuple[list[Observation], list[list[int | None]]]:
    """The truths without what the eye did not find: a decoder that learns to name it learns to guess."""
    kept = [replace(truth, objects=tuple(thing for thing, k in zip(truth.objects, homes, strict=True) if k is not None))
            for truth, homes in zip(truths, matches, strict=True)]
    return kept, [[k for k in homes if k is not None] for homes in matches]


def memories(slots: Slots, truths: list[Observation], matches: list[list[int | None]],
             rng: random.Random) -> tuple[Memory, list[Observation | None]]:
    """Windows before these: memories as the eye would have kept them, and their truth (None = no window before)."""
    batch = len(truths)
    attributes, known = torch.zeros(batch, SLOTS, ATTRIBUTES), torch.ones(batch, dtype=torch.bool)
    previous: list[Observation | None] = []
    for row, truth in enumerate(truths):
        if rng.random() < NO_MEMORY:
            known[row] = False
            previous.append(None)
            continue
        things = [(thing, slots.attributes[row, k]) for thing, k in zip(truth.objects, matches[row], strict=True)
                  if k is not None]
        if rng.random() > SAME:
            things = [pair for pair in things if rng.random() < 0.65]
            other = rng.randrange(batch)
            things += [(thing, slots.attributes[other, k])
                       for thing, k in zip(truths[other].objects, matches[other], strict=True)
                       if k is not None and other != row and rng.random() < 0.4]
        things = sorted((_earlier(*pair) for pair in things[:SLOTS]), key=lambda pair: pair[0].y)
        for k, (_, vector) in enumerate(things):
            attributes[row, k] = vector
        previous.append(replace(truth, objects=tuple(thing for thing, _ in things)))
    return Memory(attributes, known), previous


def _earlier(thing: ObservedObject, vector: Tensor) -> tuple[ObservedObject, Tensor]:
    """The object and its attribute vector about a second before, kept inside the view."""
    x, y = (min(0.97, max(0.03, place - speed)) for place, speed in ((thing.x, thing.vx), (thing.y, thing.vy)))
    moved = vector.clone()
    moved[-2 * RBF:] = place_code(torch.tensor(x), torch.tensor(y))
    return replace(thing, x=x, y=y), moved


@dataclass(frozen=True, eq=False)
class Looks:
    """What one side saw of some scenes: slots, truths of what was found, the slot of each of their objects, what is
    remembered of the window before and its truth (None = there was none)."""

    slots: Slots
    truths: list[Observation]
    homes: list[list[int | None]]
    memory: Memory
    previous: list[Observation | None]


class SlotSource:
    """Draws scenes with their slots: cached ones of the eye, or perfect ones."""

    def __init__(self, modality: str, config: VisionConfig, folder: Path, icons: Drawings) -> None:
        self.modality, self._config, self._icons = modality, config, icons
        path = folder / f"{modality}-slots.pt"
        parts = torch.load(path, weights_only=True) if path.exists() else []
        if parts and "earlier" not in parts[0]:
            raise InputError(f"{path} was written by another version; give another folder with --out")
        self.truths = [Observation.from_json(plain) for part in parts for plain in part.pop("truths")]
        self._earlier = [plain and Observation.from_json(plain) for part in parts for plain in part.pop("earlier")]
        self._cached = {name: torch.cat([p[name] for p in parts]) for name in parts[0]} if parts else {}

    def perfect(self, rng: random.Random, size: int) -> Looks:
        """Fresh scenes with oracle slots."""
        truths = [truth_of(self.modality, TRAIN_SEEDS + rng.randrange(300_000_000), self._icons) for _ in range(size)]
        truths, _ = twinned(truths, rng)
        slots = oracle_slots(truths, self.modality == "rgb", self._config)
        truths, homes = seen_only(truths, match(slots, truths))
        return Looks(slots, truths, homes, *memories(slots, truths, homes, rng))

    def seen(self, rng: random.Random, size: int) -> Looks:
        """Cached scenes with what the eye itself saw of them and of the window before."""
        chosen = rng.sample(range(len(self.truths)), size)
        slots = self.rows(chosen)
        truths, homes = seen_only([self.truths[i] for i in chosen], match(slots, [self.truths[i] for i in chosen]))
        truths, twins = twinned(truths, rng)
        classes = slice(1, 1 + GROUPS["cls"])
        for row, (model, other) in ((row, pair) for row, pairs in twins.items() for pair in pairs):
            origin, target = homes[row][model], homes[row][other]
            assert origin is not None
            assert target is not None
            slots.attributes[row, target, classes] = slots.attributes[row, origin, classes]
            slots.features[row, target] = slots.features[row, origin]
        # what is remembered does not fit where a class was changed
        previous = [None if row in twins or rng.random() < NO_MEMORY else self._earlier[i]
                    for row, i in enumerate(chosen)]
        known = torch.tensor([truth is not None for truth in previous])
        remembered = self._cached["remembered"][chosen].float() * known[:, None, None]
        return Looks(slots, truths, homes, Memory(remembered, known), previous)

    def rows(self, chosen: list[int]) -> Slots:
        """The eye's slots of these of the cached scenes."""
        parts = {name: value[chosen] for name, value in self._cached.items() if name != "remembered"}
        return Slots(**{name: value.float() if value.is_floating_point() else value for name, value in parts.items()})


