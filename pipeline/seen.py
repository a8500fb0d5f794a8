"""What a model saw in the last few windows, so that none is looked at twice, whoever asks.

    seen = LastSeen(keep=2, look=tower)
    seen.of(window)
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from streams.types import Frame, Window

T = TypeVar("T")


class LastSeen(Generic[T]):
    """Several questions are asked about one window, and the next one compares with it. Threads may share it."""

    def __init__(self, keep: int, look: Callable[[Window], T]) -> None:
        """keep: of how many windows. look: what is seen in a window."""
        self._look = look
        # what belongs to a window is known by its data: keeping windows would keep those before them
        self._recent: deque[tuple[np.ndarray, list[Frame], T]] = deque(maxlen=keep)
        self._looking = threading.Lock()

    def of(self, window: Window) -> T:
        """What is seen in a window. While somebody looks at one that nobody has seen, others who want to wait: it may
        be the same."""
        for known in self._known(window):
            return known
        with self._looking:
            for known in self._known(window):
                return known
            found = self._look(window)
            self._recent.append((window.events, window.frames, found))
            return found

    def _known(self, window: Window) -> list[T]:
        # a copy: another thread may add to it
        return [found for events, frames, found in list(self._recent)
                if events is window.events and frames is window.frames]
