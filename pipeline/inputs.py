"""What a window looks like to the bundled pair: the one preprocessing used in training, page and command line.

    rgb_input(window).shape      # (16, 128, 128) from 8 frames
    event_input(window).shape    # (23, 128, 128) from all events

Any resolution and aspect ratio is stretched to SIDE x SIDE; boxes are therefore plain fractions of the view.
"""

from __future__ import annotations

import cv2
import numpy as np

from streams.types import Frame, InputError, Window

WINDOW_US = 1_000_000
"""Usual length of the windows that the bundled pair was trained on; others from SHORTEST_US to LONGEST_US."""

SHORTEST_US, LONGEST_US = 250_000, 2_000_000

SIDE = 128
FRAMES = 8
BINS = 8
RGB_CHANNELS = 3 + 3 + (FRAMES - 1) + 1 + 1 + 1
EVENT_CHANNELS = 2 * BINS + 2 + 4 + 1
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


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
    """Frames of a window as float32 [16, SIDE, SIDE]: colour, motion and brightness, normalised for exposure.

    Channels: middle frame RGB (3), its difference to the temporal mean (3), luma differences of successive
    frames (7), of last and first (1), log mean brightness (1), log window length (1). Raises InputError without
    frames.
    """
    images = np.stack([_fit(frame.image) for frame in pick_frames(window)]).astype(np.float32) / 255
    mean = max(0.02, float((images @ LUMA).mean()))
    images *= 0.45 / mean
    middle, luma = images[FRAMES // 2 - 1], images @ LUMA
    channels = np.empty((RGB_CHANNELS, SIDE, SIDE), np.float32)
    channels[0:3] = (middle * 2 - 1).transpose(2, 0, 1)
    channels[3:6] = ((middle - images.mean(0)) * 2).transpose(2, 0, 1)
    channels[6:13] = (luma[1:] - luma[:-1]) * 3
    channels[13] = (luma[-1] - luma[0]) * 2
    channels[14] = np.log(mean) + 1.3
    channels[15] = _log_length(window)
    return channels


def _log_length(window: Window) -> float:
    """Binary logarithm of the length in seconds: what makes a displacement a speed."""
    return float(np.log2(max(1, window.duration_us) / WINDOW_US))


def _fit(image: np.ndarray) -> np.ndarray:
    shrink = image.shape[0] >= SIDE and image.shape[1] >= SIDE
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)


def event_input(window: Window) -> np.ndarray:
    """Events of a window as float32 [23, SIDE, SIDE].

    Channels: log1p of the mean count per sensor pixel in 8 equal time bins, OFF and ON (16); the same over the
    whole window (2); signed sum up to bins 2, 4, 6 and 8, clipped (4); log window length (1). An empty window gives
    zeros in all but the last.
    """
    events, width, height = window.events, window.resolution.width, window.resolution.height
    time_bin = (events["t"] - window.start_us) * BINS // window.duration_us
    row = events["y"].astype(np.int64) * SIDE // height
    column = events["x"].astype(np.int64) * SIDE // width
    flat = ((time_bin * 2 + events["p"]) * SIDE + row) * SIDE + column
    counts = np.bincount(flat, minlength=BINS * 2 * SIDE * SIDE)[:BINS * 2 * SIDE * SIDE].astype(np.float32)
    per_pixel = counts.reshape(BINS, 2, SIDE, SIDE) * np.float32(SIDE * SIDE / (width * height))
    channels = np.empty((EVENT_CHANNELS, SIDE, SIDE), np.float32)
    channels[0:16] = np.log1p(per_pixel).reshape(16, SIDE, SIDE)
    channels[16:18] = np.log1p(per_pixel.sum(0))
    signed = (per_pixel[:, 1] - per_pixel[:, 0]).cumsum(0)
    channels[18:22] = np.clip(signed[1::2] * 0.3, -3, 3)
    channels[22] = _log_length(window)
    return channels
