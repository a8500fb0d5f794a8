"""Recordings of other cameras and data sets: decoded exactly, sought, real, compared with other readers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import written
from click.testing import CliRunner
from reading import SENSOR, put, random_events, read, split
from written import FORMATS, HEIGHT, WIDTH, write

from app.cli import main
from streams import sources
from streams.player import Player
from streams.recording import RecordingSource
from streams.sources import open_source
from streams.types import InputError, Losses, Resolution

REAL = Path(__file__).resolve().parents[2] / "shared" / "recordings"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real recordings are not here")
REAL_FILES = ["expelliarmus_evt2_sample.raw", "tonic_sample_ncars.dat", "tonic_sample_nmnist.bin", "faery_dvs.es",
              "pyaedattools_TranslatingSquare.aedat", "eventgpt_sample1.npy", "dsec_interlaken_00_d_000074.npy",
              "ros1_test_events_1.bag"]


@pytest.mark.parametrize("name", FORMATS)
def test_known_events_come_back_exactly(name: str, tmp_path: Path) -> None:
    events = random_events()
    with open_source(str(write(name, tmp_path, events))) as source:
        assert isinstance(source, RecordingSource)
        assert source.info.format == name
        assert source.info.event_resolution == SENSOR
        assert source.info.start_us == events["t"][0]
        assert source.info.duration_us == events["t"][-1] - events["t"][0]
        assert source.info.frames_origin == "reconstructed"
        found, frames = split(source)
        np.testing.assert_array_equal(found, events)
        assert len(frames) >= 29
        assert frames[-1].t_us == events["t"][-1]
        assert source.losses == Losses()


@pytest.mark.parametrize("name", FORMATS)
def test_only_its_own_module_takes_a_file(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path, random_events())
    head = path.read_bytes()[:sources.HEAD_BYTES]
    takers = [other for other in sources.file_formats() if sources._module(other).matches(path, head)]
    assert takers == [name]


@pytest.mark.parametrize("name", FORMATS)
def test_seeking_gives_the_rest_and_the_histogram_counts_all(name: str, tmp_path: Path) -> None:
    events = random_events()
    with open_source(str(write(name, tmp_path, events)), reconstruct_frames=False) as source:
        next(iter(source))
        for target_us in (int(events["t"][1777]), 0, int(events["t"][-1]), int(events["t"][-1]) + 1):
            source.seek(target_us)
            np.testing.assert_array_equal(split(source)[0], events[events["t"] >= target_us])
        rates_hz = source.rate_histogram(7)
        seconds = source.info.duration_us * 1e-6 / 7
        np.testing.assert_allclose(rates_hz * seconds, np.histogram(events["t"], 7)[0], atol=1.001)
        assert (rates_hz * seconds).sum() == pytest.approx(len(events))


def test_seeking_within_many_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.recording.CHUNK_RECORDS", 100)
    monkeypatch.setattr("streams.sources.es.CHUNK_BYTES", 333)
    monkeypatch.setattr("streams.sources.csv.CHUNK_BYTES", 333)
    # Equal times across the edges of chunks.
    events = random_events(span_us=900)
    for name in ("evt2", "evt21", "evt3", "dat", "es", "nmnist", "csv", "aedat2"):
        with open_source(str(write(name, tmp_path, events)), reconstruct_frames=False) as source:
            assert len(source._marks) > 10
            for target_us in (1000, 1333, 1600, 1899):
                source.seek(target_us)
                np.testing.assert_array_equal(split(source)[0], events[events["t"] >= target_us])


@pytest.mark.parametrize("name", ["evt2", "evt3", "dat", "aedat2", "aedat3", "nmnist"])
def test_counters_that_wrap_go_on(name: str, tmp_path: Path) -> None:
    bits = {"evt2": 34, "evt3": 24, "dat": 32, "aedat2": 32, "aedat3": 31, "nmnist": 23}[name]
    events = random_events(start_us=(1 << bits) - 700_000)
    assert events["t"][0] < 1 << bits < events["t"][-1]
    np.testing.assert_array_equal(read(write(name, tmp_path, events)), events)


@pytest.mark.parametrize("name", ["evt2", "dat", "csv", "npy"])
def test_a_clock_that_restarts_is_joined_and_late_events_are_moved(name: str, tmp_path: Path) -> None:
    events = random_events(start_us=5_000_000)
    given = events.copy()
    given["t"][2000:] -= given["t"][2000] - 300
    given["t"][500] -= 4000
    with open_source(str(write(name, tmp_path, given)), reconstruct_frames=False) as source:
        found, _ = split(source)
        assert (source.losses.n_restarts, source.losses.n_clamped, source.losses.n_rejected) == (1, 1, 0)
    assert len(found) == len(events)
    np.testing.assert_array_equal(np.diff(found["t"][2000:]), np.diff(events["t"][2000:]))
    assert found["t"][500] == found["t"][499]
    assert found["t"][2000] == found["t"][1999]


def test_events_outside_the_stated_sensor_are_counted(tmp_path: Path) -> None:
    events = random_events()
    events["x"][::10] = WIDTH
    for name in ("evt2", "dat", "es", "aedat3"):
        with open_source(str(write(name, tmp_path, events)), reconstruct_frames=False) as source:
            np.testing.assert_array_equal(split(source)[0], events[events["x"] < WIDTH])
            if name != "aedat3":
                assert source.losses.n_rejected == 300


def test_nmnist_overflow_records_move_the_time_on(tmp_path: Path) -> None:
    events = random_events(300, span_us=5000)
    moved = events.copy()
    moved["t"][100:] += 8192
    content = written.nmnist(events[:100]) + bytes([0, 240, 0, *divmod(int(events["t"][100]), 256)])
    np.testing.assert_array_equal(read(put(tmp_path, "o.bin", content + written.nmnist(events[100:]))), moved)


@needs_real
@pytest.mark.parametrize("file", REAL_FILES)
def test_real_recordings(file: str) -> None:
    expected = {entry["file"]: entry for entry in json.loads((REAL / "manifest.json").read_text())}[file]
    with open_source(str(REAL / file)) as source:
        found, frames = split(source)
        assert len(found) == expected["events"]
        assert (found["t"][0], found["t"][-1]) == (expected["t_first"], expected["t_last"])
        assert np.count_nonzero(found["p"]) == expected["on"]
        assert source.info.event_resolution == Resolution(*expected["resolution"])
        assert (source.losses.n_rejected, source.losses.damage) == (0, None)
        assert frames
        assert frames[-1].image.std() > 1


@needs_real
def test_a_header_alone_is_one_sentence() -> None:
    with pytest.raises(InputError, match="no events"):
        open_source(str(REAL / "tonic_sample_aedat_header.aedat"))


@pytest.mark.parametrize("name", ["evt2", "evt3", "dat", "es", "csv"])
def test_faery_reads_what_we_read_and_we_read_what_it_writes(name: str, tmp_path: Path) -> None:
    faery = pytest.importorskip("faery")
    events = random_events()
    path = write(name, tmp_path, events)
    if name == "csv":
        path.write_bytes(path.read_bytes().replace(b"t,x,y,p", b"t,x@240,y@180,on"))
    theirs = np.concatenate(list(faery.events_stream_from_file(str(path))))
    np.testing.assert_array_equal(read(path)["t"], theirs["t"])
    for ours, column in (("x", "x"), ("y", "y"), ("p", "on")):
        np.testing.assert_array_equal(read(path)[ours], theirs[column])
    given = np.array([tuple(row) for row in events.tolist()], faery.EVENTS_DTYPE)
    version = {"evt2": "evt2", "evt3": "evt3", "dat": "dat2"}.get(name)
    again = tmp_path / f"again{path.suffix}"
    faery.events_stream_from_array(given, (WIDTH, HEIGHT)).to_file(
        str(again), **({"version": version} if version else {}))
    found = read(again)
    # It begins most files at time 0.
    np.testing.assert_array_equal(found["t"] - found["t"][0], events["t"] - events["t"][0])
    np.testing.assert_array_equal(found[["x", "y", "p"]], events[["x", "y", "p"]])


@pytest.mark.parametrize("name", ["evt3", "csv"])
def test_commands_read_them(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path, random_events())
    told = CliRunner().invoke(main, ["info", str(path), "--json"])
    line = json.loads(told.stdout)
    assert (line["format"], line["n_events"], line["n_frames"], line["n_clamped"]) == (name, 3000, 0, 0)
    asked = CliRunner().invoke(main, ["ask", str(path), "What is happening?", "--json"])
    assert asked.exit_code == 0, asked.output
    assert json.loads(asked.stdout.splitlines()[-1])["frames_origin"] == "reconstructed"


def test_playback_of_a_recording(tmp_path: Path) -> None:
    events = random_events()
    player = Player(open_source(str(write("dat", tmp_path, events)))).start()
    try:
        player.seek(1_200_000)
        assert player.wait_until(lambda state: not state.loading)
        window = player.window(1_200_000, 500_000)
        expected = events[(events["t"] >= window.start_us) & (events["t"] < window.end_us)]
        np.testing.assert_array_equal(window.events, expected)
        assert [frame.t_us for frame in window.frames] == list(range(700_000, 1_200_000, 50_000))
        assert player.rate_histogram(5).mean() == pytest.approx(3000 / 1.5, rel=0.01)
    finally:
        player.close()


def test_bags_in_lz4(tmp_path: Path) -> None:
    events = random_events()
    np.testing.assert_array_equal(read(put(tmp_path, "l.bag", written.bag(events, compression="lz4"))), events)


def test_a_missing_library_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = random_events()
    path = write("hdf5", tmp_path, events)
    put(tmp_path, "h5py.py", b"raise ImportError")
    # The child looks there too.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError, match=r"pip install 'parafovea\[hdf5\]'"):
        open_source(str(path))
