"""Pictures that are nothing like the rendered world, and the head of the eye that learns to notice.

    for progress in train_strange("rgb", steps=200, folder=Path("runs/mini"), icons=icons): ...

A recording of the real world should be declined, not described in the words of a toy world. None can be shipped or
fetched, so the eye learns from made-up ones (outlier exposure, Hendrycks et al. 2019): fields of texture, heaps
of shapes, stripes, flicker, noise, and rendered scenes that are turned over, cut up or seen from far too close.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.inputs import FRAMES, event_input, rgb_input
from pipeline.training.data import any_length_s, make, sensor, shot_of
from pipeline.training.eye import CPU, trained_eye
from pipeline.training.loop import Progress, Schedule, train
from streams.scenes.render import Drawings, Renderer, add_noise
from streams.simulation import EventSimulator
from streams.types import Frame, Resolution, Window, empty_packet

FIRST_SEED = 500_000_000
"""Scenes of this stage: none that the eyes or the decoders were trained on."""

SIDE_PX, MARGIN_PX = (173, 130), 60
BATCH = 16
DULL_SHARE, STILL_SHARE = 0.4, 0.2
Rng = np.random.Generator
Picture = Callable[[float], np.ndarray]


def strange_view(seed: int, icons: Drawings, still_share: float = 0.0) -> tuple[Picture, float]:
    """A moving picture uint8 RGB [130, 173, 3] as a function of time in seconds, and the length of its window.

    still_share: of pictures in which nothing moves; to events they would be like any quiet scene.
    """
    rng = np.random.default_rng([seed, 41])
    kind = str(rng.choice(["texture", "shapes", "stripes", "flicker", "noise", "turned", "cut", "close"],
                          p=[0.22, 0.26, 0.08, 0.06, 0.06, 0.1, 0.12, 0.1]))
    length_s = float(rng.choice([1.0, any_length_s(rng)]))
    if kind == "noise":
        level = float(rng.uniform(20, 200))
        return lambda t_s: add_noise(np.full((*SIDE_PX[::-1], 3), level, np.uint8), 40, np.random.default_rng(
            [seed, round(t_s * 1e4)])), length_s
    if kind == "flicker":
        still, rate_hz = _texture(rng), float(rng.uniform(1, 6))
        return lambda t_s: cv2.convertScaleAbs(_crop(still, 0, 0), alpha=0.65 + 0.35 * float(np.sin(
            2 * np.pi * rate_hz * t_s))), length_s
    if kind in ("turned", "cut", "close"):
        return _spoilt_scene(kind, seed, rng, icons), length_s
    still = {"texture": _texture, "shapes": _shapes, "stripes": _stripes}[kind](rng)
    if rng.random() < DULL_SHARE:
        still = _dull(still, rng)
    liveliness = float(rng.random() >= still_share) * float(rng.uniform(0.3, 1.5))
    vx, vy = rng.normal(0, 25, 2) * liveliness
    turn, zoom = (float(rng.normal(0, spread)) * liveliness for spread in (8, 0.08))
    shake = float(rng.uniform(0, 2)) * liveliness
    return lambda t_s: _crop(still, vx * (t_s - 0.5) + shake * np.sin(11 * t_s), vy * (t_s - 0.5), turn * (t_s - 0.5),
                             float(np.exp(zoom * (t_s - 0.5)))), length_s


def _crop(still: np.ndarray, dx: float, dy: float, turn: float = 0.0, zoom: float = 1.0) -> np.ndarray:
    centre = still.shape[1] / 2, still.shape[0] / 2
    move = cv2.getRotationMatrix2D(centre, turn, zoom)
    move[:, 2] += dx - MARGIN_PX, dy - MARGIN_PX
    return cv2.warpAffine(still, move, SIDE_PX, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _canvas(rng: Rng) -> np.ndarray:
    width, height = (side + 2 * MARGIN_PX for side in SIDE_PX)
    return np.full((height, width, 3), rng.uniform(20, 220, 3), np.float32)


def _texture(rng: Rng) -> np.ndarray:
    """Octaves of noise, in one or in three colours."""
    image = _canvas(rng)
    height, width = image.shape[:2]
    for octave in range(2, 7):
        cells = 2**octave
        grain = rng.normal(0, float(rng.uniform(8, 70)) / octave**0.5, (cells, cells, int(rng.choice([1, 3]))))
        layer = cv2.resize(grain.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        image += layer if layer.ndim == 3 else layer[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def _shapes(rng: Rng) -> np.ndarray:
    """A heap of polygons, discs and lines over each other, like a cluttered room or a row of houses."""
    image = _canvas(rng)
    height, width = image.shape[:2]
    grey = rng.random() < 0.5
    for _ in range(int(rng.integers(15, 120))):
        tone = rng.uniform(0, 255, 3)
        colour = tuple(float(v) for v in (np.full(3, tone.mean()) if grey else tone))
        x, y, size = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(4, 70)
        kind = int(rng.integers(3))
        if kind == 0:
            corners = np.array([x, y]) + rng.normal(0, size / 2, (int(rng.integers(3, 7)), 2))
            cv2.fillPoly(image, [corners.astype(np.int32)], colour, cv2.LINE_AA)
        elif kind == 1:
            cv2.ellipse(image, (int(x), int(y)), (int(size / 2) + 1, int(rng.uniform(2, size))), float(
                rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            end = np.array([x, y]) + rng.normal(0, 2 * size, 2)
            cv2.line(image, (int(x), int(y)), (int(end[0]), int(end[1])), colour, int(rng.integers(1, 6)), cv2.LINE_AA)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def _stripes(rng: Rng) -> np.ndarray:
    """Gratings, checks and rings."""
    image = _canvas(rng)
    y, x = np.mgrid[:image.shape[0], :image.shape[1]].astype(np.float32)
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(6, 50)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / pitch)
    if rng.random() < 0.4:
        wave = wave * np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / pitch)
    elif rng.random() < 0.4:
        wave = np.sin(np.hypot(x - image.shape[1] / 2, y - image.shape[0] / 2) * 2 * np.pi / pitch)
    sharp = np.sign(wave) if rng.random() < 0.5 else wave
    return np.clip(image + (float(rng.uniform(30, 110)) * sharp)[..., None], 0, 255).astype(np.uint8)


def _dull(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Out of focus, in uneven light and with little contrast, as the frames of event cameras often are."""
    height, width = image.shape[:2]
    soft = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.6, 4))).astype(np.float32)
    light = cv2.resize(rng.uniform(0.4, 1.6, (2, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    contrast, level = float(rng.uniform(0.25, 1)), float(rng.uniform(-60, 60))
    return np.clip(((soft - 128) * contrast + 128 + level) * light[..., None], 0, 255).astype(np.uint8)


def _spoilt_scene(kind: str, seed: int, rng: Rng, icons: Drawings) -> Picture:
    """A rendered scene upside down, cut into shuffled pieces, or seen from far too close."""
    renderer = Renderer(shot_of(seed, icons).scene, Resolution(*SIDE_PX), icons)
    width, height = SIDE_PX
    if kind == "turned":
        return lambda t_s: np.ascontiguousarray(np.rot90(renderer.frame(t_s), 2))
    if kind == "close":
        zoom, x, y = float(rng.uniform(3.5, 7)), float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.2, 0.8))
        move = np.array([[zoom, 0, (0.5 - zoom * x) * width], [0, zoom, (0.5 - zoom * y) * height]])
        return lambda t_s: cv2.warpAffine(renderer.frame(t_s), move, SIDE_PX, flags=cv2.INTER_LINEAR,
                                          borderMode=cv2.BORDER_REFLECT)
    rows, columns = int(rng.integers(2, 5)), int(rng.integers(2, 6))
    order = rng.permutation(rows * columns)

    def cut(t_s: float) -> np.ndarray:
        image = renderer.frame(t_s)
        high, wide = height // rows, width // columns
        result = image.copy()
        for target, origin in enumerate(order):
            (r, c), (q, p) = divmod(target, columns), divmod(int(origin), columns)
            result[r * high:(r + 1) * high, c * wide:(c + 1) * wide] = image[q * high:(q + 1) * high,
                                                                             p * wide:(p + 1) * wide]
        return result

    return cut


def strange_example(modality: str, seed: int, icons: Drawings) -> np.ndarray:
    """A strange view as one model sees it, preprocessed."""
    window = strange_window(modality, seed, icons)
    return rgb_input(window) if modality == "rgb" else event_input(window)


def strange_window(modality: str, seed: int, icons: Drawings) -> Window:
    """A strange view as a recording would give it to one model, frames or events."""
    rng = np.random.default_rng([seed, 42])
    view, length_s = strange_view(seed, icons, STILL_SHARE if modality == "rgb" else 0.0)
    resolution, end_us = Resolution(*SIDE_PX), round(length_s * 1e6)
    if modality == "rgb":
        times_s, sigma = (np.arange(FRAMES) + 0.5) * length_s / FRAMES, float(rng.uniform(0, 12))
        grey = rng.random() < 0.3
        frames = []
        for t_s in times_s:
            image = add_noise(view(float(t_s)), sigma, rng)
            if grey:
                image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, -1)
            frames.append(Frame(round(float(t_s) * 1e6), 0, image))
        return Window(0, end_us, empty_packet(), frames, resolution)
    simulator = EventSimulator(resolution, sensor(rng), seed)
    steps = max(4, round(length_s * 24))
    packets = [simulator.step(view(float(t)), round(float(t) * 1e6)) for t in np.linspace(0, length_s, steps + 1)]
    events = np.concatenate(packets)
    return Window(0, end_us, events[events["t"] < end_us], [], resolution)


def train_strange(modality: str, steps: int, folder: Path, icons: Drawings, device: torch.device = CPU,
                  ) -> Iterator[Progress]:
    """Train the eye's head for strange windows, the rest of the eye at rest; leaves folder/MODALITY-strange.pt."""
    eye = trained_eye(modality, folder).to(device)
    head = eye.strange.requires_grad_(True)
    half = BATCH // 2

    def loss_of_step(step: int) -> dict[str, Tensor]:
        first = FIRST_SEED + step * half
        pixels = [make(modality, first + i, icons)[0] for i in range(half)]
        pixels += [strange_example(modality, first + i, icons) for i in range(half)]
        strange = torch.cat([torch.zeros(half), torch.ones(half)]).to(device)
        logits = eye(torch.from_numpy(np.stack(pixels)).to(device)).strange
        return {"strange": F.binary_cross_entropy_with_logits(logits, strange)}

    return train(f"{modality}-strange", head, loss_of_step, Schedule(steps, 3e-3, 20), folder)
