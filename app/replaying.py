"""`bench --replay`: captions window after window, with every drafter, in one conversation per sequence."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from app import report
from app.benching import BenchOptions, check, guessed, hand_over, say_skipped, show, timed, usable, wanted
from app.compose import ModelOptions, load, quiet_libraries
from app.measuring import provenance, show_progress
from streams.types import InputError

if TYPE_CHECKING:
    from pipeline.models import Models
    from streams.types import Window

SCENES = "scenes"
"""The source that is rendered: the bundled recording's story, then unseen scenes of 8 s."""


def bench_replay(options: BenchOptions, model_options: ModelOptions) -> None:
    """Time a replay with every drafter. Leaves with exit code 1 when a lossless rule was not lossless; raises
    InputError for a source without windows that can be read."""
    # before torch is imported
    quiet_libraries()
    from pipeline.measure import BenchTable, replay

    check(options)
    models, result = load(model_options), BenchTable()
    chosen, skipped = usable(wanted(options), models)
    sequences = _sequences(options, models)
    show_progress("sequences", replay(models, chosen, sequences, result, options.rule, options.limits))
    result.clips = sum(map(len, sequences))
    line: dict[str, Any] = {
        **result.to_json(), "rule": asdict(options.rule), "budget": options.limits.budget, "source": options.replay,
        "stride_s": options.stride_s, "sequences": [len(windows) for windows in sequences], "models": models.summary,
        "skipped": skipped, "broken": result.broken(), **provenance()}
    tables = [timed(length, rows) for length, rows in line["by_length"].items()]
    tables += [guessed(length, rows) for length, rows in line["by_length"].items()]
    show(tables, options.as_json)
    say_skipped(skipped)
    hand_over(options, line, tables, report.write_bench, "bench")


def _sequences(options: BenchOptions, models: Models) -> list[list[Window]]:
    """`options.clips` windows in sequences. Raises InputError for a live source, and for a recording in which the
    verifier can read no window."""
    from pipeline.clips import sequences
    from pipeline.inputs import WINDOW_US
    from streams.sources import open_source
    from streams.windows import windows

    if not 0 < options.stride_s <= 60:
        raise InputError(f"--stride {options.stride_s} is not allowed; use more than 0, at most 60 seconds")
    if options.replay in (None, SCENES):
        return list(sequences(options.clips, options.stride_s))
    with open_source(str(options.replay)) as source:
        if source.info.live:
            raise InputError(f"{options.replay} is live, and every drafter must see the same; record it first")
        readable = (window for window in windows(source, WINDOW_US, round(options.stride_s * 1e6))
                    if window.frames or models.rgb.reads != "frames")
        found = list(itertools.islice(readable, options.clips))
    if not found:
        raise InputError(f"no window of {options.replay} holds a frame, so there is nothing to caption")
    return [found]
