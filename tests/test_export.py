"""Films and pictures of recordings: what is in them is known, other programs and a browser read them."""

from __future__ import annotations

import base64
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from reading import SENSOR, colour_frames, random_events, split
from written import write

from app.cli import main
from streams.cutting import span_of
from streams.recorder import Recorder
from streams.representations import polarity_image
from streams.sources import open_source, open_stored
from streams.types import InputError, Resolution
from ui.film import Film
from ui.filming import Look, event_picture, look_of, picture_size, pictures


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def both(folder: Path) -> Path:
    """A second of events with a frame every 100 ms, 1 ms long."""
    path = folder / "in.aedat4"
    frames = colour_frames([1000 + 100_000 * number for number in range(1, 10)], 1000)
    with Recorder(path, SENSOR, SENSOR, "simulated", "video", "Test_1") as recorder:
        for item in sorted([*np.array_split(random_events(span_us=1_000_000), 20), *frames], key=lambda item: (
                item["t"][0] if isinstance(item, np.ndarray) else item.begin_us)):
            recorder.write(item)
    return path


def drawn(number: int, height: int = 50, width: int = 61) -> np.ndarray:
    picture = np.full((height, width, 3), 30, np.uint8)
    picture[10:30, 2 * number:2 * number + 20] = (240, 60, 20)
    return picture


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".webm", "vp9"), (".gif", "gif")])
def test_films_hold_the_pictures_for_as_long_as_they_are_shown(suffix: str, codec: str, tmp_path: Path) -> None:
    path = tmp_path / f"film{suffix}"
    with Film(path, (61, 50), 20, "events are simulated") as film:
        for number in range(10):
            film.show(drawn(number), 0.05)
        film.show(drawn(20), 0.5)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == (codec, 62, 50)
        found = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]
        if suffix != ".gif":
            assert len(found) == 20
            assert stream.codec_context.pix_fmt == "yuv420p"  # browsers play no other
            assert "simulated" in str(container.metadata)
    assert found[-1][0] == pytest.approx(0.95, abs=0.06)
    for number in range(10):
        shown = next(picture for t_s, picture in reversed(found) if t_s <= number * 0.05 + 0.011)
        # Colours beside an edge are mixed; where they are even they are near.
        off = np.abs(shown[12:28, 2 * number + 4:2 * number + 16].astype(int) - (240, 60, 20))
        assert off.max() <= 24
        assert np.abs(shown[35:, :61].astype(int) - 30).max() <= 24


def test_a_folder_of_pictures_is_exact_and_a_recording_again(tmp_path: Path) -> None:
    source = both(tmp_path)
    result = call("export", source, tmp_path / "out", "--view", "rgb", "--fps", "10")
    assert result.exit_code == 0, result.output
    with open_source(str(source)) as given, open_source(str(tmp_path / "out")) as again:
        frames, found = split(given)[1], split(again)[1]
    assert len(found) == 9
    # Picture number k is what was there just before (k + 1) * 0.1 s.
    for picture, frame in zip(found, frames, strict=True):
        np.testing.assert_array_equal(picture.image, frame.image)
    np.testing.assert_array_equal(np.diff([picture.t_us for picture in found]), 100_000)


@pytest.mark.parametrize("packets", [1, 50])
def test_pictures_do_not_depend_on_packets_and_show_what_came_before(packets: int, tmp_path: Path) -> None:
    events = random_events(span_us=1_000_000)
    path = tmp_path / "in.aedat4"
    with Recorder(path, SENSOR, None, "camera", None) as recorder:
        for packet in np.array_split(events, packets):
            recorder.write(packet)
    with open_stored(str(path)) as source:
        span = span_of(source, 0.2, 0.8)
        found = list(pictures(source, span, 50_000, Look("events", accumulation_ms=20)))
    assert len(found) == 12
    for number, (t_us, picture) in enumerate(found):
        assert t_us == span.start_us + 50_000 * (number + 1)
        inside = events[(events["t"] >= t_us - 20_000) & (events["t"] < t_us)]
        np.testing.assert_array_equal(picture, event_picture(polarity_image(inside, SENSOR), "events", "dark"))


def test_views_and_sizes(tmp_path: Path) -> None:
    with open_source(str(both(tmp_path))) as source:
        for view, size in (("events", (240, 180)), ("rgb", (240, 180)), ("both", (480, 180))):
            look = look_of(source.info, Look(view))
            assert picture_size(source.info, look) == size
            _, picture = next(pictures(source, span_of(source, 0.5), 20_000, look))
            assert picture.shape == (size[1], size[0], 3)
    with open_stored(str(write("dat", tmp_path, random_events()))) as source:
        assert look_of(source.info, Look("both")).view == "events"
        with pytest.raises(InputError, match="no frames"):
            look_of(source.info, Look("rgb"))
    assert Resolution(*size).aspect > 2


@pytest.mark.parametrize("style", ["events", "histogram", "decay", "surface", "points"])
def test_the_command_draws_every_style_slowly_and_says_what_is_simulated(style: str, tmp_path: Path) -> None:
    result = call("export", both(tmp_path), tmp_path / "o.mp4", "--range", "0.25..0.5", "--speed", "0.25", "--fps",
                  "20", "--style", style, "--palette", "light")
    assert result.exit_code == 0, result.output
    assert "20 pictures of 480x180 px, 1.0 s" in result.stderr
    assert "events are simulated" in result.stderr
    film = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    assert (film.get(cv2.CAP_PROP_FRAME_COUNT), film.get(cv2.CAP_PROP_FPS)) == (20, 20)


def test_frames_that_are_made_are_called_so(tmp_path: Path) -> None:
    source = write("dat", tmp_path, random_events())
    result = call("export", source, tmp_path / "e.webm", "--range", "..0.2")
    assert "240x180" in result.stderr
    assert "reconstructed" not in result.stderr
    result = call("export", source, tmp_path / "b.webm", "--range", "..0.2", "--view", "both")
    assert "480x180" in result.stderr
    assert "frames are reconstructed from events" in result.stderr


def test_refusals_are_one_sentence_and_leave_nothing(tmp_path: Path) -> None:
    source = write("dat", tmp_path, random_events())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for arguments, words in ((("o.avi",), "must end in .mp4, .webm, .gif, or have no suffix"),
                             (("mine", "--overwrite"), "files in it"),
                             (("o.mp4", "--fps", "0"), "--fps must be more than 0"),
                             (("o.mp4", "--speed", "nan"), "--speed must be more than 0"),
                             (("o.mp4", "--speed", "1e-12"), "are no film"),
                             (("o.mp4", "--view", "rgb", "--range", "9.."), "nothing lies after"),
                             (("no/o.mp4",), "does not exist")):
        result = call("export", source, tmp_path / arguments[0], *arguments[1:])
        assert result.exit_code == 2, result.output
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "written.dat"]


def test_pictures_of_a_folder_are_replaced(tmp_path: Path) -> None:
    source = write("dat", tmp_path, random_events())
    for part in ("0..1", "0..0.2"):
        assert call("export", source, tmp_path / "p", "--range", part, "--fps", "10", "--overwrite").exit_code == 0
    assert len(list((tmp_path / "p").glob("*.png"))) == 2
    with Image.open(tmp_path / "p" / "000000.png") as picture:
        assert picture.size == (240, 180)


@pytest.mark.browser
def test_a_browser_plays_what_is_written(tmp_path: Path) -> None:
    from playwright import sync_api as sync
    from test_page_browser import FLAGS, chromium

    for suffix in (".webm", ".mp4"):
        with Film(tmp_path / f"f{suffix}", (64, 48), 10) as film:
            for number in range(10):
                film.show(drawn(number, 48, 64), 0.1)
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(playwright), args=FLAGS)
        page = browser.new_page()
        for suffix, kind in ((".webm", "video/webm; codecs=vp9"), (".mp4", "video/mp4; codecs=avc1.640028")):
            if not page.evaluate("kind => document.createElement('video').canPlayType(kind)", kind):
                continue  # builds of Chromium without licensed codecs have no H.264; Chrome, Edge, Safari do
            data = base64.b64encode((tmp_path / f"f{suffix}").read_bytes()).decode()
            size = page.evaluate("""address => new Promise((done, failed) => {
                const video = document.createElement('video');
                video.onloadeddata = () => done([video.videoWidth, video.videoHeight, Math.round(video.duration)]);
                video.onerror = () => failed(video.error.message);
                video.src = address;
            })""", f"data:{kind.partition(';')[0]};base64,{data}")
            assert size == [64, 48, 1]
        browser.close()
