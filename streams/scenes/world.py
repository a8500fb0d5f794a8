"""What exists in the rendered world and where it is: objects, places, motion, and the truth about a window.

    scene = random_scene(seed=7)                 # streams.scenes.generate
    observe(scene, 0.0, 1.0).objects[0].colour

Lengths are in view heights for sizes and in fractions of the view for positions (0..1 from the top left);
velocities are fractions of the view per second, growth is the natural logarithm of size per second. Times are
seconds from the start of the scene. An object's direction and speed are its own, against the ground: a panning
camera does not make a parked car move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

SIZES = {"car": (0.235, 0.125), "truck": (0.30, 0.16), "bus": (0.36, 0.17), "motorcycle": (0.20, 0.15),
         "pedestrian": (0.095, 0.21), "cyclist": (0.20, 0.21), "ball": (0.14, 0.14), "dog": (0.23, 0.165),
         "cat": (0.20, 0.18), "bird": (0.23, 0.15), "drone": (0.24, 0.115), "plane": (0.34, 0.13)}
"""Width and height of each class that the world draws itself, in view heights, before individual scale."""

RENDERED = tuple(SIZES)
"""Classes that the world draws itself."""

DRAWINGS = (
    "bicycle", "train", "tractor", "helicopter", "rocket", "sailboat", "horse", "cow", "pig", "rabbit", "elephant",
    "fish", "turtle", "snail", "butterfly", "bee", "snake", "penguin", "duck", "whale", "octopus", "crab", "football",
    "trophy", "kite", "hammer", "wrench", "pair of scissors", "key", "umbrella", "guitar", "photo camera", "clock",
    "telephone", "apple", "banana", "pizza", "hamburger", "carrot", "strawberry", "cake", "mushroom",
    "bunch of grapes", "balloon")
"""Everyday classes that exist only as pictures from icon sets, held before the camera."""

CLASSES = RENDERED + DRAWINGS
COLOURS = {"red": (215, 40, 40), "blue": (45, 80, 220), "green": (40, 170, 60), "yellow": (235, 215, 50),
           "white": (240, 240, 240), "black": (25, 25, 25), "orange": (240, 140, 30), "purple": (150, 60, 190)}
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "towards": (0, 0), "away": (0, 0),
              "still": (0, 0)}
SPEEDS = {"still": (0.0, 0.0), "slow": (0.08, 0.13), "moderate": (0.20, 0.28), "fast": (0.40, 0.55)}
"""Own speed in view fractions per second, from the slowest to the fastest word."""

GROWTHS = {"slow": (0.16, 0.24), "moderate": (0.40, 0.52), "fast": (0.80, 1.00)}
"""Growth per second of what comes towards the camera; what moves away shrinks as fast."""

PLACES = ("street", "park", "hall", "beach", "snow")
TIMES = ("day", "dusk", "night")
CAMERAS = ("still", "shaking", "panning")
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
MAX_OBJECTS = 5

LONGEST_S = 2.0
"""Windows are at most this long, so a panning camera never shows more background than is drawn."""

FLYERS = ("ball", "bird", "drone", "plane")
"""Rendered classes that also move up and down; the others stay on the ground. Drawings move any way."""

VISIBLE = 0.5
"""Share of an object's box that must be in view, and not behind another object, for it to be spoken of."""


@dataclass(frozen=True)
class SceneObject:
    """One thing: x, y = centre (view fractions) and size at time t_ref_s; present between appears_s and leaves_s.

    colour: None for a drawing, which has colours of its own. style: of the icon set a drawing comes from.
    look: seed of its individual shape and surface.
    """

    cls: str
    colour: str | None
    direction: str
    speed: str
    x: float
    y: float
    vx: float = 0.0
    vy: float = 0.0
    growth: float = 0.0
    scale: float = 1.0
    flip: bool = False
    look: int = 0
    style: str | None = None
    t_ref_s: float = 0.5
    appears_s: float = float("-inf")
    leaves_s: float = float("inf")

    def centre(self, t_s: float) -> tuple[float, float]:
        """Centre at t_s in view fractions, for a camera that does not move."""
        return self.x + self.vx * (t_s - self.t_ref_s), self.y + self.vy * (t_s - self.t_ref_s)

    def size(self, t_s: float) -> tuple[float, float]:
        """Width and height at t_s in view heights."""
        width, height = SIZES.get(self.cls, (1.0, 1.0)) if self.style is None else (1.0, 1.0)
        now = self.scale * float(np.exp(self.growth * (t_s - self.t_ref_s)))
        return width * now, height * now

    def present(self, t_s: float) -> bool:
        """Whether the object exists at t_s."""
        return self.appears_s <= t_s < self.leaves_s


@dataclass(frozen=True)
class Scene:
    """A place with objects, the later before the earlier ones.

    shake: amplitude in view heights. pan_x, pan_y: how the picture slides in view fractions per second, nothing
    displaced at t_ref_s. texture 0..1: roughness of the ground. clutter: number of small things lying about.
    """

    place: str
    time: str
    objects: tuple[SceneObject, ...]
    seed: int = 0
    ambient: float = 1.0
    shake: float = 0.0
    shake_phase: float = 0.0
    pan_x: float = 0.0
    pan_y: float = 0.0
    texture: float = 0.5
    clutter: int = 0
    t_ref_s: float = 0.5

    @property
    def camera(self) -> str:
        """One of CAMERAS."""
        return "panning" if self.pan_x or self.pan_y else "shaking" if self.shake else "still"

    def shaken(self, t_s: float) -> tuple[float, float]:
        """Displacement of the whole picture by camera shake at t_s, in view heights."""
        if not self.shake:
            return 0.0, 0.0
        angle = self.shake_phase + 11.0 * t_s
        return self.shake * float(np.sin(angle)), self.shake * float(np.cos(0.83 * angle))

    def panned(self, t_s: float) -> tuple[float, float]:
        """Displacement of the whole picture by a panning camera at t_s, in view fractions."""
        return self.pan_x * (t_s - self.t_ref_s), self.pan_y * (t_s - self.t_ref_s)


@dataclass(frozen=True)
class ObservedObject:
    """An object as seen in a window: attributes, centre and box (x0, y0, x1, y1) at mid-window, view fractions.

    vx, vy: in the picture, with the camera's pan. colour: None when it cannot be told.
    """

    cls: str
    colour: str | None
    direction: str
    speed: str
    x: float
    y: float
    vx: float
    vy: float
    growth: float
    box: tuple[float, float, float, float]

    @property
    def row(self) -> str:
        """Third of the view from the top, one of ROWS."""
        return ROWS[min(2, int(self.y * 3))]

    @property
    def column(self) -> str:
        """Third of the view from the left, one of COLUMNS."""
        return COLUMNS[min(2, int(self.x * 3))]

    @property
    def area(self) -> float:
        """Share of the view that the box covers."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)


@dataclass(frozen=True)
class Observation:
    """The truth about a window: place, time of day, camera, objects from top to bottom."""

    place: str
    time: str
    camera: str = "still"
    objects: tuple[ObservedObject, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain Python for files."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Observation:
        """What to_json() wrote."""
        things = tuple(ObservedObject(**thing | {"box": tuple(thing["box"])}) for thing in plain["objects"])
        return cls(plain["place"], plain["time"], plain["camera"], things)


def box_of(thing: SceneObject, t_s: float, aspect: float,
           panned: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float, float, float]:
    """Unclipped box x0, y0, x1, y1 at t_s in view fractions."""
    x, y = (c + p for c, p in zip(thing.centre(t_s), panned, strict=True))
    width, height = thing.size(t_s)
    return x - width / aspect / 2, y - height / 2, x + width / aspect / 2, y + height / 2


def _clip(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (min(1.0, max(0.0, v)) for v in box)
    return x0, y0, x1, y1


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def visible_shares(boxes: Sequence[tuple[float, float, float, float]]) -> list[float]:
    """Share of each box that is in view and not covered by a later one (overlaps of the covers count twice)."""
    shares = []
    for i, box in enumerate(boxes):
        area = max(1e-9, (box[2] - box[0]) * (box[3] - box[1]))
        inside = _clip(box)
        seen = _overlap(box, (0.0, 0.0, 1.0, 1.0)) - sum(_overlap(inside, later) for later in boxes[i + 1:])
        shares.append(max(0.0, seen) / area)
    return shares


def observe(scene: Scene, start_s: float, end_s: float, aspect: float = 4 / 3) -> Observation:
    """What there is to say about [start_s, end_s): objects at least half visible at mid-window."""
    mid_s = (start_s + end_s) / 2
    panned = scene.panned(mid_s)
    things = [thing for thing in scene.objects if thing.present(mid_s)]
    boxes = [box_of(thing, mid_s, aspect, panned) for thing in things]
    seen = []
    for thing, box, share in zip(things, boxes, visible_shares(boxes), strict=True):
        if share < VISIBLE:
            continue
        x0, y0, x1, y1 = box = _clip(box)
        seen.append(ObservedObject(thing.cls, thing.colour, thing.direction, thing.speed, (x0 + x1) / 2, (y0 + y1) / 2,
                                   thing.vx + scene.pan_x, thing.vy + scene.pan_y, thing.growth, box))
    return Observation(scene.place, scene.time, scene.camera, tuple(sorted(seen, key=lambda o: o.y)))
