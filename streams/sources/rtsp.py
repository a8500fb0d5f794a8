"""A network camera as a live source: frames over RTSP through OpenCV's FFmpeg, and simulated events, as of a webcam.

    with open_source("rtsp://user:password@192.168.1.9:554/stream") as source: ...

A thread of its own reads, with limits on opening and reading: a camera that hangs takes nothing else with it. One that
goes is waited for, and the gap is marked (streams/reconnection.py).
"""

from __future__ import annotations

from urllib.parse import urlsplit

import cv2

from streams.reconnection import GIVE_UP_S, Reconnecting
from streams.sources.video import MAX_WIDTH
from streams.sources.webcam import Capture, WebcamSource
from streams.types import InputError, Losses

OPEN_MS, READ_MS = 4000, 4000
"""What FFmpeg may take to connect, and for one picture."""


def open_source(uri: str, max_width: int = MAX_WIDTH, give_up_s: float = GIVE_UP_S,
                simulate: bool = True) -> Reconnecting:
    """Open "rtsp://HOST[:PORT]/PATH"; pictures are scaled down to at most max_width px.

    give_up_s: how long to wait for a camera that went, 0 = not at all. simulate: False = frames alone.
    Raises InputError when nothing answers there.
    """
    if not urlsplit(uri).hostname:
        raise InputError(f"{uri} names no camera; write rtsp://HOST/PATH, with USER:PASSWORD@ before HOST where needed")
    return Reconnecting(lambda losses: open_camera(uri, max_width, losses, simulate), give_up_s)


def open_camera(url: str, max_width: int = MAX_WIDTH, losses: Losses | None = None,
                simulate: bool = True) -> WebcamSource:
    """The stream at an address until it ends; of any kind that FFmpeg reads. Raises InputError."""
    name = _without_password(url)
    return WebcamSource(0, max_width, opener=lambda _: open_capture(url), name=name, losses=losses, simulate=simulate,
                        absent=f"nothing can be received from {name}; check address, path and password")


def open_capture(url: str) -> Capture:
    """OpenCV's capture of an address, without its own messages."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(url, cv2.CAP_FFMPEG, [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_MS,
                                                      cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_MS])
    finally:
        cv2.utils.logging.setLogLevel(level)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
