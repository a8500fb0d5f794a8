"""`info` and `simulate`: what is in a recording, and a recording from a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import Progress

from app import terminal
from app.compose import quiet_libraries
from streams.filtering import filtered
from streams.sources import open_source
from streams.summary import RecordingSummary, summarize
from streams.types import InputError


def info(uri: str, as_json: bool, filters: Sequence[str] = ()) -> None:
    """Read a recording to its end and say what is inside, and passes the filters."""
    quiet_libraries()
    with filtered(open_source(uri), filters) as source:
        if source.info.live or source.info.duration_us is None:
            raise InputError(f"{source.info.name} has no end that could be counted; give a recording")
        with terminal.people.status("reading"):
            summary = summarize(source)
    if as_json:
        terminal.print_json(summary.to_json())
    else:
        _print(summary)
        terminal.say_filtered(source)
    if summary.damage:
        terminal.people.print(f"parafovea: {summary.damage}", style="yellow")


def _print(summary: RecordingSummary) -> None:
    duration_s = 0.0
    if summary.start_us is not None and summary.end_us is not None:
        duration_s = (summary.end_us - summary.start_us) / 1e6
    show = terminal.page.print
    show(f"{summary.name}: {summary.format}" + (f", {summary.sensor}" if summary.sensor else ""))
    for unit, size, count, origin in (
            ("events", summary.event_resolution, summary.n_events, summary.events_origin),
            ("frames", summary.frame_resolution, summary.n_frames, summary.frames_origin)):
        if size is None:
            show(f"  {unit}: none")
        else:
            rate = f", {count / duration_s:,.0f} per second" if duration_s else ""
            show(f"  {unit}: {count:,} at {size}{rate}, origin {origin}")
    show(f"  duration: {duration_s:.3f} s")
    if summary.skew:
        show(f"  {summary.skew}")
    if summary.n_rejected:
        show(f"  refused by validation: {summary.n_rejected:,} events")
    if summary.n_clamped or summary.n_restarts:
        show(f"  clock mended: {summary.n_clamped:,} late events, {summary.n_restarts:,} restarts")


def simulate(video: Path, out: Path, threshold: float, seed: int) -> None:
    """Write a video's frames with simulated events as AEDAT4."""
    quiet_libraries()
    from streams.recorder import Recorder
    from streams.simulation import SimulatorParameters

    if out.suffix != ".aedat4":
        raise InputError(f"{out} must end in .aedat4; it is the only format written")
    if not 0.02 <= threshold <= 2:
        raise InputError(f"--threshold {threshold} is not allowed; use 0.02 to 2 log units, 0.2 is usual")
    parameters = replace(SimulatorParameters(), threshold_on=threshold, threshold_off=threshold)
    with open_source(str(video)) as found:
        if found.info.events_origin != "simulated":
            raise InputError(f"{video} is not a video, it has events already; give a video file")
    with open_source(str(video), parameters=parameters, seed=seed) as source:
        facts = source.info
        assert facts.event_resolution is not None
        n_events = n_frames = 0
        with (Recorder(out, facts.event_resolution, facts.frame_resolution, "simulated", "video") as recorder,
              Progress(console=terminal.people, transient=True) as bar):
            task = bar.add_task("simulating", total=facts.duration_us)
            for item in source:
                recorder.write(item)
                if isinstance(item, np.ndarray):
                    n_events += len(item)
                else:
                    n_frames += 1
                    bar.update(task, completed=item.t_us - (facts.start_us or 0))
    terminal.people.print(f"{out}: {n_frames} frames, {n_events:,} simulated events")
