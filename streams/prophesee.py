"""What Prophesee's file formats share: the text header, and the time words of EVT 2.0 and 2.1.

    header = read_header(head)                   # of the first bytes of a file
    header.encoding, header.resolution, header.n_bytes

Specification: docs.prophesee.ai, "Data encoding formats" and "RAW file format".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streams.clock import held, unwrapped
from streams.types import EventsOrigin, Resolution, events_origin_of

HEADER_BYTES = 1 << 16
"""Where a header has certainly ended."""

TIME_HIGH = 0x8
TIME_HIGH_BITS = 28
SIZES = {"gen3": (640, 480), "gen31": (640, 480), "gen4": (1280, 720), "gen41": (1280, 720), "imx636": (1280, 720),
         "genx320": (320, 320), "imx646": (1280, 720)}
"""Sensors named in the header of files that do not state their geometry."""


@dataclass(frozen=True)
class Header:
    """The lines "% KEY VALUE" before the data.

    n_bytes: where the data begins. encoding: "2.0", "2.1", "3.0" or "" when not stated. legacy: the halves of
    64-bit words are swapped.
    """

    fields: dict[str, str]
    n_bytes: int
    encoding: str
    legacy: bool
    resolution: Resolution | None
    sensor: str

    @property
    def origins(self) -> dict[str, Any]:
        """What files that we wrote say on top, for RecordingSource."""
        return {"events_origin": events_origin_of(self.fields.get("events_origin", "")),
                "offset_us": whole(self.fields.get("t_offset_us", ""))}


def read_header(head: bytes) -> Header | None:
    """The header at the start of these bytes, None when there is none."""
    fields: dict[str, str] = {}
    n_bytes = 0
    for line in re.finditer(rb"% ?([^\x00-\x08\x0a-\x1f\x7f]*)\r?\n", head):
        # Data may contain a line that looks like one of these.
        if line.start() != n_bytes:
            break
        n_bytes = line.end()
        key, _, value = line[1].decode("latin-1").strip().partition(" ")
        if key.lower() == "end":
            break
        fields[key.lower()] = value.strip()
    if not n_bytes:
        return None
    about = dict(re.findall(r"(\w+)=(\w+)", fields.get("format", "")))
    names = {"EVT2": "2.0", "EVT21": "2.1", "EVT3": "3.0"}
    encoding = names.get(fields.get("format", "").partition(";")[0].upper(), fields.get("evt", ""))
    return Header(fields, n_bytes, encoding, about.get("endianness") == "legacy", _resolution(fields, about),
                  _sensor(fields))


def header_of(path: Path) -> Header:
    """The header of a file that is known to have one."""
    with path.open("rb") as file:
        header = read_header(file.read(HEADER_BYTES))
    assert header is not None
    return header


def whole(text: str) -> int:
    """A whole number of at most 18 digits, 0 for anything else."""
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else 0


def fact_lines(sensor: str, events_origin: EventsOrigin | None, offset_us: int) -> list[str]:
    """What a header of ours says that Prophesee's has no words for."""
    name = " ".join(sensor.encode("ascii", "replace").decode().split())
    return [f"sensor_name {name or 'unknown'}", f"events_origin {events_origin}", f"t_offset_us {offset_us}"]


def raw_header(encoding: str, size: Resolution, sensor: str, events_origin: EventsOrigin | None,
               offset_us: int) -> bytes:
    """The header of a RAW file in EVT 2.0 or 3.0; offset_us was taken off its times."""
    name = f"EVT{encoding.removesuffix('.0')}"
    lines = [f"evt {encoding}", f"format {name};height={size.height};width={size.width}",
             f"geometry {size.width}x{size.height}", "plugin_name hal_plugin_prophesee",
             "plugin_integrator_name Prophesee", *fact_lines(sensor, events_origin, offset_us), "end"]
    return "".join(f"% {line}\n" for line in lines).encode()


def _resolution(fields: dict[str, str], about: dict[str, str]) -> Resolution | None:
    stated = re.fullmatch(r"(\d+)\s*x\s*(\d+)", fields.get("geometry", ""))
    sides = list(stated.groups()) if stated else [about.get("width") or fields.get("width", ""),
                                                  about.get("height") or fields.get("height", "")]
    if all(side.isdecimal() and 0 < int(side[:9]) <= 4096 for side in sides):
        return Resolution(int(sides[0]), int(sides[1]))
    named = re.search(r"genx320|gen\d+|imx\d+", " ".join(fields.values()).lower())
    return Resolution(*SIZES[named[0]]) if named and named[0] in SIZES else None


def _sensor(fields: dict[str, str]) -> str:
    maker = fields.get("camera_integrator_name") or fields.get("integrator_name") or ""
    name = fields.get("sensor_name") or fields.get("plugin_name") or fields.get("plugin_integrator_name") or ""
    serial = fields.get("serial_number", "")
    return " ".join(part for part in dict.fromkeys((maker, name, serial)) if part)[:80]


def high_times(high: np.ndarray, is_high: np.ndarray, before: int | None) -> tuple[np.ndarray, int | None]:
    """The time word in force at each of n words of EVT 2.0 or 2.1, and the last one.

    high: value of each word as a time word (28 bits); is_high: which words are. before: the last one of the chunk
    before. The result [n] int64 is unwrapped, -1 before the first time word.
    """
    marks = unwrapped(high[is_high], TIME_HIGH_BITS, before)
    values = np.zeros(len(high), np.int64)
    values[is_high] = marks
    times = held(values, is_high, -1 if before is None else before)
    return times, int(marks[-1]) if len(marks) else before
