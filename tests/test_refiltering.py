"""Filters that are chosen while something plays: the same place, nobody else's stream, every event accounted for."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from toy_services import SENSOR, recording, toy_services
from toy_sources import FeedSource, ListSource, events_at, frame_at, toy_info

import streams.refiltering
from streams.filtering import fitting
from streams.filters import create
from streams.player import Player
from streams.refiltering import Tapped, behind
from streams.types import Frame, InputError, Resolution, SourceInfo
from ui.asking import Asking
from ui.looking_through import ORDER, sifted
from ui.protocol import Command, Filtering, SourceOpened
from ui.services import AskSettings
from ui.session import Session
from ui.sessions import Sessions
from ui.sharing import LiveView, Shelf

INFO = SourceInfo("toy", SENSOR, SENSOR, start_us=0, duration_us=11_000_000, frames_origin="camera")
EVENTS = np.concatenate([item for item in recording() if not isinstance(item, Frame)])


def whole(spec: str) -> np.ndarray:
    """What a filter lets through of the whole recording."""
    each = create(spec)
    each.prepare(SENSOR, "")
    return each.events(EVENTS)


def between(events: np.ndarray, start_us: int, end_us: int) -> np.ndarray:
    return events[(events["t"] >= start_us) & (events["t"] < end_us)]


# Recordings


@pytest.fixture
def playing() -> Iterator[Player]:
    player = Player(ListSource(recording(), INFO)).start()
    player.seek(5_000_000)
    player.speed = 2.0
    player.loop_us = (4_000_000, 6_000_000)
    assert player.wait_until(lambda state: not state.loading)
    yield player
    player.close()


def test_a_recording_goes_on_where_it_is_through_other_filters(playing: Player) -> None:
    source = playing.source
    other = behind(playing, ["noise:5"])
    playing.close()
    assert not source.n_closed, "the source is the other player's now"
    assert other.wait_until(lambda state: not state.loading)
    state = other.state()
    assert (state.position_us, state.playing, other.speed, other.loop_us) == (
        5_000_000, False, 2.0, (4_000_000, 6_000_000))
    np.testing.assert_array_equal(other.events(4_000_000, 5_000_000), between(whole("noise:5"), 4_000_000, 5_000_000))
    (count,) = state.filters
    assert (count.filter, 0 < count.n_out < count.n_in) == ("noise:5", True)
    assert state.n_dropped == state.n_rejected == 0
    bare = behind(other, [])
    assert bare.source is source
    assert bare.wait_until(lambda state: not state.loading)
    np.testing.assert_array_equal(bare.events(4_000_000, 5_000_000), between(EVENTS, 4_000_000, 5_000_000))
    assert bare.state().filters == ()
    bare.close()
    assert source.n_closed


def test_hot_pixels_are_learned_from_the_first_part_wherever_one_is() -> None:
    hot = np.zeros(400, EVENTS.dtype)
    hot["t"], hot["x"], hot["y"] = np.arange(400) * 2_000, 239, 179
    packets = [np.sort(np.concatenate([hot, between(EVENTS, 0, 800_000)]), order="t"),
               between(EVENTS, 800_000, 9_000_000)]
    late = hot.copy()
    late["t"] += 9_000_000
    player = Player(ListSource([*packets, late], INFO)).start()
    player.seek(9_500_000)
    assert player.wait_until(lambda state: not state.loading)
    assert len(player.events(9_000_000, 9_500_000)) > 100
    other = behind(player, ["hot:0.8"])
    assert other.wait_until(lambda state: not state.loading)
    assert len(other.events(9_000_000, 9_500_000)) == 0
    other.close()


def test_a_source_that_does_not_stop_reading_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    source = FeedSource(toy_info(start_us=0, duration_us=1_000_000))
    player = Player(source).start()
    assert player.wait_until(lambda _: source.n_asked > 0)
    monkeypatch.setattr("streams.player.HAND_OVER_S", 0.05)
    with pytest.raises(InputError, match="does not answer; open it again"):
        behind(player, ["noise"])
    assert source.n_closed


def test_a_recording_that_cannot_be_sought_any_more_is_closed() -> None:
    class Gone(ListSource):
        def seek(self, t_us: int) -> None:
            raise InputError("the file is gone")

    source = Gone([events_at([1, 2, 3])])
    player = Player(source).start()
    with pytest.raises(InputError, match="the file is gone"):
        behind(player, ["noise"])
    player.close()
    assert source.n_closed == 1


def test_a_question_is_about_what_is_seen(playing: Player) -> None:
    other = behind(playing, ["noise:5", "rotate:90"])
    window = Asking("question", "?", other, 5_000_000, 1_000_000, AskSettings()).window()
    turned = create("rotate:90")
    turned.prepare(SENSOR, "")
    np.testing.assert_array_equal(window.events, turned.events(between(whole("noise:5"), 4_000_000, 5_000_000)))
    assert window.resolution == window.frames[0].resolution == Resolution(SENSOR.height, SENSOR.width)
    other.close()


# Live sources


def test_filters_of_one_who_watches_a_camera_are_nobody_elses() -> None:
    source = FeedSource(toy_info(frames=True, live=True, start_us=None))
    shared = Player(source, history_us=10_000_000).start()
    shelf = Shelf()
    mine, yours = shelf.take(shared), shelf.take(shared)
    early, late = events_at([1_000 * i for i in range(1, 500)]), events_at([1_000 * i for i in range(500, 900)])
    source.feed(early, frame_at(500_000))
    assert yours.wait_until(lambda state: state.newest_us >= 499_000)
    old, mine = mine, shelf.again(mine, lambda info: ["polarity:on"])
    old.close()
    assert isinstance(mine, LiveView)
    assert mine.filters == ("polarity:on",)
    source.feed(late, frame_at(900_000))
    for watched in (mine, yours):
        assert watched.wait_until(lambda state: state.newest_us >= 899_000)
    assert shelf.again(mine, lambda info: ["polarity:on"]) is mine
    every = np.concatenate([early, late])
    np.testing.assert_array_equal(mine.events(0, 900_000), every[every["p"]])
    np.testing.assert_array_equal(yours.events(0, 900_000), every)
    assert mine.frame_at(900_000).t_us == 900_000
    (count,) = mine.state().filters
    assert (count.n_in, count.n_out) == (len(every), int(every["p"].sum()))
    assert yours.state().filters == ()
    source.losses.n_dropped += 7
    source.feed(events_at([950_000]), events_at([1_000_000]))
    assert mine.wait_until(lambda state: state.n_dropped == 7)
    mine.close()
    assert not source.n_closed
    yours.close()
    assert source.n_closed


def test_looking_back_stays_where_it_is_through_other_filters() -> None:
    source = FeedSource(toy_info(live=True, start_us=None))
    shared = Player(source, history_us=10_000_000).start()
    shelf = Shelf()
    view = shelf.take(shared)
    source.feed(events_at([1_000 * i for i in range(1, 3_000)]))
    assert view.wait_until(lambda state: state.newest_us >= 2_999_000)
    view.pause()
    view.seek(1_000_000)
    other = shelf.again(view, lambda info: ["polarity:off"])
    view.close()
    state = other.state()
    assert (state.position_us, state.playing, state.following) == (1_000_000, False, False)
    seen = other.events(900_000, 1_000_000)
    assert len(seen) == 50
    assert not seen["p"].any()
    other.close()
    assert source.n_closed


def test_a_camera_that_stops_is_told_through_filters_too() -> None:
    source = FeedSource(toy_info(live=True, start_us=None))
    shared = Player(source).start()
    mine = behind(shared, ["noise"])
    source.fail(InputError("the camera was unplugged"))
    assert mine.wait_until(lambda state: state.error == "the camera was unplugged")
    mine.close()
    mine.close()
    shared.close()


def test_what_waits_too_long_for_slow_filters_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams.refiltering, "MOST_WAITING", 2)
    source = FeedSource(toy_info(frames=True, live=True, start_us=None))
    shared = Player(source).start()
    source.feed(events_at([1_000]))
    assert shared.wait_until(lambda state: state.newest_us >= 1_000)
    tapped = Tapped(shared)
    source.feed(events_at([2_000, 3_000]), frame_at(4_000), *(events_at([1_000 * i]) for i in range(5, 8)))
    assert shared.wait_until(lambda state: state.newest_us >= 7_000)
    items = iter(tapped)
    got = [next(items) for _ in range(3)]
    assert [int(item["t"][0]) for item in got] == [5_000, 6_000, 7_000]
    assert (tapped.losses.n_dropped, tapped.losses.n_others_dropped) == (3, 1)
    assert shared.source.losses.n_dropped == 0
    tapped.close()
    shared.close()


# What a page may choose


def test_only_filters_that_need_no_file_can_be_chosen() -> None:
    good, reasons = sifted(["rotate:90", "hot:/etc/passwd", "undistort:lens.xml", "noise", "roi:1,2", "nonsense",
                            "refractory:"])
    assert good == ["noise", "rotate:90"]
    assert set(reasons) == {"hot", "undistort", "roi", "nonsense", "refractory"}
    assert "files are for --filter" in reasons["hot"]
    assert "X,Y,WIDTH,HEIGHT" in reasons["roi"]
    assert all("\n" not in reason for reason in reasons.values())
    order = ["hot:1", "noise:5", "refractory:1", "polarity:on", "roi:0,0,2,2", "flip:vertical", "rotate:90"]
    assert [spec.partition(":")[0] for spec in order] == list(ORDER)
    assert sifted(order[::-1]) == (order, {})


def test_filters_that_do_not_fit_are_left_out_and_told() -> None:
    fit, reasons = fitting(INFO, ["roi:0,0,100,90", "roi:50,0,60,60", "noise:3", "rotate:90"])
    assert fit == ["roi:0,0,100,90", "noise:3", "rotate:90"]
    assert list(reasons) == ["roi"]
    assert "sticks out of 100x90 pixels" in reasons["roi"]
    fit, reasons = fitting(SourceInfo("nameless", None, None), ["noise"])
    assert fit == []
    assert "does not tell its size" in reasons["noise"]


@pytest.fixture
def sessions() -> Iterator[Sessions]:
    sessions = Sessions(toy_services())
    yield sessions
    sessions.close()


def begun(sessions: Sessions, name: str) -> Session:
    session = sessions.create(name)
    assert session.ready.wait(10)
    session.narrator.switch_captions(False)
    return session


class Heard:
    """An outbox that remembers."""

    def __init__(self, session: Session) -> None:
        self.messages: list = []
        self.filtered = threading.Event()
        session.attach(self)
        self.filtered.clear()

    def put(self, messages: list) -> None:
        self.messages += messages
        if any(isinstance(message, Filtering) for message in messages):
            self.filtered.set()

    def end(self, replaced: bool) -> None:
        """Nothing to end."""

    def last(self, kind: type) -> object:
        return [message for message in self.messages if isinstance(message, kind)][-1]


def look_through(session: Session, *specs: str) -> None:
    session.wanted = specs
    session.look_through()


def test_a_visitor_chooses_filters_for_himself_at_the_place_where_he_is(sessions: Sessions) -> None:
    one, other = begun(sessions, "one"), begun(sessions, "other")
    heard = Heard(one)
    one.player.pause()
    one.player.seek(6_000_000)
    one.range_s = (1.0, 2.0)
    untouched, opened = other.player, heard.last(SourceOpened)
    look_through(one, "noise:5", "roi:0,0,9999,10", "polarity:sideways")
    assert heard.last(Filtering).wanted == ["noise:5", "roi:0,0,9999,10", "polarity:sideways"]
    assert set(heard.last(Filtering).reasons) == {"roi", "polarity"}
    assert one.filters == ("noise:5",)
    assert heard.last(SourceOpened) is opened, "the same picture is no other source"
    playing = one.playing()
    assert (playing.at_s, playing.playing, playing.range_s, playing.own_filters) == (6.0, False, [1.0, 2.0], 1)
    assert [spec for spec, *_ in playing.filters] == ["noise:5"]
    assert (other.player, other.filters) == (untouched, ())
    look_through(one, "rotate:90")
    assert heard.last(SourceOpened).event_size == heard.last(SourceOpened).frame_size == "180x240"
    assert one.playing().at_s == 6.0
    look_through(one)
    assert (one.filters, one.player.info.event_resolution) == ((), SENSOR)


def test_filters_stay_when_another_source_is_opened_if_they_fit(sessions: Sessions) -> None:
    session = begun(sessions, "one")
    heard = Heard(session)
    look_through(session, "roi:0,0,100,90", "hot:1")
    session.open("live", "toy://live")
    assert isinstance(session.player, LiveView)
    assert session.filters == ("hot:1", "roi:0,0,100,90")
    session.open_with("small", lambda: Player(ListSource([events_at([5])])).start())
    assert session.filters == ("hot:1",)
    assert "sticks out of 8x6 pixels" in heard.last(Filtering).reasons["roi"]
    session.open("square", "toy://square")
    assert session.filters == ("hot:1", "roi:0,0,100,90")
    assert heard.last(Filtering).reasons == {}


def test_the_newest_wish_counts(sessions: Sessions) -> None:
    session = begun(sessions, "one")
    heard = Heard(session)
    for specs in (("polarity:on",), ("polarity:off", "noise")):
        session.obey(Command("filters", specs))
    while session.filters != ("noise", "polarity:off"):
        assert heard.filtered.wait(10)
        heard.filtered.clear()
    assert heard.last(Filtering) == Filtering(["polarity:off", "noise"], {})
