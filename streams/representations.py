"""Events as pictures, volumes and points: pure functions of a sorted packet, in numpy.

    counts = event_counts(window.events, window.resolution)          # uint32 [2, H, W], row 0 OFF, row 1 ON
    voxels = voxel_grid(window.events, window.resolution, 5, window.start_us, window.end_us)

Every function accepts no events, one event and events of equal time, never writes its input, and raises
ValueError when an event lies outside the resolution. Counts and signed sums are conserved. pipeline.representations
has the same on tensors, with the same results; intensity from events is streams.reconstruction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias, get_args

import numpy as np

from streams.types import EVENT_DTYPE, Events, Resolution

NO_EVENT, ON, OFF = 0, 1, 2
"""Values of polarity_image."""

Conflict: TypeAlias = Literal["positive", "last", "negative"]
CONFLICTS: tuple[str, ...] = get_args(Conflict)
"""What a pixel shows that saw both polarities: ON wins, the last event wins, OFF wins."""

PLACE = np.dtype({"names": ["xy"], "formats": ["<u4"], "offsets": [8], "itemsize": EVENT_DTYPE.itemsize})
"""An event's x and y as one number, y in the upper half."""
PART = 16_384
"""Events that are drawn at a time: their indices stay in the processor's cache (measured: twice as fast as all at
once)."""


def pixel_index(events: Events, resolution: Resolution) -> np.ndarray:
    """Row-major pixel of each event, intp [n]: y * width + x.

    Raises ValueError when an event lies outside the resolution.
    """
    return _pixels(events, resolution).astype(np.intp)


def _pixels(events: Events, resolution: Resolution) -> np.ndarray:
    """pixel_index as unsigned numbers [n] that have room for twice as many pixels."""
    wide = 2 * resolution.width * resolution.height > np.iinfo(np.uint32).max
    place: np.ndarray = events.view(PLACE)["xy"].astype(np.uint64 if wide else np.uint32)
    row = place >> 16
    if len(place):
        x, y = int((place & 0xFFFF).max()), int(row.max())
        if x >= resolution.width or y >= resolution.height:
            raise ValueError(f"events reach x={x}, y={y}, which is outside {resolution}; pass the resolution of the "
                             "sensor or drop these events")
    row *= (1 << 16) - resolution.width
    place -= row
    return place


def _polarity_pixels(events: Events, resolution: Resolution) -> np.ndarray:
    """Where each event counts in [2, H, W], intp [n]: row 0 OFF, row 1 ON."""
    index = _pixels(events, resolution)
    on = events["p"].astype(index.dtype)
    on *= resolution.width * resolution.height
    index += on
    return index.astype(np.intp)


def _parts(events: Events) -> Iterator[Events]:
    return (events[start:start + PART] for start in range(0, len(events), PART))


def event_counts(events: Events, resolution: Resolution) -> np.ndarray:
    """Events per polarity and pixel, uint32 [2, H, W]: row 0 OFF, row 1 ON. The sum is len(events)."""
    index = _polarity_pixels(events, resolution)
    counts = np.bincount(index, minlength=2 * resolution.width * resolution.height)
    return counts.astype(np.uint32).reshape(2, *resolution.hw)


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
    index = _polarity_pixels(events, resolution)
    past = int(np.searchsorted(events["t"], t_us, side="right"))
    surface = np.zeros(2 * resolution.width * resolution.height, np.float32)
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


def polarity_image(events: Events, resolution: Resolution, conflict: Conflict = "last") -> np.ndarray:
    """What each pixel saw as a palette index, uint8 [H, W]: NO_EVENT, ON or OFF.

    conflict: which one a pixel with both shows. Assumes sorted events.
    """
    pixels = resolution.width * resolution.height
    if conflict == "last":
        image = np.zeros(pixels, np.uint8)
        for part in _parts(events):
            # Repeated indices keep the last assignment, which is the newest event.
            image[pixel_index(part, resolution)] = OFF - part["p"].view(np.uint8)
        return image.reshape(resolution.hw)
    seen = np.zeros(2 * pixels, bool)
    for part in _parts(events):
        seen[_polarity_pixels(part, resolution)] = True
    off, on = seen.reshape(2, *resolution.hw)
    winning, losing = ((on, ON), (off, OFF)) if conflict == "positive" else ((off, OFF), (on, ON))
    shown: np.ndarray = (losing[0] & ~winning[0]) * np.uint8(losing[1])
    shown += winning[0] * np.uint8(winning[1])
    return shown


def space_time_points(events: Events, resolution: Resolution, start_us: int, end_us: int,
                      most: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Events as points of a cloud: float32 [n, 3] of x, y and t from 0 to 1, and their polarity, bool [n].

    x and y are pixel centres over the longer side of the sensor, so that shapes keep their form; t is the share of
    [start_us, end_us) that had passed. Events outside of it are left out; of more than `most`, every so many-th stays.
    Raises ValueError for an empty span and for fewer than one point.
    """
    if end_us <= start_us or most < 1:
        raise ValueError(f"points need a span of time and room for one, got [{start_us}, {end_us}) and {most}")
    pixel_index(events, resolution)
    first, stop = np.searchsorted(events["t"], (start_us, end_us))
    events = events[first:stop:max(1, -(-(stop - first) // most))]
    side = max(resolution.hw)
    points = np.empty((len(events), 3), np.float32)
    points[:, 0], points[:, 1] = (events["x"] + 0.5) / side, (events["y"] + 0.5) / side
    points[:, 2] = (events["t"] - start_us) / (end_us - start_us)
    return points, events["p"].copy()
