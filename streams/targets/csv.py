"""Writes text: one event a line, t_us,x,y,p, after comment lines with the sensor's size and where the events are from.

numpy.loadtxt(path, delimiter=",", skiprows=3), pandas.read_csv(path, comment="#"), and streams.sources.csv read it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streams.targets.content import ByteTarget, Facts
from streams.types import Events

NAME = "CSV"
KEEPS = frozenset({"size", "origin", "clock"})


def open_target(path: Path, facts: Facts) -> ByteTarget:
    """Begin to write."""
    header = (f"# geometry:{facts.size.width},{facts.size.height}\n# events_origin:{facts.events_origin}\n"
              "t_us,x,y,p\n")
    return ByteTarget(path, header.encode(), encoded)


def encoded(packet: Events, state: None) -> tuple[bytes, None]:
    """The lines of a packet [n]."""
    table = np.empty((len(packet), 4), np.int64)
    for place, column in enumerate("txyp"):
        table[:, place] = packet[column]
    return (b"%d,%d,%d,%d\n" * len(packet)) % tuple(table.ravel().tolist()), None
