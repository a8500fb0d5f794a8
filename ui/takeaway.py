"""What a visitor takes away: trace, clip and link of an answer, all captions, the whole chat.

    app.include_router(takeaway(sessions))      # routes of the program's own

POST /take/{what} with the session's token in a header of its own: no other site can send that, and no address shows it.
"""

from __future__ import annotations

from fastapi import APIRouter, Header, HTTPException, Request
from fastapi.responses import Response

from streams.types import InputError
from ui.answer_messages import Who
from ui.clip import clip_bytes, clip_pictures
from ui.guard import own_origin
from ui.links import write_link
from ui.session import Session
from ui.sessions import Sessions
from ui.subtitles import srt, vtt
from ui.trace import trace_lines

TYPES = {"trace": "application/x-ndjson", "gif": "image/gif", "mp4": "video/mp4", "srt": "application/x-subrip",
         "vtt": "text/vtt", "link": "text/plain", "chat": "text/plain"}


def takeaway(sessions: Sessions) -> APIRouter:
    """The routes, for visitors of these sessions."""
    router = APIRouter()

    @router.post("/take/{what}")
    def take(what: str, request: Request, who: Who = "question", parafovea_token: str = Header("")) -> Response:
        session = sessions.by_token(parafovea_token)
        if session is None or not own_origin(request.headers):
            raise HTTPException(403, "this page has lost its connection to the program; reload it")
        if what not in TYPES:
            raise HTTPException(404, f"there is no {what!r}; take one of {', '.join(TYPES)}")
        try:
            content = _made(session, what, who)
        except InputError as error:
            raise HTTPException(409, str(error)) from error
        return Response(content, media_type=TYPES[what], headers={"Cache-Control": "no-store"})

    return router


def _made(session: Session, what: str, who: Who) -> str | bytes:
    if what == "chat":
        if not session.chat.turns:
            raise InputError("nothing was asked yet")
        return session.chat.text()
    if what in ("srt", "vtt"):
        if not session.marks():
            raise InputError("there are no captions yet; let the recording play with live captions on")
        return (srt if what == "srt" else vtt)(session.marks())
    kept = session.narrator.teller.kept.get(who)
    if kept is None:
        raise InputError("there is no answer of the models to take yet; ask a question first")
    if what == "link":
        return write_link(session.source_name, kept.trace.header)
    if what == "trace":
        return trace_lines(kept.trace)
    return clip_bytes(clip_pictures(kept.trace, kept.window), f".{what}")
