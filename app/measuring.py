"""`eval mini`: tables for people, one JSON line for scripts; and what a number was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from app import terminal
from app.compose import ModelOptions, load
from streams.types import InputError


def show_progress(title: str, steps: Iterator[tuple[int, int]]) -> None:
    """Run steps that yield (done, total) under a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal.people, transient=True) as progress:
        task = progress.add_task(title, total=None)
        for done, total in steps:
            progress.update(task, completed=done, total=total)


def provenance() -> dict[str, Any]:
    """What a number was measured on: machine, threads, commit, versions."""
    import torch

    from pipeline import native

    return {"compiled": native.switched_on(), "threads": torch.get_num_threads(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "commit": _commit() or version("parafovea"), "machine": f"{platform.machine()} {platform.system()}",
            "processor": torch.cuda.get_device_name() if torch.cuda.is_available()
            else torch.backends.cpu.get_cpu_capability(),
            "python": platform.python_version(), "torch": torch.__version__,
            "transformers": version("transformers"), "numpy": version("numpy")}


def _commit() -> str:
    """The commit of our own checkout; empty where there is no git or we lie inside somebody else's repository."""
    root = Path(__file__).resolve().parent.parent
    try:
        top = _git(root, "rev-parse", "--show-toplevel")
        return _git(root, "describe", "--always", "--dirty") if top and Path(top).resolve() == root else ""
    except OSError:
        return ""


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True,
                          check=False).stdout.strip()


def eval_mini(scenes: int, seed: int, as_json: bool, options: ModelOptions) -> None:
    """Ask both sides of the pair about unseen scenes."""
    from pipeline.evaluation import evaluate
    from pipeline.scoreboard import Scoreboard

    models, board = load(options), Scoreboard()
    show_progress("scenes", evaluate(models, scenes, seed, _unseen_icons(), board))
    line = board.to_json()
    by_kind = Table("question", "asked", "RGB VLM", "event VLM", "event, no colour", "blind guess",
                    title=f"exactly right on {scenes} unseen scenes")
    for kind, row in line["by_kind"].items():
        by_kind.add_row(kind, str(row["n"]), *(_percent(row[side]) for side in ("rgb", "event", "event_no_colour",
                                                                                 "chance")))
    overall = Table("measure", "RGB VLM", "event VLM", title="in all")
    for label, rgb, event in MEASURES:
        overall.add_row(label, *(_percent(line[side].get(name)) if name else "" for side, name in (("rgb", rgb),
                                                                                                 ("event", event))))
    overall.add_row("event VLM guesses the RGB VLM's next word", "", _percent(line["agreement"]["all"]))
    overall.add_row("the same without colour words", "", _percent(line["agreement"]["no_colour"]))
    out = terminal.people if as_json else terminal.page
    out.print(by_kind)
    out.print(overall)
    if as_json:
        terminal.print_json(line | provenance())


MEASURES = (("short answers (event: without colour)", "short_exact", "short_exact_no_colour"),
            ("attributes in detailed captions (event: without colour)", "slots", "slots_no_colour"),
            ("brief caption", "brief_exact", ""), ("detailed caption", "caption_exact", ""),
            ("pictures unlike this world declined", "strange_declined", "strange_declined"),
            ("class in a drawing style never trained on", "unseen_style_class", "unseen_style_class"),
            ("outside questions declined", "declined", "declined"),
            ("inside questions not declined", "not_declined", "not_declined"),
            ("short answers in free wording", "short_exact_free", "short_exact_free"),
            ("short answers at 5x sensor noise", "short_exact_noise5", "short_exact_noise5"),
            ("short answers, frames reconstructed from events, no colour", "short_exact_reconstructed", ""),
            ("short answers, other cameras and window lengths", "short_exact_varied", "short_exact_varied"))
"""Rows of the summary: label, name in the JSON line for either side."""


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _unseen_icons() -> Any:
    """Pictures of the drawing style that training never shows, fetched once per user; none where that fails."""
    from pipeline.training.icon_sets import TEST_STYLE
    from pipeline.training.icons import load_icons

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "parafovea" / "icons"
    try:
        return load_icons(cache, (TEST_STYLE,))
    except InputError as error:
        terminal.people.print(f"parafovea: the unseen drawing style is left out: {error}", style="yellow")
        return {}
