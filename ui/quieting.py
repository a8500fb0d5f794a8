"""The noise filter of a visitor: what he sees, and what his questions are about, without background activity.

    events, n_hidden = without_noise(player, start_us, end_us)

It works on what is looked at, not on the source, so that it can be switched at any moment and for one visitor alone. An
event passes or not as in the whole stream: the filter remembers no longer than its own time, which is read before.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from streams.filtering import chosen
from streams.filters.noise import DEFAULT_MS, BackgroundActivity
from streams.types import Events, Window
from ui.sharing import Watched

WITHIN_US = 1000 * int(DEFAULT_MS)


def without_noise(player: Watched, start_us: int, end_us: int) -> tuple[Events, int]:
    """Events of [start_us, end_us) that something beside them supports, and how many others there were."""
    resolution = player.info.event_resolution
    events = player.events(start_us - WITHIN_US, end_us)
    if resolution is None or not len(events):
        return events, 0
    noise = BackgroundActivity(WITHIN_US)
    noise.prepare(resolution, "")
    kept = noise.keep(events)
    first = int(np.searchsorted(events["t"], start_us))
    kept[:first] = False
    return chosen(events, kept), len(events) - first - int(np.count_nonzero(kept))


def quiet_window(player: Watched, window: Window) -> Window:
    """The same window without background activity."""
    return replace(window, events=without_noise(player, window.start_us, window.end_us)[0])
