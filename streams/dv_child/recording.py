"""Task "recording": an .aedat4 through dv-processing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from streams.aedat4 import FILTERS_KEY, ORIGIN_KEY
from streams.dv_child.conversion import batches_of, first_line, our_frame, samples_of
from streams.dv_child.reconstruction import WARM_UP_US, Reconstruction, announce_reconstruction
from streams.isolation_child import Message, Parent, Refused, serve
from streams.timeline import begins_us, merge
from streams.types import EVENT_DTYPE, Events, Frame, Samples

PLAUSIBLE_SPAN_US = 7 * 86_400 * 1_000_000
"""A file table that claims more than a week is damaged: the parent finds out by reading."""


def read_recording(parent: Parent, path: str, reconstruct: bool, sensors: bool = False) -> None:
    """Task "recording": an .aedat4 through dv-processing; sensors: with IMU and triggers. Raises Refused."""
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
        "filters": reader.getStreamMetadata("events").get(FILTERS_KEY, "") if has_events else "",
        "start_us": first_us if known else None,
        "end_us": last_us if known else None,
        "samples": [kind for kind, _ in batches_of(reader)] if sensors else [],
    }
    accumulate = announce_reconstruction(opened, reconstruct)

    def read(start_us: int | None, frames: bool) -> Iterator[Events | Frame | Samples]:
        reader.resetSequentialRead()
        skip_us = (start_us or 0) - (WARM_UP_US if accumulate else 0)
        stores = _stores(parent, reader.getNextEventBatch, skip_us) if has_events else iter(())
        pairs = ((store.numpy().view(EVENT_DTYPE), store) for store in stores)
        if accumulate and frames:
            items = Reconstruction(opened["event_resolution"]).interleave(pairs)
        else:
            pictures = map(our_frame, iter(reader.getNextFrame, None)) if has_frames and frames else iter(())
            items = merge((packet for packet, _ in pairs), pictures)
        return with_samples(items, [_of_one(*each) for each in batches_of(reader)]) if sensors else items

    serve(parent, opened, read)


def _of_one(kind: str, next_batch: Callable[[], Any]) -> Iterator[Samples]:
    return (samples_of(kind, batch) for batch in iter(next_batch, None) if len(batch))


def with_samples(items: Iterator[Events | Frame],
                 streams: Sequence[Iterator[Samples]]) -> Iterator[Events | Frame | Samples]:
    """Everything in order of begin."""
    heads = [next(stream, None) for stream in streams]
    for item in items:
        begin_us = begins_us(item)
        for place, stream in enumerate(streams):
            while (head := heads[place]) is not None and begin_us is not None and head.data["t"][0] < begin_us:
                yield head
                heads[place] = next(stream, None)
        yield item
    for head, stream in zip(heads, streams, strict=True):
        if head is not None:
            yield head
            yield from stream


def _stores(parent: Parent, next_batch: Callable[[], Any], skip_us: int) -> Iterator[Any]:
    """Event stores that reach beyond skip_us; what is skipped is never copied."""
    while (store := next_batch()) is not None:
        # Asking an empty store for its first event is a segmentation fault.
        if not store.isEmpty() and store.getHighestTime() >= skip_us:
            yield store
        parent.beat()
