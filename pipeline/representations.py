"""Events as pictures, volumes and points, on tensors: the same results as streams.representations and
streams.reconstruction, on any device.

    events = event_tensor(window.events, torch.device("cuda"))      # int32 [n, 4], no copy on a processor
    image = polarity_image(events, window.resolution, "positive")

Results do not depend on the order in which a device adds or assigns: where two events meet at a pixel, integers and
maxima decide. Sums of floats are made in 64 bit. Where compiled passes are switched on (pipeline.native) a polarity
image is drawn in C on a processor.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline import native
from streams.reconstruction import CONTRIBUTION, DECAY_US, NEUTRAL
from streams.representations import NO_EVENT, OFF, ON, Conflict
from streams.types import Events, Resolution
from streams.validation import POLARITY_OFFSET

PART = 32_767
"""Events at a time on a processor: what is computed for them stays in its cache, and torch, which shares work among
threads from 32768 on, does not make them wait for each other a hundred times (measured: ten times as slow where other
programs run)."""


def event_tensor(events: Events, device: torch.device | str = "cpu") -> Tensor:
    """A packet [n] as int32 [n, 4]: time (64 bit in two columns), x and y (y in the upper half), polarity (lowest)."""
    if not len(events):  # what numpy gives has no strides to view as other types
        return torch.empty((0, 4), dtype=torch.int32, device=device)
    words = np.ascontiguousarray(events).view(np.int32).reshape(len(events), 4)
    return torch.from_numpy(words if words.flags.writeable else words.copy()).to(device)


def times_us(events: Tensor) -> Tensor:
    """Time of each event of an event_tensor, int64 [n]."""
    return events.view(torch.int64)[:, 0]


def _on(events: Tensor) -> Tensor:
    """1 for ON and 0 for OFF, uint8 [n]."""
    return _copied(events.view(torch.uint8)[:, POLARITY_OFFSET])


def _copied(column: Tensor) -> Tensor:
    # contiguous() would give a column of one event as it is, and what follows would write it
    return column.clone(memory_format=torch.contiguous_format)


def pixel_index(events: Tensor, resolution: Resolution) -> Tensor:
    """Row-major pixel of each event, int64 [n]. Raises ValueError when an event lies outside the resolution."""
    return _pixels(events, resolution).long()


def _pixels(events: Tensor, resolution: Resolution) -> Tensor:
    """pixel_index in 32 bit: below 32768 x 32768 pixels both polarities have room."""
    place = _copied(events[:, 2])
    x = place & 0xFFFF
    if len(place):
        # The largest word has the largest y; a negative one has a y beyond 32767.
        least, largest = torch.aminmax(place)
        if int(x.max()) >= resolution.width or int(least) < 0 or int(largest) >> 16 >= resolution.height:
            raise ValueError(f"events reach x={int(x.max())}, y={int((place >> 16 & 0xFFFF).max())}, which is outside "
                             f"{resolution}; pass the resolution of the sensor or drop these events")
    place >>= 16
    return x.add_(place, alpha=resolution.width)


def _polarity_pixels(events: Tensor, resolution: Resolution) -> Tensor:
    """Where each event counts in [2, H, W], int64 [n]: row 0 OFF, row 1 ON."""
    return _pixels(events, resolution).add_(_on(events).int().mul_(resolution.width * resolution.height)).long()


def _parts(events: Tensor) -> Iterator[tuple[int, Tensor]]:
    step = PART if events.device.type == "cpu" else max(1, len(events))
    return ((start, events[start:start + step]) for start in range(0, len(events), step))


def event_counts(events: Tensor, resolution: Resolution) -> Tensor:
    """Events per polarity and pixel, int64 [2, H, W]: row 0 OFF, row 1 ON."""
    counts = torch.bincount(_polarity_pixels(events, resolution), minlength=2 * resolution.width * resolution.height)
    return counts.reshape(2, *resolution.hw)


def signed_sum(events: Tensor, resolution: Resolution) -> Tensor:
    """ON minus OFF events per pixel, int64 [H, W]."""
    off, on = event_counts(events, resolution)
    return on - off


def voxel_grid(events: Tensor, resolution: Resolution, bins: int, start_us: int, end_us: int) -> Tensor:
    """Signed events spread over time, float32 [bins, H, W]; see streams.representations.voxel_grid."""
    if bins < 1:
        raise ValueError(f"a voxel grid needs at least one bin, got {bins}")
    t = times_us(events)
    if len(t) and (int(t.min()) < start_us or int(t.max()) > end_us):
        raise ValueError(f"events span {int(t.min())} to {int(t.max())} µs, outside [{start_us}, {end_us}]; cut them "
                         "first")
    pixels = resolution.width * resolution.height
    position = (t - start_us).double() * ((bins - 1) / max(1, end_us - start_us))
    left = position.long()
    share, sign = position - left, _on(events).double() * 2 - 1
    index = pixel_index(events, resolution) + left * pixels
    # One spare bin at the end is the right neighbour, of weight 0, of events at the very end.
    grid = torch.bincount(index, sign * (1 - share), (bins + 1) * pixels).double()
    grid += torch.bincount(index + pixels, sign * share, (bins + 1) * pixels)
    return grid[:bins * pixels].float().reshape(bins, *resolution.hw)


def time_surface(events: Tensor, resolution: Resolution, t_us: int, tau_us: float) -> Tensor:
    """How recently each pixel fired, float32 [2, H, W] in [0, 1]; see streams.representations.time_surface."""
    _require_decay(tau_us)
    index, t = _polarity_pixels(events, resolution), times_us(events)
    past = int((t <= t_us).sum())
    newest = torch.full((2 * resolution.width * resolution.height,), -1, device=events.device)
    newest.scatter_reduce_(0, index[:past], torch.arange(past, device=events.device), "amax")
    fired = newest >= 0
    surface = torch.zeros(newest.shape, device=events.device)
    surface[fired] = torch.exp((t[newest[fired]] - t_us).double() / tau_us).float()
    return surface.reshape(2, *resolution.hw)


def decayed_sum(events: Tensor, resolution: Resolution, t_us: int, tau_us: float) -> Tensor:
    """ON minus OFF events per pixel, each fading exponentially, float32 [H, W]; see streams.representations."""
    _require_decay(tau_us)
    index, t = pixel_index(events, resolution), times_us(events)
    past = int((t <= t_us).sum())
    weight = torch.exp((t[:past] - t_us).double() / tau_us) * (_on(events[:past]).double() * 2 - 1)
    total = torch.bincount(index[:past], weight, resolution.width * resolution.height)
    return total.float().reshape(resolution.hw)


def _require_decay(tau_us: float) -> None:
    if not tau_us > 0:
        raise ValueError(f"the decay time must be positive, got {tau_us} µs")


def polarity_image(events: Tensor, resolution: Resolution, conflict: Conflict = "last") -> Tensor:
    """What each pixel saw as a palette index, uint8 [H, W]; see streams.representations.polarity_image."""
    if (seen := _compiled_polarities(events, resolution, conflict)) is not None:
        return seen
    pixels = resolution.width * resolution.height
    if conflict == "last":
        # The order of assignments is that of the events only on a processor; a maximum has no order.
        newest = torch.full((pixels,), -1, dtype=torch.int32, device=events.device)
        order = torch.arange(0, 2 * len(events), 2, dtype=torch.int32, device=events.device)
        for start, part in _parts(events):
            key = order[start:start + len(part)] + _on(part)
            newest.scatter_reduce_(0, pixel_index(part, resolution), key, "amax")
        image = (OFF - (newest & 1)).to(torch.uint8) * (newest >= 0)
        return image.reshape(resolution.hw)
    winning, losing = (ON, OFF) if conflict == "positive" else (OFF, ON)
    rank = torch.zeros(pixels, dtype=torch.uint8, device=events.device)
    for _, part in _parts(events):
        on = part.view(torch.uint8)[:, POLARITY_OFFSET]
        rank.scatter_reduce_(0, pixel_index(part, resolution), on + 1 if winning == ON else 2 - on, "amax")
    return torch.tensor([NO_EVENT, losing, winning], dtype=torch.uint8, device=rank.device)[rank.int()] \
        .reshape(resolution.hw)


def _compiled_polarities(events: Tensor, resolution: Resolution, conflict: Conflict) -> Tensor | None:
    """polarity_image in one compiled pass over the events, None where that is not possible or an event lies outside."""
    compiled = _library() if native.switched_on() and events.device.type == "cpu" and events.is_contiguous() else None
    if compiled is None:
        return None
    seen = torch.empty(resolution.hw, dtype=torch.uint8)
    both = {"positive": ON, "negative": OFF, "last": 0}[conflict]
    outside = compiled.polarities(events.data_ptr(), len(events), *resolution.hw, both, seen.data_ptr())
    return None if outside else seen


@functools.cache
def _library() -> ctypes.CDLL | None:
    pointer, number = native.POINTER, native.NUMBER
    return native.built(Path(__file__).with_name("representations.c"),
                        {"polarities": (pointer, native.LONG, *[number] * 3, pointer)})


def reconstructed_intensity(events: Tensor, resolution: Resolution, at_us: Sequence[int]) -> Tensor:
    """Grey pictures at increasing times, uint8 [len(at_us), H, W]: leaky accumulation from the first event on.

    One channel of streams.reconstruction.reconstructed_frames.
    """
    t, index = times_us(events), pixel_index(events, resolution)
    sign = _on(events).double() * 2 - 1
    before_us = int(t[0]) if len(t) else 0
    edges = [0, *torch.searchsorted(t.contiguous(), torch.tensor(at_us, device=t.device)).tolist()]
    potential = torch.full((resolution.width * resolution.height,), NEUTRAL, device=events.device)
    pictures = []
    for start, stop, now_us in zip(edges[:-1], edges[1:], at_us, strict=True):
        signed = torch.bincount(index[start:stop], sign[start:stop], len(potential)).double()
        fade = float(np.float32(math.exp(-max(0, int(now_us) - before_us) / DECAY_US)))
        added = (float(CONTRIBUTION * np.sqrt(np.float32(fade))) * signed).float()
        potential = (NEUTRAL + (potential - NEUTRAL) * fade + added).clamp_(0, 1)
        before_us = int(now_us)
        pictures.append((potential * 255).round().to(torch.uint8).reshape(resolution.hw))
    return torch.stack(pictures) if pictures else torch.zeros((0, *resolution.hw), dtype=torch.uint8)


def space_time_points(events: Tensor, resolution: Resolution, start_us: int, end_us: int,
                      most: int = 20_000) -> tuple[Tensor, Tensor]:
    """Events as points, float32 [n, 3] of x, y and t, and polarity, bool [n]; see streams.representations."""
    if end_us <= start_us or most < 1:
        raise ValueError(f"points need a span of time and room for one, got [{start_us}, {end_us}) and {most}")
    pixel_index(events, resolution)
    t = times_us(events)
    first, stop = int((t < start_us).sum()), int((t < end_us).sum())
    events = events[first:stop:max(1, -(-(stop - first) // most))]
    x, y = events[:, 2] & 0xFFFF, events[:, 2] >> 16
    side = max(resolution.hw)
    share = (times_us(events) - start_us).double() / (end_us - start_us)
    return torch.stack([(x + 0.5).double() / side, (y + 0.5).double() / side, share], 1).float(), _on(events) > 0
