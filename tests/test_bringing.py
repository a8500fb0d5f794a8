"""What visitors bring: who may, how much, under which name it lies, and that it goes again."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import toy_services
from PIL import Image
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import ui
from streams.player import Player
from streams.types import InputError
from ui import bringing
from ui.pictures import MAX_SIDE, Pictures
from ui.session import Session

OPENED: list[Path] = []


def open_player(uri: str) -> Player:
    """Files that say "recording" are one; remembers where they lay."""
    if uri.startswith("toy://"):
        return toy_services.open_player(uri)
    OPENED.append(Path(uri))
    if not Path(uri).read_bytes().startswith(b"recording"):
        raise InputError(f"the content of {uri} is none of the readable formats; give another one")
    return toy_services.open_player("toy://square")


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(ui.build_app(replace(toy_services.toy_services(), open_player=open_player))) as client:
        yield client


@pytest.fixture
def session(client: TestClient) -> Iterator[Session]:
    OPENED.clear()
    sessions = client.app.state.sessions
    session = sessions.create("a")
    assert session.ready.wait(10)
    yield session
    sessions.drop("a")


def bring(client: TestClient, session: Session, content: bytes, name: str = "drive.aedat4", **headers: str):
    return client.post("/bring", params={"name": name}, content=content,
                       headers={"parafovea-token": session.token} | headers)


def test_a_file_is_opened_by_its_content_and_goes_with_its_source(client: TestClient, session: Session) -> None:
    answer = bring(client, session, b"recording", name="C:\\films\\../../drive.mp4")
    assert (answer.status_code, session.source_name) == (200, "drive.mp4")
    (path,) = OPENED
    assert path.exists()
    assert path.suffix == ""
    assert "drive" not in str(path)
    session.open("square", "toy://square")
    assert not path.parent.exists()


def test_a_file_goes_with_its_visitor(client: TestClient, session: Session) -> None:
    bring(client, session, b"recording")
    client.app.state.sessions.drop("a")
    assert not OPENED[0].parent.exists()


def test_a_file_that_does_not_open_keeps_the_source_and_names_no_path(client: TestClient, session: Session) -> None:
    answer = bring(client, session, b"GIF89a", name="notes.csv")
    assert answer.status_code == 400
    assert answer.json()["reason"].startswith("the content of notes.csv is none")
    assert OPENED[0].suffix == ".csv"
    assert not OPENED[0].parent.exists()
    assert session.source_name == "square"


def test_only_visitors_from_our_own_page_may_bring(client: TestClient, session: Session) -> None:
    assert bring(client, session, b"recording", **{"parafovea-token": "wrong"}).status_code == 403
    assert bring(client, session, b"recording", origin="http://evil.example").status_code == 403
    assert OPENED == []


def test_uploads_are_bounded_whatever_they_claim(client: TestClient, session: Session,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bringing, "MAX_UPLOAD_BYTES", 1000)
    assert bring(client, session, b"recording" * 200).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"recording"

    assert bring(client, session, pieces()).status_code == 200
    monkeypatch.setattr(bringing, "MAX_UPLOAD_BYTES", 500)
    assert bring(client, session, pieces()).status_code == 413
    assert len(OPENED) == 1


# The webcam


def jpeg(width: int = 64, height: int = 48) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (250, 20, 20)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_pictures_become_a_live_source_until_the_page_ends_it(client: TestClient, session: Session) -> None:
    with client.websocket_connect(f"/webcam?token={session.token}") as socket:
        for _ in range(100):
            socket.send_bytes(jpeg())
            assert socket.receive_text() == "ack"
            if session.source_name == bringing.WEBCAM and session.player.state().position_us:
                break
        frame = session.player.frame_at(session.player.state().position_us)
        assert frame.image[24, 32, 0] > 230
        assert frame.image[24, 32, 2] < 60
        source = session.player._player.source
    assert session.player.wait_until(lambda state: not state.playing)
    session.open("square", "toy://square")
    assert source.n_closed


def test_another_source_turns_the_webcam_off(client: TestClient, session: Session) -> None:
    with client.websocket_connect(f"/webcam?token={session.token}") as socket:
        socket.send_bytes(jpeg())
        socket.receive_text()
        tick = threading.Event()
        while session.source_name != bringing.WEBCAM:
            tick.wait(0.01)
        session.open("square", "toy://square")
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()


@pytest.mark.parametrize("data", [b"", b"no picture", jpeg()[:200], jpeg(MAX_SIDE + 8, 8)])
def test_what_is_no_picture_ends_the_connection(client: TestClient, session: Session, data: bytes) -> None:
    with client.websocket_connect(f"/webcam?token={session.token}") as socket:
        socket.send_bytes(data)
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()


def test_the_webcam_needs_token_and_origin(client: TestClient, session: Session) -> None:
    with client.websocket_connect("/webcam?token=wrong") as socket, pytest.raises(WebSocketDisconnect):
        socket.receive_text()
    with (pytest.raises(WebSocketDisconnect),
          client.websocket_connect(f"/webcam?token={session.token}", headers={"origin": "http://evil.example"})):
        pass


def test_the_newest_picture_wins() -> None:
    pictures = Pictures()
    assert pictures.put(jpeg(8, 8))
    assert pictures.put(jpeg(16, 8))
    assert pictures.take(0).shape == (8, 16, 3)
    assert pictures.take(0) is None
    pictures.close()
    assert pictures.closed
