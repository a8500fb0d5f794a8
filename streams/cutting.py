"""A part of a recording, cut by time.

    span = span_of(source, 2.0, 5.0)            # seconds after its start
    for item in cut(source, span): ...          # events and frames within
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streams.timeline import begins_us
from streams.types import Frame, InputError, Packet, Source


@dataclass(frozen=True)
class Span:
    """A part of a recording in µs of its own clock, [start_us, end_us).

    from_start, to_end: nothing is cut off there, so samples of the IMU and triggers before the first or after the last
    event and frame belong to it.
    """

    start_us: int
    end_us: int
    from_start: bool = False
    to_end: bool = False

    def holds(self, samples_us: np.ndarray) -> np.ndarray:
        """Which samples at these times belong to it, bool [n]."""
        return ((samples_us >= self.start_us) | self.from_start) & ((samples_us < self.end_us) | self.to_end)


def span_of(source: Source, start_s: float | None = None, end_s: float | None = None) -> Span:
    """The part from start_s to end_s, seconds after the recording's start, None = to its end. Raises InputError."""
    info = source.info
    begin_us = info.start_us or 0
    last_us = None if info.duration_us is None else begin_us + info.duration_us
    if last_us is None and end_s is None:
        raise InputError(f"{info.name} has no end; say with --range how much of it is meant, such as 0..10")
    start_us = begin_us + round((start_s or 0.0) * 1e6)
    end_us = last_us + 1 if end_s is None and last_us is not None else begin_us + round((end_s or 0.0) * 1e6)
    if last_us is not None:
        if start_us > last_us:
            raise InputError(f"{info.name} lasts {(last_us - begin_us) / 1e6:.3f} s; nothing lies after {start_s:g} s")
        end_us = min(end_us, last_us + 1)
    if end_us <= start_us:
        raise InputError(f"a part must end after it begins, got {start_s or 0:g} to {end_s or 0:g} s")
    return Span(start_us, end_us, not start_s, last_us is not None and end_us > last_us)


def cut(source: Source, span: Span) -> Iterator[Packet]:
    """Everything of a source within a span: events, and frames by their t_us; no empty packets."""
    if not source.info.live and source.info.start_us is not None and span.start_us > source.info.start_us:
        source.seek(span.start_us)
    for item in source:
        begin_us = begins_us(item)
        if begin_us is None:
            continue
        if begin_us >= span.end_us:
            return
        if isinstance(item, Frame):
            if span.start_us <= item.t_us < span.end_us:
                yield item
        elif begin_us >= span.start_us and item["t"][-1] < span.end_us:
            yield item
        else:
            part = item[item["t"].searchsorted(span.start_us):item["t"].searchsorted(span.end_us)]
            if len(part):
                yield part
