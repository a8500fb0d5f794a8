"""The places of the world, drawn by daylight.

    background("park", seed=3, texture=0.5, clutter=4, width_px=400, height_px=300).shape    # (300, 400, 3) uint8
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Rng = np.random.Generator


def background(place: str, seed: int, texture: float, clutter: int, width_px: int, height_px: int) -> np.ndarray:
    """Draw a place: uint8 RGB [height_px, width_px, 3]. texture 0..1: rough ground; clutter: small things about."""
    rng = np.random.default_rng([seed, 11])
    image = np.zeros((height_px, width_px, 3), np.float32)
    _PLACES[place](image, rng)
    for _ in range(clutter):
        _thing(image, rng)
    image *= float(rng.uniform(0.9, 1.1))
    if texture > 0:
        coarse = rng.normal(0, 9 * texture, (max(2, height_px // 3), max(2, width_px // 3))).astype(np.float32)
        image += cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_LINEAR)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def _thing(image: np.ndarray, rng: Rng) -> None:
    """A small thing without a name: a bag, a stone, a sign, a pole."""
    height, width = image.shape[:2]
    x, y, size = int(rng.integers(0, width)), int(rng.uniform(0.2, 0.98) * height), float(rng.uniform(0.012, 0.04))
    tone = tuple(float(v) for v in rng.uniform(40, 215, 3))
    wide, tall = max(1, round(size * height)), max(1, round(size * height * float(rng.uniform(0.5, 1.3))))
    kind = int(rng.integers(3))
    if kind == 0:
        cv2.rectangle(image, (x, y), (x + wide, y + tall), tone, -1)
    elif kind == 1:
        cv2.ellipse(image, (x, y), (wide, max(1, tall // 2)), 0, 0, 360, tone, -1, cv2.LINE_AA)
    else:
        cv2.line(image, (x, y), (x, max(0, y - 4 * wide)), tone, max(1, wide // 5), cv2.LINE_AA)


def _street(image: np.ndarray, rng: Rng) -> None:
    height, width = image.shape[:2]
    horizon = int(rng.uniform(0.22, 0.32) * height)
    image[:] = float(rng.uniform(95, 130))
    image[:horizon] = (158, 184, 217)
    x = 0
    while x < width:
        w = max(2, int(height * rng.uniform(0.12, 0.34)))
        top = max(0, horizon - int(height * rng.uniform(0.06, 0.28)))
        tone = rng.uniform(75, 190, 3)
        image[top:horizon, x:x + w] = tone
        pane, gap = max(1, height // 50), max(3, height // 22)
        for row in range(top + gap // 2, horizon - gap // 2, gap):
            for column in range(x + gap // 2, min(width, x + w) - pane, gap):
                image[row:row + pane, column:column + pane] = tone * 0.55
        x += w
    image[horizon:horizon + max(1, height // 50)] = (152, 150, 146)
    dash = max(2, height // 12)
    for y in (rng.uniform(0.48, 0.58), rng.uniform(0.75, 0.85)):
        row, thick = int(y * height), max(1, height // 110)
        for start in range(int(rng.integers(0, dash)), width, 2 * dash):
            image[row:row + thick, start:start + dash] = 205


def _park(image: np.ndarray, rng: Rng) -> None:
    height, width = image.shape[:2]
    horizon = int(rng.uniform(0.14, 0.26) * height)
    shade = np.linspace(0.85, 1.12, height, dtype=np.float32)[:, None, None]
    image[:] = np.array((88, 152, 76), np.float32) * shade * float(rng.uniform(0.85, 1.15))
    image[:horizon] = (152, 190, 240)
    for _ in range(int(rng.integers(2, 6))):
        x, base = int(rng.integers(0, width)), int(horizon + rng.uniform(0.0, 0.16) * height)
        trunk, crown = max(1, height // 60), int(height * rng.uniform(0.06, 0.12))
        tone = float(rng.uniform(0.75, 1.3))
        cv2.rectangle(image, (x - trunk, base - int(1.6 * crown)), (x + trunk, base), (96, 70, 46), -1)
        cv2.circle(image, (x, base - int(1.7 * crown)), crown, (40 * tone, 100 * tone, 42 * tone), -1, cv2.LINE_AA)
    for _ in range(int(rng.integers(3, 8))):
        x, y = int(rng.integers(0, width)), int(rng.uniform(0.3, 0.98) * height)
        radius, tone = max(1, int(height * rng.uniform(0.015, 0.05))), float(rng.uniform(0.7, 1.3))
        cv2.circle(image, (x, y), radius, (36 * tone, 92 * tone, 38 * tone), -1, cv2.LINE_AA)


def _hall(image: np.ndarray, rng: Rng) -> None:
    height, width = image.shape[:2]
    floor = int(rng.uniform(0.52, 0.66) * height)
    image[:floor] = np.array((190, 178, 158)) * rng.uniform(0.9, 1.1)
    image[floor:] = np.array((140, 107, 82)) * rng.uniform(0.85, 1.15)
    plank = max(8, int(height * rng.uniform(0.14, 0.24)))
    for x in range(int(rng.integers(0, plank)), width, plank):
        image[floor:, x:x + max(1, height // 100)] = (108, 84, 64)
    image[floor - max(1, height // 60):floor] = (120, 110, 98)
    for _ in range(int(rng.integers(1, 4))):
        x, w = int(rng.integers(0, max(1, width))), int(height * rng.uniform(0.12, 0.24))
        top = int(rng.uniform(0.06, 0.16) * height)
        image[top:top + int(0.22 * height), x:x + w] = rng.uniform(125, 230, 3)


def _beach(image: np.ndarray, rng: Rng) -> None:
    height, width = image.shape[:2]
    horizon, shore = int(rng.uniform(0.14, 0.22) * height), int(rng.uniform(0.40, 0.52) * height)
    image[:] = np.array((222, 200, 150)) * rng.uniform(0.9, 1.08)
    image[:shore] = (62, 130, 178)
    image[:horizon] = (160, 200, 240)
    for _ in range(int(rng.integers(5, 12))):
        x, y, w = int(rng.integers(0, width)), int(rng.uniform(horizon, shore)), int(height * rng.uniform(0.04, 0.14))
        cv2.line(image, (x, y), (x + w, y), (128, 182, 212), max(1, height // 150), cv2.LINE_AA)
    along = np.arange(0, width + 1, max(1, width // 40))
    wave = shore + np.sin(along / height * rng.uniform(9, 18) + rng.uniform(0, 6)) * height * 0.012
    line = np.stack([along, wave], 1).round().astype(np.int32)
    cv2.polylines(image, [line], False, (240, 244, 246), max(1, height // 55), cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 3))):
        x, y, r = int(rng.integers(0, width)), int(rng.uniform(0.55, 0.95) * height), int(height * 0.05)
        cv2.ellipse(image, (x, y), (r, r // 2), 0, 180, 360, tuple(rng.uniform(80, 235, 3)), -1, cv2.LINE_AA)


def _snow(image: np.ndarray, rng: Rng) -> None:
    height, width = image.shape[:2]
    horizon = int(rng.uniform(0.26, 0.36) * height)
    image[:] = np.array((222, 228, 238)) * np.linspace(0.9, 1.04, height)[:, None, None]
    image[:horizon] = (170, 188, 208)
    x = -int(0.2 * height)
    while x < width:
        w, top = int(height * rng.uniform(0.3, 0.7)), int(horizon * rng.uniform(0.15, 0.6))
        cv2.fillPoly(image, [np.array([[x, horizon], [x + w // 2, top], [x + w, horizon]], np.int32)],
                     tuple(np.array((128, 140, 160)) * rng.uniform(0.85, 1.15)), cv2.LINE_AA)
        cap = [[x + w // 2 - w // 10, top + (horizon - top) // 5], [x + w // 2, top],
               [x + w // 2 + w // 10, top + (horizon - top) // 5]]
        cv2.fillPoly(image, [np.array(cap, np.int32)], (240, 243, 248), cv2.LINE_AA)
        x += int(w * 0.7)
    for _ in range(int(rng.integers(2, 6))):
        x, base, tall = int(rng.integers(0, width)), int(rng.uniform(0.34, 0.56) * height), height * rng.uniform(.1, .2)
        for part in (1.0, 0.72, 0.45):
            wide, foot = int(tall * 0.28 * part), base - int(tall * (1 - part))
            tree = [[x - wide, foot], [x, foot - int(tall * 0.5 * part) - 1], [x + wide, foot]]
            cv2.fillPoly(image, [np.array(tree, np.int32)], (38, 78, 56), cv2.LINE_AA)


_PLACES: dict[str, Callable[[np.ndarray, Rng], None]] = {
    "street": _street, "park": _park, "hall": _hall, "beach": _beach, "snow": _snow}
