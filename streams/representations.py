"""Events as pictures and volumes: pure functions of a sorted packet, in numpy.

    counts = event_counts(window.events, window.resolution)          # uint32 [2, H, W], row 0 OFF, row 1 ON
    voxels = voxel_grid(window.events, window.resolution, 5, window.start_us, window.end_us)

Every function accepts no events, one event and events of equal time, never writes its input, and raises
ValueError when an event lies outside the resolution. Counts and signed sums are conserved.
"""

from __future__ import annotations

import numpy as np

from streams.types import Events, Resolution

NO_EVENT, LAST_ON, LAST_OFF = 0, 1, 2
"""Values of polarity_image."""


def pixel_index(events: Events, resolution: Resolution) -> np.ndarray:
    """Row-major pixel of each event, intp [n]: y * width + x.

    Raises ValueError when an event lies outside the resolution.
    """
    if len(events) and (events["x"].max() >= resolution.width or events["y"].max() >= resolution.height):
        raise ValueError(f"events reach x={events['x'].max()}, y={events['y'].max()}, which is outside "
                         f"{resolution}; pass the resolution of the sensor or drop these events")
    index = events["y"].astype(np.intp)
    index *= resolution.width
    index += events["x"]
    return index


def event_counts(events: Events, resolution: Resolution) -> np.ndarray:
    """Events per polarity and pixel, uint32 [2, H, W]: row 0 OFF, row 1 ON. The sum is len(events)."""
    pixels = resolution.width * resolution.height
    index = pixel_index(events, resolution)
    index += events["p"] * np.intp(pixels)
    return np.bincount(index, minlength=2 * pixels).astype(np.uint32).reshape(2, *resolution.hw)


def signed_sum(events: Events, resolution: Resolution) -> np.ndarray:
    """ON minus OFF events per pixel, int32 [H, W]."""
    off, on = event_counts(events, resolution).astype(np.int32)
    return on - off


def voxel_grid(events: Events, resolution: Resolution, bins: int, start_us: int, end_us: int) -> np.ndarray:
    """Signed events spread over time, float32 [bins, H, W] (Zhu et al. 2019, arXiv 1812.08156).

    An event at t goes with sign +1 or -1 into the two bins nearest to (bins - 1)(t - start)/(end - start),
    weighted linearly, so the sum over all bins is the signed sum. A span of zero length fills bin 0.
    Raises ValueError for fewer than one bin and for events before start_us or after end_us.
    """
    if bins < 1:
        raise ValueError(f"a voxel grid needs at least one bin, got {bins}")
    t = events["t"]
    if len(t) and (t.min() < start_us or t.max() > end_us):
        raise ValueError(f"events span {t.min()} to {t.max()} µs, outside [{start_us}, {end_us}]; cut them "
                         "first")
    pixels = resolution.width * resolution.height
    index = pixel_index(events, resolution)
    position = (t - start_us) * ((bins - 1) / max(1, end_us - start_us))
    left = position.astype(np.intp)
    share = position - left
    sign = np.where(events["p"], 1.0, -1.0)
    index += left * pixels
    # One spare bin at the end is the right neighbour, of weight 0, of events at the very end.
    grid = np.bincount(index, weights=sign * (1 - share), minlength=(bins + 1) * pixels)
    index += pixels
    grid += np.bincount(index, weights=sign * share, minlength=(bins + 1) * pixels)
    return grid[:bins * pixels].astype(np.float32).reshape(bins, *resolution.hw)


def time_surface(events: Events, resolution: Resolution, t_us: int, tau_us: float) -> np.ndarray:
    """How recently each pixel fired, float32 [2, H, W] in [0, 1] (HOTS, Lagorce et al. 2017).

    exp(-(t_us - last event) / tau_us) per polarity (row 0 OFF, row 1 ON), 0 where no event; events after t_us
    are ignored. Assumes sorted events. Raises ValueError when tau_us is not positive.
    """
    if not tau_us > 0:
        raise ValueError(f"the decay time must be positive, got {tau_us} µs")
    pixels = resolution.width * resolution.height
    index = pixel_index(events, resolution)
    index += events["p"] * np.intp(pixels)
    past = int(np.searchsorted(events["t"], t_us, side="right"))
    surface = np.zeros(2 * pixels, np.float32)
    # Repeated indices keep the last assignment, which is the newest event.
    surface[index[:past]] = np.exp((events["t"][:past] - t_us) / tau_us)
    return surface.reshape(2, *resolution.hw)


def decayed_sum(events: Events, resolution: Resolution, t_us: int, tau_us: float) -> np.ndarray:
    """ON minus OFF events per pixel, each fading as exp(-(t_us - t) / tau_us), float32 [H, W] (a leaky integrator).

    Events after t_us are ignored. With tau_us far above the span it is signed_sum. Assumes sorted events. Raises
    ValueError when tau_us is not positive.
    """
    if not tau_us > 0:
        raise ValueError(f"the decay time must be positive, got {tau_us} µs")
    past = int(np.searchsorted(events["t"], t_us, side="right"))
    weight = np.exp((events["t"][:past] - t_us) / tau_us)
    np.negative(weight, out=weight, where=~events["p"][:past])
    index = pixel_index(events, resolution)[:past]
    total = np.bincount(index, weight, resolution.width * resolution.height)
    return total.astype(np.float32).reshape(resolution.hw)


def polarity_image(events: Events, resolution: Resolution) -> np.ndarray:
    """Last event of each pixel as a palette index, uint8 [H, W]: NO_EVENT, LAST_ON or LAST_OFF.

    Assumes sorted events.
    """
    image = np.zeros(resolution.width * resolution.height, np.uint8)
    image[pixel_index(events, resolution)] = LAST_OFF - events["p"].view(np.uint8)
    return image.reshape(resolution.hw)
