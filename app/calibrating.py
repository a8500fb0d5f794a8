"""`calibrate`: does cosine predict acceptance, and what of the claimed tables holds?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from app import report, terminal
from app.benching import (
    BenchOptions,
    check,
    hand_over,
    number,
    percent,
    say_skipped,
    show,
    usable,
    wanted,
)
from app.compose import ModelOptions, load
from app.measuring import provenance, show_progress

if TYPE_CHECKING:
    from pipeline.models import Models
    from streams.types import Window


def calibrate(options: BenchOptions, model_options: ModelOptions) -> None:
    """Describe unseen scenes with every drafter that has states to compare, and relate cosine to acceptance."""
    from pipeline import claims
    from pipeline.calibration import DETAILED, Guesses
    from pipeline.clips import clips
    from pipeline.isotonic import science
    from pipeline.measure import BenchTable, compare

    check(options)
    science("stats")
    models, guesses, result = load(model_options), Guesses(), BenchTable()
    chosen, skipped = usable(wanted(options), models)
    windows = list(clips(options.clips))
    show_progress("clips", compare(models, chosen, windows, [], result, DETAILED, options.rule, options.limits,
                                   guesses.listen))
    rows, left_out = dict[str, Any](), dict[str, str]()
    for name in chosen:
        if reason := guesses.left_out(name):
            left_out[name] = f"{name} is left out: {reason}"
            continue
        live = result.row("detailed", name)
        rows[name] = guesses.to_json(name) | {key: live[key] for key in ("tau", "speedup", "speedup_ci",
                                                                         "writing_speedup", "estimates")}
        rows[name]["predicted_speedup"] = _predicted(rows[name]["predicted_tau"], live)
    shared = dict[str, Any]()
    show_progress("words", _same_prefix(models, chosen, windows, guesses.answers, shared))
    for name in rows:
        rows[name] |= {"same_prefix": shared[name]} if name in shared else {}
    line = {"type": "calibration", "clips": options.clips, "rule": asdict(options.rule),
            "budget": options.limits.budget, "drafters": rows, "same_prefix": shared,
            "left_out": left_out, "claimed": claims.ACCEPTANCE, "models": models.summary, "skipped": skipped,
            **provenance()}
    tables = [_predictors(rows)] + [_thresholds(name, row) for name, row in rows.items()] if rows else []
    if shared:
        tables.insert(len(tables) and 1, _shared(shared))
    show(tables, options.as_json)
    say_skipped(skipped)
    for sentence in left_out.values():
        terminal.people.print(f"parafovea: {sentence}", style="yellow")
    hand_over(options, line, tables, report.write_calibration, "calibration")


def _same_prefix(models: Models, names: Sequence[str], windows: Sequence[Window], answers: dict[int, list[int]],
                 found: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Fill `found` with every drafter's distribution against the verifier's along the verifier's own answers, of those
    that have one; yields (steps done, steps)."""
    from pipeline.calibration import DETAILED
    from pipeline.overlap import Overlap, overlap_json, same_prefix

    for place, name in enumerate(names):
        rows = list[Overlap]()
        for clip, tokens in answers.items():
            rows += same_prefix(models, name, windows[clip], DETAILED["detailed"], tokens, clip)
            yield place * len(answers) + clip + 1, len(names) * len(answers)
        if rows:
            found[name] = overlap_json(rows)


def _predicted(tau: float | None, live: dict[str, Any]) -> float | None:
    """Speed-up after reading that the curves' τ brings at the measured cost of a round: an estimate."""
    return None if tau is None else round(tau / live["tau"] * live["estimates"]["from_costs"], 3)


def _predictors(rows: dict[str, Any]) -> Table:
    made = Table("drafter", "guesses", "accepted", "cosine AUC (later words)", "p AUC (later words)",
                 "cosine Spearman", "p Spearman", "τ, by curves", "after reading, by curves",
                 title="does it predict acceptance?")
    for name, row in rows.items():
        every, later = row["predictors"].values()
        made.add_row(report.short(name), str(row["guesses"]), percent(row["accepted"]),
                     *(f"{_of(every[by], 'auc')} ({_of(later[by], 'auc')})" for by in ("cos_sim", "p_draft")),
                     *(_of(every[by], "spearman") for by in ("cos_sim", "p_draft")),
                     f"{row['tau']:.2f}, {number(row['predicted_tau'])}",
                     f"{row['writing_speedup']:.2f}, {number(row['predicted_speedup'])}")
    return made


def _shared(rows: dict[str, Any]) -> Table:
    made = Table("drafter", "words", "cosine", "1 - TV", "same favourite", "entropy",
                 *(f"{what} {by} (later words)" for what in ("AUC:", "Spearman:")
                   for by in ("cosine", "p", "certainty")), title="after the verifier's own words")
    for name, row in rows.items():
        every, later = (value for key, value in row.items() if key.startswith("predictors"))
        made.add_row(report.short(name), str(row["tokens"]), number(row["cos_sim"]), number(row["shared"]),
                     percent(row["agree"]), number(row["entropy"]),
                     *(f"{_of(every[by], key)} ({_of(later[by], key)})" for key in ("auc", "spearman")
                       for by in every))
    return made


def _of(ranked: dict[str, float] | None, key: str) -> str:
    return number(None if ranked is None else ranked[key])


def _thresholds(name: str, row: dict[str, Any]) -> Table:
    made = Table("cosine over", "share of guesses", "accepted", "claimed", "τ if cosine ruled (estimate)",
                 "chain, claimed", "that τ/1.1 (estimate)", "speed-up, claimed", "τ, lossless", "speed-up, lossless",
                 title=f"{report.short(name)}: thresholds")
    for cells in row["thresholds"]:
        claimed = cells["claimed"]
        made.add_row(f"{cells['threshold']:.2f}", percent(cells["share_over"]), percent(cells["accepted_over"]),
                     percent(claimed["acceptance"]), f"{cells['tau_if_cosine_ruled']:.2f}", str(claimed["chain"]),
                     f"{cells['claimed_formula']:.2f}", f"{claimed['speedup']:.1f}", f"{row['tau']:.2f}",
                     f"{row['speedup']:.2f}")
    return made
