"""A network camera through OpenCV's FFmpeg: MJPEG over HTTP takes the way of RTSP, which nothing here serves."""

from __future__ import annotations

import http.server
import itertools
import socket
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from streams.reconnection import Reconnecting
from streams.sources import open_source, rtsp
from streams.sources.webcam import WebcamSource
from streams.types import Frame, InputError, Resolution


class Camera(http.server.BaseHTTPRequestHandler):
    """Sends `pictures` moving bars as MJPEG, then ends the connection."""

    pictures = 30

    def log_message(self, *arguments: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        try:
            for index in range(self.pictures):
                image = np.full((48, 64, 3), 30, np.uint8)
                image[:, 3 * index % 64:3 * index % 64 + 9] = 220
                data = cv2.imencode(".jpg", image)[1].tobytes()
                head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
        except OSError:
            pass  # the reader has seen enough


@pytest.fixture
def address() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://ada:secret@127.0.0.1:{server.server_port}/camera.mjpg"
    server.shutdown()
    server.server_close()


def test_a_network_camera_gives_frames_and_simulated_events(address: str) -> None:
    with rtsp.open_camera(address) as source:
        info = source.info
        assert (info.live, info.events_origin, info.frames_origin) == (True, "simulated", "camera")
        assert info.event_resolution == info.frame_resolution == Resolution(64, 48)
        assert "secret" not in info.name
        items = list(itertools.islice((item for item in source if isinstance(item, Frame) or len(item)), 6))
        assert any(isinstance(item, Frame) for item in items)
        assert sum(len(item) for item in items if not isinstance(item, Frame)) > 0


def test_frames_alone_can_be_had(address: str) -> None:
    with rtsp.open_camera(address, simulate=False) as source:
        assert (source.info.event_resolution, source.info.events_origin) == (None, None)
        assert isinstance(next(item for item in source if isinstance(item, Frame) or len(item)), Frame)


def test_a_network_camera_that_ends_is_opened_again_and_the_gap_is_marked(
        address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.reconnection.RETRY_S", 0.0)

    def opener(losses: object) -> WebcamSource:
        return WebcamSource(0, opener=lambda _: rtsp.open_capture(address), patience_s=0.02, name="camera",
                            losses=losses)  # type: ignore[arg-type]

    with Reconnecting(opener) as source:
        times = []
        for item in source:
            if isinstance(item, Frame):
                times.append(item.t_us)
            if source.losses.n_gaps == 2:
                break
        assert times == sorted(times)
        assert all(end_us > begin_us for begin_us, end_us in source.losses.gaps)


def test_nobody_there_and_a_peer_that_says_nothing_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp, "OPEN_MS", 300)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for port in (1, mute.getsockname()[1]):
            with pytest.raises(InputError, match=f"nothing can be received from rtsp://127.0.0.1:{port}/x; check") as e:
                open_source(f"rtsp://ada:secret@127.0.0.1:{port}/x")
            assert "secret" not in str(e.value)


def test_a_read_that_hangs_ends_the_source_and_not_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.sources.webcam.HANG_S", 0.05)
    monkeypatch.setattr("streams.sources.webcam.CLOSE_S", 0.05)
    over = threading.Event()

    class Hanging:
        n_read = 0

        def isOpened(self) -> bool:
            return True

        def read(self) -> tuple[bool, np.ndarray | None]:
            self.n_read += 1
            if self.n_read > 1:
                over.wait(20)
                return False, None
            return True, np.zeros((4, 6, 3), np.uint8)

        def release(self) -> None:
            """Nothing to release."""

    source = WebcamSource(0, opener=lambda _: Hanging(), patience_s=0.0)
    with pytest.raises(InputError, match="camera 0 hangs; reconnect it"):
        list(source)
    source.close()
    over.set()
