"""Recordings of other cameras and data sets: decoded exactly, sought, damaged, real, compared with other readers."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import written
from written import FORMATS, HEIGHT, WIDTH, write

from streams import sources
from streams.recording import RecordingSource
from streams.sources import open_source
from streams.summary import summarize
from streams.types import EVENT_DTYPE, Events, Frame, InputError, Packet, Resolution, Source, events_from_columns

REAL = Path(__file__).resolve().parents[2] / "shared" / "recordings"
SENSOR = Resolution(WIDTH, HEIGHT)
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real recordings are not here")
REAL_FILES = ["expelliarmus_evt2_sample.raw", "tonic_sample_ncars.dat", "tonic_sample_nmnist.bin", "faery_dvs.es",
              "pyaedattools_TranslatingSquare.aedat", "eventgpt_sample1.npy", "dsec_interlaken_00_d_000074.npy",
              "ros1_test_events_1.bag"]


def random_events(count: int = 3000, start_us: int = 1000, span_us: int = 1_500_000, seed: int = 0) -> Events:
    """Sorted random events over the whole sensor."""
    rng = np.random.default_rng(seed)
    return events_from_columns(start_us + np.sort(rng.integers(0, span_us, count)), rng.integers(0, WIDTH, count),
                               rng.integers(0, HEIGHT, count), rng.random(count) < 0.5)


def split(source: Source | list[Packet]) -> tuple[Events, list[Frame]]:
    packets, frames = [], []
    for item in source:
        (frames if isinstance(item, Frame) else packets).append(item)
    return np.concatenate(packets) if packets else np.empty(0, EVENT_DTYPE), frames


def read(path: Path | str, **options: object) -> Events:
    with open_source(str(path), reconstruct_frames=False, **options) as source:
        return split(source)[0]


def put(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


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
        assert dataclasses.astuple(source.losses) == (0, 0, 0, 0, None)


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


def test_evt3_vectors(tmp_path: Path) -> None:
    words = [0x8001, 0x6002, 0x0007, 0x3805, 0x4000 | 0b100000000001, 0x4000 | 0b11, 0x5081, 0x2003, 0x300A, 0x5001]
    found = read(put(tmp_path, "v.raw", written.PROPHESEE_HEADER.format("EVT3").encode()
                     + np.array(words, "<u2").tobytes()))
    assert found["x"].tolist() == [5, 16, 17, 18, 29, 36, 3, 10]
    assert found["p"].tolist() == [True] * 6 + [False] * 2
    assert set(found["t"].tolist()) == {0x1002}
    assert set(found["y"].tolist()) == {7}


def test_evt3_does_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    kinds = rng.choice([0, 2, 3, 4, 5, 6, 8], 4000, p=[.1, .2, .1, .2, .2, .18, .02])
    content = np.where(kinds == 8, np.arange(4000) // 500, rng.integers(0, 128, 4000))
    content = np.where(kinds == 6, np.arange(4000) % 500, content)
    path = put(tmp_path, "v.raw", written.PROPHESEE_HEADER.format("EVT3").encode()
               + (kinds << 12 | content).astype("<u2").tobytes())
    whole = read(path)
    assert len(whole) > 2000
    for size in (1, 7, 100):
        monkeypatch.setattr("streams.recording.CHUNK_RECORDS", size)
        np.testing.assert_array_equal(read(path), whole)


def test_evt21_vectors_and_both_orders_of_halves(tmp_path: Path) -> None:
    events = random_events()
    np.testing.assert_array_equal(read(put(tmp_path, "l.raw", written.evt21(events, legacy=True))), events)
    unnamed = written.evt21(events, legacy=True).replace(b";endianness=legacy", b"")
    np.testing.assert_array_equal(read(put(tmp_path, "u.raw", unnamed)), events)
    words = np.array([0, 0x80000001, 0x80000001, 1 << 28 | 3 << 22 | 64 << 11 | 9], "<u4")
    found = read(put(tmp_path, "v.raw", written.PROPHESEE_HEADER.format("EVT21").encode() + words.tobytes()))
    assert found.tolist() == [(67, 64, 9, True), (67, 95, 9, True)]


def test_old_dat_files_have_other_bits(tmp_path: Path) -> None:
    words = np.array([[10, 1 << 17 | 100 << 9 | 300], [20, 7]], "<u4")
    header = b"% Data file\n% Version 1\n% Width 304\n% Height 240\n\0\x08"
    found = read(put(tmp_path, "o.dat", header + words.tobytes()))
    assert found.tolist() == [(10, 300, 100, True), (20, 7, 0, False)]


def test_nmnist_overflow_records_move_the_time_on(tmp_path: Path) -> None:
    events = random_events(300, span_us=5000)
    moved = events.copy()
    moved["t"][100:] += 8192
    content = written.nmnist(events[:100]) + bytes([0, 240, 0, *divmod(int(events["t"][100]), 256)])
    np.testing.assert_array_equal(read(put(tmp_path, "o.bin", content + written.nmnist(events[100:]))), moved)


def test_dvs128_and_unnamed_davis(tmp_path: Path) -> None:
    events = random_events()
    small = events[(events["x"] < 128) & (events["y"] < 128)]
    path = put(tmp_path, "d.aedat", written.aedat2(small, "ch.unizh.ini.jaer.chip.retina.DVS128"))
    with open_source(str(path), reconstruct_frames=False) as source:
        assert source.info.event_resolution == Resolution(128, 128)
        assert source.info.sensor == "DVS128"
        np.testing.assert_array_equal(split(source)[0], small)
    np.testing.assert_array_equal(read(put(tmp_path, "u.aedat", written.aedat2(events, ""))), events)


def test_davis_frames_of_aedat2(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    events = random_events(3000, span_us=60_000)
    pictures = rng.integers(0, 256, (2, HEIGHT, WIDTH))
    content = written.aedat2(events)
    n_header = content.index(b"Header\r\n") + 8
    records = [content[n_header:]]
    for number, picture in enumerate(pictures):
        records.append(written.aedat2_frame(np.full_like(picture, 1023), 1023 - 4 * picture, 10_000 + 25_000 * number))
    table = np.frombuffer(b"".join(records), ">u4").reshape(-1, 2)
    table = table[np.argsort(table[:, 1], kind="stable")]
    path = put(tmp_path, "f.aedat", content[:n_header] + table.tobytes())
    with open_source(str(path)) as source:
        assert (source.info.frames_origin, source.info.frame_resolution) == ("camera", SENSOR)
        found, frames = split(source)
        np.testing.assert_array_equal(found, events)
        assert [frame.t_us - frame.exposure_us // 2 for frame in frames] == [10_000, 35_000]
        for frame, picture in zip(frames, pictures, strict=True):
            np.testing.assert_array_equal(frame.image[..., 1], picture)
        source.seek(30_000)
        assert [frame.t_us for frame in split(source)[1]] == [frames[1].t_us]


def colour_frames(times_us: list[int], exposure_us: int = 0) -> list[Frame]:
    rng = np.random.default_rng(2)
    return [Frame(t_us, exposure_us, rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)) for t_us in times_us]


def test_frames_of_aedat3_come_before_the_events_of_their_exposure(tmp_path: Path) -> None:
    events, frames = random_events(), colour_frames([300_000, 900_000], 20_000)
    blocks = [written.aedat3(events[:600])] + [written.aedat3(part)[len(written.AEDAT3_HEADER):]
                                               for part in (events[600:1900], events[1900:])]
    times = events["t"]
    assert times[600] < 310_000 < 910_000 < times[1900]
    path = put(tmp_path, "f.aedat", written.aedat3(events[:700]) + written.aedat3_frame(frames[0])
               + written.aedat3(events[700:1900])[len(written.AEDAT3_HEADER):] + written.aedat3_frame(frames[1])
               + blocks[2])
    check_frames(path, events, frames)


@pytest.mark.parametrize("kind", ["dvs_msgs/EventArray", "event_camera_msgs/EventPacket"])
@pytest.mark.parametrize("compression", ["none", "bz2"])
def test_bags_with_images(kind: str, compression: str, tmp_path: Path) -> None:
    events, frames = random_events(), colour_frames([200_000, 700_000, 1_200_000])
    check_frames(put(tmp_path, "f.bag", written.bag(events, frames, kind, compression)), events, frames)


@pytest.mark.parametrize("layout", ["dsec", "rpg"])
def test_folders_of_pictures_with_events(layout: str, tmp_path: Path) -> None:
    events, frames = random_events(), colour_frames([200_000, 700_000, 1_200_000])
    path = written.folder(tmp_path / layout, events, frames, layout)
    check_frames(path, events, frames)
    next(path.rglob("000001.png")).write_bytes(b"no picture")
    with open_source(str(path)) as source:
        assert "000001.png" in (source.losses.damage or "")
        assert len(split(source)[1]) == 2


def test_folders_with_wrong_times_are_one_sentence(tmp_path: Path) -> None:
    path = written.folder(tmp_path / "f", random_events(), colour_frames([200_000]), "dsec")
    (path / "images" / "timestamps.txt").write_text("1\n2\n")
    with pytest.raises(InputError, match="has 1 pictures but 2 times"):
        open_source(str(path))
    (path / "images" / "timestamps.txt").write_text("yesterday\n")
    with pytest.raises(InputError, match="not a list of times"):
        open_source(str(path))


def check_frames(path: Path, events: Events, frames: list[Frame]) -> None:
    """Events and frames come back, in order of their begin, also after seeking."""
    with open_source(str(path)) as source:
        items = list(source)
        begins = [item.t_us - item.exposure_us // 2 if isinstance(item, Frame) else int(item["t"][0]) for item in items]
        assert begins == sorted(begins)
        found, pictures = split(items)
        np.testing.assert_array_equal(found, events)
        assert [(f.t_us, f.exposure_us) for f in pictures] == [(f.t_us, f.exposure_us) for f in frames]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(pictures, frames, strict=True))
        assert source.info.frames_origin == "camera"
        source.seek(frames[-1].t_us - 100_000)
        found, pictures = split(source)
        assert [picture.t_us for picture in pictures] == [frames[-1].t_us]
        np.testing.assert_array_equal(found, events[events["t"] >= frames[-1].t_us - 100_000])


def test_dsec_offset_is_added(tmp_path: Path) -> None:
    events = random_events(start_us=51_836_199_776)
    written.hdf5(tmp_path / "o.h5", events, t_offset_us=51_836_199_000)
    np.testing.assert_array_equal(read(tmp_path / "o.h5"), events)


def test_hdf5_tables_and_files_without_events(tmp_path: Path) -> None:
    import h5py

    events = random_events()
    with h5py.File(tmp_path / "v2e.h5", "w") as file:
        file["events"] = np.array(written.columns(events), np.uint32)
    np.testing.assert_array_equal(read(tmp_path / "v2e.h5"), events)
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["image"] = np.zeros((4, 4))
    with pytest.raises(InputError, match="no events"):
        open_source(str(tmp_path / "none.h5"))


def text(rows: list[str], first: str = "") -> bytes:
    return (first + "\n".join(rows) + "\n").encode()


def csv_variants(events: Events) -> dict[str, bytes]:
    rows = written.columns(events)
    return {
        "headerless": text([f"{t},{x},{y},{p}" for t, x, y, p in rows]),
        "x first": text([f"{x},{y},{p},{t}" for t, x, y, p in rows]),
        "spaces and seconds": text([f"{t / 1e6:.6f} {x} {y} {p}" for t, x, y, p in rows], "240 180\n"),
        "tabs, signs": text([f"{t}\t{x}\t{y}\t{2 * p - 1}" for t, x, y, p in rows]),
        "named ns": text([f"{p};{t * 1000};{y};{x}" for t, x, y, p in rows], "polarity;time_ns;y;x\n"),
        "named ms": text([f"{x} , {y} , {t / 1000} , {p}" for t, x, y, p in rows], "# comment\nx,y,t [ms],p\n"),
        "unnamed ns": text([f"{1_700_000_000_000_000_000 + t * 1000},{x},{y},{p}" for t, x, y, p in rows]),
        "geometry": text([f"{x},{y},{p},{t}" for t, x, y, p in rows], "%geometry:240,180\n"),
        "windows, no end": text([f"{t},{x},{y},{p}" for t, x, y, p in rows], "t,x,y,on\n").replace(b"\n", b"\r\n")[:-2],
        "exponents": text([f"{t / 1e6:.9e},{x}.0,{y}.0,{p}.0" for t, x, y, p in rows]),
        "further column": text([f",{t},{x},{y},{p},7"[1:] for t, x, y, p in rows], "timestamp,x,y,polarity,id\n"),
    }


@pytest.mark.parametrize("variant", csv_variants(random_events(2)))
def test_text_in_any_usual_layout(variant: str, tmp_path: Path) -> None:
    events = random_events()
    with open_source(str(put(tmp_path, "e.txt", csv_variants(events)[variant])), reconstruct_frames=False) as source:
        assert source.info.event_resolution == SENSOR
        found, _ = split(source)
    np.testing.assert_array_equal(found["t"] - found["t"][0], events["t"] - events["t"][0])
    np.testing.assert_array_equal(found[["x", "y", "p"]], events[["x", "y", "p"]])


def test_lines_that_are_no_events_are_counted(tmp_path: Path) -> None:
    events = random_events()
    lines = written.csv(events).split(b"\n")
    lines[1000:1000] = [b"", b"# note", b"1,2,3", b"hello", b"5,-1,3,1", b"nan,1,1,1"]
    with open_source(str(put(tmp_path, "e.csv", b"\n".join(lines))), reconstruct_frames=False) as source:
        np.testing.assert_array_equal(split(source)[0], events)
        assert source.losses.n_rejected == 4


class Evil:
    """Would run code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (Path("ran-code"), "x")


def test_a_pickle_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("evil.npy", np.array({"t": Evil()}, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="run code"):
        open_source("evil.npy")
    assert not Path("ran-code").exists()
    np.load("evil.npy", allow_pickle=True)
    assert Path("ran-code").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_every_pickle_protocol(protocol: int, tmp_path: Path) -> None:
    events = random_events()
    table = {name: np.ascontiguousarray(events[name]) for name in ("x", "y", "t", "p")}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
    content = buffer.getvalue() + pickle.dumps(np.array(table, dtype=object), protocol)
    np.testing.assert_array_equal(read(put(tmp_path, "p.npy", content)), events)


@pytest.mark.parametrize("kind", ["structured", "table", "seconds"])
def test_arrays_without_a_dictionary(kind: str, tmp_path: Path) -> None:
    events = random_events()
    table = np.array(written.columns(events))
    if kind == "seconds":
        table = table * np.array([1e-6, 1, 1, 1])
    np.save(tmp_path / "a.npy", events if kind == "structured" else table)
    np.testing.assert_array_equal(read(tmp_path / "a.npy"), events)


@pytest.mark.parametrize("content", [np.zeros(3), np.zeros((0, 4)), np.array(["a"]), np.zeros((5, 4)) + 0.5])
def test_arrays_that_are_no_events(content: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(InputError) as caught:
        open_source(str(tmp_path / "a.npy"))
    assert "\n" not in str(caught.value)


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


def damaged(content: bytes, seed: int) -> bytes:
    """A few flipped bits, no end, zeros in the middle, foreign bytes in the middle, or a foreign end: by the seed."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    at, length = int(rng.integers(0, len(data))), int(rng.integers(1, 3000))
    if seed % 5 == 0:
        for place in rng.integers(0, len(data), 20):
            data[place] ^= 1 << int(rng.integers(0, 8))
    elif seed % 5 == 1:
        del data[at:]
    elif seed % 5 == 2:
        data[at:at + length] = bytes(len(data[at:at + length]))
    elif seed % 5 == 3:
        data[at:at + length] = rng.bytes(len(data[at:at + length]))
    else:
        data[at:] = rng.bytes(length)
    return bytes(data)


@pytest.mark.parametrize("name", FORMATS)
def test_damage_gives_one_sentence_or_valid_packets(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path, random_events(2000))
    content = path.read_bytes()
    n_opened = 0
    for seed in range(30):
        path.write_bytes(damaged(content, seed))
        started_s = time.monotonic()
        refusal = refusal_of(path)
        n_opened += refusal is None
        assert "\n" not in (refusal or "")
        assert time.monotonic() - started_s < 10
    assert n_opened >= 8


def refusal_of(path: Path) -> str | None:
    """Why a recording is refused, None when it gives nothing but valid packets."""
    try:
        with open_source(str(path)) as source:
            check_valid(source)
    except InputError as error:
        return str(error)
    return None


def check_valid(source: Source) -> None:
    """Everything that a damaged recording delivers is inside the sensor, sorted, and of the stated size."""
    last_us, info = None, source.info
    for item in source:
        if isinstance(item, Frame):
            assert item.resolution == info.frame_resolution
            continue
        assert len(item) > 0
        assert info.event_resolution is not None
        assert info.event_resolution.contains(item)
        assert np.all(np.diff(item["t"]) >= 0)
        assert last_us is None or item["t"][0] >= last_us
        last_us = item["t"][-1]


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


@needs_real
def test_event_stream_agrees_with_its_own_library() -> None:
    library = pytest.importorskip("event_stream")
    theirs = np.concatenate(list(library.Decoder(str(REAL / "faery_dvs.es"))))
    ours = read(REAL / "faery_dvs.es")
    for name in ("t", "x", "p"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    np.testing.assert_array_equal(ours["y"], 239 - theirs["y"])


def test_evt3_agrees_with_another_decoder(tmp_path: Path) -> None:
    library = pytest.importorskip("evt3")
    events = random_events(20_000, span_us=40_000_000)
    path = write("evt3", tmp_path, events)
    theirs = library.decode_file(str(path))
    ours = read(path)
    np.testing.assert_array_equal(ours["t"], np.asarray(theirs.t))
    np.testing.assert_array_equal(ours["x"], np.asarray(theirs.x))


@needs_real
def test_bags_agree_with_another_reader() -> None:
    rosbags = pytest.importorskip("rosbags.rosbag1")
    library = pytest.importorskip("evt3")
    decoder, n_theirs = library.Decoder(), 0
    with rosbags.Reader(REAL / "ros1_test_events_1.bag") as bag:
        for _, _, raw in bag.messages():
            content = bytes(raw)
            at = content.index(b"evt3") + 9
            n_theirs += len(decoder.feed(content[at:]))
    assert len(read(REAL / "ros1_test_events_1.bag")) == n_theirs
