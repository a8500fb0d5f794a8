"""AEDAT 2.0 recordings (jAER, v2e): DVS128 and DAVIS events, and the frames of a DAVIS.

    with open_source("walk.aedat") as source:
        for item in source: ...

Specification: docs.inivation.com, "AEDAT file formats", and jAER's chip classes DVS128 and DavisChip. Lines that begin
with #, then records of an address and a time in µs, 32 bits each, most significant byte first. jAER has the origin at
the bottom left and mirrors the x of events, not of frames. The line "# AEChip:" names the camera; without it the
addresses tell DVS128 from DAVIS, and the size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from streams.aps import Shutter, starting_pixel
from streams.clock import unwrapped
from streams.geometry import Extent
from streams.recording import RecordingSource, record_chunks
from streams.types import Events, Frame, InputError, Losses, Packet, Resolution, events_from_columns

MAGIC = (b"#!AER-DAT2", b"#!AER-DAT1")
RECORD = np.dtype([("address", ">u4"), ("t", ">u4")])
CHIPS = (("dvs128", (128, 128)), ("davis346", (346, 260)), ("davis240", (240, 180)), ("sbret", (240, 180)),
         ("davis640", (640, 480)), ("davis208", (208, 192)), ("davis128", (128, 128)))
"""jAER's names of chips contain these."""
NOT_DAVIS = "dvs128"
HEADER_BYTES = 1 << 20
SNIFFED_RECORDS = 1 << 20

APS, SPECIAL, DVS128_SPECIAL = 1 << 31, 1 << 10, 1 << 15
"""Bits of an address: a sample of a frame (or of the IMU); not a pixel's event (DAVIS); the same (DVS128)."""


def matches(path: Path, head: bytes) -> bool:
    """Whether a file that starts with these bytes is an AEDAT 2.0 (or 1.0) recording."""
    return head.startswith(MAGIC)


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording at this path. Raises InputError when nothing in it can be read.

    reconstruct_frames: give it accumulated frames, 20 a second, of origin "reconstructed", if it has none itself.
    """
    path = Path(uri)
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if head.startswith(MAGIC[1]):
        raise InputError(f"{path} is AEDAT 1.0; only 2.0, 3.1 and 4 can be read, save it again with jAER")
    n_bytes, chip = _header(head)
    is_davis, resolution = _layout(path, n_bytes, chip)
    start = starting_pixel(_first_records(path, n_bytes)) if is_davis else None

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        offset, before_us = place or (n_bytes, None)
        shutter = Shutter(resolution, start)
        held: list[tuple[Any, Events]] = []
        for at, data in record_chunks(path, offset, RECORD.itemsize, losses):
            raw = np.frombuffer(data, RECORD)
            address, t_us = raw["address"].astype(np.int64), unwrapped(raw["t"], 32, before_us)
            held.append(((at, before_us), _events(address, t_us, is_davis, resolution)))
            before_us = int(t_us[-1])
            frames = shutter.frames(address, t_us) if is_davis else []
            # A frame begins before the events of its readout: they wait until it is whole.
            if frames or not shutter.is_open or len(held) > shutter.patience:
                yield from _in_order(held, frames)
                held = []
        yield from _in_order(held, [])

    return RecordingSource(path, read, resolution, chip.rpartition(".")[2], reconstruct_frames)


def _header(head: bytes) -> tuple[int, str]:
    """(bytes of the header, name of the chip or "")."""
    n_bytes = 0
    for line in re.finditer(rb"#[^\n]*\n", head):
        # Data may contain a line that looks like one of these.
        if line.start() != n_bytes:
            break
        n_bytes = line.end()
        if line[0].startswith(b"#End Of ASCII Header"):
            break
    chip = re.search(rb"^#\s*AEChip:\s*([\w.$]+)", head[:n_bytes], re.MULTILINE)
    return n_bytes, chip[1].decode("ascii") if chip else ""


def _first_records(path: Path, n_bytes: int) -> np.ndarray:
    with path.open("rb") as file:
        file.seek(n_bytes)
        data = file.read(SNIFFED_RECORDS * RECORD.itemsize)
    return np.frombuffer(data[:len(data) // RECORD.itemsize * RECORD.itemsize], RECORD)


def _layout(path: Path, n_bytes: int, chip: str) -> tuple[bool, Resolution]:
    """(whether addresses are a DAVIS's, size of the sensor). Raises InputError for an unknown one without events."""
    for name, size in CHIPS:
        if name in chip.lower():
            return name != NOT_DAVIS, Resolution(*size)
    address = _first_records(path, n_bytes)["address"].astype(np.int64)
    # DVS128 has 16 bits, in which a DAVIS has nothing but the polarity and the lower columns of row 0.
    is_davis = np.count_nonzero(address >> 16) > len(address) // 2
    if not is_davis:
        return False, Resolution(128, 128)
    extent = Extent()
    pixels = address[(address & (APS | SPECIAL)) == 0]
    extent.add_coordinates((pixels >> 12) & 0x3FF, (pixels >> 22) & 0x1FF)
    resolution = extent.resolution()
    if resolution is None:
        raise InputError(f"{path} has no events and does not name its camera; give a recording that has data")
    return True, resolution


def _events(address: np.ndarray, t_us: np.ndarray, is_davis: bool, resolution: Resolution) -> Events:
    """Raw events of records [n]; a pixel outside the sensor stays outside."""
    if is_davis:
        chosen = (address & (APS | SPECIAL)) == 0
        address, t_us = address[chosen], t_us[chosen]
        x, y, p = (address >> 12) & 0x3FF, (address >> 22) & 0x1FF, (address >> 11) & 1
    else:
        chosen = (address & DVS128_SPECIAL) == 0
        address, t_us = address[chosen], t_us[chosen]
        x, y, p = (address >> 1) & 0x7F, (address >> 8) & 0x7F, 1 - (address & 1)
    return events_from_columns(t_us, (resolution.width - 1 - x) & 0xFFFF, (resolution.height - 1 - y) & 0xFFFF, p)


def _in_order(held: list[tuple[Any, Events]], frames: list[Frame]) -> Iterator[tuple[Any, Packet]]:
    """Held packets and frames in order of their begin."""
    entries: list[tuple[int, Any, Packet]] = [(int(packet["t"][0]), place, packet)
                                              for place, packet in held if len(packet)]
    entries += [(frame.begin_us, None, frame) for frame in frames]
    for _, place, item in sorted(entries, key=lambda entry: entry[0]):
        yield place, item
