"""`eval mini` and `bench`: tables for people, one JSON line for scripts."""

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

    return {"threads": torch.get_num_threads(), "cores": len(os.sched_getaffinity(0)) if hasattr(
                os, "sched_getaffinity") else os.cpu_count(),
            "commit": _commit() or version("parafovea"), "machine": f"{platform.machine()} {platform.system()}",
            "python": platform.python_version(), "torch": torch.__version__}


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
    from pipeline.evaluation import EvalTable, evaluate
    from pipeline.training.questions import KINDS

    models, result = load(options), EvalTable()
    show_progress("scenes", evaluate(models, scenes, seed, result))
    line = result.to_json()
    table = Table("question", "asked", "RGB VLM", "event VLM", "event, no colour", "blind guess",
                  title=f"exactly right on {scenes} unseen scenes")
    for kind in KINDS:
        row = line["by_kind"][kind]
        shares = [row[side] for side in ("rgb", "event", "event_no_colour", "chance")]
        table.add_row(kind, str(row["n"]), *("–" if share is None else f"{share:.1%}" for share in shares))
    (terminal.people if as_json else terminal.page).print(table)
    if as_json:
        terminal.print_json(line | provenance())


def bench(count: int, names: str, as_json: bool, options: ModelOptions) -> None:
    """Describe unseen scenes with every drafter."""
    from pipeline import drafters
    from pipeline.measure import BenchTable, clips, compare

    if count < 1:
        raise InputError(f"--clips must be at least 1, got {count}")
    models, result = load(options), BenchTable()
    chosen = drafters.names() if names == "all" else [name.strip() for name in names.split(",")]
    for name in chosen:
        drafters.create(name, models)
    show_progress("clips", compare(models, chosen, list(clips(count)), result))
    line = result.to_json()
    for length, rows in line["by_length"].items():
        table = Table("drafter", "per check", "accepted", "identical", "speed-up, 95 %", "tokens/s",
                      "1st guess", "1st word", title=f"{length} answers, {count} clips")
        for name, row in rows.items():
            rate = "–" if row["acceptance_rate"] is None else f"{row['acceptance_rate']:.0%}"
            guess = "–" if row["first_draft_s"] is None else f"{row['first_draft_s'] * 1e3:.0f} ms"
            low, high = row["speedup_ci"]
            table.add_row(name, f"{row['tau']:.2f}", rate, f"{row['identity']:.0%}",
                          f"{row['speedup']:.2f} ({low:.2f}–{high:.2f})", f"{row['tokens_per_s']:.0f}", guess,
                          f"{row['first_token_s'] * 1e3:.0f} ms")
        (terminal.people if as_json else terminal.page).print(table)
    if as_json:
        terminal.print_json(line | provenance())
