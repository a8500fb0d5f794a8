"""Events from frames: what an event camera would have reported between two pictures.

    simulator = EventSimulator(Resolution(346, 260), seed=1)
    simulator.step(image0, t_us=0)                 # the first picture only sets the reference: no events
    events = simulator.step(image1, t_us=33_333)   # sorted by t

Model: log intensity, linear below `linear_below` grey levels (lin-log, Katz et al. 2012 / v2e, Hu et al. 2021);
an event each time it moves by the pixel's own threshold, with the time interpolated linearly between the
pictures (ESIM, Rebecq et al. 2018); refractory period, leak events and shot noise, which is stronger in
the dark (v2e).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from streams.types import EVENT_DTYPE, Events, Resolution, empty_packet

SHOT_NOISE_IN_LIGHT = 0.25
"""Shot noise of the brightest pixel as a share of the darkest one's (v2e, Hu et al. 2021)."""


@dataclass(frozen=True)
class SimulatorParameters:
    """Parameters of the model.

    threshold_on / threshold_off: change of natural log intensity per event. mismatch: standard deviation of
    the threshold between pixels, same unit. refractory_us: dead time of a pixel after an event.
    leak_hz: rate of spontaneous ON events per pixel. shot_noise_hz: rate of random events of a dark pixel.
    linear_below: grey level (0..255) under which the response is linear.
    """

    threshold_on: float = 0.2
    threshold_off: float = 0.2
    mismatch: float = 0.03
    refractory_us: int = 500
    leak_hz: float = 0.1
    shot_noise_hz: float = 0.3
    linear_below: float = 20.0

    def __post_init__(self) -> None:
        if min(self.threshold_on, self.threshold_off) < 0.02:
            raise ValueError(f"thresholds must be at least 0.02 log units, got {self.threshold_on} and "
                             f"{self.threshold_off}")


def log_response(linear_below: float) -> np.ndarray:
    """Table float32 [256] of the pixel's response to a grey level: logarithmic, linear below `linear_below`."""
    grey = np.arange(256, dtype=np.float64)
    linear = grey * np.log(linear_below) / linear_below
    return np.where(grey <= linear_below, linear, np.log(np.maximum(grey, 1))).astype(np.float32)


class EventSimulator:
    """Turns pictures of one size into events; keeps the state of every pixel between calls."""

    def __init__(self, resolution: Resolution, parameters: SimulatorParameters | None = None, seed: int = 0) -> None:
        self.resolution = resolution
        self.parameters = parameters or SimulatorParameters()
        self._rng = np.random.default_rng(seed)
        shape = resolution.hw
        spread = self._rng.standard_normal((2, *shape)) * self.parameters.mismatch
        self._on = np.maximum(0.01, self.parameters.threshold_on + spread[0]).astype(np.float32)
        self._off = np.maximum(0.01, self.parameters.threshold_off + spread[1]).astype(np.float32)
        self._table = log_response(self.parameters.linear_below)
        self._reference: np.ndarray | None = None
        self._previous = np.zeros(shape, np.float32)
        self._grey = np.zeros(shape, np.uint8)
        self._previous_us = 0
        self._last_event_us = np.full(shape[0] * shape[1], -(1 << 60), np.int64)

    def step(self, image: np.ndarray, t_us: int) -> Events:
        """Events after the previous picture up to this one, sorted by t.

        image: uint8 [H, W] grey or [H, W, 3] RGB of the simulator's resolution; t_us must increase.
        Raises ValueError for another size or a time that does not increase.
        """
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
        if grey.shape != self.resolution.hw:
            raise ValueError(f"expected a picture of {self.resolution}, got {grey.shape[1]}x{grey.shape[0]}")
        level, self._grey = self._table[grey], grey
        if self._reference is None:
            self._reference = level + self._rng.uniform(-0.5, 0.5, level.shape).astype(np.float32) * self._on
            self._previous, self._previous_us = level, t_us
            return empty_packet()
        duration_us = t_us - self._previous_us
        if duration_us <= 0:
            raise ValueError(f"pictures must come in order of time, got {t_us} after {self._previous_us} µs")
        pixel, time_us, polarity = self._crossings(level, duration_us)
        pixel, time_us, polarity = self._add_shot_noise(pixel, time_us, polarity, duration_us)
        self._previous, self._previous_us = level, t_us
        return self._assemble(pixel, time_us, polarity)

    def _crossings(self, level: np.ndarray, duration_us: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Threshold crossings of all pixels: pixel index, time µs, polarity."""
        assert self._reference is not None
        if self.parameters.leak_hz:
            self._reference -= self._on * np.float32(self.parameters.leak_hz * duration_us * 1e-6)
        change = level - self._reference
        active = np.flatnonzero((change >= self._on) | (change <= -self._off))
        polarity = change.ravel()[active] > 0
        step = np.where(polarity, self._on.ravel()[active], -self._off.ravel()[active])
        count = (change.ravel()[active] / step).astype(np.int64)
        reference = self._reference.ravel()[active]
        self._reference.ravel()[active] = reference + count.astype(np.float32) * step

        each = np.repeat(np.arange(len(active)), count)
        nth = np.arange(len(each)) - (np.cumsum(count) - count)[each] + 1
        before = self._previous.ravel()[active]
        span = level.ravel()[active] - before
        span = np.where(np.abs(span) < 1e-6, np.float32(1e-6), span)
        fraction = np.clip((reference[each] + nth * step[each] - before[each]) / span[each], 0, 1)
        time_us = self._previous_us + (fraction * duration_us).astype(np.int64)
        keep = self._outside_dead_time(active[each], time_us, nth)
        return active[each][keep], time_us[keep], polarity[each][keep]

    def _outside_dead_time(self, pixel: np.ndarray, time_us: np.ndarray, nth: np.ndarray) -> np.ndarray:
        """Which events the dead time after a pixel's last event lets through, bool [n]; nth counts from 1 per pixel."""
        keep = np.ones(len(pixel), bool)
        before_us = np.empty(len(pixel), np.int64)
        before_us[1:] = time_us[:-1]
        before_us[nth == 1] = self._last_event_us[pixel[nth == 1]]
        crowded = np.zeros(len(self._last_event_us), bool)
        crowded[pixel[time_us - before_us < self.parameters.refractory_us]] = True
        certain = ~crowded[pixel]
        doubtful = np.flatnonzero(~certain)
        self._last_event_us[pixel[certain]] = time_us[certain]
        # an event that is not let through starts no dead time, so the rest goes one event per pixel at a time
        for k in range(1, int(nth[doubtful].max(initial=0)) + 1):
            now = doubtful[nth[doubtful] == k]
            keep[now] = time_us[now] - self._last_event_us[pixel[now]] >= self.parameters.refractory_us
            passed = now[keep[now]]
            self._last_event_us[pixel[passed]] = time_us[passed]
        return keep

    def _add_shot_noise(self, pixel: np.ndarray, time_us: np.ndarray, polarity: np.ndarray,
                        duration_us: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pixels = self.resolution.width * self.resolution.height
        count = int(self._rng.poisson(self.parameters.shot_noise_hz * duration_us * 1e-6 * pixels))
        if not count:
            return pixel, time_us, polarity
        noisy = self._rng.integers(0, pixels, count)
        light = self._grey.ravel()[noisy] * np.float32((1 - SHOT_NOISE_IN_LIGHT) / 255)
        noisy = noisy[self._rng.random(count, np.float32) >= light]
        noise_us = self._previous_us + self._rng.integers(0, duration_us, len(noisy))
        return (np.concatenate([pixel, noisy]), np.concatenate([time_us, noise_us]),
                np.concatenate([polarity, self._rng.random(len(noisy)) < 0.5]))

    def _assemble(self, pixel: np.ndarray, time_us: np.ndarray, polarity: np.ndarray) -> Events:
        order = np.argsort(time_us, kind="stable")
        events = np.empty(len(order), EVENT_DTYPE)
        events["t"], events["p"] = time_us[order], polarity[order]
        events["y"], events["x"] = np.divmod(pixel[order], self.resolution.width)
        return events
