"""Files of what the page shows: the selected part of a recording, and a live source recorded from now on.

    app.include_router(saving(sessions))        # routes of the program's own

POST /part/aedat4 and /part/mp4 write the selected part; POST /record/start, /record/state and /record/stop record a
live source, and stop gives the file, or its name where the program keeps recordings in a folder of its owner (then also
what a visitor leaves behind stays). All need the session's token in a header of its own and our own origin; other files
lie in folders of ours under names of ours, and go when they were sent or the visitor leaves.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import APIRouter, Header, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.background import BackgroundTask

from streams.live_recording import MOST_BYTES, LiveRecording
from streams.types import InputError
from ui.guard import own_origin
from ui.session import Session
from ui.sessions import Sessions

TYPES = {"aedat4": "application/octet-stream", "mp4": "video/mp4"}
LONGEST_S = {"aedat4": 600.0, "mp4": 60.0}
SPARE_BYTES = 512 << 20
"""Room that a file leaves on the disk."""

log = logging.getLogger(__name__)


def saving(sessions: Sessions) -> APIRouter:
    """The routes, for visitors of these sessions."""
    router, busy = APIRouter(), threading.Lock()

    @router.post("/part/{kind}")
    def part(kind: str, request: Request, parafovea_token: str = Header("")) -> Response:
        session = _known(sessions, request, parafovea_token)
        if kind not in TYPES:
            raise HTTPException(404, f"there is no {kind!r}; take one of {', '.join(TYPES)}")
        with _one_sentence():
            span_s = _selected(session, kind)
            if not busy.acquire(blocking=False):
                raise InputError("the program is writing another file; try again in a moment")
            folder = _folder()
            try:
                path = folder / f"part.{kind}"
                session.services.save_part(session.uri, span_s, path, session.view, session.filters)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            finally:
                busy.release()
        return _sent(path, TYPES[kind])

    @router.post("/record/{what}")
    def record(what: str, request: Request, parafovea_token: str = Header("")) -> Response:
        session = _known(sessions, request, parafovea_token)
        if what not in ("start", "state", "stop"):
            raise HTTPException(404, f"there is no {what!r}; start, state and stop are")
        with _one_sentence():
            if what == "start":
                _start(session)
            recording = session.end_recording() if what == "stop" else session.recording
            if recording is None:
                raise InputError("nothing is recorded")
            if what != "stop":
                return JSONResponse(recording.state())
            ended = recording.state()["ended"]
            path = recording.take()
        if not recording.kept:
            return _sent(path, TYPES["aedat4"], _counts(recording.file))
        sessions.tell_offers()
        return JSONResponse({"name": path.name, "ended": ended}, headers=_counts(recording.file))

    return router


@contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise HTTPException(409, str(error)) from error


def _known(sessions: Sessions, request: Request, token: str) -> Session:
    session = sessions.by_token(token)
    if session is None or not own_origin(request.headers):
        raise HTTPException(403, "this page has lost its connection to the program; reload it")
    return session


def _folder() -> Path:
    """A new folder, where there is room for a file. Raises InputError."""
    _require_room(Path(tempfile.gettempdir()))
    return Path(tempfile.mkdtemp(prefix="parafovea-"))


def _require_room(folder: Path) -> None:
    if shutil.disk_usage(folder).free < SPARE_BYTES + MOST_BYTES:
        raise InputError("the program's disk is nearly full; make room first")


def _sent(path: Path, kind: str, headers: dict[str, str] | None = None) -> Response:
    """The file; it goes when it was sent."""
    gone = BackgroundTask(shutil.rmtree, path.parent, ignore_errors=True)
    headers = {"Cache-Control": "no-store", **(headers or {})}
    return FileResponse(path, media_type=kind, background=gone, headers=headers)


def _selected(session: Session, kind: str) -> tuple[float, float]:
    """The part that is selected, in seconds from the start. Raises InputError."""
    player = session.player
    if player is None or session.uri is None or player.info.live:
        raise InputError("a part can be taken of a recording; record a live source first")
    if session.range_s is None:
        raise InputError("select a part first: drag over the line under the pictures")
    start_s, end_s = session.range_s
    if end_s - start_s > LONGEST_S[kind]:
        raise InputError(f"the part lasts {end_s - start_s:.0f} s; at most {LONGEST_S[kind]:.0f} s are written here, "
                         f"more with parafovea {'convert' if kind == 'aedat4' else 'export'}")
    return start_s, end_s


class PageRecording:
    """A live source that a visitor records: the file and the way to end it.

    heard: the player that it hears. kept: it stays in the folder that the program keeps recordings in; other files have
    a folder of their own until they are fetched. Raises InputError when it cannot begin.
    """

    def __init__(self, session: Session) -> None:
        player, keep_in = session.player, session.services.keep_in
        if player is None or not player.info.live:
            raise InputError("only a live source can be recorded; of a recording take a part")
        self.heard, self.kept = player, keep_in is not None
        path = _new_name(keep_in) if keep_in is not None else _folder() / "recording.aedat4"
        try:
            self.file = LiveRecording(player.info, path)
        except BaseException as error:
            self._sweep(path)
            if isinstance(error, InputError):
                raise InputError(_without_folder(str(error), path)) from None
            raise
        self._releases = player.tap(self.file.put), player.sensors.tap(self.file.put)

    def take(self) -> Path:
        """End it; the file. Raises InputError when the disk failed (where it is kept, what was written before that
        stays and can be read) and when nothing came."""
        self._release()
        try:
            self.file.close()
        except InputError as error:
            if not self.kept or self.file.empty:
                self._discard()
            raise InputError(_without_folder(str(error), self.file.path)) from None
        if self.file.empty:
            self._discard()
            raise InputError("nothing came from the source while it was recorded")
        return self.file.path

    def leave(self) -> None:
        """End it because the visitor is gone: without a file, unless it is kept."""
        if not self.kept:
            self.give_up()
            return
        try:
            log.info("a visitor left while he recorded: %s is kept", self.take())
        except InputError as error:
            log.warning("what a visitor recorded before he left: %s", error)

    def give_up(self) -> None:
        """End it without a file."""
        self._release()
        self._discard()

    def state(self) -> dict[str, object]:
        """How far it is, for the page."""
        file = self.file
        return {"kept": self.kept, "seconds": round(file.seconds, 1), "events": file.n_events, "frames": file.n_frames,
                "imu": file.n_imu, "triggers": file.n_triggers, "megabytes": round(file.n_bytes / 1e6, 1),
                "dropped": file.n_dropped, "frames_dropped": file.n_frames_dropped,
                "samples_dropped": file.n_samples_dropped, "ended": _without_folder(file.ended, file.path)}

    def _release(self) -> None:
        for release in self._releases:
            release()

    def _discard(self) -> None:
        self.file.discard()
        self._sweep(self.file.path)

    def _sweep(self, path: Path) -> None:
        if not self.kept:
            shutil.rmtree(path.parent, ignore_errors=True)


def _new_name(folder: Path) -> Path:
    """A name that tells when, and that no other recording has. Raises InputError."""
    if not folder.is_dir():
        raise InputError("the folder in which the program keeps recordings is gone")
    _require_room(folder)
    return folder / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{secrets.token_hex(2)}.aedat4"


def _without_folder(sentence: str, path: Path) -> str:
    """What is said to a visitor, whom the folders of this machine do not concern."""
    return sentence.replace(str(path), path.name)


def _start(session: Session) -> None:
    # before a file is made, and again when it is there: somebody may press twice, leave, or change filters
    if session.recording is None:
        recording = PageRecording(session)
        if session.begin_recording(recording):
            return
        recording.give_up()
        if session.recording is None and session.player is not None:
            raise InputError("the filters or the source were just changed; begin again")
    raise InputError("it is being recorded already")


def _counts(file: LiveRecording) -> dict[str, str]:
    """What was recorded, in headers beside the file."""
    return {"parafovea-events": str(file.n_events), "parafovea-frames": str(file.n_frames),
            "parafovea-imu": str(file.n_imu), "parafovea-triggers": str(file.n_triggers),
            "parafovea-dropped": str(file.n_dropped), "parafovea-frames-dropped": str(file.n_frames_dropped),
            "parafovea-samples-dropped": str(file.n_samples_dropped)}
