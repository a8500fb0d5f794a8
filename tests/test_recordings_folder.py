"""Recording into a folder of the owner's: it stays, is offered to everybody, and errors of the disk are one line."""

from __future__ import annotations

import os
import re
import resource
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy_services
from reading import split
from starlette.testclient import TestClient
from test_saving import STORY, fed, open_player, post
from toy_sources import events_at, random_events

import ui
from app.compose import ModelOptions
from app.demo import Players, run
from streams.sources import open_source
from streams.types import InputError
from ui.protocol import Offers
from ui.services import Services
from ui.session import Session


def opened_with_folder(uri: str):
    return Players().open(uri) if uri.endswith(".aedat4") else open_player(uri)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    return folder


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    services = replace(toy_services.toy_services(), recordings={"story": STORY, "camera": "toy://feed"},
                       first_uri=STORY, open_player=opened_with_folder, keep_in=folder)
    with TestClient(ui.build_app(services)) as client:
        yield client


@pytest.fixture
def session(client: TestClient) -> Iterator[Session]:
    sessions = client.app.state.sessions
    session = sessions.create("a")
    assert session.ready.wait(10)
    session.open("camera", "toy://feed")
    fed(session, events_at([100]))
    yield session
    sessions.drop("a")


def test_what_is_recorded_stays_and_is_offered_to_everybody(client: TestClient, session: Session,
                                                            folder: Path) -> None:
    sessions = client.app.state.sessions
    other = sessions.create("b")
    assert other.ready.wait(10)
    told: list[object] = []
    other.publish = told.extend  # type: ignore[method-assign]
    assert post(client, session, "/record/start").json()["kept"]
    fed(session, events_at([200, 300, 400]))
    answer = post(client, session, "/record/stop")
    name = answer.json()["name"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[0-9a-f]{4}\.aedat4", name)
    assert (answer.json()["ended"], answer.headers["parafovea-events"]) == ("", "3")
    assert [path.name for path in folder.iterdir()] == [name]
    (offers,) = told
    assert isinstance(offers, Offers)
    assert offers.recordings == ["story", "camera", name]
    sessions.drop("b")
    session.open(name, session.services.listed()[name])
    assert session.player is not None
    assert session.player.wait_until(lambda state: not state.loading)
    assert session.player.events(0, 1_000)["t"].tolist() == [200, 300, 400]


def test_a_visitor_who_leaves_loses_nothing(client: TestClient, session: Session, folder: Path) -> None:
    assert post(client, session, "/record/start").status_code == 200
    assert session.services.listed().keys() == {"story", "camera"}, "what is being written is not offered"
    fed(session, events_at([200, 300]))
    client.app.state.sessions.close()
    (path,) = folder.iterdir()
    with open_source(str(path)) as source:
        assert split(source)[0]["t"].tolist() == [200, 300]


def test_nothing_is_no_recording(client: TestClient, session: Session, folder: Path) -> None:
    assert post(client, session, "/record/start").status_code == 200
    assert "nothing came" in post(client, session, "/record/stop").json()["detail"]
    assert list(folder.iterdir()) == []


def test_other_filters_or_another_source_end_it_and_say_so(client: TestClient, session: Session) -> None:
    assert post(client, session, "/record/start").status_code == 200
    fed(session, events_at([200, 300]))
    session.wanted = ("polarity:on",)
    session.look_through()
    fed(session, events_at([1_000, 2_000, 3_000]))
    state = post(client, session, "/record/state").json()
    assert (state["events"], state["ended"]) == (2, "the filters were changed")
    assert post(client, session, "/record/stop").json()["ended"] == "the filters were changed"
    assert post(client, session, "/record/start").status_code == 200
    fed(session, events_at([4_000, 5_000, 6_000]))
    session.open("story", STORY)
    name = post(client, session, "/record/stop").json()["name"]
    with open_source(session.services.listed()[name]) as source:
        assert source.info.filters == "polarity:on"
        assert split(source)[0]["t"].tolist() == [4_000, 6_000]


def test_a_full_disk_is_one_line_and_what_came_before_is_readable(client: TestClient, session: Session,
                                                                  folder: Path) -> None:
    assert post(client, session, "/record/start").status_code == 200
    events = random_events(200_000, 1_000_000)
    events["t"] += 1_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    try:
        fed(session, *(events[begin:begin + 10_000] for begin in range(0, len(events), 10_000)))
        answer = post(client, session, "/record/stop")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = answer.json().get("detail") or answer.json()["ended"]
    assert "(File too large)" in said
    assert "What was recorded before is in it" in said
    assert str(folder) not in said
    (path,) = folder.iterdir()
    with open_source(str(path), reconstruct_frames=False) as source:
        found, _ = split(source)
    assert 10_000 < len(found) < len(events)
    np.testing.assert_array_equal(found, events[:len(found)])


def test_a_folder_that_is_gone_is_one_line(client: TestClient, session: Session, folder: Path) -> None:
    shutil.rmtree(folder)
    answer = post(client, session, "/record/start")
    assert (answer.status_code, answer.json()["detail"]) == (
        409, "the folder in which the program keeps recordings is gone")
    assert session.services.listed().keys() == {"story", "camera"}


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", Path("/proc/parafovea")):
        with pytest.raises(InputError, match=r"nothing can be recorded into .* give another folder with --recordings"):
            run(None, "127.0.0.1", 0, False, ModelOptions(), keep_in=folder)


def test_only_whole_recordings_are_listed_the_newest_first(tmp_path: Path) -> None:
    services: Services = replace(toy_services.toy_services(), keep_in=tmp_path, recordings={"a.aedat4": "toy://square"})
    for at_s, name in enumerate(("old.aedat4", "new.aedat4", ".x.1.partial.aedat4", "note.txt", "a.aedat4",
                                  os.fsdecode(b"caf\xe9.aedat4"), "café.aedat4")):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (at_s, at_s))
    assert list(services.listed().items()) == [
        ("a.aedat4", "toy://square"), ("café.aedat4", str(tmp_path / "café.aedat4")),
        ("new.aedat4", str(tmp_path / "new.aedat4")),
        ("old.aedat4", str(tmp_path / "old.aedat4"))]


@pytest.mark.browser
def test_a_live_source_is_recorded_and_replayed_on_the_page(folder: Path) -> None:
    from playwright import sync_api as playwright
    from test_page_browser import FLAGS, Running, chromium, visit

    expect = playwright.expect
    running = Running(replace(toy_services.toy_services(), keep_in=folder,
                              open_player=lambda uri: Players().open(uri) if uri.endswith(".aedat4")
                              else toy_services.open_player(uri)))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(driver), args=FLAGS)
        opened = visit(browser, running)
        page, told = opened.page, opened.page.locator(".takeaway .told")
        opened.session.open("live", "toy://live")
        record = page.locator(".takeaway .record")
        record.click()
        expect(told).to_have_text(re.compile(r"[1-9][\d.,]* events, [1-9]\d* frames"))
        losses = opened.session.player.shared.source.losses
        losses.n_others_dropped, losses.n_late = 3, 2
        expect(page.locator(".loss")).to_have_text("3 frames or samples dropped · 2 packets or frames out of order")
        expect(page.locator(".health")).not_to_contain_text("no event dropped")
        record.click()
        expect(told).to_have_text(re.compile(r"Kept as (\S+\.aedat4), .* it is among the recordings now\."))
        (path,) = folder.iterdir()
        expect(record).to_have_text("record")
        page.get_by_label("Recording", exact=True).select_option(path.name)
        expect(page.locator(".chip.source")).to_contain_text(f"{path.name} · recording")
        page.wait_for_function("+document.querySelector('.view').dataset.painted > 0")
        expect(page.locator(".loss")).to_be_hidden()
        assert opened.faults == []
        browser.close()
    running.end()
