"""The program inside the supervised child: the only file that imports dv_processing, and aedat for salvage.

    python -P -m streams.dv_child       # then speak the protocol of streams/isolation.py on stdin and stdout

Tasks: "recording" and "salvage" read an .aedat4, "camera" reads a live camera, "write" writes an .aedat4,
"discover" lists cameras.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from streams.isolation_child import Damaged, Message, Parent, Refused, merge, serve
from streams.types import EVENT_DTYPE, Events, Frame, events_from_columns

PLAUSIBLE_SPAN_US = 7 * 86_400 * 1_000_000
"""A file table that claims more than a week is damaged: the parent finds out by reading."""
RECONSTRUCTED_PERIOD_US = 50_000
"""Accumulated frames come at 20 Hz, on multiples of this time: wherever reading starts they are the same."""
WARM_UP_US = 1_000_000
"""Events before a seek target that still shape the first accumulated frame: three decay times."""
ORIGIN_KEY = "parafoveaOrigin"
"""Stream metadata in files that we write: where the events or the frames of the file come from."""

FRAME_SOURCES = {"rendered": "SYNTHETIC", "reconstructed": "RECONSTRUCTION"}


def read_recording(parent: Parent, path: str, reconstruct: bool) -> None:
    """Task "recording": an .aedat4 through dv-processing. Raises Refused."""
    import dv_processing as dv

    parent.send("started")
    try:
        reader = dv.io.MonoCameraRecording(path)
    except RuntimeError as error:
        raise Refused("refused", _first_line(error)) from None
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
    accumulate = _announce_reconstruction(opened, reconstruct)

    def read(start_us: int | None, frames: bool) -> Iterator[Events | Frame]:
        reader.resetSequentialRead()
        skip_us = (start_us or 0) - (WARM_UP_US if accumulate else 0)
        stores = _stores(parent, reader.getNextEventBatch, skip_us) if has_events else iter(())
        pairs = ((store.numpy().view(EVENT_DTYPE), store) for store in stores)
        if accumulate and frames:
            return Reconstruction(opened["event_resolution"]).interleave(pairs)
        pictures = map(_frame, iter(reader.getNextFrame, None)) if has_frames and frames else iter(())
        return merge((packet for packet, _ in pairs), pictures)

    serve(parent, opened, read)


def _announce_reconstruction(opened: Message, reconstruct: bool) -> bool:
    """Whether frames are to be accumulated; if so `opened` says so."""
    accumulate = reconstruct and opened["event_resolution"] is not None and opened["frame_resolution"] is None
    if accumulate:
        opened |= {"frame_resolution": opened["event_resolution"], "frames_origin": "reconstructed"}
    return accumulate


def _stores(parent: Parent, next_batch: Callable[[], Any], skip_us: int) -> Iterator[Any]:
    """Event stores that reach beyond skip_us; what is skipped is never copied."""
    while (store := next_batch()) is not None:
        # Asking an empty store for its first event is a segmentation fault.
        if not store.isEmpty() and store.getHighestTime() >= skip_us:
            yield store
        parent.beat()


def _frame(picture: Any) -> Frame:
    """A dv frame (time of the start of exposure; grey or BGR) as ours (mid-exposure; RGB)."""
    exposure_us = round(picture.exposure.total_seconds() * 1e6)
    return Frame(int(picture.timestamp) + exposure_us // 2, exposure_us, _rgb(picture.image))


def _rgb(image: np.ndarray) -> np.ndarray:
    """Grey [H, W] or BGR(A) [H, W, C] as RGB [H, W, 3]."""
    image = np.atleast_3d(image)
    return image[..., 2::-1] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)


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
            yield Frame(next_us, 0, _rgb(self._accumulator.generateFrame().image))
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


def salvage_recording(parent: Parent, path: str, reconstruct: bool) -> None:
    """Task "salvage": a damaged .aedat4 up to the damage, through the aedat package. Raises Refused."""
    import aedat

    parent.send("started")
    try:
        streams = aedat.Decoder(path).id_to_stream()
    except RuntimeError as error:
        raise Refused("refused", _first_line(error)) from None
    with open(path, "rb") as file:
        header = file.read(1 << 16).decode("latin-1")
    events, frame = (_first_stream(streams, kind) for kind in ("events", "frame"))
    opened: Message = {
        "sensor": (re.findall(r'key="source" type="string">([^<]*)<', header) or [""])[0],
        "event_resolution": None if events is None else (streams[events]["width"], streams[events]["height"]),
        "frame_resolution": None if frame is None else (streams[frame]["width"], streams[frame]["height"]),
        "events_origin": None if events is None else _origin_in(header, events),
        "frames_origin": None if frame is None else _origin_in(header, frame),
        "start_us": None,
        "end_us": None,
    }
    accumulate = _announce_reconstruction(opened, reconstruct)

    def read(start_us: int | None, frames: bool) -> Iterator[Events | Frame]:
        damages: list[str] = []
        arrays = map(_salvaged_events, _salvaged(parent, aedat.Decoder(path), events, damages))
        if accumulate and frames:
            pairs = ((packet, _store(packet)) for packet in arrays)
            yield from Reconstruction(opened["event_resolution"]).interleave(pairs)
        else:
            # Frames lie in the file later than events of the same time: a second decoder brings them in order.
            second = _salvaged(parent, aedat.Decoder(path), frame if frames else None, damages)
            yield from merge(arrays, map(_salvaged_frame, second))
        if damages:
            raise Damaged

    serve(parent, opened, read)


def _first_stream(streams: dict[int, Message], kind: str) -> int | None:
    return min((number for number, stream in streams.items() if stream["type"] == kind), default=None)


def _origin_in(header: str, number: int) -> str:
    """Our metadata of one stream in the XML at the start of a file."""
    stream = header.partition(f'path="/outInfo/{number}/info/"')[2].partition("</node>")[0]
    return (re.findall(rf'key="{ORIGIN_KEY}" type="string">([^<]*)<', stream) or ["camera"])[0]


def _salvaged(parent: Parent, decoder: Any, number: int | None, damages: list[str]) -> Iterator[Message]:
    """Packets of one stream (none for None) up to the damage, which is noted in `damages`."""
    while number is not None:
        try:
            packet = next(decoder)
        except StopIteration:
            return
        # A panic of the decoder derives from BaseException.
        except BaseException as error:
            damages.append(_first_line(error))
            return
        parent.beat()
        if packet["stream_id"] == number:
            yield packet


def _salvaged_events(packet: Message) -> Events:
    events = packet["events"]
    return events_from_columns(events["t"], events["x"], events["y"], events["on"])


def _salvaged_frame(packet: Message) -> Frame:
    frame = packet["frame"]
    begin_us, end_us = frame["exposure_begin_t"], frame["exposure_end_t"]
    image = np.atleast_3d(frame["pixels"])
    # Unlike dv's, these pixels are RGB already.
    image = image[..., 2::-1] if image.shape[2] >= 3 else image
    return Frame((begin_us + end_us) // 2, end_us - begin_us, _rgb(image))


def read_camera(parent: Parent, serial: str) -> None:
    """Task "camera": events and frames of the camera with this serial number ("" = first). Raises Refused."""
    import dv_processing as dv

    parent.send("started")
    try:
        camera = dv.io.camera.open(serial) if serial else dv.io.camera.open()
    except IndexError:
        raise Refused("empty", "no camera found") from None
    except RuntimeError as error:
        raise Refused("refused", _first_line(error)) from None
    has_frames = camera.isFrameStreamAvailable()
    opened = {
        "sensor": camera.getCameraName(),
        "event_resolution": camera.getEventResolution(),
        "frame_resolution": camera.getFrameResolution() if has_frames else None,
        "events_origin": "camera",
        "frames_origin": "camera" if has_frames else None,
        "start_us": None,
        "end_us": None,
    }
    others = [camera.getNextImuBatch] if camera.isImuStreamAvailable() else []
    others += [camera.getNextTriggerBatch] if camera.isTriggerStreamAvailable() else []

    def read(start_us: int | None, frames: bool) -> Iterator[Events | Frame]:
        while camera.isRunning():
            store = camera.getNextEventBatch()
            picture = camera.getNextFrame() if has_frames else None
            # Unread streams would fill the driver's queue.
            deque((other() for other in others), maxlen=0)
            if store is not None and not store.isEmpty():
                yield store.numpy().view(EVENT_DTYPE)
            if picture is not None and frames:
                yield _frame(picture)
            if store is None and picture is None:
                parent.beat()
                while message := parent.receive(wait=False):
                    parent.handle(message)
                time.sleep(0.001)
        raise Refused("failed", "the camera was disconnected")

    serve(parent, opened, read, live=True)


def discover(parent: Parent) -> None:
    """Task "discover": the serial numbers of the attached cameras."""
    import dv_processing as dv

    parent.send("started")
    parent.send("cameras", serials=[str(camera.serialNumber) for camera in dv.io.camera.discover()])


def write_recording(
    parent: Parent,
    path: str,
    sensor: str,
    compression: str,
    event_resolution: list[int],
    frame_resolution: list[int] | None,
    events_origin: str,
    frames_origin: str | None,
) -> None:
    """Task "write": put what the parent hands over into an .aedat4. Raises Refused."""
    import dv_processing as dv

    parent.send("started")
    config = dv.io.MonoCameraWriter.Config(sensor, getattr(dv.CompressionType, compression.upper()))
    config.addEventStream(tuple(event_resolution))
    config.addStreamMetadata("events", (ORIGIN_KEY, events_origin))
    if frame_resolution:
        config.addFrameStream(tuple(frame_resolution))
        config.addStreamMetadata("frames", (ORIGIN_KEY, frames_origin))
    try:
        writer = dv.io.MonoCameraWriter(path, config)
    except RuntimeError as error:
        raise Refused("refused", _first_line(error)) from None
    parent.send("open")
    source = getattr(dv.FrameSource, FRAME_SOURCES.get(frames_origin or "", "SENSOR"))
    while (message := parent.receive()) and message["type"] != "end":
        if message["type"] == "ring":
            parent.handle(message)
            for slot in parent.free:
                parent.send("free", slot=slot)
            continue
        if message["type"] == "events":
            packet = parent.array(message["slot"], EVENT_DTYPE, message["n"])
            writer.writeEventPacket(_store(packet).toPacket())
        elif message["type"] == "frame":
            shape, exposure_us = (message["height"], message["width"], 3), message["exposure_us"]
            image = parent.array(message["slot"], np.dtype(np.uint8), int(np.prod(shape))).reshape(shape)
            begin_us = message["t_us"] - exposure_us // 2
            writer.writeFrame(dv.Frame(begin_us, exposure_us, 0, 0, image[..., ::-1].copy(), source))
        parent.send("free", slot=message["slot"])
    # There is no close(): deleting the writer writes the table and closes the file.
    del writer
    parent.send("end", damaged=False)


def _store(packet: Events) -> Any:
    """An EventStore of a packet; dv has no constructor from arrays, this is its fastest loop (4 Mev/s)."""
    import dv_processing as dv

    store = dv.EventStore()
    # push_back() refuses time that runs backwards, which salvaged packets may contain.
    packet = packet[packet["t"] >= np.maximum.accumulate(packet["t"])]
    deque(map(store.push_back, packet.tolist()), maxlen=0)
    return store


def _first_line(error: BaseException) -> str:
    """What went wrong, without the C++ location, stack trace and class name around it."""
    lines = str(error).split("\n")
    line = lines[1] if len(lines) > 1 and "Stacktrace" in str(error) else lines[0]
    return re.sub(r"^\w*(Error|Argument\S*): | - Error info:.*", "", line).strip().rstrip(".")[:200]


TASKS: dict[str, Callable[..., None]] = {
    "recording": read_recording,
    "salvage": salvage_recording,
    "camera": read_camera,
    "write": write_recording,
    "discover": discover,
}


def main() -> None:
    """Do the one task that the parent sends, then exit without running destructors of the SDK."""
    parent = Parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        task = parent.receive() or {}
        arguments = {key: value for key, value in task.items() if key not in ("type", "task")}
        TASKS[task["task"]](parent, **arguments)
    except SystemExit:
        pass
    except Refused as error:
        parent.send("error", kind=error.kind, message=str(error))
    except ImportError as error:
        package = {"dv_processing": "dv-processing", "aedat": "aedat"}.get(error.name or "", error.name)
        advice = f"{package} is not installed: run `pip install {package}`"
        parent.send("error", kind="missing", message=advice)
    except BaseException as error:
        parent.send("error", kind="failed", message=_first_line(error))
    # Waiting for the interpreter to end could wait for a thread that waits for the parent.
    os._exit(0)


if __name__ == "__main__":
    main()
