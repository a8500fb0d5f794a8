"""`bench --checkpoints`: drafters at every stage of their training, as `train` leaves them.

    parafovea bench --drafters eagle,adapter:L4 --checkpoints runs/mini        # runs/mini/eagle-stages/step-0 ...

A folder with a checkpoint folder per stage does too, for one drafter: `--drafters eagle --checkpoints runs/epochs`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from streams.types import InputError

BUDGET = 6
"""Guesses per check of every stage, where nothing else is asked for: drafted as the program sees fit, a better drafter
would guess more, and its tokens per check would not be compared with those of a worse one."""


def names_of(names: Sequence[str], folder: Path) -> list[str]:
    """Names of the stages of these drafters in a folder, in their order; ["all"]: of every drafter that has some.
    Raises InputError where there are none."""
    from pipeline.training.fitting import stages_of

    if not folder.is_dir():
        raise InputError(f"--checkpoints {folder} is not a folder; give one with a folder per stage")
    if list(names) == ["all"]:
        found = sorted(folder.glob("*-stages"))
        names = [path.name.removesuffix("-stages").replace("-", ":", 1) for path in found]
    if not names:
        raise InputError(f"--checkpoints {folder} holds no folder such as eagle-stages; name one drafter if it holds "
                         "that drafter's stages itself")
    chosen = list[str]()
    for name in names:
        own = stages_of(folder / name.replace(":", "-"))
        place = own if own.is_dir() or len(names) > 1 else folder
        found = sorted((path for path in place.glob("*") if (path / "config.json").exists()), key=_order)
        if not found:
            raise InputError(f"--checkpoints {folder} holds no checkpoints of {name}; expected folders such as "
                             f"{own.name}/step-0 or epoch-1, each with config.json and model.safetensors")
        chosen += [f"{name.partition(':')[0]}:{path}" for path in found]
    return chosen


def _order(path: Path) -> list[tuple[int, str]]:
    """epoch-2 before epoch-10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path.name) if part]


def stage_row(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """One stage's line: drafter, checkpoint, how long it was trained (None = it does not say) and what it did."""
    stem, _, place = name.partition(":")
    path = Path(place)
    said = json.loads((path / "config.json").read_text())
    drafter = path.parent.name.removesuffix("-stages").replace("-", ":", 1)
    return {"drafter": drafter if drafter.partition(":")[0] == stem else stem, "checkpoint": path.name,
            "step": said.get("step"), "epochs": said.get("epochs"),
            **{key: row[key] for key in ("cos_sim_mean", "accept_at_0.90", "tau", "speedup", "speedup_ci")}}


def stage_table(rows: Sequence[dict[str, Any]]) -> Table:
    """All stages, one after another."""
    from app.benching import number, percent

    made = Table("drafter", "checkpoint", "epochs", "cos_sim", "cos_sim > 0.90", "per check", "speed-up, 95 %",
                 title="detailed answers by stage of training")
    for row in rows:
        low, high = row["speedup_ci"]
        faster = f"{row['speedup']:.2f} ({low:.2f}–{high:.2f})"
        made.add_row(row["drafter"], row["checkpoint"], number(row["epochs"]), number(row["cos_sim_mean"]),
                     percent(row["accept_at_0.90"]), f"{row['tau']:.2f}", faster)
    return made


def learned(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each drafter whose untrained stage is there: tokens per check of it and of the last stage, and whether the
    training paid."""
    result = {}
    for name in dict.fromkeys(row["drafter"] for row in rows):
        own = [row for row in rows if row["drafter"] == name]
        if own[0]["step"] == 0 and len(own) > 1:
            untrained, trained = own[0]["tau"], own[-1]["tau"]
            result[name] = {"untrained_tau": untrained, "trained_tau": trained, "better": trained > untrained}
    return result
