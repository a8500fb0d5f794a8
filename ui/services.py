"""What the page needs from the rest of the program, handed in by `app`: sources, answers, names.

    services = Services(recordings={"Bundled story": path}, ...)
    app = ui.build_app(services)

The page never builds a model or a source itself; it calls these functions.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from pipeline.types import Records
from streams.player import Player
from streams.types import InputError, Window
from ui.pictures import Pictures


@dataclass(frozen=True)
class AskSettings:
    """How to answer: drafter NAME[:VARIANT], sampling (temperature 0 means greedy; top_k 0 = all tokens), acceptance
    rule NAME[:VALUE] (empty = lossless, by the temperature), guesses per check (None = as many as pay), model pair
    (empty = the first)."""

    drafter: str = "vlm"
    temperature: float = 0.0
    seed: int = 0
    rule: str = ""
    budget: int | None = None
    top_k: int = 0
    top_p: float = 1.0
    pair: str = ""

    def in_words(self) -> str:
        """The settings as the page shows them beside an answer."""
        parts = [f"drafter {self.drafter}", *([f"rule {self.rule} (lossy)"] if self.rule else [])]
        if self.temperature:
            cut = f", top-k {self.top_k}" * bool(self.top_k) + f", top-p {self.top_p:g}" * (self.top_p < 1)
            parts.append(f"temperature {self.temperature:g}{cut}, seed {self.seed}")
        if self.budget is not None:
            parts.append(f"{self.budget} guesses per check")
        return " · ".join([*parts, self.pair] if self.pair else parts)


Answer: TypeAlias = Callable[[Window, str, AskSettings, threading.Event], Records]
"""answer(window, question, settings, cancel): Drafted and Cycle records while the answer is made, a Caption at the
end; stops early when cancel is set (the Caption then covers what was said; there is none when nothing began). Raises
InputError. One answer runs at a time in the whole program; a further call waits."""


@dataclass(frozen=True)
class Curve:
    """A measured curve: points (cos_sim, share accepted), and in words where it comes from."""

    points: list[list[float]]
    said: str


MOST_LISTED = 200
"""Recordings of the folder."""


def _cannot_save(uri: str, part: tuple[float, float], path: Path, view: Any, filters: Sequence[str]) -> None:
    raise InputError("this program cannot write parts of recordings")


@dataclass(frozen=True)
class Services:
    """Everything the page may do.

    recordings: label -> URI of what can be opened from the list. first_uri: opened when a visitor arrives.
    drafters: names for the settings. models: one sentence about the two models, shown in the header; note: what
    they are, where that is not plain. pairs: names of the model pairs to choose from, the first is the default.
    curves: P(accepted | cos_sim) as calibrate measured it, by drafter.
    cos_adapter: name of the adapter that cos_sim is computed with.
    open_player(uri): a started Player; raises InputError. Live sources may be shared between visitors.
    converse(): begins a conversation with its own memory, one per visitor. unread(window): the same as one that no
    model has read, for who measures times.
    find_cameras(): URIs of the event cameras that are plugged in, by name; raises InputError. network: scheme of
    streams at host:port, empty = there is none. open_webcam(pictures): a started player of the pictures of a
    visitor's browser, with simulated events; raises InputError. save_part(uri, (start_s, end_s), path, view, filters):
    writes that part of a recording, through filters NAME[:VALUE], to a .aedat4, or as it is seen to a .mp4; raises
    InputError. keep_in: the folder in which live sources are recorded and whose AEDAT4 files are offered, see
    listed(); None = a recording is sent to whoever made it.
    """

    recordings: dict[str, str]
    first_uri: str
    drafters: list[str]
    models: str
    cos_adapter: str
    open_player: Callable[[str], Player]
    converse: Callable[[], Answer]
    unread: Callable[[Window], Window]
    pairs: list[str] = field(default_factory=list)
    note: str = ""
    curves: dict[str, Curve] = field(default_factory=dict)
    find_cameras: Callable[[], dict[str, str]] = dict
    network: str = ""
    open_webcam: Callable[[Pictures], Player] | None = None
    save_part: Callable[[str, tuple[float, float], Path, Any, Sequence[str]], None] = _cannot_save
    keep_in: Path | None = None

    def listed(self) -> dict[str, str]:
        """Label -> URI of what can be opened from the list now: the recordings, then those of the folder, newest first.
        """
        found = {} if self.keep_in is None else _newest(self.keep_in)
        return self.recordings | {name: uri for name, uri in found.items() if name not in self.recordings}


def _newest(folder: Path) -> dict[str, str]:
    """The newest recordings that are whole in a folder, by name; nothing where it cannot be read."""
    def modified_s(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0  # it was just removed

    try:
        # dv-processing opens no file whose name is no UTF-8, and no page can show it
        paths = [path for path in folder.iterdir() if path.suffix == ".aedat4" and not path.name.startswith(".")
                 and os.fsencode(path.name).decode(errors="replace") == path.name]
    except OSError:
        return {}
    return {path.name: str(path) for path in sorted(paths, key=modified_s, reverse=True)[:MOST_LISTED]}
