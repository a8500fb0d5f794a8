"""Laws of the filters: a subset or a geometric image, counted, in order, the same however the stream is cut."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from toy_sources import FeedSource, ListSource, cut, events_at, frame_at, toy_info

from app.cli import main
from app.compose import bundled_recording
from streams import filters
from streams.filtering import FilterCount, filter_counts, filtered
from streams.filters import create, names
from streams.filters.hot import hot_pixels
from streams.filters.undistort import read_calibration
from streams.recorder import Recorder
from streams.types import (
    IMU_DTYPE,
    Events,
    Frame,
    InputError,
    Resolution,
    Samples,
    Source,
    SourceInfo,
    events_from_columns,
)
from streams.windows import window_at, windows

STORY = str(bundled_recording())
SIZE = Resolution(12, 9)
MATRIX = [[10.0, 0, 5.5], [0, 10.0, 4.0], [0, 0, 1]]
BEND = (-0.2, 0.05, 0.001, -0.002, 0.0)
EXAMPLES = {"noise": "noise:0.3", "refractory": "refractory:0.5", "polarity": "polarity:on",
            "hot": "hot:3,2;5,5", "roi": "roi:2,1,7,5", "flip": "flip:horizontal", "rotate": "rotate:90",
            "undistort": "undistort:CALIBRATION"}
CHAIN = ["hot:0.002", "noise:0.3", "refractory:0.5", "rotate:270", "roi:1,2,6,7", "flip:vertical", "polarity:off"]


def write_json(path: Path, cameras: Sequence[str] = ("toy",), bend: Sequence[float] = BEND) -> Path:
    """A calibration as dv-processing 2.0.4 writes it: numbers as text."""
    def camera(name: str) -> dict[str, object]:
        return {"name": name, "position": "center", "master": "true", "resolution": [str(SIZE.width), str(SIZE.height)],
                "principalPoint": [str(MATRIX[0][2]), str(MATRIX[1][2])], "focalLength": ["10", "10"],
                "distortionCoefficients": [str(value) for value in bend], "distortionModel": "radialTangential"}
    path.write_text(json.dumps({"version": "2.0", "cameras": {f"C{i}": camera(n) for i, n in enumerate(cameras)}}))
    return path


def write_xml(path: Path, fisheye: int = 0, bend: Sequence[float] = BEND) -> Path:
    """A calibration in the storage of OpenCV, as DV writes it and dv-processing 2.0.4 reads it."""
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.startWriteStruct("toy", cv2.FileNode_MAP)
    storage.write("camera_matrix", np.array(MATRIX))
    storage.write("distortion_coefficients", np.array(bend)[:, None])
    storage.write("image_width", SIZE.width)
    storage.write("image_height", SIZE.height)
    storage.endWriteStruct()
    storage.write("use_fisheye_model", fisheye)
    storage.write("type", "camera")
    storage.release()
    return path


@pytest.fixture
def spec(tmp_path: Path) -> Callable[[str], str]:
    """The example of a filter, with a calibration file where it needs one."""
    return lambda name: EXAMPLES[name].replace("CALIBRATION", str(write_json(tmp_path / "lens.json")))


def busy(count: int = 1200, span_us: int = 5000, seed: int = 0, size: Resolution = SIZE) -> Events:
    """Sorted random events, some at the same time and many at few pixels."""
    rng = np.random.default_rng(seed)
    x = np.minimum(rng.integers(0, size.width, count), rng.integers(0, size.width, count))
    return events_from_columns(np.sort(rng.integers(0, span_us, count)), x, rng.integers(0, size.height, count),
                               rng.random(count) < 0.5)


def info(frames: bool = False, live: bool = False, events: Resolution | None = SIZE, sensor: str = "toy",
         frame_size: Resolution = SIZE) -> SourceInfo:
    return SourceInfo("toy", events, frame_size if frames else None, live, 0, None if live else 1_000_000,
                      frames_origin="camera" if frames else None, sensor=sensor)


def through(specs: list[str], events: Events, cuts: Sequence[int] = (),
            live: bool = False) -> tuple[Events, Source]:
    """What passes filters from a source that is cut at these indices, and the source behind them."""
    source = filtered(ListSource(cut(events, [], list(cuts)), info(live=live)), specs)
    return np.concatenate([*source, events[:0]]), source


def test_every_filter_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(names())


@pytest.mark.parametrize("name", names())
def test_what_comes_out_came_in_and_is_counted(name: str, spec: Callable[[str], str]) -> None:
    events = busy()
    guarded = events.copy()
    guarded.setflags(write=False)
    out, source = through([spec(name)], guarded)
    assert source.info.event_resolution is not None
    assert source.info.event_resolution.contains(out)
    assert filter_counts(source) == [FilterCount(spec(name), len(events), len(out))]
    assert source.losses.n_dropped == source.losses.n_rejected == 0
    assert 0 < len(out) <= len(events)
    np.testing.assert_array_equal(guarded, events)
    # each event carries its index as its time, so that it can be recognised
    numbered = events.copy()
    filtering = create(spec(name))
    filtering.prepare(SIZE, "toy")
    numbered["t"] = np.arange(len(events))
    kept = filtering.events(numbered)
    assert (np.diff(kept["t"]) > 0).all()
    np.testing.assert_array_equal(kept["p"], events["p"][kept["t"]])
    if name in ("noise", "refractory", "polarity", "hot"):
        np.testing.assert_array_equal(kept, numbered[kept["t"]])


@pytest.mark.parametrize("specs", [*([name] for name in names()), CHAIN], ids=lambda specs: "+".join(specs)[:40])
@pytest.mark.parametrize("seed", [1, 2])
def test_packet_borders_change_nothing(specs: list[str], seed: int, spec: Callable[[str], str]) -> None:
    specs = [spec(name) if name in EXAMPLES else name for name in specs]
    events = busy(seed=seed)
    rng = np.random.default_rng(seed)
    whole, source = through(specs, events)
    assert 0 < len(whole) < len(events) or specs[0].startswith(("flip", "rotate"))
    for cuts in (rng.integers(0, len(events), 30).tolist(), list(range(len(events)))):
        parts, other = through(specs, events, cuts)
        np.testing.assert_array_equal(parts, whole)
        assert filter_counts(other) == filter_counts(source)


@pytest.mark.parametrize("name", names())
def test_nothing_leaves_the_sensor_whatever_comes_in(name: str, spec: Callable[[str], str]) -> None:
    rng = np.random.default_rng(0)
    for events in (np.frombuffer(rng.bytes(16 * 3000), events_at([0]).dtype).copy(), events_at([5]),
                   events_from_columns(np.array([9, 3]), np.array([0, 65535]), np.array([65535, 0]), np.array([1, 0]))):
        events.view(np.uint8).reshape(len(events), -1)[:, 12] &= 1
        out, source = through([spec(name)], events)
        assert source.info.event_resolution is not None
        assert source.info.event_resolution.contains(out)


def slow_noise(events: Events, within_us: int) -> list[bool]:
    """The definition, event by event."""
    newest: dict[tuple[int, int], int] = {}
    kept = []
    for event in events:
        t, x, y = (int(event[name]) for name in "txy")
        around = [(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
        kept.append(any(t - newest[place] <= within_us for place in around if place in newest))
        newest[x, y] = t
    return kept


def slow_refractory(events: Events, period_us: int) -> list[bool]:
    """The definition, event by event."""
    passed: dict[tuple[int, int], int] = {}
    kept = []
    for event in events:
        t, place = int(event["t"]), (int(event["x"]), int(event["y"]))
        kept.append(place not in passed or t - passed[place] >= period_us)
        if kept[-1]:
            passed[place] = t
    return kept


@pytest.mark.parametrize("ms", [0.1, 0.5, 3, 1000])
@pytest.mark.parametrize("count", [1, 2, 600])
@pytest.mark.parametrize(("name", "slow"), [("noise", slow_noise), ("refractory", slow_refractory)])
def test_filters_with_memory_do_what_their_definition_says(
        name: str, slow: Callable[[Events, int], list[bool]], count: int, ms: float) -> None:
    for seed in range(3):
        events = busy(count, 20_000, seed, Resolution(40, 30))
        filtering = create(f"{name}:{ms}")
        filtering.prepare(Resolution(40, 30), "")
        parts = [filtering.events(events[a:b]) for a, b in pairwise([0, count // 3, count // 2, count]) if b > a]
        expected = events[slow(events, round(ms * 1000))]
        np.testing.assert_array_equal(np.concatenate(parts), expected)


@pytest.mark.parametrize("name", ["noise", "refractory"])
def test_memory_bridges_long_times_and_absolute_clocks(name: str) -> None:
    filtering = create(f"{name}:1")
    filtering.prepare(SIZE, "")
    for begin_us in (-5_000, 0, 3_000_000_000, 1_700_000_000_000_000):
        pair = events_from_columns(begin_us + np.array([0, 600, 900]), np.array([3, 4, 4]), np.array([2, 2, 2]),
                                   np.ones(3))
        # the first one has no company, and is long after the one before
        assert len(filtering.events(pair)) == 2


def test_a_pixel_does_not_keep_itself_company() -> None:
    out, _ = through(["noise:1000"], events_from_columns(np.arange(50), np.full(50, 3), np.full(50, 3), np.ones(50)))
    assert len(out) == 0


def with_hot_pixel(seconds: float = 2.0) -> Events:
    """A bar that moves over the sensor, and a pixel that fires every millisecond."""
    times = np.arange(0, round(seconds * 1e6), 1000)
    bar = [(t, t // 20_000 % SIZE.width, row) for t in times[::20] for row in range(SIZE.height)]
    rows = np.array(sorted([*bar, *((t, 7, 4) for t in times)]))
    return events_from_columns(*rows.T, np.ones(len(rows)))


def test_hot_pixels_of_a_recording_are_learned_from_its_first_part_and_left_out_everywhere() -> None:
    events = with_hot_pixel()
    out, source = through(["hot:0.5"], events, cuts=list(range(0, len(events), 97)))
    hot = (events["x"] == 7) & (events["y"] == 4)
    np.testing.assert_array_equal(out, events[~hot])
    source.seek(1_000_000)
    after, _ = through(["hot:7,4"], events[events["t"] >= 1_000_000])
    np.testing.assert_array_equal(np.concatenate([*source]), after)


def test_hot_pixels_of_a_live_source_are_left_out_as_soon_as_they_are_learned() -> None:
    events = with_hot_pixel()
    hot = (events["x"] == 7) & (events["y"] == 4)
    for cuts in ([], list(range(0, len(events), 31))):
        out, _ = through(["hot:0.5"], events, cuts, live=True)
        np.testing.assert_array_equal(out, events[~hot | (events["t"] < 500_000)])


def test_a_recording_shorter_than_what_is_learned_from_is_learned_from_as_a_whole() -> None:
    events = with_hot_pixel(0.4)
    out, source = through(["hot:10"], events)
    assert not ((out["x"] == 7) & (out["y"] == 4)).any()
    assert filter_counts(source)[0].n_in == len(events)


def test_contours_and_single_pairs_are_told_from_hot_pixels() -> None:
    counts = np.zeros((9, 12), int)
    counts[:, 3] = 100
    counts[4, 8] = counts[4, 9] = 500
    counts[0, 11] = 15
    assert np.argwhere(hot_pixels(counts)).tolist() == [[4, 8], [4, 9]]


def test_hot_pixels_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pixels.txt"
    path.write_text("# the first camera\n3,2\n5 5   # flickers\n\n")
    events = busy()
    np.testing.assert_array_equal(through([f"hot:{path}"], events)[0], through(["hot:3,2;5,5"], events)[0])


@pytest.mark.parametrize("name", ["roi:2,1,7,5", "flip:horizontal", "flip:vertical", "rotate:90", "rotate:180",
                                  "rotate:270"])
def test_events_go_where_the_picture_goes(name: str) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (*SIZE.hw, 3), dtype=np.uint8)
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(SIZE.width), np.arange(SIZE.height)))
    events = events_from_columns(np.arange(len(x)), x, y, np.ones(len(x)))
    with filtered(ListSource([events, Frame(len(x), 0, picture)], info(frames=True)), [name]) as source:
        moved, frame = source
    assert isinstance(frame, Frame)
    assert frame.resolution == source.info.event_resolution == source.info.frame_resolution
    was = events[moved["t"]]
    np.testing.assert_array_equal(frame.image[moved["y"], moved["x"]], picture[was["y"], was["x"]])
    assert len(moved) == frame.image.shape[0] * frame.image.shape[1]


def test_turning_and_cutting_by_hand() -> None:
    corner = events_from_columns(np.array([0]), np.array([0]), np.array([0]), np.array([1]))
    for name, x, y in (("rotate:90", 8, 0), ("rotate:180", 11, 8), ("rotate:270", 0, 11), ("flip:horizontal", 11, 0),
                       ("flip:vertical", 0, 8), ("roi:0,0,1,1", 0, 0)):
        out, _ = through([name], corner)
        assert (out["x"][0], out["y"][0]) == (x, y), name


def test_a_larger_picture_loses_the_same_part() -> None:
    picture = np.zeros((36, 48, 3), np.uint8)
    source = filtered(ListSource([Frame(0, 0, picture)], info(frames=True, frame_size=Resolution(48, 36))),
                      ["roi:6,3,6,6"])
    assert (source.info.event_resolution, source.info.frame_resolution) == (Resolution(6, 6), Resolution(24, 24))
    (frame,) = source
    assert isinstance(frame, Frame)
    assert frame.image.shape == (24, 24, 3)


@pytest.mark.parametrize(("fisheye", "bend"), [(0, BEND), (1, [0.05, -0.01, 0.0, 0.0])])
def test_undistorted_events_lie_where_the_undistorted_picture_shows_them(
        tmp_path: Path, fisheye: int, bend: list[float]) -> None:
    size = Resolution(120, 90)
    path = write_xml(tmp_path / "lens.xml", fisheye, bend)
    text = path.read_text().replace("12<", "120<").replace(">9<", ">90<")
    path.write_text(text.replace("10. 0. 5.5 0. 10. 4. 0. 0. 1.", "100. 0. 60. 0. 100. 45. 0. 0. 1."))
    filtering = create(f"undistort:{path}")
    assert filtering.prepare(size, "") == size
    for x, y in ((15, 12), (100, 20), (60, 45), (40, 80)):
        picture = np.zeros((*size.hw, 3), np.uint8)
        picture[y - 2:y + 3, x - 2:x + 3] = 255
        rows, columns = np.nonzero(filtering.image(picture)[..., 0] > 127)
        event = filtering.events(events_from_columns(np.array([0]), np.array([x]), np.array([y]), np.array([1])))[0]
        assert abs(rows.mean() - event["y"]) <= 1
        assert abs(columns.mean() - event["x"]) <= 1
        assert (int(event["x"]), int(event["y"])) != (x, y) or (x, y) == (60, 45)


def test_both_formats_of_dv_say_the_same(tmp_path: Path) -> None:
    (one,), (other,) = (read_calibration(path) for path in (write_json(tmp_path / "a"), write_xml(tmp_path / "b.xml")))
    assert (one.name, one.size, one.fisheye) == (other.name, other.size, other.fisheye) == ("toy", SIZE, False)
    np.testing.assert_array_equal(one.matrix, other.matrix)
    np.testing.assert_array_equal(one.distortion, other.distortion)


def test_the_lens_named_like_the_camera_is_taken(tmp_path: Path) -> None:
    path = write_json(tmp_path / "two.json", ["left", "right"])
    create(f"undistort:{path}").prepare(SIZE, "right")
    with pytest.raises(InputError, match="several cameras"):
        create(f"undistort:{path}").prepare(SIZE, "other")
    with pytest.raises(InputError, match="before roi and rotate"):
        create(f"undistort:{path}").prepare(Resolution(9, 12), "right")


def test_frames_stay_in_order_when_the_begin_of_a_packet_is_filtered_away() -> None:
    """A window must not close before a frame that belongs into it."""
    early = events_from_columns(np.array([0, 900]), np.array([1, 1]), np.array([1, 1]), np.array([0, 1]))
    items = [early, frame_at(500), *cut(events_at([1000, 2000]), [], [])]
    source = filtered(ListSource(items, toy_info(frames=True, duration_us=2000)), ["polarity:on"])
    starts = [item.t_us if isinstance(item, Frame) else int(item["t"][0]) for item in source]
    assert starts == sorted(starts)
    source.seek(0)
    first = next(iter(windows(source, 800)))
    assert [frame.t_us for frame in first.frames] == [500]


def test_nothing_is_lost_between_two_loops_over_one_source() -> None:
    early = events_from_columns(np.array([0, 900]), np.array([1, 1]), np.array([1, 1]), np.array([0, 1]))
    items = [early, frame_at(500), frame_at(600)]
    source = filtered(ListSource(items, toy_info(frames=True, duration_us=2000)), ["polarity:on"])
    assert isinstance(next(iter(source)), Frame)
    assert [isinstance(item, Frame) for item in source] == [True, False]


def test_seeking_begins_anew() -> None:
    events = busy()
    _, source = through(["noise:0.3", "refractory:0.5"], events)
    source.seek(2000)
    again = np.concatenate([*source])
    fresh, _ = through(["noise:0.3", "refractory:0.5"], events[events["t"] >= 2000])
    np.testing.assert_array_equal(again, fresh)


def test_a_window_of_filtered_events_has_their_size() -> None:
    source = filtered(ListSource([busy(), frame_at(6000)], info(frames=True)), ["rotate:90", "roi:0,0,4,5"])
    window = window_at(source, 5000, 5000)
    assert window.resolution == Resolution(4, 5)
    assert window.resolution.contains(window.events)
    assert len(window.events)


def test_live_sources_are_filtered_as_they_come() -> None:
    live = FeedSource(info(live=True))
    live.feed(busy(100), busy(0), frame_at(6000))
    live.end()
    source = filtered(live, ["polarity:on"])
    first, nothing, frame = source
    assert isinstance(first, np.ndarray)
    assert first["p"].all()
    assert len(first)
    assert isinstance(nothing, np.ndarray)
    assert not len(nothing)
    assert isinstance(frame, Frame)
    source.close()
    assert live.n_closed == 1


def test_a_source_without_events_only_moves_its_pictures() -> None:
    source = filtered(ListSource([frame_at(0)], info(frames=True, events=None)), ["noise", "rotate:90"])
    assert source.info.event_resolution is None
    assert source.info.frame_resolution == Resolution(SIZE.height, SIZE.width)


def test_no_filter_is_the_source_itself() -> None:
    source = ListSource([])
    assert filtered(source, []) is source
    assert filter_counts(source) == []


@pytest.mark.parametrize(("wrong", "said"), [
    ("nose", r"no filter 'nose'; use flip:horizontal\|vertical, hot"), ("", "there is no filter ''"),
    ("noise:x", "0.1 to 1000 milliseconds, got 'x'"), ("noise:0", "0.1 to 1000"), ("noise:nan", "got 'nan'"),
    ("refractory", "got ''"), ("polarity", "on or off"), ("polarity:ON", "on or off"), ("flip:both", "rotate:180"),
    ("rotate:45", "90, 180 or 270"), ("roi:1,2,3", "X,Y,WIDTH,HEIGHT"), ("roi:1,2,0,3", "at least 1 pixel"),
    ("roi:-1,2,3,3", "X,Y,WIDTH,HEIGHT"), ("roi:6,1,7,5", "sticks out of 12x9"), ("hot:0", "0.001 to 600"),
    ("hot:1.2.3", "seconds to learn"), ("hot:99,1", "99,1 is not on a sensor of 12x9"),
    ("hot:nowhere", "cannot be read"),
    ("undistort", "calibration.xml"), ("undistort:nowhere", "cannot be read")])
def test_wrong_filters_are_refused_in_one_sentence(wrong: str, said: str) -> None:
    source = ListSource([busy()], info())
    with pytest.raises(InputError, match=said) as refused:
        filtered(source, [wrong])
    assert source.n_closed == 1
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "<a>", "<a/>", "\x00", "[" * 100_000,
                                  '{"cameras": {"C0": {"name": "x"}}}', '{"cameras": 3}', '{"cameras": {}}'])
def test_what_is_no_calibration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong"
    path.write_text(text)
    with pytest.raises(InputError, match="calibrat"):
        create(f"undistort:{path}")


@pytest.mark.parametrize("bend", [[0.1], [float("nan")] * 5])
def test_coefficients_that_opencv_does_not_take_are_refused(tmp_path: Path, bend: list[float]) -> None:
    with pytest.raises(InputError, match="finite coefficients"):
        create(f"undistort:{write_json(tmp_path / 'lens', bend=bend)}")


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"\xff\xfe\x00", b"1,2,3\n", b"x" * (2 << 20)])
def test_what_is_no_list_of_pixels_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pixels"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"pixel|X,Y"):
        create(f"hot:{path}")


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A second of the bundled story."""
    path = tmp_path_factory.mktemp("part") / "part.aedat4"
    call("record", STORY, str(path), "--seconds", "1")
    return str(path)


def test_info_says_what_is_held_back_and_what_passes(part: str) -> None:
    plain, seen = (json.loads(call("info", part, "--json", *more).stdout)
                   for more in ([], ["--filter", "rotate:90", "--filter", "noise:1", "--filter", "polarity:on"]))
    assert plain["filters"] == []
    assert seen["event_resolution"] == seen["frame_resolution"] == plain["event_resolution"][::-1]
    counts = [(count["n_in"], count["n_out"]) for count in seen["filters"]]
    assert counts[0] == (plain["n_events"], counts[1][0])
    assert counts[0][1] == counts[0][0] > counts[1][1] == counts[2][0] > counts[2][1] == seen["n_events"]
    assert seen["n_frames"] == plain["n_frames"]
    assert seen["format"] == plain["format"] == "aedat4"


def test_what_a_filter_learned_from_is_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "imu.aedat4"
    with Recorder(path, SIZE, None, "camera", None, sensors=True) as recorder:
        samples = np.zeros(7, IMU_DTYPE)
        samples["t"] = np.arange(1000, 4500, 500)
        recorder.write(busy())
        recorder.write(Samples("imu", samples))
    said = json.loads(call("info", str(path), "--json", "--filter", "hot").stdout)
    assert (said["n_imu"], said["filters"][0]["n_in"]) == (7, 1200)


@pytest.mark.parametrize("command", [["ask", "{}", "What is happening?"], ["replay", "{}"]], ids=lambda it: it[0])
def test_answers_are_about_what_passes_the_filters(command: list[str], part: str) -> None:
    filters = ["--filter", "flip:horizontal", "--filter", "noise"]
    said = call(*(word.format(part) for word in command), *filters).stderr
    assert "flip:horizontal held back 0 of" in said
    assert re.search(r"noise held back [1-9][\d,]* of", said)


def test_a_filtered_recording_is_what_passes(part: str, tmp_path: Path) -> None:
    out = tmp_path / "cut.aedat4"
    said = call("record", part, str(out), "--filter", "roi:10,20,100,80").stderr
    assert "roi:10,20,100,80 held back" in said
    line = json.loads(call("info", str(out), "--json").stdout)
    assert (line["event_resolution"], line["filtered"]) == ([100, 80], "roi:10,20,100,80")
    assert "filtered: roi:10,20,100,80\n" in call("info", str(out)).stdout
    again = tmp_path / "again.aedat4"
    call("convert", str(out), str(again), "--filter", "polarity:on")
    assert json.loads(call("info", str(again), "--json").stdout)["filtered"] == "roi:10,20,100,80, polarity:on"
    # also where it can only be salvaged
    damaged = tmp_path / "damaged.aedat4"
    damaged.write_bytes(again.read_bytes()[:-3000])
    line = json.loads(call("info", str(damaged), "--json").stdout)
    assert (line["filtered"], line["damaged"]) == ("roi:10,20,100,80, polarity:on", True)


def test_every_command_that_reads_a_source_filters_and_says_how() -> None:
    for command in ("ask", "replay", "info", "demo", "record", "serve", "extract"):
        said = " ".join(call(command, "--help").stdout.split()).replace("- ", "-")
        for usage in filters.usages():
            assert usage.replace("...", "") in said.replace("...", ""), (command, usage)


def test_each_filter_says_how_it_is_written() -> None:
    for name, (usage, said) in zip(names(), filters.usages().items(), strict=True):
        assert usage.split(":")[0].split("[")[0] == name
        assert said
