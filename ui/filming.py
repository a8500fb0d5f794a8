"""A part of a recording as pictures, one after the other: the event view, the frames, or both side by side.

    for t_us, picture in pictures(source, span, 33_333, Look("both", "events", "dark", 33)):
        film.show(picture, 1 / 30)

Drawn as on the page (ui.render). Only what the next picture needs is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from streams.cutting import Span, cut
from streams.timeline import Timeline, settled_us
from streams.types import InputError, Resolution, Source, SourceInfo
from ui.render import SHADES, colours, event_image, look_back_us

FRAME_LEAD_US = 1_000_000
"""So much before the part is read, for the frame that is shown when it begins."""
MOST_PICTURES = 1_000_000


@dataclass(frozen=True)
class Look:
    """How pictures look. view: "events", "rgb" or "both"; style, palette, accumulation_ms: as on the page."""

    view: str = "both"
    style: str = "events"
    palette: str = "dark"
    accumulation_ms: int = 33


def look_of(info: SourceInfo, look: Look) -> Look:
    """The look, with only one view where "both" has no second one. Raises InputError for a view without its stream."""
    there = {"events": info.event_resolution, "rgb": info.frame_resolution}
    if look.view == "both":
        one = [view for view, size in there.items() if size is not None]
        return look if len(one) == 2 else replace(look, view=one[0])
    if there[look.view] is None:
        raise InputError(f"{info.name} has no {'events' if look.view == 'events' else 'frames'}; choose another view")
    return look


def picture_size(info: SourceInfo, look: Look) -> tuple[int, int]:
    """Width and height in px of the pictures."""
    widths, heights = zip(*_sizes(info, look), strict=True)
    return sum(widths), max(heights)


def _sizes(info: SourceInfo, look: Look) -> list[tuple[int, int]]:
    """Width and height of each view: frames beside events are as high as these."""
    events, frames = info.event_resolution, info.frame_resolution
    sizes = []
    if look.view != "rgb" and events is not None:
        sizes.append((events.width, events.height))
    if look.view != "events" and frames is not None:
        height = sizes[0][1] if sizes else frames.height
        sizes.append((max(1, round(height * frames.aspect)), height))
    return sizes


def event_picture(indices: np.ndarray, style: str, palette: str) -> np.ndarray:
    """An event_image of a style as uint8 [H, W, 3] RGB."""
    table = np.frombuffer(colours(palette, 1 if style == "events" else SHADES), np.uint8).reshape(-1, 3)
    return table[indices]


def pictures(source: Source, span: Span, step_us: float, look: Look) -> Iterator[tuple[int, np.ndarray]]:
    """(t_us, uint8 [H, W, 3] RGB) every step_us of a span: what was there before t_us. Raises InputError.

    look: as look_of gives it.
    """
    count = int((span.end_us - span.start_us) / step_us)
    if not 1 <= count <= MOST_PICTURES:
        raise InputError(f"{max(0, count)} pictures are no film; change the part, the speed or the pictures per second")
    times_us = [span.start_us + round(step_us * (number + 1)) for number in range(count)]
    back_us = look_back_us(look.style, look.accumulation_ms * 1000)
    lead_us = max(back_us, FRAME_LEAD_US if source.info.frame_resolution else 0)
    timeline, done = Timeline(source.info), 0
    for item in cut(source, Span(span.start_us - lead_us, span.end_us)):
        timeline.add(item)
        until_us = settled_us(item, source.info)
        while done < count and until_us is not None and times_us[done] <= until_us:
            yield times_us[done], _draw(timeline, times_us[done], back_us, look)
            done += 1
            timeline.forget_before(times_us[done - 1] - back_us)
    for t_us in times_us[done:]:
        yield t_us, _draw(timeline, t_us, back_us, look)


def _draw(timeline: Timeline, t_us: int, back_us: int, look: Look) -> np.ndarray:
    info = timeline.info
    views: list[np.ndarray] = []
    sizes = _sizes(info, look)
    if look.view != "rgb":
        size: Resolution = info.event_resolution  # type: ignore[assignment]
        image = event_image(timeline.events(t_us - back_us, t_us), size, look.style, t_us, look.accumulation_ms * 1000)
        views.append(event_picture(image, look.style, look.palette))
    if look.view != "events":
        frame = timeline.frame_at(t_us - 1)
        width, height = sizes[-1]
        if frame is None:
            views.append(np.zeros((height, width, 3), np.uint8))
        elif frame.image.shape[:2] == (height, width):
            views.append(frame.image)
        else:
            views.append(cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_AREA))
    return views[0] if len(views) == 1 else np.concatenate(views, axis=1)
