"""AEDAT4 recordings: the Source contract, real files, and every way a file can be bad."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_dv_camera import children, wait_until
from test_recorder import SENSOR, random_events, random_frames, record, split

from streams.sources import aedat4
from streams.sources.aedat4 import open_source
from streams.summary import RecordingSummary
from streams.summary import summarize as summarize_source
from streams.types import Frame, InputError, Losses, Resolution, events_from_columns
from streams.validation import Validator

REAL = Path(__file__).resolve().parents[2] / "shared" / "recordings"
MAGIC = b"#!AER-DAT4.0\r\n"


def summarize(path: str) -> RecordingSummary:
    with open_source(path, reconstruct_frames=False) as source:
        return summarize_source(source)


@pytest.fixture(autouse=True)
def _leaves_no_process_behind():
    yield
    wait_until(lambda: not children())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """(path, events, frames) of one recording with both streams."""
    path = tmp_path_factory.mktemp("recorded") / "a.aedat4"
    events, frames = random_events(20_000), random_frames(6)
    record(path, events, frames)
    return str(path), events, frames


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """(path, events) of one recording large enough to be cut and damaged in the middle."""
    path = tmp_path_factory.mktemp("large") / "a.aedat4"
    events = random_events(60_000)
    record(path, events, packet=2000, compression="lz4")
    return path, events


def test_recognised_by_content(recorded, tmp_path):
    path = Path(recorded[0])
    assert aedat4.matches(path, path.read_bytes()[:64])
    assert not aedat4.matches(tmp_path / "text.aedat4", b"hello")
    assert not aedat4.matches(tmp_path / "old.aedat4", b"#!AER-DAT2.0\r\n")


def test_info_consumes_nothing_and_close_twice(recorded):
    path, events, frames = recorded
    source = open_source(path)
    assert source.info == source.info
    assert source.info.name == "a.aedat4"
    assert not source.info.live
    assert source.info.start_us == events["t"][0]
    assert source.info.start_us + source.info.duration_us == events["t"][-1]
    assert source.rate_histogram(3).shape == (3,)
    read_events, read_frames = split(source)
    assert (len(read_events), len(read_frames)) == (len(events), len(frames))
    assert source.losses == Losses()
    source.close()
    source.close()
    assert list(source) == []


def test_packets_and_frames_come_in_time_order_and_in_bounds(recorded):
    last_us = 0
    with open_source(recorded[0]) as source:
        for item in source:
            first_us = item.t_us if isinstance(item, Frame) else item["t"][0]
            assert first_us >= last_us
            if not isinstance(item, Frame):
                assert item["t"].dtype == np.int64
                assert np.all(np.diff(item["t"]) >= 0)
                assert SENSOR.contains(item)
                first_us = item["t"][-1]
            last_us = first_us


def test_iterating_again_reads_on(recorded):
    path, events, _ = recorded
    with open_source(path) as source:
        first = next(iter(source))
        rest, _ = split(source)
        assert len(first) + len(rest) == len(events)
        assert list(source) == []


@pytest.mark.parametrize("place", [0.0, 0.31, 0.5, 1.0])
def test_seek_finds_the_first_event_at_or_after(recorded, place):
    path, events, frames = recorded
    t_us = int(events["t"][int(place * (len(events) - 1))])
    with open_source(path) as source:
        next(source)
        source.seek(t_us)
        read_events, read_frames = split(source)
        assert np.array_equal(read_events, events[events["t"] >= t_us])
        assert [f.t_us for f in read_frames] == [f.t_us for f in frames if f.t_us >= t_us]


def test_seek_works_inside_a_loop_before_the_start_and_after_the_end(recorded):
    path, events, _ = recorded
    with open_source(path) as source:
        seen = []
        for item in source:
            if not isinstance(item, Frame):
                seen.append(item)
            if len(seen) == 3:
                source.seek(0)
                break
        assert len(split(source)[0]) == len(events)
        source.seek(int(events["t"][-1]) + 1)
        assert len(split(source)[0]) == 0
        source.seek(int(events["t"][-1]))
        assert len(split(source)[0]) == np.count_nonzero(events["t"] == events["t"][-1])


@pytest.mark.parametrize("bins", [1, 7, 100])
def test_rate_histogram_sums_to_the_count(recorded, bins):
    path, events, _ = recorded
    with open_source(path) as source:
        rates = source.rate_histogram(bins)
        seconds = source.info.duration_us * 1e-6 / bins
        assert rates.dtype == np.float64
        assert (rates * seconds).sum() == pytest.approx(len(events))
        expected, _ = np.histogram(events["t"], bins)
        assert np.abs(rates * seconds - expected).max() <= 2
        with pytest.raises(ValueError, match="at least one"):
            source.rate_histogram(0)


def test_summary(recorded):
    path, events, frames = recorded
    summary = summarize(path)
    assert (summary.format, summary.sensor, summary.damage, summary.n_rejected) == ("aedat4", "Parafovea", None, 0)
    assert (summary.n_events, summary.n_frames) == (len(events), len(frames))
    assert (summary.start_us, summary.end_us) == (events["t"][0], events["t"][-1])
    assert (summary.events_origin, summary.frames_origin) == ("simulated", "rendered")


def test_frames_are_reconstructed_when_there_are_none(large):
    path, events = large
    with open_source(str(path)) as source:
        assert source.info.frames_origin == "reconstructed"
        assert source.info.frame_resolution == SENSOR
        read_events, frames = split(source)
        assert np.array_equal(read_events, events)
        assert [f.t_us for f in frames] == list(range(5_050_000, int(events["t"][-1]) + 1, 50_000))
        assert all(f.image.shape == (*SENSOR.hw, 3) and f.image.std() > 5 for f in frames)
        assert all(np.array_equal(f.image[..., 0], f.image[..., 2]) for f in frames)
        source.seek(5_120_000)
        again = split(source)[1]
        assert [f.t_us for f in again] == [f.t_us for f in frames if f.t_us >= 5_120_000]
        assert np.array_equal(again[0].image, frames[2].image)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real recordings are not here")
def test_real_recordings():
    described = {entry["file"]: entry for entry in json.loads((REAL / "manifest.json").read_text())}
    found = sorted(REAL.glob("*.aedat4"))
    assert found
    for path in found:
        expected, summary = described[path.name], summarize(str(path))
        assert summary.n_events == expected["events"]
        assert summary.n_frames == expected["frames"]
        assert summary.sensor == expected["camera"]
        assert summary.event_resolution == Resolution(*expected["resolution"])
        assert (summary.events_origin, summary.n_rejected, summary.damage) == ("camera", 0, None)
        with open_source(str(path)) as source:
            events, frames = split(source)
            assert (events["t"][0], events["t"][-1]) == (expected["t_first"], expected["t_last"])
            assert np.count_nonzero(events["p"]) == expected["on"]
            assert source.info.duration_us >= expected["t_last"] - expected["t_first"]
            assert frames


@pytest.mark.skipif(not REAL.is_dir(), reason="the real recordings are not here")
def test_salvage_reader_agrees_with_dv(recorded):
    for path in [str(REAL / "evlibrary_sample.aedat4"), recorded[0]]:
        heard, salvaged = [], []
        with open_source(path, sensors=heard.append) as by_dv:
            events, frames = split(by_dv)
            info = by_dv.info
        reader = aedat4._Reader(Path(path), reconstruct=False, argv=None, salvaging=True, wants_sensors=True)
        losses = Losses()
        salvaged_events, salvaged_frames = split(reader.read(None, losses, sensors=salvaged.append))
        reader.close()
        assert (losses.n_rejected, by_dv.losses.n_rejected) == (0, 0)
        assert tuple(reader.opened["samples"]) == info.samples
        assert len(heard) == len(salvaged)
        for one, other in zip(heard, salvaged, strict=True):
            assert one.kind == other.kind
            np.testing.assert_array_equal(one.data, other.data)
        assert np.array_equal(events, salvaged_events)
        assert [(f.t_us, f.exposure_us) for f in frames] == [(f.t_us, f.exposure_us) for f in salvaged_frames]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, salvaged_frames, strict=True))
        assert reader.opened["sensor"] == info.sensor
        assert reader.opened["events_origin"] == info.events_origin
        assert reader.opened["frames_origin"] == info.frames_origin


def bad_files(folder):
    (folder / "empty.aedat4").write_bytes(b"")
    (folder / "text.aedat4").write_text("t,x,y,p\n1,2,3,1\n")
    (folder / "header.aedat4").write_bytes(MAGIC)
    (folder / "garbage.aedat4").write_bytes(MAGIC + bytes(range(256)) * 40)
    (folder / "folder.aedat4").mkdir()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing.aedat4", "does not exist"),
        ("folder.aedat4", "is a folder"),
        ("empty.aedat4", "is empty"),
        ("text.aedat4", "not an AEDAT4"),
        ("header.aedat4", "nothing in it can be read"),
        ("garbage.aedat4", "nothing in it can be read"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, name, sentence):
    bad_files(tmp_path)
    for use in (open_source, summarize):
        with pytest.raises(InputError, match=sentence) as caught:
            use(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_wrong_suffix_says_so(recorded, tmp_path):
    (tmp_path / "a.bin").write_bytes(Path(recorded[0]).read_bytes())
    with pytest.raises(InputError, match="rename"):
        open_source(str(tmp_path / "a.bin"))


def test_cut_in_the_middle_delivers_what_comes_before(large, tmp_path):
    path, events = large
    data = path.read_bytes()
    cut = tmp_path / "cut.aedat4"
    cut.write_bytes(data[: len(data) // 2])
    with open_source(str(cut)) as source:
        read_events, frames = split(source)
        assert len(events) * 0.4 < len(read_events) < len(events) * 0.6
        assert np.array_equal(read_events, events[: len(read_events)])
        assert frames
        assert "damaged" in source.losses.damage
        source.seek(int(events["t"][1000]))
        assert len(split(source)[0]) == np.count_nonzero(read_events["t"] >= events["t"][1000])
    summary = summarize(str(cut))
    assert (summary.n_events, summary.end_us) == (len(read_events), read_events["t"][-1])
    assert "damaged" in summary.damage


def test_damage_in_the_middle_ends_in_time_with_what_comes_before(large, tmp_path):
    path, events = large
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 10_000] = bytes(10_000)
    damaged = tmp_path / "damaged.aedat4"
    damaged.write_bytes(data)
    started_s = time.monotonic()
    summary = summarize(str(damaged))
    assert time.monotonic() - started_s < 5
    assert "damaged" in summary.damage
    assert "\n" not in summary.damage
    with open_source(str(damaged), reconstruct_frames=False) as source:
        read_events, _ = split(source)
        assert summary.n_events == len(read_events)
        assert len(events) * 0.3 < len(read_events) < len(events)
        assert np.array_equal(read_events, events[: len(read_events)])
        # Once it is known that the decoder hangs here, nobody waits for it again.
        started_s = time.monotonic()
        source.seek(0)
        assert len(split(source)[0]) == len(read_events)
        assert source.rate_histogram(5).sum() > 0
        assert time.monotonic() - started_s < 2


def test_the_parent_stays_clean(large, tmp_path):
    data = large[0].read_bytes()
    (tmp_path / "cut.aedat4").write_bytes(data[: len(data) // 2])
    program = (
        "import sys; from streams.sources.aedat4 import open_source; from streams.summary import summarize;"
        "print(summarize(open_source(sys.argv[1])).n_events);"
        "assert not {'dv_processing', 'aedat', 'torch'} & set(sys.modules)"
    )
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", program, str(tmp_path / "cut.aedat4")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 0
    assert done.stderr == ""


def test_a_killed_parent_takes_its_child_along(recorded):
    program = (
        "import sys, time; from streams.sources.aedat4 import open_source; s = open_source(sys.argv[1]); next(s);"
        "print(s._reader._child._process.pid, flush=True); time.sleep(60)"
    )
    root = Path(__file__).resolve().parents[1]
    parent = subprocess.Popen([sys.executable, "-c", program, recorded[0]], cwd=root, stdout=subprocess.PIPE)
    with parent:
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_text())


def packet(*times, x=1):
    return events_from_columns(np.array(times, np.int64), x, 1, True)


@pytest.mark.parametrize(
    ("packets", "kept"),
    [
        ([packet(10, 20, 20, 30)], [10, 20, 20, 30]),
        ([packet(10, 20), packet(20, 30)], [10, 20, 20, 30]),
        ([packet(10, 20, 900, 30, 40)], [10, 20, 30, 40]),
        ([packet(10, 20, 5, 30, 40)], [10, 20, 30, 40]),
        ([packet(10, 20), packet(5, 19, 20)], [10, 20, 20]),
        ([packet(10, 20), packet(21 + 3600 * 10**6, 30)], [10, 20, 30]),
        ([packet(1 << 62, 20, 30)], [20, 30]),
        ([packet(-(1 << 63), 20, (1 << 63) - 1)], [20]),
        ([packet(10, x=SENSOR.width), packet(20)], [20]),
        ([packet()], []),
    ],
)
def test_validation_refuses_as_little_as_possible(packets, kept):
    losses = Losses()
    validator = Validator(SENSOR, losses)
    passed = [validator.events(given) for given in packets]
    assert np.concatenate(passed)["t"].tolist() == kept
    assert losses.n_rejected == sum(map(len, packets)) - len(kept)


def test_validation_makes_polarity_a_true_bool():
    given = packet(10, 20)
    given.view(np.uint8).reshape(2, 16)[:, 12] = (0, 2)
    assert Validator(SENSOR, Losses()).events(given)["p"].view(np.uint8).tolist() == [0, 1]
