"""Random scenes: what training and evaluation draw, reproducible by seed.

    scene = random_scene(seed=7)
    scene = random_scene(seed=7, styles={"banana": ("noto",)})     # with drawings held before the camera

Labels are kept clear: no object stands on the border of two thirds of the view, two are never at one height, and
what is partly out of view or hidden is either clearly visible or clearly not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from streams.scenes.world import (
    COLOURS,
    DIRECTIONS,
    FLYERS,
    GROWTHS,
    LONGEST_S,
    MAX_OBJECTS,
    PLACES,
    RENDERED,
    SIZES,
    SPEEDS,
    Scene,
    SceneObject,
    box_of,
    visible_shares,
)

ASPECT = 4 / 3
CLEARLY_VISIBLE, CLEARLY_HIDDEN = 0.62, 0.3
APART, LEVELS_APART = 0.16, 0.03
"""Centres differ by APART in x or in y, and always by LEVELS_APART in y, which orders them."""

COUNTS = (0.05, 0.24, 0.29, 0.22, 0.12, 0.08)
TRIES = 30
SHORT_S = 0.6
"""In windows up to this long nothing grows and no camera pans: it could not be told."""


def random_scene(seed: int, duration_s: float = 1.0, styles: Mapping[str, Sequence[str]] | None = None,
                 aspect: float = ASPECT) -> Scene:
    """Draw a scene of 0 to 5 objects whose labels hold for the window [0, duration_s) in views of this aspect ratio.

    styles: icon styles by class; with them three quarters of the objects are drawings. The same seed gives the same
    scene.
    """
    rng = np.random.default_rng(seed)
    place = str(rng.choice(PLACES))
    time = "day" if place == "hall" else str(rng.choice(["day", "dusk", "night"], p=[0.45, 0.25, 0.30]))
    ambient = {"day": (0.8, 1.1), "dusk": (0.52, 0.68), "night": (0.26, 0.38)}[time]
    pans, still = rng.random() < (0.28 if duration_s > SHORT_S else 0.0), rng.random() < 0.22
    shake = 0.0 if still else float(rng.uniform(0.008, 0.02))
    pan_angle, pan = rng.uniform(0, 2 * np.pi), rng.uniform(0.04, 0.07)
    things = _random_objects(duration_s, rng, styles or {}, 0.13 if pans or shake else 0.05, aspect)
    return Scene(place, time, things, seed=seed, ambient=float(rng.uniform(*ambient)),
                 shake=shake, shake_phase=float(rng.uniform(0, 6.28)),
                 pan_x=float(pan * np.cos(pan_angle)) if pans else 0.0,
                 pan_y=float(pan * np.sin(pan_angle) * 0.5) if pans else 0.0,
                 texture=float(rng.uniform(0, 1)), clutter=int(rng.integers(0, 7)), t_ref_s=duration_s / 2)


def changing(scene: Scene, seed: int) -> Scene:
    """The same scene with some things that come only at 0, and some that are there no longer from then on."""
    rng = np.random.default_rng([seed, 51])
    things = []
    for thing in scene.objects:
        fate = rng.random()
        things.append(replace(thing, appears_s=0.0) if fate < 0.2 else replace(thing, leaves_s=0.0) if fate < 0.3
                      else thing)
    return replace(scene, objects=tuple(things))


def before_change(scene: Scene) -> Scene:
    """A scene that changes at 0 as it is until then, when what comes and goes has not yet done so."""
    return replace(scene, objects=tuple(replace(thing, leaves_s=float("inf")) if thing.leaves_s == 0 else thing
                                        for thing in scene.objects if thing.appears_s != 0))


def scene_before(scene: Scene, length_s: float, aspect: float) -> Scene | None:
    """A scene that changes at 0 as the window [-length_s, 0) shows it.

    None where that window's truth would not be beyond doubt, or would show more background than is drawn.
    """
    before = before_change(scene)
    drawn = scene.camera != "panning" or 1.5 * length_s <= LONGEST_S
    return before if drawn and beyond_doubt(before, -length_s / 2, aspect) else None


def beyond_doubt(scene: Scene, t_s: float, aspect: float) -> bool:
    """Whether every object is either clearly visible or clearly hidden at t_s."""
    boxes = [box_of(thing, t_s, aspect, scene.panned(t_s)) for thing in scene.objects if thing.present(t_s)]
    return not any(CLEARLY_HIDDEN < share < CLEARLY_VISIBLE for share in visible_shares(boxes))


def _random_objects(duration_s: float, rng: np.random.Generator, styles: Mapping[str, Sequence[str]],
                    still_share: float, aspect: float) -> tuple[SceneObject, ...]:
    count = int(rng.choice(6, p=COUNTS))
    drawn = bool(styles) and count > 0
    if drawn:
        count = min(count, 3)
    kept: list[SceneObject] = []
    hidden = count < MAX_OBJECTS and rng.random() < 0.12
    for i in range(count + hidden):
        for _ in range(TRIES):
            repeated = kept[0].cls if kept and rng.random() < 0.12 else None
            thing = _random_object(duration_s, rng, styles if drawn and rng.random() < 0.75 else {}, repeated,
                                   still_share, count, outside=i == count)
            if _clear([*kept, thing], aspect):
                kept.append(thing)
                break
    rng.shuffle(kept)
    return tuple(kept) if _clear(kept, aspect) else tuple(kept[:1])


def _random_object(duration_s: float, rng: np.random.Generator, styles: Mapping[str, Sequence[str]],
                   repeated: str | None, still_share: float, count: int, outside: bool) -> SceneObject:
    style = None
    if styles:
        cls = repeated if repeated and repeated in styles else str(rng.choice(list(styles)))
        style = str(rng.choice(list(styles[cls])))
        scale = float(np.exp(rng.uniform(np.log(0.28), np.log(0.65 if count == 1 else 0.42))))
    else:
        cls = repeated if repeated and repeated in RENDERED else str(rng.choice(RENDERED))
        scale = float(np.exp(rng.uniform(np.log(1.0), np.log(2.2 if count < 3 else 1.5))))
        scale = min(scale, 0.7 / SIZES[cls][0])
    direction = _random_direction(rng, style is not None or cls in FLYERS, still_share, grows=duration_s > SHORT_S)
    speed = "still" if direction == "still" else str(rng.choice(["slow", "moderate", "fast"]))
    dx, dy = DIRECTIONS[direction]
    rate = float(rng.uniform(*SPEEDS[speed]))
    sign = {"towards": 1.0, "away": -1.0}.get(direction, 0.0)
    growth = sign * float(rng.uniform(*GROWTHS[speed])) if sign else 0.0
    x, y = (float(v) for v in rng.uniform(0.08, 0.92, 2))
    if outside:
        x = float(rng.choice([rng.uniform(-0.08, 0.03), rng.uniform(0.97, 1.08)]))
    elif rng.random() < 0.12:
        x = float(rng.choice([rng.uniform(0.02, 0.09), rng.uniform(0.91, 0.98)]))
    flip = direction == "left" or (dx == 0 and bool(rng.random() < 0.5)) if style is None else bool(rng.random() < 0.5)
    return SceneObject(cls, None if style else str(rng.choice(list(COLOURS))), direction, speed, x, y, dx * rate,
                       dy * rate, growth, scale, flip, int(rng.integers(1 << 30)), style, duration_s / 2)


def _random_direction(rng: np.random.Generator, free: bool, still_share: float, grows: bool) -> str:
    if rng.random() < still_share:
        return "still"
    if grows and rng.random() < 0.17:
        return str(rng.choice(["towards", "away"]))
    return str(rng.choice(["left", "right", "up", "down"] if free else ["left", "right"]))


def _clear(things: Sequence[SceneObject], aspect: float) -> bool:
    """Whether every label of these objects is beyond doubt at mid-window."""
    boxes = [box_of(thing, thing.t_ref_s, aspect) for thing in things]
    seen = []
    for box, share in zip(boxes, visible_shares(boxes), strict=True):
        if CLEARLY_HIDDEN < share < CLEARLY_VISIBLE:
            return False
        if share >= CLEARLY_VISIBLE:
            x, y = ((max(0.0, a) + min(1.0, b)) / 2 for a, b in ((box[0], box[2]), (box[1], box[3])))
            if any(not 0.07 < (v * 3) % 1 < 0.93 for v in (x, y)):
                return False
            seen.append((x, y))
    return all(abs(a[1] - b[1]) > LEVELS_APART and max(abs(a[0] - b[0]), abs(a[1] - b[1])) > APART
               for i, a in enumerate(seen) for b in seen[i + 1:])
