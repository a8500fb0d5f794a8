"""Events as EventGPT sees them: a few pictures of equally many events, red for ON and blue for OFF on white.

    brief = around_middle(window.events, window.start_us, window.end_us)   # the model knows about 50 ms
    images = [render(part, window.resolution) for part in equal_counts(brief, 5)]

Where a pixel saw both polarities, three programs drew three different things: `positive` is how the published model
was trained, `last` its published inference, `negative` what the later study used; on dense driving scenes a third of
the active pixels change colour between them.
"""

from __future__ import annotations

import numpy as np

from streams.representations import Conflict, polarity_image
from streams.types import Events, Resolution

COLOURS = np.array([(255, 255, 255), (255, 0, 0), (0, 0, 255)], np.uint8)
"""White, red for ON, blue for OFF."""

SPAN_US = 50_000
"""What EventGPT was trained on."""

FEWEST = 5_000
"""Events below which a span is doubled: a quiet scene needs more time to show itself."""


def render(events: Events, resolution: Resolution, conflict: Conflict = "positive") -> np.ndarray:
    """Sorted events as uint8 RGB [H, W, 3]; conflict: which polarity a pixel with both shows."""
    return COLOURS.take(polarity_image(events, resolution, conflict), axis=0)


def cropped(events: Events) -> Resolution:
    """The canvas of EventGPT's published inference: as large as the outermost events, whatever the sensor."""
    return Resolution(int(events["x"].max(initial=0)) + 1, int(events["y"].max(initial=0)) + 1)


def equal_counts(events: Events, parts: int) -> list[Events]:
    """Successive parts of equally many events; the last one takes the remainder."""
    size = len(events) // parts
    return [*(events[i * size:(i + 1) * size] for i in range(parts - 1)), events[(parts - 1) * size:]]


def around_middle(events: Events, start_us: int, end_us: int, span_us: int = SPAN_US, fewest: int = FEWEST) -> Events:
    """The events of SPAN_US around the middle of a window, where the frame of one picture would be taken too.

    The span is doubled until it holds `fewest` events or is the whole window.
    """
    middle = (start_us + end_us) // 2
    while True:
        first, last = np.searchsorted(events["t"], [middle - span_us // 2, middle + (span_us + 1) // 2])
        if last - first >= fewest or span_us >= end_us - start_us:
            return events[first:last] if span_us < end_us - start_us else events
        span_us *= 2
