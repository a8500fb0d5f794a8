"""Between dv-processing's objects and ours: frames, event stores, errors in one line."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from streams.types import IMU_DTYPE, TRIGGER_DTYPE, Events, Frame, Samples


def our_frame(picture: Any) -> Frame:
    """A dv frame (time of the start of exposure; grey or BGR) as ours (mid-exposure; RGB)."""
    exposure_us = round(picture.exposure.total_seconds() * 1e6)
    return Frame(int(picture.timestamp) + exposure_us // 2, exposure_us, rgb(picture.image))


def rgb(image: np.ndarray) -> np.ndarray:
    """Grey [H, W] or BGR(A) [H, W, C] as RGB [H, W, 3]."""
    image = np.atleast_3d(image)
    return image[..., 2::-1] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)


def samples_of(kind: str, batch: Any) -> Samples:
    """A batch of dv's IMU measurements or triggers as ours."""
    if kind == "triggers":
        pairs = [(int(one.timestamp), int(one.type.value)) for one in batch]
        return Samples("triggers", np.array(pairs, TRIGGER_DTYPE))
    fields = [f"{what}{axis}" for what in ("accelerometer", "gyroscope", "magnetometer") for axis in "XYZ"]
    rows = [(int(one.timestamp), one.temperature, *(getattr(one, name) for name in fields)) for one in batch]
    return Samples("imu", np.array(rows, IMU_DTYPE))


def batches_of(reader: Any) -> list[tuple[str, Callable[[], Any]]]:
    """Kind and next batch (None when there is none) of the samples that a recording, camera or stream has."""
    found = [("imu", reader.getNextImuBatch)] if reader.isImuStreamAvailable() else []
    return found + ([("triggers", reader.getNextTriggerBatch)] if reader.isTriggerStreamAvailable() else [])


def store_of(packet: Events) -> Any:
    """An EventStore of a packet; dv has no constructor from arrays, this is its fastest loop (4 M/s)."""
    import dv_processing as dv

    store = dv.EventStore()
    # push_back() refuses time that runs backwards, which salvaged packets may contain.
    packet = packet[packet["t"] >= np.maximum.accumulate(packet["t"])]
    deque(map(store.push_back, packet.tolist()), maxlen=0)
    return store


def first_line(error: BaseException) -> str:
    """What went wrong, without the C++ location, stack trace and class name around it."""
    lines = str(error).split("\n")
    line = lines[1] if len(lines) > 1 and "Stacktrace" in str(error) else lines[0]
    return re.sub(r"^\w*(Error|Argument\S*): | - Error info:.*", "", line).strip().rstrip(".")[:200]
