"""A recording, or a part of it, written in another format: events exactly as they were read.

    with open_stored("drive.raw") as source:
        done = convert(source, Path("drive.aedat4"), Span(2_000_000, 5_000_000))

Never more than a few packets are in memory, and never is anything half-written (streams.placing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from streams.aedat4 import Compression
from streams.placing import placed
from streams.targets import format_for, keeps, left_out, open_target
from streams.targets.content import Facts
from streams.timeline import begins_us
from streams.types import Frame, InputError, Packet, Source


@dataclass(frozen=True)
class Span:
    """A part of a recording in µs of its own clock, [start_us, end_us)."""

    start_us: int
    end_us: int


@dataclass(frozen=True)
class Converted:
    """What was written: counts, size of the file, and one sentence for everything that the format does not hold."""

    format: str
    n_events: int
    n_frames: int
    n_bytes: int
    left_out: list[str]


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
    return Span(start_us, end_us)


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


def convert(source: Source, path: Path, span: Span, name: str | None = None, *, compression: Compression | None = None,
            overwrite: bool = False, tell: Callable[[Packet], None] = lambda item: None) -> Converted:
    """Write a span of a source to `path`; tell(item) hears of everything that was written.

    name: of the format where the suffix allows several. Frames that a reader makes of the events are not written: it
    makes them again. Raises InputError, and then nothing is there.
    """
    name = format_for(path, name)
    info = source.info
    has_frames = info.frame_resolution is not None and info.frames_origin != "reconstructed"
    facts = Facts(info.event_resolution, info.events_origin, info.frame_resolution if has_frames else None,
                  info.frames_origin if has_frames else None, info.sensor or info.name, span.start_us, span.end_us,
                  compression)
    with_frames = has_frames and keeps(name, "frames")
    n_events = n_frames = 0
    with placed(path, overwrite) as temporary:
        with open_target(name, temporary, facts) as target:
            for item in cut(source, span):
                if isinstance(item, Frame):
                    if not with_frames:
                        continue
                    n_frames += 1
                else:
                    n_events += len(item)
                target.write(item)
                tell(item)
        n_bytes = temporary.stat().st_size
    return Converted(name, n_events, n_frames, n_bytes, left_out(name, facts))
