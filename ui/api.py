"""`ask` and `caption` for programs: Gradio API endpoints, and MCP tools where the package `mcp` is installed.

    Client("http://127.0.0.1:7860").predict("Bundled story", "What is happening?", 5.0, api_name="/ask")

They open a recording of the page's list for themselves, wait in the same line as the visitors, and let go of everything
when the caller leaves. What Gradio shows callers is made from the annotations and docstrings below.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from pipeline.types import Cycle
from streams.types import InputError
from ui.asking import Asking
from ui.links import LONGEST, LONGEST_S, SHORTEST_S
from ui.services import Answer, AskSettings, Services
from ui.sharing import Shelf, Watched
from ui.turns import Turns

MOST_CAPTIONS = 100
"""Of one call."""
AT_ONCE = 2
"""Calls of one endpoint that run at the same time; more wait in Gradio's queue."""


class Api:
    """The endpoints. Bad input raises gr.Error with one sentence."""

    def __init__(self, services: Services, turns: Turns, shelf: Shelf) -> None:
        self._services, self._turns, self._shelf = services, turns, shelf

    def publish(self) -> None:
        """Add the endpoints to the gr.Blocks that is being built."""
        gr.api(self.ask, api_name="ask", concurrency_limit=AT_ONCE)
        gr.api(self.caption, api_name="caption", concurrency_limit=AT_ONCE)

    def ask(self, recording: str, question: str, end_s: float = 1.0, window_s: float = 1.0, drafter: str = "vlm",
            temperature: float = 0.0, seed: int = 0) -> Iterator[str]:
        """Answer a question about a moment of a recording. The answer grows while it is made; each value is the whole
        text so far, the last one is the answer. It is exactly what the RGB model says; the drafter decides how fast.

        Args:
            recording: Name of a recording in the page's list, for example "Bundled story".
            question: What to ask, for example "What is happening?".
            end_s: Where the moment ends, in seconds since the start of the recording.
            window_s: How many seconds before end_s the answer is about, 0.1 to 5.
            drafter: Who guesses the next words, NAME[:VARIANT], for example "vlm", "eagle" or "none".
            temperature: 0 for the likeliest words, above 0 for seeded sampling.
            seed: Of sampling; the same seed gives the same words.
        """
        settings = AskSettings(self._offered(drafter), float(temperature), int(seed))
        with self._opened(recording) as opened:
            yield from opened.answer(question.strip()[:LONGEST], float(end_s), float(window_s), settings)

    def caption(self, recording: str, start_s: float = 0.0, end_s: float = 10.0, period_s: float = 2.0,
                drafter: str = "vlm") -> Iterator[list[dict[str, Any]]]:
        """Caption a recording window after window. Each value is the list of all captions so far, with "start_s" and
        "end_s" of the window in seconds since the start of the recording, and "text".

        Args:
            recording: Name of a recording in the page's list, for example "Bundled story".
            start_s: Where the first window begins.
            end_s: Where the last window ends at the latest.
            period_s: Time from the start of one window of a second to the next.
            drafter: Who guesses the next words, NAME[:VARIANT].
        """
        if period_s <= 0 or (end_s - start_s) / period_s > MOST_CAPTIONS:
            raise _refused(f"at most {MOST_CAPTIONS} captions per call, and a period above 0; ask for a shorter part")
        settings = AskSettings(self._offered(drafter))
        captions: list[dict[str, Any]] = []
        with self._opened(recording) as opened:
            for number in itertools.count():
                from_s = start_s + number * period_s
                if from_s + 1.0 > min(end_s, opened.duration_s) + 1e-6:
                    return
                *_, text = opened.answer("What is happening?", from_s + 1.0, 1.0, settings)
                captions = [*captions, {"start_s": from_s, "end_s": from_s + 1.0, "text": text.strip()}]
                yield captions

    def _offered(self, drafter: str) -> str:
        if drafter not in self._services.drafters:
            raise _refused(f"unknown drafter {drafter!r}; use one of {', '.join(self._services.drafters)}")
        return drafter

    def _opened(self, recording: str) -> Opened:
        recordings = self._services.listed()
        if recording not in recordings:
            raise _refused(f"there is no recording {recording!r}; use one of {', '.join(recordings)}")
        try:
            player = self._shelf.take(self._services.open_player(recordings[recording]))
            return Opened(player, self._services.converse(), self._turns)
        except InputError as error:
            raise _refused(str(error)) from error


class Opened:
    """A recording that one call has opened, and its conversation."""

    def __init__(self, player: Watched, answer: Answer, turns: Turns) -> None:
        self._player, self._answer, self._turns = player, answer, turns
        self._player.wait_until(lambda state: not state.loading)
        duration_us = self._player.state().duration_us
        self.duration_s = float("inf") if duration_us is None else duration_us / 1e6

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self._player.close()

    def answer(self, question: str, end_s: float, window_s: float, settings: AskSettings) -> Iterator[str]:
        """The growing text of one answer."""
        if not 0 <= end_s < 1e9 or not SHORTEST_S <= window_s <= LONGEST_S:
            raise _refused(f"end_s must be 0 or more and window_s {SHORTEST_S} to {LONGEST_S:g}, got {end_s:g} and "
                           f"{window_s:g}")
        end_us = self._player.state().start_us + round(end_s * 1e6)
        cancel = threading.Event()
        asking = Asking("question", question, self._player, end_us, round(window_s * 1e6), settings, cancel=cancel)
        text = ""
        try:
            window = asking.window()
            with (self._turns.take(True, cancel, lambda _: None),
                  closing(self._answer(window, question, settings, cancel)) as records):
                for record in records:
                    if isinstance(record, Cycle):
                        text += "".join(token.text for token in record.emitted)
                        yield text
        except InputError as error:
            raise _refused(str(error)) from error
        finally:
            cancel.set()


def _refused(sentence: str) -> gr.Error:
    return gr.Error(sentence[:1].upper() + sentence[1:] + ".", print_exception=False)
