"""A recording file that a decoder turns into raw packets, as a Source: validated, sought, with frames.

    def read(place, losses):                        # one generator function per format
        ...
        yield place, packet                         # a raw event packet, or a Frame
    source = RecordingSource(path, read, Resolution(640, 480))

A decoder hands over everything from a place of its own (None: the start) in order of where items begin; giving it
the place of an item makes it begin with this item again. It says in losses.damage what it could not read. Here the
times are made monotonic, events that cannot be are refused, and a size that the file does not state is found.
Opening reads the file once; the memory this takes does not grow with the number of events.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from streams.clock import Clock
from streams.geometry import Extent
from streams.opening import tell_opening
from streams.reconstruction import MEMORY_US, with_reconstructed_frames
from streams.timeline import begins_us
from streams.types import EventsOrigin, Frame, InputError, Losses, Packet, Resolution, SourceInfo
from streams.validation import Validator

Read: TypeAlias = Callable[[Any, Losses], Iterator[tuple[Any, Packet]]]
"""read(place, losses) yields (place, raw packet or Frame); see above."""

ANY_RESOLUTION = Resolution(1 << 16, 1 << 16)
CHUNK_RECORDS = 65_536
LONGEST_EXPOSURE_US = 1_000_000
"""A frame may begin this long before its time: reading starts there so that no frame is missed."""


@dataclass(frozen=True)
class _Mark:
    """Where reading can begin: the decoder's place, the time there, and what had been before it."""

    place: Any
    begin_us: int
    last_us: int | None
    offset_us: int


class RecordingSource:
    """A file as a Source (streams/types.py).

    event_resolution: None = find it from the events. reconstruct_frames: give a recording without frames
    accumulated ones, of origin "reconstructed". release: called when the source is closed. events_origin, offset_us:
    what the file says about its events, and what belongs on top of their times. Raises InputError when there is no
    credible event and no frame.
    """

    def __init__(self, path: Path, read: Read, event_resolution: Resolution | None = None, sensor: str = "",
                 reconstruct_frames: bool = True, release: Callable[[], None] = lambda: None,
                 events_origin: EventsOrigin = "camera", offset_us: int = 0) -> None:
        self._path, self._read, self._release, self._closed = path, read, release, False
        self._events_origin, self._offset_us = events_origin, offset_us
        self._losses = Losses()
        self._marks: list[_Mark] = []
        self._resolution = ANY_RESOLUTION if event_resolution is None else event_resolution
        self._frame_resolution: Resolution | None = None
        try:
            self._info = self._scan(event_resolution, sensor, reconstruct_frames)
        except BaseException:
            release()
            raise
        self._stream = self._packets_from(None)

    def _scan(self, stated: Resolution | None, sensor: str, reconstruct: bool) -> SourceInfo:
        """Read everything once: the span, the damage, marks to seek by, and the size when it is not stated."""
        losses, extent = Losses(), Extent()
        tell_opening()
        first_us: int | None = None
        last_us = n_events = 0
        for item in self._validated(None, losses, self._marks):
            first_us = begins_us(item) if first_us is None else first_us
            if isinstance(item, Frame):
                last_us = max(last_us, item.t_us)
                self._frame_resolution = self._frame_resolution or item.resolution
                continue
            last_us, n_events = max(last_us, int(item["t"][-1])), n_events + len(item)
            if stated is None:
                extent.add(item)
        self._losses.damage = losses.damage
        if first_us is None:
            raise InputError(_nothing(self._path, losses))
        events = (stated or extent.resolution()) if n_events else None
        self._resolution = events or self._resolution
        made = reconstruct and events is not None and self._frame_resolution is None
        frames = events if made else self._frame_resolution
        return SourceInfo(self._path.name, events, frames, start_us=first_us, duration_us=last_us - first_us,
                          events_origin=self._events_origin if events else None,
                          frames_origin="reconstructed" if made else "camera" if frames else None, sensor=sensor,
                          format=self._read.__module__.rpartition(".")[2])

    @property
    def info(self) -> SourceInfo:
        """What this recording is; reading it consumes nothing."""
        return self._info

    @property
    def losses(self) -> Losses:
        """Counters of what was lost so far."""
        return self._losses

    def __iter__(self) -> Iterator[Packet]:
        return self

    def __next__(self) -> Packet:
        """Next packet or Frame; after seek() from there, also within a running loop."""
        if self._closed:
            raise StopIteration
        return next(self._stream)

    def seek(self, t_us: int) -> None:
        """Continue with the first event or Frame at or after t_us (recording clock); works after the end too."""
        self._stream = self._packets_from(t_us)

    def rate_histogram(self, bins: int) -> np.ndarray:
        """Events per second in `bins` equal parts of the recording, float64 [bins]; reads it once, consumes nothing."""
        if bins < 1:
            raise ValueError(f"a histogram needs at least one bin, got {bins}")
        counts = np.zeros(bins, np.int64)
        start_us, span_us = self._info.start_us or 0, max(self._info.duration_us or 0, 1)
        for item in self._validated(None, Losses()):
            if not isinstance(item, Frame):
                # In float64: a long span times many bins does not fit into 64 bits.
                places = ((item["t"] - start_us) * (bins / span_us)).astype(np.int64)
                counts += np.bincount(np.clip(places, 0, bins - 1), minlength=bins)
        return counts / (span_us * 1e-6 / bins)

    def read(self, place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        """An independent reading, so that a recording can be the decoder of another; a place is a time in µs."""
        for item in self._validated(place, losses):
            yield begins_us(item), item

    def close(self) -> None:
        """Stop reading; may be called any number of times."""
        self._closed = True
        # Another thread may be reading: it stops by itself at the next packet.
        with contextlib.suppress(ValueError):
            self._stream.close()
        self._release()

    def __enter__(self) -> RecordingSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _packets_from(self, start_us: int | None) -> Generator[Packet, None, None]:
        made = self._info.frames_origin == "reconstructed"
        lead_us = MEMORY_US if made else LONGEST_EXPOSURE_US if self._frame_resolution else 0
        stream: Iterator[Packet] = self._validated(None if start_us is None else start_us - lead_us, self._losses)
        if made and self._info.event_resolution is not None:
            packets = (item for item in stream if not isinstance(item, Frame))
            stream = with_reconstructed_frames(packets, self._info.event_resolution)
        for item in stream:
            if start_us is None or (isinstance(item, Frame) and item.t_us >= start_us):
                yield item
            elif not isinstance(item, Frame) and item["t"][-1] >= start_us:
                yield item[np.searchsorted(item["t"], start_us):]

    def _decoded(self, place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        try:
            yield from self._read(place, losses)
        except OSError as error:
            raise InputError(f"{self._path} cannot be read: {error.strerror}; check that it is still there") from None

    def _validated(self, start_us: int | None, losses: Losses, marks: list[_Mark] | None = None) -> Iterator[Packet]:
        """Credible packets, none empty, and Frames in order of their begin, from before start_us on.

        marks: gets the places at which reading could begin.
        """
        mark = _Mark(None, 0, None, self._offset_us)
        if start_us is not None:
            index = bisect_left(self._marks, start_us, key=lambda entry: entry.begin_us)
            mark = self._marks[index - 1] if index else mark
        validator = Validator(self._resolution, losses, mark.last_us)
        clock = Clock(losses, mark.offset_us)
        last_place, begin_us, frame_us = None, None, None
        for place, raw in self._decoded(mark.place, losses):
            if self._closed:
                return
            before = validator.last_us, clock.offset_us
            item: Packet
            if isinstance(raw, Frame):
                item = replace(raw, t_us=raw.t_us + clock.offset_us)
                late = (frame_us is not None and item.t_us < frame_us) or _precedes(item, begin_us)
                foreign = self._frame_resolution not in (None, item.resolution)
                losses.n_rejected += late or foreign
                if late or foreign or not validator.frame_time(item.t_us):
                    continue
                frame_us = item.t_us
            else:
                item = validator.events(clock.straightened(raw, validator.last_us))
                if len(item) == 0:
                    continue
            begin_us = begins_us(item)
            # Not at a frame: the packet before it may reach beyond its time.
            is_new = not isinstance(item, Frame) and (place != last_place or not marks)
            if marks is not None and begin_us is not None and is_new:
                marks.append(_Mark(place, begin_us, *before))
                last_place = place
            yield item


def _precedes(frame: Frame, begin_us: int | None) -> bool:
    """Whether a frame begins before what was handed over last began."""
    return begin_us is not None and frame.begin_us < begin_us


def _nothing(path: Path, losses: Losses) -> str:
    if losses.n_rejected:
        return f"{path} has {losses.n_rejected} events, none of them credible; it is damaged, copy it again"
    if losses.damage:
        return f"{path} is damaged and nothing in it can be read; copy it again from where it was recorded"
    return f"{path} has no events and no frames; give a recording that has data"


def record_chunks(path: Path, offset: int, record_bytes: int, losses: Losses) -> Iterator[tuple[int, bytes]]:
    """(place in the file, whole records of record_bytes each) from offset to the end, CHUNK_RECORDS at a time.

    A last record that is cut off becomes losses.damage.
    """
    with path.open("rb") as file:
        file.seek(offset)
        while data := file.read(CHUNK_RECORDS * record_bytes):
            tell_opening(path, offset)
            rest = len(data) % record_bytes
            if rest:
                losses.damage = cut_off(path)
            if len(data) > rest:
                yield offset, data[:len(data) - rest]
            offset += len(data)


Decode: TypeAlias = Callable[[bytes, Any], tuple[Packet, Any]]
"""decode(data, state) gives the raw packet of whole records, and the state after them."""


def record_packets(path: Path, place: Any, start: tuple[int, Any], record_bytes: int, decode: Decode,
                   losses: Losses) -> Iterator[tuple[Any, Packet]]:
    """What a decoder of records of one size hands over, from a place that it gave or from the start.

    A place is where a chunk begins in the file and the state before it.
    """
    offset, state = place or start
    for at, data in record_chunks(path, offset, record_bytes, losses):
        packet, after = decode(data, state)
        yield (at, state), packet
        state = after


def cut_off(path: Path) -> str:
    """The sentence for a recording that ends in the middle of something."""
    return f"{path.name} is cut off: everything before was delivered; copy it again from where it was recorded"


def damaged(path: Path) -> str:
    """The sentence for a recording with something in it that cannot be decoded."""
    return f"{path.name} is damaged: what could be read was delivered; copy it again from where it was recorded"
