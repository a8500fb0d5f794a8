"""What the page needs from the rest of the program, handed in by `app`: sources, answers, names.

    services = Services(recordings={"Bundled story": path}, ...)
    app = ui.build_app(services)

The page never builds a model or a source itself; it calls these functions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.types import Records
from streams.player import Player
from streams.types import Window


@dataclass(frozen=True)
class AskSettings:
    """How to answer: drafter NAME[:VARIANT], sampling (temperature 0 means greedy), acceptance rule NAME[:VALUE] (empty
    = lossless, by the temperature), guesses per check (None = as many as pay)."""

    drafter: str = "vlm"
    temperature: float = 0.0
    seed: int = 0
    rule: str = ""
    budget: int | None = None


Answer: TypeAlias = Callable[[Window, str, AskSettings, threading.Event], Records]
"""answer(window, question, settings, cancel): Drafted and Cycle records while the answer is made, a Caption at the
end; stops early when cancel is set (the Caption then covers what was said; there is none when nothing began). Raises
InputError. One answer runs at a time in the whole program; a further call waits."""


@dataclass(frozen=True)
class Services:
    """Everything the page may do.

    recordings: label -> URI of what can be opened from the list. first_uri: opened when a visitor arrives.
    drafters: names for the settings. models: one sentence about the two models, shown in the header.
    cos_adapter: name of the adapter that cos_sim is computed with.
    open_player(uri): a started Player; raises InputError. Live sources may be shared between visitors.
    converse(): begins a conversation with its own memory, one per visitor.
    """

    recordings: dict[str, str]
    first_uri: str
    drafters: list[str]
    models: str
    cos_adapter: str
    open_player: Callable[[str], Player]
    converse: Callable[[], Answer]
