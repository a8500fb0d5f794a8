"""`bench`: drafters against plain decoding, or one drafter at every stage of its training."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click
from rich.table import Table

from app import report, stages, terminal
from app.compose import ModelOptions, load
from app.measuring import provenance, show_progress
from streams.types import InputError

if TYPE_CHECKING:
    from pipeline.decoding import Limits
    from pipeline.models import Models
    from pipeline.types import Rule

PLAIN = "none"
MOST_REPLAYED, FEWEST_REPLAYED = 100, 4
"""Windows of the sequences that go on: as many as clips, within these."""


@dataclass(frozen=True)
class BenchOptions:
    """What `bench` and `calibrate` were told: clips, names of drafters or "all", how answers are written, folder for
    the report, JSON, folder with stages of a training, whether transformers is measured beside them, whether the
    time of an answer is taken apart, whether reading is measured and no model, what is replayed and how far apart its
    windows begin."""

    clips: int
    drafters: str
    rule: Rule
    limits: Limits
    out: Path | None
    as_json: bool
    checkpoints: Path | None = None
    peers: bool = False
    profile: bool = False
    ingest: bool = False
    replay: str | None = None
    stride_s: float = 1.0
    listening: bool = False


def bench(options: BenchOptions, model_options: ModelOptions) -> None:
    """Describe unseen scenes with every drafter. Leaves with exit code 1 when a lossless rule was not lossless."""
    from pipeline.clips import clips, sequences
    from pipeline.measure import BenchTable, compare

    check(options)
    models, result, limits = load(model_options), BenchTable(), options.limits
    if options.checkpoints is not None and limits.budget is None:
        limits = replace(limits, budget=stages.BUDGET)
    chosen, skipped = usable(wanted(options), models)
    replayed = min(MOST_REPLAYED, max(FEWEST_REPLAYED, options.clips))
    show_progress("clips", compare(models, chosen, list(clips(options.clips)), list(sequences(replayed)), result,
                                   rule=options.rule, limits=limits))
    line = {**result.to_json(), "rule": asdict(options.rule), "budget": limits.budget,
            "replayed": replayed, "models": models.summary, "skipped": skipped, "broken": result.broken(),
            **provenance()}
    tables = [timed(length, rows) for length, rows in line["by_length"].items()]
    tables += [guessed(length, rows) for length, rows in line["by_length"].items()]
    if options.checkpoints is not None:
        rows = [stages.stage_row(name, row) for name, row in line["drafters"].items() if name != PLAIN]
        line |= {"checkpoints": rows, "learned": stages.learned(rows)}
        tables.insert(0, stages.stage_table(rows))
    show(tables, options.as_json)
    say_skipped(skipped)
    for name, gain in line.get("learned", {}).items():
        said = f"{name}: {gain['untrained_tau']:.2f} tokens per check untrained, {gain['trained_tau']:.2f} trained"
        terminal.people.print(said if gain["better"] else said + ": IT LEARNED NOTHING",
                              style="" if gain["better"] else "bold red")
    hand_over(options, line, tables, report.write_bench, "bench")


Write: TypeAlias = Callable[[Path, dict[str, Any], list[str], str], None]
"""write(folder, line, tables in Markdown, command): one of app.report."""


def hand_over(options: BenchOptions, line: dict[str, Any], tables: list[Table], write: Write, name: str) -> None:
    """The report where one was asked for, then the JSON line. Leaves with exit code 1 when the line says that a
    lossless rule was not lossless."""
    if options.out is not None:
        write(options.out, line, [markdown(one) for one in tables], command())
        terminal.people.print(f"report: {options.out / f'{name}.md'}")
    if options.as_json:
        terminal.print_json(line)
    broken = line.get("broken", [])
    for sentence in broken:
        said = sentence if options.ingest else f"NOT LOSSLESS: {sentence}"
        terminal.people.print(f"parafovea: {said}; this is a defect of ours", style="bold red")
    if broken:
        sys.exit(1)


def one_comparison(options: BenchOptions) -> None:
    """Raises InputError where more than one kind of comparison is asked for."""
    asked = [name for name, given in (("--peers", options.peers), ("--profile", options.profile),
                                      ("--ingest", options.ingest), ("--listening", options.listening),
                                      ("--replay", options.replay is not None),
                                      ("--checkpoints", options.checkpoints is not None)) if given]
    if len(asked) > 1:
        raise InputError(f"{' and '.join(asked)} are different comparisons; give one of them")


def check(options: BenchOptions) -> None:
    """Raises InputError for what cannot be measured or written, before anything is loaded."""
    if options.clips < 1:
        raise InputError(f"--clips must be at least 1, got {options.clips}")
    report.prepare(options.out)


def wanted(options: BenchOptions) -> list[str]:
    """The drafters asked for. Raises InputError for names and folders that do not exist."""
    from pipeline import drafters

    names = [name.strip() for name in options.drafters.split(",") if name.strip()]
    for name in names:
        if name.partition(":")[0] not in (*drafters.names(), "all"):
            raise InputError(f"unknown drafter {name!r}; choose all or some of {', '.join(drafters.names())}")
    if options.checkpoints is None:
        return drafters.every() if names == ["all"] else names
    return stages.names_of(names, options.checkpoints)


def usable(names: list[str], models: Models) -> tuple[list[str], dict[str, str]]:
    """The drafters that can be made, and why the others cannot. Raises InputError when none can."""
    from pipeline import drafters

    chosen, skipped = list[str](), dict[str, str]()
    for name in names:
        try:
            drafters.create(name, models)
            chosen.append(name)
        except InputError as error:
            skipped[name] = str(error)
    if not chosen:
        raise InputError("; ".join(skipped.values()) or "no drafter was named; use for example --drafters vlm,recall")
    return chosen, skipped


def say_skipped(skipped: dict[str, str]) -> None:
    """One line per drafter that was left out."""
    for name, reason in skipped.items():
        terminal.people.print(f"parafovea: {name} is skipped: {reason}", style="yellow")


def command() -> str:
    """The command that runs, with the options that were given."""
    context = click.get_current_context()
    given = [parameter for parameter in context.command.params if parameter.name in context.params and
             context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE]
    words = [parameter.opts[0] if getattr(parameter, "is_flag", False)
             else f"{parameter.opts[0]} {context.params[parameter.name or '']}" for parameter in given]
    return " ".join(["parafovea", context.info_name or "", *words])


def show(tables: list[Table], as_json: bool) -> None:
    """Tables on stdout, or beside JSON on stderr."""
    for one in tables:
        (terminal.people if as_json else terminal.page).print(one)


def markdown(shown: Table) -> str:
    """A table of the terminal as Markdown."""
    columns = [[str(cell) for cell in column.cells] for column in shown.columns]
    return f"## {shown.title}\n\n" + report.table([str(column.header) for column in shown.columns],
                                                  zip(*columns, strict=True))


def timed(length: str, rows: dict[str, Any]) -> Table:
    """Drafters against plain decoding on one question length."""
    made = Table("drafter", "per check", "identical", "speed-up, 95 %", "after reading", "estimate", "τ/1.1, claimed",
                 "tokens/s", "ms draft/verify/other", "1st guess", "1st word", title=f"{length} answers")
    for name, row in rows.items():
        low, high = row["speedup_ci"]
        made.add_row(
            report.short(name), f"{row['tau']:.2f}", percent(row["identity"]) + ("" if row["lossless"] else " LOSSY"),
            f"{row['speedup']:.2f} ({low:.2f}–{high:.2f})", f"{row['writing_speedup']:.2f}",
            f"{row['estimates']['from_costs']:.2f}", f"{row['estimates']['claimed_formula']:.2f}",
            f"{row['tokens_per_s']:.0f}",
            " ".join(f"{row[part] * 1e3:.1f}" for part in ("draft_s", "verify_s", "other_s")),
            milliseconds(row["first_draft_s"]), milliseconds(row["first_token_s"]))
    return made


def guessed(length: str, rows: dict[str, Any]) -> Table:
    """What became of the guesses on one question length."""
    made = Table("drafter", "accepted", "by depth", "tokens per check: share of checks", "cos_sim", "cos_sim > 0.90",
                 title=f"guesses in {length} answers")
    for name, row in rows.items():
        rounds = sum(row["tokens_per_pass"].values())
        made.add_row(report.short(name), percent(row["acceptance_rate"]),
                     " ".join(percent(share) for share in row["depth_acceptance"]),
                     " ".join(f"{n}: {percent(count / rounds)}" for n, count in row["tokens_per_pass"].items()),
                     number(row["cos_sim_mean"]), percent(row["accept_at_0.90"]))
    return made


def percent(share: float | None) -> str:
    """0.5 as 50 %; None as a dash."""
    return "–" if share is None else f"{share:.0%}"


def number(value: float | None) -> str:
    """Two digits; None as a dash."""
    return "–" if value is None else f"{value:.2f}"


def milliseconds(seconds: float | None) -> str:
    """0.0123 as 12 ms; None as a dash."""
    return "–" if seconds is None else f"{seconds * 1e3:.0f} ms"
