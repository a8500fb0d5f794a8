"""One question on its way: what it is about, what is said so far, how to stop it.

    asking = Asking("question", "What is happening?", player, end_us, WINDOW_US, settings)
    window = asking.window()                    # waits for the data
    for text in asking.follow(): ...            # the answer so far, growing
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from streams.player import PlayerState
from streams.types import InputError, Window
from ui.answer_messages import Who
from ui.services import AskSettings
from ui.sharing import Watched
from ui.trace import Trace

LONGEST_US = 5_000_000
"""A player keeps six seconds; longer ranges are asked about their last five."""
LONG_TEXT = 1500
"""Characters."""
BEHIND_US, AHEAD_US = 5_500_000, 1_500_000
"""What a player surely keeps around its playhead."""


@dataclass(eq=False)
class Asking:
    """One question; player: what it is about. trace: an answer to play back instead. comparing: a window to measure
    both ways of answering on instead. place: how many others the models serve first. over: its last word is said,
    although who makes the answer may still have to tidy up.
    """

    who: Who
    question: str
    player: Watched
    end_us: int
    length_us: int
    settings: AskSettings
    trace: Trace | None = None
    comparing: Window | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    text: str = ""
    place: int = 0
    error: str | None = None
    over: bool = False
    finished: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def tell(self, text: str | None = None, error: str | None = None, finished: bool = False,
             place: int | None = None) -> None:
        """Note progress and wake whoever follows."""
        with self._changed:
            self.text = self.text if text is None else text
            self.place = self.place if place is None else place
            self.error = error or self.error
            self.finished = self.finished or finished
            self._changed.notify_all()

    def follow(self, period_s: float = 0.15) -> Iterator[str]:
        """The growing answer, at most once per period; ends when the answer does, with its full text.

        Every value is the whole text, so a long one is given less often.
        """
        pause = threading.Event()
        seen: tuple[str, int] = ("", 0)
        while True:
            with self._changed:
                self._changed.wait_for(lambda seen=seen: self.finished or (self.text, self.place) != seen)
                seen, finished = (self.text, self.place), self.finished
            yield seen[0]
            if finished:
                return
            pause.wait(period_s * (1 + len(seen[0]) / LONG_TEXT))

    def window(self) -> Window:
        """The window that is asked about, once its data is there. Raises InputError when there is none."""
        self._bring_near()
        self.player.wait_until(lambda state: state.error is not None or (not state.loading and self._read(state)))
        return self.player.window(self.end_us, self.length_us)

    def _read(self, state: PlayerState) -> bool:
        stop_us = self.end_us if state.duration_us is None else state.start_us + state.duration_us
        return state.live or state.read_us >= min(self.end_us, stop_us) - 1

    def _bring_near(self) -> None:
        """Move the playhead to a range that the player does not keep."""
        state = self.player.state()
        near = self.end_us - self.length_us >= state.position_us - BEHIND_US \
            and self.end_us <= state.position_us + AHEAD_US
        if not near and not state.live:
            self.player.seek(self.end_us)


def about_now(state: PlayerState, length_us: int) -> int:
    """Where the window before the playhead ends; at the start of a recording, where its first window does."""
    return max(state.position_us, state.start_us + min(length_us, state.duration_us or length_us))


def about_range(state: PlayerState, start_s: float, end_s: float) -> tuple[int, int]:
    """End and length, µs, of a range given in seconds since the start of the recording; at most its last 5 s.

    Raises InputError for a range that is empty.
    """
    if end_s <= start_s:
        raise InputError(f"the range from {start_s:.2f} to {end_s:.2f} s is empty; choose a longer one")
    end_us = state.start_us + round(end_s * 1e6)
    return end_us, min(LONGEST_US, round((end_s - start_s) * 1e6))
