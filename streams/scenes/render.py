"""Pictures of a scene at any time and resolution, and their conversion to a Window.

    renderer = Renderer(scene, Resolution(346, 260))
    renderer.frame(0.5).shape                     # (260, 346, 3) uint8 RGB, no sensor noise
    window = render_window(scene, Resolution(346, 260))    # frames and simulated events of [0 s, 1 s)
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from streams.scenes.atmosphere import Atmosphere
from streams.scenes.backgrounds import background
from streams.scenes.sprites import sprite
from streams.scenes.world import FLYERS, LONGEST_S, Scene, SceneObject
from streams.simulation import EventSimulator, SimulatorParameters
from streams.types import Events, Frame, Resolution, Window

MARGIN = 0.04
"""Background drawn beyond the view on every side, in view heights, for camera shake; a pan adds its own way."""

TINTS = {"day": (1.0, 1.0, 1.0), "dusk": (1.22, 0.95, 0.82), "night": (0.92, 0.96, 1.25)}
SHADOWS = {"day": (0.3, 0.0), "dusk": (0.4, 1.7), "night": (0.0, 0.0)}
"""Share of light that the shadow of a thing on the ground takes, and how far it falls aside in heights of the thing."""

INK = 12
"""A drawing without more colour than this, in grey levels, is an ink drawing and gets ink and paper of a colour."""

Drawings = Mapping[tuple[str, str], np.ndarray]
"""(style, class) -> uint8 RGBA [S, S, 4]: the icon pictures that a scene with drawings needs."""


class Renderer:
    """Draws one scene; the background is drawn once."""

    def __init__(self, scene: Scene, resolution: Resolution, drawings: Drawings | None = None) -> None:
        self.scene, self.resolution, self._drawings = scene, resolution, drawings or {}
        width, height = resolution.width, resolution.height
        shake = MARGIN * height if scene.shake else 0.0
        self._margin = (int(np.ceil(shake + abs(scene.pan_x) * width * LONGEST_S)) + 1,
                        int(np.ceil(shake + abs(scene.pan_y) * height * LONGEST_S)) + 1)
        self._background = background(scene.place, scene.seed, scene.texture, scene.clutter,
                                      width + 2 * self._margin[0], height + 2 * self._margin[1])
        ramp = np.arange(256)[:, None] * (scene.ambient * np.array(TINTS[scene.time]))[None]
        self._light = np.clip(ramp, 0, 255).astype(np.uint8).reshape(1, 256, 3)
        self._atmosphere = Atmosphere(scene, width, height)
        self._pictures = [self._picture(thing) for thing in scene.objects]

    def frame(self, t_s: float) -> np.ndarray:
        """Picture at t_s, uint8 RGB [H, W, 3]."""
        width, height = self.resolution.width, self.resolution.height
        pan, shake = self.scene.panned(t_s), self.scene.shaken(t_s)
        slide = (pan[0] * width + shake[0] * height, pan[1] * height + shake[1] * height)
        if any(slide):
            move = np.array([[1, 0, slide[0] - self._margin[0]], [0, 1, slide[1] - self._margin[1]]], np.float32)
            image = cv2.warpAffine(self._background, move, (width, height), flags=cv2.INTER_LINEAR,
                                   borderMode=cv2.BORDER_REPLICATE)
        else:
            image = self._background[self._margin[1]:self._margin[1] + height,
                                     self._margin[0]:self._margin[0] + width].copy()
        self._atmosphere.stir(image, t_s, slide)
        for thing, picture in zip(self.scene.objects, self._pictures, strict=True):
            if thing.present(t_s):
                self._paste(image, thing, picture, t_s, slide)
        image = cv2.LUT(image, self._light)
        self._atmosphere.shine(image, t_s, slide)
        return image

    def _picture(self, thing: SceneObject) -> np.ndarray:
        """Premultiplied RGBA float32 of an object as large as at its reference time."""
        height_px = max(3, round(thing.size(thing.t_ref_s)[1] * self.resolution.height))
        if thing.style is None:
            assert thing.colour is not None
            picture = sprite(thing.cls, thing.colour, thing.look, height_px)
        else:
            picture = _turned(self._drawings[thing.style, thing.cls], thing.look, height_px)
        return np.ascontiguousarray(picture[:, ::-1]) if thing.flip else picture

    def _paste(self, image: np.ndarray, thing: SceneObject, picture: np.ndarray, t_s: float,
               slide: tuple[float, float]) -> None:
        width, height = self.resolution.width, self.resolution.height
        zoom = thing.size(t_s)[1] / thing.size(thing.t_ref_s)[1]
        wide, tall = picture.shape[1] * zoom, picture.shape[0] * zoom
        x, y = thing.centre(t_s)
        left, top = x * width + slide[0] - wide / 2, y * height + slide[1] - tall / 2
        x0, y0 = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
        x1, y1 = min(width, int(np.ceil(left + wide)) + 1), min(height, int(np.ceil(top + tall)) + 1)
        if x1 <= x0 or y1 <= y0:
            return
        move = np.array([[zoom, 0, left - x0], [0, zoom, top - y0]], np.float32)
        part = cv2.warpAffine(picture, move, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
        if thing.style is None and thing.cls not in FLYERS:
            dark, aside = SHADOWS[self.scene.time]
            if aside and self.scene.seed % 2:
                aside = -aside
            if dark:
                _shade(image, (left + wide / 2, top + tall), wide / 2, tall, dark, aside * tall)
        under = image[y0:y1, x0:x1]
        under[:] = under * (1 - part[..., 3:]) + part[..., :3]


def _shade(image: np.ndarray, foot: tuple[float, float], half_wide: float, tall: float, dark: float,
           aside: float) -> None:
    """Darken the ground by `dark` under a thing that stands on foot (x, y in pixels), falling `aside` pixels far."""
    half_wide, centre, down = half_wide + abs(aside) / 2, foot[0] + aside / 2, max(1.0, 0.09 * tall)
    x0, x1 = max(0, int(centre - half_wide)), min(image.shape[1], int(centre + half_wide) + 2)
    y0, y1 = max(0, int(foot[1] - down)), min(image.shape[0], int(foot[1] + down) + 2)
    if x1 <= x0 or y1 <= y0:
        return
    x = (np.arange(x0, x1, dtype=np.float32) - np.float32(centre)) / np.float32(half_wide)
    y = (np.arange(y0, y1, dtype=np.float32) - np.float32(foot[1])) / np.float32(down)
    shadow = np.clip((1 - x[None]**2 - y[:, None]**2) * 2, 0, 1) * np.float32(dark)
    under = image[y0:y1, x0:x1]
    under[:] = under * (1 - shadow[..., None])


def _turned(drawing: np.ndarray, look: int, height_px: int) -> np.ndarray:
    """A drawing as held before the camera: turned and slanted a little, in other inks and uneven light.

    Premultiplied float32 RGBA.
    """
    rng = np.random.default_rng(look)
    picture = drawing.astype(np.float32)
    grey = picture[..., :3].mean(-1, keepdims=True)
    if np.abs(picture[..., :3] - grey).max() < INK:
        ink, paper = rng.uniform(0, 110, 3), rng.uniform(120, 255, 3)
        picture[..., :3] = ink + (paper - ink) * grey / 255
        grey = picture[..., :3].mean(-1, keepdims=True)
    picture[..., :3] = np.clip((grey + (picture[..., :3] - grey) * float(rng.uniform(0.5, 1.25))) * rng.uniform(
        0.75, 1.2, 3).astype(np.float32) + float(rng.normal(0, 12)), 0, 255)
    picture[..., 3] /= 255
    picture[..., :3] *= picture[..., 3:]
    side = picture.shape[0]
    stretch = float(rng.uniform(0.88, 1.12))
    shrink = height_px / side
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.normal(0, 9)), 1.0)
    slant = float(rng.normal(0, 0.1))
    turn = np.array([[stretch * shrink, slant * shrink], [0, shrink]]) @ turn
    turn[0, 2] -= slant * shrink * side / 2
    blurred = cv2.GaussianBlur(picture, (0, 0), 0.45 / shrink) if shrink < 0.8 else picture
    size = (max(3, round(side * stretch * shrink)), max(3, height_px))
    small = cv2.warpAffine(blurred, turn, size, flags=cv2.INTER_LINEAR)
    ramp = np.linspace(-1, 1, size[0])[None] * rng.normal(0, 0.1) + np.linspace(-1, 1, size[1])[:, None] * rng.normal(
        0, 0.1)
    small[..., :3] *= ((1 + ramp) * rng.uniform(0.8, 1.05)).astype(np.float32)[..., None]
    return np.clip(small, 0, 255)


def render_frames(scene: Scene, resolution: Resolution, times_s: np.ndarray, noise_sigma: float = 0.0,
                  seed: int = 0, clock_us: int = 0, drawings: Drawings | None = None) -> list[Frame]:
    """Frames at times_s with Gaussian sensor noise of noise_sigma grey levels; exposure 5 ms."""
    renderer = Renderer(scene, resolution, drawings)
    rng = np.random.default_rng([seed, 5])
    frames = []
    for t_s in times_s:
        image = renderer.frame(float(t_s))
        if noise_sigma > 0:
            image = add_noise(image, noise_sigma, rng)
        frames.append(Frame(clock_us + round(float(t_s) * 1e6), 5000, image))
    return frames


_NOISE = np.random.default_rng(0).standard_normal(1 << 21).astype(np.float32)


def add_noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise of sigma grey levels to a uint8 image, drawn as random stretches of one long table."""
    noise = np.empty(image.size, np.float32)
    for start in range(0, image.size, 1 << 20):
        part = noise[start:start + (1 << 20)]
        offset = int(rng.integers(0, len(_NOISE) - len(part)))
        part[:] = _NOISE[offset:offset + len(part)]
    return cv2.add(image, noise.reshape(image.shape) * np.float32(sigma), dtype=cv2.CV_8U)


def simulate_events(scene: Scene, resolution: Resolution, start_s: float, end_s: float, rate_hz: float = 60.0,
                    parameters: SimulatorParameters | None = None, seed: int = 0,
                    drawings: Drawings | None = None) -> Events:
    """Events of [start_s, end_s), simulated from pictures rendered at rate_hz."""
    renderer = Renderer(scene, resolution, drawings)
    simulator = EventSimulator(resolution, parameters or SimulatorParameters(), seed=seed)
    steps = max(1, round((end_s - start_s) * rate_hz))
    packets = [simulator.step(renderer.frame(float(t)), round(float(t) * 1e6))
               for t in np.linspace(start_s, end_s, steps + 1)]
    events = np.concatenate(packets)
    return events[events["t"] < round(end_s * 1e6)]


def render_window(scene: Scene, resolution: Resolution, start_s: float = 0.0, end_s: float = 1.0,
                  frame_rate_hz: float = 10.0, noise_sigma: float = 0.0, seed: int = 0,
                  parameters: SimulatorParameters | None = None, drawings: Drawings | None = None) -> Window:
    """A window with frames and simulated events of the same scene, as a recording of it would give."""
    count = max(1, round((end_s - start_s) * frame_rate_hz))
    times_s = start_s + (np.arange(count) + 0.5) / frame_rate_hz
    frames = render_frames(scene, resolution, times_s, noise_sigma, seed, drawings=drawings)
    events = simulate_events(scene, resolution, start_s, end_s, parameters=parameters, seed=seed, drawings=drawings)
    return Window(round(start_s * 1e6), round(end_s * 1e6), events, frames, resolution,
                  events_origin="rendered", frames_origin="rendered")
