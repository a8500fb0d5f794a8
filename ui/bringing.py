"""What a visitor brings himself: a file, or the pictures of his browser's webcam; by routes of our own.

    app.include_router(bringing(sessions))

POST /bring?name=drive.aedat4 with the file as the body and the session's token in a header of its own; the WebSocket
/webcam?token=… takes JPEG pictures and acknowledges each one. Both need our own origin. A file lies under a name of
ours in a folder of ours, is typed by its content and removed when its source is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import tempfile
from pathlib import Path

from fastapi import APIRouter, Header, Request, WebSocket
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from streams.player import Player
from streams.types import InputError
from ui.guard import own_origin
from ui.pictures import MAX_JPEG_BYTES, Pictures
from ui.session import MAX_UPLOAD_BYTES, Session
from ui.sessions import Sessions

SPARE_BYTES = 512 << 20
"""Room that an upload leaves on the disk."""
HINTS = {".bin", ".dat", ".npy", ".csv", ".txt", ".es", ".raw"}
"""Suffixes that stay, for formats without a signature; every other file is told by its content alone."""
UNKNOWN = 4401
WEBCAM = "webcam of this browser"

log = logging.getLogger(__name__)


def bringing(sessions: Sessions) -> APIRouter:
    """The routes, for visitors of these sessions."""
    router = APIRouter()

    @router.post("/bring")
    async def bring(request: Request, name: str = "file", parafovea_token: str = Header("")) -> JSONResponse:
        session = sessions.by_token(parafovea_token)
        if session is None or not own_origin(request.headers):
            return _refused(403, "this page has lost its connection to the program; reload it")
        name = Path(name.replace("\\", "/")).name[:120] or "file"
        folder = Path(tempfile.mkdtemp(prefix="parafovea-"))
        suffix = Path(name).suffix.lower()
        path = folder / (secrets.token_hex(8) + (suffix if suffix in HINTS else ""))
        try:
            await _store(request, path)
            await asyncio.to_thread(open_brought, session, name, path)
        except InputError as error:
            shutil.rmtree(folder, ignore_errors=True)
            return _refused(413 if "too large" in str(error) else 400, str(error))
        except ClientDisconnect:
            shutil.rmtree(folder, ignore_errors=True)
            return _refused(400, "the upload was cancelled")
        return JSONResponse({"name": name})

    @router.websocket("/webcam")
    async def webcam(ws: WebSocket, token: str = "") -> None:
        if not own_origin(ws.headers):
            await ws.close()
            return
        await ws.accept()
        session = sessions.by_token(token)
        if session is None:
            await ws.close(UNKNOWN)
            return
        await _watch(ws, session)

    return router


def _refused(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"reason": reason}, status)


async def _store(request: Request, path: Path) -> None:
    """Write the body to a file. Raises InputError when it is too large for the program or the disk."""
    room = min(MAX_UPLOAD_BYTES, shutil.disk_usage(path.parent).free - SPARE_BYTES)
    too_large = f"the file is too large; at most {max(0, room) / 1e9:.1f} GB fit here"
    if int(request.headers.get("content-length") or 0) > room:
        raise InputError(too_large)
    stored = 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            stored += len(chunk)
            if stored > room:
                raise InputError(too_large)
            await asyncio.to_thread(file.write, chunk)


def open_brought(session: Session, name: str, path: Path) -> None:
    """Open a file that was brought; errors name it as the visitor does, and it goes when its source does."""
    def opened() -> Player:
        try:
            return session.services.open_player(str(path))
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from error

    session.open_with(name, opened, lambda: shutil.rmtree(path.parent, ignore_errors=True), str(path))


async def _watch(ws: WebSocket, session: Session) -> None:
    """Hand pictures from the page to a live source until either side ends it."""
    pictures = Pictures()
    opening: asyncio.Task[None] | None = None
    try:
        while not pictures.closed:
            with contextlib.suppress(TimeoutError):
                data = await asyncio.wait_for(ws.receive_bytes(), 1.0)
                if len(data) > MAX_JPEG_BYTES or not await asyncio.to_thread(pictures.put, data):
                    break
                await ws.send_text("ack")
                if opening is None:
                    opening = asyncio.create_task(asyncio.to_thread(_open_webcam, session, pictures))
    except (WebSocketDisconnect, KeyError):  # a text message has no bytes
        log.debug("the page has ended its webcam")
    finally:
        pictures.close()
        if opening is not None:
            await asyncio.wait([opening])
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await ws.close()


def _open_webcam(session: Session, pictures: Pictures) -> None:
    with contextlib.suppress(InputError):  # the page is told over the live channel
        session.open_with(WEBCAM, lambda: session.services.open_webcam(pictures), pictures.close)
