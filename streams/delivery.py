"""What a supervised child hands over, as validated packets: messages of streams/isolation.py made events and Frames.

    for item in stream(child, opened, losses): ...     # event packets and Frames, copied out of the shared memory
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from streams.isolation import Child, ChildError, Message
from streams.ring import Ring
from streams.types import (
    EVENT_DTYPE,
    IMU_DTYPE,
    TRIGGER_DTYPE,
    Frame,
    Losses,
    Packet,
    Resolution,
    Samples,
    SensorSink,
    copied,
    empty_packet,
)
from streams.validation import Validator


def resolution_of(opened: Message, key: str) -> Resolution | None:
    """Return the Resolution under `key` of an "open" message, None when there is no such stream."""
    return Resolution(*opened[key]) if opened.get(key) else None


def stream(
    child: Child,
    opened: Message,
    losses: Losses,
    start_us: int | None = None,
    frames: bool = True,
    slot_events: int = 65536,
    validate: bool = True,
    sensors: SensorSink | None = None,
    samples_us: Mapping[str, int | None] | None = None,
) -> Iterator[Packet]:
    """Yield validated packets and Frames from start_us (recording clock) to the end.

    opened: the child's "open" message. losses: counts what is refused. validate: False when somebody else does.
    sensors: gets the samples that the task asked for; samples_us: from where on, where not from start_us.
    A live child also yields empty packets: time passed. Raises ChildError when the child hangs, dies, gives up or
    reports damage; all before was yielded.
    """
    resolution, picture = (resolution_of(opened, key) for key in ("event_resolution", "frame_resolution"))
    if child.ring is None:
        picture_bytes = 3 * picture.width * picture.height if picture else 0
        child.share(max(slot_events * EVENT_DTYPE.itemsize, picture_bytes))
    ring = child.ring
    assert ring is not None
    child.begin(start_us, frames, samples_us or {})
    validator = Validator(resolution, losses) if validate else None
    while (message := child.receive())["type"] != "end":
        try:
            packet = _packet(message, ring, validator)
            samples = _samples(message, ring, validator)
        except (ValueError, KeyError, TypeError) as error:
            child.close()
            raise ChildError("died", f"sent something impossible: {error}") from None
        if "slot" in message:
            child.send("free", slot=message["slot"])
        if samples is not None and sensors is not None and len(samples.data):
            sensors(samples)
        if child.live and "at_s" in message:
            losses.arrived_s = message["at_s"]
        if packet is not None and (len(packet) if isinstance(packet, np.ndarray) else True):
            yield packet
        elif child.live and message["type"] == "heartbeat":
            yield empty_packet()
    if message.get("damaged"):
        raise ChildError("damaged", "the rest cannot be decoded")


def _packet(message: Message, ring: Ring, validator: Validator | None) -> Packet | None:
    """The packet or Frame that a message hands over, copied out of its slot; None when it carries none."""
    if message["type"] == "events":
        raw = ring.array(message["slot"], EVENT_DTYPE, message["n"])
        return copied(raw) if validator is None else validator.events(raw)
    if message["type"] == "frame" and (validator is None or validator.frame_time(message["t_us"])):
        shape = (message["height"], message["width"], 3)
        pixels = ring.array(message["slot"], np.dtype(np.uint8), int(np.prod(shape)))
        return Frame(message["t_us"], message["exposure_us"], pixels.reshape(shape).copy())
    return None


def _samples(message: Message, ring: Ring, validator: Validator | None) -> Samples | None:
    """The samples that a message hands over; None when it carries none."""
    if message["type"] != "samples":
        return None
    dtypes: dict[str, np.dtype] = {"imu": IMU_DTYPE, "triggers": TRIGGER_DTYPE}
    samples = Samples(message["kind"], ring.array(message["slot"], dtypes[message["kind"]], message["n"]).copy())
    return samples if validator is None else validator.samples(samples)
