"""AEDAT4 as we write it, read back by two libraries that know nothing of us: dv-processing and aedat."""

from __future__ import annotations

from pathlib import Path

import aedat
import dv_processing as dv
import numpy as np
import pytest
from click.testing import CliRunner

from app.cli import main
from streams.recorder import PACKET_EVENTS, Recorder
from streams.sources.aedat4 import open_source
from streams.types import EVENT_DTYPE, IMU_DTYPE, TRIGGER_DTYPE, Events, Frame, Resolution, Samples, events_from_columns

SENSOR = Resolution(64, 48)
CAMERA = Resolution(40, 30)


def random_events(count: int, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    return events_from_columns(np.sort(rng.integers(5_000_000, 5_400_000, count)), rng.integers(0, SENSOR.width, count),
                               rng.integers(0, SENSOR.height, count), rng.random(count) < 0.5)


def samples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    imu = np.zeros(7, IMU_DTYPE)
    for name in IMU_DTYPE.names or ():
        imu[name] = rng.integers(-99, 99, 7)
    imu["t"] = 5_000_000 + 1000 * np.arange(7)
    triggers = np.array([(5_000_100, 1), (5_000_200, 2), (5_000_300, 3)], TRIGGER_DTYPE)
    return imu, triggers


def written(path: Path, compression: str, count: int = 40_000) -> tuple[Events, list[Frame]]:
    events = random_events(count)
    rng = np.random.default_rng(2)
    frames = [Frame(5_050_000 + 100_000 * i, 1001 + i, rng.integers(0, 256, (*CAMERA.hw, 3), np.uint8))
              for i in range(3)]
    imu, triggers = samples()
    with Recorder(path, SENSOR, CAMERA, "simulated", "rendered", "Näme <1>", compression, sensors=True) as recorder:
        recorder.write(Samples("imu", imu))
        recorder.write(Samples("triggers", triggers))
        for item in (events, *frames):
            recorder.write(item)
    return events, frames


@pytest.mark.parametrize("compression", ["none", "lz4", "lz4_high", "zstd", "zstd_high"])
def test_dv_processing_reads_everything_and_seeks(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "a.aedat4"
    events, frames = written(path, compression, 20_000)
    reader = dv.io.MonoCameraRecording(str(path))
    assert reader.getCameraName() == "Näme <1>"
    assert (reader.getEventResolution(), reader.getFrameResolution()) == ((64, 48), (40, 30))
    assert reader.getStreamMetadata("events")["parafoveaOrigin"] == "simulated"
    assert reader.getTimeRange() == (5_000_000, max(int(events["t"][-1]), frames[-1].begin_us))
    stores = list(iter(reader.getNextEventBatch, None))
    assert [len(store) for store in stores] == [PACKET_EVENTS, 20_000 - PACKET_EVENTS]
    np.testing.assert_array_equal(np.concatenate([store.numpy().view(EVENT_DTYPE) for store in stores]), events)
    for frame, picture in zip(frames, iter(reader.getNextFrame, None), strict=True):
        assert (picture.timestamp, round(picture.exposure.total_seconds() * 1e6)) == (frame.begin_us, frame.exposure_us)
        assert picture.source == dv.FrameSource.SYNTHETIC
        np.testing.assert_array_equal(picture.image[..., ::-1], frame.image)
    imu, triggers = samples()
    for got, sample in zip(reader.getNextImuBatch(), imu, strict=True):
        assert (got.timestamp, got.temperature, got.accelerometerX, got.gyroscopeZ, got.magnetometerY) == (
            sample["t"], sample["temperature"], sample["acceleration_x"], sample["rotation_z"], sample["magnetic_y"])
    found = [(trigger.timestamp, trigger.type.value) for trigger in reader.getNextTriggerBatch()]
    assert found == [tuple(trigger) for trigger in triggers.tolist()]
    part = reader.getEventsTimeRange(5_100_000, 5_200_000).numpy().view(EVENT_DTYPE)
    np.testing.assert_array_equal(part, events[(events["t"] >= 5_100_000) & (events["t"] < 5_200_000)])
    assert [picture.timestamp for picture in reader.getFramesTimeRange(5_140_000, 5_160_000)] == [frames[1].begin_us]


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_aedat_reads_the_same(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "a.aedat4"
    events, frames = written(path, compression)
    decoder = aedat.Decoder(str(path))
    kinds = {number: stream["type"] for number, stream in decoder.id_to_stream().items()}
    assert kinds == {0: "events", 1: "frame", 2: "imus", 3: "triggers"}
    packets = list(decoder)
    t = np.concatenate([packet["events"]["t"] for packet in packets if "events" in packet])
    np.testing.assert_array_equal(t.astype(np.int64), events["t"])
    pixels = [packet["frame"]["pixels"] for packet in packets if "frame" in packet]
    for found, frame in zip(pixels, frames, strict=True):
        np.testing.assert_array_equal(found, frame.image)
    imu = next(packet["imus"] for packet in packets if "imus" in packet)
    np.testing.assert_array_equal(imu["accelerometer_y"], samples()[0]["acceleration_y"])


def test_nothing_of_the_memory_between_events_is_written(tmp_path: Path) -> None:
    events = random_events(100)
    events.view(np.uint8).reshape(100, -1)[:, 13:] = 0xAB
    with Recorder(tmp_path / "a.aedat4", SENSOR, None, "camera", None, compression="none") as recorder:
        recorder.write(events)
    assert b"\xab\xab\xab" not in (tmp_path / "a.aedat4").read_bytes()


def test_imu_and_triggers_are_counted_and_kept_by_a_recording_of_a_recording(tmp_path: Path) -> None:
    first, second = tmp_path / "a.aedat4", tmp_path / "b.aedat4"
    imu, triggers = np.zeros(300, IMU_DTYPE), np.zeros(7, TRIGGER_DTYPE)
    imu["t"], imu["acceleration_z"] = 1_000 * np.arange(300), np.arange(300)
    triggers["t"], triggers["kind"] = 40_000 * np.arange(7), [1, 2, 3, 1, 2, 3, 1]
    t = np.arange(0, 300_000, 100)
    with Recorder(first, SENSOR, None, "camera", None, sensors=True) as recorder:
        recorder.write(Samples("imu", imu))
        recorder.write(Samples("triggers", triggers))
        recorder.write(events_from_columns(t, t % SENSOR.width, t % SENSOR.height, t % 200 == 0))
    assert CliRunner().invoke(main, ["record", str(first), str(second)]).exit_code == 0
    kept: dict[str, list[np.ndarray]] = {"imu": [], "triggers": []}
    with open_source(str(second), sensors=lambda batch: kept[batch.kind].append(batch.data)) as source:
        assert sum(len(item) for item in source if isinstance(item, np.ndarray)) == len(t)
        np.testing.assert_array_equal(np.concatenate(kept["imu"]), imu)
        np.testing.assert_array_equal(np.concatenate(kept["triggers"]), triggers)
        kept["imu"].clear()
        source.seek(150_000)
        list(source)
        assert np.concatenate(kept["imu"])["t"][0] == 150_000
    said = CliRunner().invoke(main, ["info", str(second)])
    assert "IMU: 300 samples; triggers: 7" in said.output
