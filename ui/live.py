"""The live channel: one WebSocket per page for pictures, words, play position and the commands of the visitor.

    app.add_api_websocket_route("/live", live_endpoint(sessions))

Text messages are JSON arrays of ui.protocol messages, binary ones are pictures. The page acknowledges every
picture; at most CREDITS of a kind are on the way, on a slow line one alone: it shows fewer, never older pictures.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ui.guard import own_origin
from ui.painter import Painter
from ui.protocol import EVENT_PICTURE, RGB_PICTURE, Message, Playing, encode, parse_command
from ui.session import Session
from ui.sessions import Sessions

CREDITS = 2
SLOW_MS, QUICK_MS = 400, 150
"""A line on which a picture takes longer than the first is slow until one takes less than the second."""
FRAME_PERIOD_S = 1 / 30
STATE_PERIOD_S = 0.15
WORDS_PERIOD_S = 1 / 60
"""Messages that come sooner after others than a page can show them wait for each other."""
MAX_WAITING = 5000
"""Messages that may wait for a slow page; beyond it the connection ends and the page starts over."""
UNKNOWN, REPLACED = 4401, 4409
"""Close codes: the session is not (or no longer) known; another connection of the same page took over."""

log = logging.getLogger(__name__)


def live_endpoint(sessions: Sessions) -> Callable[[WebSocket], Awaitable[None]]:
    """The endpoint of the live channel; only pages with a session's token get in."""
    async def live(ws: WebSocket) -> None:
        if not own_origin(ws.headers):
            await ws.close()
            return
        await ws.accept()
        session = sessions.by_token(ws.query_params.get("token", ""))
        if session is None:
            await ws.close(UNKNOWN)
            return
        await Connection(ws, session).run()
    return live


class Connection:
    """One open connection: reads commands, sends messages, sends pictures on credit."""

    def __init__(self, ws: WebSocket, session: Session) -> None:
        self._ws, self._session = ws, session
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Message] = deque()
        self._news, self._told = asyncio.Event(), False
        self._look = asyncio.Event()
        self._over = asyncio.Event()
        self._sent: dict[int, deque[tuple[float, float | None]]] = {EVENT_PICTURE: deque(), RGB_PICTURE: deque()}
        """Of the pictures on the way: when painting them began, and when the newest in them had arrived, if that is
        new in them."""
        self._arrived_s: dict[int, float | None] = {EVENT_PICTURE: None, RGB_PICTURE: None}
        self._slow, self._turn = False, 0
        self._complaint = ""
        self._code = 1000

    def put(self, messages: list[Message]) -> None:
        """Send soon; callable from any thread."""
        self._waiting.extend(messages)
        if len(self._waiting) > MAX_WAITING:
            self._later(self._over.set)
        elif not self._told:  # waking the loop costs as much as a word
            self._told = True
            self._later(self._news.set)

    def end(self, replaced: bool) -> None:
        """Close this connection; callable from any thread."""
        self._code = REPLACED if replaced else UNKNOWN
        self._later(self._over.set)

    def _later(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the program is ending, its loop is closed
            log.debug("a message came after the end")

    async def run(self) -> None:
        """Serve until either side ends the connection."""
        self._session.attach(self)
        try:
            async with anyio.create_task_group() as group:
                for job in (self._read, self._write, self._show, self._over.wait):
                    group.start_soon(self._serve, job, group.cancel_scope)
        finally:
            self._session.detach(self)
        await self._close()

    async def _serve(self, job: Callable[[], Awaitable[object]], all_jobs: anyio.CancelScope) -> None:
        """Run one of the jobs; when one ends, all do."""
        try:
            await job()
        except WebSocketDisconnect:
            log.debug("the page is gone")
        except Exception:
            if WebSocketState.DISCONNECTED in (self._ws.client_state, self._ws.application_state):
                log.debug("the page left while it was sent something", exc_info=True)
            else:
                log.exception("the live channel broke off")
        all_jobs.cancel()

    async def _close(self) -> None:
        try:
            await self._ws.close(self._code)
        except (RuntimeError, WebSocketDisconnect):  # the page was faster
            log.debug("the page has closed the connection")

    async def _read(self) -> None:
        async for text in self._ws.iter_text():
            command = parse_command(text)
            if command is None:
                continue
            if command.kind == "ack":
                sent = self._sent[int(command.value)]
                if sent:
                    self._acknowledged(*sent.popleft())
            else:
                await asyncio.to_thread(self._session.obey, command)
                self._look.set()

    async def _write(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            self._told = False  # before looking: what comes later tells again
            await self._send([])
            await asyncio.sleep(WORDS_PERIOD_S)

    async def _send(self, last: list[Message]) -> None:
        """All that is waiting, and something after it."""
        batch = [*(self._waiting.popleft() for _ in range(len(self._waiting))), *last]
        if batch:
            await self._ws.send_text(encode(batch))

    async def _show(self) -> None:
        """Pictures at the rate of the page, the play position a few times a second, both only when changed."""
        painter = Painter(self._session)
        told: Playing | None = None
        told_at = 0.0
        while True:
            started = self._loop.time()
            for kind, picture in await asyncio.to_thread(self._paint, painter, self._wanted()):
                new = painter.arrived_s != self._arrived_s[kind]
                self._arrived_s[kind] = painter.arrived_s
                self._sent[kind].append((started, painter.arrived_s if new else None))
                await self._ws.send_bytes(picture)
            if self._look.is_set() or started - told_at >= STATE_PERIOD_S:
                self._look.clear()
                state = await asyncio.to_thread(self._session.playing)
                if state is not None and state != told:
                    told, told_at = state, started
                    await self._send([state])
            await self._pause(FRAME_PERIOD_S - (self._loop.time() - started))

    def _acknowledged(self, started: float, arrived_s: float | None) -> None:
        delay_ms = round((self._loop.time() - started) * 1000)
        self._session.delay_ms = delay_ms
        if arrived_s is not None:
            self._session.lag_ms = round((time.monotonic() - arrived_s) * 1000)
        self._slow = delay_ms > SLOW_MS or (self._slow and delay_ms > QUICK_MS)

    def _wanted(self) -> list[int]:
        """Kinds of pictures that may be sent now; on a slow line one picture at a time, both kinds in turn."""
        if not self._slow:
            return [kind for kind, sent in self._sent.items() if len(sent) < CREDITS]
        if any(self._sent.values()):
            return []
        self._turn += 1
        return [(EVENT_PICTURE, RGB_PICTURE)[self._turn % 2]]

    def _paint(self, painter: Painter, wanted: list[int]) -> list[tuple[int, bytes]]:
        player = self._session.player
        try:
            return painter.paint(wanted) if wanted else []
        except Exception as error:
            if self._session.player is player and repr(error) != self._complaint:  # not merely closed meanwhile
                self._complaint = repr(error)
                log.exception("painting failed")
            return []

    async def _pause(self, seconds: float) -> None:
        """Wait for the next picture, shorter when something has happened."""
        with anyio.move_on_after(max(0.001, seconds)):
            await self._look.wait()
