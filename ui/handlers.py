"""What happens when a visitor does something in a Gradio component: thin steps from values to the session.

    handlers = Handlers(services, sessions)
    page = build_page(handlers, services)

Errors of the input become toasts of one sentence; nothing here knows the layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr

from streams.types import InputError
from ui.asking import Asking
from ui.links import read_link
from ui.parts import RULES
from ui.services import AskSettings, Services
from ui.session import Session
from ui.sessions import Sessions
from ui.trace import MAX_BYTES, read_traces

OPENING_S = 20.0
"""Patience with a source that a link names."""


class Handlers:
    """The events of the page, for all visitors."""

    def __init__(self, services: Services, sessions: Sessions) -> None:
        self._services, self._sessions = services, sessions
        self._offered = {"drafter": services.drafters, "rule": [rule for _, rule in RULES], "pair": services.pairs}

    def _session(self, request: gr.Request) -> Session:
        session = self._sessions.by_hash(request.session_hash)
        if session is None:
            raise _sorry("This page has lost its connection to the program; reload it")
        return session

    def start(self, request: gr.Request) -> dict[str, str]:
        """The page has loaded: a session begins with what its address asks for; its token opens the live channel."""
        link = read_link(dict(request.query_params), self._offered)
        return {"token": self._sessions.create(request.session_hash, link).token}

    def rejoin(self, chat: list[dict[str, Any]] | None, request: gr.Request) -> dict[str, str]:
        """The program was started again: a new session goes on with the chat that the page shows."""
        token = self.start(request)
        self._session(request).chat.bring_back(chat or [])
        return token

    def linked(self, request: gr.Request) -> dict[str, Any]:
        """The settings that the page's address asks for, by name; nothing for those that it does not name."""
        query, link = dict(request.query_params), self._session(request).link
        values = asdict(link.settings) | {"window_s": link.window_s, "budget": link.settings.budget or 0}
        return {name: value for name, value in values.items() if name.removesuffix("_s") in query and value != ""}

    def linked_question(self, request: gr.Request) -> Iterator[tuple[Any, Any]]:
        """Ask what the page's address asks, as soon as its source is open."""
        session = self._session(request)
        yield gr.skip(), gr.skip()  # a generator without a value would empty its outputs
        if not session.link.question:
            return
        if not session.ready.wait(OPENING_S):
            raise _sorry("The recording of this link did not open in time; ask again when it has")
        # settings that arrive from the page meanwhile may still be those it was built with
        session.narrator.set_up(session.link.settings, session.link.window_s)
        yield from self.ask(session.link.question, request)

    def end(self, request: gr.Request) -> None:
        """The tab was closed."""
        self._sessions.drop(request.session_hash)

    def ask(self, question: str, request: gr.Request) -> Iterator[tuple[Any, Any]]:
        """Answer a typed or suggested question; yields chat and Stop button."""
        session = self._session(request)
        question = question.strip()
        if not question:
            raise _sorry("Type a question first")
        yield from self._follow(session, question, lambda: session.narrator.ask(question, session.range_s))

    def again(self, request: gr.Request) -> Iterator[tuple[Any, Any]]:
        """Ask the newest question of the chat once more, about what is seen now and with the settings of now."""
        question = self._session(request).chat.last_question()
        if question is None:
            raise _sorry("There is no question yet to ask again")
        yield from self.ask(question, request)

    def replay(self, path: str, request: gr.Request) -> Iterator[tuple[Any, Any]]:
        """Play back the answers of a trace file, without a model."""
        session, name = self._session(request), Path(path).name
        try:
            traces = read_traces(_text_of(path), name)
        except InputError as error:
            raise _sorry(str(error)) from error
        for trace in traces:
            trace.header["file"] = name
            yield from self._follow(session, f"{trace.header['question']} (trace {name})",
                                    lambda trace=trace: session.narrator.replay(trace))

    def _follow(self, session: Session, question: str, begin: Callable[[], Asking | None],
                ) -> Iterator[tuple[Any, Any]]:
        """Show a question and its growing answer in the chat; Stop is visible as long as it grows."""
        try:
            asking = begin()
        except InputError as error:
            raise _sorry(str(error)) from error
        if asking is None:
            gr.Info("The model is still answering. Wait, or press Stop.")
            yield gr.skip(), gr.skip()
            return
        answer = session.chat.begin(question)
        yield session.chat.shown(), gr.Button(visible=True)
        for text in asking.follow():
            answer["content"] = text if text or asking.finished else _waiting(asking.place)
            yield session.chat.shown(), gr.skip()
        if asking.error or not asking.text:
            answer["content"] += f" (broke off: {asking.error})" if asking.error else "(stopped)"
        yield session.chat.shown(), gr.Button(visible=False)

    def clear(self, request: gr.Request) -> None:
        """The visitor emptied the chat."""
        self._session(request).chat.turns.clear()

    def stop(self, request: gr.Request) -> None:
        """Stop the answer; what was said stays."""
        self._session(request).narrator.stop()

    def settings(self, chosen: dict[str, Any], request: gr.Request) -> None:
        """How to answer from now on; chosen: values of parts.SettingsPart by name."""
        settings = AskSettings(chosen["drafter"], float(chosen["temperature"]), int(chosen["seed"] or 0),
                               chosen["rule"], chosen["budget"] or None, int(chosen["top_k"] or 0),
                               float(chosen["top_p"]),
                               "" if chosen["pair"] in self._services.pairs[:1] else chosen["pair"] or "")
        self._session(request).narrator.set_up(settings, float(chosen["window_s"]), float(chosen["period_s"]))


def _waiting(place: int) -> str:
    return f"(waits: the models make {place} other answer{'s' if place > 1 else ''} first)" if place else ""


def _text_of(path: str) -> str:
    """The text of a brought file, as far as a trace may be long; bytes that are no text make it no trace."""
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1).decode("utf-8", errors="replace")


def _sorry(sentence: str) -> gr.Error:
    """A toast without a traceback."""
    return gr.Error(sentence if sentence.endswith(".") else sentence + ".", duration=8, print_exception=False)
