"""What stirs by itself in a place and what gives light there: glints on water, snowfall, swaying grass, lamps.

    atmosphere = Atmosphere(scene, width_px=346, height_px=260)
    atmosphere.stir(image, t_s=0.5, slide=(0, 0))     # by daylight, before the scene's light is applied
    atmosphere.shine(image, t_s=0.5, slide=(0, 0))    # lamps at night, the low sun at dusk

None of it is an object: it is what lets a camera that stands still and sees only changes tell a beach from a park.
"""

from __future__ import annotations

import cv2
import numpy as np

from streams.scenes.world import Scene

Slide = tuple[float, float]
LAMP, SUN = (255.0, 225.0, 165.0), (255.0, 170.0, 90.0)
SPAN = 1.3
"""Things are spread over so many views, so that a panning camera meets some more."""


class Atmosphere:
    """The stirring and shining things of one scene, at places drawn from its seed."""

    def __init__(self, scene: Scene, width_px: int, height_px: int) -> None:
        self.place, self.time = scene.place, scene.time
        self._size = np.array([width_px, height_px], np.float64)
        rng = np.random.default_rng([scene.seed, 17])
        count = int(rng.integers(14, 30))
        self._at = rng.uniform(0, 1, (count, 2))
        self._phase = rng.uniform(0, 2 * np.pi, count)
        self._pace = rng.uniform(0.7, 1.3, count)
        self._tone = rng.uniform(60, 255, (count, 3))
        self._lamps = int(rng.integers(2, 6))
        self._flicker_hz = rng.uniform(4, 8)

    def stir(self, image: np.ndarray, t_s: float, slide: Slide) -> None:
        """Draw what moves by itself in this place into uint8 RGB [H, W, 3]; slide: displacement in pixels."""
        {"beach": self._glints, "snow": self._flakes, "park": self._grass, "street": self._signs,
         "hall": self._tubes}[self.place](image, t_s, slide)

    def shine(self, image: np.ndarray, t_s: float, slide: Slide) -> None:
        """Add the light of lamps at night and of the low sun at dusk to uint8 RGB [H, W, 3]."""
        height = self._size[1]
        if self.time == "night":
            for i in range(self._lamps):
                x, y = self._spot(i, 0.07, 0.3, slide)
                level = 0.75 + 0.25 * np.sin(2 * np.pi * self._flicker_hz * t_s + self._phase[i])
                _glow(image, x, y, height * 0.045 * self._pace[i], LAMP, float(level))
        elif self.time == "dusk" and self.place != "hall":
            x, y = self._spot(0, 0.05, 0.13, slide)
            _glow(image, x, y, height * 0.13, SUN, 0.9)

    def _spot(self, i: int, top: float, bottom: float, slide: Slide) -> tuple[float, float]:
        """Place of thing i in pixels, between two heights of the view."""
        x = (self._at[i, 0] - 0.5) * SPAN + 0.5
        y = top + self._at[i, 1] * (bottom - top)
        return float(x * self._size[0] + slide[0]), float(y * self._size[1] + slide[1])

    def _glints(self, image: np.ndarray, t_s: float, slide: Slide) -> None:
        height = self._size[1]
        for i in range(len(self._at)):
            x, y = self._spot(i, 0.24, 0.39, slide)
            swing = np.sin(2.2 * self._pace[i] * t_s + self._phase[i])
            half = height * 0.03 * (0.4 + abs(swing))
            x += height * 0.03 * swing
            cv2.line(image, (round(x - half), round(y)), (round(x + half), round(y)), (205, 228, 240),
                     max(1, round(height / 110)), cv2.LINE_AA)

    def _flakes(self, image: np.ndarray, t_s: float, slide: Slide) -> None:
        width, height = self._size
        for i in range(len(self._at)):
            fall = (self._at[i, 1] + 0.3 * self._pace[i] * t_s) % 1.0
            drift = 0.02 * np.sin(2 * t_s + self._phase[i])
            x, y = self._at[i, 0] * width + drift * width + slide[0], fall * height + slide[1]
            cv2.circle(image, (round(x), round(y)), max(1, round(height * 0.007)), (255, 255, 255), -1, cv2.LINE_AA)

    def _grass(self, image: np.ndarray, t_s: float, slide: Slide) -> None:
        height = self._size[1]
        for i in range(len(self._at)):
            x, y = self._spot(i, 0.3, 0.98, slide)
            lean = height * 0.02 * np.sin(5.0 * self._pace[i] * t_s + self._phase[i])
            for blade in (-1, 0, 1):
                foot = x + blade * height * 0.012
                tip = round(foot + lean), round(y - height * 0.035)
                cv2.line(image, (round(foot), round(y)), tip, (150, 205, 95), max(1, round(height / 120)), cv2.LINE_AA)

    def _signs(self, image: np.ndarray, t_s: float, slide: Slide) -> None:
        height = self._size[1]
        for i in range(4):
            x, y = self._spot(i, 0.13, 0.2, slide)
            lit = np.sin(2 * np.pi * 1.6 * self._pace[i] * t_s + self._phase[i]) > 0
            tone = tuple(float(v) for v in (self._tone[i] if lit else self._tone[i] * 0.3))
            wide, tall = height * 0.035, height * 0.02
            cv2.rectangle(image, (round(x - wide), round(y - tall)), (round(x + wide), round(y + tall)), tone, -1)

    def _tubes(self, image: np.ndarray, t_s: float, slide: Slide) -> None:
        height = self._size[1]
        for i in range(3):
            x, y = self._spot(i, 0.02, 0.05, slide)
            level = 205 + 50 * np.sin(2 * np.pi * 6 * self._pace[i] * t_s + self._phase[i])
            wide, tall = height * 0.12, height * 0.012
            cv2.rectangle(image, (round(x - wide), round(y - tall)), (round(x + wide), round(y + tall)),
                          (level, level, level * 0.95), -1)


def _glow(image: np.ndarray, x: float, y: float, radius: float, tone: tuple[float, float, float],
          level: float) -> None:
    """Add a round light that fades with distance."""
    x0, y0 = max(0, int(x - 2 * radius)), max(0, int(y - 2 * radius))
    x1, y1 = min(image.shape[1], int(x + 2 * radius) + 1), min(image.shape[0], int(y + 2 * radius) + 1)
    if x1 <= x0 or y1 <= y0:
        return
    across = ((np.arange(x0, x1, dtype=np.float32) - x) / radius)**2
    down = ((np.arange(y0, y1, dtype=np.float32) - y) / radius)**2
    light = np.exp(-1.6 * (across[None] + down[:, None])) * level
    part = image[y0:y1, x0:x1]
    part[:] = np.minimum(255, part + light[..., None] * np.array(tone, np.float32))
