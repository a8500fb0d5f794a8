"""Writes AEDAT4: events and frames with their origins, IMU and triggers, by streams.recorder."""

from __future__ import annotations

from pathlib import Path

from streams.recorder import Recorder
from streams.targets.content import Facts

NAME = "AEDAT4"
KEEPS = frozenset({"frames", "size", "origin", "clock", "sensor", "samples"})


def open_target(path: Path, facts: Facts) -> Recorder:
    """Begin to write; LZ4 unless something else is said."""
    return Recorder(path, facts.resolution, facts.frame_resolution, facts.events_origin, facts.frames_origin,
                    facts.sensor or "Parafovea", facts.compression or "lz4", facts.samples, keep=False,
                    filters=facts.filters)
