"""A webcam as a live source: frames from OpenCV and the events an event camera would have seen.

    with open_source("webcam://0") as source:      # camera number 0
        for item in source: ...                    # the newest events and frames; what was too old is counted

Time is µs since the first picture. An empty packet every 0.1 s says that the camera is silent. A camera that goes, or
hangs, is waited for, and the gap is marked (streams/reconnection.py).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import cv2
import numpy as np

from streams.reconnection import GIVE_UP_S, Reconnecting
from streams.simulation import EventSimulator
from streams.sources.video import MAX_WIDTH, rgb_at_most
from streams.types import Events, Frame, InputError, Losses, Packet, Resolution, SourceInfo, empty_packet

OPEN_TIMEOUT_S = 5.0
SILENCE_S = 0.1
KEPT_FRAMES = 8
CLOSE_S = 1.0
"""A read that hangs is left to its thread after so long."""
HANG_S = 5.0
"""So much longer than its patience a camera may keep quiet within one read before it counts as gone."""


class Capture(Protocol):
    """The part of cv2.VideoCapture that is used."""

    def isOpened(self) -> bool:
        """Whether there is a camera."""

    def read(self) -> tuple[bool, np.ndarray | None]:
        """(True, BGR picture uint8 [H, W, 3]) or (False, None)."""

    def release(self) -> None:
        """Give the camera back."""


def open_source(uri: str, max_width: int = MAX_WIDTH, give_up_s: float = GIVE_UP_S,
                simulate: bool = True) -> Reconnecting:
    """Open "webcam://N"; pictures are scaled down to at most max_width px.

    give_up_s: how long to wait for a camera that went, 0 = not at all. simulate: False = frames alone.
    """
    number = uri.removeprefix("webcam://") or "0"
    if not number.isdecimal():
        raise InputError(f"{uri} names no camera; give its number, as in webcam://0")
    return Reconnecting(lambda losses: WebcamSource(int(number), max_width, losses=losses, simulate=simulate),
                        give_up_s)


def open_camera(number: int) -> Capture:
    """Camera `number` of this machine, without OpenCV's own messages."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(number)
    finally:
        cv2.utils.logging.setLogLevel(level)


class WebcamSource:
    """A live camera. Raises InputError when no picture arrives within OPEN_TIMEOUT_S.

    opener: gives the camera, called in the reader thread. clock: seconds. patience_s: how long the camera may
    fail before the source ends with InputError. name: for people; absent: what to say when there is no such camera.
    losses: counters to go on with; n_dropped counts events and n_others_dropped pictures that were replaced by newer
    ones before the consumer took them. simulate: False = frames alone.
    """

    def __init__(self, number: int, max_width: int = MAX_WIDTH, clock: Callable[[], float] = time.monotonic,
                 opener: Callable[[int], Capture] = open_camera, patience_s: float = 2.0,
                 name: str = "", absent: str = "", losses: Losses | None = None, simulate: bool = True) -> None:
        self.losses = losses or Losses()
        self._number, self._max_width, self._opener = number, max_width, opener
        self._name, self._simulate = name or f"camera {number}", simulate
        self._absent = absent or f"there is no camera {number}; connect one or give another number, as in webcam://1"
        self._heard_s = time.monotonic()
        self._clock, self._patience_s = clock, patience_s
        self._queue: deque[tuple[Events, Frame, float]] = deque()
        self._rest: deque[Packet] = deque()
        self._error: str | None = None
        self._closed = self._done = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._capture_all, name=f"webcam-{number}", daemon=True)
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._done, OPEN_TIMEOUT_S)
            if not self._queue:
                self._closed = True
                silent = f"{self._name} gave no picture; check that no other program uses it"
                raise InputError(self._error or silent)
            resolution = self._queue[0][1].resolution
        self._info = SourceInfo(name or f"webcam {number}", resolution if simulate else None, resolution, live=True,
                                start_us=0, events_origin="simulated" if simulate else None, frames_origin="camera")

    @property
    def info(self) -> SourceInfo:
        """Name and size of the picture; reading it consumes nothing."""
        return self._info

    def __iter__(self) -> Iterator[Packet]:
        while True:
            if not self._rest:
                with self._changed:
                    self._changed.wait_for(lambda: self._queue or self._done, SILENCE_S)
                    if self._queue:
                        events, frame, self.losses.arrived_s = self._queue.popleft()
                        self._rest.extend([events, frame] if len(events) else [frame])
                    elif self._error is not None and not self._closed:
                        raise InputError(self._error)
                    elif self._done:
                        return
                    elif time.monotonic() - self._heard_s > self._patience_s + HANG_S:
                        raise InputError(f"{self._name} hangs; reconnect it")
            yield self._rest.popleft() if self._rest else empty_packet()

    def seek(self, t_us: int) -> None:
        """Raise InputError: a camera has no past."""
        raise InputError(f"{self._name} is live and cannot go to {t_us} µs; record it first")

    def rate_histogram(self, bins: int) -> np.ndarray:
        """Raise InputError: a camera has no known span."""
        raise InputError(f"{self._name} is live and has no {bins} parts to count; record it first")

    def close(self) -> None:
        """Release the camera; iteration ends. May be called any number of times."""
        with self._changed:
            self._closed = self._done = True
            self._queue.clear()
            self._changed.notify_all()
        self._thread.join(CLOSE_S)

    def __enter__(self) -> WebcamSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _capture_all(self) -> None:
        """Reader thread: the camera belongs to it alone, since OpenCV allows no release during a read."""
        error: str | None = None
        try:
            camera = self._opener(self._number)
            try:
                error = self._read(camera)
            finally:
                camera.release()
        except Exception as raised:  # OpenCV raises its own types; the consumer gets one sentence
            error = f"{self._name} failed: {raised}; reconnect it"
        with self._changed:
            self._error, self._done = error, True
            self._changed.notify_all()

    def _read(self, camera: Capture) -> str | None:
        """Queue pictures until closed; a sentence when the camera ends first."""
        if not camera.isOpened():
            return self._absent
        simulator: EventSimulator | None = None
        begin_s = last_s = self._clock()
        last_us = -1
        while not self._closed:
            done, bgr = camera.read()
            now_s = self._clock()
            if not done or bgr is None:
                if now_s - last_s > self._patience_s:
                    return f"{self._name} stopped giving pictures; reconnect it and open it again"
                time.sleep(0.005)
                continue
            image = rgb_at_most(bgr, self._max_width)
            if last_us < 0:
                begin_s = now_s
                size = Resolution(image.shape[1], image.shape[0])
                simulator = EventSimulator(size) if self._simulate else None
            t_us = max(last_us + 1, round((now_s - begin_s) * 1e6))
            events = empty_packet() if simulator is None else simulator.step(image, t_us)
            self._offer(events, Frame(t_us, 0, image), now_s)
            last_us, last_s = t_us, now_s
        return None

    def _offer(self, events: Events, frame: Frame, at_s: float) -> None:
        with self._changed:
            self._heard_s = time.monotonic()
            if len(self._queue) == KEPT_FRAMES:
                old_events, *_ = self._queue.popleft()
                self.losses.n_dropped += len(old_events)
                self.losses.n_others_dropped += 1
            self._queue.append((events, frame, at_s))
            self._changed.notify_all()
