"""Video files: exact times, RGB, events before their frame, seeking, and files that are no videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from streams.sources import open_source
from streams.sources.video import VideoSource
from streams.types import Frame, InputError, Packet

WIDTH, HEIGHT, FPS, COUNT = 64, 48, 25, 30
PERIOD_US = 40_000


def picture(index: int) -> np.ndarray:
    """BGR: a red bar that moves 2 px per picture over a dark ground."""
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    image[:, 2 * index % WIDTH:2 * index % WIDTH + 8] = (20, 20, 230)
    return image


def write_video(path: Path, fourcc: str = "mp4v", count: int = COUNT) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), FPS, (WIDTH, HEIGHT))
    for index in range(count):
        writer.write(picture(index))
    writer.release()
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "bar.mp4")


@pytest.fixture
def video(path: Path) -> Iterator[VideoSource]:
    with VideoSource(path) as source:
        yield source


def frames_of(items: list[Packet]) -> list[Frame]:
    return [item for item in items if isinstance(item, Frame)]


def events_of(items: list[Packet]) -> np.ndarray:
    return np.concatenate([item for item in items if not isinstance(item, Frame)])


def test_info_is_labelled_and_consumes_nothing(video: VideoSource) -> None:
    info = video.info
    assert (info.events_origin, info.frames_origin, info.live) == ("simulated", "video", False)
    assert (str(info.event_resolution), str(info.frame_resolution)) == ("64x48", "64x48")
    assert (info.start_us, info.duration_us) == (0, COUNT * PERIOD_US)
    assert len(frames_of(list(video))) == COUNT


def test_times_are_exact_and_pictures_rgb(video: VideoSource) -> None:
    frames = frames_of(list(video))
    assert [frame.t_us for frame in frames] == [index * PERIOD_US for index in range(COUNT)]
    red, green, blue = frames[0].image[:, :6].reshape(-1, 3).mean(0)
    assert red > 180
    assert max(green, blue) < 80


def test_events_come_before_the_frame_that_ends_them(video: VideoSource) -> None:
    items, last_us = list(video), 0
    for item in items:
        if isinstance(item, Frame):
            assert last_us <= item.t_us
            last_us = item.t_us
        else:
            assert last_us <= item["t"][0]
            assert (np.diff(item["t"]) >= 0).all()
            last_us = int(item["t"][-1])
    events = events_of(items)
    assert len(events) > 1000
    assert events["t"].dtype == np.int64
    assert {True, False} == set(events["p"].tolist())


@pytest.mark.parametrize("target_us", [0, 1, 12 * PERIOD_US, 12 * PERIOD_US + 7, (COUNT - 1) * PERIOD_US])
def test_seek_goes_on_at_the_target(video: VideoSource, target_us: int) -> None:
    everything = list(video)
    video.seek(target_us)
    items = list(video)
    wanted = [frame for frame in frames_of(everything) if frame.t_us >= target_us]
    assert [frame.t_us for frame in frames_of(items)] == [frame.t_us for frame in wanted]
    np.testing.assert_array_equal(frames_of(items)[0].image, wanted[0].image)
    if target_us < (COUNT - 2) * PERIOD_US:
        again, before = events_of(items), events_of(everything)
        before = before[before["t"] >= target_us]
        assert again["t"].min() >= target_us
        assert len(again) == pytest.approx(len(before), rel=0.05)
        assert (again["t"] < target_us + PERIOD_US).any()


def test_iteration_reads_on_where_it_was_left(video: VideoSource) -> None:
    taken = [item for item, _ in zip(video, range(7), strict=False)]
    rest = list(video)
    assert len(frames_of(taken + rest)) == COUNT


def test_wide_videos_are_scaled_down(path: Path) -> None:
    with open_source(str(path), max_width=32) as source:
        assert str(source.info.event_resolution) == "32x24"
        items = list(source)
    assert frames_of(items)[0].image.shape == (24, 32, 3)
    assert events_of(items)["x"].max() < 32


def test_histogram_shows_where_it_moves(tmp_path: Path) -> None:
    path = tmp_path / "rest.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    for index in range(40):
        writer.write(picture(index if index < 20 else 20))
    writer.release()
    with VideoSource(path) as source:
        rates = source.rate_histogram(8)
        assert rates.shape == (8,)
        assert rates[:3].min() > 3 * rates[-3:].max()
        assert len(frames_of(list(source))) == 40
        with pytest.raises(InputError, match="at least one bin"):
            source.rate_histogram(0)


def test_other_containers_are_known_by_their_content(tmp_path: Path) -> None:
    renamed = write_video(tmp_path / "bar.avi", "MJPG").rename(tmp_path / "bar.dat")
    with open_source(str(renamed)) as source:
        assert len(frames_of(list(source))) == COUNT


def test_a_video_that_ends_early_says_so(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "bar.avi", "MJPG").read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[:len(whole) // 2])
    with VideoSource(cut) as source:
        assert source.losses.damage is None
        assert 0 < len(frames_of(list(source))) < COUNT
        assert source.losses.damage is not None
        assert source.losses.damage.startswith("cut.avi ends after")


@pytest.mark.parametrize("content", [b"\x00\x00\x00\x18ftypmp42" + bytes(200), b"RIFF\x00\x00\x00\x00AVI " + bytes(99),
                                     b"\x1aE\xdf\xa3" + bytes(300)])
def test_corrupt_videos_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.mp4 (cannot be opened|has no picture)") as caught:
        open_source(str(path))
    assert "\n" not in str(caught.value)


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.avi"
    write_video(path, "MJPG", count=0)
    if not path.exists():
        path.write_bytes(b"RIFF\x00\x00\x00\x00AVI LIST")
    with pytest.raises(InputError, match=r"none\.avi"):
        open_source(str(path))


def test_text_named_mp4_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("dear diary\n" * 100)
    with pytest.raises(InputError, match=r"notes\.mp4 is none of the readable formats .*video"):
        open_source(str(path))


def test_close_twice_and_nothing_after(path: Path) -> None:
    source = VideoSource(path)
    source.close()
    source.close()
    assert list(source) == []
    source.seek(0)
    assert list(source) == []
    with pytest.raises(InputError, match="max_width must be"):
        VideoSource(path, max_width=0)
