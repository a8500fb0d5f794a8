"""Pictures of a scene at any time and resolution, and their conversion to a Window.

    renderer = Renderer(scene, Resolution(346, 260))
    renderer.frame(0.5).shape                     # (260, 346, 3) uint8 RGB, no sensor noise
    window = render_window(scene, Resolution(346, 260))    # frames and simulated events of [0 s, 1 s)
"""

from __future__ import annotations

import cv2
import numpy as np

from streams.scenes.draw import background, sprite
from streams.scenes.world import Scene, SceneObject
from streams.simulation import EventSimulator, SimulatorParameters
from streams.types import Events, Frame, Resolution, Window

MARGIN = 0.04
"""Background drawn beyond the view on every side, in view heights, for camera shake."""

NIGHT_TINT = np.array([0.92, 0.96, 1.25])


class Renderer:
    """Draws one scene; the background is drawn once."""

    def __init__(self, scene: Scene, resolution: Resolution) -> None:
        self.scene, self.resolution = scene, resolution
        self._margin = max(1, round(MARGIN * resolution.height))
        self._background = background(scene.place, scene.seed, scene.texture,
                                      resolution.width + 2 * self._margin, resolution.height + 2 * self._margin)
        tint = NIGHT_TINT if scene.night else np.ones(3)
        ramp = np.arange(256)[:, None] * (scene.ambient * tint)[None]
        self._light = np.clip(ramp, 0, 255).astype(np.uint8).reshape(1, 256, 3)

    def frame(self, t_s: float) -> np.ndarray:
        """Picture at t_s, uint8 RGB [H, W, 3]."""
        width, height = self.resolution.width, self.resolution.height
        shake_x, shake_y = (height * d for d in self.scene.camera(t_s))
        if shake_x or shake_y:
            move = np.array([[1, 0, shake_x - self._margin], [0, 1, shake_y - self._margin]], np.float32)
            image = cv2.warpAffine(self._background, move, (width, height), flags=cv2.INTER_LINEAR)
        else:
            image = self._background[self._margin:-self._margin, self._margin:-self._margin].copy()
        for thing in self.scene.objects:
            if thing.present(t_s):
                self._paste(image, thing, t_s, shake_x, shake_y)
        return cv2.LUT(image, self._light)

    def _paste(self, image: np.ndarray, thing: SceneObject, t_s: float, shake_x: float, shake_y: float) -> None:
        width, height = self.resolution.width, self.resolution.height
        picture = sprite(thing.cls, thing.colour, thing.flip, max(3, round(thing.size()[1] * height)))
        x, y = thing.centre(t_s)
        left = x * width + shake_x - picture.shape[1] / 2
        top = y * height + shake_y - picture.shape[0] / 2
        x0, y0 = int(np.floor(left)), int(np.floor(top))
        size = (picture.shape[1] + 1, picture.shape[0] + 1)
        shift = np.array([[1, 0, left - x0], [0, 1, top - y0]], np.float32)
        moved = cv2.warpAffine(picture, shift, size, flags=cv2.INTER_LINEAR)
        cut_x0, cut_y0 = max(0, -x0), max(0, -y0)
        cut_x1, cut_y1 = min(size[0], width - x0), min(size[1], height - y0)
        if cut_x1 <= cut_x0 or cut_y1 <= cut_y0:
            return
        part = moved[cut_y0:cut_y1, cut_x0:cut_x1]
        under = image[y0 + cut_y0:y0 + cut_y1, x0 + cut_x0:x0 + cut_x1]
        under[:] = under * (1 - part[..., 3:]) + part[..., :3]


def render_frames(scene: Scene, resolution: Resolution, times_s: np.ndarray, noise_sigma: float = 0.0,
                  seed: int = 0, clock_us: int = 0) -> list[Frame]:
    """Frames at times_s with Gaussian sensor noise of noise_sigma grey levels; exposure 5 ms."""
    renderer = Renderer(scene, resolution)
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
    """Add Gaussian noise of sigma grey levels to a uint8 image, drawn as a random stretch of one long table."""
    offset = int(rng.integers(0, len(_NOISE) - image.size))
    noise = _NOISE[offset:offset + image.size].reshape(image.shape)
    return cv2.add(image, noise * np.float32(sigma), dtype=cv2.CV_8U)


def simulate_events(scene: Scene, resolution: Resolution, start_s: float, end_s: float, rate_hz: float = 60.0,
                    parameters: SimulatorParameters | None = None, seed: int = 0) -> Events:
    """Events of [start_s, end_s), simulated from pictures rendered at rate_hz."""
    renderer = Renderer(scene, resolution)
    simulator = EventSimulator(resolution, parameters or SimulatorParameters(), seed=seed)
    steps = max(1, round((end_s - start_s) * rate_hz))
    packets = [simulator.step(renderer.frame(float(t)), round(float(t) * 1e6))
               for t in np.linspace(start_s, end_s, steps + 1)]
    events = np.concatenate(packets)
    return events[events["t"] < round(end_s * 1e6)]


def render_window(scene: Scene, resolution: Resolution, start_s: float = 0.0, end_s: float = 1.0,
                  frame_rate_hz: float = 10.0, noise_sigma: float = 0.0, seed: int = 0) -> Window:
    """A window with frames and simulated events of the same scene, as a recording of it would give."""
    count = max(1, round((end_s - start_s) * frame_rate_hz))
    times_s = start_s + (np.arange(count) + 0.5) / frame_rate_hz
    frames = render_frames(scene, resolution, times_s, noise_sigma, seed)
    events = simulate_events(scene, resolution, start_s, end_s, seed=seed)
    return Window(round(start_s * 1e6), round(end_s * 1e6), events, frames, resolution,
                  events_origin="rendered", frames_origin="rendered")
