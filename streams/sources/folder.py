"""A folder of pictures with their times, and the events beside them: DSEC's and RPG's event-camera data sets.

    with open_source("interlaken_00_c") as source:
        for item in source: ...

Layouts: DSEC (dsec.ifi.uzh.ch) has images/timestamps.txt with a time in µs a line, images/left/rectified/*.png and
events/left/events.h5; RPG (rpg.ifi.uzh.ch/davis_data.html) has images.txt with lines "SECONDS PATH", and events.txt.
Without events the folder gives frames only. Pictures wider than 640 px are scaled down, as those of a video are.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streams.recording import RecordingSource
from streams.sources import csv, hdf5
from streams.sources.video import MAX_WIDTH, rgb_at_most
from streams.timeline import begins_us
from streams.types import Frame, InputError, Losses, Packet

LISTS = ("images.txt",)
TIMES = ("timestamps.txt", "images/timestamps.txt", "image_timestamps.txt", "images/image_timestamps.txt")
PICTURES = ("images/left/rectified", "images/left", "images", "left", ".")
EVENTS = ("events.txt", "events.csv", "events.h5", "events/left/events.h5", "events/events.h5")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


def matches(path: Path, head: bytes) -> bool:
    """Whether the path is a folder that holds times of pictures."""
    return path.is_dir() and _first(path, LISTS + TIMES) is not None


def open_source(uri: str, reconstruct_frames: bool = True) -> RecordingSource:
    """Open the recording in this folder. Raises InputError for times that do not fit the pictures or cannot be read.

    reconstruct_frames: of no effect when there is any picture.
    """
    path = Path(uri)
    pictures = _pictures(path)
    events = _events(path)

    def read(place: Any, losses: Losses) -> Iterator[tuple[Any, Packet]]:
        streams: list[Iterator[tuple[Any, Packet]]] = [_frames(pictures, place, losses)]
        if events is not None:
            streams.append(events.read(place, losses))
        yield from heapq.merge(*streams, key=lambda entry: begins_us(entry[1]) or 0)

    return RecordingSource(path, read, None if events is None else events.info.event_resolution,
                           reconstruct_frames=reconstruct_frames, release=events.close if events else lambda: None)


def _first(path: Path, names: tuple[str, ...]) -> Path | None:
    return next((path / name for name in names if (path / name).exists()), None)


def _events(path: Path) -> RecordingSource | None:
    """The recording of events beside the pictures, None when there is none. Raises InputError as its format does."""
    file = _first(path, EVENTS)
    if file is None:
        return None
    return (hdf5 if file.suffix == ".h5" else csv).open_source(str(file), reconstruct_frames=False)


def _pictures(path: Path) -> list[tuple[int, Path]]:
    """(time in µs, file) in order of time. Raises InputError."""
    listing = _first(path, LISTS)
    times = listing or _first(path, TIMES)
    assert times is not None
    try:
        lines = [line.split() for line in times.read_text("latin-1").splitlines() if line.strip() and line[0] != "#"]
    except OSError as error:
        raise InputError(f"{times} cannot be read: {error.strerror}; check its permissions") from None
    stamps = [_time_us(words[0]) for words in lines]
    if None in stamps or not stamps:
        raise InputError(f"{times} is not a list of times; it has one in µs or s at the begin of every line")
    if listing is not None:
        files = [path / words[-1] for words in lines]
    else:
        folders = [sorted(file for file in (path / name).iterdir() if file.suffix.lower() in SUFFIXES)
                   for name in PICTURES if (path / name).is_dir()]
        files = next((found for found in folders if found), [])
        if len(files) != len(stamps):
            raise InputError(f"{path} has {len(files)} pictures but {len(stamps)} times in {times.name}; complete it")
    return sorted((stamp, file) for stamp, file in zip(stamps, files, strict=True) if stamp is not None)


def _time_us(word: str) -> int | None:
    """A time with a fraction is in seconds, one without in µs; None when it is none."""
    if not re.fullmatch(r"\d{1,18}(\.\d*)?", word):
        return None
    return round(float(word) * 1e6) if "." in word else int(word)


def _frames(pictures: list[tuple[int, Path]], start_us: int | None, losses: Losses) -> Iterator[tuple[int, Frame]]:
    for t_us, file in pictures:
        if start_us is not None and t_us < start_us:
            continue
        bgr: np.ndarray | None = None
        # OpenCV has exceptions of its own for damaged pictures.
        with suppress(cv2.error):
            bgr = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if bgr is None:
            losses.damage = f"the picture {file.name} is missing or damaged: everything else was delivered"
        else:
            yield t_us, Frame(t_us, 0, rgb_at_most(bgr, MAX_WIDTH))
