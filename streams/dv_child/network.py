"""Task "network": AEDAT4 streams that a peer serves, each on a port or socket of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from streams.aedat4 import FILTERS_KEY, ORIGIN_KEY
from streams.dv_child.conversion import batches_of, first_line, our_frame, samples_of
from streams.isolation_child import Message, Parent, Refused, serve
from streams.types import EVENT_DTYPE, Events, Frame, Samples

FRAME_WAITS_S = 0.05
"""How long a frame waits at most for the events before it: in a quiet scene none come. On a machine that is starved for
longer it overtakes them; nothing is lost by that, a window takes both by their times."""


CHECKS = {"events": "isEventStreamAvailable", "frames": "isFrameStreamAvailable", "imu": "isImuStreamAvailable",
          "triggers": "isTriggerStreamAvailable"}


def read_network(parent: Parent, sensors: bool = False, **places: list[str | int]) -> None:
    """Task "network": places [address, port] or [path of a socket] of the events and, where wanted, of frames, imu and
    triggers. Raises Refused."""
    import dv_processing as dv

    parent.send("started")
    readers: dict[str, Any] = {}
    for kind, place in places.items():
        try:
            readers[kind] = dv.io.NetworkReader(*place)
        except RuntimeError as error:
            raise Refused("refused", first_line(error)) from None
        if not getattr(readers[kind], CHECKS[kind])():
            raise Refused("refused", f"it serves no {kind} there")
    for_events, for_frames = readers["events"], readers.get("frames")
    origins = [reader and (reader.getStreamDefinition().getMetadataValue(ORIGIN_KEY) or "camera")
               for reader in (for_events, for_frames)]
    others = [each for kind in ("imu", "triggers") if kind in readers for each in batches_of(readers[kind])]
    opened: Message = {
        "sensor": for_events.getCameraName(),
        "event_resolution": for_events.getEventResolution(),
        "frame_resolution": for_frames and for_frames.getFrameResolution(),
        "events_origin": origins[0],
        "frames_origin": origins[1],
        "filters": for_events.getStreamDefinition().getMetadataValue(FILTERS_KEY) or "",
        "start_us": None,
        "end_us": None,
        "samples": [kind for kind, _ in others],
    }

    def read(start_us: int | None, wanted: bool) -> Iterator[Events | Frame | Samples]:
        waiting: deque[tuple[float, Frame]] = deque()
        last_us: int | None = None
        while for_events.isRunning():
            store = for_events.getNextEventBatch()
            picture = for_frames.getNextFrame() if for_frames is not None else None
            if store is not None and not store.isEmpty():
                last_us = store.getHighestTime()
                yield store.numpy().view(EVENT_DTYPE)
            if picture is not None and wanted:
                waiting.append((time.monotonic(), our_frame(picture)))
            # The two connections are not equally fast: a frame waits a moment for the events before it.
            while waiting and _due(*waiting[0], last_us):
                yield waiting.popleft()[1]
            arrived = [samples_of(kind, batch) for kind, next_batch in others if (batch := next_batch())]
            yield from arrived
            if store is None and picture is None and not arrived:
                parent.beat()
                while message := parent.receive(wait=False):
                    parent.handle(message)
                time.sleep(0.001)
        raise Refused("failed", "the other side ended the connection")

    serve(parent, opened, read, live=True)


def _due(since_s: float, frame: Frame, last_us: int | None) -> bool:
    return (last_us is not None and last_us >= frame.begin_us) or time.monotonic() - since_s > FRAME_WAITS_S
