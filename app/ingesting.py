"""`bench --ingest`: how fast events come in on this machine, beside dv-processing, aedat and faery on the same file."""

from __future__ import annotations

import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from app import report, terminal, throughput
from app.benching import BenchOptions, hand_over, say_skipped, show
from app.compose import quiet_libraries
from app.measuring import provenance
from app.throughput import SENSOR
from streams.types import Events, InputError

EVENTS, IMAGE_EVENTS, SLOW_EVENTS = 4_000_000, 1_000_000, 500_000
"""In the AEDAT4 recording, in one picture, and in recordings of other formats."""
ROUNDS, IMAGE_ROUNDS = 5, 20
LIVE_HZ, LIVE_S, LIVE_WINDOW_US = 1e6, 10.0, 33_333
FAERY_READS = ("evt2", "evt3", "dat", "es")
LIBRARIES = {"dv_processing": "dv-processing", "aedat": "aedat", "faery": "faery"}
RECORDED_WITH = ("noise", "hot", "refractory:1", "roi:0,0,320,240")
"""Filters that a recording is also made through."""
IMAGE = "ON wins"
"""The event image that the aims are about."""
AIMS = {"isolated_decode_mev_s": 13, "numpy": 130, "torch": 300}
"""M events/s that this project wants to reach on two cores."""


def bench_ingest(options: BenchOptions) -> None:
    """Measure reading, drawing and live delay on recordings that are made for it and removed again."""
    quiet_libraries()
    report.prepare(options.out)
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="parafovea-") as folder, terminal.people.status("") as status:
        line: dict[str, Any] = {"type": "ingest", "resolution": [SENSOR.width, SENSOR.height], "n_events": EVENTS}
        status.update("AEDAT4")
        line |= _aedat4(Path(folder) / "events.aedat4", skipped)
        status.update("other formats")
        line["files"] = _files(Path(folder), skipped)
        line["broken"] += [f"faery decodes other events than we do from {name}" for name, row in line["files"].items()
                           if not row.get("equal", True)]
        status.update("event images")
        line |= _images()
        status.update("live")
        line["live"] = throughput.live_delays(LIVE_HZ, LIVE_S, LIVE_WINDOW_US, _shown)
    facts = provenance() | {"versions": _versions()}
    line |= {"skipped": skipped, **facts}
    tables = [_rates(line), _formats(line), _live(line)]
    show(tables, options.as_json)
    (terminal.people if options.as_json else terminal.page).print(
        ", ".join(f"{name} {value}" for name, value in (facts | facts["versions"]).items() if name != "versions"))
    say_skipped(skipped)
    hand_over(options, line, tables, report.write_ingest, "ingest")


def _aedat4(path: Path, skipped: dict[str, str]) -> dict[str, Any]:
    """Write, and read through the isolated child and with the libraries by themselves, in turn."""
    events = throughput.moving_edges(EVENTS, SENSOR)
    filtered = {spec: _mev(EVENTS / throughput.write_recording(path, events, spec)) for spec in RECORDED_WITH}
    recorded = EVENTS / throughput.write_recording(path, events)
    opened_s, seconds, digest = throughput.reading(path, ROUNDS)
    rates, unequal = {"ours": EVENTS / seconds}, []
    for _ in range(2):
        for library in LIBRARIES:
            try:
                seconds, theirs = throughput.bare_reading(library, path, ROUNDS)
            except InputError as error:
                skipped[library] = str(error)
                continue
            rates[library] = max(rates.get(library, 0.0), EVENTS / seconds)
            if theirs != digest:
                unequal.append(f"{library} decodes other events than we do")
        rates["ours"] = max(rates["ours"], EVENTS / throughput.reading(path, ROUNDS)[1])
    return {"bytes_per_event": round(path.stat().st_size / EVENTS, 2), "record_mev_s": _mev(recorded),
            "record_filtered_mev_s": filtered,
            "open_s": round(opened_s, 3), "isolated_decode_mev_s": _mev(rates.pop("ours")),
            "peers": {library: _mev(rate) for library, rate in rates.items()}, "broken": sorted(set(unequal))}


def _files(folder: Path, skipped: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Each other format that we can write: rates of our reader and of faery, where it reads the very same events."""
    events, rows = throughput.moving_edges(SLOW_EVENTS, SENSOR), {}
    for name, suffix in throughput.other_formats().items():
        path = folder / f"{name}{suffix}"
        try:
            throughput.write_format(name, path, events)
        except InputError as error:
            skipped[name] = str(error)
            continue
        opened_s, seconds, digest = throughput.reading(path, ROUNDS)
        row = {"mev_s": _mev(SLOW_EVENTS / seconds), "open_s": round(opened_s, 3), "n_events": digest[0],
               "bytes_per_event": round(path.stat().st_size / SLOW_EVENTS, 2), "faery_mev_s": None}
        if name in FAERY_READS:
            try:
                seconds, theirs = throughput.bare_reading("faery", path, ROUNDS)
                row |= {"faery_mev_s": _mev(SLOW_EVENTS / seconds), "equal": theirs == digest}
            except InputError as error:
                skipped["faery"] = str(error)
        rows[name] = row
    return rows


def _images() -> dict[str, Any]:
    """Rate of each way of drawing events; of numpy and torch that of the image that EventGPT is trained on."""
    events = throughput.moving_edges(IMAGE_EVENTS, SENSOR)
    rates = {name: _mev(IMAGE_EVENTS / throughput.best_of(IMAGE_ROUNDS, lambda draw=draw: draw(events)))
             for name, draw in throughput.images().items()}
    return {"event_image_mev_s": {library: rates[f"{library} {IMAGE}"] for library in ("numpy", "torch")},
            "event_images": rates}


def _shown(events: Events) -> np.ndarray:
    from streams.representations import polarity_image

    return polarity_image(events, SENSOR)


def _versions() -> dict[str, str]:
    found = {}
    for name in ("dv-processing", "aedat", "faery", "opencv-python"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _mev(rate_hz: float) -> float:
    return round(rate_hz / 1e6, 1)


def _rates(line: dict[str, Any]) -> Table:
    made = Table("", "M events/s", "aim", title=f"{line['n_events'] / 1e6:g} M events at {SENSOR}, AEDAT4 with LZ4, "
                                               f"{line['bytes_per_event']} bytes an event")
    made.add_row("read through the isolated child, validated", f"{line['isolated_decode_mev_s']}",
                 str(AIMS["isolated_decode_mev_s"]))
    for library, rate in line["peers"].items():
        made.add_row(f"{LIBRARIES[library]} by itself", f"{rate}", "")
    made.add_row("recorded", f"{line['record_mev_s']}", "")
    for spec, rate in line["record_filtered_mev_s"].items():
        made.add_row(f"recorded through --filter {spec}", f"{rate}", "")
    for name, rate in line["event_images"].items():
        library, _, kind = name.partition(" ")
        made.add_row(f"image: {name}", f"{rate}", str(AIMS[library]) if kind == IMAGE else "")
    return made


def _formats(line: dict[str, Any]) -> Table:
    made = Table("format", "M events/s", "faery by itself", "ms to open", "bytes an event",
                 title=f"other formats, {SLOW_EVENTS / 1e6:g} M events; opening reads a file once")
    for name, row in line["files"].items():
        faery = "–" if row["faery_mev_s"] is None else f"{row['faery_mev_s']}"
        made.add_row(name, f"{row['mev_s']}", faery, f"{row['open_s'] * 1e3:.0f}", f"{row['bytes_per_event']}")
    return made


def _live(line: dict[str, Any]) -> Table:
    row = line["live"]
    made = Table("M events/s", "p50", "p95", "longest", "windows skipped", "events dropped",
                 title=f"live over tcp://, {row['window_ms']:.0f} ms windows, {row['seconds']:g} s: from the end of a "
                       "window until it is drawn")
    made.add_row(f"{row['rate_mev_s']:g}", *(f"{row[name]} ms" for name in ("p50_ms", "p95_ms", "max_ms")),
                 str(row["windows_skipped"]), str(row["n_dropped"]))
    return made
