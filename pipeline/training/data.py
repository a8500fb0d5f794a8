"""Training examples: random scenes as preprocessed windows with their truth.

    example = make("rgb", seed=7, icons={})    # (pixels float32 [19, 128, 128], Observation)

Seeds below TRAIN_SEEDS are never drawn in training: evaluation uses them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.inputs import CAMERA_WAY_X, FRAMES, LONGEST_US, SHORTEST_US, event_input, rgb_input
from streams.reconstruction import reconstructed_frames
from streams.scenes.generate import changing, random_scene, scene_before
from streams.scenes.render import Drawings, render_frames, simulate_events
from streams.scenes.world import Observation, ObservedObject, Scene, observe
from streams.simulation import SimulatorParameters
from streams.types import Frame, Resolution, Window, empty_packet

TRAIN_SEEDS = 1_000_000
"""First seed of the training split; evaluation draws its scenes below."""

RESOLUTIONS = (Resolution(173, 130), Resolution(128, 128), Resolution(213, 120), Resolution(240, 180),
               Resolution(346, 260))
RESOLUTION_SHARES = (0.68, 0.1, 0.1, 0.08, 0.04)
"""Mostly small pictures, because they are cheap to render; both models see fractions of the view only."""

DRAWN_SHARE = 0.45
"""Share of training scenes with drawings in them."""

SPOILS = {"grey": 0.16, "tint": 0.2, "dim": 0.16, "blur": 0.14, "lost": 0.14, "reconstructed": 0.2}
SPOILT_SHARE = 0.36
COLOURLESS = ("grey", "reconstructed")
MIRRORED = {"left": "right", "right": "left"}

Example = tuple[np.ndarray, Observation]


@dataclass(frozen=True)
class Shot:
    """A scene as a camera records it: its picture size, the length of the window and where it begins."""

    scene: Scene
    resolution: Resolution
    length_s: float
    start_s: float = 0.0

    @property
    def end_s(self) -> float:
        """Where the window ends."""
        return self.start_s + self.length_s

    @property
    def truth(self) -> Observation:
        """What there is to say about it."""
        return observe(self.scene, self.start_s, self.end_s, self.resolution.aspect)


def any_length_s(rng: np.random.Generator) -> float:
    """A length of window that the pair is made for, short ones as likely as long ones."""
    return float(np.exp(rng.uniform(np.log(SHORTEST_US), np.log(LONGEST_US)))) / 1e6


def shot_of(seed: int, icons: Drawings) -> Shot:
    """The training shot of a seed."""
    rng = np.random.default_rng([seed, 20])
    resolution = RESOLUTIONS[rng.choice(len(RESOLUTIONS), p=RESOLUTION_SHARES)]
    length_s = 1.0
    if rng.random() < 0.4:
        length_s = any_length_s(rng)
    styles: dict[str, list[str]] = {}
    if icons and rng.random() < DRAWN_SHARE:
        for style, cls in icons:
            styles.setdefault(cls, []).append(style)
    scene = random_scene(seed, length_s, styles, resolution.aspect)
    return Shot(scene, resolution, length_s)


def shots_of(seed: int, icons: Drawings) -> tuple[Shot, Shot | None]:
    """The training shot of a seed, but things may come and go as it begins, and the shot before it (None: that one's
    truth would not be beyond doubt)."""
    plain = shot_of(seed, icons)
    shot = replace(plain, scene=changing(plain.scene, seed))
    before = scene_before(shot.scene, shot.length_s, shot.resolution.aspect)
    return shot, None if before is None else replace(shot, scene=before, start_s=-shot.length_s)


def truth_of(modality: str, seed: int, icons: Drawings) -> Observation:
    """What the truth about make(modality, seed, icons) is, without making it."""
    truth = shot_of(seed, icons).truth
    if modality == "rgb" and _spoil_of(np.random.default_rng([seed, 21])) in COLOURLESS:
        return without_colours(truth)
    return truth


def make(modality: str, seed: int, icons: Drawings) -> Example:
    """A training scene as one model sees it; the truth holds no colour where the picture has none."""
    return recorded(modality, shot_of(seed, icons), seed, icons)


def recorded(modality: str, shot: Shot, seed: int, icons: Drawings) -> Example:
    """A shot as one model sees it; what befalls the frames and how noisy the sensor is depend on the seed alone."""
    return rgb_example(shot, seed, icons) if modality == "rgb" else event_example(shot, seed, icons)


def rgb_example(shot: Shot, seed: int, icons: Drawings) -> Example:
    """Frames with noise and, in a third of the scenes, grey, tints, blur, lost frames or frames made of events."""
    rng = np.random.default_rng([seed, 21])
    truth, spoil = shot.truth, _spoil_of(rng)
    if spoil == "reconstructed":
        frames = _reconstructed(shot, rng, icons)
    else:
        rate_hz = float(rng.uniform(15, 60))
        times_s = shot.start_s + (np.arange(FRAMES) + 0.5) * shot.length_s / FRAMES
        times_s = np.clip((np.round(times_s * rate_hz) + rng.uniform(-0.5, 0.5)) / rate_hz, shot.start_s, shot.end_s)
        sigma = float(rng.uniform(0, 8)) if rng.random() < 0.7 else float(rng.uniform(8, 26))
        frames = render_frames(shot.scene, shot.resolution, np.unique(times_s), sigma, _noise_seed(shot, seed),
                               drawings=icons)
        frames = _spoil(frames, spoil, rng)
    window = Window(round(shot.start_s * 1e6), round(shot.end_s * 1e6), empty_packet(), frames, shot.resolution)
    return rgb_input(window), without_colours(truth) if spoil in COLOURLESS else truth


def _noise_seed(shot: Shot, seed: int) -> int:
    return seed if shot.start_s == 0 else seed + (1 << 40)


def _spoil_of(rng: np.random.Generator) -> str:
    """What befalls the frames of an example, drawn first from its generator; empty for most."""
    return str(rng.choice(list(SPOILS), p=list(SPOILS.values()))) if rng.random() < SPOILT_SHARE else ""


def without_colours(truth: Observation) -> Observation:
    """The same truth for somebody who sees no colours."""
    return replace(truth, objects=tuple(replace(thing, colour=None) for thing in truth.objects))


def _reconstructed(shot: Shot, rng: np.random.Generator, icons: Drawings) -> list[Frame]:
    warm_up_s = 0.3
    events = simulate_events(shot.scene, shot.resolution, shot.start_s - warm_up_s, shot.end_s, 24.0, sensor(rng),
                             int(rng.integers(1 << 30)), icons)
    times_s = shot.start_s + (np.arange(FRAMES) + 0.5) * shot.length_s / FRAMES
    return reconstructed_frames(events, shot.resolution, np.round(times_s * 1e6).astype(np.int64))


def sensor(rng: np.random.Generator) -> SimulatorParameters:
    """An event sensor of training: thresholds, mismatch and noise of its own."""
    noisy = rng.random() < 0.25
    return SimulatorParameters(
        threshold_on=float(rng.uniform(0.15, 0.38)), threshold_off=float(rng.uniform(0.15, 0.38)),
        mismatch=float(rng.uniform(0.01, 0.05)), leak_hz=float(rng.uniform(0, 0.5 if noisy else 0.2)),
        shot_noise_hz=float(rng.uniform(0.8, 2.5) if noisy else rng.uniform(0.02, 0.8)))


def _spoil(frames: list[Frame], kind: str, rng: np.random.Generator) -> list[Frame]:
    images = [frame.image for frame in frames]
    if kind == "grey":
        images = [np.repeat(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY)[..., None], 3, -1) for i in images]
    elif kind in ("tint", "dim"):
        gain = rng.uniform(0.8, 1.2, 3) if kind == "tint" else np.full(3, rng.uniform(0.35, 1.2))
        table = np.clip(np.arange(256)[:, None] * gain, 0, 255).astype(np.uint8).reshape(1, 256, 3)
        images = [cv2.LUT(i, table) for i in images]
    elif kind == "blur":
        images = [cv2.GaussianBlur(i, (0, 0), float(rng.uniform(0.5, 1.2))) for i in images]
    elif kind == "lost":
        count = min(len(images) - 1, int(rng.integers(1, 6)))
        kept = sorted(rng.choice(len(frames), len(frames) - count, replace=False))
        return [frames[i] for i in kept]
    return [Frame(f.t_us, f.exposure_us, i) for f, i in zip(frames, images, strict=True)]


def event_example(shot: Shot, seed: int, icons: Drawings) -> Example:
    """Events of a sensor with varied thresholds, mismatch and noise rates. The truth keeps its colours: the drafter
    guesses what the RGB model will say."""
    rng = np.random.default_rng([seed, 22])
    rate_hz = float(rng.uniform(18, 30)) / max(0.6, shot.length_s**0.5)
    events = simulate_events(shot.scene, shot.resolution, shot.start_s, shot.end_s, rate_hz, sensor(rng),
                             _noise_seed(shot, seed), icons)
    window = Window(round(shot.start_s * 1e6), round(shot.end_s * 1e6), events, [], shot.resolution)
    return event_input(window), shot.truth


def mirrored(modality: str, example: Example) -> Example:
    """The same scene seen in a mirror: another example for the price of none."""
    pixels, truth = example
    pixels = np.ascontiguousarray(pixels[..., ::-1])
    if modality == "rgb":
        pixels[CAMERA_WAY_X] *= -1
    return pixels, replace(truth, objects=tuple(map(_mirrored, truth.objects)))


def _mirrored(thing: ObservedObject) -> ObservedObject:
    x0, y0, x1, y1 = thing.box
    return replace(thing, x=1 - thing.x, vx=-thing.vx, box=(1 - x1, y0, 1 - x0, y1),
                   direction=MIRRORED.get(thing.direction, thing.direction))


def batch(modality: str, step: int, size: int, icons: Drawings) -> tuple[Tensor, list[Observation]]:
    """The batch of a training step: pixels [size, C, 128, 128] and truths; the same step gives the same batch.

    The second half are the mirror images of the first.
    """
    half = size // 2
    drawn = [make(modality, TRAIN_SEEDS + step * half + i, icons) for i in range(half)]
    drawn += [mirrored(modality, example) for example in drawn]
    return torch.from_numpy(np.stack([pixels for pixels, _ in drawn])), [truth for _, truth in drawn]
