"""Frames from events in numpy: what dv-processing's Accumulator shows, for windows that are simulated in memory.

    frames = reconstructed_frames(events, Resolution(346, 260), times_us)

A recording without frames gets its frames from dv-processing itself, inside the supervised child; training and
evaluation use this equivalent (the same contribution, decay and neutral level, events binned between two frames).
"""

from __future__ import annotations

import numpy as np

from streams.types import Events, Frame, Resolution

CONTRIBUTION = 0.15
"""Change of potential per event; potentials lie in 0..1."""

NEUTRAL = 0.5
DECAY_US = 300_000.0


def reconstructed_frames(events: Events, resolution: Resolution, times_us: np.ndarray) -> list[Frame]:
    """Grey frames (as RGB, exposure 0) at increasing times_us from sorted events: leaky accumulation per pixel."""
    width, height = resolution.width, resolution.height
    potential = np.full(height * width, NEUTRAL, np.float32)
    edges = np.searchsorted(events["t"], times_us)
    frames, before, before_us = [], 0, int(events["t"][0]) if len(events) else 0
    for edge, t_us in zip(edges, times_us, strict=True):
        part = events[before:edge]
        signed = np.bincount(part["y"].astype(np.int64) * width + part["x"], np.where(part["p"], 1.0, -1.0),
                             minlength=height * width)
        fade = np.float32(np.exp(-max(0, int(t_us) - before_us) / DECAY_US))
        # events of one interval decay by half of it on average
        potential = NEUTRAL + (potential - NEUTRAL) * fade + (CONTRIBUTION * np.sqrt(fade) * signed).astype(np.float32)
        np.clip(potential, 0, 1, out=potential)
        grey = np.round(potential * 255).astype(np.uint8).reshape(height, width)
        frames.append(Frame(int(t_us), 0, np.repeat(grey[..., None], 3, -1)))
        before, before_us = int(edge), int(t_us)
    return frames
