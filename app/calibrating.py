"""`calibrate`: does cosine predict acceptance, and what of the claimed tables holds?"""

from __future__ import annotations

from typing import Any

from rich.table import Table

from app import report, terminal
from app.benching import (
    BenchOptions,
    check,
    command,
    markdown,
    number,
    percent,
    say_skipped,
    show,
    usable,
    wanted,
)
from app.compose import ModelOptions, load
from app.measuring import provenance, show_progress


def calibrate(options: BenchOptions, model_options: ModelOptions) -> None:
    """Describe unseen scenes with every drafter that has states to compare, and relate cosine to acceptance."""
    from pipeline import claims
    from pipeline.calibration import DETAILED, Guesses, science
    from pipeline.clips import clips
    from pipeline.measure import BenchTable, compare

    check(options)
    science("stats")
    models, guesses, result = load(model_options), Guesses(), BenchTable()
    chosen, skipped = usable(wanted(options), models)
    show_progress("clips", compare(models, chosen, list(clips(options.clips)), [], result, DETAILED,
                                   options.temperature, guesses.listen))
    rows, left_out = dict[str, Any](), dict[str, str]()
    for name in chosen:
        if reason := guesses.left_out(name):
            left_out[name] = f"{name} is left out: {reason}"
            continue
        live = result.row("detailed", name)
        rows[name] = guesses.to_json(name) | {key: live[key] for key in ("tau", "speedup", "speedup_ci",
                                                                         "writing_speedup", "estimates")}
        rows[name]["predicted_speedup"] = _predicted(rows[name]["predicted_tau"], live)
    line = {"type": "calibration", "clips": options.clips, "temperature": options.temperature, "drafters": rows,
            "left_out": left_out, "claimed": claims.ACCEPTANCE, "models": models.summary, "skipped": skipped,
            **provenance()}
    tables = [_predictors(rows)] + [_thresholds(name, row) for name, row in rows.items()] if rows else []
    show(tables, options.as_json)
    say_skipped(skipped)
    for sentence in left_out.values():
        terminal.people.print(f"parafovea: {sentence}", style="yellow")
    if options.out is not None:
        report.write_calibration(options.out, line, [markdown(one) for one in tables], command())
        terminal.people.print(f"report: {options.out / 'calibration.md'}")
    if options.as_json:
        terminal.print_json(line)


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
