"""A recording, or a part of it, written in another format: events exactly as they were read.

    samples = deque()
    with open_stored("drive.aedat4", samples.append) as source:
        done = convert(source, Path("part.aedat4"), Span(2_000_000, 5_000_000), samples=samples)

Never more than a few packets are in memory, and never is anything half-written (streams.placing).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streams.aedat4 import Compression
from streams.cutting import Span, cut
from streams.placing import placed
from streams.targets import format_for, keeps, left_out, open_target
from streams.targets.content import Facts, Target
from streams.types import Frame, Packet, Samples, Source


@dataclass(frozen=True)
class Converted:
    """What was written: counts (n_samples: of the IMU and triggers), size of the file, and one sentence for everything
    that the format does not hold."""

    format: str
    n_events: int
    n_frames: int
    n_samples: int
    n_bytes: int
    left_out: list[str]


def convert(source: Source, path: Path, span: Span, name: str | None = None, *, compression: Compression | None = None,
            overwrite: bool = False, samples: deque[Samples] | None = None,
            tell: Callable[[Packet], None] = lambda item: None) -> Converted:
    """Write a span of a source to `path`; tell(item) hears of everything that was written.

    name: of the format where the suffix allows several. samples: where the source puts those of the IMU and triggers
    while it is read; they are taken out. Frames that a reader makes of the events are not written: it
    makes them again. Raises InputError, and then nothing is there.
    """
    name = format_for(path, name)
    info = source.info
    has_frames = info.frame_resolution is not None and info.frames_origin != "reconstructed"
    facts = Facts(info.event_resolution, info.events_origin, info.frame_resolution if has_frames else None,
                  info.frames_origin if has_frames else None, info.sensor, span.start_us, span.end_us,
                  compression, samples is not None and keeps(name, "samples"), info.filters)
    with_frames = has_frames and keeps(name, "frames")
    n_events = n_frames = n_samples = 0
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
                n_samples += _write_samples(samples, span, target if facts.samples else None)
            n_samples += _write_samples(samples, span, target if facts.samples else None)
        n_bytes = temporary.stat().st_size
    missing = left_out(name, facts)
    if n_samples and not facts.samples:
        missing.append(f"{n_samples:,} samples of the IMU or triggers are left out: {name} has no place for them")
        n_samples = 0
    return Converted(name, n_events, n_frames, n_samples, n_bytes, missing)


def _write_samples(samples: deque[Samples] | None, span: Span, target: Target | None) -> int:
    """Write what has arrived so far, as far as it lies in the span; returns how many, None = they are only counted."""
    count = 0
    while samples:
        arrived = samples.popleft()
        data = arrived.data[span.holds(arrived.data["t"])]
        count += len(data)
        if target is not None and len(data):
            target.write(Samples(arrived.kind, data))
    return count
