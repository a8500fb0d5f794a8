"""What is in a recording, counted by reading all of it.

    with open_source("drive.aedat4") as source:
        summarize(source).n_events
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from streams.filtering import FilterCount, filter_counts
from streams.types import EventsOrigin, FramesOrigin, Packet, Resolution, Source


@dataclass(frozen=True)
class RecordingSummary:
    """What `parafovea info` says about a recording.

    Times in µs of the recording's clock, None when nothing is in it. n_rejected: events refused by validation.
    n_clamped, n_restarts: late events and restarts of the clock that were mended. filtered: filters that events have
    passed when they were recorded and now. filters: what each filter let
    through of what came to it; what they held back is not in n_events. skew: see streams.types.Losses.
    n_imu, n_triggers: samples of the inertial sensor and triggers, of formats that have them.
    damage: one sentence when only a part could be read. Frames that were made from events do not count.
    """

    format: str
    name: str
    sensor: str
    event_resolution: Resolution | None
    frame_resolution: Resolution | None
    n_events: int
    n_frames: int
    start_us: int | None
    end_us: int | None
    n_rejected: int
    n_clamped: int
    n_restarts: int
    damage: str | None
    events_origin: EventsOrigin | None
    frames_origin: FramesOrigin | None
    filters: list[FilterCount]
    skew: str | None = None
    n_imu: int = 0
    n_triggers: int = 0
    filtered: str = ""

    def to_json(self) -> dict[str, Any]:
        """The "info" line of design.md §8."""
        line = {"type": "info", **vars(self), "damaged": self.damage is not None}
        line["filters"] = [vars(count) for count in self.filters]
        for stream in ("event_resolution", "frame_resolution"):
            size = line[stream]
            line[stream] = None if size is None else [size.width, size.height]
        return line


def summarize(source: Source, tell: Callable[[Packet], None] = lambda item: None) -> RecordingSummary:
    """Read a source to its end, tell(item) hears of everything; the format is the name of the module that reads it."""
    info = source.info
    made = info.frames_origin == "reconstructed"
    n_events = n_frames = 0
    first_us: int | None = None
    last_us: int | None = None
    for item in source:
        tell(item)
        if isinstance(item, np.ndarray):
            n_events += len(item)
            times = [int(item["t"][0]), int(item["t"][-1])] if len(item) else []
        elif made:
            times = []
        else:
            n_frames += 1
            times = [item.t_us]
        for t_us in times:
            first_us = t_us if first_us is None else min(first_us, t_us)
            last_us = t_us if last_us is None else max(last_us, t_us)
    losses = source.losses
    return RecordingSummary(
        info.format or type(source).__module__.rpartition(".")[2], info.name, info.sensor, info.event_resolution,
        None if made else info.frame_resolution, n_events, n_frames, first_us, last_us, losses.n_rejected,
        losses.n_clamped, losses.n_restarts, losses.damage, info.events_origin, None if made else info.frames_origin,
        filter_counts(source), losses.skew, filtered=info.filters)
