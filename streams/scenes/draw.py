"""Drawing of the world's things and places with OpenCV: sprites with coverage, backgrounds.

    sprite("car", "red", flip=False, height_px=40).shape     # (40, 75, 4), premultiplied RGBA float32
    background("park", seed=3, texture=0.5, width_px=400, height_px=300).shape    # (300, 400, 3) uint8
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from streams.scenes.world import COLOURS, SIZES

Colour = tuple[int, int, int]
DARK, GLASS, SKIN, METAL, SHINE = (30, 30, 35), (150, 200, 230), (225, 180, 150), (190, 190, 190), (250, 250, 250)
SUPERSAMPLE = 4


class _Pen:
    """Draws opaque shapes in unit coordinates on a supersampled RGBA canvas."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self.canvas = np.zeros((height_px, width_px, 4), np.uint8)
        self.scale = np.array([width_px - 1, height_px - 1], np.float64)

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def poly(self, points: list[tuple[float, float]], colour: Colour) -> None:
        corners = np.round(np.array(points) * self.scale).astype(np.int32)
        cv2.fillPoly(self.canvas, [corners], (*colour, 255))

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, outline: float = 0.0) -> None:
        centre = np.round(np.array([(x0 + x1) / 2, (y0 + y1) / 2]) * self.scale).astype(int)
        axes = np.maximum(1, np.round(np.array([x1 - x0, y1 - y0]) / 2 * self.scale)).astype(int)
        thickness = -1 if not outline else max(1, round(outline * float(self.scale[1])))
        cv2.ellipse(self.canvas, tuple(map(int, centre)), tuple(map(int, axes)), 0, 0, 360, (*colour, 255), thickness)

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, width: float) -> None:
        start, end = (np.round(np.array(p) * self.scale).astype(int) for p in ((x0, y0), (x1, y1)))
        thickness = max(1, round(width * float(self.scale[1])))
        cv2.line(self.canvas, tuple(map(int, start)), tuple(map(int, end)), (*colour, 255), thickness)


def _car(pen: _Pen, body: Colour) -> None:
    pen.rect(0, 0.4, 1, 0.82, body)
    pen.poly([(0.18, 0.42), (0.34, 0), (0.70, 0), (0.86, 0.42)], body)
    pen.poly([(0.36, 0.09), (0.50, 0.09), (0.50, 0.38), (0.27, 0.38)], GLASS)
    pen.poly([(0.54, 0.09), (0.67, 0.09), (0.77, 0.38), (0.54, 0.38)], GLASS)
    for x in (0.12, 0.66):
        pen.ellipse(x, 0.6, x + 0.22, 1, DARK)
        pen.ellipse(x + 0.07, 0.73, x + 0.15, 0.87, METAL)


def _truck(pen: _Pen, body: Colour) -> None:
    pen.rect(0, 0, 0.64, 0.8, body)
    pen.rect(0.68, 0.22, 1, 0.8, body)
    pen.rect(0.62, 0.7, 0.70, 0.8, DARK)
    pen.rect(0.80, 0.3, 0.97, 0.5, GLASS)
    for x in (0.07, 0.36, 0.73):
        pen.ellipse(x, 0.68, x + 0.18, 1, DARK)


def _bus(pen: _Pen, body: Colour) -> None:
    pen.rect(0, 0, 1, 0.85, body)
    for i in range(5):
        pen.rect(0.05 + i * 0.19, 0.14, 0.19 + i * 0.19, 0.44, GLASS)
    pen.rect(0.0, 0.56, 1, 0.62, SHINE if sum(body) < 600 else DARK)
    for x in (0.1, 0.72):
        pen.ellipse(x, 0.68, x + 0.16, 1, DARK)


def _pedestrian(pen: _Pen, body: Colour) -> None:
    pen.ellipse(0.24, 0, 0.76, 0.25, SKIN)
    pen.poly([(0.18, 0.26), (0.82, 0.26), (0.74, 0.64), (0.26, 0.64)], body)
    pen.line(0.18, 0.30, 0.02, 0.58, body, 0.08)
    pen.line(0.82, 0.30, 0.98, 0.58, body, 0.08)
    pen.poly([(0.27, 0.62), (0.50, 0.62), (0.34, 1), (0.12, 1)], DARK)
    pen.poly([(0.50, 0.62), (0.73, 0.62), (0.90, 1), (0.68, 1)], DARK)


def _cyclist(pen: _Pen, body: Colour) -> None:
    for x in (0.0, 0.58):
        pen.ellipse(x + 0.02, 0.57, x + 0.40, 0.97, DARK, outline=0.05)
    pen.line(0.21, 0.77, 0.55, 0.70, DARK, 0.05)
    pen.line(0.55, 0.70, 0.79, 0.77, DARK, 0.05)
    pen.poly([(0.30, 0.58), (0.44, 0.18), (0.68, 0.18), (0.74, 0.34), (0.58, 0.60)], body)
    pen.line(0.66, 0.28, 0.82, 0.48, SKIN, 0.06)
    pen.ellipse(0.44, 0, 0.68, 0.21, SKIN)


def _ball(pen: _Pen, body: Colour) -> None:
    pen.ellipse(0, 0, 1, 1, body)
    pen.ellipse(0.25, 0.18, 0.47, 0.40, SHINE if sum(body) < 700 else METAL)


def _dog(pen: _Pen, body: Colour) -> None:
    pen.rect(0.18, 0.34, 0.78, 0.68, body)
    pen.ellipse(0.62, 0.02, 0.98, 0.46, body)
    pen.poly([(0.64, 0.10), (0.70, 0), (0.78, 0.12)], DARK)
    pen.ellipse(0.92, 0.20, 1, 0.30, DARK)
    for x in (0.20, 0.34, 0.58, 0.69):
        pen.rect(x, 0.62, x + 0.09, 1, body)
    pen.line(0.20, 0.38, 0.02, 0.14, body, 0.11)


def _drone(pen: _Pen, body: Colour) -> None:
    pen.rect(0.05, 0.34, 0.95, 0.46, DARK)
    pen.poly([(0.30, 0.34), (0.70, 0.34), (0.62, 0.85), (0.38, 0.85)], body)
    for x in (0.0, 0.66):
        pen.ellipse(x, 0.04, x + 0.34, 0.30, METAL)
    pen.line(0.30, 0.80, 0.22, 1, DARK, 0.08)
    pen.line(0.70, 0.80, 0.78, 1, DARK, 0.08)


_DRAW: dict[str, Callable[[_Pen, Colour], None]] = {
    "car": _car, "truck": _truck, "bus": _bus, "pedestrian": _pedestrian, "cyclist": _cyclist,
    "ball": _ball, "dog": _dog, "drone": _drone}


@lru_cache(maxsize=4096)
def sprite(cls: str, colour: str, flip: bool, height_px: int) -> np.ndarray:
    """Picture of an object, height_px tall: premultiplied RGBA float32 [height, width, 4], RGB 0..255, A 0..1."""
    width, height = SIZES[cls]
    width_px = max(2, round(height_px * width / height))
    pen = _Pen(width_px * SUPERSAMPLE, height_px * SUPERSAMPLE)
    _DRAW[cls](pen, COLOURS[colour])
    small = cv2.resize(pen.canvas, (width_px, height_px), interpolation=cv2.INTER_AREA).astype(np.float32)
    small[..., 3] /= 255
    picture = np.ascontiguousarray(small[:, ::-1] if flip else small)
    picture.setflags(write=False)
    return picture


def background(place: str, seed: int, texture: float, width_px: int, height_px: int) -> np.ndarray:
    """Draw a place: uint8 RGB [height_px, width_px, 3] by daylight. texture 0..1 adds rough ground."""
    rng = np.random.default_rng([seed, 11])
    image = np.zeros((height_px, width_px, 3), np.float32)
    _PLACES[place](image, rng)
    image *= float(rng.uniform(0.9, 1.1))
    if texture > 0:
        coarse = rng.normal(0, 9 * texture, (max(2, height_px // 3), max(2, width_px // 3))).astype(np.float32)
        image += cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_LINEAR)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def _street(image: np.ndarray, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    horizon = int(0.26 * height)
    image[:] = (115, 115, 122)
    image[:horizon] = (158, 184, 217)
    x = 0
    while x < width:
        w = int(width * rng.uniform(0.10, 0.25))
        top = horizon - int(height * rng.uniform(0.06, 0.24))
        image[max(0, top):horizon, x:x + w] = rng.uniform(75, 190, 3)
        x += w
    for y in (0.53, 0.80):
        row, thick, dash = int(y * height), max(1, height // 110), max(2, width // 16)
        for start in range(0, width, 2 * dash):
            image[row:row + thick, start:start + dash] = 205
    image[horizon:horizon + max(1, height // 60)] = (150, 150, 150)


def _park(image: np.ndarray, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    horizon = int(0.19 * height)
    shade = np.linspace(0.85, 1.12, height, dtype=np.float32)[:, None, None]
    image[:] = np.array((88, 152, 76), np.float32) * shade
    image[:horizon] = (152, 190, 240)
    for _ in range(int(rng.integers(4, 9))):
        x, y = int(rng.integers(0, width)), int(rng.uniform(0.1, 0.95) * height)
        radius, tone = int(height * rng.uniform(0.03, 0.075)), float(rng.uniform(0.7, 1.3))
        cv2.circle(image, (x, y), radius, (36 * tone, 92 * tone, 38 * tone), -1, cv2.LINE_AA)


def _hall(image: np.ndarray, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    floor = int(0.6 * height)
    image[:floor] = (190, 178, 158)
    image[floor:] = (140, 107, 82)
    for x in range(0, width, max(8, int(0.16 * width))):
        image[floor:, x:x + max(1, width // 130)] = (108, 84, 64)
    for _ in range(int(rng.integers(1, 4))):
        x, w = int(rng.integers(0, max(1, int(0.8 * width)))), int(0.15 * width)
        image[int(0.10 * height):int(0.32 * height), x:x + w] = rng.uniform(125, 230, 3)


_PLACES: dict[str, Callable[[np.ndarray, np.random.Generator], None]] = {
    "street": _street, "park": _park, "hall": _hall}
