"""Task "network": AEDAT4 streams that a peer serves, each on a port or socket of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from streams.aedat4 import FILTERS_KEY, ORIGIN_KEY
from streams.dv_child.conversion import batches_of, first_line, our_frame, samples_of
from streams.isolation_child import Message, Parent, Refused, serve
from streams.ordering import InOrder
from streams.types import EVENT_DTYPE, Events, Frame, Samples

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
        order = InOrder(for_frames is not None and wanted)
        n_late = 0
        while for_events.isRunning():
            store = for_events.getNextEventBatch()
            picture = for_frames.getNextFrame() if for_frames is not None else None
            if store is not None and not store.isEmpty():
                order.add(store.numpy().view(EVENT_DTYPE))
            if picture is not None and wanted:
                order.add(our_frame(picture))
            elif for_frames is not None and not for_frames.isRunning():
                order.no_more_frames()
            yield from order.ready()
            if order.n_late > n_late:
                parent.send("late", n=order.n_late - n_late)
                n_late = order.n_late
            arrived = [samples_of(kind, batch) for kind, next_batch in others if (batch := next_batch())]
            yield from arrived
            parent.beat()
            if store is None and picture is None and not arrived:
                while message := parent.receive(wait=False):
                    parent.handle(message)
                time.sleep(0.001)
        yield from order.rest()
        raise Refused("failed", "the other side ended the connection")

    serve(parent, opened, read, live=True)
