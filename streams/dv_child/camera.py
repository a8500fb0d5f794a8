"""Tasks "camera" and "discover": live cameras."""

from __future__ import annotations

import time
from collections.abc import Iterator

from streams.camera_options import apply
from streams.dv_child.conversion import batches_of, first_line, our_frame, samples_of
from streams.isolation_child import Message, Parent, Refused, serve
from streams.types import EVENT_DTYPE, Events, Frame, Samples


def read_camera(parent: Parent, serial: str, options: dict[str, str], sensors: bool = False) -> None:
    """Task "camera": events and frames of the camera with this serial number ("" = first), set as the options say
    (streams/camera_options.py); sensors: with IMU and triggers. Raises Refused."""
    import dv_processing as dv

    parent.send("started")
    try:
        camera = dv.io.camera.open(serial) if serial else dv.io.camera.open()
    except IndexError:
        raise Refused("empty", "no camera found") from None
    except RuntimeError as error:
        raise Refused("refused", first_line(error)) from None
    try:
        apply(camera, dv, options)
    except ValueError as error:
        raise Refused("option", str(error)) from None
    has_frames = camera.isFrameStreamAvailable()
    opened: Message = {
        "sensor": camera.getCameraName(),
        "event_resolution": camera.getEventResolution(),
        "frame_resolution": camera.getFrameResolution() if has_frames else None,
        "events_origin": "camera",
        "frames_origin": "camera" if has_frames else None,
        "start_us": None,
        "end_us": None,
    }
    others = batches_of(camera)
    opened["samples"] = [kind for kind, _ in others] if sensors else []

    def read(start_us: int | None, frames: bool) -> Iterator[Events | Frame | Samples]:
        while camera.isRunning():
            store = camera.getNextEventBatch()
            picture = camera.getNextFrame() if has_frames else None
            # Unread streams would fill the driver's queue.
            for kind, next_batch in others:
                batch = next_batch()
                if sensors and batch is not None and len(batch):
                    yield samples_of(kind, batch)
            if store is not None and not store.isEmpty():
                yield store.numpy().view(EVENT_DTYPE)
            if picture is not None and frames:
                yield our_frame(picture)
            if store is None and picture is None:
                parent.beat()
                while message := parent.receive(wait=False):
                    parent.handle(message)
                time.sleep(0.001)
        raise Refused("failed", "the camera was disconnected")

    serve(parent, opened, read, live=True)


def discover(parent: Parent) -> None:
    """Task "discover": model, serial number, firmware and USB place of the attached cameras."""
    import dv_processing as dv

    parent.send("started")
    parent.send("cameras", cameras=[
        {"model": camera.cameraModel.name, "serial": str(camera.serialNumber), "firmware": str(camera.firmwareVersion),
         "usb": f"{camera.busNumber}:{camera.devAddress}"} for camera in dv.io.camera.discover()])
