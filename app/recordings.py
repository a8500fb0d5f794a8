"""`info` and `simulate`: what is in a recording, and a recording from a video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from app import terminal
from app.compose import quiet_libraries
from streams.filtering import filtered
from streams.inspection import Inspected, Inspection
from streams.sources import open_source, open_stored
from streams.summary import RecordingSummary, summarize
from streams.types import InputError, Packet, Samples


def info(uri: str, as_json: bool, filters: Sequence[str] = (), deep: bool = False) -> None:
    """Read a recording to its end and say what is inside, and passes the filters; deep: and what it is like."""
    quiet_libraries()
    samples: Counter[str] = Counter()

    def count(batch: Samples) -> None:
        samples[batch.kind] += len(batch.data)

    with filtered(terminal.opened(uri, lambda uri: open_stored(uri, sensors=count)), filters) as source:
        samples.clear()  # a filter that learned has read the first part, which comes once more
        facts = source.info
        if facts.live or facts.duration_us is None:
            raise InputError(f"{facts.name} has no end that could be counted; give a recording")
        inspection = Inspection(facts) if deep else None
        with terminal.reading(facts, "reading") as tell:

            def hear(item: Packet) -> None:
                tell(item)
                if inspection is not None:
                    inspection.add(item)

            summary = replace(summarize(source, hear), n_imu=samples["imu"], n_triggers=samples["triggers"])
    inspected = None if inspection is None else inspection.found()
    if as_json:
        terminal.print_json(summary.to_json() | ({} if inspected is None else {"deep": inspected.to_json()}))
    else:
        _print(summary)
        if inspected is not None:
            _print_deep(inspected)
        terminal.say_filtered(source)
    if summary.damage:
        terminal.people.print(f"parafovea: {summary.damage}", style="yellow")


def _print(summary: RecordingSummary) -> None:
    duration_s = 0.0
    if summary.start_us is not None and summary.end_us is not None:
        duration_s = (summary.end_us - summary.start_us) / 1e6
    show = terminal.page.print
    show(f"{summary.name}: {summary.format}" + (f", {summary.sensor}" if summary.sensor else ""))
    if summary.filtered:
        show(f"filtered: {summary.filtered}")
    for unit, size, count, origin in (
            ("events", summary.event_resolution, summary.n_events, summary.events_origin),
            ("frames", summary.frame_resolution, summary.n_frames, summary.frames_origin)):
        if size is None:
            show(f"  {unit}: none")
        else:
            rate = f", {count / duration_s:,.0f} per second" if duration_s else ""
            show(f"  {unit}: {count:,} at {size}{rate}, origin {origin}")
    if summary.n_imu or summary.n_triggers:
        show(f"  IMU: {summary.n_imu:,} samples; triggers: {summary.n_triggers:,}")
    show(f"  duration: {duration_s:.3f} s")
    if summary.skew:
        show(f"  {summary.skew}")
    if summary.n_rejected:
        show(f"  refused by validation: {summary.n_rejected:,} events")
    if summary.n_clamped or summary.n_restarts:
        show(f"  clock mended: {summary.n_clamped:,} late events, {summary.n_restarts:,} restarts")


def _print_deep(found: Inspected) -> None:
    show = terminal.page.print
    curve = terminal.sparkline(found.rates_hz)
    if found.x is not None and found.y is not None:
        show(f"  rate: {curve}  up to {max(found.rates_hz):,.0f} events per second")
        peaks = [f"{rate:,.0f} in {length} (at {at_s:.2f} s)"
                 for rate, at_s, length in ((found.peak_10ms_hz, found.peak_10ms_at_s, "10 ms"),
                                            (found.peak_1s_hz, found.peak_1s_at_s, "1 s")) if rate is not None]
        show(f"  events per second: mean {found.mean_hz:,.0f}, peak " + ", ".join(peaks))
        longest = ("" if found.longest_silence_at_s is None else
                   f"; the longest {found.longest_silence_s:.3f} s, from {found.longest_silence_at_s:.2f} s")
        show(f"  silences of 0.1 s or more: {found.n_silences:,}{longest}")
        show(f"  polarity: {found.on_share:.1%} ON")
        show(f"  pixels: x {found.x[0]} to {found.x[1]}, y {found.y[0]} to {found.y[1]}; {found.fired_share:.1%} of "
             "the sensor fired")
        listed = "; ".join(f"{x},{y}" for x, y, _ in found.hot[:5]) + (" …" if found.n_hot > 5 else "")
        show(f"  hot pixels: {found.n_hot:,}" + (f" ({listed}) with {found.hot_share:.1%} of the events"
                                                 if found.n_hot else ""))
    if found.frame_interval_s and found.exposure_s:
        apart, exposure = found.frame_interval_s, found.exposure_s
        show(f"  frames: {1 / apart.mean if apart.mean else 0:.2f} per second, {apart.least * 1e3:.1f} to "
             f"{apart.most * 1e3:.1f} ms apart; exposure {exposure.mean * 1e3:.2f} ms ({exposure.least * 1e3:.2f} to "
             f"{exposure.most * 1e3:.2f})")


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
              terminal.reading(facts, "simulating") as tell):
            for item in source:
                recorder.write(item)
                tell(item)
                if isinstance(item, np.ndarray):
                    n_events += len(item)
                else:
                    n_frames += 1
    terminal.people.print(f"{out}: {n_frames} frames, {n_events:,} simulated events")
