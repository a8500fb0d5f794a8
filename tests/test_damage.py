"""Recordings that are cut off or damaged, in every format."""

from __future__ import annotations

import sys
from pathlib import Path

import damages
import numpy as np
import pytest
import standin_child
from click.testing import CliRunner
from reading import SENSOR, put, random_events, split
from test_dv_camera import STANDIN, children, wait_until
from toy_sources import ListSource, imu_at, triggers_at
from written import FORMATS, write

from app.cli import main
from streams.aedat4 import TABLE_PLACE, VERSION_LINE
from streams.geometry import Extent
from streams.recorder import Recorder
from streams.sources import hdf5, open_source
from streams.summary import summarize
from streams.types import Events, InputError, SourceInfo


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("hdf5", "npy", "csv")])
def test_a_recording_that_is_cut_off_gives_what_is_there_and_says_so(name: str, tmp_path: Path) -> None:
    events = random_events()
    path = write(name, tmp_path, events)
    content = path.read_bytes()
    # Never at the end of a record: their lengths are 2, 4, 5 and 8 bytes.
    cut = len(content) * 2 // 3
    cut += 1 if name != "nmnist" else 3 - cut % 5
    while (cut - len(content)) % 2 == 0 or (cut - len(content)) % 5 == 0:
        cut += 1
    path.write_bytes(content[:cut])
    with open_source(str(path), reconstruct_frames=False) as source:
        found, _ = split(source)
        assert "cut off" in (source.losses.damage or "")
        summary = summarize(source)
    assert summary.damage
    assert len(events) // 2 < len(found) < len(events)
    np.testing.assert_array_equal(found, events[:len(found)])


@pytest.mark.parametrize("name", damages.FORMATS)
def test_damage_gives_one_sentence_or_valid_packets(name: str, tmp_path: Path) -> None:
    """Variants of tests/fuzz.py; fewer of those formats that take a child process for every one."""
    base = damages.bases_of(name, tmp_path, real=False)[0]
    truth, n_opened = damages.truth_of(base.path), 0
    seeds = range(1, 31, {"aedat4": 6, "hdf5": 3}.get(name, 1))
    for seed in seeds:
        path = damages.damaged_copy(base, seed, tmp_path)
        outcome = damages.outcome_of(path, truth, seed)
        n_opened += not outcome.refused
        assert outcome.defect is None, seed
        assert outcome.told or outcome.n_exact == truth.n or damages.silent_is_fine(base, path, seed), seed
    assert n_opened > 0


def test_damage_is_made_by_its_number_and_is_of_every_kind() -> None:
    content = np.random.default_rng(0).bytes(5000)
    variants = [damages.damaged(content, seed) for seed in range(30)]
    assert variants == [damages.damaged(content, seed) for seed in range(30)]
    assert sum(variant != content for variant in variants) >= 28
    for kind in range(5):
        lengths = {len(variant) for variant in variants[kind::5]}
        same = {"flipped bits": True, "zeros": True, "cut off": False}.get(damages.KINDS[kind])
        assert same is None or (lengths == {len(content)}) == same


def test_an_invalid_source_is_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = damages.bases_of("dat", tmp_path, real=False)[0]
    truth = damages.truth_of(base.path)
    assert damages.outcome_of(base.path, truth, 0).n_exact == truth.n == 2000
    wrong = random_events(100)
    for name, place, value, sentence in (("t", 50, 0, "time goes back"), ("x", 3, 240, "outside the sensor")):
        packet = wrong.copy()
        packet[name][place] = value
        source = ListSource([packet], SourceInfo("a", SENSOR, None))
        monkeypatch.setattr(damages, "open_leniently", lambda path, sensors, source=source: source)
        assert sentence in (damages.outcome_of(base.path, truth, 1).defect or "")
    monkeypatch.setattr(damages, "open_leniently", lambda path, sensors: 1 // 0)
    assert damages.outcome_of(base.path, truth, 1).defect == "ZeroDivisionError: integer division or modulo by zero"


@pytest.mark.parametrize("harm", ["header", "count", "hole"])
def test_aedat3_goes_on_behind_the_damage(harm: str, tmp_path: Path) -> None:
    events = random_events()
    content = bytearray(write("aedat3", tmp_path, events).read_bytes())
    # The eleventh packet of a hundred events.
    begin = content.index(b"!END-HEADER\r\n") + 13 + 10 * (28 + 800)
    if harm == "hole":
        del content[begin + 100:begin + 400]
    else:
        # The type, or the two highest bytes of capacity and number of events.
        for place in range(begin, begin + 6) if harm == "header" else (begin + 19, begin + 23):
            content[place] = 0xFF if harm == "header" else 1
    with open_source(str(put(tmp_path, "h.aedat", bytes(content))), reconstruct_frames=False) as source:
        found, _ = split(source)
        assert "is damaged" in (source.losses.damage or "")
    lost = {"header": 100, "count": 0, "hole": 200}[harm]
    assert len(events) - lost <= len(found) + source.losses.n_rejected + source.losses.n_clamped <= len(events) + 100
    np.testing.assert_array_equal(found[:1000], events[:1000])
    np.testing.assert_array_equal(found[["x", "y", "p"]][-1800:], events[["x", "y", "p"]][-1800:])
    # Foreign times in between look like a clock that was set.
    np.testing.assert_array_equal(np.diff(found["t"][-1800:]), np.diff(events["t"][-1800:]))


def sensed(path: Path) -> tuple[Events, dict[str, np.ndarray]]:
    """A recording of 60,000 events in thirty packets, with as many batches of IMU samples and triggers among them, from
    before the first event until after the last one."""
    events = random_events(60_000, start_us=1_000_000)
    step_us = 1_500_000 // 30
    imu, triggers = [], []
    with Recorder(path, SENSOR, None, "camera", None, compression="lz4", sensors=True) as recorder:
        for number in range(30):
            begin_us = 1_000_000 + (number - 1 if number == 0 else number + (number == 29)) * step_us
            imu.append(imu_at(range(begin_us, begin_us + step_us, 1000)))
            triggers.append(triggers_at(range(begin_us + 7, begin_us + step_us, 10_000)))
            recorder.write(imu[-1])
            recorder.write(events[number * 2000:(number + 1) * 2000])
            recorder.write(triggers[-1])
    return events, {samples[0].kind: np.concatenate([batch.data for batch in samples]) for samples in (imu, triggers)}


def heard_of(path: Path) -> tuple[Events, dict[str, np.ndarray], str | None]:
    found: dict[str, list[np.ndarray]] = {"imu": [], "triggers": []}
    with open_source(str(path), reconstruct_frames=False,
                     sensors=lambda batch: found[batch.kind].append(batch.data)) as source:
        events, _ = split(source)
        assert source.info.samples == ("imu", "triggers")
        return events, {kind: np.concatenate(batches) for kind, batches in found.items()}, source.losses.damage


@pytest.mark.parametrize("harm", ["cut off", "zeros"])
def test_samples_before_the_damage_come_as_events_do(harm: str, tmp_path: Path) -> None:
    """Cut off: dv-processing refuses it at once; zeros hang it in the middle for the 2 s of the watchdog, and what
    follows is salvaged."""
    path = tmp_path / "a.aedat4"
    events, samples = sensed(path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if harm == "cut off":
        del content[middle:]
    else:
        content[middle:middle + 5000] = bytes(5000)
    path.write_bytes(content)
    found, heard, damage = heard_of(path)
    assert "is damaged" in (damage or "")
    assert len(events) * 0.3 < len(found) < len(events) * 0.7
    np.testing.assert_array_equal(found, events[:len(found)])
    for kind, truth in samples.items():
        share = len(heard[kind]) / len(truth)
        assert abs(share - len(found) / len(events)) < 0.08, kind
        np.testing.assert_array_equal(heard[kind], truth[:len(heard[kind])])
    if harm == "zeros":
        return
    said = CliRunner().invoke(main, ["info", str(path)])
    assert f"IMU: {len(heard['imu']):,} samples; triggers: {len(heard['triggers'])}" in said.output
    # Also those before the first event, where the recording begins as far as that can be known.
    said = CliRunner().invoke(main, ["convert", str(path), str(tmp_path / "b.aedat4")])
    assert f"{sum(map(len, heard.values())):,} samples of the IMU and triggers" in said.stderr, said.stderr


def test_a_recording_without_a_table_is_converted_with_the_samples_before_and_after_its_events(tmp_path: Path) -> None:
    path, out = tmp_path / "a.aedat4", tmp_path / "b.aedat4"
    events, samples = sensed(path)
    content = bytearray(path.read_bytes())
    at = len(VERSION_LINE) + TABLE_PLACE
    del content[int.from_bytes(content[at:at + 8], "little"):]
    content[at:at + 8] = (-1).to_bytes(8, "little", signed=True)
    path.write_bytes(content)  # as a recorder leaves it that was killed
    total = sum(map(len, samples.values()))
    said = CliRunner().invoke(main, ["convert", str(path), str(out)])
    assert f"{total:,} samples of the IMU and triggers" in said.stderr, said.stderr
    found, heard, _ = heard_of(out)
    np.testing.assert_array_equal(found, events)
    for kind, truth in samples.items():
        np.testing.assert_array_equal(heard[kind], truth)
    # A part begins and ends where it is said, the whole beginning and the whole end are the recording's.
    with open_source(str(path)) as source:
        first_us = source.info.start_us or 0
    said = CliRunner().invoke(main, ["convert", str(path), str(out), "--range", "0..0.5", "--overwrite"])
    assert said.exit_code == 0, said.stderr
    _, heard, _ = heard_of(out)
    for kind, truth in samples.items():
        np.testing.assert_array_equal(heard[kind], truth[truth["t"] < first_us + 500_000])
    said = CliRunner().invoke(main, ["convert", str(path), str(out), "--range", "0.5..", "--overwrite"])
    assert said.exit_code == 0, said.stderr
    _, heard, _ = heard_of(out)
    for kind, truth in samples.items():
        np.testing.assert_array_equal(heard[kind], truth[truth["t"] >= first_us + 500_000])


def test_foreign_coordinates_do_not_make_a_giant_sensor(tmp_path: Path) -> None:
    """Found by the fuzz: pictures of 14 M pixels were made for a recording of 100 x 80 of which a part was shifted."""
    rng = np.random.default_rng(1)
    events = random_events(2000)
    events["x"] %= 100
    events["y"] %= 80
    events["x"][900:1200], events["y"][900:1200] = rng.integers(0, 4000, (2, 300))
    extent = Extent()
    extent.add(events)
    size = extent.resolution()
    assert size is not None
    assert size.width <= 1280
    assert size.height <= 800
    # A large sensor that nobody knows, filled evenly or with most of what happens in one part of it, stays large.
    for power in (1, 3):
        extent = Extent()
        extent.add_coordinates(*((2000 * rng.random((2, 20_000)) ** power).astype(np.int64)))
        size = extent.resolution()
        assert size is not None
        assert min(size.width, size.height) > 1900


@pytest.mark.parametrize("mode", ["hang", "crash", "lie"])
def test_an_hdf5_library_that_fails_takes_nothing_down(mode: str, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "PROGRAM", [sys.executable, STANDIN, mode])
    with open_source(str(put(tmp_path, "a.h5", hdf5.MAGIC))) as source:
        found, _ = split(source)
        assert len(found) == 3 * standin_child.EVENTS_PER_PACKET
        assert "a.h5 is damaged" in (source.losses.damage or "")
    wait_until(lambda: not children())


@pytest.mark.parametrize("mode", ["babble", "hang-open"])
def test_an_hdf5_library_that_cannot_open_is_one_sentence(mode: str, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "PROGRAM", [sys.executable, STANDIN, mode])
    with pytest.raises(InputError, match="cannot be read as events") as caught:
        open_source(str(put(tmp_path, "a.h5", hdf5.MAGIC)))
    assert "\n" not in str(caught.value)
    wait_until(lambda: not children())
