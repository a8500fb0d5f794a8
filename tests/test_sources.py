"""The contract of every source in streams/sources, opening by name and by content, and the webcam."""

from __future__ import annotations

import importlib
import inspect
import itertools
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import written
from toy_sources import events_at, frame_at, imu_at
from written import FORMATS, write

from streams import sources
from streams.recorder import Recorder
from streams.server import Server
from streams.sources import dv, file_formats, open_source, schemes
from streams.sources.pair import pair_uri
from streams.sources.webcam import KEPT_FRAMES, WebcamSource
from streams.types import (
    EVENT_DTYPE,
    IMU_DTYPE,
    Events,
    Frame,
    InputError,
    Packet,
    Resolution,
    Samples,
    SensorSink,
    Source,
    SourceInfo,
)

MODULES = sorted(path.stem for path in Path(sources.__file__).parent.glob("[!_]*.py"))
SAMPLE_RESOLUTION = Resolution(8, 6)


REAL = Path(__file__).resolve().parents[2] / "shared" / "recordings"
REAL_RECORDINGS = sorted(path.name for path in REAL.glob("*") if path.suffix != ".json" and path.stat().st_size > 1000)
STANDIN = str(Path(__file__).with_name("standin_child.py"))


def moving_bar(index: int, width: int = 64, height: int = 48) -> np.ndarray:
    """BGR uint8 [H, W, 3]: a bright bar that moves 3 px per picture."""
    image = np.full((height, width, 3), 30, np.uint8)
    image[:, 3 * index % width:3 * index % width + 9] = 220
    return image


class FakeCamera:
    """Gives moving bars; after `count` pictures it fails. Each read waits for a permit when there is a gate."""

    def __init__(self, count: int = 1 << 30, gate: threading.Semaphore | None = None, there: bool = True) -> None:
        self.n_read = self.n_released = 0
        self._count, self._gate, self._there = count, gate, there

    def isOpened(self) -> bool:
        return self._there

    def read(self) -> tuple[bool, np.ndarray | None]:
        if self._gate is not None:
            self._gate.acquire(timeout=0.05)
        if self.n_read >= self._count:
            return False, None
        self.n_read += 1
        return True, moving_bar(self.n_read)

    def release(self) -> None:
        self.n_released += 1


def ticking(step_s: float) -> Callable[[], float]:
    """A clock that moves on by step_s each time it is read."""
    ticks = itertools.count()
    return lambda: next(ticks) * step_s


class Published:
    """A source of the network and, behind it, a server that publishes until it is closed."""

    def __init__(self, scheme: str, folder: Path, sensors: SensorSink | None = None) -> None:
        info = SourceInfo("toy", SAMPLE_RESOLUTION, SAMPLE_RESOLUTION, events_origin="camera", frames_origin="camera",
                          samples=("imu",))
        self._server = Server(info, [("127.0.0.1", 0)] * 3 if scheme == "tcp" else
                              [Path(tempfile.mkdtemp(dir=folder)) / kind for kind in ("e", "f", "i")])
        self._source = open_source(self._server.uri, give_up_s=0, sensors=sensors)
        self._closed = threading.Event()
        threading.Thread(target=self._publish, daemon=True).start()

    def _publish(self) -> None:
        for t_us in itertools.count(0, 50_000):
            if self._closed.wait(0.005):
                return
            self._server.publish(events_at(list(range(t_us, t_us + 50_000, 500))))
            self._server.publish(imu_at(range(t_us, t_us + 50_000, 1000)))
            self._server.publish(frame_at(t_us + 50_000))

    def __getattr__(self, name: str) -> object:
        return getattr(self._source, name)

    def __iter__(self) -> Iterator[Packet]:
        return iter(self._source)

    def __enter__(self) -> Published:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        self._source.close()
        self._server.close()


def sample(name: str, folder: Path, sensors: SensorSink | None = None) -> str | Source:
    """A URI, or a source, of a module, with stand-ins for hardware, or the path of a real recording.

    sensors: gets the samples of what is a source.
    """
    if (REAL / name).is_file():
        return str(REAL / name)
    if name == "video":
        path = folder / "sample.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (64, 48))
        for index in range(15):
            writer.write(moving_bar(index))
        writer.release()
        return str(path)
    if name == "aedat4":
        path = folder / "sample.aedat4"
        with Recorder(path, SAMPLE_RESOLUTION, SAMPLE_RESOLUTION, "simulated", "camera", sensors=True) as recorder:
            for t_us in range(0, 500_000, 50_000):
                recorder.write(events_at(list(range(t_us, t_us + 50_000, 500))))
                recorder.write(imu_at(range(t_us, t_us + 50_000, 1000)))
                recorder.write(frame_at(t_us + 50_000))
        return str(path)
    if name == "folder":
        frames = [frame_at(t_us) for t_us in range(50_000, 500_000, 50_000)]
        return str(written.folder(folder / "f", events_at(list(range(1000, 500_000, 500))), frames, "rpg"))
    if name in FORMATS:
        return str(write(name, folder, events_at(list(range(1000, 500_000, 500)))))
    if name == "webcam":
        return WebcamSource(0, clock=ticking(0.02), opener=lambda number: FakeCamera())
    if name == "rtsp":
        pytest.skip("rtsp needs a camera; test_network_camera.py reads the same way over HTTP")
    if name in ("tcp", "unix"):
        return Published(name, folder, sensors)
    if name == "pair":
        return pair_uri(str(sample("aedat4", folder)), str(sample("video", folder)), 0)
    if name == "dv":
        return dv.open_camera("dv://", [sys.executable, STANDIN, "camera"], sensors=sensors)
    return f"{name}://"


@pytest.fixture(scope="module", params=MODULES + REAL_RECORDINGS)
def sample_of(request: pytest.FixtureRequest,
              tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Source]:
    """Opens the sample of one module, or one real recording, again and again."""
    folder = tmp_path_factory.mktemp(request.param)
    first = sample(request.param, folder)

    def fresh() -> Source:
        if isinstance(first, str):
            return open_source(first)
        again = sample(request.param, folder)
        assert not isinstance(again, str)
        return again

    if not isinstance(first, str):
        first.close()
    return fresh


@pytest.fixture
def source(sample_of: Callable[[], Source]) -> Iterator[Source]:
    with sample_of() as source:
        yield source


def some(source: Source, count: int = 60) -> list[Packet]:
    """The next items; of a recording that ends all."""
    return list(source if source.info.duration_us else itertools.islice(source, count))


def events_in(items: list[Packet]) -> Events:
    packets = [item for item in items if not isinstance(item, Frame)]
    return np.concatenate(packets) if packets else np.empty(0, EVENT_DTYPE)


def test_events_are_sorted_int64_and_inside_the_sensor(source: Source) -> None:
    events = events_in(some(source))
    assert events.dtype == EVENT_DTYPE
    assert len(events) > 0
    assert (np.diff(events["t"]) >= 0).all()
    assert source.info.event_resolution is not None
    assert source.info.event_resolution.contains(events)


def test_frames_are_rgb_of_the_stated_size_and_in_order(source: Source) -> None:
    frames = [item for item in some(source) if isinstance(item, Frame)]
    assert (len(frames) > 0) == (source.info.frame_resolution is not None)
    assert {frame.resolution for frame in frames} <= {source.info.frame_resolution}
    times = [frame.t_us for frame in frames]
    assert times == sorted(times)


def test_items_come_in_order_of_their_begin(source: Source) -> None:
    begins = [item.t_us - item.exposure_us // 2 if isinstance(item, Frame) else int(item["t"][0])
              for item in some(source) if isinstance(item, Frame) or len(item)]
    n_back = sum(begin < most for begin, most in zip(begins, itertools.accumulate(begins, max), strict=True))
    # Not 0 only where one of two connections was silent for longer than is waited: then it is counted.
    assert n_back <= source.losses.n_late


@pytest.mark.parametrize("name", [
    name for name in MODULES
    if "sensors" in inspect.signature(importlib.import_module(f"streams.sources.{name}").open_source).parameters])
def test_who_asks_for_samples_gets_them_in_order(name: str, tmp_path: Path) -> None:
    heard = list[Samples]()
    for sensors in (None, heard.append):
        found = sample(name, tmp_path, sensors)
        with open_source(found, **({"sensors": sensors} if sensors else {})) if isinstance(found, str) else found as it:
            assert ("imu" in it.info.samples) == (sensors is not None)
            for n_items, _ in enumerate(it):
                if n_items > 20 and (heard or not sensors):
                    break
        assert bool(heard) == (sensors is not None)
    assert {(samples.kind, samples.data.dtype) for samples in heard} == {("imu", IMU_DTYPE)}
    t = np.concatenate([samples.data["t"] for samples in heard])
    assert len(t) >= 10
    assert (np.diff(t) > 0).all()


def test_info_consumes_nothing_and_labels_what_there_is(sample_of: Callable[[], Source]) -> None:
    with sample_of() as first, sample_of() as second:
        for _ in range(3):
            info = first.info
        assert info == second.info
        assert (info.event_resolution is None) == (info.events_origin is None)
        assert (info.frame_resolution is None) == (info.frames_origin is None)
        if not info.live:
            np.testing.assert_array_equal(events_in(some(first)), events_in(some(second)))


def test_close_twice_and_before_reading(sample_of: Callable[[], Source]) -> None:
    source = sample_of()
    source.close()
    source.close()
    with sample_of() as again:
        some(again, 2)
        again.close()


def test_files_seek_and_live_sources_say_that_they_cannot(source: Source) -> None:
    if source.info.live:
        for action in (lambda: source.seek(0), lambda: source.rate_histogram(4)):
            with pytest.raises(InputError):
                action()
        return
    start_us = source.info.start_us or 0
    everything = some(source)
    target_us = start_us + min(200_000, (source.info.duration_us or 500_000) * 2 // 5)
    source.seek(target_us)
    items = some(source)
    assert events_in(items)["t"].min() >= target_us
    frames = [item.t_us for item in items if isinstance(item, Frame)]
    assert frames[0] == min(item.t_us for item in everything if isinstance(item, Frame) and item.t_us >= target_us)


def test_histograms_count_per_second(source: Source) -> None:
    if source.info.duration_us is None:
        pytest.skip("this source has no known length")
    before = source.rate_histogram(10)
    assert before.shape == (10,)
    assert before.dtype == np.float64
    seconds = source.info.duration_us * 1e-6
    count = len(events_in(list(source)))
    assert before.mean() * seconds == pytest.approx(count, rel=0.5 if source.info.frames_origin == "video" else 0.01)


def test_names_are_the_modules_of_the_folder() -> None:
    assert sorted(schemes() + file_formats()) == MODULES
    assert {"aedat4", "folder", "video", *FORMATS} == set(file_formats())
    assert {"dv", "pair", "rtsp", "synthetic", "tcp", "unix", "webcam"} <= set(schemes())


@pytest.mark.parametrize(("uri", "sentence"), [
    ("ftp://somewhere", r"ftp://somewhere names no known source; give one of dv://.* or the path of a recording"),
    ("video://clip.mp4", "names no known source"),
    ("../types://x", "names no known source"),
    ("no/such/file.aedat4", r"no/such/file.aedat4 does not exist"),
    ("", "is a folder"),
    (".", "is a folder"),
    ("webcam://front", "names no camera; give its number"),
    ("rtsp:///stream", "names no camera; write rtsp://HOST/PATH"),
])
def test_wrong_names_are_one_sentence(uri: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        open_source(uri)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "content", "sentence"), [
    ("drive.aedat4", b"just some text\n" * 30, r"is named \.aedat4 but its content is not AEDAT4"),
    ("DRIVE.AEDAT4", b"x", r"is named \.aedat4 but its content is not AEDAT4"),
    ("old.aedat", b"#!AER-DAT1.0\r\n" + bytes(64), "is AEDAT 1.0; only 2.0, 3.1 and 4 can be read"),
    ("header.aedat", b"#!AER-DAT2.0\r\n# AEChip: Davis346\r\n", "has no events and no frames"),
    ("cut.es", b"Event Stream\2\0\0\1", "ends within its header"),
    ("atis.es", b"Event Stream\2\0\0\2\x40\1\xf0\0", "is an Event Stream of ATIS events"),
    ("frame.dat", b"% Version 2\n\x0e\x08" + bytes(16), "DAT events of type 14"),
    ("notes.txt", b"hello", r"none of the readable formats \(aedat2, .*video\)"),
    ("table.csv", b"name,age,size,weight\n" + b"3.5,4.5,1.5,9.5\n" * 9, "columns are not time, x, y and polarity"),
    ("zeros.bin", bytes(4000), "none of the readable formats"),
    ("noise.bin", np.random.default_rng(0).bytes(4000), "none of the readable formats"),
    ("no.bag", b"#ROSBAG V2.0\n" + bytes(64), "has no message of dvs_msgs/EventArray"),
    ("empty.aedat4", b"", "is empty"),
])
def test_foreign_files_are_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        open_source(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(InputError, match="colour is not an option of webcam; it takes max_width"):
        open_source("webcam://0", colour=True)


def test_a_missing_webcam_is_one_sentence_at_once() -> None:
    with pytest.raises(InputError, match="there is no camera 3; connect one"):
        WebcamSource(3, opener=lambda number: FakeCamera(there=False))
    with pytest.raises(InputError, match="camera 3 failed: broken driver"):
        WebcamSource(3, opener=broken_driver)


def broken_driver(number: int) -> FakeCamera:
    raise RuntimeError("broken driver")


def test_webcam_counts_what_it_drops_and_keeps_the_newest() -> None:
    gate = threading.Semaphore(0)
    camera = FakeCamera(count=30, gate=gate)
    gate.release(30)
    source = WebcamSource(0, clock=ticking(0.02), opener=lambda number: camera, patience_s=0.01)
    source._thread.join(10)
    kept: list[Packet] = []
    with pytest.raises(InputError, match="stopped giving pictures"):
        kept.extend(source)
    frames = [item.t_us for item in kept if isinstance(item, Frame)]
    assert camera.n_released == 1
    assert len(frames) == KEPT_FRAMES
    assert frames[-1] == 29 * 20_000
    assert source.losses.n_others_dropped == 30 - KEPT_FRAMES
    assert source.losses.n_dropped > 0
    source.close()


def test_webcam_labels_its_streams_and_time_passes_in_silence() -> None:
    gate = threading.Semaphore(1)
    with WebcamSource(0, max_width=32, opener=lambda number: FakeCamera(gate=gate, count=1)) as source:
        info = source.info
        assert (info.live, info.events_origin, info.frames_origin) == (True, "simulated", "camera")
        assert str(info.frame_resolution) == "32x24"
        items = iter(source)
        first, second = next(items), next(items)
        assert isinstance(first, Frame)
        assert not isinstance(second, Frame)
        assert len(second) == 0
    assert list(source) == []
