"""Recordings in every format, written from known events as other programs write them, straight from specifications.

Where the program writes a format too, it is its own encoder behind a foreign header; test_conversion.py has the
independent readers that confirm it.

    path = write("evt3", folder, events_at([0, 500, 1000]))
"""

from __future__ import annotations

import bz2
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from streams.targets import csv as to_csv
from streams.targets import dat as to_dat
from streams.targets import es as to_es
from streams.targets import eventgpt as to_eventgpt
from streams.targets import evt2 as to_evt2
from streams.targets import evt3 as to_evt3
from streams.types import Events, Frame

WIDTH, HEIGHT = 240, 180
"""Of the sensor whose events are written, where a format states it."""

SUFFIX = {"evt2": ".raw", "evt21": ".raw", "evt3": ".raw", "hdf5": ".h5", "aedat2": ".aedat", "aedat3": ".aedat",
          "nmnist": ".bin"}
PROPHESEE_HEADER = "% camera_integrator_name Prophesee\n% format {};height=180;width=240\n% geometry 240x180\n% end\n"


def write(name: str, folder: Path, events: Events) -> Path:
    """The path of a new recording in the format of one module in streams/sources."""
    path = folder / f"written{SUFFIX.get(name, '.' + name)}"
    if name == "hdf5":
        hdf5(path, events)
    elif name == "npy":
        npy(path, events)
    else:
        path.write_bytes(BYTES_OF[name](events))
    return path


def columns(events: Events) -> list[tuple[int, int, int, int]]:
    return [(int(t), int(x), int(y), int(p)) for t, x, y, p in events.tolist()]


def evt2(events: Events) -> bytes:
    return PROPHESEE_HEADER.format("EVT2").encode() + to_evt2.encoded(events, None)[0]


def evt21(events: Events, legacy: bool = False) -> bytes:
    words, high = [], None
    for t, x, y, p in columns(events):
        if t >> 6 != high:
            high = t >> 6
            words.append((0x8 << 28 | high & 0xFFFFFFF, 0))
        base = x // 32 * 32
        words.append((p << 28 | (t & 63) << 22 | base << 11 | y, 1 << (x - base)))
    halves = np.array(words, "<u4")
    name = "EVT21;endianness=legacy" if legacy else "EVT21"
    return PROPHESEE_HEADER.format(name).encode() + (halves if legacy else halves[:, ::-1]).tobytes()


def evt3_words(events: Events) -> bytes:
    return to_evt3.encoded(events, (int(events["t"][0] >> 12) - 1, -1, -1))[0] if len(events) else b""


def evt3(events: Events) -> bytes:
    return PROPHESEE_HEADER.format("EVT3").encode() + evt3_words(events)


def dat(events: Events) -> bytes:
    header = b"% Data file containing CD events.\n% Version 2\n% Width 240\n% Height 180\n"
    return header + bytes([12, 8]) + to_dat.encoded(events, None)[0]


def es(events: Events) -> bytes:
    header = struct.pack("<12sBBBBHH", b"Event Stream", 2, 0, 0, 1, WIDTH, HEIGHT)
    return header + to_es.encoded(events, None, HEIGHT)[0]


def nmnist(events: Events) -> bytes:
    return b"".join(bytes([x, y, p << 7 | t >> 16 & 0x7F, t >> 8 & 0xFF, t & 0xFF]) for t, x, y, p in columns(events))


def csv(events: Events) -> bytes:
    return b"t,x,y,p\n" + to_csv.encoded(events, None)[0]


def aedat2(events: Events, chip: str = "eu.seebetter.ini.chips.davis.DAVIS240C") -> bytes:
    header = f"#!AER-DAT2.0\r\n# AEChip: {chip}\r\n#End Of ASCII Header\r\n" if chip else "#!AER-DAT2.0\r\n"
    if chip.endswith("DVS128"):
        words = [((127 - y) << 8 | (127 - x) << 1 | 1 - p, t & 0xFFFFFFFF) for t, x, y, p in columns(events)]
    else:
        words = [((HEIGHT - 1 - y) << 22 | (WIDTH - 1 - x) << 12 | p << 11, t & 0xFFFFFFFF)
                 for t, x, y, p in columns(events)]
    return header.encode() + np.array(words, ">u4").tobytes()


def aedat2_frame(reset: np.ndarray, signal: np.ndarray, begin_us: int) -> bytes:
    """Records of one DAVIS frame: all pixels [H, W] after their reset, 1 ms later all at the end of exposure."""
    records = []
    for kind, values, start_us in ((0, reset, begin_us), (1, signal, begin_us + 1000)):
        for index, (y, x) in enumerate(np.ndindex(*values.shape)):
            address = 1 << 31 | y << 22 | x << 12 | kind << 10 | int(values[values.shape[0] - 1 - y, x])
            records.append((address, start_us + index // 100))
    return np.array(records, ">u4").tobytes()


AEDAT3_HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DAVIS240C\r\n#!END-HEADER\r\n"


def aedat3_packet(kind: int, event_bytes: int, count: int, data: bytes, overflow: int = 0) -> bytes:
    return struct.pack("<hhiiiiii", kind, 1, event_bytes, 4, overflow, count, count, count) + data


def aedat3(events: Events) -> bytes:
    parts = [AEDAT3_HEADER]
    # A packet ends where the time overflows.
    edges = np.unique([*range(0, len(events), 100), np.searchsorted(events["t"], 1 << 31), len(events)])
    for start, stop in pairwise(edges):
        words = [(x << 17 | y << 2 | p << 1 | 1, t & 0x7FFFFFFF) for t, x, y, p in columns(events[start:stop])]
        overflow = int(events["t"][start]) >> 31
        parts.append(aedat3_packet(1, 8, len(words), np.array(words, "<u4").tobytes(), overflow))
    return b"".join(parts)


def aedat3_frame(frame: Frame) -> bytes:
    height, width, channels = frame.image.shape
    begin_us = frame.t_us - frame.exposure_us // 2
    times = (begin_us - 10, begin_us + frame.exposure_us + 10, begin_us, begin_us + frame.exposure_us)
    head = struct.pack("<I8i", channels << 1 | 1, *times, width, height, 0, 0)
    data = head + (frame.image.astype("<u2") << 8).tobytes()
    return aedat3_packet(2, len(data), 1, data)


def bag_record(fields: dict[str, bytes], data: bytes) -> bytes:
    header = b"".join(struct.pack("<I", len(name) + 1 + len(value)) + name.encode() + b"=" + value
                      for name, value in fields.items())
    return struct.pack("<I", len(header)) + header + struct.pack("<I", len(data)) + data


def bag(events: Events, frames: list[Frame] | None = None, kind: str = "dvs_msgs/EventArray",
        compression: str = "none") -> bytes:
    """A bag with a chunk for 100 events or so each, without the index that a closed bag has."""
    kinds = [("/dvs/events", kind), ("/dvs/image_raw", "sensor_msgs/Image")]
    connections = b"".join(bag_record({"op": b"\x07", "conn": struct.pack("<I", number), "topic": topic.encode()},
                                      _field("topic", topic) + _field("type", name))
                           for number, (topic, name) in enumerate(kinds))
    messages = [(int(events["t"][start]), 0, _event_message(events[start:start + 100], kind))
                for start in range(0, len(events), 100)]
    # Images arrive late, as from a camera.
    messages += [(frame.t_us + 30_000, 1, _image_message(frame)) for frame in frames or []]
    parts = [b"#ROSBAG V2.0\n", bag_record({"op": b"\x03", "index_pos": bytes(8)}, b" " * 64)]
    for number, (t_us, connection, data) in enumerate(sorted(messages)):
        fields = {"op": b"\x02", "conn": struct.pack("<I", connection), "time": _stamp(t_us)}
        chunk = (connections if number == 0 else b"") + bag_record(fields, data)
        packed = _packed(chunk, compression)
        parts.append(bag_record({"op": b"\x05", "compression": compression.encode(),
                                 "size": struct.pack("<I", len(chunk))}, packed))
    return b"".join(parts)


def _packed(chunk: bytes, compression: str) -> bytes:
    if compression == "lz4":
        import lz4.frame

        return lz4.frame.compress(chunk)
    return bz2.compress(chunk) if compression == "bz2" else chunk


def _field(name: str, value: str) -> bytes:
    return struct.pack("<I", len(name) + 1 + len(value)) + f"{name}={value}".encode()


def _stamp(t_us: int) -> bytes:
    return struct.pack("<II", t_us // 1_000_000, t_us % 1_000_000 * 1000)


def _head(t_us: int) -> bytes:
    return struct.pack("<I", 0) + _stamp(t_us) + struct.pack("<I", 3) + b"cam"


def _event_message(events: Events, kind: str) -> bytes:
    head = _head(int(events["t"][0])) + struct.pack("<II", HEIGHT, WIDTH)
    if kind == "event_camera_msgs/EventPacket":
        content = evt3_words(events)
        return head + struct.pack("<QQI", 0, 0, 4) + b"evt3" + struct.pack("<BI", 0, len(content)) + content
    return head + struct.pack("<I", len(events)) + b"".join(
        struct.pack("<HH", x, y) + _stamp(t) + bytes([p]) for t, x, y, p in columns(events))


def _image_message(frame: Frame) -> bytes:
    height, width, _ = frame.image.shape
    return (_head(frame.t_us) + struct.pack("<II", height, width) + struct.pack("<I", 4) + b"bgr8"
            + struct.pack("<BII", 0, 3 * width, 3 * width * height) + frame.image[..., ::-1].tobytes())


def npy(path: Path, events: Events) -> None:
    with to_eventgpt.EventGptTarget(path) as target:
        target.write(events)


def hdf5(path: Path, events: Events, t_offset_us: int = 0) -> None:
    """As DSEC: columns compressed with Blosc, an index of milliseconds, an offset of the clock."""
    import h5py
    import hdf5plugin

    with h5py.File(path, "w") as file:
        for name, kind in (("t", "u4"), ("x", "u2"), ("y", "u2"), ("p", "u1")):
            values = events[name].astype(np.int64) - (t_offset_us if name == "t" else 0)
            file.create_dataset(f"events/{name}", data=values.astype(kind), chunks=(200,),
                                **hdf5plugin.Blosc(cname="zstd"))
        t_ms = np.arange((int(events["t"][-1]) - t_offset_us) // 1000 + 1) * 1000
        file["ms_to_idx"] = np.searchsorted(events["t"] - t_offset_us, t_ms)
        file["t_offset"] = np.int64(t_offset_us)


BYTES_OF: dict[str, Callable[[Events], bytes]] = {
    "evt2": evt2, "evt21": evt21, "evt3": evt3, "dat": dat, "es": es, "nmnist": nmnist, "csv": csv, "aedat2": aedat2,
    "aedat3": aedat3, "bag": bag,
}
FORMATS = sorted([*BYTES_OF, "npy", "hdf5"])


def folder(path: Path, events: Events, frames: list[Frame], layout: str) -> Path:
    """A folder like those of "dsec" or "rpg"."""
    names = [f"{number:06d}.png" for number in range(len(frames))]
    pictures = path / ("images/left/rectified" if layout == "dsec" else "images")
    pictures.mkdir(parents=True)
    for name, frame in zip(names, frames, strict=True):
        cv2.imwrite(str(pictures / name), frame.image[..., ::-1])
    if layout == "dsec":
        (path / "images" / "timestamps.txt").write_text("".join(f"{frame.t_us}\n" for frame in frames))
        (path / "events" / "left").mkdir(parents=True)
        hdf5(path / "events" / "left" / "events.h5", events)
    else:
        (path / "images.txt").write_text("".join(f"{frame.t_us / 1e6:.6f} images/{name}\n"
                                                 for name, frame in zip(names, frames, strict=True)))
        (path / "events.txt").write_text("".join(f"{t / 1e6:.6f} {x} {y} {p}\n" for t, x, y, p in columns(events)))
    return path
