"""What `bench` and `calibrate` leave in a folder: Markdown, a picture, and the JSON line as a file.

    prepare(Path("report"))                       # before measuring: refuses what would fail after it
    write_bench(Path("report"), line, command)
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from streams.types import InputError

COLOURS = ("#4477aa", "#66ccee", "#bbbbbb")
"""One per question length."""

MACHINE = ("commit", "machine", "processor", "cores", "threads", "python", "torch", "transformers", "numpy")


def prepare(out: Path | None) -> None:
    """Make the folder. Raises InputError when it is a file or matplotlib is missing; None: nothing to do."""
    if out is None:
        return
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")
    _figure(1, 1)
    out.mkdir(parents=True, exist_ok=True)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def write_bench(out: Path, line: dict[str, Any], tables: list[str], command: str) -> None:
    """bench.md, bench.png and bench.json. line: the "bench" line with its provenance; tables: Markdown."""
    _draw_bench(out / "bench.png", line["drafters"] or next(iter(line["by_length"].values())))
    parts = ["# Drafters against plain decoding", _origin(line, command), *_broken(line), BENCH_WORDS,
             "![speed-up and acceptance by depth](bench.png)", *tables, *_skipped(line["skipped"])]
    _write(out, "bench", parts, line)


BENCH_WORDS = """\
Speed-up: plain decoding's wall-clock over the drafter's, reading included, batch 1, every clip in both orders, ratio of
sums with a 95 % bootstrap interval over clips. Two estimates of the part after reading: from τ and the measured cost of
a round; and by the formula τ / 1.1 that the project began with (claimed). Guesses accepted by depth: of those
whose parent was accepted, with Wilson's 95 % interval in the picture and in bench.json."""


def write_peers(out: Path, line: dict[str, Any], tables: list[str], command: str) -> None:
    """peers.md, peers.png and peers.json. line: the "bench" line with its peers and provenance; tables: Markdown."""
    _draw_peers(out / "peers.png", line["peers_by_length"])
    unequal = [f"- **{sentence}**" for sentence in line["unequal"]]
    parts = ["# The same weights in transformers", _origin(line, command), *_broken(line), *unequal,
             line["conditions"], "![speed-up over transformers](peers.png)", *tables,
             *_skipped({**line["skipped"], **line["skipped_peers"]})]
    _write(out, "peers", parts, line)


def write_profile(out: Path, line: dict[str, Any], tables: list[str], command: str) -> None:
    """profile.md and profile.json. line: the "profile" line with its provenance; tables: Markdown."""
    _write(out, "profile", ["# Where the time goes", _origin(line, command), *tables], line)


def write_listening(out: Path, line: dict[str, Any], tables: list[str], command: str) -> None:
    """listening.md and listening.json. line: the "listening" line with its provenance; tables: Markdown."""
    _write(out, "listening", ["# What listening costs an answer", _origin(line, command), *tables], line)


def write_ingest(out: Path, line: dict[str, Any], tables: list[str], command: str) -> None:
    """ingest.md and ingest.json. line: the "ingest" line with its provenance; tables: Markdown."""
    _write(out, "ingest", ["# How fast events come in", _origin(line, command), *_broken(line), *tables,
                           *_skipped(line["skipped"])], line)


def write_calibration(out: Path, line: dict[str, Any], tables: list[str], command: str) -> None:
    """calibration.md, calibration.png and calibration.json, which holds the curves."""
    if line["drafters"]:
        _draw_calibration(out / "calibration.png", line)
        tables = ["![acceptance over cosine](calibration.png)", *tables]
    left_out = [f"- {sentence}" for sentence in line["left_out"].values()]
    _write(out, "calibration", ["# Does cosine predict acceptance?", _origin(line, command), CALIBRATION_WORDS,
                                *tables, *left_out], line)


CALIBRATION_WORDS = """\
Measured curves: isotonic fit of acceptance by cosine over guesses whose parent was accepted, 95 % band by bootstrap
over clips. Numbers marked claimed are those of the document that the project began with; they were not measured."""


def _broken(line: dict[str, Any]) -> list[str]:
    return [f"- **NOT LOSSLESS: {sentence}**" for sentence in line["broken"]]


def _skipped(reasons: dict[str, str]) -> list[str]:
    return [f"- `{name}` was skipped: {reason}" for name, reason in reasons.items()]


def _origin(line: dict[str, Any], command: str) -> str:
    facts = ", ".join(f"{name} {line[name]}" for name in MACHINE if name in line)
    measured = [f"{line['clips']} clips"] if "clips" in line else []
    return f"`{command}`\n\n" + "; ".join([*measured, facts, *([line["models"]] if "models" in line else [])])


def _write(out: Path, name: str, parts: list[str], line: dict[str, Any]) -> None:
    (out / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    (out / f"{name}.json").write_text(json.dumps(line, ensure_ascii=False) + "\n", encoding="utf-8")


def _figure(rows: int, columns: int) -> Any:
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise InputError("the pictures of a report need matplotlib; install it with `pip install 'parafovea[report]'` "
                         "or leave --out away") from error
    return figures.Figure(figsize=(6 * columns, 4.4 * rows), layout="constrained")


def _draw_bench(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    figure = _figure(1, 2)
    bars, lines = figure.subplots(1, 2)
    names, ratios = list(rows), [row["speedup"] for row in rows.values()]
    reach = [[max(0.0, row["speedup"] - row["speedup_ci"][0]) for row in rows.values()],
             [max(0.0, row["speedup_ci"][1] - row["speedup"]) for row in rows.values()]]
    bars.barh(range(len(names)), ratios, xerr=reach, color="#4477aa", capsize=3)
    bars.set_yticks(range(len(names)), [short(name) for name in names])
    bars.invert_yaxis()
    bars.axvline(1, color="black", linewidth=0.8)
    bars.set(title="speed-up over plain decoding", xlabel="times")
    for name, row in rows.items():
        if row["depth_acceptance"]:
            shares, intervals = row["depth_acceptance"], row["depth_acceptance_ci"]
            reach = [[share - low for share, (low, _) in zip(shares, intervals, strict=True)],
                     [high - share for share, (_, high) in zip(shares, intervals, strict=True)]]
            lines.errorbar(range(1, len(shares) + 1), shares, yerr=reach, marker="o", capsize=3, label=short(name))
    lines.set(title="guesses accepted, parent accepted", xlabel="depth", ylim=(0, 1.02))
    lines.grid(alpha=0.3)
    if lines.get_legend_handles_labels()[0]:
        lines.legend(fontsize=7)
    figure.savefig(path, dpi=90)


def _draw_peers(path: Path, lengths: dict[str, dict[str, Any]]) -> None:
    figure = _figure(1, 1)
    axes, height = figure.subplots(), 0.8 / len(lengths)
    bars = {name: ("speedup_of_best", name) for row in lengths.values() for name in row["peers"]}
    bars = {"our plain decoding over transformers_generate": ("speedup_of_none", "transformers_generate"),
            **{f"our best over {name}": key for name, key in bars.items()}}
    for number, (length, row) in enumerate(lengths.items()):
        for place, (key, peer) in enumerate(bars.values()):
            if peer in row["peers"]:
                ratio, (low, high) = row["peers"][peer][key], row["peers"][peer][f"{key}_ci"]
                axes.barh(place + number * height, ratio, height, color=COLOURS[number % len(COLOURS)],
                          xerr=[[max(0.0, ratio - low)], [max(0.0, high - ratio)]], capsize=2,
                          label=f"{length} answers" if place == 0 else None)
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(bars))], list(bars), fontsize=7)
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set(title="speed-up over transformers", xlabel="times")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=90)


def _draw_calibration(path: Path, line: dict[str, Any]) -> None:
    rows = line["drafters"]
    figure = _figure(1, len(rows))
    for axes, (name, row) in zip(figure.subplots(1, len(rows), squeeze=False).flat, rows.items(), strict=True):
        for depth, curve in row["curves"].items():
            whole = depth == "all"
            axes.plot(curve["cos_sim"], curve["acceptance"], linewidth=2.2 if whole else 0.9,
                      label="all depths" if whole else f"depth {int(depth) + 1}")
            if whole:
                axes.fill_between(curve["cos_sim"], curve["low"], curve["high"], alpha=0.2)
        for start, end, low, high in line["claimed"]:
            label = "claimed" if start < 0 else None
            axes.plot([start, end], [(low + high) / 2] * 2, "k--", linewidth=1.2, label=label)
            axes.fill_between([start, end], low, high, color="black", alpha=0.07)
        axes.set(title=short(name), xlabel="cos_sim", ylabel="accepted", ylim=(0, 1.02),
                 xlim=(min(0.5, *row["curves"]["all"]["cos_sim"]), 1))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=90)


def short(name: str) -> str:
    """A drafter that was given by the folder of a checkpoint, by the name of the folder; a stage of a training also by
    the name of that."""
    stem, _, variant = name.partition(":")
    path = Path(variant)
    if path.parent.name.endswith("-stages"):
        return f"{path.parent.name.removesuffix('-stages')} {path.name}"
    return f"{stem}:{path.name}" if variant else stem
