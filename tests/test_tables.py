"""Events as text, NumPy arrays and HDF5 tables."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import written
from reading import SENSOR, put, random_events, read, split

from streams.pickles import load_npy
from streams.sources import open_source
from streams.types import Events, InputError


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


def test_hdf5_with_a_codec_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    import h5py

    kind = np.dtype([("x", "u2"), ("y", "u2"), ("p", "i2"), ("t", "i8")])
    with h5py.File(tmp_path / "e.h5", "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((100,))
        settings.set_filter(36559, h5py.h5z.FLAG_OPTIONAL, (1,))
        group, space = file.create_group("CD"), h5py.h5s.create_simple((500,))
        h5py.h5d.create(group.id, b"events", h5py.h5t.py_create(kind), space, settings)
    with pytest.raises(InputError, match="Prophesee's ECF, which hdf5plugin does not know"):
        open_source(str(tmp_path / "e.h5"))


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
        "faery": text([f"{t},{x},{y},{p}" for t, x, y, p in rows], "t,x@240,y@180,on\n"),
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


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_that_is_cut_anywhere_is_one_sentence(protocol: int, tmp_path: Path) -> None:
    events = random_events(40)
    table = {name: events[name].astype(np.int64) for name in "txyp"}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
    content = buffer.getvalue() + pickle.dumps(np.array(table, dtype=object), protocol)
    for n_bytes in range(10, len(content)):
        with pytest.raises(InputError, match="holds no plain arrays"):
            load_npy(put(tmp_path, "cut.npy", content[:n_bytes]))


@pytest.mark.parametrize("kind", ["structured", "shuffled", "table", "seconds"])
def test_arrays_without_a_dictionary(kind: str, tmp_path: Path) -> None:
    events = np.unique(random_events())
    events = events[np.diff(events["t"], prepend=-1) > 0]
    table = np.array(written.columns(events))
    if kind == "seconds":
        table = table * np.array([1e-6, 1, 1, 1])
    shuffled = events[np.random.default_rng(0).permutation(len(events))]
    np.save(tmp_path / "a.npy", {"structured": events, "shuffled": shuffled}.get(kind, table))
    np.testing.assert_array_equal(read(tmp_path / "a.npy"), events)


@pytest.mark.parametrize("content", [np.zeros(3), np.zeros((0, 4)), np.array(["a"]), np.zeros((5, 4)) + 0.5])
def test_arrays_that_are_no_events(content: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(InputError) as caught:
        open_source(str(tmp_path / "a.npy"))
    assert "\n" not in str(caught.value)
