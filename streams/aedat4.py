"""AEDAT 4.0 as bytes: what iniVation's files and network streams are made of, written without their library.

    description = Description("DAVIS346_1", "lz4", (Stream("events", Resolution(346, 260), "camera"),))
    description.header() ; packet_head(0, content) ; content ; ...

Format (docs.inivation.com, "AEDAT 4.0"): an IOHeader, then packets of 8 bytes (stream, length) and a FlatBuffer.
Why not dv-processing: it takes events only one by one (4 M/s), ends the process when a disk is full, and its network
writer never returns while a client is connected. tests/test_aedat4_bytes.py reads all of this with it and with aedat.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from streams.types import EVENT_DTYPE, IMU_DTYPE, TRIGGER_DTYPE, Events, Frame, Resolution

VERSION_LINE = b"#!AER-DAT4.0\r\n"
"""Begins a file; a network stream begins with the IOHeader at once."""
ORIGIN_KEY, FILTERS_KEY = "parafoveaOrigin", "parafoveaFilters"
"""Metadata of a stream that we write: where its events or frames come from."""

Compression = Literal["none", "lz4", "lz4_high", "zstd", "zstd_high"]
_CODES = {"none": 0, "lz4": 1, "lz4_high": 2, "zstd": 3, "zstd_high": 4}
_TYPES = {"events": b"EVTS", "frames": b"FRME", "imu": b"IMUS", "triggers": b"TRIG"}
_FRAME_SOURCES = {"rendered": 4, "reconstructed": 5}
_SENSOR = 1
_BGR = 16

_HEADER = struct.Struct("<II4s5H2xiiqII")
TABLE_PLACE = _HEADER.size - 16
"""Byte of the header that holds the place of a file's table, int64."""
_VECTOR = struct.Struct("<II4s2x3HiII")
_FRAME = struct.Struct("<II4s15H6xi2B2h2xI4qI")
_FRAME_VTABLE = (30, 48, 16, 0, 0, 24, 32, 4, 6, 8, 0, 0, 12, 40, 5)
"""Length, size of the table, then where each of the schema's 13 fields lies in it (0: left out)."""
_PACKET = struct.Struct("<ii")


@dataclass(frozen=True)
class Stream:
    """One stream: kind "events", "frames", "imu" or "triggers"; resolution and origin of the first two; filters that
    events have passed, "" = none."""

    kind: str
    resolution: Resolution | None = None
    origin: str | None = None
    filters: str = ""


@dataclass(frozen=True)
class Description:
    """What a file or connection holds: camera name, compression and its streams, numbered from 0."""

    sensor: str
    compression: Compression
    streams: tuple[Stream, ...]

    def header(self) -> bytes:
        """The IOHeader, with a table's place unknown."""
        info = self._xml().encode()
        size = _HEADER.size - 4 + len(info) + 1
        code = _CODES[self.compression]
        return _HEADER.pack(size, 20, b"IOHE", 10, 20, 4, 8, 16, 12, code, -1, 4, len(info)) + info + b"\0"

    def _xml(self) -> str:
        nodes = "".join(self._node(number, stream) for number, stream in enumerate(self.streams))
        return f'<dv version="2.0"><node name="outInfo" path="/outInfo/">{nodes}</node></dv>'

    def _node(self, number: int, stream: Stream) -> str:
        path = f"/outInfo/{number}/"
        size = stream.resolution
        what = {"compression": self.compression.upper(), "originalModuleName": "parafovea",
                "originalOutputName": stream.kind, "typeDescription": stream.kind,
                "typeIdentifier": _TYPES[stream.kind].decode()}
        facts = {FILTERS_KEY: stream.filters or None, ORIGIN_KEY: stream.origin, "sizeX": size.width if size else None,
                 "sizeY": size.height if size else None, "source": self.sensor}
        return (f'<node name="{number}" path="{path}">{_attributes(what)}'
                f'<node name="info" path="{path}info/">{_attributes(facts)}</node></node>')

    def compressor(self) -> Callable[[bytes], bytes]:
        """What makes a body into the content of a packet; releases the GIL. Not for several threads at once."""
        if self.compression == "none":
            return bytes
        if self.compression.startswith("lz4"):
            import lz4.frame

            level = 9 if self.compression == "lz4_high" else 0
            return lambda body: bytes(lz4.frame.compress(body, compression_level=level))
        import zstandard

        return zstandard.ZstdCompressor(level=19 if self.compression == "zstd_high" else 3).compress


def kind_served(header: bytes) -> str | None:
    """Kind of the first stream that an IOHeader announces, None when it is none of those above."""
    code = re.search(rb'key="typeIdentifier"[^>]*>(\w{4})<', header)
    return next((kind for kind, known in _TYPES.items() if code and code[1] == known), None)


def packet_head(number: int, content: bytes) -> bytes:
    """The 8 bytes before the content of a packet of stream `number`."""
    return _PACKET.pack(number, len(content))


def events_body(packet: Events) -> bytes:
    """An EventPacket of events [n]: their memory is the format's own."""
    head = _VECTOR.pack(_VECTOR.size - 4 + packet.nbytes, 16, b"EVTS", 6, 8, 4, 6, 4, len(packet))
    body = np.empty(len(head) + packet.nbytes, np.uint8)
    body[:len(head)] = np.frombuffer(head, np.uint8)
    records = body[len(head):].view(EVENT_DTYPE)
    # As opaque items: numpy copies structured ones field by field, 13 times as slow (measured).
    records.view(("V", EVENT_DTYPE.itemsize))[:] = np.ascontiguousarray(packet).view(("V", EVENT_DTYPE.itemsize))
    # What lies between two records is not ours to publish, and zeros compress better.
    body[len(head):].reshape(len(packet), EVENT_DTYPE.itemsize)[:, 13:] = 0
    return body.tobytes()


def frame_body(frame: Frame, origin: str | None) -> bytes:
    """A Frame in BGR, with begin and end of its exposure."""
    height, width, _ = frame.image.shape
    begin_us, end_us = frame.begin_us, frame.begin_us + frame.exposure_us
    source = _FRAME_SOURCES.get(origin or "", _SENSOR)
    head = _FRAME.pack(_FRAME.size - 4 + frame.image.size, 44, b"FRME", *_FRAME_VTABLE, 36, _BGR, source, width, height,
                       36, begin_us, begin_us, end_us, frame.exposure_us, frame.image.size)
    return head + np.ascontiguousarray(frame.image[..., ::-1]).tobytes()


def _table_dtype(fields: list[tuple[str, str, int]], size: int) -> np.dtype:
    """A FlatBuffers table with all its fields (name, format, place in the table), in the order of the schema."""
    names, formats, offsets = zip(("vtable", "<i4", 0), *fields, strict=True)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


_IMU_TABLE = _table_dtype([("t", "<i8", 8)] + [(name, "<f4", 16 + 4 * i)
                                               for i, name in enumerate((IMU_DTYPE.names or ())[1:])], 56)
_TRIGGER_TABLE = _table_dtype([("t", "<i8", 8), ("kind", "i1", 4)], 16)
_ENTRY_TABLE = _table_dtype([("place", "<i8", 8), ("packet", "<i8", 16), ("n", "<i8", 24), ("first_us", "<i8", 32),
                             ("last_us", "<i8", 40)], 48)


def _tables(identifier: bytes, layout: np.dtype, columns: dict[str, np.ndarray], count: int) -> bytes:
    """A FlatBuffer with one vector of `count` tables."""
    vtable = struct.pack(f"<{len(layout.names or ()) + 1}H", 2 + 2 * len(layout.names or ()), layout.itemsize,
                         *(layout.fields[name][1] for name in (layout.names or ())[1:]))  # type: ignore[index]
    vtable_at = _VECTOR.size + 4 * count
    first = -(-(vtable_at + len(vtable)) // 8) * 8
    places = first + layout.itemsize * np.arange(count)
    tables = np.zeros(count, layout)
    tables["vtable"] = places - vtable_at
    for name, column in columns.items():
        tables[name] = column
    offsets = (places - _VECTOR.size - 4 * np.arange(count)).astype("<u4")
    size = first + tables.nbytes - 4
    head = _VECTOR.pack(size, 16, identifier, 6, 8, 4, 6, 4, count)
    return b"".join([head, offsets.tobytes(), vtable, bytes(first - vtable_at - len(vtable)), tables.tobytes()])


def imu_body(samples: np.ndarray) -> bytes:
    """An IMUPacket of samples [n] of IMU_DTYPE."""
    return _tables(b"IMUS", _IMU_TABLE, {name: samples[name] for name in IMU_DTYPE.names or ()}, len(samples))


def triggers_body(triggers: np.ndarray) -> bytes:
    """A TriggerPacket of triggers [n] of TRIGGER_DTYPE."""
    return _tables(b"TRIG", _TRIGGER_TABLE, {name: triggers[name] for name in TRIGGER_DTYPE.names or ()}, len(triggers))


@dataclass(frozen=True)
class Entry:
    """One packet of a file for its table: place and length of its content, elements, first and last time in µs."""

    place: int
    stream: int
    length: int
    n: int
    first_us: int
    last_us: int


def table_body(entries: list[Entry]) -> bytes:
    """The table at the end of a file, by which a reader seeks."""
    columns = {name: np.array([getattr(entry, name) for entry in entries], np.int64)
               for name in ("place", "n", "first_us", "last_us")}
    # A struct of two int32: the stream in the low half.
    columns["packet"] = np.array([entry.stream | entry.length << 32 for entry in entries], np.int64)
    return _tables(b"FTAB", _ENTRY_TABLE, columns, len(entries))


def _attributes(facts: Mapping[str, int | str | None]) -> str:
    return "".join(f'<attr key={quoteattr(key)} type="{"int" if isinstance(value, int) else "string"}">'
                   f"{escape(str(value))}</attr>" for key, value in facts.items() if value is not None)
