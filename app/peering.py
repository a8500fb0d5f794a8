"""`bench --peers`: our drafters and transformers on the same weights, windows and prompts."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from app import report, terminal
from app.benching import (
    BenchOptions,
    check,
    hand_over,
    milliseconds,
    percent,
    say_skipped,
    show,
    timed,
    usable,
    wanted,
)
from app.compose import ModelOptions, load
from app.measuring import provenance, show_progress
from streams.types import InputError

CONDITIONS = (
    "Same RGB VLM weights, windows and prompts; {precision}, batch 1, greedy, eye, projector and decoder prefill "
    "included, every window read anew by everybody, with our preprocessing and our eye; one interleaved run in both "
    "orders (A B B A); ratio of sums with a 95 % bootstrap interval over clips. Everybody has {threads} thread(s) "
    "per model and runs under torch.inference_mode; nothing of transformers is compiled, {ours}; our event VLM "
    "works beside our RGB VLM on a second core, transformers reads and drafts on the core it verifies on. Each peer "
    "runs with the fastest of its settings ({tried} tried on a scene outside the clips): {settings}. The assistant "
    "is the event VLM's decoder with its own visual rows; places that it has no rows for are masked.")

COMPILED = ("our decoders' passes are compiled C that reads weights in the 16 bits they are stored in (--no-compile "
            "leaves it out)")
IN_INT8 = "our RGB VLM's decoder in 8 bit, LOSSY against transformers, which is in float32"
LAID_OUT = "our own matrices are laid out for the processor"


def bench_peers(options: BenchOptions, model_options: ModelOptions) -> None:
    """Answer about unseen scenes with every drafter and every peer. Leaves with exit code 1 when a lossless rule was
    not lossless. Raises InputError for a rule that is not greedy."""
    from pipeline import native
    from pipeline.acceptance import Greedy
    from pipeline.clips import clips
    from pipeline.measure import BenchTable, compare
    from pipeline.peers import PEERS, Peers, compared

    check(options)
    if options.rule != Greedy():
        raise InputError(f"--peers compares greedy decoding, got the rule {options.rule.name}; leave --rule and "
                         "--temperature away")
    models, result = load(model_options), BenchTable()
    chosen, skipped = usable(wanted(options), models)
    *windows, unmeasured = clips(options.clips + 1)
    peers = Peers(models)
    terminal.people.print("trying the settings of transformers")
    peers.tune(unmeasured, options.limits)
    show_progress("clips", compare(models, chosen, windows, [], result, limits=options.limits,
                                   peers=peers.callables(options.limits)))
    facts = provenance()
    lengths = {length: compared(result, length, peers.settings) for length in result.runs}
    settings = "; ".join(f"{name}: {setting.words}" for name, setting in peers.settings.items())
    line = {**result.to_json(), "peers": lengths["detailed"]["peers"], "peers_by_length": lengths,
            "budget": options.limits.budget, "models": models.summary, "skipped": skipped,
            "skipped_peers": peers.skipped, "broken": result.broken(), "unequal": _unequal(lengths),
            "conditions": CONDITIONS.format(precision=IN_INT8 if model_options.precision == "int8" else "float32",
                                            ours=COMPILED if native.switched_on() else LAID_OUT,
                                            threads=facts["threads"], settings=settings,
                                            tried=sum(len(PEERS[name]) for name in peers.settings)), **facts}
    tables = [_table(length, row) for length, row in lengths.items()]
    tables += [timed(length, rows) for length, rows in line["by_length"].items()]
    show(tables, options.as_json)
    terminal.people.print(line["conditions"])
    say_skipped({**skipped, **peers.skipped})
    for sentence in line["unequal"]:
        terminal.people.print(f"parafovea: {sentence}", style="bold yellow")
    hand_over(options, line, tables, report.write_peers, "peers")


def _unequal(lengths: dict[str, dict[str, Any]]) -> list[str]:
    """Sentences about peers whose tokens are not ours: their times are those of other texts."""
    return [f"only {percent(row['identity'])} of the {length} answers of {name} equal ours, so their times are not "
            "those of the same texts" for length, both in lengths.items() for name, row in both["peers"].items()
            if row["identity"] < 1]


def _table(length: str, row: dict[str, Any]) -> Table:
    best = report.short(row["best"]["drafter"])
    made = Table("over", "our plain, 95 %", f"our {best}, 95 %", "identical", "per check", "tokens/s", "1st word",
                 "our 1st guess / its 1st word", title=f"{length} answers: how many times faster we are")
    made.add_row("our plain", "1", _ratio(row["best"], "speedup"), "", "", "", "",
                 _ratio(row["first_word"], "first_draft_over_first_token_none"))
    made.add_row(f"our {best}", "", "1", "", "", "", "", _ratio(row["first_word"], "first_draft_over_first_token_own"))
    for name, peer in row["peers"].items():
        made.add_row(name.replace("_", " "), _ratio(peer, "speedup_of_none"), _ratio(peer, "speedup_of_best"),
                     percent(peer["identity"]), f"{peer['tau']:.2f}", f"{peer['tokens_per_s']:.0f}",
                     milliseconds(peer["first_token_s"]),
                     _ratio(row["first_word"], f"first_draft_over_first_token_{name}"))
    return made


def _ratio(row: dict[str, Any], key: str) -> str:
    if key not in row:
        return "–"
    low, high = row[f"{key}_ci"]
    return f"{row[key]:.2f} ({low:.2f}–{high:.2f})"
