"""Frames for recordings that have none, from dv-processing's Accumulator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from streams.dv_child.conversion import rgb
from streams.isolation_child import Message
from streams.timeline import merge
from streams.types import Events, Frame

RECONSTRUCTED_PERIOD_US = 50_000
"""Accumulated frames come at 20 Hz, on multiples of this time: wherever reading starts they are the same."""
WARM_UP_US = 1_000_000
"""Events before a seek target that still shape the first accumulated frame: three decay times."""


def announce_reconstruction(opened: Message, reconstruct: bool) -> bool:
    """Whether frames are to be accumulated; if so `opened` says so."""
    accumulate = reconstruct and opened["event_resolution"] is not None and opened["frame_resolution"] is None
    if accumulate:
        opened |= {"frame_resolution": opened["event_resolution"], "frames_origin": "reconstructed"}
    return accumulate


class Reconstruction:
    """Frames of an event stream that has none: what dv's Accumulator shows at every period, exposure 0."""

    def __init__(self, resolution: tuple[int, int]) -> None:
        import dv_processing as dv

        self._inside = lambda store: dv.roiFilter(store, (0, 0, *resolution))
        self._accumulator = dv.Accumulator(resolution)
        self._accumulator.setNeutralPotential(0.5)
        self._accumulator.setDecayParam(0.3 * WARM_UP_US)
        self._next_us: int | None = None

    def add(self, store: Any) -> Iterator[Frame]:
        """Accumulate an EventStore and yield the frames that are due up to its last event."""
        # A single event outside the sensor would corrupt the accumulator's memory.
        store = self._inside(store)
        if store.isEmpty():
            return
        # A wild time stamp must not make frames for the next thousand years.
        begin_us, last_us = store.getLowestTime(), min(store.getHighestTime(), store.getLowestTime() + WARM_UP_US)
        period_us = RECONSTRUCTED_PERIOD_US
        next_us = self._next_us
        if next_us is None or not 0 <= begin_us - next_us + period_us <= WARM_UP_US:
            next_us = (begin_us // period_us + 1) * period_us
        while next_us <= last_us:
            self._accept(store, begin_us, next_us)
            yield Frame(next_us, 0, rgb(self._accumulator.generateFrame().image))
            begin_us, next_us = max(begin_us, next_us), next_us + period_us
        self._accept(store, begin_us, last_us + 1)
        self._next_us = next_us

    def _accept(self, store: Any, begin_us: int, end_us: int) -> None:
        part = store.sliceTime(begin_us, end_us) if begin_us < end_us else None
        if part is not None and not part.isEmpty():
            self._accumulator.accept(part)

    def interleave(self, pairs: Iterable[tuple[Events, Any]]) -> Iterator[Events | Frame]:
        """Packets (given with the same events as a store) and the frames, in time order."""
        for packet, store in pairs:
            yield from merge([packet], self.add(store))
