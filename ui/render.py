"""Pictures for the page: events as a palette PNG, frames as JPEG. Pure functions.

    png = event_png(event_image(events, Resolution(346, 260), "events", end_us, span_us=33_000), "dark")
    png = with_palette(png, "light")            # other colours without encoding again

A palette PNG of a 640x480 event view takes 2 ms and 11 kB, an eighth of a full-colour one, without artefacts. Its
background is transparent where a viewer allows, so that it can lie over the RGB view.
"""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

from streams.representations import decayed_sum, event_counts, polarity_image, space_time_points, time_surface
from streams.types import Events, Resolution

PALETTE_COLOURS: dict[str, bytes] = {
    "dark": bytes.fromhex("1E2534" "FFFFFF" "5BA3F0"),
    "light": bytes.fromhex("FFFFFF" "2F6FC4" "1E2534"),
    "orange-blue": bytes.fromhex("1E1E1E" "E69F00" "56B4E9"),
    "grey": bytes.fromhex("808080" "FFFFFF" "000000"),
}
"""RGB bytes of no event, ON, OFF; every pair is apart for colour-blind eyes."""

SHADES = 7
"""Shades of ON and of OFF in the styles that have shades."""
FAINTEST = 0.3
"""How far the first shade is from the background."""
LOOK_BACK = 3
"""Times the time constant that fading styles look back: what is older has faded to a twentieth."""
JPEG_QUALITY = 82

DEEP = 5
"""Spans that the view in space and time looks back: a movement is a slope only over some time."""
NEWEST, OLDEST = (0.02, 0.34), (0.36, 0.02)
"""Upper left corners of the sensor's plane now and at the earliest time shown, as shares of the picture."""
PLANE = 0.62
"""Size of that plane, as a share of the picture."""


def look_back_us(style: str, span_us: int) -> int:
    """How much before the moment event_image needs, µs."""
    return span_us * {"decay": LOOK_BACK, "surface": LOOK_BACK, "points": DEEP}.get(style, 1)


def event_image(events: Events, resolution: Resolution, style: str, end_us: int, span_us: int) -> np.ndarray:
    """Events up to end_us as palette indices, uint8 [H, W]: 0 nothing, then the ON shades from faint to full, then OFF.

    style: "events" the last event of each pixel, one shade; "histogram" one shade per event, in the colour of the
    majority; "decay" ON minus OFF, fading with span_us; "surface" how recent the last event is, fading with span_us;
    "points" as points in space and time, 3-D, older ones behind and fainter.
    """
    if style == "events":
        return polarity_image(events, resolution)
    if style == "histogram":
        off, on = event_counts(events, resolution)
        return _shaded(np.minimum(on + off, SHADES), off > on)
    if style == "decay":
        level = decayed_sum(events, resolution, end_us, span_us)
        return _shaded(np.ceil(np.minimum(np.abs(level), 1) * SHADES), level < 0)
    if style == "points":
        return _cloud(events, resolution, end_us - DEEP * span_us, end_us)
    off, on = time_surface(events, resolution, end_us, span_us)
    return _shaded(np.ceil(np.maximum(on, off) * SHADES), off > on)


def _cloud(events: Events, resolution: Resolution, start_us: int, end_us: int) -> np.ndarray:
    """Points of x, y and t seen at a slant: the sensor's plane moves from behind to the front while time passes."""
    height, width = resolution.hw
    points, on = space_time_points(events, resolution, start_us, end_us + 1)
    image, age = np.zeros((height, width), np.uint8), 1 - points[:, 2:]
    corner = np.array([NEWEST]) + age * (np.array([OLDEST]) - NEWEST)
    place = points[:, :2] * max(height, width) * PLANE + corner * (width, height)
    column, row = place.astype(np.intp).T
    # events are sorted: what is in front is drawn over what is behind
    image[row, column] = np.ceil(points[:, 2] * SHADES).clip(1) + np.where(on, 0, SHADES)
    if len(points):
        _frame(image)
    return image


def _frame(image: np.ndarray) -> None:
    """Where the sensor's plane is now and was at first, and the way between their corners."""
    height, width = image.shape
    planes = [[(round((x + right * PLANE) * (width - 1)), round((y + down * PLANE) * (height - 1)))
               for right, down in ((0, 0), (1, 0), (1, 1), (0, 1))] for x, y in (NEWEST, OLDEST)]
    lines = [(plane[i], plane[(i + 1) % 4]) for plane in planes for i in range(4)] + list(zip(*planes, strict=True))
    drawn = np.zeros_like(image)
    for begin, end in lines:
        cv2.line(drawn, begin, end, 1)
    image[(drawn > 0) & (image == 0)] = 1


def _shaded(level: np.ndarray, off: np.ndarray) -> np.ndarray:
    index = level.astype(np.uint8)
    index[off] += SHADES
    return index


def colours(palette: str, shades: int) -> bytes:
    """RGB bytes of the palette's indices: background, ON from faint to full, OFF likewise."""
    background, *ends = np.frombuffer(PALETTE_COLOURS[palette], np.uint8).reshape(3, 3).astype(float)
    shares = np.linspace(FAINTEST, 1, shades) if shades > 1 else np.ones(1)
    ramps = [background + share * (end - background) for end in ends for share in shares]
    return np.rint([background, *ramps]).astype(np.uint8).tobytes()


def event_png(indices: np.ndarray, palette: str, shades: int = 1) -> bytes:
    """An event_image with one shade or SHADES as a PNG of two or four bits per pixel."""
    image = Image.fromarray(indices)
    image.putpalette(colours(palette, shades))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", bits=2 if shades == 1 else 4, compress_level=1, transparency=0)
    return buffer.getvalue()


def with_palette(png: bytes, palette: str) -> bytes:
    """The same indexed PNG in other colours: only its PLTE chunk is exchanged."""
    start = png.index(b"PLTE") - 4
    (length,) = struct.unpack(">I", png[start:start + 4])
    entries = colours(palette, 1 if length <= 12 else SHADES)[:length].ljust(length, b"\0")
    checksum = struct.pack(">I", zlib.crc32(b"PLTE" + entries))
    return png[:start + 8] + entries + checksum + png[start + 12 + length:]


def frame_jpeg(image: np.ndarray, max_side: int = 960) -> bytes:
    """An RGB picture uint8 [H, W, 3] as JPEG, its longer side at most max_side pixels."""
    height, width = image.shape[:2]
    scale = max_side / max(height, width)
    if scale < 1:
        image = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]),
                              [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"cannot encode a picture of shape {image.shape} as JPEG")
    return data.tobytes()
