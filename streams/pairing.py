"""How the clocks of two devices belong together: an event camera's and that of a second one that gives frames.

    changes = Changes() ; changes.add(frame) ...
    found = estimate(times_us, cumulative, changes, reach_us=5_000_000)
    found.offset_us, found.agreement        # add offset_us to the frames' time; an estimate

Where brightness changes there are events, so the number of events between two frames should follow how much the frames
differ. The offset at which the two correlate best is taken; what moves evenly tells nothing, and this says so.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from streams.simulation import log_response
from streams.types import Events, Frame

STEP_US = 5_000
"""Offsets are tried in steps of this, and refined between them."""
SMALL_WIDTH = 96
"""Frames are compared in this width, px: noise averages out and it is fast."""
NOISE = 0.05
"""Changes of log brightness below this say nothing."""
FEWEST = 12
"""Frames in a row below which no offset is estimated."""
AGREES = 0.5
"""Correlation from which an estimate is believed."""
DISTINCT = 0.05
"""So much better than any offset elsewhere it has to be."""

_TABLE = log_response(20.0)


@dataclass(frozen=True)
class Estimate:
    """offset_us: to add to the frames' time. agreement: correlation there. believed: it is high and distinct, and not
    at the end of what was tried, beyond which it may be higher."""

    offset_us: int
    agreement: float
    believed: bool


class Changes:
    """How much each of the newest `kept` frames differs from the one before it."""

    def __init__(self, kept: int = 600) -> None:
        self._times_us: deque[int] = deque(maxlen=kept)
        self._sizes: deque[float] = deque(maxlen=kept)
        self._last: np.ndarray | None = None

    def add(self, frame: Frame) -> None:
        """The next frame; one of another size begins anew."""
        height = max(1, round(frame.image.shape[0] * SMALL_WIDTH / frame.image.shape[1]))
        small = cv2.resize(frame.image, (SMALL_WIDTH, height), interpolation=cv2.INTER_AREA)
        seen = _TABLE[cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)]
        if self._last is not None and self._last.shape == seen.shape:
            size = float(np.maximum(np.abs(seen - self._last) - NOISE, 0).mean())
        else:
            size = float("nan")
        self._last = seen
        self._times_us.append(frame.t_us)
        self._sizes.append(size)

    def __len__(self) -> int:
        return len(self._times_us)

    def spans(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Begin and end in µs and size of the changes, [n] each."""
        times, sizes = np.array(self._times_us, np.int64), np.array(self._sizes)
        known = np.isfinite(sizes[1:])
        return times[:-1][known], times[1:][known], sizes[1:][known]


class Rates:
    """Event counts of a live source over its newest `kept_us`, in steps of STEP_US."""

    def __init__(self, kept_us: int = 20_000_000) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=kept_us // STEP_US)
        self._total = 0

    def add(self, packet: Events) -> None:
        """The next packet, not empty."""
        t = packet["t"]
        for edge_us in range(int(t[0]) // STEP_US + 1, int(t[-1]) // STEP_US + 1):
            self._samples.append((edge_us * STEP_US, self._total + bisect_left(t, edge_us * STEP_US)))
        self._total += len(packet)

    def cumulative(self) -> tuple[np.ndarray, np.ndarray]:
        """Times in µs and the number of events before each, [n] each."""
        samples = np.array(self._samples, np.int64).reshape(-1, 2)
        return samples[:, 0], samples[:, 1]


def estimate(times_us: np.ndarray, cumulative: np.ndarray, changes: Changes, reach_us: int) -> Estimate | None:
    """The offset within ±reach_us at which events and frames agree best, None when there is too little of either.

    times_us, cumulative: [n] increasing times and the number of events before each.
    """
    begins_us, ends_us, sizes = changes.spans()
    if len(sizes) < FEWEST or len(times_us) < 2 or np.ptp(sizes) == 0:
        return None
    offsets_us = np.arange(-reach_us, reach_us + 1, STEP_US)
    agreements = np.array([_agreement(times_us, cumulative, begins_us + offset, ends_us + offset, sizes)
                           for offset in offsets_us])
    if not np.isfinite(agreements).any():
        return None
    best = int(np.nanargmax(agreements))
    peak = float(agreements[best])
    elsewhere = np.abs(offsets_us - offsets_us[best]) > 2 * np.median(ends_us - begins_us)
    runner_up = float(np.nanmax(agreements[elsewhere], initial=-1.0))
    return Estimate(int(offsets_us[best] + _between(agreements, best) * STEP_US), peak,
                    peak >= AGREES and peak - runner_up >= DISTINCT and 0 < best < len(offsets_us) - 1)


def _agreement(times_us: np.ndarray, cumulative: np.ndarray, begins_us: np.ndarray, ends_us: np.ndarray,
               sizes: np.ndarray) -> float:
    """Correlation of what changed with the events in the same spans; NaN when most spans have no events to compare."""
    inside = (begins_us >= times_us[0]) & (ends_us <= times_us[-1])
    if np.count_nonzero(inside) < max(FEWEST, len(sizes) // 2):
        return float("nan")
    counts = np.interp(ends_us[inside], times_us, cumulative) - np.interp(begins_us[inside], times_us, cumulative)
    spread = counts.std() * sizes[inside].std()
    if spread == 0:
        return float("nan")
    return float(((counts - counts.mean()) * (sizes[inside] - sizes[inside].mean())).mean() / spread)


def _between(values: np.ndarray, best: int) -> float:
    """Where the top of the parabola through the best value and its neighbours lies, -0.5 to 0.5."""
    if not 0 < best < len(values) - 1:
        return 0.0
    left, top, right = values[best - 1:best + 2]
    bend = left - 2 * top + right
    return float(np.clip((left - right) / (2 * bend), -0.5, 0.5)) if np.isfinite(bend) and bend < 0 else 0.0


def sentence(given_us: int | None, found: Estimate | None, how: str, why: str = "as given") -> str:
    """What a person should know. given_us: the offset that is used and why, None = the estimate is, if believed."""
    if found is None:
        judged = "too little changes to estimate it"
    elif not found.believed:
        judged = f"it could not be estimated (correlation {found.agreement:.2f})"
    elif given_us is None:
        return (f"{how}, frames {found.offset_us / 1e3:+.0f} ms: an estimate from events and changes in the frames "
                f"(correlation {found.agreement:.2f})")
    else:
        judged = (f"skew {(found.offset_us - given_us) / 1e3:+.0f} ms by estimate (correlation "
                  f"{found.agreement:.2f})")
    moved = "as they are" if given_us is None else f"{given_us / 1e3:+.0f} ms {why}"
    return f"{how}, frames {moved}; {judged}"
