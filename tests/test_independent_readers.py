"""Events that we decode and events that somebody else's reader decodes from the same file are equal, one by one.

Real recordings where they are at hand, written ones otherwise. What faery writes: tests/test_formats.py. No second
reader was found for EVT 2.1 (faery: "not yet implemented"), AEDAT 2.0, AEDAT 3.1 and N-MNIST.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import written
from reading import random_events, read, split
from test_formats import REAL, needs_real
from written import write

from streams.dv_child.bare import READERS, digest
from streams.sources import open_source
from streams.types import Events

Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""t, x, y, p."""


def joined(packets: list[Columns]) -> Columns:
    t, x, y, p = (np.concatenate(column) for column in zip(*packets, strict=True))
    return t, x, y, p


def by_faery(path: Path) -> Columns:
    library = pytest.importorskip("faery")
    events = np.concatenate(list(library.events_stream_from_file(str(path))))
    return events["t"], events["x"], events["y"], events["on"]


def by_event_stream(path: Path, height: int = written.HEIGHT) -> Columns:
    library = pytest.importorskip("event_stream")
    events = np.concatenate(list(library.Decoder(str(path))))
    # Its origin is at the bottom left.
    return events["t"], events["x"], height - 1 - events["y"], events["on" if "on" in events.dtype.names else "p"]


def by_evt3(path: Path) -> Columns:
    events = pytest.importorskip("evt3").decode_file(str(path))
    return np.asarray(events.t), np.asarray(events.x), np.asarray(events.y), np.asarray(events.p)


def by_rosbags(path: Path) -> Columns:
    """Messages of a bag by rosbags: events of dvs_msgs by its deserialiser, EVT 3.0 by the evt3 package."""
    library = pytest.importorskip("rosbags.rosbag1")
    stores = pytest.importorskip("rosbags.typesys")
    decoder, packets = pytest.importorskip("evt3").Decoder(), []
    types = stores.get_typestore(stores.Stores.ROS1_NOETIC)
    for name, definition in (("dvs_msgs/msg/Event", "uint16 x\nuint16 y\ntime ts\nbool polarity"),
                             ("dvs_msgs/msg/EventArray",
                              "std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events")):
        types.register(stores.get_types_from_msg(definition, name))
    with library.Reader(path) as bag:
        for connection, _, raw in bag.messages():
            if connection.msgtype == "dvs_msgs/msg/EventArray":
                events = types.deserialize_ros1(raw, connection.msgtype).events
                rows = [(e.ts.sec * 1_000_000 + e.ts.nanosec // 1000, e.x, e.y, e.polarity) for e in events]
                packets.append(tuple(np.array(column) for column in zip(*rows, strict=True)))
            elif b"evt3" in bytes(raw)[:200]:
                content = bytes(raw)
                found = decoder.feed(content[content.index(b"evt3") + 9:])
                packets.append(tuple(np.asarray(getattr(found, name)) for name in "txyp"))
    return joined(packets)


def by_numpy(path: Path) -> Columns:
    """NumPy's own loader, which executes what a pickle says: for files that we trust."""
    table = np.load(path, allow_pickle=True)
    table = table.item() if table.dtype == object else table
    return table["t"], table["x"], table["y"], table["p"]


def by_h5py(path: Path) -> Columns:
    library = pytest.importorskip("h5py")
    pytest.importorskip("hdf5plugin")
    with library.File(path) as file:
        t, x, y, p = (file[f"events/{name}"][:] for name in "txyp")
        return t.astype(np.int64) + int(file["t_offset"][()]), x, y, p


def assert_equal(ours: Events, theirs: Columns) -> None:
    assert len(ours) == len(theirs[0]) > 0
    for name, column in zip("txyp", theirs, strict=True):
        np.testing.assert_array_equal(ours[name].astype(np.int64), np.asarray(column).astype(np.int64), name)


@needs_real
@pytest.mark.parametrize(("file", "reader"), [
    ("expelliarmus_evt2_sample.raw", by_faery),
    ("faery_dvs.es", by_faery),
    ("faery_dvs.es", functools.partial(by_event_stream, height=240)),
    ("ros1_test_events_1.bag", by_rosbags),
    ("eventgpt_sample1.npy", by_numpy),
    ("dsec_interlaken_00_d_000074.npy", by_numpy),
])
def test_real_recordings(file: str, reader: Callable[[Path], Columns]) -> None:
    assert_equal(read(REAL / file), reader(REAL / file))


@pytest.mark.parametrize(("name", "reader"), [
    ("evt3", by_evt3), ("evt2", by_faery), ("dat", by_faery), ("es", by_faery), ("es", by_event_stream),
    ("npy", by_numpy), ("hdf5", by_h5py)])
def test_written_recordings(name: str, reader: Callable[[Path], Columns], tmp_path: Path) -> None:
    # So long that counters wrap.
    events = random_events(20_000, span_us=40_000_000)
    path = write(name, tmp_path, events)
    assert_equal(events, reader(path))
    assert_equal(read(path), reader(path))


def test_dvs_bags_and_rosbags(tmp_path: Path) -> None:
    """Written by rosbags itself, so that its reader finds the index that ours does not need."""
    library = pytest.importorskip("rosbags.rosbag1")
    stores = pytest.importorskip("rosbags.typesys")
    events = random_events(500)
    types = stores.get_typestore(stores.Stores.ROS1_NOETIC)
    types.register(stores.get_types_from_msg("uint16 x\nuint16 y\ntime ts\nbool polarity", "dvs_msgs/msg/Event"))
    types.register(stores.get_types_from_msg("std_msgs/Header header\nuint32 height\nuint32 width\n"
                                             "dvs_msgs/Event[] events", "dvs_msgs/msg/EventArray"))
    with library.Writer(tmp_path / "w.bag") as bag:
        connection = bag.add_connection("/dvs/events", "dvs_msgs/msg/EventArray", typestore=types)
        for start in range(0, len(events), 100):
            part = events[start:start + 100]
            t_us = int(part["t"][0])
            bag.write(connection, t_us * 1000, written._event_message(part, "dvs_msgs/EventArray"))
    path = tmp_path / "w.bag"
    assert_equal(events, by_rosbags(path))
    assert_equal(read(path), by_rosbags(path))


@needs_real
@pytest.mark.parametrize("file", ["evlibrary_sample.aedat4", "tonic_sample.aedat4"])
def test_aedat4_by_three_libraries(file: str) -> None:
    with open_source(str(REAL / file), reconstruct_frames=False) as source:
        ours, _ = split(source)
    for library in ("aedat", "faery"):
        pytest.importorskip(library)
        assert_equal(ours, joined(list(READERS[library](str(REAL / file)))))


@needs_real
def test_aedat4_by_dv_processing_in_a_process_of_its_own() -> None:
    from app.throughput import bare_reading

    path = REAL / "tonic_sample.aedat4"
    ours = read(path)
    _, theirs = bare_reading("dv_processing", path, 1)
    assert digest(iter([tuple(ours[name] for name in "txyp")])) == theirs
