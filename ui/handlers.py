"""What happens when a visitor does something in a Gradio component: thin steps from values to the session.

    handlers = Handlers(services, sessions)
    page = build_page(handlers, services)

Errors of the input become toasts of one sentence; nothing here knows the layout.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from streams.types import InputError
from ui.services import AskSettings, Services
from ui.sessions import Session, Sessions


class Handlers:
    """The events of the page, for all visitors."""

    def __init__(self, services: Services, sessions: Sessions) -> None:
        self._services, self._sessions = services, sessions

    def _session(self, request: gr.Request) -> Session:
        session = self._sessions.by_hash(request.session_hash)
        if session is None:
            raise _sorry("This page has lost its connection to the program; reload it")
        return session

    def start(self, request: gr.Request) -> dict[str, str]:
        """The page has loaded: a session begins; its token opens the live channel."""
        return {"token": self._sessions.create(request.session_hash).token}

    def end(self, request: gr.Request) -> None:
        """The tab was closed."""
        self._sessions.drop(request.session_hash)

    def choose(self, name: str, request: gr.Request) -> None:
        """Open a recording of the list."""
        self._open(self._session(request), name, self._services.recordings[name])

    def upload(self, path: str, request: gr.Request) -> None:
        """Open a file that the visitor has brought."""
        self._open(self._session(request), Path(path).name, path)

    def _open(self, session: Session, name: str, uri: str) -> None:
        try:
            session.open(name, uri)
        except InputError as error:
            kept = f" {session.source_name} stays open." if session.source_name else ""
            raise _sorry(f"{name} did not open: {str(error).rstrip('.')}.{kept}") from error

    def source_name(self, request: gr.Request) -> str | None:
        """The recording that is open, for the list to show; None when it is not one of the list."""
        name = self._session(request).source_name
        return name if name in self._services.recordings else None

    def ask(self, question: str, request: gr.Request) -> Iterator[tuple[Any, Any, Any]]:
        """Answer a typed or suggested question; yields question line, chat and Stop button."""
        session = self._session(request)
        question = question.strip()
        if not question:
            raise _sorry("Type a question first")
        try:
            asking = session.narrator.ask(question)
        except InputError as error:
            raise _sorry(str(error)) from error
        if asking is None:
            gr.Info("The model is still answering. Wait, or press Stop.")
            yield gr.skip(), gr.skip(), gr.skip()
            return
        answer = {"role": "assistant", "content": ""}
        session.chat += [{"role": "user", "content": _literal(question)}, answer]
        yield "", session.chat, gr.Button(visible=True)
        for text in asking.follow():
            answer["content"] = _literal(text)
            yield gr.skip(), session.chat, gr.skip()
        if asking.error or not asking.text:
            answer["content"] += f" (broke off: {_literal(asking.error)})" if asking.error else "(stopped)"
        yield gr.skip(), session.chat, gr.Button(visible=False)

    def clear(self, request: gr.Request) -> None:
        """The visitor emptied the chat."""
        self._session(request).chat.clear()

    def stop(self, request: gr.Request) -> None:
        """Stop the answer; what was said stays."""
        self._session(request).narrator.stop()

    def settings(self, drafter: str, temperature: float, seed: float | None, rule: str, budget: int | None,
                 request: gr.Request) -> None:
        """How to answer from now on."""
        settings = AskSettings(drafter, float(temperature), int(seed or 0), rule, budget or None)
        self._session(request).narrator.settings = settings


def _literal(text: str) -> str:
    """Text for the chat, which takes HTML even with Markdown off (an image in an answer would be fetched)."""
    return html.escape(text, quote=False)


def _sorry(sentence: str) -> gr.Error:
    """A toast without a traceback."""
    return gr.Error(sentence if sentence.endswith(".") else sentence + ".", duration=8, print_exception=False)
