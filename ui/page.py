"""The page: puts the parts together and connects them with the handlers. Compose only.

    page = build_page(Handlers(services, sessions), services, api)    # gr.Blocks
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui import parts
from ui.api import Api
from ui.handlers import Handlers
from ui.services import AskSettings, Services

PRIVATE = "private"
"""Events of the page are no public API."""


def build_page(handlers: Handlers, services: Services, api: Api) -> gr.Blocks:
    """The whole page, and the endpoints for programs."""
    first = AskSettings().drafter if AskSettings().drafter in services.drafters else services.drafters[0]
    with gr.Blocks(title="Parafovea", fill_width=True, delete_cache=(600, 3600), analytics_enabled=False) as page:
        parts.build_head()
        rejoin = parts.build_rejoin()
        with gr.Row(equal_height=False, elem_id="main"):
            with gr.Column(scale=7, min_width=340):
                parts.build_sources()
                stage = parts.build_stage()
                parts.build_filters()
                parts.build_words()
                trace = parts.build_take_away()
            with gr.Column(scale=4, min_width=320):
                talk = parts.build_talk()
                settings = parts.build_settings(services.drafters, first, services.pairs)
                parts.build_runs()

        begun = page.load(handlers.start, None, stage, show_progress="hidden", api_visibility=PRIVATE)
        _open_link(handlers, begun, talk, settings)
        page.unload(handlers.end)
        api.publish()
        _connect_talk(handlers, talk, trace)
        _connect_settings(handlers, settings, rejoin.click(handlers.rejoin, talk.chat, stage,
                                                           show_progress="hidden", api_visibility=PRIVATE))
    return page


def _open_link(handlers: Handlers, begun: gr.events.Dependency, talk: parts.Talk, settings: parts.SettingsPart) -> None:
    """An address may name a question and settings; the session has already opened its source."""
    components = settings.named()

    def values(request: gr.Request) -> list[Any]:
        named = handlers.linked(request)
        return [named.get(name, gr.skip()) for name in components]

    quiet = {"show_progress": "hidden", "api_visibility": PRIVATE}
    shown = begun.success(values, None, list(components.values()), **quiet)
    shown.success(handlers.linked_question, None, [talk.chat, talk.stop], concurrency_limit=None, **quiet)


def _connect_talk(handlers: Handlers, talk: parts.Talk, trace: gr.UploadButton) -> None:
    """Questions of all kinds and traces take the same way; a second one while the model is busy is told so."""
    outputs = [talk.chat, talk.stop]
    options = {"show_progress": "hidden", "trigger_mode": "multiple", "concurrency_limit": None,
               "api_visibility": PRIVATE}
    talk.question.submit(handlers.ask, talk.question, outputs, **options)
    for button in talk.suggestions:
        button.click(handlers.ask, button, outputs, **options)
    talk.again.click(handlers.again, None, outputs, **options)
    trace.upload(handlers.replay, trace, outputs, **options)
    talk.chat.clear(handlers.clear, None, None, show_progress="hidden", api_visibility=PRIVATE)
    talk.stop.click(handlers.stop, None, None, show_progress="hidden", api_visibility=PRIVATE)


def _connect_settings(handlers: Handlers, settings: parts.SettingsPart, rejoined: gr.events.Dependency) -> None:
    """Every change holds from the next answer on; a program that was started again is told what is set."""
    components = settings.named()

    def changed(values: dict[gr.components.Component, Any], request: gr.Request) -> None:
        handlers.settings({name: values[component] for name, component in components.items()}, request)

    for event in (*(component.change for component in components.values()), rejoined.success):
        event(changed, set(components.values()), None, show_progress="hidden", api_visibility=PRIVATE)
