"""The live channel and the sessions behind it: who gets in, credits, isolation, and that leaving frees everything."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import toy_services
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from toy_services import BROKEN, SLOW, TREE, ToyModels, said
from toy_sources import FeedSource, events_at, toy_info

import ui
from streams.player import Player
from streams.types import InputError
from ui.caption_clock import CaptionClock
from ui.live import CREDITS, REPLACED, UNKNOWN, Connection
from ui.protocol import EVENT_PICTURE, VERSION
from ui.services import Services
from ui.session import Session
from ui.sharing import LiveView, Shelf


@dataclass
class World:
    """The program with toys behind it. players: every player that was opened."""

    client: TestClient
    models: ToyModels
    players: list[Player]

    @property
    def sessions(self) -> ui.sessions.Sessions:
        return self.client.app.state.sessions

    def visit(self, name: str = "a", captions: bool = False) -> Session:
        session = self.sessions.create(name)
        session.narrator.switch_captions(captions)
        return session

    @contextmanager
    def live(self, token: str, origin: str = "http://testserver") -> Iterator[Page]:
        with self.client.websocket_connect(f"/live?token={token}", headers={"origin": origin}) as socket:
            yield Page(socket)


@pytest.fixture(scope="module")
def program() -> Iterator[World]:
    models, players = ToyModels(), []

    def open_player(uri: str) -> Player:
        players.append(toy_services.open_player(uri))
        return players[-1]

    services: Services = replace(toy_services.toy_services(models=models), open_player=open_player)
    with TestClient(ui.build_app(services)) as client:
        yield World(client, models, players)


@pytest.fixture
def world(program: World) -> Iterator[World]:
    program.models.pace, program.models.cancelled = 0.05, 0
    program.players.clear()
    yield program
    program.sessions.close()


class Page:
    """A page's end of the channel. seen: every message so far; a picture is {"k": "picture", "kind", "image"}."""

    def __init__(self, socket: WebSocketTestSession) -> None:
        self._socket = socket
        self.seen: list[dict] = []
        self._read = 0

    def say(self, k: str, v: object = None) -> None:
        self._socket.send_text(json.dumps({"k": k, "v": v}))

    def until(self, wanted: str | Callable[[dict], bool], again: bool = False) -> dict:
        """The next message of a kind, or that fulfils a condition; again: it may have come before."""
        fits = wanted if callable(wanted) else lambda message: message["k"] == wanted
        self._read = 0 if again else self._read
        while True:
            while self._read < len(self.seen):
                self._read += 1
                if fits(self.seen[self._read - 1]):
                    return self.seen[self._read - 1]
            self._receive()

    def _receive(self) -> None:
        message = self._socket.receive()
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message["code"])
        if text := message.get("text"):
            self.seen += json.loads(text)
        else:
            self.seen.append({"k": "picture", "kind": message["bytes"][0], "image": message["bytes"][5:]})


# Who gets in


def test_unknown_token_is_refused(world: World) -> None:
    world.visit()
    for token in ("", "wrong", "ü" * 30):
        with world.live(token) as page, pytest.raises(WebSocketDisconnect) as refused:
            page.until("never")
        assert refused.value.code == UNKNOWN


def test_foreign_origin_is_refused_even_with_the_token(world: World) -> None:
    token = world.visit().token
    for origin in ("http://evil.example", "null", "http://testserver.evil.example", "http://testserver:81",
                   "http://[testserver", "testserver", "http://testserver/"):
        with pytest.raises(WebSocketDisconnect), world.live(token, origin):
            pass


def test_tokens_cannot_be_guessed(world: World) -> None:
    tokens = {world.visit(name).token for name in "abc"}
    assert len(tokens) == 3
    assert all(len(token) >= 32 for token in tokens)


def test_a_second_connection_of_the_same_page_replaces_the_first(world: World) -> None:
    token = world.visit().token
    with world.live(token) as first:
        first.until("hello")
        with world.live(token) as second:
            second.until("hello")
            with pytest.raises(WebSocketDisconnect) as ended:
                first.until("never")
            assert ended.value.code == REPLACED


class LeavingPage(WebSocket):
    """A page that closes as soon as it is sent something, while other things are on their way to it."""

    def __init__(self) -> None:
        super().__init__({"type": "websocket"}, self._hear, self._tell)
        self.client_state = self.application_state = WebSocketState.CONNECTED

    async def _hear(self) -> dict:
        await asyncio.Event().wait()

    async def _tell(self, message: dict) -> None:
        self.application_state = WebSocketState.DISCONNECTED
        raise RuntimeError("cannot send once a close message has been sent")


def test_a_page_that_leaves_while_it_is_sent_something_is_no_error(
        world: World, caplog: pytest.LogCaptureFixture) -> None:
    session = world.visit()

    async def connect() -> None:
        await asyncio.wait_for(Connection(LeavingPage(), session).run(), 10)

    asyncio.run(connect())
    assert not session.connected
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# What comes


def test_a_connection_begins_with_everything_there_is_to_know(world: World) -> None:
    session = world.visit()
    with world.live(session.token) as page:
        hello = page.until("hello")
        source = page.until("source")
        page.until("picture")
        assert max(page.until("histogram", again=True)["shares"]) == 1.0
    assert hello["version"] == VERSION
    assert (source["name"], source["events_origin"], source["event_size"]) == ("square", "rendered scene", "240x180")
    with world.live(session.token) as again:
        assert again.until("source") == source


def test_pictures_wait_for_credit(world: World) -> None:
    with world.live(world.visit().token) as page:
        begin = page.until("play")["at_s"]
        page.until(lambda m: m["k"] == "play" and m["at_s"] > begin + 0.4)  # a dozen pictures later
        assert sum(m.get("kind") == EVENT_PICTURE for m in page.seen) == CREDITS
        for picture in [m["kind"] for m in page.seen if m["k"] == "picture"]:
            page.say("ack", picture)
        for _ in range(2):  # a slow line carries both kinds in turn
            picture = page.until("picture")
            page.say("ack", picture["kind"])
            if picture["kind"] == EVENT_PICTURE:
                break
        assert picture["kind"] == EVENT_PICTURE


def test_seek_pause_and_step(world: World) -> None:
    session = world.visit()
    with world.live(session.token) as page:
        page.until("play")
        page.say("pause")
        page.until(lambda m: m["k"] == "play" and not m["playing"])
        page.say("seek", 5.0)
        page.until(lambda m: m["k"] == "play" and m["at_s"] == 5.0)
        page.say("step", 1)
        page.until(lambda m: m["k"] == "play" and 5.0 < m["at_s"] < 5.1)
        page.say("nonsense", {})
        page.say("skip", -2)
        page.until(lambda m: m["k"] == "play" and 3.0 < m["at_s"] < 3.1)


def test_a_selected_part_is_repeated_and_asked_about(world: World) -> None:
    session = world.visit()
    with world.live(session.token) as page:
        page.until("play")
        page.say("range", [3, 4.5])
        assert page.until(lambda m: m["k"] == "play" and m["range_s"])["range_s"] == [3.0, 4.5]
        assert session.player.loop_us == (3_000_000, 4_500_000)
        page.say("loop", False)
        page.until(lambda m: m["k"] == "play" and not m["loop"])
        assert session.player.loop_us is None
        asking = session.narrator.ask("What is happening?", session.range_s)
        assert list(asking.follow())[-1] == said("What is happening?")
        page.say("range", None)
        page.until(lambda m: m["k"] == "play" and m["range_s"] is None)
    (_, window, _), = world.models.asked[-1:]
    assert (window.start_us, window.end_us) == (3_000_000, 4_500_000)


def test_the_page_is_told_how_late_its_pictures_are(world: World) -> None:
    with world.live(world.visit().token) as page:
        page.until(lambda m: m.get("kind") == EVENT_PICTURE)
        page.say("ack", EVENT_PICTURE)
        told = page.until(lambda m: m["k"] == "play" and m["delay_ms"] is not None)
    assert 0 <= told["delay_ms"] < 10_000


def test_the_page_is_told_how_late_a_live_source_is_and_that_it_was_away(world: World) -> None:
    source, session = FeedSource(toy_info(live=True, start_us=None)), world.visit()
    session.open_with("camera", lambda: Player(source).start())
    with world.live(session.token) as page:
        source.losses.arrived_s = time.monotonic()
        source.feed(events_at([0, 1000]))
        told = page.until(lambda m: m.get("kind") == EVENT_PICTURE)
        while told.get("lag_ms") is None:
            if told.get("kind") == EVENT_PICTURE:
                page.say("ack", EVENT_PICTURE)
            told = page.until(lambda m: m["k"] == "play" or m.get("kind") == EVENT_PICTURE)
        assert (0 <= told["lag_ms"] < 10_000, told["gaps"], told["outage"]) == (True, 0, None)
        source.losses.n_gaps, source.losses.outage = 1, "it has sent nothing for 5 s or more."
        told = page.until(lambda m: m["k"] == "play" and m["outage"])
        assert told["gaps"] == 1


def test_captions_run_by_themselves(world: World) -> None:
    with world.live(world.visit(captions=True).token) as page:
        mark = page.until("mark")
        started = next(m for m in page.seen if m["k"] == "start")
    assert started["who"] == "caption"
    assert mark["text"] == said("What is happening?")
    assert 1.0 <= mark["end_s"] < 2.0


def test_a_question_cancels_the_caption_and_is_answered(world: World) -> None:
    world.models.pace = 1.0
    session = world.visit(captions=True)
    with world.live(session.token) as page:
        caption = page.until("start")
        asking = session.narrator.ask(TREE)
        assert session.narrator.ask("Another one?") is None
        world.models.pace = 0.01
        page.until(lambda m: m["k"] == "done" and m["id"] != caption["id"])
    assert next(m for m in page.seen if m["k"] == "done" and m["id"] == caption["id"])["stopped"] == "cancelled"
    assert list(asking.follow())[-1] == said(TREE)


def test_stop_keeps_what_was_said(world: World) -> None:
    session = world.visit()
    with world.live(session.token) as page:
        page.until("play")
        asking = session.narrator.ask(SLOW)
        page.until("judged")
        session.narrator.stop()
        done = page.until("done")
    assert done["stopped"] == "cancelled"
    assert done["text"] == list(asking.follow())[-1] != ""


def test_a_broken_model_is_said_in_one_sentence(world: World) -> None:
    session = world.visit()
    with world.live(session.token) as page:
        page.until("play")
        asking = session.narrator.ask(BROKEN)
        done = page.until("done")
        *_, text = asking.follow()
    assert "log" in done["error"]
    assert "RuntimeError" not in done["error"]
    assert asking.error == done["error"]
    assert text == done["text"] != ""


def test_a_source_that_does_not_open_keeps_the_last_good_one(world: World) -> None:
    session = world.visit()
    with world.live(session.token) as page:
        page.until("play")
        player = session.player
        with pytest.raises(InputError, match="not a recording"):
            session.open("damaged", "toy://damaged")
        assert page.until("failed")["kept"] == "square"
    assert session.player is player
    assert not player.source.n_closed


def test_without_frames_there_are_no_captions(world: World) -> None:
    session = world.visit(captions=True)
    with world.live(session.token) as page:
        page.until("play")
        session.open("events only", "toy://events")
        assert page.until("source")["frames_origin"] is None
        page.until(lambda m: m["k"] == "play" and m["at_s"] > 1.3)
    assert not any(m["k"] == "start" for m in page.seen)


# Visitors


def test_two_visitors_are_isolated(world: World) -> None:
    a, b = world.visit("a"), world.visit("b")
    with world.live(a.token) as at_a, world.live(b.token) as at_b:
        at_a.until("play")
        at_b.until("play")
        at_a.say("pause")
        at_a.until(lambda m: m["k"] == "play" and not m["playing"])
        a.narrator.ask(TREE)
        at_a.until("done")
        begin = at_b.until("play")["at_s"]
        at_b.until(lambda m: m["k"] == "play" and m["at_s"] > begin)
    assert b.player.state().playing
    assert not {"start", "drafted", "judged", "done"} & {m["k"] for m in at_b.seen}
    assert a.player is not b.player


def test_the_second_visitor_is_told_to_wait(world: World) -> None:
    a, b = world.visit("a"), world.visit("b")
    with world.live(a.token) as at_a, world.live(b.token) as at_b:
        at_a.until("play")
        at_b.until("play")
        a.narrator.ask(SLOW)
        at_a.until("judged")
        asking = b.narrator.ask(TREE)
        assert at_b.until("queued")["place"] == 1
        a.narrator.stop()
        assert at_b.until(lambda message: message["k"] == "queued" and message["place"] == 0)
        assert list(asking.follow())[-1] == said(TREE)
    assert "queued" not in {message["k"] for message in at_a.seen}


def test_closing_frees_player_and_answer(world: World) -> None:
    session = world.visit()
    with world.live(session.token) as page:
        page.until("play")
        player = session.player
        asking = session.narrator.ask(SLOW)
        page.until("judged")
        world.sessions.drop("a")
        with pytest.raises(WebSocketDisconnect) as ended:
            page.until("never")
    assert ended.value.code == UNKNOWN
    for _ in asking.follow():  # ends
        pass
    assert world.models.cancelled == 1
    assert player.source.n_closed == 1
    assert session.player is None
    assert len(world.sessions) == 0
    session.close()


def test_a_source_that_opens_after_the_visitor_left_is_closed(world: World) -> None:
    session = world.visit()
    with world.live(session.token) as page:
        page.until("play")
    session.close()
    session.open("square", "toy://square")
    assert session.player is None
    assert all(player.source.n_closed for player in world.players)


def test_sessions_nobody_looks_at_are_swept(world: World) -> None:
    a, b = world.visit("a"), world.visit("b")
    with world.live(b.token) as page:
        page.until("play")
        for session in (a, b):
            session.seen_s -= 1e6
        world.sessions.sweep()
    assert world.sessions.by_token(a.token) is None
    assert world.sessions.by_token(b.token) is b


# Live sources


def test_freezing_a_live_view_is_for_one_visitor_only() -> None:
    player = toy_services.open_player("toy://live")
    shelf = Shelf()
    mine, yours = shelf.take(player), shelf.take(player)
    assert isinstance(mine, LiveView)
    assert player.wait_until(lambda state: state.position_us > 1_200_000)
    mine.pause()
    at_us = mine.state().position_us
    assert player.wait_until(lambda state: state.position_us > at_us + 300_000)
    assert (mine.state().playing, yours.state().playing) == (False, True)
    assert mine.state().position_us == at_us < yours.state().position_us
    window = mine.window(at_us, 1_000_000)
    assert window.end_us == at_us
    assert len(mine.events(at_us - 100_000, at_us)) == len(window.events[window.events["t"] >= at_us - 100_000])
    assert mine.frame_at(at_us) is window.frames[-1]
    mine.play()
    assert mine.state().position_us >= at_us
    assert not mine.state().following
    mine.follow()
    assert mine.state().following
    assert mine.state().position_us > at_us + 300_000
    mine.close()
    mine.close()
    assert not player.source.n_closed
    yours.close()
    assert player.source.n_closed


class Clock:
    """Seconds, moved by hand."""

    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def test_a_live_view_looks_back_in_slow_motion_and_catches_up() -> None:
    source = FeedSource(toy_info(live=True, start_us=None))
    player, clock = Player(source, history_us=4_000_000).start(), Clock()
    view = LiveView(player, player.close, clock=clock)
    source.feed(*[events_at(list(range(at, at + 100_000, 10_000))) for at in range(0, 10_000_000, 100_000)])
    assert player.wait_until(lambda state: state.position_us == 9_990_000)
    assert view.state().following
    with pytest.raises(InputError, match="go back before going faster"):
        view.speed = 2
    view.seek(8_000_000)
    clock.now_s += 0.5
    state = view.state()
    assert (state.position_us, state.following, state.playing) == (8_500_000, False, True)
    assert state.newest_us == 9_990_001
    assert state.oldest_us == 4_990_000
    view.speed = 0.1
    clock.now_s += 1
    assert view.state().position_us == 8_600_000
    assert view.state().event_rate_hz == pytest.approx(100)
    assert len(view.events(8_500_000, 8_600_000)) == 10
    view.seek(0)
    assert view.state().position_us == 4_990_000
    view.step(10_000)
    assert (view.state().position_us, view.state().playing) == (5_000_000, False)
    assert view.window(view.state().position_us, 1_000_000).start_us == 4_990_000
    view.play()
    view.speed = 8
    clock.now_s += 2
    assert (view.state().following, view.speed) == (True, 1.0)
    view.close()


# The clock of the captions


def test_first_caption_comes_after_the_first_full_second() -> None:
    clock = CaptionClock()
    assert not clock.due(900_000, 0)
    assert clock.due(1_000_000, 0)
    clock.take(1_000_000)
    assert not clock.due(2_900_000, 0)
    assert clock.due(3_000_000, 0)
    assert clock.unread(2_900_000) == 0


def test_windows_that_went_by_unread_are_counted() -> None:
    clock = CaptionClock()
    clock.due(0, 0)
    clock.take(1_000_000)
    assert clock.unread(7_500_000) == 2
    clock.take(7_500_000)
    assert clock.unread(8_000_000) == 2
    assert clock.due(9_000_000, 0)


def test_going_back_begins_again_without_counting() -> None:
    clock = CaptionClock()
    clock.due(0, 0)
    clock.take(11_000_000)
    unread = clock.unread(11_000_000)
    assert not clock.due(200_000, 0)
    assert clock.due(1_000_000, 0)
    assert clock.unread(1_000_000) == unread


def test_a_start_that_becomes_known_late_counts_nothing() -> None:
    clock = CaptionClock()
    assert not clock.due(0, 0)
    epoch_us = 1_700_000_000_000_000
    assert not clock.due(epoch_us + 500_000, epoch_us)
    assert clock.unread(epoch_us + 500_000) == 0
    assert clock.due(epoch_us + 1_000_000, epoch_us)


def test_a_recording_shorter_than_a_second_is_captioned_towards_its_end():
    clock = CaptionClock()
    assert not clock.due(100_000, 0, duration_us=600_000)
    assert clock.due(450_000, 0, duration_us=600_000)
    clock.take(450_000)
    assert not clock.due(500_000, 0, duration_us=600_000)
    assert not clock.due(10_000, 0, duration_us=600_000)
    assert clock.due(460_000, 0, duration_us=600_000)


def test_the_first_source_does_not_replace_what_the_visitor_was_faster_to_choose(world: World) -> None:
    session = world.visit()
    session.open("events only", "toy://events")
    chosen = session.player
    session.open("square", "toy://frames", first=True)
    assert (session.player, session.source_name) == (chosen, "events only")
