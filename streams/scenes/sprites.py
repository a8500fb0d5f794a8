"""The things that the world draws itself: pictures with coverage, each an individual.

    sprite("car", "red", look=3, height_px=40).shape     # (40, 75, 4), premultiplied RGBA float32, facing right

`look` is the seed of one individual: proportions, shade of its colour, surface, light and how it is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from streams.scenes.world import COLOURS, SIZES

Colour = tuple[int, int, int]
Point = tuple[float, float]
DARK, GLASS, SKIN, METAL, SHINE = (30, 30, 35), (150, 200, 230), (225, 180, 150), (190, 190, 190), (250, 250, 250)
SUPERSAMPLE = 3


class _Pen:
    """Draws opaque shapes in unit coordinates on a supersampled RGBA canvas, never twice quite alike."""

    def __init__(self, width_px: int, height_px: int, body: Colour, rng: np.random.Generator) -> None:
        self.canvas = np.zeros((height_px, width_px, 4), np.uint8)
        self.scale = np.array([width_px - 1, height_px - 1], np.float64)
        self.body, self.rng = body, rng
        self.light = sum(body) > 600

    def about(self, value: float, spread: float) -> float:
        """A proportion of this individual."""
        return value + float(self.rng.uniform(-spread, spread))

    def shade(self, factor: float) -> Colour:
        """The body's colour, darker or lighter."""
        r, g, b = (int(min(255, max(0, c * factor))) for c in self.body)
        return r, g, b

    def poly(self, points: list[Point], colour: Colour) -> None:
        corners = np.round(np.array(points) * self.scale).astype(np.int32)
        cv2.fillPoly(self.canvas, [corners], (*colour, 255))

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, outline: float = 0.0) -> None:
        centre = np.round(np.array([(x0 + x1) / 2, (y0 + y1) / 2]) * self.scale).astype(int)
        axes = np.maximum(1, np.round(np.array([x1 - x0, y1 - y0]) / 2 * self.scale)).astype(int)
        thickness = -1 if not outline else max(1, round(outline * float(self.scale[1])))
        cv2.ellipse(self.canvas, tuple(map(int, centre)), tuple(map(int, axes)), 0, 0, 360, (*colour, 255), thickness)

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, width: float) -> None:
        start, end = (np.round(np.array(p) * self.scale).astype(int) for p in ((x0, y0), (x1, y1)))
        thickness = max(1, round(width * float(self.scale[1])))
        cv2.line(self.canvas, tuple(map(int, start)), tuple(map(int, end)), (*colour, 255), thickness)

    def wheel(self, x: float, y: float, radius: float, spokes: bool = False) -> None:
        """A wheel with round outline whatever the shape of the canvas; radius in heights."""
        wide = radius * float(self.scale[1] / self.scale[0])
        if spokes:
            self.ellipse(x - wide, y - radius, x + wide, y + radius, DARK, outline=radius * 0.28)
            return
        self.ellipse(x - wide, y - radius, x + wide, y + radius, DARK)
        hub = self.about(0.42, 0.1)
        self.ellipse(x - hub * wide, y - hub * radius, x + hub * wide, y + hub * radius, METAL)


def _car(pen: _Pen) -> None:
    roof, back, bonnet = pen.about(0.04, 0.04), pen.about(0.16, 0.1), pen.about(0.84, 0.06)
    front_roof, belt = pen.about(0.68, 0.05), pen.about(0.42, 0.03)
    pen.poly([(0, belt + 0.03), (back, belt - 0.04), (bonnet, belt), (1, belt + 0.12), (1, 0.82), (0, 0.82)], pen.body)
    pen.poly([(back, belt), (back + 0.14, roof), (front_roof, roof), (bonnet, belt)], pen.body)
    middle = pen.about(0.5, 0.03)
    pen.poly([(back + 0.17, roof + 0.07), (middle - 0.02, roof + 0.07), (middle - 0.02, belt - 0.03),
              (back + 0.09, belt - 0.03)], GLASS)
    pen.poly([(middle + 0.02, roof + 0.07), (front_roof - 0.02, roof + 0.07), (bonnet - 0.08, belt - 0.03),
              (middle + 0.02, belt - 0.03)], GLASS)
    pen.rect(0, 0.7, 1, 0.8, pen.shade(0.72))
    pen.rect(0.94, belt + 0.15, 1, belt + 0.25, SHINE)
    for x in (pen.about(0.22, 0.02), pen.about(0.78, 0.02)):
        pen.wheel(x, 0.8, pen.about(0.19, 0.015))


def _truck(pen: _Pen) -> None:
    gap, hood = pen.about(0.66, 0.03), pen.about(0.24, 0.06)
    pen.rect(0, pen.about(0.03, 0.03), gap - 0.02, 0.8, pen.body)
    pen.rect(0, 0.68, gap - 0.02, 0.8, pen.shade(0.7))
    pen.poly([(gap + 0.02, hood), (0.92, hood), (1, hood + 0.28), (1, 0.8), (gap + 0.02, 0.8)], pen.body)
    pen.poly([(0.80, hood + 0.07), (0.91, hood + 0.07), (0.97, hood + 0.28), (0.80, hood + 0.28)], GLASS)
    pen.rect(gap - 0.03, 0.7, gap + 0.04, 0.8, DARK)
    for x in (0.14, pen.about(0.38, 0.08), 0.84):
        pen.wheel(x, 0.84, 0.15)


def _bus(pen: _Pen) -> None:
    panes = int(pen.rng.integers(4, 7))
    pen.rect(0, 0, 0.97, 0.85, pen.body)
    pen.poly([(0.97, 0.06), (1, 0.5), (1, 0.85), (0.97, 0.85)], pen.body)
    step, sill = 0.92 / panes, pen.about(0.45, 0.04)
    for i in range(panes):
        pen.rect(0.04 + i * step, 0.14, 0.04 + (i + 0.78) * step, sill, GLASS)
    pen.rect(0, 0.56, 1, 0.63, DARK if pen.light else SHINE)
    for x in (pen.about(0.18, 0.03), pen.about(0.8, 0.03)):
        pen.wheel(x, 0.84, 0.15)


def _motorcycle(pen: _Pen) -> None:
    for x in (0.19, 0.81):
        pen.wheel(x, 0.75, 0.23, spokes=True)
    seat, tank = pen.about(0.42, 0.03), pen.about(0.30, 0.04)
    pen.poly([(0.10, seat - 0.02), (0.44, seat + 0.02), (0.70, tank), (0.80, 0.62), (0.66, 0.78), (0.36, 0.78)],
             pen.body)
    pen.poly([(0.06, seat - 0.06), (0.46, seat), (0.44, seat + 0.10), (0.14, seat + 0.06)], DARK)
    pen.ellipse(0.40, 0.58, 0.64, 0.86, METAL)
    pen.line(0.81, 0.75, 0.68, 0.14, METAL, 0.06)
    pen.line(0.68, 0.14, 0.56, 0.06, DARK, 0.06)
    pen.ellipse(0.72, 0.16, 0.86, 0.34, SHINE)
    pen.line(0.05, 0.86, 0.5, 0.82, METAL, 0.07)


def _pedestrian(pen: _Pen) -> None:
    stride, waist, arm = pen.about(0.22, 0.14), pen.about(0.6, 0.03), pen.about(0.0, 0.12)
    legs = [DARK, (60, 60, 90), (95, 75, 55)][int(pen.rng.integers(3))]
    pen.poly([(0.34, waist - 0.02), (0.56, waist - 0.02), (0.5 - stride, 1), (0.32 - stride, 1)], legs)
    pen.poly([(0.44, waist - 0.02), (0.68, waist - 0.02), (0.70 + stride, 1), (0.50 + stride, 1)], legs)
    pen.line(0.70, 0.31, 0.84 + arm, 0.57, pen.shade(0.85), 0.07)
    pen.poly([(0.24, 0.26), (0.76, 0.26), (0.70, waist), (0.30, waist)], pen.body)
    pen.line(0.28, 0.31, 0.14 + arm, 0.57, pen.shade(0.85), 0.07)
    pen.ellipse(0.27, 0.01, 0.73, 0.245, SKIN)
    hair = [(60, 40, 25), (30, 25, 25), (170, 120, 60)][int(pen.rng.integers(3))]
    pen.ellipse(0.25, 0.0, 0.70, 0.12, hair)


def _cyclist(pen: _Pen) -> None:
    for x in (0.22, 0.78):
        pen.wheel(x, 0.77, 0.2, spokes=True)
    knee = pen.about(0.62, 0.04)
    pen.line(0.22, 0.77, 0.40, 0.60, METAL, 0.035)
    pen.line(0.40, 0.60, 0.70, 0.54, METAL, 0.035)
    pen.line(0.70, 0.54, 0.78, 0.77, METAL, 0.035)
    pen.line(0.40, 0.54, 0.58, knee, DARK, 0.08)
    pen.line(0.58, knee, 0.48, 0.84, DARK, 0.06)
    pen.poly([(0.30, 0.56), (pen.about(0.44, 0.03), 0.19), (0.66, 0.19), (0.70, 0.32), (0.50, 0.60)], pen.body)
    pen.line(0.64, 0.27, 0.80, 0.46, SKIN, 0.055)
    pen.ellipse(0.48, 0.01, 0.70, 0.215, SKIN)
    pen.ellipse(0.47, 0.0, 0.69, 0.10, pen.shade(0.75))


def _ball(pen: _Pen) -> None:
    pen.ellipse(0, 0, 1, 1, pen.body)
    kind, mark = int(pen.rng.integers(3)), pen.shade(0.62) if pen.light else pen.shade(1.7)
    if sum(pen.body) < 150:
        mark = (95, 95, 100)
    if kind == 0:
        pen.line(0.08, pen.about(0.5, 0.2), 0.92, pen.about(0.5, 0.2), mark, 0.1)
    elif kind == 1:
        pen.ellipse(0.3, -0.3, 1.3, 1.3, mark, outline=0.05)
    pen.ellipse(0.25, 0.18, 0.45, 0.38, METAL if pen.light else SHINE)


def _dog(pen: _Pen) -> None:
    back, head = pen.about(0.35, 0.03), pen.about(0.03, 0.03)
    pen.line(0.19, back + 0.06, pen.about(0.05, 0.04), head + 0.10, pen.body, 0.10)
    for x in (0.20, 0.31, 0.60, 0.70):
        lean = pen.about(0.0, 0.05)
        pen.poly([(x, 0.6), (x + 0.1, 0.6), (x + 0.09 + lean, 1), (x + lean, 1)], pen.shade(0.85))
    pen.ellipse(0.14, back, 0.50, 0.72, pen.body)
    pen.rect(0.28, back, 0.72, 0.70, pen.body)
    pen.poly([(0.60, back + 0.1), (0.66, head + 0.12), (0.86, head + 0.14), (0.78, 0.62)], pen.body)
    pen.ellipse(0.62, head, 0.90, head + 0.38, pen.body)
    pen.rect(0.84, head + 0.16, 0.98, head + 0.33, pen.body)
    pen.poly([(0.62, head + 0.04), (0.72, head + 0.06), (0.68, head + 0.34), (0.58, head + 0.28)], pen.shade(0.6))
    pen.ellipse(0.94, head + 0.14, 1, head + 0.24, DARK)
    pen.ellipse(0.80, head + 0.09, 0.84, head + 0.15, SHINE if sum(pen.body) < 250 else DARK)


def _cat(pen: _Pen) -> None:
    back, curl = pen.about(0.44, 0.03), pen.about(0.06, 0.05)
    pen.line(0.18, 0.62, 0.06, 0.34, pen.body, 0.08)
    pen.line(0.06, 0.34, 0.14, curl, pen.body, 0.08)
    for x in (0.20, 0.30, 0.56, 0.66):
        pen.rect(x, 0.66, x + 0.075, 1, pen.shade(0.85))
    pen.ellipse(0.13, back, 0.76, 0.82, pen.body)
    pen.ellipse(0.60, 0.14, 0.99, 0.56, pen.body)
    for x in (0.62, 0.82):
        pen.poly([(x, 0.26), (x + 0.03, 0.0), (x + 0.15, 0.2)], pen.body)
    eye = (235, 235, 120) if sum(pen.body) < 350 else DARK
    for x in (0.72, 0.86):
        pen.ellipse(x, 0.27, x + 0.05, 0.35, eye)
    for x in (0.28, 0.40, 0.52):
        pen.line(x, back + 0.04, x + 0.03, back + 0.17, pen.shade(0.62), 0.03)


def _bird(pen: _Pen) -> None:
    beat = pen.about(0.05, 0.05)
    pen.poly([(0.0, 0.46), (0.30, 0.52), (0.24, 0.72), (0.02, 0.66)], pen.shade(0.8))
    pen.ellipse(0.18, 0.42, 0.80, 0.80, pen.body)
    pen.ellipse(0.68, 0.30, 0.92, 0.64, pen.body)
    pen.poly([(0.89, 0.42), (1, 0.50), (0.89, 0.54)], (245, 160, 30))
    pen.poly([(0.34, 0.56), (pen.about(0.20, 0.06), beat), (0.48, beat + 0.1), (0.66, 0.54)], pen.shade(0.72))
    pen.poly([(0.40, 0.66), (0.30, 1), (0.46, 0.96), (0.60, 0.68)], pen.shade(0.85))
    pen.ellipse(0.79, 0.39, 0.84, 0.46, SHINE if sum(pen.body) < 250 else DARK)


def _drone(pen: _Pen) -> None:
    arm = pen.about(0.38, 0.04)
    pen.rect(0.05, arm, 0.95, arm + 0.13, DARK)
    pen.poly([(0.28, arm - 0.06), (0.72, arm - 0.06), (0.64, 0.86), (0.36, 0.86)], pen.body)
    for x in (0.0, 0.66):
        pen.ellipse(x, 0.03, x + 0.34, 0.24, METAL)
        pen.rect(x + 0.15, 0.14, x + 0.19, arm + 0.04, DARK)
    pen.ellipse(0.44, 0.62, 0.56, 0.86, DARK)
    pen.line(0.32, 0.78, 0.22, 0.99, DARK, 0.09)
    pen.line(0.68, 0.78, 0.78, 0.99, DARK, 0.09)


def _plane(pen: _Pen) -> None:
    tail = pen.about(0.0, 0.02)
    pen.poly([(0.02, tail), (0.12, tail), (0.24, 0.44), (0.06, 0.46)], pen.shade(0.8))
    pen.ellipse(0.02, 0.36, 1.0, 0.70, pen.body)
    pen.poly([(0.04, 0.40), (0.5, 0.37), (0.5, 0.6), (0.12, 0.58)], pen.body)
    for i in range(6):
        pen.rect(0.26 + i * 0.095, 0.44, 0.30 + i * 0.095, 0.52, GLASS if not pen.light else DARK)
    pen.poly([(0.88, 0.42), (0.95, 0.46), (0.96, 0.52), (0.87, 0.51)], GLASS if not pen.light else DARK)
    sweep = pen.about(0.26, 0.05)
    pen.poly([(0.40, 0.56), (0.60, 0.56), (sweep + 0.12, 1), (sweep, 1)], pen.shade(0.68))
    pen.ellipse(0.36, 0.72, 0.52, 0.88, METAL)


_DRAW: dict[str, Callable[[_Pen], None]] = {
    "car": _car, "truck": _truck, "bus": _bus, "motorcycle": _motorcycle, "pedestrian": _pedestrian,
    "cyclist": _cyclist, "ball": _ball, "dog": _dog, "cat": _cat, "bird": _bird, "drone": _drone, "plane": _plane}


@lru_cache(maxsize=2048)
def sprite(cls: str, colour: str, look: int, height_px: int) -> np.ndarray:
    """Picture of an individual, height_px tall: premultiplied RGBA float32 [height, width, 4], RGB 0..255, A 0..1."""
    rng = np.random.default_rng([look, 3])
    width, height = SIZES[cls]
    width_px = max(2, round(height_px * width / height * float(rng.uniform(0.92, 1.08))))
    r, g, b = (np.clip(np.array(COLOURS[colour]) * rng.uniform(0.9, 1.06) + rng.normal(0, 5, 3), 8, 255)).astype(int)
    pen = _Pen(width_px * SUPERSAMPLE, height_px * SUPERSAMPLE, (int(r), int(g), int(b)), rng)
    _DRAW[cls](pen)
    _surface(pen.canvas, rng)
    picture = cv2.resize(_seen(pen.canvas, rng), (width_px, height_px), interpolation=cv2.INTER_AREA)
    picture[..., 3] /= 255
    picture.setflags(write=False)
    return picture


def _surface(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Light from one side and from above, and a rough surface."""
    height, width = canvas.shape[:2]
    light = 1 + rng.normal(0, 0.06) * np.linspace(-1, 1, width)[None] - rng.uniform(0, 0.14) * np.linspace(
        -1, 1, height)[:, None]
    rough = rng.normal(0, rng.uniform(0, 0.07), (max(2, height // 6), max(2, width // 6))).astype(np.float32)
    light = light + cv2.resize(rough, (width, height), interpolation=cv2.INTER_LINEAR)
    canvas[..., :3] = np.clip(canvas[..., :3] * light[..., None], 0, 255)


def _seen(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture seen a little from the side: sheared and squeezed within its own frame."""
    height, width = canvas.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    inward = rng.uniform(0, 0.07, (4, 2)) * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    moved = corners + (inward * [width, height]).astype(np.float32)
    move = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    picture = canvas.astype(np.float32)
    picture[..., :3] *= picture[..., 3:] / 255
    return cv2.warpPerspective(picture, move, (width, height), flags=cv2.INTER_LINEAR)
