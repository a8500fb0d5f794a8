"""AEDAT 3.1 recordings (cAER): polarity events and frames.

    with open_source("gesture.aedat") as source:
        for item in source: ...

Specification: docs.inivation.com, "AEDAT file formats". Text lines up to "#!END-HEADER", then packets: 28 bytes of
header (type, source, bytes per event, place of the time in an event, upper part of the time, capacity, number, number
of valid ones), little-endian, and the events. The origin is at the top left. The size of the sensor is that of a
camera that the header names, or where the events are.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from streams.opening import tell_opening
from streams.recording import RecordingSource, cut_off, damaged
from streams.types import Events, Frame, InputError, Losses, Packet, Resolution, events_from_columns

MAGIC = b"#!AER-DAT3.1"
END = b"#!END-HEADER\r\n"
HEADER_BYTES = 1 << 20
POLARITY, FRAME = 1, 2
PACKET = struct.Struct("<hhiiiiii")
POLARITY_EVENT = np.dtype([("data", "<u4"), ("t", "<i4")])
POLARITY_PACKET = re.compile(rb"\x01\0..\x08\0\0\0\x04\0\0\0", re.DOTALL)
"""How its header begins: type, source, size of an event, place of the time in it."""
SEARCH_BYTES = 1 << 20
FRAME_BYTES = 36
"""Of a frame before its pixels: info, 4 times, size, position."""
LARGEST_PACKET = 1 << 28
LARGEST_SIDE = 4096
LONGEST_WAIT_US = 200_000
"""From the events at the begin of an exposure to the frame in the file."""
CAMERAS = (("dvs128", (128, 128)), ("davis240", (240, 180)), ("davis346", (346, 260)), ("davis640", (640, 480)))


@dataclass(frozen=True)
class _Head:
    """The header of a packet. overflow: how often 31 bits of time in µs have gone round."""

    kind: int
    event_bytes: int
    overflow: int
    count: int


def matches(path: Path, head: bytes) -> bool:
    """Whether a file that starts with these bytes is an AEDAT 3.1 recording."""
    return head.startswith(MAGIC)


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording at this path. Raises InputError when nothing in it can be read.

    reconstruct_frames: give it accumulated frames, 20 a second, of origin "reconstructed", if it has none itself.
    """
    path = Path(uri)
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    text, end, _ = head.partition(END)
    if not end:
        raise InputError(f"{path} has no end of its header; copy it again from where it was recorded")
    n_bytes = len(text) + len(END)
    source = re.search(rb"#Source \d+: ([\w -]+)", text)
    sensor = source[1].decode("ascii").strip() if source else ""
    size = next((size for name, size in CAMERAS if name in sensor.lower()), None)

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        held: list[tuple[Any, Packet]] = []
        for found in _packets(path, place or n_bytes, losses):
            held.append(found)
            # A frame is written after the events of its exposure: they wait as long as that can take.
            while len(held) > 1 and _begins_us(held[-1][1]) - _begins_us(held[0][1]) > LONGEST_WAIT_US:
                held.sort(key=lambda entry: _begins_us(entry[1]))
                yield held.pop(0)
        yield from sorted(held, key=lambda entry: _begins_us(entry[1]))

    return RecordingSource(path, read, Resolution(*size) if size else None, sensor, reconstruct_frames)


def _begins_us(item: Packet) -> int:
    return item.begin_us if isinstance(item, Frame) else int(item["t"][0])


def _packets(path: Path, offset: int, losses: Losses) -> Iterator[tuple[int, Packet]]:
    """(place, raw packet or Frame) as the file has them, none empty; damage is noted, and what follows it is found."""
    with path.open("rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        file.seek(offset)
        while offset < n_bytes:
            tell_opening(path, offset)
            head = _head(file)
            length = head.event_bytes * head.count if head else LARGEST_PACKET + 1
            following = None
            begin = file.tell() if head else offset + 1
            is_broken = length > min(LARGEST_PACKET, n_bytes - begin) or not _goes_on(file, begin + length, n_bytes)
            if is_broken:
                following = _next_packet(file, begin)
                losses.damage = cut_off(path) if head and following is None else damaged(path)
                # Whole events before the next packet are still good.
                whole = min(length, (following or n_bytes) - begin) // POLARITY_EVENT.itemsize * POLARITY_EVENT.itemsize
                length = whole if head and head.kind == POLARITY else 0
            file.seek(begin)
            data = file.read(length)
            if head is not None and head.kind == POLARITY and head.event_bytes == POLARITY_EVENT.itemsize:
                packet = _events(data, head)
                if len(packet):
                    yield offset, packet
            elif head is not None and head.kind == FRAME and head.event_bytes > FRAME_BYTES:
                for start in range(0, len(data) - head.event_bytes + 1, head.event_bytes):
                    frame = _frame(data[start:start + head.event_bytes], head)
                    if frame is not None:
                        yield offset, frame
            if is_broken and following is None:
                return
            offset = file.tell() if following is None else following
            file.seek(offset)


def _head(file: IO[bytes]) -> _Head | None:
    """The next packet's header, None when it is cut off or cannot be one."""
    data = file.read(PACKET.size)
    if len(data) < PACKET.size:
        return None
    kind, _, event_bytes, _, overflow, capacity, count, valid = PACKET.unpack(data)
    if kind < 0 or event_bytes <= 0 or overflow < 0 or not 0 <= valid <= count <= capacity:
        return None
    return _Head(kind, event_bytes, overflow, count)


def _goes_on(file: IO[bytes], end: int, n_bytes: int) -> bool:
    """Whether a packet can begin where another ends, or the file ends before one could."""
    file.seek(end)
    return n_bytes - end < PACKET.size or _head(file) is not None


def _next_packet(file: IO[bytes], begin: int) -> int | None:
    """The next place from `begin` on where a packet of polarity events can begin; None when there is none."""
    kept = b""
    file.seek(begin)
    while data := file.read(SEARCH_BYTES):
        kept += data
        for found in re.finditer(POLARITY_PACKET, kept):
            place = begin + found.start()
            file.seek(place)
            if _head(file) is not None:
                return place
        begin, kept = begin + len(kept) - PACKET.size, kept[-PACKET.size:]
        file.seek(begin + len(kept))
    return None


def _events(data: bytes, head: _Head) -> Events:
    """Raw events of a polarity packet: those marked valid."""
    raw = np.frombuffer(data, POLARITY_EVENT)
    raw = raw[(raw["data"] & 1) == 1]
    word = raw["data"]
    t_us = raw["t"].astype(np.int64) + (head.overflow << 31)
    return events_from_columns(t_us, word >> 17, (word >> 2) & 0x7FFF, (word >> 1) & 1)


def _frame(data: bytes, head: _Head) -> Frame | None:
    """The frame of one event, None when it is not valid, empty or larger than its data."""
    info, _, _, begin, end, width, height, _, _ = struct.unpack_from("<I8i", data)
    channels = (info >> 1) & 7
    sides = 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE
    if not info & 1 or not sides or channels not in (1, 3, 4) or end < begin:
        return None
    count = width * height * channels
    if FRAME_BYTES + 2 * count > len(data):
        return None
    image = (np.frombuffer(data, "<u2", count, FRAME_BYTES).reshape(height, width, channels) >> 8).astype(np.uint8)
    image = np.repeat(image, 3, axis=2) if channels == 1 else image[..., :3]
    begin_us = begin + (head.overflow << 31)
    return Frame(begin_us + (end - begin) // 2, end - begin, np.ascontiguousarray(image))
