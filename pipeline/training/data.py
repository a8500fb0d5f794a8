"""Training examples: random scenes as preprocessed windows with their truth.

    example = rgb_example(seed=7)          # (pixels float32 [15, 128, 128], Observation)

Seeds below TRAIN_SEEDS are never drawn in training: evaluation uses them.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.inputs import FRAMES, event_input, rgb_input
from streams.scenes.render import render_frames, simulate_events
from streams.scenes.world import Observation, observe, random_scene
from streams.simulation import SimulatorParameters
from streams.types import Frame, Resolution, Window, empty_packet

TRAIN_SEEDS = 1_000_000
"""First seed of the training split; evaluation draws its scenes below."""

RESOLUTIONS = (Resolution(173, 130), Resolution(240, 180), Resolution(346, 260))
RESOLUTION_SHARES = (0.7, 0.2, 0.1)
"""Mostly small pictures, because they are cheap to render; both models see fractions of the view only."""


def rgb_example(seed: int, plain: bool = False) -> tuple[np.ndarray, Observation]:
    """A scene as the RGB model sees it; unless plain, with noise, grey, tints, blur and lost frames at random."""
    rng = np.random.default_rng([seed, 21])
    scene, resolution = random_scene(seed), RESOLUTIONS[rng.choice(3, p=RESOLUTION_SHARES)]
    times_s = (np.arange(FRAMES) + 0.5) / FRAMES + rng.uniform(-0.03, 0.03, FRAMES)
    sigma = float(rng.uniform(0, 8)) if plain or rng.random() < 0.75 else float(rng.uniform(8, 25))
    frames = render_frames(scene, resolution, times_s, sigma, seed)
    if not plain and rng.random() < 0.35:
        frames = _spoil(frames, rng)
    window = Window(0, 1_000_000, empty_packet(), frames, resolution)
    return rgb_input(window), observe(scene, 0.0, 1.0)


def _spoil(frames: list[Frame], rng: np.random.Generator) -> list[Frame]:
    kind = rng.choice(["grey", "tint", "dim", "blur", "repeat"])
    images = [frame.image for frame in frames]
    if kind == "grey":
        images = [np.repeat(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY)[..., None], 3, -1) for i in images]
    elif kind in ("tint", "dim"):
        gain = rng.uniform(0.8, 1.2, 3) if kind == "tint" else np.full(3, rng.uniform(0.35, 1.2))
        table = np.clip(np.arange(256)[:, None] * gain, 0, 255).astype(np.uint8).reshape(1, 256, 3)
        images = [cv2.LUT(i, table) for i in images]
    elif kind == "blur":
        images = [cv2.GaussianBlur(i, (0, 0), float(rng.uniform(0.5, 1.2))) for i in images]
    else:
        lost = int(rng.integers(1, len(images)))
        images[lost] = images[lost - 1]
    return [Frame(f.t_us, f.exposure_us, i) for f, i in zip(frames, images, strict=True)]


def event_example(seed: int, plain: bool = False) -> tuple[np.ndarray, Observation]:
    """A scene as the event model sees it; unless plain, with varied thresholds, mismatch and noise rates."""
    rng = np.random.default_rng([seed, 22])
    scene, resolution = random_scene(seed), RESOLUTIONS[rng.choice(3, p=RESOLUTION_SHARES)]
    parameters = SimulatorParameters()
    if not plain:
        parameters = SimulatorParameters(
            threshold_on=float(rng.uniform(0.15, 0.3)), threshold_off=float(rng.uniform(0.15, 0.3)),
            mismatch=float(rng.uniform(0.01, 0.05)), leak_hz=float(rng.uniform(0, 0.2)),
            shot_noise_hz=float(rng.uniform(0, 1.5)))
    rate_hz = float(rng.uniform(18, 30)) if not plain else 40.0
    events = simulate_events(scene, resolution, 0.0, 1.0, rate_hz, parameters, seed)
    return event_input(Window(0, 1_000_000, events, [], resolution)), observe(scene, 0.0, 1.0)


def batch(modality: str, step: int, size: int) -> tuple[Tensor, list[Observation]]:
    """The batch of a training step: pixels [size, C, 128, 128] and truths; the same step gives the same batch."""
    example = rgb_example if modality == "rgb" else event_example
    drawn = [example(seed) for seed in range(TRAIN_SEEDS + step * size, TRAIN_SEEDS + (step + 1) * size)]
    return torch.from_numpy(np.stack([pixels for pixels, _ in drawn])), [truth for _, truth in drawn]
