"""A live source whose data a supervised child process delivers: cameras and network streams.

    source = SupervisedSource({"task": "camera", "serial": ""}, "camera")
    for item in source: ...                     # event packets, Frames, empty packets while nothing happens

When the consumer is slower than the source the newest packets are kept, and losses.n_dropped counts the events of the
others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from streams.delivery import resolution_of, stream
from streams.isolation import Child, ChildError, Message
from streams.types import InputError, Losses, Packet, SensorSink, SourceInfo

OPEN_S = 10.0
"""Patience for a camera to start over USB, or a peer to answer."""
SLOT_EVENTS = 8192
"""Small slots: a batch of 10 ms of a quiet scene should not occupy the place of ten."""
SILENT_S = 5.0
"""Without any data for so long a source is said to be silent."""


class SupervisedSource:
    """A child's task as a live Source (streams/types.py).

    what: what a person calls it. losses: counters to go on with. child_argv stands in for the real child process.
    sensors: gets the samples of the IMU and the triggers.
    Raises InputError, with the child's own words in parentheses, when it cannot be opened.
    """

    def __init__(self, task: Message, what: str, losses: Losses | None = None,
                 child_argv: Sequence[str] | None = None, advice: str = "check its cable and permissions",
                 sensors: SensorSink | None = None) -> None:
        self._closed = False
        self.losses = losses or Losses()
        """Counters of what was lost so far; damage says why it ended."""
        try:
            asked = task | ({"sensors": True} if sensors else {})
            self._child = Child(asked, child_argv, live=True, losses=self.losses)
            opened = self._child.expect("open", OPEN_S)
        except ChildError as error:
            if error.kind == "option":
                raise InputError(f"{what}: {error}") from None
            raise InputError(f"{what} cannot be opened ({error}): {advice}.") from None
        self._info = SourceInfo(
            name=opened["sensor"] or what, event_resolution=resolution_of(opened, "event_resolution"),
            frame_resolution=resolution_of(opened, "frame_resolution"), live=True,
            events_origin=opened["events_origin"], frames_origin=opened["frames_origin"], sensor=opened["sensor"],
            filters=opened.get("filters", ""), samples=tuple(opened.get("samples", ())))
        self._stream = stream(self._child, opened, self.losses, slot_events=SLOT_EVENTS,
                              sensors=sensors)
        self._heard_s = time.monotonic()

    @property
    def info(self) -> SourceInfo:
        """What this source is; reading it consumes nothing."""
        return self._info

    def __iter__(self) -> Iterator[Packet]:
        return self

    def __next__(self) -> Packet:
        """Next packet or Frame; ends when it is closed, unplugged or stops answering."""
        try:
            item = next(self._stream)
        except ChildError as error:
            self._child.close()
            if not self._closed:
                self.losses.damage = f"{self._info.name} stopped ({error})."
            raise StopIteration from None
        if isinstance(item, np.ndarray) and len(item) == 0:
            if time.monotonic() - self._heard_s > SILENT_S:
                self.losses.outage = f"{self._info.name} has sent nothing for {SILENT_S:g} s or more."
        else:
            self._heard_s = time.monotonic()
            self.losses.outage = None
        return item

    def seek(self, t_us: int) -> None:
        """A live source has no past. Raises InputError."""
        raise InputError(f"{self._info.name} is live: seeking works in recordings only, record it first.")

    def rate_histogram(self, bins: int) -> np.ndarray:
        """A live source has no length. Raises InputError."""
        raise InputError(f"{self._info.name} is live: only a recording has a rate histogram, record it first.")

    def close(self) -> None:
        """Let it go; may be called any number of times, from any thread."""
        self._closed = True
        self._child.close()

    def __enter__(self) -> SupervisedSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
