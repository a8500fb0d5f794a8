"""A video file as frames with simulated events; OpenCV decodes, streams.simulation makes the events.

    for item in open_source("street.mp4", max_width=346):
        ...                                     # the events up to a frame come before the frame

Events are labelled simulated and frames video. Time stamps are the container's own. Pictures wider than
max_width (default 640 px) are scaled down so that the simulation keeps up with playback. After seek() the
simulated pixels start afresh some frames before the target, so single events differ from continuous reading.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

# One sentence of ours replaces the decoder's own chatter; FFmpeg reads this when the first file is opened.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from streams.simulation import EventSimulator, SimulatorParameters
from streams.types import Frame, InputError, Losses, Packet, Resolution, SourceInfo

MAX_WIDTH = 640
SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv"}
STARTS = (b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"FLV\x01", b"OggS", b"YUV4MPEG2 ",
          b"0&\xb2u\x8ef\xcf\x11")
"""Matroska and WebM, MPEG programme and video streams, FLV, Ogg, Y4M, ASF."""

SEEK_MARGIN_FRAMES = 3
RATE_SAMPLES = 64
RATE_WIDTH = 160


def matches(path: Path, head: bytes) -> bool:
    """True for the signature of a video container, or a video's file name that OpenCV can open."""
    if head.startswith(STARTS) or head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return True
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return True
    return path.suffix.lower() in SUFFIXES and cv2.VideoCapture(str(path)).isOpened()


def open_source(uri: str, max_width: int = MAX_WIDTH, parameters: SimulatorParameters | None = None,
                seed: int = 0, simulate: bool = True) -> VideoSource:
    """Open the video at the path `uri`; pictures are at most max_width px wide.

    parameters, seed: of the event simulation. simulate: False = frames alone.
    """
    return VideoSource(Path(uri), max_width, parameters, seed, simulate)


def rgb_at_most(bgr: np.ndarray, max_width: int) -> np.ndarray:
    """RGB copy uint8 [H, W, 3] of OpenCV's picture, scaled down to at most max_width px, aspect kept."""
    height, width = bgr.shape[:2]
    if width > max_width:
        size = max_width, max(1, round(height * max_width / width))
        bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


class VideoSource:
    """A video file. Raises InputError when it has no frame that OpenCV can decode."""

    def __init__(self, path: Path, max_width: int = MAX_WIDTH, parameters: SimulatorParameters | None = None,
                 seed: int = 0, simulate: bool = True) -> None:
        if max_width < 1:
            raise InputError(f"max_width must be at least 1 px, got {max_width}; the default is {MAX_WIDTH}")
        self._path, self._max_width = path, max_width
        self.losses = Losses()
        """What could not be read; damage is set when the video ends well before its stated length."""
        self._pictures = _Pictures(path, max_width)
        first = self._pictures.read()
        if first is None:
            raise InputError(f"{path} has no picture that can be decoded; it may be damaged, try another one")
        start_us, image = first
        resolution = Resolution(image.shape[1], image.shape[0])
        self._info = SourceInfo(path.name, resolution if simulate else None, resolution, start_us=start_us,
                                duration_us=self._pictures.duration_us,
                                events_origin="simulated" if simulate else None, frames_origin="video")
        self._parameters, self._seed, self._resolution = parameters, seed, resolution
        self._simulator = EventSimulator(resolution, parameters, seed) if simulate else None
        self._queue: deque[Packet] = deque()
        self._from_us = start_us
        self._take(*first)

    @property
    def info(self) -> SourceInfo:
        """Name, size and span of the video; reading it consumes nothing."""
        return self._info

    def __iter__(self) -> Iterator[Packet]:
        while True:
            while not self._queue:
                picture = self._pictures.read()
                if picture is None:
                    self._note_damage()
                    return
                self._take(*picture)
            yield self._queue.popleft()

    def seek(self, t_us: int) -> None:
        """Continue with the first events and the first frame at or after t_us (the video's clock)."""
        self._pictures.seek(t_us)
        if self._simulator is not None:
            self._simulator = EventSimulator(self._resolution, self._parameters, self._seed)
        self._queue.clear()
        self._from_us = t_us

    def rate_histogram(self, bins: int) -> np.ndarray:
        """Approximate events per second, float64 [bins]; consumes nothing.

        Sampled: up to 64 places, three frames each, simulated 160 px wide, scaled by area and interpolated.
        Good for the shape of a curve, not for counting; flat when the length is unknown. Raises InputError
        for fewer than one bin.
        """
        if bins < 1:
            raise InputError(f"a histogram needs at least one bin, got {bins}")
        duration_us, start_us = self._info.duration_us or 0, self._info.start_us or 0
        samples = min(bins, RATE_SAMPLES)
        centres_us = start_us + (np.arange(samples) + 0.5) / samples * duration_us
        pictures = _Pictures(self._path, RATE_WIDTH)
        rates = [_sampled_rate_hz(pictures, round(t_us), self._resolution) for t_us in centres_us]
        pictures.close()
        wanted_us = start_us + (np.arange(bins) + 0.5) / bins * duration_us
        return np.interp(wanted_us, centres_us, rates)

    def close(self) -> None:
        """Release the file; iteration ends. May be called any number of times."""
        self._queue.clear()
        self._pictures.close()

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _take(self, t_us: int, image: np.ndarray) -> None:
        if self._simulator is not None:
            events = self._simulator.step(image, t_us)
            events = events[events["t"] >= self._from_us]
            if len(events):
                self._queue.append(events)
        if t_us >= self._from_us:
            self._queue.append(Frame(t_us, 0, image))

    def _note_damage(self) -> None:
        start_us, duration_us = self._info.start_us or 0, self._info.duration_us
        reached_us = self._pictures.last_us
        # A tenth is left for containers that only estimate their length.
        if not self._pictures.closed and duration_us and reached_us is not None:
            missing_us = start_us + duration_us - reached_us - 2 * self._pictures.period_us
            if missing_us > duration_us // 10:
                self.losses.damage = (f"{self._path.name} ends after {(reached_us - start_us) / 1e6:.2f} s, "
                                      f"not {duration_us / 1e6:.2f} s as stated; the rest cannot be decoded")


class _Pictures:
    """The decoded pictures of a file with their times: OpenCV's capture made sequential and sane."""

    def __init__(self, path: Path, max_width: int) -> None:
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(f"{path} cannot be opened as a video by OpenCV; it may be damaged or its codec "
                             "is missing, convert it to MP4")
        self._max_width = max_width
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        rate = rate if 0 < rate < 100_000 else 30.0
        self.period_us = max(1, round(1e6 / rate))
        self.duration_us = round(count / rate * 1e6) if count > 0 else None
        self.last_us: int | None = None
        self.closed = False
        self._pending: tuple[int, np.ndarray] | None = None

    def read(self) -> tuple[int, np.ndarray] | None:
        """Next (t_us, rgb), times strictly rising; None at the end."""
        picture, self._pending = self._pending, None
        if picture is None and not self.closed:
            picture = self._decode()
        if picture is not None:
            self.last_us = picture[0]
        return picture

    def seek(self, t_us: int) -> None:
        """Make the next picture one that lies before t_us, so that events up to t_us can be simulated."""
        if self.closed:
            return
        self._capture.set(cv2.CAP_PROP_POS_MSEC, max(0, t_us - SEEK_MARGIN_FRAMES * self.period_us) / 1000)
        self.last_us = None
        self._pending = self._decode()
        # Containers with a variable rate may land late: then decode from the beginning.
        if self._pending is None or self._pending[0] > t_us:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            self._pending = self._decode()
        while self._pending is not None and self._pending[0] < t_us - SEEK_MARGIN_FRAMES * self.period_us:
            self.last_us = self._pending[0]
            self._pending = self._decode()

    def close(self) -> None:
        """Release the file."""
        self.closed, self._pending = True, None
        self._capture.release()

    def _decode(self) -> tuple[int, np.ndarray] | None:
        done, bgr = self._capture.read()
        if not done:
            return None
        t_us = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1000)
        if self.last_us is not None and t_us <= self.last_us:
            # Some containers repeat or lack time stamps.
            t_us = self.last_us + self.period_us
        return t_us, rgb_at_most(bgr, self._max_width)


def _sampled_rate_hz(pictures: _Pictures, t_us: int, resolution: Resolution) -> float:
    pictures.seek(t_us)
    shots = [shot for shot in (pictures.read() for _ in range(3)) if shot is not None]
    if len(shots) < 2:
        return 0.0
    height, width = shots[0][1].shape[:2]
    simulator = EventSimulator(Resolution(width, height))
    count = sum(len(simulator.step(image, shot_us)) for shot_us, image in shots)
    area = resolution.width * resolution.height / (width * height)
    return count * area / ((shots[-1][0] - shots[0][0]) * 1e-6)
