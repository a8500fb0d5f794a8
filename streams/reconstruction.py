"""Frames from events in numpy: what dv-processing's Accumulator shows, for events that are in memory.

    frames = reconstructed_frames(events, Resolution(346, 260), times_us)
    for item in with_reconstructed_frames(packets, Resolution(346, 260)): ...    # packets and Frames in order

An AEDAT4 recording without frames gets its frames from dv-processing itself, inside the supervised child; the other
formats, training and evaluation use this equivalent (the same contribution, decay and neutral level, events binned
between two frames).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from streams.types import Events, Frame, Packet, Resolution

CONTRIBUTION = 0.15
"""Change of potential per event; potentials lie in 0..1."""

NEUTRAL = 0.5
DECAY_US = 300_000.0
PERIOD_US = 50_000
"""Frames of a recording come at 20 Hz, on multiples of this time: wherever reading starts they are the same."""
MEMORY_US = 1_000_000
"""Three decay times: older events leave no trace, and in a longer silence no frames come."""


class Accumulation:
    """Leaky accumulation of events per pixel from begin_us on, one frame after the other."""

    def __init__(self, resolution: Resolution, begin_us: int) -> None:
        self._resolution, self._before_us = resolution, begin_us
        self._potential = np.full(resolution.height * resolution.width, NEUTRAL, np.float32)

    def frame(self, packets: list[Events], t_us: int) -> Frame:
        """The grey frame (as RGB, exposure 0) at t_us after these events, which follow the last frame."""
        height, width = self._resolution.hw
        signed = np.zeros(height * width)
        for events in packets:
            signed += np.bincount(events["y"].astype(np.int64) * width + events["x"],
                                  np.where(events["p"], 1.0, -1.0), minlength=height * width)
        fade = np.float32(np.exp(-max(0, t_us - self._before_us) / DECAY_US))
        # events of one interval decay by half of it on average
        added = (CONTRIBUTION * np.sqrt(fade) * signed).astype(np.float32)
        self._potential = NEUTRAL + (self._potential - NEUTRAL) * fade + added
        np.clip(self._potential, 0, 1, out=self._potential)
        self._before_us = t_us
        grey = np.round(self._potential * 255).astype(np.uint8).reshape(height, width)
        return Frame(t_us, 0, np.repeat(grey[..., None], 3, -1))


def reconstructed_frames(events: Events, resolution: Resolution, times_us: np.ndarray) -> list[Frame]:
    """Grey frames (as RGB, exposure 0) at increasing times_us from sorted events: leaky accumulation per pixel."""
    accumulation = Accumulation(resolution, int(events["t"][0]) if len(events) else 0)
    edges = [0, *np.searchsorted(events["t"], times_us)]
    return [accumulation.frame([events[before:edge]], int(t_us))
            for before, edge, t_us in zip(edges[:-1], edges[1:], times_us, strict=True)]


def with_reconstructed_frames(packets: Iterable[Events], resolution: Resolution) -> Iterator[Packet]:
    """Sorted packets, none of them empty, with frames between them in order of time.

    A frame at t_us shows the events before t_us; the last one lies at the last event and shows them all.
    """
    accumulation: Accumulation | None = None
    waiting: list[Events] = []
    last_us = shown_us = None
    for packet in packets:
        t = packet["t"]
        accumulation = accumulation or Accumulation(resolution, int(t[0]))
        due_us = _due_us(t, last_us)
        n_early, edge = int(np.searchsorted(due_us, t[0], "right")), 0
        for shown_us in map(int, due_us[:n_early]):
            yield accumulation.frame(waiting, shown_us)
            waiting = []
        yield packet
        for shown_us in map(int, due_us[n_early:]):
            before, edge = edge, int(np.searchsorted(t, shown_us))
            yield accumulation.frame([*waiting, packet[before:edge]], shown_us)
            waiting = []
        waiting.append(packet[edge:])
        last_us = int(t[-1])
    if accumulation is not None and last_us is not None and shown_us != last_us:
        yield accumulation.frame(waiting, last_us)


def _due_us(t: np.ndarray, before_us: int | None) -> np.ndarray:
    """Times of the frames after before_us and up to the last of t [n]; of a long silence only the first."""
    slots = np.unique(t // PERIOD_US)
    if before_us is not None:
        slots = np.unique(np.append(slots, before_us // PERIOD_US))
    # One wild time stamp must not make frames for the next thousand years.
    gaps = np.diff(slots, append=slots[-1])
    counts = np.where(gaps <= MEMORY_US // PERIOD_US, gaps, 1)
    steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    due_us = (np.repeat(slots, counts) + steps + 1) * PERIOD_US
    return due_us[(due_us <= t[-1]) & (due_us > (t[0] if before_us is None else before_us))]
