"""Task "salvage": a damaged .aedat4 up to the damage, through the aedat package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import tee
from typing import Any

import numpy as np

from streams.aedat4 import FILTERS_KEY, ORIGIN_KEY
from streams.dv_child.conversion import first_line, rgb, store_of
from streams.dv_child.reconstruction import Reconstruction, announce_reconstruction
from streams.dv_child.recording import with_samples
from streams.isolation_child import Damaged, Message, Parent, Refused, serve
from streams.timeline import merge
from streams.types import IMU_DTYPE, TRIGGER_DTYPE, Events, Frame, Samples, events_from_columns


def salvage_recording(parent: Parent, path: str, reconstruct: bool, sensors: bool = False) -> None:
    """Task "salvage": a damaged .aedat4 up to the damage, through the aedat package; sensors: with IMU and triggers.
    Raises Refused."""
    import aedat

    parent.send("started")
    try:
        streams = aedat.Decoder(path).id_to_stream()
    except RuntimeError as error:
        raise Refused("refused", first_line(error)) from None
    with open(path, "rb") as file:
        header = file.read(1 << 16).decode("latin-1")
    events, frame = (_first_stream(streams, kind) for kind in ("events", "frame"))
    others = {kind: number for kind, theirs in (("imu", "imus"), ("triggers", "triggers"))
              if sensors and (number := _first_stream(streams, theirs)) is not None}
    opened: Message = {
        "sensor": (re.findall(r'key="source" type="string">([^<]*)<', header) or [""])[0],
        "event_resolution": None if events is None else (streams[events]["width"], streams[events]["height"]),
        "frame_resolution": None if frame is None else (streams[frame]["width"], streams[frame]["height"]),
        "events_origin": None if events is None else _kept_in(header, events, ORIGIN_KEY, "camera"),
        "frames_origin": None if frame is None else _kept_in(header, frame, ORIGIN_KEY, "camera"),
        "filters": "" if events is None else _kept_in(header, events, FILTERS_KEY, ""),
        "start_us": None,
        "end_us": None,
        "samples": [*others],
    }
    accumulate = announce_reconstruction(opened, reconstruct)

    def read(start_us: int | None, frames: bool) -> Iterator[Events | Frame | Samples]:
        damages: list[str] = []
        arrays = map(_salvaged_events, _salvaged(parent, aedat.Decoder(path), damages, events))
        if accumulate and frames:
            pairs = ((packet, store_of(packet)) for packet in arrays)
            items = Reconstruction(opened["event_resolution"]).interleave(pairs)
        else:
            # Frames lie in the file later than events of the same time: a second decoder brings them in order.
            second = _salvaged(parent, aedat.Decoder(path), damages, frame if frames else None)
            items = merge(arrays, map(_salvaged_frame, second))
        third = _salvaged(parent, aedat.Decoder(path), damages, *others.values())
        batches = [_salvaged_samples(packets, *each)
                   for packets, each in zip(tee(third, len(others)), others.items(), strict=True)]
        yield from with_samples(items, batches)
        if damages:
            raise Damaged

    serve(parent, opened, read)


def _first_stream(streams: dict[int, Message], kind: str) -> int | None:
    return min((number for number, stream in streams.items() if stream["type"] == kind), default=None)


def _kept_in(header: str, number: int, key: str, missing: str) -> str:
    """Our metadata of one stream in the XML at the start of a file."""
    stream = header.partition(f'path="/outInfo/{number}/info/"')[2].partition("</node>")[0]
    return (re.findall(rf'key="{key}" type="string">([^<]*)<', stream) or [missing])[0]


def _salvaged(parent: Parent, decoder: Any, damages: list[str], *numbers: int | None) -> Iterator[Message]:
    """Packets of these streams (None: none) up to the damage, which is noted in `damages`."""
    while any(number is not None for number in numbers):
        try:
            packet = next(decoder)
        except StopIteration:
            return
        # A panic of the decoder derives from BaseException.
        except BaseException as error:
            damages.append(first_line(error))
            return
        parent.beat()
        if packet["stream_id"] in numbers:
            yield packet


def _salvaged_events(packet: Message) -> Events:
    events = packet["events"]
    return events_from_columns(events["t"], events["x"], events["y"], events["on"])


def _salvaged_samples(packets: Iterator[Message], kind: str, number: int) -> Iterator[Samples]:
    for packet in packets:
        if packet["stream_id"] == number:
            found = packet["imus" if kind == "imu" else "triggers"]
            if len(found):
                # Both have the same fields in the same order, under other names and with unsigned times.
                data = np.zeros(len(found), IMU_DTYPE if kind == "imu" else TRIGGER_DTYPE)
                for ours, theirs in zip(data.dtype.names or (), found.dtype.names, strict=True):
                    data[ours] = found[theirs].astype(data.dtype[ours])
                yield Samples(kind, data)  # type: ignore[arg-type]


def _salvaged_frame(packet: Message) -> Frame:
    frame = packet["frame"]
    begin_us, end_us = frame["exposure_begin_t"], frame["exposure_end_t"]
    image = np.atleast_3d(frame["pixels"])
    # Unlike dv's, these pixels are RGB already.
    image = image[..., 2::-1] if image.shape[2] >= 3 else image
    return Frame((begin_us + end_us) // 2, end_us - begin_us, rgb(image))
