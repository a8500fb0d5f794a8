"""A recording, or a part of it, written in another format: events exactly as they were read.

    with open_stored("drive.raw") as source:
        done = convert(source, Path("drive.aedat4"), Span(2_000_000, 5_000_000))

Never more than a few packets are in memory, and never is anything half-written (streams.placing).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streams.aedat4 import Compression
from streams.cutting import Span, cut
from streams.placing import placed
from streams.targets import format_for, keeps, left_out, open_target
from streams.targets.content import Facts
from streams.types import Frame, Packet, Source


@dataclass(frozen=True)
class Converted:
    """What was written: counts, size of the file, and one sentence for everything that the format does not hold."""

    format: str
    n_events: int
    n_frames: int
    n_bytes: int
    left_out: list[str]


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
                  info.frames_origin if has_frames else None, info.sensor, span.start_us, span.end_us,
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
