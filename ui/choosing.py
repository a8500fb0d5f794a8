"""What the page may choose to see: recordings of the list, cameras that are plugged in, streams of the network.

    choose(session, Choice("recording", "Bundled story"))       # returns at once; the page is told how it went
    look_for_cameras(session)

A visitor names what was offered to him, never a path or an address scheme of his own.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from streams.types import InputError
from ui.protocol import Cameras, Choice, SourceFailed

if TYPE_CHECKING:
    from ui.session import Session

ADDRESS = re.compile(r"[A-Za-z0-9.-]{1,253}:\d{1,5}|\[[0-9A-Fa-f:]{2,45}\]:\d{1,5}")

log = logging.getLogger(__name__)


def choose(session: Session, choice: Choice) -> None:
    """Open what was chosen, in a thread of its own: a camera may take seconds to start."""
    _begin(lambda: _open(session, choice))


def look_through_soon(session: Session) -> None:
    """Look through the filters that are wanted, in a thread of its own: one may have to learn first."""
    _begin(session.look_through)


def look_for_cameras(session: Session) -> None:
    """Tell the page which cameras are plugged in, in a thread of its own."""
    _begin(lambda: _look(session))


def _begin(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="choosing", daemon=True).start()


def _open(session: Session, choice: Choice) -> None:
    try:
        uri = _uri(session, choice)
    except InputError as error:
        session.publish([SourceFailed(choice.name, str(error), session.source_name)])
        return
    try:
        session.open(choice.name, uri)
    except InputError as error:
        log.info("%s did not open: %s", choice.name, error)


def _uri(session: Session, choice: Choice) -> str:
    services, name = session.services, choice.name
    if choice.kind == "network":
        if not services.network or not ADDRESS.fullmatch(name):
            raise InputError(f"{name or 'nothing'} is no address; give host:port, as in 127.0.0.1:7777")
        return f"{services.network}://{name}"
    offered = services.listed() if choice.kind == "recording" else session.cameras
    if name not in offered:
        raise InputError(f"there is no {choice.kind} of this name any more; choose another one")
    return offered[name]


def _look(session: Session) -> None:
    try:
        session.cameras = session.services.find_cameras()
        session.publish([Cameras(list(session.cameras), "")])
    except InputError as error:
        session.publish([Cameras([], str(error))])
