"""The learning curves of a training folder as one picture.

    draw_curves(Path("runs/mini"))        # reads STAGE.csv, writes curves.png
"""

from __future__ import annotations

import csv
import importlib
from pathlib import Path

from streams.types import InputError

ORDER = ("eye", "oracle", "real", "deep", "distilled")
"""Stages in the order of training, as the names of their files end; others follow."""


def draw_curves(folder: Path) -> Path:
    """Draw every part of every stage's loss over its steps. Raises InputError when matplotlib is missing."""
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise InputError("drawing the learning curves needs matplotlib; install it with `pip install "
                         "'parafovea[train]'`") from error
    files = sorted(folder.glob("*.csv"), key=lambda path: (_place(path.stem), path.stem))
    columns = 3
    rows = max(1, -(-len(files) // columns))
    figure = figures.Figure(figsize=(5 * columns, 3.4 * rows), layout="constrained")
    for axes, path in zip(figure.subplots(rows, columns, squeeze=False).flat, files, strict=False):
        for name, curve in read_curve(path).items():
            axes.plot(*zip(*curve, strict=True), label=name, linewidth=1.2)
        axes.set(title=path.stem, xlabel="step", yscale="log")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    target = folder / "curves.png"
    figure.savefig(target, dpi=80)
    return target


def _place(stage: str) -> int:
    return next((i for i, name in enumerate(ORDER) if stage.endswith(name)), len(ORDER))


def read_curve(path: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, loss) by part of the loss, as the training loop wrote them."""
    curves: dict[str, list[tuple[int, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            for name, value in row.items():
                if value and float(value) > 0:
                    curves.setdefault(name, []).append((step, float(value)))
    return curves


def falls(folder: Path) -> list[tuple[str, float, float]]:
    """(stage, first loss, last loss) of every stage in the folder."""
    result = []
    for path in sorted(folder.glob("*.csv")):
        curves = read_curve(path).values()
        before, after = (sum(curve[at][1] for curve in curves) for at in (0, -1))
        result.append((path.stem, before, after))
    return result
