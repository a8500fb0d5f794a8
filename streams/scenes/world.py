"""What exists in the rendered world and where it is: objects, places, motion, and the truth about a window.

    scene = random_scene(seed=7)
    observe(scene, 0.0, 1.0).objects[0].colour

Lengths are in view heights for sizes and in fractions of the view for positions (0..1 from the top left);
velocities are fractions of the view per second. Times are seconds from the start of the scene.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

CLASSES = ("car", "truck", "bus", "pedestrian", "cyclist", "ball", "dog", "drone")
COLOURS = {"red": (215, 40, 40), "blue": (45, 80, 220), "green": (40, 170, 60), "yellow": (235, 215, 50),
           "white": (240, 240, 240), "black": (25, 25, 25), "orange": (240, 140, 30), "purple": (150, 60, 190)}
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
SPEEDS = {"slow": (0.09, 0.17), "fast": (0.34, 0.50), "still": (0.0, 0.0)}
PLACES = ("street", "park", "hall")
BANDS = ("top", "middle", "bottom")
SIZES = {"car": (0.235, 0.125), "truck": (0.30, 0.16), "bus": (0.36, 0.17), "pedestrian": (0.095, 0.21),
         "cyclist": (0.19, 0.20), "ball": (0.125, 0.125), "dog": (0.175, 0.125), "drone": (0.20, 0.095)}
"""Width and height of each class in view heights, before individual scale."""

FREE_MOVERS = ("ball", "drone")
"""Classes that also move up and down; the others stay on the ground."""

FASTEST_GAP = 1.2
"""One object counts as the fastest only when it is this much faster than the next."""


@dataclass(frozen=True)
class SceneObject:
    """One thing: x, y = centre (view fractions) at time t_ref_s; present between appears_s and leaves_s."""

    cls: str
    colour: str
    direction: str
    speed: str
    x: float
    y: float
    vx: float
    vy: float
    scale: float = 1.0
    flip: bool = False
    t_ref_s: float = 0.5
    appears_s: float = float("-inf")
    leaves_s: float = float("inf")

    def centre(self, t_s: float) -> tuple[float, float]:
        """Centre at t_s in view fractions."""
        return self.x + self.vx * (t_s - self.t_ref_s), self.y + self.vy * (t_s - self.t_ref_s)

    def size(self) -> tuple[float, float]:
        """Width and height in view heights."""
        width, height = SIZES[self.cls]
        return width * self.scale, height * self.scale

    def present(self, t_s: float) -> bool:
        """Whether the object exists at t_s."""
        return self.appears_s <= t_s < self.leaves_s


@dataclass(frozen=True)
class Scene:
    """A place with objects. shake: amplitude in view heights; texture 0..1: roughness of the background."""

    place: str
    night: bool
    objects: tuple[SceneObject, ...]
    seed: int = 0
    ambient: float = 1.0
    shake: float = 0.0
    shake_phase: float = 0.0
    texture: float = 0.5

    def camera(self, t_s: float) -> tuple[float, float]:
        """Displacement of the whole picture by camera shake at t_s, in view heights."""
        if not self.shake:
            return 0.0, 0.0
        angle = self.shake_phase + 11.0 * t_s
        return self.shake * float(np.sin(angle)), self.shake * float(np.cos(0.83 * angle))


@dataclass(frozen=True)
class ObservedObject:
    """An object as seen in a window: attributes, centre and box (x0, y0, x1, y1) at mid-window, view fractions."""

    cls: str
    colour: str
    direction: str
    speed: str
    band: str
    x: float
    y: float
    vx: float
    vy: float
    box: tuple[float, float, float, float]

    @property
    def rate(self) -> float:
        """Speed in view fractions per second."""
        return float(np.hypot(self.vx, self.vy))


@dataclass(frozen=True)
class Observation:
    """The truth about a window: place, time of day, objects from top to bottom."""

    place: str
    night: bool
    objects: tuple[ObservedObject, ...] = field(default=())

    def fastest(self) -> ObservedObject | None:
        """The clearly fastest of at least two moving objects, else None."""
        moving = sorted((o for o in self.objects if o.rate > 0), key=lambda o: -o.rate)
        if len(moving) < 2 or moving[0].rate < FASTEST_GAP * moving[1].rate:
            return None
        return moving[0]

    def to_json(self) -> dict[str, Any]:
        """Plain Python for the truth file beside a rendered recording."""
        return asdict(self)


def observe(scene: Scene, start_s: float, end_s: float, aspect: float = 4 / 3) -> Observation:
    """What there is to say about [start_s, end_s): objects whose centre is inside the view at mid-window."""
    mid_s = (start_s + end_s) / 2
    seen = []
    for thing in scene.objects:
        x, y = thing.centre(mid_s)
        if not (thing.present(mid_s) and 0.02 <= x < 0.98 and 0.02 <= y < 0.98):
            continue
        width, height = thing.size()
        half_w, half_h = width / aspect / 2, height / 2
        box = (max(0.0, x - half_w), max(0.0, y - half_h), min(1.0, x + half_w), min(1.0, y + half_h))
        seen.append(ObservedObject(thing.cls, thing.colour, thing.direction, thing.speed,
                                   BANDS[min(2, int(y * 3))], x, y, thing.vx, thing.vy, box))
    return Observation(scene.place, scene.night, tuple(sorted(seen, key=lambda o: o.y)))


def random_scene(seed: int, duration_s: float = 1.0) -> Scene:
    """Draw a scene: 0 to 3 objects, one in each third of the view, constant velocity.

    The same seed gives the same scene. About a quarter of the scenes with several objects hold two of a kind.
    """
    rng = np.random.default_rng(seed)
    place = PLACES[rng.integers(3)]
    night = bool(rng.random() < 0.4) and place != "hall"
    count = int(rng.choice(4, p=[0.04, 0.28, 0.40, 0.28]))
    bands = sorted(rng.choice(3, count, replace=False))
    classes = [_random_class(place, rng) for _ in bands]
    if count > 1 and rng.random() < 0.25:
        classes[1] = classes[0]
        rng.shuffle(classes)
    objects = tuple(_random_object(cls, int(band), duration_s, rng) for cls, band in zip(classes, bands, strict=True))
    return Scene(place, night, objects, seed=seed,
                 ambient=float(rng.uniform(0.22, 0.38) if night else rng.uniform(0.8, 1.1)),
                 shake=float(rng.uniform(0.004, 0.02)) if rng.random() < 0.6 else 0.0,
                 shake_phase=float(rng.uniform(0, 6.28)), texture=float(rng.uniform(0, 1)))


def _random_class(place: str, rng: np.random.Generator) -> str:
    if place == "street" or rng.random() < 0.15:
        return CLASSES[rng.integers(len(CLASSES))]
    return CLASSES[rng.integers(3, len(CLASSES))]


def _random_object(cls: str, band: int, duration_s: float, rng: np.random.Generator) -> SceneObject:
    if cls in FREE_MOVERS:
        direction = str(rng.choice(list(DIRECTIONS), p=[0.25, 0.25, 0.2, 0.2, 0.1]))
    else:
        direction = str(rng.choice(["left", "right", "still"], p=[0.44, 0.44, 0.12]))
    speed = "still" if direction == "still" else str(rng.choice(["slow", "fast"]))
    rate = float(rng.uniform(*SPEEDS[speed]))
    dx, dy = DIRECTIONS[direction]
    x = float(rng.uniform(0.16, 0.84)) if rng.random() < 0.85 else float(rng.uniform(0.05, 0.95))
    y = (band + 0.5) / 3 + float(rng.uniform(-0.05, 0.05))
    if dy and rng.random() < 0.8:
        y = float(np.clip(y, 0.1 + abs(rate) / 2, 0.9 - abs(rate) / 2))
    flip = direction == "left" or (dx == 0 and bool(rng.random() < 0.5))
    return SceneObject(cls, str(rng.choice(list(COLOURS))), direction, speed, x, y, dx * rate, dy * rate,
                       scale=float(rng.uniform(0.85, 1.25)), flip=flip, t_ref_s=duration_s / 2)
