"""Formats that recordings are written in; a name is a module in this folder.

    name = format_for(Path("walk.raw"), None)    # "evt3"
    with placed(path, overwrite=False) as temporary, open_target(name, temporary, facts) as target:
        target.write(packet)                     # event packets in time order, and Frames where it KEEPS frames

A module offers open_target(path, facts) -> Target, NAME for people, and KEEPS: what it holds beside the events
("frames", "size" of the sensor, "origin" of the events, "clock": times of any size, "sensor": the camera's
name, "samples" of the IMU and triggers).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from streams.targets.content import Facts, Target
from streams.types import InputError

FORMATS: dict[str, tuple[str, ...]] = {
    ".aedat4": ("aedat4",), ".csv": ("csv",), ".dat": ("dat",), ".es": ("es",), ".h5": ("hdf5",), ".hdf5": ("hdf5",),
    ".npy": ("npy", "eventgpt"), ".raw": ("evt3", "evt2"), ".txt": ("csv",)}
"""Modules by the suffix that a file has; the first is meant when nothing else is said."""
NAMES = sorted({name for names in FORMATS.values() for name in names})


def format_for(path: Path, name: str | None) -> str:
    """The module that writes a file of this name; `name` chooses among several. Raises InputError."""
    names = FORMATS.get(path.suffix.lower())
    if names is None:
        raise InputError(f"{path} must end in one of {', '.join(FORMATS)}: the suffix says which format is written")
    if name is not None and name not in names:
        raise InputError(f"{name} is not written to {path.suffix}; that suffix allows {', '.join(names)}")
    return name or names[0]


def open_target(name: str, path: Path, facts: Facts) -> Target:
    """Begin to write a file. Raises InputError for what the format cannot hold and for a missing library."""
    if facts.resolution is None and "frames" not in _module(name).KEEPS:
        raise InputError(f"there are no events to write, and {_module(name).NAME} holds nothing else; use .aedat4")
    target: Target = _module(name).open_target(path, facts)
    return target


def keeps(name: str, what: str) -> bool:
    """Whether a format holds "frames", "size", "origin", "clock", "sensor" or "samples"."""
    return what in _module(name).KEEPS


def left_out(name: str, facts: Facts) -> list[str]:
    """One sentence for each thing that the format has no place for."""
    module = _module(name)
    said = []
    if facts.frame_resolution is not None and "frames" not in module.KEEPS:
        said.append(f"frames are left out: {module.NAME} holds events only")
    if facts.resolution is not None and "size" not in module.KEEPS:
        said.append(f"the sensor's size {facts.resolution} is not in it: {module.NAME} has no place for it")
    if facts.events_origin not in (None, "camera") and "origin" not in module.KEEPS:
        said.append(f"that the events are {facts.events_origin} is not in it: {module.NAME} has no place for it")
    if facts.offset_us and "clock" not in module.KEEPS:
        said.append(f"times are {facts.offset_us} µs less than in the recording: {module.NAME} begins near 0")
    return said


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
