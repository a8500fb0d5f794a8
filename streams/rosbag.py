"""The messages in a ROS 1 bag, read from the front, so that a bag that was never closed can be read too.

    for place, message in Bag(path).messages(None, losses): message.topic, message.kind, message.data

Specification: wiki.ros.org/Bags/Format/2.0. A record is the length of its header, the header (fields "length
name=value"), the length of its data, the data; chunks hold records, compressed or not.
"""

from __future__ import annotations

import bz2
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import lz4.frame

from streams.opening import tell_opening
from streams.recording import cut_off, damaged
from streams.types import InputError, Losses

MAGIC = b"#ROSBAG V2.0\n"
MESSAGE, CHUNK, CONNECTION = 2, 5, 7
LARGEST_HEADER = 1 << 20
LARGEST_CHUNK = 1 << 28
"""Bytes; more is not a length but damage."""

Record = tuple[dict[bytes, bytes], memoryview]


@dataclass(frozen=True)
class Message:
    """topic and kind ("dvs_msgs/EventArray") of a message; data as serialised by ROS 1."""

    topic: str
    kind: str
    data: memoryview


@dataclass(frozen=True)
class Place:
    """A record of the file, and how many records of the chunk in it to skip."""

    offset: int = len(MAGIC)
    skip: int = 0


class Bag:
    """A bag whose connections are remembered from one reading to the next."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connections: dict[bytes, tuple[str, str]] = {}

    def messages(self, place: Place | None, losses: Losses) -> Iterator[tuple[Place, Message]]:
        """Messages from a place on, each with its own place; damage is noted in losses.damage and ends it.

        Raises InputError for a compression that cannot be read.
        """
        place = place or Place()
        for offset, (header, data) in self._records(place.offset, losses):
            if header.get(b"op") == bytes([CHUNK]):
                try:
                    plain = memoryview(_decompressed(header.get(b"compression", b"none"), data))
                    for skip, record in enumerate(_within(plain)):
                        message = self._message(*record)
                        if message is not None and (offset > place.offset or skip >= place.skip):
                            yield Place(offset, skip), message
                except InputError:
                    raise
                except (OSError, ValueError, RuntimeError, EOFError):
                    losses.damage = damaged(self._path)
            elif (message := self._message(header, data)) is not None:
                yield Place(offset), message

    def _message(self, header: dict[bytes, bytes], data: memoryview) -> Message | None:
        """The message in a record, None for other records; connections are remembered."""
        op, number = header.get(b"op"), header.get(b"conn", b"")
        if op == bytes([CONNECTION]):
            try:
                about = _fields(data)
            except ValueError:
                return None
            topic, kind = (about.get(key, header.get(key, b"")).decode("latin-1") for key in (b"topic", b"type"))
            self._connections.setdefault(number, (topic, kind))
        if op != bytes([MESSAGE]) or number not in self._connections:
            return None
        return Message(*self._connections[number], data)

    def _records(self, offset: int, losses: Losses) -> Iterator[tuple[int, Record]]:
        """(place in the file, record) of the records outside chunks."""
        with self._path.open("rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            file.seek(offset)
            while offset < n_bytes:
                header = _block(file, LARGEST_HEADER, n_bytes)
                data = _block(file, LARGEST_CHUNK, n_bytes) if header is not None else None
                if header is None or data is None:
                    losses.damage = cut_off(self._path)
                    return
                try:
                    fields = _fields(memoryview(header))
                except ValueError:
                    losses.damage = damaged(self._path)
                    return
                tell_opening(self._path, offset)
                yield offset, (fields, memoryview(data))
                offset = file.tell()


def _block(file: IO[bytes], largest: int, n_bytes: int) -> bytes | None:
    """Bytes that follow their own length, None when they are not all there."""
    length = int.from_bytes(size, "little") if len(size := file.read(4)) == 4 else largest + 1
    return file.read(length) if length <= min(largest, n_bytes - file.tell()) else None


def _within(chunk: memoryview) -> Iterator[Record]:
    """Records of a chunk. Raises ValueError where they end too early."""
    at = 0
    while at < len(chunk):
        parts = []
        for _ in range(2):
            if at + 4 > len(chunk):
                raise ValueError("a record is cut off")
            length = int.from_bytes(chunk[at:at + 4], "little")
            if at + 4 + length > len(chunk):
                raise ValueError("a record is longer than its chunk")
            parts.append(chunk[at + 4:at + 4 + length])
            at += 4 + length
        yield _fields(parts[0]), parts[1]


def _fields(header: memoryview) -> dict[bytes, bytes]:
    """Names and values of a header. Raises ValueError."""
    fields, at = {}, 0
    while at < len(header):
        if at + 4 > len(header):
            raise ValueError("a header is cut off")
        (length,) = struct.unpack_from("<I", header, at)
        name, separator, value = bytes(header[at + 4:at + 4 + length]).partition(b"=")
        if not separator or at + 4 + length > len(header):
            raise ValueError("a header is no list of fields")
        fields[name] = value
        at += 4 + length
    return fields


def _decompressed(compression: bytes, data: memoryview) -> bytes | memoryview:
    """A chunk's records. Raises what the libraries raise on damage."""
    if compression == b"bz2":
        return bz2.BZ2Decompressor().decompress(data, LARGEST_CHUNK)
    if compression == b"lz4":
        plain: bytes = lz4.frame.LZ4FrameDecompressor().decompress(data, LARGEST_CHUNK)
        return plain
    if compression != b"none":
        raise ValueError(f"compression {compression!r}")
    return data
