"""What a window looks like to the bundled pair: the one preprocessing used in training, page and command line.

    rgb_input(window).shape      # (19, 128, 128) from 8 frames
    event_input(window).shape    # (23, 128, 128) from all events

Any resolution and aspect ratio is stretched to SIDE x SIDE; boxes are therefore plain fractions of the view. Frames
are laid over the middle one before they are compared, so that a moving camera does not make everything move.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from bisect import bisect_left
from pathlib import Path

import cv2
import numpy as np

from pipeline import native
from pipeline.alignment import camera_shifts
from streams.types import Events, Frame, InputError, Resolution, Window

WINDOW_US = 1_000_000
"""Usual length of the windows that the bundled pair was trained on; others from SHORTEST_US to LONGEST_US."""

SHORTEST_US, LONGEST_US = 250_000, 2_000_000

CAMERA_WAY_X = 16
"""The channel of rgb_input that changes its sign in a mirror: which way the camera went."""

SIDE = 128
FRAMES = 8
BINS = 8
RGB_CHANNELS = 3 + 3 + (FRAMES - 1) + 1 + 1 + 1 + 3
EVENT_CHANNELS = 2 * BINS + 2 + 4 + 1
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
MIDDLE = (FRAMES - 1) // 2
SLOPE, STEEPEST = 0.3, 3.0
"""What more events per pixel were ON than OFF is shown as, and where that ends."""

def pick_frames(window: Window, count: int = FRAMES) -> list[Frame]:
    """The frames nearest to the middles of `count` equal parts of the window, repeated where there are fewer.

    Raises InputError when the window holds no frame.
    """
    if not window.frames:
        raise InputError(f"the window {window.start_us}..{window.end_us} µs holds no frame; choose another moment "
                         "or a longer window")
    times_us = np.array([frame.t_us for frame in window.frames])
    wanted_us = window.start_us + (np.arange(count) + 0.5) * window.duration_us / count
    nearest = np.abs(times_us[None, :] - wanted_us[:, None]).argmin(1)
    return [window.frames[i] for i in nearest]


def rgb_input(window: Window) -> np.ndarray:
    """Frames of a window as float32 [19, SIDE, SIDE]: colour, motion and brightness, normalised for exposure.

    Channels: middle frame RGB (3), its difference to the temporal mean (3), luma differences of successive
    frames (7), of last and first (1), log mean brightness (1), log window length (1), how the camera moved: its way
    in x, the length of its way, and its trembling (3). Raises InputError without frames.
    """
    images = np.stack([_fit(frame.image) for frame in pick_frames(window)]).astype(np.float32) / 255
    mean = max(0.02, float((images @ LUMA).mean()))
    images *= 0.45 / mean
    shifts = camera_shifts(images @ LUMA)
    images = np.stack([_moved_back(image, shift) for image, shift in zip(images, shifts, strict=True)])
    middle, luma = images[MIDDLE], images @ LUMA
    channels = np.empty((RGB_CHANNELS, SIDE, SIDE), np.float32)
    channels[0:3] = (middle * 2 - 1).transpose(2, 0, 1)
    channels[3:6] = ((middle - images.mean(0)) * 2).transpose(2, 0, 1)
    channels[6:13] = (luma[1:] - luma[:-1]) * 3
    channels[13] = (luma[-1] - luma[0]) * 2
    channels[14] = np.log(mean) + 1.3
    channels[15] = _log_length(window)
    line = np.stack([np.linspace(-0.5, 0.5, FRAMES), np.ones(FRAMES)], 1)
    (way, middle_shift), *_ = np.linalg.lstsq(line, shifts, rcond=None)
    tremble = np.sqrt(np.square(shifts - line @ np.stack([way, middle_shift])).mean())
    channels[16:19] = np.array([way[0] / 8, np.hypot(*way) / 2, tremble]).reshape(3, 1, 1)
    return channels


def _moved_back(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    if not shift.any():
        return image
    move = np.array([[1, 0, -shift[0]], [0, 1, -shift[1]]], np.float64)
    return cv2.warpAffine(image, move, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _log_length(window: Window) -> float:
    """Binary logarithm of the length in seconds: what makes a displacement a speed."""
    return float(np.log2(max(1, window.duration_us) / WINDOW_US))


def _fit(image: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] stretched to SIDE x SIDE."""
    if image.shape[0] < SIDE or image.shape[1] < SIDE:
        return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    compiled = _library() if native.switched_on() and _is_packed(image) else None
    small = np.empty((SIDE, SIDE, 3), np.uint8)
    if compiled is not None and not compiled.shrink(image.ctypes.data, *image.shape[:2], image.strides[0], SIDE,
                                                    small.ctypes.data):
        return small
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def _is_packed(image: np.ndarray) -> bool:
    # OpenCV is as fast where whole pixels make one, and rounds otherwise there
    whole = image.shape[0] % SIDE == 0 and image.shape[1] % SIDE == 0
    return not whole and image.dtype == np.uint8 and image.shape[2:] == (3,) and image.strides[1:] == (3, 1)


@functools.cache
def _library() -> ctypes.CDLL | None:
    pointer, number = native.POINTER, native.NUMBER
    return native.built(Path(__file__).with_name("inputs.c"), {
        "shrink": (pointer, number, number, native.LONG, number, pointer),
        "count_events": (pointer, number, pointer, number, number, pointer, pointer, number, pointer),
        "show_counts": (pointer, number, number, native.REAL, pointer, number, native.REAL, native.REAL, pointer)})


def event_input(window: Window) -> np.ndarray:
    """Events of a window as float32 [23, SIDE, SIDE].

    Channels: log1p of the mean count per sensor pixel in 8 equal time bins, OFF and ON (16); the same over the
    whole window (2); signed sum up to bins 2, 4, 6 and 8, clipped (4); log window length (1). An empty window gives
    zeros in all but the last.
    """
    events, width, height = window.events, window.resolution.width, window.resolution.height
    # searchsorted would copy the times of all events
    edges = np.array([bisect_left(events["t"], window.start_us - (-number * window.duration_us // BINS))
                      for number in range(BINS + 1)], np.int64)
    counts = _counted(events, edges, window.resolution)
    share = SIDE * SIDE / (width * height)
    channels = np.empty((EVENT_CHANNELS, SIDE, SIDE), np.float32)
    channels[-1] = _log_length(window)
    compiled, known = _library() if native.switched_on() else None, _logarithms(share)
    if compiled is not None and not compiled.show_counts(
            counts.ctypes.data, BINS, SIDE * SIDE, share, known.ctypes.data, len(known), SLOPE, STEEPEST,
            channels.ctypes.data):
        return channels
    per_pixel = counts.astype(np.float32) * np.float32(share)
    channels[0:16] = np.log1p(per_pixel.reshape(16, SIDE, SIDE))
    channels[16:18] = np.log1p(per_pixel.sum(0))
    signed = (per_pixel[:, 1] - per_pixel[:, 0]).cumsum(0)
    channels[18:22] = np.clip(signed[1::2] * SLOPE, -STEEPEST, STEEPEST)
    return channels


@functools.lru_cache(16)
def _logarithms(share: float) -> np.ndarray:
    """Of one plus a share of the numbers that occur, many times each."""
    return np.log1p(np.arange(4096).astype(np.float32) * np.float32(share))


def _counted(events: Events, edges: np.ndarray, resolution: Resolution) -> np.ndarray:
    """Events by time, polarity and cell [BINS, 2, SIDE, SIDE], those of bin i from edges[i] on, before edges[i + 1]."""
    # tables instead of a division for every event
    row = (np.arange(resolution.height) * SIDE // resolution.height * SIDE).astype(np.int32)
    column = (np.arange(resolution.width) * SIDE // resolution.width).astype(np.int32)
    compiled = _library() if native.switched_on() and events.flags.c_contiguous else None
    counts = np.empty((BINS, 2, SIDE, SIDE), np.int32)
    if compiled is not None and not compiled.count_events(
            events.ctypes.data, BINS, edges.ctypes.data, *resolution.hw, row.ctypes.data,
            column.ctypes.data, SIDE * SIDE, counts.ctypes.data):
        return counts
    cell = row.astype(np.intp).take(events["y"])
    cell += column.take(events["x"])
    cell += events["p"] * np.intp(SIDE * SIDE)
    for number, (first, last) in enumerate(itertools.pairwise(edges)):
        counts[number] = np.bincount(cell[first:last], minlength=2 * SIDE * SIDE).reshape(2, SIDE, SIDE)
    return counts
