"""What `info --deep` tells of recordings whose answers are known, and that opening says how far it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from reading import random_events
from written import write

from app import terminal
from app.cli import main
from app.compose import bundled_recording
from streams.inspection import Inspection
from streams.opening import watched
from streams.sources import open_source
from streams.types import Events, Frame, Resolution, SourceInfo, events_from_columns

SENSOR = Resolution(8, 6)


def info(duration_us: int) -> SourceInfo:
    return SourceInfo("known", SENSOR, SENSOR, start_us=1_000_000, duration_us=duration_us, frames_origin="camera")


def events(t: list[int], x: int | list[int] = 1, y: int | list[int] = 2, p: int | list[int] = 1) -> Events:
    n = len(t)
    return events_from_columns(1_000_000 + np.array(t), *(np.broadcast_to(column, n) for column in (x, y, p)))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_known_numbers_however_it_is_cut(size: int) -> None:
    # 100 events in the first 10 ms, one every 20 ms in the second second, nothing between.
    quick, slow = [100 * at for at in range(100)], [1_000_000 + 20_000 * at for at in range(50)]
    given = events(quick + slow, [1] * 100 + [3, 4] * 25, [2] * 100 + [4] * 50, [1] * 100 + [0] * 50)
    inspection = Inspection(info(1_999_999))
    for begin in range(0, len(given), size):
        inspection.add(given[begin:begin + size])
    found = inspection.found()
    assert found.mean_hz == pytest.approx(75)
    assert (found.peak_10ms_hz, found.peak_10ms_at_s) == (10_000, 0)
    assert (found.peak_1s_hz, found.peak_1s_at_s) == (100, 0)
    assert found.n_silences == 1
    assert found.longest_silence_s == pytest.approx(1 - 0.0099)
    assert found.longest_silence_at_s == pytest.approx(0.0099)
    assert found.on_share == pytest.approx(2 / 3)
    assert (found.x, found.y, found.fired_share) == ((1, 4), (2, 4), 3 / 48)
    # Two pixels side by side may both be hot: the rule looks at all but one of those around.
    assert (found.n_hot, found.hot) == (3, [(1, 2, 100), (3, 4, 25), (4, 4, 25)])
    assert found.hot_share == 1
    assert len(found.rates_hz) == 60
    assert found.frame_interval_s is None
    assert sum(found.rates_hz) > 0
    assert found.rates_hz[20] == 0


def test_frames_and_nothing() -> None:
    inspection = Inspection(info(1_000_000))
    for at_us, exposure_us in ((1_010_000, 1000), (1_050_000, 2000), (1_110_000, 6000)):
        inspection.add(Frame(at_us, exposure_us, np.zeros((6, 8, 3), np.uint8)))
    found = inspection.found()
    assert found.to_json()["frame_interval_s"] == pytest.approx([0.04, 0.05, 0.06])
    assert found.to_json()["exposure_s"] == pytest.approx([0.001, 0.003, 0.006])
    assert (found.mean_hz, found.peak_10ms_hz, found.on_share, found.hot) == (0, None, None, [])
    json.dumps(found.to_json(), allow_nan=False)


def test_a_year_of_two_events_needs_little_memory() -> None:
    year_us = 365 * 86_400_000_000
    inspection = Inspection(info(year_us))
    inspection.add(events([0, year_us]))
    found = inspection.found()
    assert found.longest_silence_s == pytest.approx(year_us * 1e-6)
    assert len(inspection._counts) <= 5_000_000


def test_info_deep_says_and_prints_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["info", str(bundled_recording()), "--deep", "--json"])
    line = json.loads(result.stdout)
    with open_source(str(bundled_recording())) as source:
        packets = [item for item in source if not isinstance(item, Frame)]
    on_share = np.mean(np.concatenate(packets)["p"])
    assert line["deep"]["on_share"] == pytest.approx(on_share)
    assert line["deep"]["frame_interval_s"][1] == pytest.approx(0.1, rel=0.01)
    said = CliRunner().invoke(main, ["info", str(write("evt3", tmp_path, random_events())), "--deep"]).stdout
    for words in ("█", "peak", "silences", "% ON", "of the sensor fired", "hot pixels: 0"):
        assert words in said
    assert "frames:" in said
    assert "exposure" not in said


def test_sparkline() -> None:
    assert terminal.sparkline([0, 0.001, 4, 8]) == " ▁▄█"
    assert terminal.sparkline([0, 0]) == "  "
    assert terminal.sparkline([]) == ""


@pytest.mark.parametrize("name", ["evt2", "evt21", "evt3", "dat", "nmnist", "es", "csv", "aedat2", "aedat3", "bag"])
def test_opening_tells_how_far_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.recording.CHUNK_RECORDS", 500)
    monkeypatch.setattr("streams.sources.es.CHUNK_BYTES", 3000)
    monkeypatch.setattr("streams.sources.csv.CHUNK_BYTES", 3000)
    path = write(name, tmp_path, random_events())
    shares: list[float | None] = []
    with watched(shares.append):
        source = open_source(str(path))
    with source:
        known = [share for share in shares if share is not None]
        assert len(known) >= 5
        # Some formats look at the head again first.
        last = known[-known[::-1].index(min(known)) - 1:]
        assert last == sorted(last)
        assert last[0] < 0.3
        assert 0.6 < last[-1] <= 1
        n_told = len(shares)
        list(source)
        assert len(shares) == n_told
