"""Who gets in: the password covers everything, foreign names and origins do not, no path is readable."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from toy_services import toy_services

import ui
from ui import guard
from ui.guard import LOOPBACK, is_loopback


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.fixture(scope="module")
def locked() -> Iterator[TestClient]:
    with TestClient(ui.build_app(toy_services(), login="ada:söme:word")) as client:
        yield client


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "WRONG_S", 0.0)


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/gradio_api/mcp/", "/page/x.js", "/theme.css",
                                  "/gradio_api/file=/etc/passwd", "/nothing"])
def test_nothing_is_served_without_the_password(locked: TestClient, path: str) -> None:
    locked.cookies.clear()
    for headers in ({}, basic("ada:wrong"), basic("ada"), {"authorization": "Basic ***"}, {"authorization": "Bearer x"},
                    {"cookie": "parafovea=guessed"}, {"cookie": 'parafovea="\\'}):
        answer = locked.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")


def test_nothing_is_taken_without_the_password(locked: TestClient) -> None:
    locked.cookies.clear()
    for path in ("/bring", "/take/trace", "/gradio_api/queue/join", "/gradio_api/upload"):
        assert locked.post(path).status_code == 401


def test_websockets_need_it_too_and_take_the_cookie_of_the_page(locked: TestClient) -> None:
    session = locked.app.state.sessions.create("a")
    locked.cookies.clear()
    for path in ("/live", "/webcam"):
        with (pytest.raises(WebSocketDisconnect) as refused,
              locked.websocket_connect(f"{path}?token={session.token}")):
            pass
        assert refused.value.code == 1008
    answer = locked.get("/", headers=basic("ada:söme:word"))
    assert answer.status_code == 200
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    with locked.websocket_connect(f"/live?token={session.token}") as socket:
        assert json.loads(socket.receive_text())[0]["k"] == "hello"
    locked.app.state.sessions.drop("a")


def test_a_server_of_this_machine_is_not_called_by_other_names() -> None:
    with TestClient(ui.build_app(toy_services(), hosts=LOOPBACK), base_url="http://127.0.0.1:7860") as client:
        assert client.get("/config").status_code == 200
        for host in ("localhost:7860", "[::1]:7860", "127.0.0.1"):
            assert client.get("/config", headers={"host": host}).status_code == 200
        for host in ("evil.example:7860", "127.0.0.1.evil.example", "", "localhost@evil.example", "[oops"):
            assert client.get("/config", headers={"host": host}).status_code == 421


def test_no_path_of_the_server_is_readable() -> None:
    with TestClient(ui.build_app(toy_services())) as client:
        for path in ("/gradio_api/file=/etc/passwd", "/gradio_api/file=pyproject.toml", "/page/../../pyproject.toml",
                     "/static/../ui/session.py", "/gradio_api/file=%2e%2e/%2e%2e/etc/passwd",
                     f"/gradio_api/file={guard.__file__}"):
            assert client.get(path).status_code in (403, 404), path


@pytest.mark.parametrize(("host", "private"), [("127.0.0.1", True), ("localhost", True), ("::1", True),
                                               ("127.8.8.8", True), ("0.0.0.0", False), ("", False),
                                               ("192.168.1.5", False), ("camera.local", False)])
def test_what_is_only_reached_from_this_machine(host: str, private: bool) -> None:
    assert is_loopback(host) is private
