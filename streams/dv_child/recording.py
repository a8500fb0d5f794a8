"""Task "recording": an .aedat4 through dv-processing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from streams.aedat4 import ORIGIN_KEY
from streams.dv_child.conversion import first_line, our_frame
from streams.dv_child.reconstruction import WARM_UP_US, Reconstruction, announce_reconstruction
from streams.isolation_child import Message, Parent, Refused, serve
from streams.timeline import merge
from streams.types import EVENT_DTYPE, Events, Frame

PLAUSIBLE_SPAN_US = 7 * 86_400 * 1_000_000
"""A file table that claims more than a week is damaged: the parent finds out by reading."""


def read_recording(parent: Parent, path: str, reconstruct: bool) -> None:
    """Task "recording": an .aedat4 through dv-processing. Raises Refused."""
    import dv_processing as dv

    parent.send("started")
    try:
        reader = dv.io.MonoCameraRecording(path)
    except RuntimeError as error:
        raise Refused("refused", first_line(error)) from None
    has_events, has_frames = reader.isEventStreamAvailable(), reader.isFrameStreamAvailable()
    first_us, last_us = reader.getTimeRange()
    # Without a table, without data or with a damaged table the parent finds out by reading.
    known = 0 < first_us <= last_us <= first_us + PLAUSIBLE_SPAN_US
    opened: Message = {
        "sensor": reader.getCameraName(),
        "event_resolution": reader.getEventResolution() if has_events else None,
        "frame_resolution": reader.getFrameResolution() if has_frames else None,
        "events_origin": reader.getStreamMetadata("events").get(ORIGIN_KEY, "camera") if has_events else None,
        "frames_origin": reader.getStreamMetadata("frames").get(ORIGIN_KEY, "camera") if has_frames else None,
        "start_us": first_us if known else None,
        "end_us": last_us if known else None,
    }
    accumulate = announce_reconstruction(opened, reconstruct)

    def read(start_us: int | None, frames: bool) -> Iterator[Events | Frame]:
        reader.resetSequentialRead()
        skip_us = (start_us or 0) - (WARM_UP_US if accumulate else 0)
        stores = _stores(parent, reader.getNextEventBatch, skip_us) if has_events else iter(())
        pairs = ((store.numpy().view(EVENT_DTYPE), store) for store in stores)
        if accumulate and frames:
            return Reconstruction(opened["event_resolution"]).interleave(pairs)
        pictures = map(our_frame, iter(reader.getNextFrame, None)) if has_frames and frames else iter(())
        return merge((packet for packet, _ in pairs), pictures)

    serve(parent, opened, read)


def _stores(parent: Parent, next_batch: Callable[[], Any], skip_us: int) -> Iterator[Any]:
    """Event stores that reach beyond skip_us; what is skipped is never copied."""
    while (store := next_batch()) is not None:
        # Asking an empty store for its first event is a segmentation fault.
        if not store.isEmpty() and store.getHighestTime() >= skip_us:
            yield store
        parent.beat()
