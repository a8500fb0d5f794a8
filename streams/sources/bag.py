"""ROS 1 bags: events of dvs_msgs, prophesee_event_msgs or event_camera_msgs (EVT 3.0), and frames.

    with open_source("walk.bag") as source:
        for item in source: ...

The first topic with events and the first with sensor_msgs/Image are read. Times are those of the events and of the
images' headers; EVT 3.0 has the sensor's own clock, which is set to that of the first header when there are images.
Specifications: the message definitions in those packages; serialisation as in wiki.ros.org/msg.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streams.recording import RecordingSource
from streams.rosbag import MAGIC, Bag, Message, Place
from streams.sources.evt3 import State, decoded
from streams.timeline import begins_us
from streams.types import Events, Frame, InputError, Losses, Packet, Resolution, events_from_columns

ARRAYS = ("dvs_msgs/EventArray", "prophesee_event_msgs/EventArray")
PACKETS = ("event_camera_msgs/EventPacket",)
IMAGES = ("sensor_msgs/Image",)
EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("s", "<u4"), ("ns", "<u4"), ("p", "u1")])
CHANNELS = {"mono8": 1, "8UC1": 1, "rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4}
BAYER = {"bayer_rggb8": cv2.COLOR_BayerRGGB2RGB, "bayer_bggr8": cv2.COLOR_BayerBGGR2RGB,
         "bayer_gbrg8": cv2.COLOR_BayerGBRG2RGB, "bayer_grbg8": cv2.COLOR_BayerGRBG2RGB}
LARGEST_SIDE = 16384


def matches(path: Path, head: bytes) -> bool:
    """Whether a file that starts with these bytes is a ROS 1 bag."""
    return head.startswith(MAGIC)


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording at this path. Raises InputError when it has neither events nor images that can be read.

    reconstruct_frames: give it accumulated frames, 20 a second, of origin "reconstructed", if it has no images.
    """
    path = Path(uri)
    bag = Bag(path)
    first, image = (_first(bag, kinds) for kinds in (ARRAYS + PACKETS, IMAGES))
    if first is None and image is None:
        raise InputError(f"{path} has no message of {', '.join(ARRAYS + PACKETS + IMAGES)}; give a bag with events")
    described = None if first is None else _described(first)
    if described is not None and described.encoding not in ("", "evt3"):
        raise InputError(f"{path} has events encoded as {described.encoding!r}; only dvs_msgs and evt3 can be read")
    clock_us = described.stamp_us if described is not None and image is not None else None
    resolution = described.resolution if described is not None else None

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        events_at, state, images_at = place or (None, (State(), None), None)
        last_image = images_at
        streams: list[Iterator[tuple[Any, Packet]]] = []
        if first is not None:
            streams.append(_events(bag, first.topic, events_at, state, clock_us, losses))
        if image is not None:
            streams.append(_frames(bag, image.topic, images_at, losses))
        for found, item in heapq.merge(*streams, key=lambda entry: begins_us(entry[1]) or 0):
            if isinstance(item, Frame):
                last_image = found
            else:
                events_at, state = found
            yield (events_at, state, last_image), item

    return RecordingSource(path, read, resolution, reconstruct_frames=reconstruct_frames)


def _first(bag: Bag, kinds: tuple[str, ...]) -> Message | None:
    return next((message for _, message in bag.messages(None, Losses()) if message.kind in kinds), None)


def _events(bag: Bag, topic: str, place: Place | None, state: tuple[State, int | None], clock_us: int | None,
            losses: Losses) -> Iterator[tuple[Any, Events]]:
    """((place, state before), raw packet); state is that of EVT 3.0 and the offset of its clock."""
    decoder, offset_us = state
    for found, message in bag.messages(place, losses):
        if message.topic != topic or message.kind not in ARRAYS + PACKETS:
            continue
        about = _described(message)
        if about is None:
            losses.n_rejected += 1
            continue
        before = decoder, offset_us
        if about.encoding == "evt3":
            words = np.frombuffer(about.content[:len(about.content) // 2 * 2], "<u2")
            packet, decoder = decoded(words, decoder, losses)
            if len(packet) and clock_us is not None:
                offset_us = clock_us - int(packet["t"][0]) if offset_us is None else offset_us
                packet["t"] += offset_us
        else:
            raw = np.frombuffer(about.content, EVENT, min(about.count, len(about.content) // EVENT.itemsize))
            t_us = raw["s"].astype(np.int64) * 1_000_000 + raw["ns"] // 1000
            packet = events_from_columns(t_us, raw["x"], raw["y"], raw["p"])
        if len(packet):
            yield (found, before), packet


def _frames(bag: Bag, topic: str, place: Place | None, losses: Losses) -> Iterator[tuple[Place, Frame]]:
    for found, message in bag.messages(place, losses):
        if message.topic != topic or message.kind not in IMAGES:
            continue
        frame = _frame(message)
        if frame is None:
            losses.n_rejected += 1
        else:
            yield found, frame


@dataclass(frozen=True)
class _EventMessage:
    """What an event message says before its events; encoding "" for arrays of `count` events."""

    stamp_us: int
    resolution: Resolution
    encoding: str
    count: int
    content: memoryview


class _Fields:
    """Reads the values of a serialised message one after the other. Raises struct.error at its end."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def numbers(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from("<" + layout, self._data, self._at)
        self._at += struct.calcsize("<" + layout)
        return values

    def text(self) -> str:
        (length,) = self.numbers("I")
        self._at += length
        return bytes(self._data[self._at - length:self._at]).decode("latin-1")

    def stamp_us(self) -> int:
        """Time of a std_msgs/Header."""
        _, seconds, nanoseconds = self.numbers("III")
        self.text()
        return seconds * 1_000_000 + nanoseconds // 1000

    def rest(self) -> memoryview:
        return self._data[self._at:]


def _described(message: Message) -> _EventMessage | None:
    """The parts of an event message, None when it is damaged."""
    fields = _Fields(message.data)
    try:
        stamp_us = fields.stamp_us()
        height, width = fields.numbers("II")
        encoding = ""
        if message.kind in PACKETS:
            fields.numbers("QQ")
            encoding = fields.text()
            fields.numbers("B")
        (count,) = fields.numbers("I")
    except struct.error:
        return None
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        return None
    return _EventMessage(stamp_us, Resolution(width, height), encoding, count, fields.rest())


def _frame(message: Message) -> Frame | None:
    """The picture of an image message, None when it is damaged or of an encoding that is not a picture's."""
    fields = _Fields(message.data)
    try:
        t_us = fields.stamp_us()
        height, width = fields.numbers("II")
        encoding = fields.text()
        _, step, n_bytes = fields.numbers("BII")
    except struct.error:
        return None
    channels = 1 if encoding in BAYER else CHANNELS.get(encoding, 0)
    content = fields.rest()
    if not channels or not (0 < height <= LARGEST_SIDE and 0 < width * channels <= step):
        return None
    if len(content) < n_bytes or n_bytes < height * step:
        return None
    rows = np.frombuffer(content, np.uint8, height * step).reshape(height, step)[:, :width * channels]
    return Frame(t_us, 0, _rgb(np.ascontiguousarray(rows).reshape(height, width, channels), encoding))


def _rgb(image: np.ndarray, encoding: str) -> np.ndarray:
    """RGB copy [H, W, 3] of pixels [H, W, channels] as ROS encodes them."""
    if encoding in BAYER:
        return np.asarray(cv2.cvtColor(image, BAYER[encoding]))
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    return image[..., :3].copy() if encoding.startswith("rgb") else image[..., 2::-1].copy()
