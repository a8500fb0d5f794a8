"""What the page saves: a selected part of a recording, a live source recorded from now on; who may, how much of it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import toy_services
from reading import split
from starlette.testclient import TestClient
from toy_sources import FeedSource, events_at, frame_at, imu_at, toy_info, triggers_at

import ui
from app.compose import bundled_recording
from app.demo import Players
from app.saving import save_part
from streams.cutting import cut, span_of
from streams.live_recording import LiveRecording
from streams.player import Player
from streams.sensor_taps import SensorTaps
from streams.sources import open_source
from streams.types import Frame, InputError, Samples
from ui.saving import PageRecording
from ui.session import Session

STORY = str(bundled_recording())
FEEDS: list[FeedSource] = []
SENSORS: list[SensorTaps] = []


def open_player(uri: str) -> Player:
    if uri == STORY:
        return Players().open(uri)
    info = toy_info(frames=True, live=True, start_us=None)
    FEEDS.append(FeedSource(replace(info, samples=("imu", "triggers"))))
    SENSORS.append(SensorTaps())
    return Player(FEEDS[-1], sensors=SENSORS[-1]).start()


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    recordings = {"story": STORY, "camera": "toy://feed"}
    services = replace(toy_services.toy_services(), recordings=recordings, first_uri=STORY, open_player=open_player,
                       save_part=save_part)
    with TestClient(ui.build_app(services)) as client:
        yield client


@pytest.fixture
def session(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sessions = client.app.state.sessions
    session = sessions.create("a")
    assert session.ready.wait(10)
    yield session
    sessions.drop("a")
    assert not list(tmp_path.glob("parafovea-*"))


def post(client: TestClient, session: Session, path: str, **headers: str):
    return client.post(path, headers={"parafovea-token": session.token} | headers)


def test_the_selected_part_is_the_recording_itself(client: TestClient, session: Session, tmp_path: Path) -> None:
    assert "select a part first" in post(client, session, "/part/aedat4").json()["detail"]
    session.range_s = (1.0, 1.3)
    answer = post(client, session, "/part/aedat4")
    assert answer.status_code == 200
    (tmp_path / "p.aedat4").write_bytes(answer.content)
    with open_source(STORY) as given, open_source(str(tmp_path / "p.aedat4")) as found:
        assert (found.info.events_origin, found.info.frames_origin) == ("rendered", "rendered")
        expected, frames = split(list(cut(given, span_of(given, 1.0, 1.3))))
        events, pictures = split(found)
    np.testing.assert_array_equal(events, expected)
    assert [picture.t_us for picture in pictures] == [frame.t_us for frame in frames]


def test_the_selected_part_as_a_film_looks_as_on_the_page(client: TestClient, session: Session,
                                                          tmp_path: Path) -> None:
    session.range_s = (1.0, 1.2)
    session.view = replace(session.view, palette="light")
    answer = post(client, session, "/part/mp4")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    (tmp_path / "p.mp4").write_bytes(answer.content)
    with av.open(str(tmp_path / "p.mp4")) as film:
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert "rendered" in film.metadata["comment"]
    assert (len(shown), shown[0].shape) == (6, (260, 692, 3))
    assert np.median(shown[0][:, :346]) > 245  # a light background


def test_parts_are_bounded_and_one_is_written_at_a_time(client: TestClient, session: Session) -> None:
    session.range_s = (0.0, 601.0)
    assert "at most 600 s" in post(client, session, "/part/aedat4").json()["detail"]
    session.range_s = (0.0, 61.0)
    assert "parafovea export" in post(client, session, "/part/mp4").json()["detail"]
    assert post(client, session, "/part/exe").status_code == 404


def test_only_pages_of_our_own_with_a_token(client: TestClient, session: Session) -> None:
    session.range_s = (1.0, 1.2)
    for path in ("/part/aedat4", "/record/start", "/record/state", "/record/stop"):
        assert client.post(path).status_code == 403
        assert client.post(path, headers={"parafovea-token": "guess"}).status_code == 403
        assert post(client, session, path, origin="http://evil.example").status_code == 403
        assert client.get(path).status_code in (404, 405)
    assert session.recording is None


def fed(session: Session, *items: object) -> None:
    """Hand items to the live source and wait until the player has all of them."""
    for item in items:
        FEEDS[-1].feed(item)
    last = items[-1]
    last_us = last.t_us if isinstance(last, Frame) else int(last["t"][-1])
    assert session.player is not None
    assert session.player.wait_until(lambda state: state.newest_us >= last_us)


def test_a_live_source_is_recorded_from_start_to_stop(client: TestClient, session: Session, tmp_path: Path) -> None:
    assert "of a recording take a part" in post(client, session, "/record/start").json()["detail"]
    assert "nothing is recorded" in post(client, session, "/record/stop").json()["detail"]
    session.open("camera", "toy://feed")
    fed(session, events_at([100, 200]))
    assert "record a live source" in post(client, session, "/part/aedat4").json()["detail"]
    assert post(client, session, "/record/start").json()["events"] == 0
    assert "already" in post(client, session, "/record/start").json()["detail"]
    fed(session, events_at([300, 400, 500]), frame_at(600), events_at([700, 1_000_700]))
    state = post(client, session, "/record/state").json()
    assert (state["events"], state["frames"], state["dropped"], state["ended"]) == (5, 1, 0, "")
    answer = post(client, session, "/record/stop")
    assert answer.headers["parafovea-events"] == "5"
    fed(session, events_at([2_000_000]))
    (tmp_path / "r.aedat4").write_bytes(answer.content)
    with open_source(str(tmp_path / "r.aedat4")) as source:
        events, frames = split(source)
        assert source.info.sensor == "toy"
    assert events["t"].tolist() == [300, 400, 500, 700, 1_000_700]
    assert [frame.t_us for frame in frames] == [600]


@pytest.mark.parametrize("leaves", [False, True])
def test_who_begins_twice_or_leaves_meanwhile_leaves_nothing_behind(client: TestClient, session: Session,
                                                                    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                                                    leaves: bool) -> None:
    class Slow(PageRecording):
        def __init__(self, session: Session) -> None:
            super().__init__(session)
            made.append(self)
            if leaves:
                client.app.state.sessions.drop("a")
            elif len(made) == 1:
                assert post(client, session, "/record/start").status_code == 200

    made = list[PageRecording]()
    monkeypatch.setattr("ui.saving.PageRecording", Slow)
    session.open("camera", "toy://feed")
    fed(session, events_at([100]))
    answer = post(client, session, "/record/start")
    assert (answer.status_code, session.recording) == (409, None if leaves else made[1])
    assert [recording.file.path.parent for recording in made[1:]] == list(tmp_path.glob("parafovea-*"))


def test_a_recording_that_begins_while_filters_change_is_not_of_the_old_ones(
        client: TestClient, session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Slow(PageRecording):
        def __init__(self, session: Session) -> None:
            super().__init__(session)
            if not session.wanted:
                session.wanted = ["polarity:on"]
                session.look_through()

    monkeypatch.setattr("ui.saving.PageRecording", Slow)
    session.open("camera", "toy://feed")
    fed(session, events_at([100]))
    answer = post(client, session, "/record/start")
    assert (answer.status_code, session.recording) == (409, None)
    assert "begin again" in answer.text
    assert not list(tmp_path.glob("parafovea-*"))
    assert post(client, session, "/record/start").status_code == 200


@pytest.mark.parametrize("filters", [[], ["polarity:on"]])
def test_imu_and_triggers_of_a_live_source_are_recorded(client: TestClient, session: Session, tmp_path: Path,
                                                        filters: list[str]) -> None:
    session.open("camera", "toy://feed")
    session.wanted = filters
    session.look_through()
    fed(session, events_at([100]))
    SENSORS[-1](imu_at([110]))  # before the recording
    assert post(client, session, "/record/start").status_code == 200
    imu, triggers = imu_at([200, 210, 220]), triggers_at([230])
    for samples in (imu, triggers):
        SENSORS[-1](samples)
    assert "nothing came" not in str(post(client, session, "/record/state").json())
    fed(session, events_at([300]))
    state = post(client, session, "/record/state").json()
    assert (state["imu"], state["triggers"], state["samples_dropped"]) == (3, 1, 0)
    answer = post(client, session, "/record/stop")
    SENSORS[-1](imu_at([400]))  # after it
    assert (answer.headers["parafovea-imu"], answer.headers["parafovea-triggers"]) == ("3", "1")
    (tmp_path / "r.aedat4").write_bytes(answer.content)
    heard: list[Samples] = []
    with open_source(str(tmp_path / "r.aedat4"), sensors=heard.append) as source:
        assert split(source)[0]["t"].tolist() == [300]
    for samples in (imu, triggers):
        found = np.concatenate([batch.data for batch in heard if batch.kind == samples.kind])
        np.testing.assert_array_equal(found, samples.data)


def test_what_is_not_fetched_goes_with_the_visitor_or_the_source(client: TestClient, session: Session,
                                                                 tmp_path: Path) -> None:
    session.open("camera", "toy://feed")
    fed(session, events_at([100]))
    assert post(client, session, "/record/start").status_code == 200
    fed(session, events_at([200]))
    session.open("story", STORY)
    # What was recorded is kept until it is fetched.
    assert post(client, session, "/record/state").json()["events"] == 1
    assert post(client, session, "/record/stop").status_code == 200
    session.open("camera", "toy://feed")
    fed(session, events_at([100]))
    assert post(client, session, "/record/start").status_code == 200
    assert "nothing came" in post(client, session, "/record/stop").json()["detail"]
    assert post(client, session, "/record/start").status_code == 200
    assert list(tmp_path.glob("parafovea-*"))  # the fixture sees that it is gone when the visitor is


def test_a_recording_is_bounded_and_never_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = toy_info(frames=True, live=True, start_us=None)
    long = LiveRecording(info, tmp_path / "long.aedat4", most_s=1)
    long.put(events_at([0, 500_000]))
    long.put(events_at([1_000_000]))
    long.put(events_at([1_100_000]))
    assert (long.n_events, long.seconds) == (2, 1)
    assert "more is not recorded" in long.ended
    long.close()
    with open_source(str(tmp_path / "long.aedat4")) as source:
        assert len(split(source)[0]) == 2
    large = LiveRecording(info, tmp_path / "large.aedat4", most_bytes=1)
    large.put(events_at([0]))
    assert (large.n_events, large.ended != "") == (0, True)
    large.discard()
    slow = LiveRecording(info, tmp_path / "slow.aedat4")
    monkeypatch.setattr("streams.live_recording.QUEUE_PACKETS", 0)
    slow.put(events_at([0, 1]))
    slow.put(frame_at(10))
    slow.put(imu_at([10, 11, 12]))  # the source said that it has none: there is no place for them
    assert (slow.n_events, slow.n_dropped, slow.n_frames_dropped, slow.n_samples_dropped) == (0, 2, 1, 3)
    slow.discard()
    sensing = LiveRecording(replace(info, samples=("imu",)), tmp_path / "sensing.aedat4")
    sensing.put(triggers_at([10, 11]))
    assert (sensing.n_samples_dropped, sensing.empty) == (2, True)
    sensing.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["long.aedat4"]


def test_a_disk_that_is_full_is_one_sentence(client: TestClient, session: Session,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.saving.MOST_BYTES", 1 << 62)
    session.range_s = (1.0, 1.2)
    assert "nearly full" in post(client, session, "/part/aedat4").json()["detail"]
    session.open("camera", "toy://feed")
    assert "nearly full" in post(client, session, "/record/start").json()["detail"]


def test_opening_a_large_recording_tells_the_page_how_far_it_is(client: TestClient, session: Session,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    from streams.opening import tell_opening

    told: list[object] = []
    monkeypatch.setattr(session, "publish", told.extend)
    monkeypatch.setattr("ui.session.LOADING_PERIOD_S", 0.0)

    def opener() -> Player:
        tell_opening()
        tell_opening(Path(STORY), Path(STORY).stat().st_size // 2)
        raise InputError("enough")

    with pytest.raises(InputError):
        session.open_with("large", opener)
    assert [message.share for message in told if message.k == "loading"] == [None, None, pytest.approx(0.5, abs=0.01)]


@pytest.mark.browser
def test_the_buttons_of_the_page(tmp_path: Path) -> None:
    from playwright import sync_api as playwright
    from test_page_browser import FLAGS, Running, chromium, visit

    recordings = {"story": STORY, "live": "toy://live"}
    running = Running(replace(toy_services.toy_services(), recordings=recordings, first_uri=STORY, save_part=save_part,
                              open_player=lambda uri: Players().open(uri) if uri == STORY
                              else toy_services.open_player(uri)))
    expect = playwright.expect
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(driver), args=FLAGS)
        opened = visit(browser, running)
        page, told = opened.page, opened.page.locator(".takeaway .told")
        record = page.locator(".takeaway .record")
        expect(record).to_be_hidden()
        page.get_by_role("button", name="part (MP4)").click()
        expect(told).to_contain_text("select a part first")
        opened.session.range_s = (1.0, 1.2)
        with page.expect_download() as film:
            page.get_by_role("button", name="part (MP4)").click()
        film.value.save_as(tmp_path / "part.mp4")
        with av.open(str(tmp_path / "part.mp4")) as container:
            assert len(list(container.decode(video=0))) == 6
        opened.session.open("live", "toy://live")
        expect(page.get_by_role("button", name="part (MP4)")).to_be_hidden()
        record.click()
        expect(record).to_have_text("stop and save")
        expect(told).to_have_text(re.compile(r"[1-9][\d.,]* events"))
        opened.session.player.sensors(imu_at([1, 2, 3]))  # of a source that said it has none
        expect(told).to_contain_text("3 IMU samples and triggers dropped")
        with page.expect_download() as recorded:
            record.click()
        recorded.value.save_as(tmp_path / "r.aedat4")
        expect(told).to_contain_text("Saved as recording.aedat4")
        assert opened.faults == []
        browser.close()
    running.end()
    with open_source(str(tmp_path / "r.aedat4")) as source:
        events, frames = split(source)
        assert len(events) > 0
        assert frames
