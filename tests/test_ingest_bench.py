"""`bench --ingest` on little data: every number is there, and all readers decode the same events."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from app import ingesting, throughput
from app.cli import main
from app.throughput import SENSOR, bare_reading, moving_edges, packets_of, reading, write_recording
from streams.dv_child.bare import digest
from streams.types import InputError


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("EVENTS", 30_000), ("IMAGE_EVENTS", 20_000), ("SLOW_EVENTS", 5000), ("ROUNDS", 1),
                        ("IMAGE_ROUNDS", 1), ("LIVE_S", 0.5), ("LIVE_HZ", 1e5)):
        monkeypatch.setattr(ingesting, name, value)


@pytest.mark.usefixtures("little")
def test_every_number_is_measured_and_the_readers_agree(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["bench", "--ingest", "--json", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    line = json.loads(result.stdout.splitlines()[-1])
    assert (line["type"], line["broken"], line["n_events"]) == ("ingest", [], 30_000)
    assert line["isolated_decode_mev_s"] > 0
    assert {"noise", "hot"} <= set(line["record_filtered_mev_s"])
    assert all(rate > 0 for rate in line["record_filtered_mev_s"].values())
    assert {"dv_processing", "aedat"} <= set(line["peers"])
    assert {"evt2", "evt3", "dat", "es", "csv", "npy"} <= set(line["files"])
    assert all(row["n_events"] == 5000 and row["mev_s"] > 0 for row in line["files"].values())
    assert all(rate > 0 for rate in line["event_images"].values())
    assert line["event_image_mev_s"] == {name: line["event_images"][f"{name} ON wins"] for name in ("numpy", "torch")}
    assert 0 < line["live"]["p50_ms"] <= line["live"]["p95_ms"] <= line["live"]["max_ms"]
    assert {"commit", "machine", "cores", "versions"} <= set(line)
    assert json.loads((tmp_path / "ingest.json").read_text()) == line
    assert "isolated child" in (tmp_path / "ingest.md").read_text()


@pytest.mark.usefixtures("little")
def test_a_library_that_is_missing_or_decodes_other_events_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def reader(library: str, path: Path, rounds: int) -> tuple[float, list[int]]:
        if library == "faery":
            raise InputError("faery did not read the file (No module named 'faery')")
        return 1.0, [30_000, 17 if library == "aedat" else throughput.reading(path, 1)[2][1]]

    monkeypatch.setattr(throughput, "bare_reading", reader)
    monkeypatch.setattr(throughput, "other_formats", dict)
    monkeypatch.setattr(throughput, "live_delays", lambda *_: dict.fromkeys(
        ("rate_mev_s", "seconds", "window_ms", "p50_ms", "p95_ms", "max_ms", "windows_skipped", "n_dropped"), 1))
    result = CliRunner().invoke(main, ["bench", "--ingest", "--json"])
    line = json.loads(result.stdout.splitlines()[-1])
    assert result.exit_code == 1
    assert line["broken"] == ["aedat decodes other events than we do"]
    assert "aedat decodes other events than we do; this is a defect of ours" in result.stderr
    assert "faery is skipped: faery did not read the file" in result.stderr


def test_a_digest_changes_with_any_event_and_any_order(tmp_path: Path) -> None:
    events = moving_edges(1000, SENSOR)
    columns = [events[name] for name in "txyp"]
    whole = digest(iter([tuple(columns)]))
    assert digest(iter([tuple(c[:300] for c in columns), tuple(c[300:] for c in columns)])) == whole
    for name in "txyp":
        other = events.copy()
        other[name][500] = not other[name][500] if name == "p" else other[name][500] + 1
        assert digest(iter([tuple(other[key] for key in "txyp")])) != whole
    swapped = events[[1, 0, *range(2, 1000)]]
    assert digest(iter([tuple(swapped[name] for name in "txyp")])) != whole
    path = tmp_path / "a.aedat4"
    write_recording(path, events)
    assert reading(path, 1)[2] == bare_reading("dv_processing", path, 1)[1] == whole


def test_edges_are_sorted_inside_and_at_the_rate() -> None:
    events = moving_edges(5000, SENSOR, rate_hz=1e6)
    assert SENSOR.contains(events)
    assert np.all(np.diff(events["t"]) >= 0)
    assert 4000 < events["t"][-1] < 5000
    assert sum(len(packet) for packet in packets_of(events)) == 5000


def test_a_library_that_does_not_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dv_processing did not read the file") as caught:
        bare_reading("dv_processing", tmp_path / "no.aedat4", 1)
    assert "\n" not in str(caught.value)
