"""How far the camera moved between the pictures of a window, so that they can be laid over each other.

    shifts = camera_shifts(luma)         # float64 [FRAMES, 2] from float32 [FRAMES, H, W], against the middle one

By normalised cross-correlation of the parts of a picture, in OpenCV, or in alignment.c where compiled passes are
switched on (pipeline.native): the same but for rounding.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from pathlib import Path

import cv2
import numpy as np

from pipeline import native

FURTHEST, NEAREST, CLIP = 14, 0.3, 0.06
"""Shifts of a picture that are looked for, up to FURTHEST pixels; below NEAREST they are noise. CLIP: of gradients."""

TILES = 3
FAR = 0.008 * np.hypot(*np.mgrid[-FURTHEST:FURTHEST + 1, -FURTHEST:FURTHEST + 1])
"""What a displacement must be better by to be preferred to a smaller one: where the ground has no edges, something
that moves by itself would otherwise be taken for it."""

SOURCE = Path(__file__).with_name("alignment.c")


def camera_shifts(luma: np.ndarray) -> np.ndarray:
    """How far each picture [N, SIDE, SIDE] is displaced against the middle one: float64 [N, 2], x and y in pixels.

    The displacement up to FURTHEST pixels at which the clipped gradients of TILES x TILES parts match best, every
    part with the same weight, refined by a parabola: what moves by itself covers few parts, however strong its edges.
    """
    edges = [_edges(picture) for picture in luma]
    shifts, middle = np.zeros((len(luma), 2)), (len(luma) - 1) // 2
    for number, other in enumerate(edges):
        if number == middle:
            continue
        likeness = _likeness(other, edges[middle])
        y, x = np.unravel_index(int((likeness - FAR).argmax()), likeness.shape)
        shifts[number] = (x + _peak(likeness[y], int(x)) - FURTHEST, y + _peak(likeness[:, x], int(y)) - FURTHEST)
    shifts[np.abs(shifts).max(1) < NEAREST] = 0
    return shifts


def _edges(picture: np.ndarray) -> np.ndarray:
    """Clipped gradients across and down, float32 [2, SIDE, SIDE]."""
    soft = cv2.GaussianBlur(picture, (0, 0), 1.0)
    edges = np.stack([cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)])
    return edges.clip(-CLIP, CLIP, out=edges)


def _likeness(other: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """How well the middle picture is found in another one at every displacement: [2 FURTHEST + 1, 2 FURTHEST + 1]."""
    side = middle.shape[-1]
    cuts = np.linspace(FURTHEST, side - FURTHEST, TILES + 1).astype(np.int32)
    total = np.zeros((2 * FURTHEST + 1, 2 * FURTHEST + 1), np.float32)
    compiled = _library() if native.switched_on() else None
    if compiled is not None and not compiled.likeness(
            other.ctypes.data, middle.ctypes.data, len(other), side, TILES, cuts.ctypes.data, len(total),
            total.ctypes.data):
        return total
    for top, bottom in itertools.pairwise(cuts):
        for left, right in itertools.pairwise(cuts):
            for where, what in zip(other, middle, strict=True):
                around = where[top - FURTHEST:bottom + FURTHEST, left - FURTHEST:right + FURTHEST]
                total += cv2.matchTemplate(around, what[top:bottom, left:right], cv2.TM_CCORR_NORMED)
    return total / TILES**2


@functools.cache
def _library() -> ctypes.CDLL | None:
    pointer, number = native.POINTER, native.NUMBER
    made = native.built(SOURCE, {"likeness": (pointer, pointer, *[number] * 3, pointer, number, pointer)})
    assert made is None or made.most_shifts() > 2 * FURTHEST
    return made


def _peak(values: np.ndarray, at: int) -> float:
    """Where between the neighbours of its highest value a curve peaks, -0.5..0.5."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, middle, right = (float(v) for v in values[at - 1:at + 2])
    bend = left - 2 * middle + right
    return 0.0 if bend >= 0 else min(0.5, max(-0.5, 0.5 * (left - right) / bend))
