"""Who is here: one Session per browser tab.

    session = sessions.create(request.session_hash, link)
    sessions.by_token(token)                    # the live channel finds it; unguessable
    sessions.drop(request.session_hash)         # the tab was closed
"""

from __future__ import annotations

import logging
import secrets
import threading
import time

from streams.types import InputError
from ui.links import Link
from ui.services import Services
from ui.session import Session
from ui.sharing import Shelf
from ui.turns import Turns

UNSEEN_S = 120.0
"""A session whose page has not been connected for so long is dropped."""
LEAVING_S = 1.0
"""Patience with each session when the program ends."""

RECORDED_S = 20.0
"""Further patience with the disk where something is being recorded."""

log = logging.getLogger(__name__)


class Sessions:
    """All visitors, found by token (live channel) or by Gradio's session hash (events of the page).

    turns: whose answer the models make. shelf: live sources that several watch.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self.turns, self.shelf = Turns(), Shelf()
        self._lock = threading.Lock()
        self._by_hash: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._by_hash)

    def create(self, session_hash: str, link: Link | None = None) -> Session:
        """A session for a page that has just loaded; it begins to open the source of its link, or the first."""
        self.sweep()
        session = Session(self._services, self.turns, self.shelf, link)
        with self._lock:
            old = self._by_hash.pop(session_hash, None)
            self._by_hash[session_hash] = session
        if old is not None:
            old.close()
        threading.Thread(target=self._begin, args=(session,), name="open", daemon=True).start()
        return session

    def _begin(self, session: Session) -> None:
        """Open what the link names, if it is in the list, at its time."""
        recordings, link = self._services.listed(), session.link
        uri = recordings.get(link.source or "", self._services.first_uri)
        names = {uri: name for name, uri in recordings.items()}
        try:
            session.open(names.get(uri, uri), uri, first=True)
            player = session.player
            if link.t_s is not None and player is not None and not player.info.live:
                player.pause()
                player.seek(player.state().start_us + round(link.t_s * 1e6))
        except InputError as error:
            log.warning("the first source %s did not open: %s", uri, error)
        session.ready.set()

    def tell_offers(self) -> None:
        """There is something else to choose from: every page is told."""
        with self._lock:
            sessions = list(self._by_hash.values())
        for session in sessions:
            session.publish([session.offers()])

    def by_hash(self, session_hash: str | None) -> Session | None:
        """The session of a Gradio event."""
        return self._by_hash.get(session_hash or "")

    def by_token(self, token: str) -> Session | None:
        """The session of a live connection; the comparison takes equally long for every wrong token."""
        with self._lock:
            known = list(self._by_hash.values())
        return next((s for s in known if secrets.compare_digest(s.token.encode(), token.encode())), None)

    def tokens(self) -> list[str]:
        """Tokens of everybody who is here."""
        with self._lock:
            return [session.token for session in self._by_hash.values()]

    def drop(self, session_hash: str | None) -> None:
        """The tab was closed."""
        with self._lock:
            session = self._by_hash.pop(session_hash or "", None)
        if session is not None:
            session.close()

    def sweep(self) -> None:
        """Drop sessions whose page has not been seen for a while."""
        late = time.monotonic() - UNSEEN_S
        with self._lock:
            gone = [key for key, session in self._by_hash.items() if not session.connected and session.seen_s < late]
        for key in gone:
            self.drop(key)

    def close(self) -> None:
        """The program ends."""
        patience_s = LEAVING_S + RECORDED_S * any(session.recording for session in list(self._by_hash.values()))
        leaving = [threading.Thread(target=self.drop, args=(key,), daemon=True) for key in list(self._by_hash)]
        for thread in leaving:
            thread.start()
        for thread in leaving:
            thread.join(patience_s)
