"""An event camera and a second device that gives the frames, as one source: what `--frames` makes.

    with open_source(pair_uri("drive.aedat4", "drive.mp4")) as source: ...          # both recordings
    with open_source("pair://?events=dv://&frames=webcam://0&offset_ms=15") as source: ...   # both live

Frames are moved into the time of the events: by offset_ms, or by an estimate from the content (streams/pairing.py), of
recordings where nothing is given, of live sources with offset_ms=auto and once that is sure. Clocks of recordings that
do not overlap at all are joined at their starts, live ones by when things arrive here. losses.skew says in one
sentence how the clocks stand. Events of the second source are not used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Literal
from urllib.parse import parse_qsl, urlencode

import numpy as np

from streams.live_pair import LivePair, joined
from streams.pairing import STEP_US, Changes, Estimate, estimate, sentence
from streams.sources import open_leniently
from streams.timeline import merge
from streams.types import Frame, InputError, Losses, Packet, SensorSink, Source, SourceInfo

SCHEME = "pair://"
REACH_US = 5_000_000
"""Two recordings that were started by hand differ by at most so much."""
ESTIMATE_FRAMES = 600
MOST_BINS = 400_000


def pair_uri(events: str, frames: str, offset_ms: float | Literal["auto"] | None = None) -> str:
    """The URI of both as one source."""
    offset = {} if offset_ms is None else {"offset_ms": offset_ms if offset_ms == "auto" else f"{offset_ms:g}"}
    return f"{SCHEME}?{urlencode({'events': events, 'frames': frames, **offset})}"


def open_source(uri: str, sensors: SensorSink | None = None) -> RecordedPair | LivePair:
    """Open pair://?events=URI&frames=URI[&offset_ms=MS|auto]. Raises InputError for wrong options, a first source
    without events, a second without frames, and a recording beside a live source.

    sensors: gets IMU and triggers of the first.
    """
    events_uri, frames_uri, offset_us = _parsed(uri)
    opened: list[Source] = []
    try:
        for place in (events_uri, frames_uri):
            # Frames that are made of events and events that are made of frames would be thrown away.
            of_events = place is not frames_uri
            opened.append(open_leniently(place, reconstruct_frames=False, simulate=of_events,
                                         sensors=sensors if of_events else None))
        events, frames = opened
        if events.info.event_resolution is None:
            raise InputError(f"{events_uri} has no events; give the event camera or its recording first")
        if frames.info.frame_resolution is None:
            raise InputError(f"{frames_uri} has no frames; give a camera, a video or a recording with frames")
        if events.info.live != frames.info.live:
            live, recorded = (events_uri, frames_uri) if events.info.live else (frames_uri, events_uri)
            raise InputError(f"{live} is live and {recorded} is a recording; pair two of a kind")
        if events.info.live:
            return LivePair(events, frames, offset_us)
        return RecordedPair(events, frames, None if offset_us == "auto" else offset_us,
                            _look(events, frames_uri) if _known(events) else None)
    except BaseException:
        for source in opened:
            source.close()
        raise


def _parsed(uri: str) -> tuple[str, str, int | Literal["auto"] | None]:
    options = dict(parse_qsl(uri.removeprefix(SCHEME).removeprefix("?"), keep_blank_values=True))
    events, frames, offset = (options.pop(name, None) for name in ("events", "frames", "offset_ms"))
    try:
        offset_ms = None if offset in (None, "auto") else float(offset)
    except ValueError:
        offset_ms = math.nan
    if not events or not frames or options or (offset_ms is not None and not math.isfinite(offset_ms)):
        raise InputError(f"{uri} is no pair; write pair://?events=URI&frames=URI&offset_ms=NUMBER, the last if "
                         "wanted, or auto")
    if SCHEME in (events[:len(SCHEME)], frames[:len(SCHEME)]):
        raise InputError(f"{uri} pairs a pair; give two single sources")
    if offset == "auto":
        return events, frames, "auto"
    return events, frames, None if offset_ms is None else round(offset_ms * 1e3)


def _known(events: Source) -> bool:
    return events.info.start_us is not None and bool(events.info.duration_us)


def _look(events: Source, frames_uri: str) -> tuple[tuple[np.ndarray, np.ndarray], Changes]:
    """The events of a recording as cumulative counts, and how its first frames change."""
    start_us, duration_us = events.info.start_us or 0, events.info.duration_us or 1
    bins = max(1, min(MOST_BINS, duration_us // STEP_US))
    counts = events.rate_histogram(bins) * (duration_us * 1e-6 / bins)
    edges = start_us + np.linspace(0, duration_us, bins + 1)
    changes = Changes()
    with open_leniently(frames_uri, simulate=False, max_width=160, reconstruct_frames=False) as source:
        for frame in islice((item for item in source if isinstance(item, Frame)), ESTIMATE_FRAMES):
            changes.add(frame)
    return (edges, np.concatenate([[0.0], np.cumsum(counts)])), changes


class RecordedPair:
    """Two recordings; it lasts as long as the events do.

    offset_us: to add to the frames' time, None = as estimated. seen: cumulative events and changes in the frames, None
    = nothing can be estimated.
    """

    def __init__(self, events: Source, frames: Source, offset_us: int | None,
                 seen: tuple[tuple[np.ndarray, np.ndarray], Changes] | None) -> None:
        self._events, self._frames = events, frames
        self.info: SourceInfo = joined(events.info, frames.info)
        self.losses = Losses()
        """Of both sources together."""
        base_us, how = _base(events.info, frames.info)
        found: Estimate | None = None
        if seen is not None:
            (times_us, cumulative), changes = seen
            found = estimate(times_us - base_us, cumulative, changes, REACH_US)
        self.offset_us = offset_us if offset_us is not None else found.offset_us if found and found.believed else 0
        """What was added to the frames' time beyond joining the clocks."""
        self._shift_us = base_us + self.offset_us
        self._skew = sentence(offset_us, found, how)
        self._count()
        self._stream = self._merged()

    def __iter__(self) -> Iterator[Packet]:
        return self

    def __next__(self) -> Packet:
        """Next packet or Frame; after seek() from there, also within a running loop."""
        item = next(self._stream)
        self._count()
        return item

    def _merged(self) -> Iterator[Packet]:
        packets = (item for item in self._events if not isinstance(item, Frame))
        yield from merge(packets, self._pictures())

    def _pictures(self) -> Iterator[Frame]:
        start_us, duration_us = self.info.start_us, self.info.duration_us
        for item in self._frames:
            if isinstance(item, Frame):
                moved = replace(item, t_us=item.t_us + self._shift_us)
                if start_us is not None and moved.t_us < start_us:
                    continue
                if start_us is not None and duration_us is not None and moved.t_us > start_us + duration_us:
                    return
                yield moved

    def _count(self) -> None:
        mine, theirs = self._events.losses, self._frames.losses
        for name in ("n_rejected", "n_clamped", "n_restarts"):
            setattr(self.losses, name, getattr(mine, name) + getattr(theirs, name))
        self.losses.damage, self.losses.skew = mine.damage or theirs.damage, self._skew

    def seek(self, t_us: int) -> None:
        """Continue with the first event or Frame at or after t_us, in the time of the events."""
        self._events.seek(t_us)
        self._frames.seek(t_us - self._shift_us)
        self._stream = self._merged()

    def rate_histogram(self, bins: int) -> np.ndarray:
        """Events per second in `bins` equal parts, float64 [bins]; consumes nothing."""
        return self._events.rate_histogram(bins)

    def close(self) -> None:
        """Close both; may be called any number of times."""
        self._events.close()
        self._frames.close()

    def __enter__(self) -> RecordedPair:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _base(events: SourceInfo, frames: SourceInfo) -> tuple[int, str]:
    """What joins the clocks before any offset: nothing where the two overlap, else start to start."""
    if events.start_us is None or frames.start_us is None:
        return 0, "one clock"
    ends_us = [info.start_us + (math.inf if info.duration_us is None else info.duration_us)  # type: ignore[operator]
               for info in (events, frames)]
    if max(events.start_us, frames.start_us) < min(ends_us):
        return 0, "clocks taken as one"
    return events.start_us - frames.start_us, "clocks joined at their starts"
