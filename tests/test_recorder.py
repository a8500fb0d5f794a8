"""Recording: what is written is read back identical, and nothing half-written ever appears."""

import resource

import numpy as np
import pytest

from streams.recorder import Recorder
from streams.sources.aedat4 import open_source
from streams.types import Frame, InputError, Resolution, empty_packet, events_from_columns

SENSOR = Resolution(64, 48)
CAMERA = Resolution(40, 30)


def random_events(count, seed=0, span_us=400_000):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(5_000_000, 5_000_000 + span_us, count))
    # The corners of the sensor and equal times belong to every recording.
    x, y = rng.integers(0, SENSOR.width, count), rng.integers(0, SENSOR.height, count)
    x[:2], y[:2], t[3:6] = (0, SENSOR.width - 1), (0, SENSOR.height - 1), t[3]
    return events_from_columns(t, x, y, rng.random(count) < 0.5)


def random_frames(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Frame(5_010_000 + 50_000 * i, 1001 + i, rng.integers(0, 256, (*CAMERA.hw, 3), dtype=np.uint8))
        for i in range(count)
    ]


def record(path, events, frames=(), packet=777, **options):
    """Write events in packets and frames between them, in time order."""
    pieces = [*(events[begin : begin + packet] for begin in range(0, len(events), packet)), *frames]
    pieces.sort(key=lambda piece: piece.t_us if isinstance(piece, Frame) else piece["t"][0])
    origins = options.pop("origins", ("simulated", "rendered" if frames else None))
    with Recorder(path, SENSOR, CAMERA if frames else None, *origins, **options) as recorder:
        for piece in pieces:
            recorder.write(piece)


def split(source):
    """All events of a source in one array, and its frames."""
    items = list(source)
    frames = [item for item in items if isinstance(item, Frame)]
    packets = [item for item in items if not isinstance(item, Frame)]
    return (np.concatenate(packets) if packets else empty_packet()), frames


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_round_trip_is_identical(tmp_path, compression):
    events, frames = random_events(20_000), random_frames(5)
    record(tmp_path / "a.aedat4", events, frames, sensor="Test_1", compression=compression)
    with open_source(str(tmp_path / "a.aedat4")) as source:
        info = source.info
        assert (info.event_resolution, info.frame_resolution, info.sensor) == (SENSOR, CAMERA, "Test_1")
        assert (info.events_origin, info.frames_origin) == ("simulated", "rendered")
        read_events, read_frames = split(source)
    assert read_events.dtype == events.dtype
    assert np.array_equal(read_events, events)
    assert [(f.t_us, f.exposure_us) for f in read_frames] == [(f.t_us, f.exposure_us) for f in frames]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(read_frames, frames, strict=True))


def test_only_events_only_frames_and_nothing(tmp_path):
    record(tmp_path / "events.aedat4", random_events(100), origins=("rendered", None))
    record(tmp_path / "frames.aedat4", random_events(100)[:0], random_frames(2), origins=("camera", "video"))
    record(tmp_path / "nothing.aedat4", random_events(100)[:0])
    counts = {}
    for name in ("events", "frames", "nothing"):
        with open_source(str(tmp_path / f"{name}.aedat4"), reconstruct_frames=False) as source:
            events, frames = split(source)
            counts[name] = (len(events), len(frames), source.info.events_origin, source.info.frames_origin)
    assert counts == {
        "events": (100, 0, "rendered", None),
        "frames": (0, 2, "camera", "video"),
        "nothing": (0, 0, "simulated", None),
    }


def test_packets_larger_than_a_slot_arrive_whole(tmp_path):
    events = random_events(50_000)
    record(tmp_path / "a.aedat4", events, packet=len(events), compression="lz4")
    with open_source(str(tmp_path / "a.aedat4"), reconstruct_frames=False) as source:
        assert np.array_equal(split(source)[0], events)


def test_an_exception_leaves_nothing_behind(tmp_path):
    def fail():
        with Recorder(tmp_path / "a.aedat4", SENSOR, None, "camera", None) as recorder:
            recorder.write(random_events(100))
            raise RuntimeError("the user pulled the plug")

    with pytest.raises(RuntimeError, match="plug"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_target_appears_only_when_complete_and_replaces_the_old_one(tmp_path):
    target = tmp_path / "a.aedat4"
    target.write_bytes(b"old")
    recorder = Recorder(target, SENSOR, None, "camera", None)
    recorder.write(random_events(100))
    assert target.read_bytes() == b"old"
    recorder.close()
    recorder.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.aedat4"]
    with open_source(str(target)) as source:
        assert len(split(source)[0]) == 100
    with pytest.raises(ValueError, match="closed"):
        recorder.write(random_events(10))


def test_refuses_what_would_damage_the_file(tmp_path):
    events = random_events(100)
    outside = events.copy()
    outside["x"][50] = SENSOR.width
    with Recorder(tmp_path / "a.aedat4", SENSOR, CAMERA, "camera", "camera") as recorder:
        with pytest.raises(ValueError, match="outside"):
            recorder.write(outside)
        with pytest.raises(ValueError, match="backwards"):
            recorder.write(events[::-1])
        recorder.write(events)
        with pytest.raises(ValueError, match="backwards"):
            recorder.write(events[:50])
        with pytest.raises(ValueError, match="does not fit"):
            recorder.write(Frame(5_900_000, 0, np.zeros((10, 10, 3), np.uint8)))
    with open_source(str(tmp_path / "a.aedat4")) as source:
        assert np.array_equal(split(source)[0], events)


@pytest.mark.parametrize("name", ["a.mp4", "missing/a.aedat4"])
def test_impossible_target_is_one_sentence(tmp_path, name):
    with pytest.raises(InputError, match="cannot be recorded"):
        Recorder(tmp_path / name, SENSOR, None, "camera", None)


def write_all(recorder, events):
    for begin in range(0, len(events), 1000):
        recorder.write(events[begin : begin + 1000])
    recorder.close()


def test_a_full_disk_is_one_sentence_and_what_was_recorded_is_readable(tmp_path):
    events = random_events(60_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    recorder = Recorder(tmp_path / "a.aedat4", SENSOR, None, "camera", None, compression="none")
    resource.setrlimit(resource.RLIMIT_FSIZE, (800_000, before[1]))
    try:
        with pytest.raises(InputError, match=r"\(File too large\).*What was recorded before is in it"):
            write_all(recorder, events)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["a.aedat4"]
    with open_source(str(tmp_path / "a.aedat4"), reconstruct_frames=False) as source:
        found, _ = split(source)
        assert source.losses.damage is None
    assert 40_000 < len(found) < 50_000
    assert np.array_equal(found, events[: len(found)])
    assert recorder.recorded_us == found["t"][-1]


def test_a_place_that_cannot_be_written_is_one_sentence():
    with pytest.raises(InputError, match="cannot be written") as caught:
        Recorder("/proc/a.aedat4", SENSOR, None, "camera", None)
    assert "\n" not in str(caught.value)
