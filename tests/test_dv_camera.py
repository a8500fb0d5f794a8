"""The live camera path against a stand-in child, and the supervision of children that misbehave."""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import standin_child

from app import terminal
from streams import supervised
from streams.isolation import WATCHDOG_S, Child, ChildError
from streams.ring import Ring
from streams.sources import dv
from streams.sources.aedat4 import Aedat4Source
from streams.types import Frame, InputError, Resolution

STANDIN = str(Path(__file__).with_name("standin_child.py"))
DEADLINE_S = 20.0


def argv(mode):
    return [sys.executable, STANDIN, mode]


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def children():
    """Command lines of our living or unreaped child processes that are children in the sense of isolation.py."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            command = (stat.parent / "cmdline").read_text()
        except (OSError, ValueError):
            continue
        zombie_or_child = "_child" in command or command == ""
        if parent == os.getpid() and zombie_or_child:
            found.append(command)
    return found


@pytest.fixture(autouse=True)
def _leaves_no_process_behind():
    yield
    wait_until(lambda: not children())


def test_camera_is_described_before_anything_is_read():
    with dv.open_camera("dv://1", argv("camera")) as source:
        info = source.info
        assert info.live
        assert info.duration_us is None
        assert (info.name, info.event_resolution) == ("STANDIN_1", Resolution(32, 24))
        assert (info.events_origin, info.frames_origin) == ("camera", "camera")
        assert source.losses.n_dropped == 0


def test_camera_delivers_packets_frames_and_the_passing_of_time():
    with dv.open_camera("dv://", argv("camera")) as source:
        items = list(source)
        kinds = ["frame" if isinstance(item, Frame) else len(item) for item in items]
        assert kinds == [10, "frame", 0, 10]
        assert items[0]["t"].tolist() == standin_child.packet_times(0).tolist()
        assert items[0]["t"].dtype == np.int64
        assert items[1].t_us == 1_000_050
        assert np.all(items[1].image == 7)
        assert (source.losses.n_dropped, source.losses.n_others_dropped, source.losses.n_late) == (5, 3, 2)
        assert "2 packets or frames out of order" in terminal.lost(source.losses)
        assert "disconnected" in source.losses.damage
        assert list(source) == []
        source.close()
        source.close()


def test_slow_consumer_keeps_the_newest_and_counts_the_rest():
    total = standin_child.FLOOD_PACKETS * standin_child.EVENTS_PER_PACKET
    with dv.open_camera("dv://", argv("flood")) as source:
        packets = [next(source)]
        # The child keeps sending while nobody consumes: all is said once the oldest were dropped for the newest.
        queued = source._child._pipes.thread
        wait_until(lambda: not queued.is_alive())
        packets += [packet for packet in source if len(packet)]
        dropped = source.losses.n_dropped
    delivered = np.concatenate(packets)
    assert dropped > 0
    assert len(delivered) + dropped == total
    newest = np.concatenate([standin_child.packet_times(n) for n in range(standin_child.FLOOD_PACKETS)])
    kept = len(delivered) - len(packets[0])
    assert delivered["t"][-kept:].tolist() == newest[-kept:].tolist()


def test_frames_that_nobody_takes_are_counted_apart():
    with dv.open_camera("dv://", argv("album")) as source:
        first = next(source)
        queued = source._child._pipes.thread
        wait_until(lambda: not queued.is_alive())
        taken = [item.t_us for item in source if isinstance(item, Frame)]
        losses = source.losses
    assert (len(first), losses.n_dropped) == (10, 0)
    assert losses.n_others_dropped > 0
    assert len(taken) + losses.n_others_dropped == standin_child.ALBUM_FRAMES
    assert taken[-1] == 2_000_000 + standin_child.ALBUM_FRAMES - 1


def test_impossible_events_are_refused_and_counted():
    with dv.open_camera("dv://", argv("wild")) as source:
        delivered = np.concatenate([packet for packet in source if len(packet)])
        assert delivered["t"].tolist() == [*standin_child.packet_times(0).tolist(), 1_000_200]
        assert source.losses.n_rejected == 5


def test_camera_that_hangs_is_ended_with_a_message():
    with dv.open_camera("dv://", argv("hang")) as source:
        started_s = time.monotonic()
        assert sum(map(len, source)) == 30
        assert time.monotonic() - started_s < WATCHDOG_S + 3
        assert "did not answer" in source.losses.damage


@pytest.mark.parametrize("mode", ["crash", "lie"])
def test_camera_that_crashes_or_lies_ends_with_a_message(mode):
    with dv.open_camera("dv://", argv(mode)) as source:
        assert sum(map(len, source)) == 30
        assert source.losses.damage.startswith("STANDIN_1 stopped")


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [("missing", "pip install dv-processing"), ("babble", "cannot be opened"), ("hang-open", "cannot be opened")],
)
def test_camera_that_cannot_be_opened_is_one_sentence(mode, sentence, monkeypatch):
    monkeypatch.setattr(supervised, "OPEN_S", 0.3)
    with pytest.raises(InputError, match=sentence) as caught:
        dv.open_camera("dv://", argv(mode))
    assert "\n" not in str(caught.value)


def test_no_camera_attached_is_one_sentence():
    if dv.discover():
        pytest.skip("a camera is attached")
    with pytest.raises(InputError, match="no camera found"):
        dv.open_source("dv://")
    with pytest.raises(InputError, match="camera XYZ"):
        dv.open_source("dv://XYZ")


def test_missing_sdk_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "dv_processing.py").write_text("raise ModuleNotFoundError('no', name='dv_processing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError, match="pip install dv-processing"):
        dv.open_source("dv://")


FAKE_SDK = """
import datetime, types
import numpy as np

EVENT = np.dtype({"names": ["timestamp", "x", "y", "polarity"], "formats": ["<i8", "<i2", "<i2", "i1"],
                  "offsets": [0, 8, 10, 12], "itemsize": 16})

def store(*times):
    events = np.zeros(len(times), EVENT)
    events["timestamp"], events["x"], events["y"], events["polarity"] = times, 3, 2, 1
    return types.SimpleNamespace(isEmpty=lambda: len(events) == 0, numpy=lambda: events)

class Camera:
    def __init__(self):
        self.batches = [None, store(), store(100, 200), None, store(300)]
        exposure = datetime.timedelta(microseconds=40)
        image = np.full((4, 5, 3), (10, 20, 30), np.uint8)
        names = [f"{what}{axis}" for what in ("accelerometer", "gyroscope", "magnetometer") for axis in "XYZ"]
        self.imu = [[types.SimpleNamespace(timestamp=105, temperature=30.5, **dict(zip(names, range(9))))]]
        self.frames = [types.SimpleNamespace(timestamp=110, exposure=exposure, image=image)]
    def isRunning(self): return bool(self.batches or self.frames)
    def isFrameStreamAvailable(self): return True
    def isImuStreamAvailable(self): return True
    def isTriggerStreamAvailable(self): return False
    def getCameraName(self): return "DAVIS346_00000391"
    def getEventResolution(self): return (5, 4)
    def getFrameResolution(self): return (5, 4)
    def getNextEventBatch(self): return self.batches.pop(0) if self.batches else None
    def getNextFrame(self): return self.frames.pop() if self.frames and not self.batches else None
    def getNextImuBatch(self): return self.imu.pop() if self.imu else None
    def setAutoExposure(self, enabled): print("auto exposure", enabled, file=log, flush=True)
    def setExposureDuration(self, time): print("exposure", time, file=log, flush=True)
    def setCropArea(self, area):
        if area[2] > 5:
            raise RuntimeError("area outside the sensor")
        print("area", area, file=log, flush=True)
    def setDavis346BiasCoarseFine(self, bias, coarse, fine): print(bias, coarse, fine, file=log, flush=True)

log = open(__file__ + ".log", "a")
Camera.__name__ = "DAVIS"
def open_camera(serial=None):
    if serial != "00000391":
        raise RuntimeError("file.hpp(88): open()\\nRuntimeError: no such camera\\nStacktrace:\\n 0# 0x00")
    return Camera()

print("an SDK may print whatever it wants")
biases = types.SimpleNamespace(__members__={"Diff": "bias Diff", "On": "bias On"})
io = types.SimpleNamespace(camera=types.SimpleNamespace(
    open=open_camera, DAVIS=types.SimpleNamespace(Davis346BiasCF=biases)))
"""


def test_the_real_child_reads_a_camera_as_the_sdk_describes_it(tmp_path, monkeypatch):
    (tmp_path / "dv_processing.py").write_text(FAKE_SDK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with dv.open_source("dv://00000391", give_up_s=0) as source:
        assert source.info.sensor == "DAVIS346_00000391"
        assert source.info.event_resolution == source.info.frame_resolution == Resolution(5, 4)
        items = [item for item in source if isinstance(item, Frame) or len(item)]
        assert [item["t"].tolist() for item in items[:2]] == [[100, 200], [300]]
        assert (items[0]["x"][0], items[0]["y"][0], items[0]["p"][0]) == (3, 2, True)
        assert (items[2].t_us, items[2].exposure_us) == (130, 40)
        assert items[2].image[0, 0].tolist() == [30, 20, 10]
        assert source.losses.damage == "DAVIS346_00000391 stopped (the camera was disconnected)."
    heard = []
    with dv.open_source("dv://00000391", give_up_s=0, sensors=heard.append) as source:
        assert sum(len(item) for item in source if not isinstance(item, Frame)) == 3
    (samples,) = heard
    assert (samples.kind, samples.data.tolist()) == ("imu", [(105, 30.5, 0, 1, 2, 3, 4, 5, 6, 7, 8)])
    with pytest.raises(InputError, match=r"\(no such camera\)"):
        dv.open_source("dv://7")


def test_options_reach_the_camera(tmp_path, monkeypatch):
    sdk = tmp_path / "dv_processing.py"
    sdk.write_text(FAKE_SDK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with dv.open_source("dv://00000391?exposure_us=5000&roi=1,0,4,3&bias.Diff=5,160", give_up_s=0):
        pass
    assert Path(f"{sdk}.log").read_text().splitlines() == [
        "auto exposure False", "exposure 0:00:00.005000", "area (1, 0, 4, 3)", "bias Diff 5 160"]


@pytest.mark.parametrize(("query", "sentence"), [
    ("contrast_on=3", "a DAVIS has no contrast_on; it takes auto_exposure=on|off, exposure_us=1-1000000"),
    ("bias.Gain=3,4", "a DAVIS has no bias Gain; there are Diff, On"),
    ("bias.Diff=8,4", "bias Diff is not allowed to be 8,4; bias.NAME=0-7,0-255"),
    ("roi=0,0,50,4", r"the camera does not take roi=0,0,50,4 (area outside the sensor)"),
])
def test_what_a_model_does_not_take_is_one_sentence(tmp_path, monkeypatch, query, sentence):
    (tmp_path / "dv_processing.py").write_text(FAKE_SDK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError, match=re.escape(f"camera 00000391: {sentence}")) as caught:
        dv.open_source(f"dv://00000391?{query}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("query", "sentence"), [
    ("gain=3", "gain is no option of an event camera; there are contrast_on, contrast_off, readout"),
    ("contrast_on=256", "contrast_on=256 is not allowed; contrast_on is 0-255"),
    ("exposure_us=soon", "exposure_us is 1-1000000"),
    ("roi=1,2,3", "roi is X,Y,WIDTH,HEIGHT"),
    ("frame_rate_hz=0", "frame_rate_hz is 0.1-1000"),
    ("auto_exposure=maybe", "auto_exposure is on|off"),
    ("readout=FAST", "readout is CONSTANT_100|"),
    ("bias.Diff=x", "bias.Diff=x is not allowed; bias.NAME="),
    ("nonsense", "are no options; write NAME=VALUE"),
])
def test_wrong_options_are_one_sentence_before_any_camera_is_opened(query, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        dv.open_source(f"dv://1?{query}")


INTROSPECTION = """
import json
from streams.camera_options import OPTIONS, READOUTS
import dv_processing as dv

kinds = {"setAutoExposure": "bool", "setFramesRunning": "bool", "setGlobalHold": "bool", "setCropArea": "tuple_xywh",
         "setExposureDuration": "timedelta", "setFrameInterval": "timedelta", "setReadoutFPS": "ReadoutFPS",
         "setContrastThresholdOn": "SupportsInt", "setContrastThresholdOff": "SupportsInt"}
wrong = []
for name, option in OPTIONS.items():
    for model in ("DAVIS", "DVXplorer", "DVXplorerM", "DVS128"):
        kind = getattr(dv.io.camera, model)
        has = all(hasattr(kind, setter) for setter in option.setters)
        if has != (model in option.models):
            wrong.append(f"{model} {name}: {has}")
        for setter in option.setters if has else ():
            said = getattr(kind, setter).__doc__.splitlines()[0]
            if kinds.get(setter, "bool").lower() not in said.lower():
                wrong.append(said)
if set(dv.io.camera.DVXplorer.ReadoutFPS.__members__) != set(READOUTS):
    wrong.append("readouts")
for setter, enum in (("setDavis346BiasCoarseFine", "Davis346BiasCF"), ("setDavis240BiasCoarseFine", "Davis240BiasCF")):
    said = getattr(dv.io.camera.DAVIS, setter).__doc__
    if enum not in said or "coarse" not in said or not getattr(dv.io.camera.DAVIS, enum).__members__:
        wrong.append(said)
if "value" not in dv.io.camera.DVS128.setBias.__doc__ or not dv.io.camera.DVS128.Bias.__members__:
    wrong.append("DVS128 biases")
print(json.dumps(wrong))
"""


def test_the_sdk_has_what_the_options_set():
    run = subprocess.run([sys.executable, "-c", INTROSPECTION], capture_output=True, text=True,
                         cwd=Path(__file__).parent.parent, timeout=60)
    if "No module named 'dv_processing'" in run.stderr:
        pytest.skip("dv-processing is not installed")
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


def test_discover_lists_what_can_be_opened():
    (camera,) = dv.discover(argv("camera"))
    assert (camera["uri"], camera["model"], camera["serial"]) == ("dv://00000391", "DAVIS", "00000391")
    assert "exposure_us=1-1000000" in camera["options"]
    assert "bias.NAME=0-7,0-255" in camera["options"]
    assert not any(option.startswith("contrast_on") for option in camera["options"])


def test_live_sources_cannot_seek():
    with dv.open_camera("dv://", argv("camera")) as source:
        with pytest.raises(InputError, match="live"):
            source.seek(0)
        with pytest.raises(InputError, match="live"):
            source.rate_histogram(4)


def test_closing_from_elsewhere_ends_the_iteration():
    source = dv.open_camera("dv://", argv("hang"))
    assert len(next(source)) == 10
    source.close()
    assert sum(map(len, source)) <= 20
    assert source.losses.damage is None


def test_shared_memory_has_no_name_while_in_use():
    with dv.open_camera("dv://", argv("hang")) as source:
        next(source)
        assert not Path("/dev/shm", source._child.ring.name.lstrip("/")).exists()


def test_an_abandoned_child_ends_with_its_owner():
    child = Child({"task": "camera", "serial": "", "options": {}}, argv("hang"))
    child.expect("open")
    assert len(children()) == 1
    del child
    wait_until(lambda: not children())


@pytest.mark.parametrize(("mode", "reason"), [("hang", "stopped answering"), ("crash", "crashed")])
def test_recording_whose_decoder_fails_keeps_what_was_read(tmp_path, mode, reason):
    path = tmp_path / "a.aedat4"
    path.write_bytes(b"#!AER-DAT4.0\r\n")
    with Aedat4Source(str(path), child_argv=argv(mode)) as source:
        assert sum(map(len, source)) == 30
        assert reason in source.losses.damage


def test_a_child_that_never_starts_is_an_error():
    with pytest.raises(ChildError, match="exit code"):
        Child({"task": "camera"}, [sys.executable, "-c", ""])


def test_slots_that_two_threads_release_are_released_by_one_at_a_time(monkeypatch):
    ring, inside, most = Ring(1 << 20), [], []
    release, other = ring._memory.close, threading.Thread(target=ring.close)

    def watched():
        inside.append(1)
        most.append(len(inside))
        if other.ident is None:
            other.start()
            other.join(0.05)  # it cannot come in before this one has left
        release()
        inside.pop()

    monkeypatch.setattr(ring._memory, "close", watched)
    ring.close()
    other.join(10)
    assert most == [1, 1]
