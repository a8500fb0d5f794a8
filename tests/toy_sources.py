"""Sources in memory: what streams and player are tested with.

    ListSource([packet, frame, packet])          # a file
    FeedSource(info)                             # a camera: feed() items, end() or fail() it
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import TracebackType

import numpy as np

from streams.types import (
    IMU_DTYPE,
    TRIGGER_DTYPE,
    Frame,
    InputError,
    Losses,
    Packet,
    Resolution,
    Samples,
    SourceInfo,
    empty_packet,
    events_from_columns,
)

SENSOR = Resolution(8, 6)


def events_at(times_us: list[int]) -> np.ndarray:
    """One event per time, walking over the sensor with alternating polarity."""
    index = np.arange(len(times_us))
    return events_from_columns(np.array(times_us, np.int64), index % SENSOR.width,
                               index % SENSOR.height, index % 2 == 0)


def imu_at(times_us: Sequence[int]) -> Samples:
    """IMU samples whose values tell their number."""
    data = np.zeros(len(times_us), IMU_DTYPE)
    for place, name in enumerate(IMU_DTYPE.names or ()):
        data[name] = np.arange(len(times_us)) + place / 4
    data["t"] = times_us
    return Samples("imu", data)


def triggers_at(times_us: Sequence[int]) -> Samples:
    """Triggers of changing kind."""
    data = np.zeros(len(times_us), TRIGGER_DTYPE)
    data["t"], data["kind"] = times_us, 1 + np.arange(len(times_us)) % 3
    return Samples("triggers", data)


def random_events(count: int, span_us: int, seed: int = 0) -> np.ndarray:
    """Sorted random events in [0, span_us)."""
    rng = np.random.default_rng(seed)
    return events_from_columns(np.sort(rng.integers(0, span_us, count)), rng.integers(0, SENSOR.width, count),
                               rng.integers(0, SENSOR.height, count), rng.random(count) < 0.5)


def frame_at(t_us: int, exposure_us: int = 0) -> Frame:
    """A frame whose pixels tell its time in ms."""
    return Frame(t_us, exposure_us, np.full((*SENSOR.hw, 3), t_us // 1000 % 256, np.uint8))


def cut(events: np.ndarray, frames: list[Frame], cuts: list[int]) -> list[Packet]:
    """Packets cut at the given indices, merged with frames by the time at which items begin."""
    edges = [0, *sorted(cuts), len(events)]
    packets = [events[a:b] for a, b in pairwise(edges)]
    keyed = [(int(packet["t"][0]), 0, i, packet) for i, packet in enumerate(packets) if len(packet)]
    keyed += [(frame.t_us - frame.exposure_us // 2, 1, i, frame) for i, frame in enumerate(frames)]
    return [item for *_, item in sorted(keyed, key=lambda entry: entry[:3])]


def toy_info(frames: bool = False, live: bool = False, start_us: int | None = 0,
             duration_us: int | None = None) -> SourceInfo:
    return SourceInfo("toy", SENSOR, SENSOR if frames else None, live, start_us, duration_us,
                      frames_origin="camera" if frames else None)


class ListSource:
    """A recording in memory; fails with `failure` at the end when given. Counts its seeks and closes."""

    def __init__(self, items: list[Packet], info: SourceInfo | None = None,
                 failure: Exception | None = None) -> None:
        has_frames = any(isinstance(item, Frame) for item in items)
        self.info = info or toy_info(frames=has_frames)
        self.losses = Losses()
        self.seeks: list[int] = []
        self.n_read = self.n_closed = 0
        self._items, self._failure = items, failure
        self._next = self._from_us = 0

    def __iter__(self) -> Iterator[Packet]:
        while self._next < len(self._items):
            item = self._items[self._next]
            self._next += 1
            self.n_read += 1
            if isinstance(item, Frame):
                if item.t_us >= self._from_us:
                    yield item
            elif not len(item) or item["t"][-1] >= self._from_us:
                yield item[item["t"] >= self._from_us]
        if self._failure is not None:
            raise self._failure

    def seek(self, t_us: int) -> None:
        self.seeks.append(t_us)
        self._next, self._from_us = 0, t_us

    def rate_histogram(self, bins: int) -> np.ndarray:
        return np.arange(bins, dtype=np.float64)

    def close(self) -> None:
        self.n_closed += 1
        self._items = []

    def __enter__(self) -> ListSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


class FeedSource(ListSource):
    """A live source: gives what it is fed, blocks in between, ends on end(), fail() or close()."""

    def __init__(self, info: SourceInfo | None = None) -> None:
        super().__init__([], info or toy_info(live=True, start_us=None))
        self.n_asked = 0
        self._feed: queue.SimpleQueue[Packet | Exception | None] = queue.SimpleQueue()

    def feed(self, *items: Packet) -> None:
        for item in items:
            self._feed.put(item)

    def end(self) -> None:
        self._feed.put(None)

    def fail(self, error: Exception) -> None:
        self._feed.put(error)

    def __iter__(self) -> Iterator[Packet]:
        while True:
            self.n_asked += 1
            item = self._feed.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            self.n_read += 1
            yield item

    def seek(self, t_us: int) -> None:
        raise InputError("toy is live")

    def close(self) -> None:
        super().close()
        self.end()


TIME_PASSED = empty_packet()
