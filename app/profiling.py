"""`bench --profile`: where the time of a detailed answer goes, and how far a verify pass is from what is possible."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from app import report
from app.benching import (
    BenchOptions,
    check,
    hand_over,
    percent,
    say_skipped,
    show,
    usable,
    wanted,
)
from app.compose import ModelOptions, load, quiet_libraries
from app.measuring import provenance, show_progress
from streams.types import InputError

if TYPE_CHECKING:
    from pipeline.measure import Runs

LOOKED_INTO = (1, 8)
"""Rows of the verify passes whose operators are counted."""


def profile(options: BenchOptions, model_options: ModelOptions) -> None:
    """Give detailed answers about unseen scenes and time verify passes. Raises InputError for a verifier that does not
    run on our decoder."""
    # before torch is imported
    quiet_libraries()
    from pipeline.clips import clips
    from pipeline.measure import QUESTIONS, BenchTable, compare
    from pipeline.profiling import measure_bound, pass_operators, pass_seconds
    from pipeline.timing import ROWS

    check(options)
    models, result = load(model_options), BenchTable()
    decoder = models.rgb.decoder
    if decoder is None:
        raise InputError(f"--profile looks into our own decoder, and {models.rgb.name} does not run on it; use --model "
                         "mini")
    chosen, skipped = usable(wanted(options), models)
    show_progress("clips", compare(models, chosen, list(clips(options.clips)), [], result,
                                   {"detailed": QUESTIONS["detailed"]}, options.rule, options.limits))
    bound, seconds = measure_bound(decoder), pass_seconds(decoder, ROWS)
    line = {"type": "profile", "clips": options.clips, "answers": {
                name: _parts(runs) for name, runs in result.runs["detailed"].items()},
            "bound": asdict(bound), "passes": [
                {"rows": rows, "seconds": round(seconds[rows], 6), "bound_s": round(bound.seconds(rows), 6)}
                for rows in ROWS],
            "operators": {str(rows): [asdict(one) for one in pass_operators(decoder, rows)] for rows in LOOKED_INTO},
            "models": models.summary, "skipped": skipped, "broken": result.broken(), **provenance()}
    tables = [_answers(line), _passes(line), *(_operators(line, str(rows)) for rows in LOOKED_INTO)]
    show(tables, options.as_json)
    say_skipped(skipped)
    hand_over(options, line, tables, report.write_profile, "profile")


def _parts(runs: Runs) -> dict[str, float]:
    """Seconds per answer; whatever is done while the verifier still reads belongs to reading."""
    total, writing = sum(runs.seconds.values()), sum(runs.writing.values())
    draft_s = runs.draft_s - runs.draft_while_reading_s
    parts = {"prefill_s": total - writing, "draft_s": draft_s, "verify_s": runs.verify_s,
             "other_s": writing - draft_s - runs.verify_s, "total_s": total}
    return {name: round(seconds / runs.answers, 6) for name, seconds in parts.items()}


def _answers(line: dict[str, Any]) -> Table:
    made = Table("drafter", "prefill", "draft", "verify", "other", "ms in all",
                 title="where the time of a detailed answer goes")
    for name, parts in line["answers"].items():
        made.add_row(report.short(name), *(f"{parts[part] * 1e3:.1f} ms ({percent(parts[part] / parts['total_s'])})"
                                           for part in ("prefill_s", "draft_s", "verify_s", "other_s")),
                     f"{parts['total_s'] * 1e3:.1f}")
    return made


def _passes(line: dict[str, Any]) -> Table:
    bound = line["bound"]
    made = Table("rows", "measured", "bound", "times the bound",
                 title=f"verify passes; {bound['weight_bytes'] / 1e6:.0f} MB of weights at measured "
                       f"{bound['bytes_per_s'] / 1e9:.1f} GB/s, {bound['macs_per_row'] / 1e6:.1f} M multiply-adds "
                       f"a row at measured {bound['macs_per_s'] / 1e9:.1f} G/s")
    for one in line["passes"]:
        made.add_row(str(one["rows"]), f"{one['seconds'] * 1e3:.2f} ms", f"{one['bound_s'] * 1e3:.2f} ms",
                     f"{one['seconds'] / one['bound_s']:.1f}")
    return made


def _operators(line: dict[str, Any], rows: str) -> Table:
    made = Table("operator", "share", "calls", title=f"inside a verify pass of {rows} rows, by torch's profiler")
    for one in line["operators"][rows]:
        made.add_row(one["name"], percent(one["share"]), f"{one['calls']:.0f}")
    return made
