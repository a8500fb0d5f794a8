"""Hot pixels: those that fire all the time, learned from the first part of a stream or given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streams.filtering import Selection, number
from streams.types import Events, InputError, Resolution

USAGE = ("hot[:SECONDS|X,Y;X,Y...|FILE]", "no hot pixels: learned from the first SECONDS (default 1), or given, or "
         "read from a text file with X,Y per line")

DEFAULT_S = "1"
FEWEST, RATIO = 20, 10
"""A hot pixel had at least so many events, and so many times as many as the second most active pixel around it."""
LARGEST_BYTES = 1 << 20


def create(value: str) -> HotPixels:
    """The filter for seconds, pixels or a file; InputError for anything else."""
    if re.fullmatch(r"[\d.]*", value):
        return HotPixels(round(1e6 * number("hot", value or DEFAULT_S, 0.001, 600, "seconds to learn from")))
    if re.fullmatch(r"\s*\d+\s*,\s*\d+\s*(;\s*\d+\s*,\s*\d+\s*)*;?", value):
        return HotPixels(pixels=_pixels(value, value))
    return HotPixels(pixels=_pixels(_read(Path(value).expanduser()), value))


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InputError(f"{path} is too large for a list of hot pixels; give a text file with X,Y per line")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"hot takes seconds, pixels as X,Y;X,Y or a file, and {path} cannot be read: "
                         f"{error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text; give a file with X,Y per line") from error


def _pixels(text: str, said: str) -> np.ndarray:
    """Pixels [n, 2] (x, y) from lines or semicolons; # begins a remark."""
    found = []
    for line in re.split(r"[\n;]", text):
        words = line.partition("#")[0].replace(",", " ").split()
        if words and not (len(words) == 2 and all(re.fullmatch(r"\d{1,6}", word) for word in words)):
            raise InputError(f"{line.strip()[:40]!r} in {said} is no pixel; write X,Y with whole numbers")
        found += [(int(words[0]), int(words[1]))] if words else []
    if not found:
        raise InputError(f"{said} lists no pixel; write X,Y per line")
    return np.array(found)


def hot_pixels(counts: np.ndarray) -> np.ndarray:
    """Which pixels are hot, bool [H, W], by how many events each had [H, W].

    Hot is what fires often and much more than all but one of the pixels around it: contours that move fire in rows.
    """
    height, width = counts.shape
    rim = np.pad(counts, 1, "reflect")
    around = np.stack([rim[row:row + height, column:column + width]
                       for row in range(3) for column in range(3) if (row, column) != (1, 1)])
    second = np.partition(around, -2, axis=0)[-2]
    hot: np.ndarray = (counts >= FEWEST) & (counts > RATIO * second)
    return hot


@dataclass
class HotPixels(Selection):
    """Holds back the events of hot pixels: given [n, 2] (x, y), or learned within learn_us of the first event.

    While it learns from a live source all events pass.
    """

    learn_us: int = 0
    pixels: np.ndarray | None = None

    def prepare(self, resolution: Resolution, sensor: str) -> Resolution:
        """Begin on events of this resolution. Raises InputError for a given pixel that it does not have."""
        self._width = resolution.width
        self._cold = np.ones(resolution.width * resolution.height, bool)
        self._counts = np.zeros(resolution.hw, np.int64)
        self._until_us: int | None = None
        self.learning = self.pixels is None
        if self.pixels is not None:
            outside = (self.pixels >= (resolution.width, resolution.height)).any(axis=1)
            if outside.any():
                x, y = self.pixels[outside][0]
                raise InputError(f"the hot pixel {x},{y} is not on a sensor of {resolution} pixels; check the list")
            self._cold[self.pixels[:, 1] * self._width + self.pixels[:, 0]] = False
        return resolution

    def reset(self) -> None:
        """Learn from the beginning where nothing is learned yet."""
        self._counts.fill(0)
        self._until_us = None

    def settle(self) -> None:
        """Learn from what was seen so far."""
        if self.learning:
            self._cold = ~hot_pixels(self._counts).ravel()
            self.learning = False

    def keep(self, events: Events) -> np.ndarray:
        """Which events pass, bool [n]."""
        pixel = events["y"].astype(np.intp) * self._width + events["x"]
        n_seen = self._see(events["t"], pixel) if self.learning else 0
        kept = self._cold[pixel]
        kept[:n_seen] = True
        return kept

    def _see(self, t: np.ndarray, pixel: np.ndarray) -> int:
        """Count the events that belong to the first part; how many those are."""
        if self._until_us is None:
            self._until_us = int(t[0]) + self.learn_us
        n_seen = int(np.searchsorted(t, self._until_us))
        self._counts += np.bincount(pixel[:n_seen], minlength=self._counts.size).reshape(self._counts.shape)
        if n_seen < len(t):
            self.settle()
        return n_seen
