"""Converting: events come back exactly through every pair of formats, other readers agree, nothing is half-written."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path

import aedat
import h5py
import hdf5plugin  # noqa: F401  (registers the filters)
import numpy as np
import pytest
from click.testing import CliRunner, Result
from reading import SENSOR, colour_frames, random_events, split
from written import FORMATS as READABLE
from written import write

from app.cli import main
from app.compose import bundled_recording
from streams import targets
from streams.conversion import convert
from streams.cutting import cut, span_of
from streams.placing import placed
from streams.recorder import Recorder
from streams.sources import open_source, open_stored
from streams.targets.content import Facts
from streams.types import TRIGGER_DTYPE, Events, InputError, Resolution, Samples

SUFFIX = {"aedat4": ".aedat4", "csv": ".csv", "dat": ".dat", "es": ".es", "eventgpt": ".npy", "evt2": ".raw",
          "evt3": ".raw", "hdf5": ".h5", "npy": ".npy"}
LATE_US = 51_836_199_776
"""A time as in DSEC: 14 hours, more than the counters of RAW files hold."""


def aedat4(path: Path, events: Events, frames: list = [], origin: str = "camera") -> Path:  # noqa: B006
    with Recorder(path, SENSOR, SENSOR if frames else None, origin, "camera" if frames else None, "Test_1") as recorder:
        for item in sorted([*np.array_split(events, 7), *frames], key=lambda item: (
                item["t"][0] if isinstance(item, np.ndarray) else item.begin_us)):
            recorder.write(item)
    return path


def converted(path: Path, out: Path, name: str | None = None, part: tuple = (None, None)) -> Path:
    with open_stored(str(path)) as source:
        convert(source, out, span_of(source, *part), name, overwrite=True)
    return out


def events_of(path: Path) -> Events:
    with open_stored(str(path)) as source:
        return split(source)[0]


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def test_every_module_is_reached_by_a_suffix() -> None:
    found = {path.stem for path in Path(targets.__file__).parent.glob("*.py")} - {"__init__", "content"}
    assert found == set(targets.NAMES) == set(SUFFIX)


@pytest.mark.parametrize("readable", ["aedat4", *READABLE])
def test_from_every_format_to_every_other_and_back(readable: str, tmp_path: Path) -> None:
    events = random_events(1000)
    path = aedat4(tmp_path / "in.aedat4", events) if readable == "aedat4" else write(readable, tmp_path, events)
    with open_stored(str(path)) as source:
        for name, suffix in SUFFIX.items():
            source.seek(source.info.start_us or 0)
            done = convert(source, tmp_path / f"to-{name}{suffix}", span_of(source), name)
            assert (done.n_events, done.n_frames, done.left_out != []) == (1000, 0, name in ("npy", "eventgpt"))
    for name, suffix in SUFFIX.items():
        found = quickly(tmp_path / f"to-{name}{suffix}")
        for column in "txyp":
            np.testing.assert_array_equal(found[column], events[column], err_msg=name)
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def quickly(path: Path) -> dict[str, np.ndarray]:
    """Events of a file that is sound, without the child process that a foreign one is read in."""
    if path.suffix == ".aedat4":
        packets = [packet["events"] for packet in aedat.Decoder(str(path)) if "events" in packet]
        return {name: np.concatenate([packet[name if name != "p" else "on"] for packet in packets]) for name in "txyp"}
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return {name: file[f"events/{name}"][:] + (file["t_offset"][()] if name == "t" else 0) for name in "txyp"}
    with open_stored(str(path)) as source:
        assert (source.info.event_resolution, source.info.events_origin) == (SENSOR, "camera")
        found = split(source)[0]
        assert (source.losses.n_rejected, source.losses.n_clamped, source.losses.n_restarts) == (0, 0, 0)
        return found


@pytest.mark.parametrize("name", targets.NAMES)
def test_long_silence_late_clocks_and_corners_survive(name: str, tmp_path: Path) -> None:
    events = random_events(500, start_us=LATE_US)
    # A minute of silence, far beyond the 16.8 s of EVT 3.0; four corners at equal times.
    events["t"][250:] += 60_000_000
    events["x"][:4], events["y"][:4] = [0, 239, 0, 239], [0, 0, 179, 179]
    events["t"][:6] = events["t"][0]
    found = events_of(converted(write("npy", tmp_path, events), tmp_path / f"out{SUFFIX[name]}", name))
    kept_us = LATE_US if targets.keeps(name, "clock") else 0
    np.testing.assert_array_equal(found["t"] - kept_us, events["t"] - LATE_US - (0 if kept_us else _start(events)))
    np.testing.assert_array_equal(found[["x", "y", "p"]], events[["x", "y", "p"]])


def _start(events: Events) -> int:
    return int(events["t"][0]) - LATE_US


@pytest.mark.parametrize("name", targets.NAMES)
def test_ranges_are_half_open_and_seconds_from_the_start(name: str, tmp_path: Path) -> None:
    events = random_events(start_us=700_000)
    source = write("dat", tmp_path, events)
    start_us = int(events["t"][0])
    for part, inside in (((0.25, 0.75), (events["t"] >= start_us + 250_000) & (events["t"] < start_us + 750_000)),
                         ((0.75, None), events["t"] >= start_us + 750_000)):
        found = quickly(converted(source, tmp_path / f"out{SUFFIX[name]}", name, part))
        for column in "txyp":
            np.testing.assert_array_equal(found[column], events[inside][column])


def test_frames_origins_and_sensor_are_kept_where_there_is_a_place(tmp_path: Path) -> None:
    out = converted(bundled_recording(), tmp_path / "story.aedat4", part=(1, 1.5))
    with open_source(str(bundled_recording())) as source, open_source(str(out)) as again:
        expected, frames = split(list(cut(source, span_of(source, 1, 1.5))))
        found, again_frames = split(again)
        np.testing.assert_array_equal(found, expected)
        assert [(f.t_us, f.exposure_us) for f in again_frames] == [(f.t_us, f.exposure_us) for f in frames]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(again_frames, frames, strict=True))
        assert len(frames) == 5
        assert (again.info.events_origin, again.info.frames_origin) == ("rendered", "rendered")
        assert again.info.sensor == source.info.sensor
        for name in ("csv", "dat", "evt2", "evt3", "hdf5"):
            again.seek(0)
            convert(again, tmp_path / f"s{SUFFIX[name]}", span_of(again), name, overwrite=True)
            with open_stored(str(tmp_path / f"s{SUFFIX[name]}")) as third:
                assert third.info.events_origin == "rendered", name
                assert third.info.sensor == ("" if name == "csv" else again.info.sensor), name


def test_frames_that_are_made_of_events_are_not_stored(tmp_path: Path) -> None:
    with open_source(str(write("evt3", tmp_path, random_events()))) as source:
        assert source.info.frames_origin == "reconstructed"
        done = convert(source, tmp_path / "o.aedat4", span_of(source))
    assert (done.n_events, done.n_frames, done.left_out) == (3000, 0, [])


def test_what_a_format_does_not_hold_is_said(tmp_path: Path) -> None:
    source = aedat4(tmp_path / "in.aedat4", random_events(start_us=LATE_US), colour_frames([LATE_US + 200_000]),
                    "simulated")
    said = call("convert", source, tmp_path / "o.es").stderr
    assert "frames are left out: Event Stream holds events only" in said
    assert "that the events are simulated is not in it" in said
    assert "µs less than in the recording" in said
    said = call("convert", source, tmp_path / "o.npy").stderr
    assert "the sensor's size 240x180 is not in it" in said
    assert "parafovea:" not in call("convert", source, tmp_path / "o.aedat4").stderr


# Independent readers.

def test_numpy_reads_csv_and_npy(tmp_path: Path) -> None:
    events = random_events()
    source = write("dat", tmp_path, events)
    table = np.loadtxt(converted(source, tmp_path / "o.csv"), np.int64, delimiter=",", skiprows=3)
    array = np.load(converted(source, tmp_path / "o.npy"), mmap_mode="r")
    dictionary = np.load(converted(source, tmp_path / "e.npy", "eventgpt"), allow_pickle=True).item()
    for place, (name, stored) in enumerate((("t", "t_us"), ("x", "x"), ("y", "y"), ("p", "p"))):
        np.testing.assert_array_equal(table[:, place], events[name])
        np.testing.assert_array_equal(array[stored], events[name])
        np.testing.assert_array_equal(dictionary[name], events[name])


def test_h5py_reads_what_dsec_has(tmp_path: Path) -> None:
    events = random_events(5000, start_us=LATE_US)
    with h5py.File(converted(write("npy", tmp_path, events), tmp_path / "o.h5")) as file:
        t = file["events/t"][:]
        assert (t.dtype, file["t_offset"][()]) == (np.uint32, events["t"][0])
        np.testing.assert_array_equal(t + np.int64(file["t_offset"][()]), events["t"])
        for name in "xyp":
            np.testing.assert_array_equal(file[f"events/{name}"][:], events[name])
        index = file["ms_to_idx"][:]
        np.testing.assert_array_equal(index, np.searchsorted(t, 1000 * np.arange(t[-1] // 1000 + 1)))


def test_evt3_and_event_stream_by_their_own_libraries(tmp_path: Path) -> None:
    events = random_events(20_000, span_us=40_000_000)
    events["t"][10_000:] += 30_000_000
    source = write("npy", tmp_path, events)
    raw = pytest.importorskip("evt3").decode_file(str(converted(source, tmp_path / "o.raw")))
    stream = np.concatenate(list(pytest.importorskip("event_stream").Decoder(
        str(converted(source, tmp_path / "o.es")))))
    np.testing.assert_array_equal(np.asarray(raw.t), events["t"])
    np.testing.assert_array_equal(stream["t"], events["t"])
    np.testing.assert_array_equal(179 - stream["y"].astype(int), events["y"])
    for name in ("x", "p"):
        np.testing.assert_array_equal(stream[name], events[name])
    for name, theirs in (("x", raw.x), ("y", raw.y), ("p", raw.p)):
        np.testing.assert_array_equal(np.asarray(theirs), events[name])


@pytest.mark.parametrize("name", ["evt2", "evt3", "dat", "es", "aedat4"])
def test_faery_reads_them(name: str, tmp_path: Path) -> None:
    faery = pytest.importorskip("faery")
    events = random_events(5000)
    out = converted(write("npy", tmp_path, events), tmp_path / f"o{SUFFIX[name]}", name)
    theirs = faery.events_stream_from_file(str(out))
    assert tuple(theirs.dimensions()) == (SENSOR.width, SENSOR.height)
    theirs = np.concatenate(list(theirs))
    np.testing.assert_array_equal(theirs["t"], events["t"])
    for ours, column in (("x", "x"), ("y", "y"), ("p", "on")):
        np.testing.assert_array_equal(theirs[column], events[ours])


# Writing.

@pytest.mark.parametrize("name", targets.NAMES)
def test_how_events_are_cut_into_packets_changes_nothing(name: str, tmp_path: Path) -> None:
    events = random_events(600)
    contents = []
    for number, size in enumerate((1, 7, 600)):
        path = tmp_path / f"{number}{SUFFIX[name]}"
        with targets.open_target(name, path, Facts(SENSOR, end_us=int(events["t"][-1]))) as target:
            for begin in range(0, len(events), size):
                target.write(events[begin:begin + size])
        contents.append(path.read_bytes())
        for column in "txyp":
            np.testing.assert_array_equal(quickly(path)[column], events[column])
    if name != "aedat4":  # a packet of its file is what was written at once
        assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize("name", targets.NAMES)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    source = write("dat", tmp_path, random_events(400_000))
    out = tmp_path / f"out{SUFFIX[name]}"
    out.write_bytes(b"what was there before")
    # The bound of a process on the size of its files acts as a full disk does.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        result = call("convert", source, out, "--overwrite", "--format", name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert result.exit_code == 2, result.output
    assert f"parafovea: {out} cannot be written" in result.stderr
    assert "make room" in result.stderr
    assert sorted(tmp_path.iterdir()) == sorted([source, out])
    assert out.read_bytes() == b"what was there before"


def test_refusals_are_one_sentence(tmp_path: Path) -> None:
    source = write("dat", tmp_path, random_events())
    (tmp_path / "there.csv").write_text("mine")
    for arguments, words in (
            ((source, tmp_path / "o.mp3"), "must end in one of .aedat4, .csv, .dat, .es, .h5"),
            ((source, tmp_path / "there.csv"), "exists already; choose another name or replace it with --overwrite"),
            ((source, tmp_path / "no" / "o.csv"), "does not exist"),
            ((source, source, "--overwrite"), "cannot be read and replaced at once"),
            ((source, tmp_path / "o.raw", "--format", "csv"), "that suffix allows evt3, evt2"),
            ((source, tmp_path / "o.csv", "--compression", "zstd"), ".csv is never compressed"),
            ((source, tmp_path / "o.csv", "--range", "5..7"), "nothing lies after 5 s"),
            ((source, tmp_path / "o.csv", "--range", "0.5..0.5"), "must end after it begins"),
            (("synthetic://3", tmp_path / "o.csv"), "say with --range how much"),
            ((tmp_path / "none.raw", tmp_path / "o.csv"), "does not exist")):
        result = call("convert", *arguments)
        assert result.exit_code == 2, result.output
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert call("convert", source, tmp_path / "o.csv", "--range", "one..two").exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.csv", "written.dat"]
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_formats_refuse_sensors_that_they_cannot_hold(tmp_path: Path) -> None:
    for name in ("evt2", "evt3"):
        with pytest.raises(InputError, match="up to 2048x2048 px, this one has 4000x3000"):
            targets.open_target(name, tmp_path / "o", Facts(Resolution(4000, 3000)))
    with pytest.raises(InputError, match=r"use \.aedat4"):
        targets.open_target("csv", tmp_path / "o", Facts(None, None, SENSOR, "camera"))


def test_an_endless_source_is_cut_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    result = call("convert", "synthetic://3", tmp_path / "o.aedat4", "--range", "0..0.3")
    assert result.exit_code == 0, result.output
    line = json.loads(call("info", tmp_path / "o.aedat4", "--json").stdout)
    assert line["events_origin"] == "rendered"
    assert line["n_frames"] > 0
    whole = write("evt2", tmp_path, random_events())
    whole.write_bytes(whole.read_bytes()[:-2])
    result = call("convert", whole, tmp_path / "o.csv")
    assert result.exit_code == 0
    assert "2,999 events" in result.stderr
    assert "is cut off" in result.stderr


def test_folders_appear_whole_too(tmp_path: Path) -> None:
    def pictures(value: str) -> None:
        with placed(tmp_path / "p", overwrite=True) as temporary:
            temporary.mkdir()
            (temporary / "0.png").write_text(value)
            if value == "bad":
                raise OSError(28, "No space left on device")

    pictures("one")
    pictures("two")
    with pytest.raises(InputError, match="No space left"):
        pictures("bad")
    assert (tmp_path / "p" / "0.png").read_text() == "two"
    (tmp_path / "p" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="files in it"):
        pictures("three")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_missing_library_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write("dat", tmp_path, random_events())
    (tmp_path / "h5py.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(targets.__file__).parents[2]}")
    result = call("convert", source, tmp_path / "o.h5")
    assert result.exit_code == 2, result.output
    assert "pip install 'parafovea[hdf5]'" in result.stderr
    assert not (tmp_path / "o.h5").exists()


def test_imu_and_triggers_are_not_lost_silently(tmp_path: Path) -> None:
    path, events = tmp_path / "in.aedat4", random_events()
    with Recorder(path, SENSOR, None, "camera", None, sensors=True) as recorder:
        recorder.write(events[:1500])
        triggers = np.zeros(2, TRIGGER_DTYPE)
        triggers["t"], triggers["kind"] = events["t"][[10, 20]], 1
        recorder.write(Samples("triggers", triggers))
        recorder.write(events[1500:])
    result = call("convert", path, tmp_path / "o.aedat4")
    assert result.exit_code == 0, result.output
    assert "2 samples of the IMU and triggers" in result.stderr
    found = list[Samples]()
    with open_stored(str(tmp_path / "o.aedat4"), found.append) as source:
        assert sum(len(packet) for packet in source) == len(events)
    np.testing.assert_array_equal(np.concatenate([samples.data for samples in found]), triggers)
    begin_s = (int(events["t"][15]) - int(events["t"][0])) / 1e6
    result = call("convert", path, tmp_path / "part.aedat4", "--range", f"{begin_s:.6f}..")
    assert "1 samples of the IMU and triggers" in result.stderr
    result = call("convert", path, tmp_path / "o.csv")
    assert "2 samples of the IMU or triggers are left out: csv has no place for them" in result.stderr
