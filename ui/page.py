"""The page: puts the parts together and connects them with the handlers. Compose only.

    page = build_page(Handlers(services, sessions), services)       # gr.Blocks
"""

from __future__ import annotations

import gradio as gr

from ui import parts
from ui.handlers import Handlers
from ui.services import AskSettings, Services

PRIVATE = "private"
"""Events of the page are no public API."""


def build_page(handlers: Handlers, services: Services) -> gr.Blocks:
    """The whole page."""
    names = {uri: name for name, uri in services.recordings.items()}
    first = AskSettings().drafter if AskSettings().drafter in services.drafters else services.drafters[0]
    with gr.Blocks(title="Parafovea", fill_width=True, delete_cache=(600, 3600), analytics_enabled=False) as page:
        parts.build_head()
        with gr.Row(equal_height=False):
            with gr.Column(scale=7, min_width=340):
                source = parts.build_source(list(services.recordings), names.get(services.first_uri))
                stage = parts.build_stage()
                parts.build_words()
            with gr.Column(scale=4, min_width=320):
                talk = parts.build_talk()
                settings = parts.build_settings(services.drafters, first)
                parts.build_runs()

        page.load(handlers.start, None, stage, show_progress="hidden", api_visibility=PRIVATE)
        page.unload(handlers.end)
        _connect_source(handlers, source)
        _connect_talk(handlers, talk)
        _connect_settings(handlers, settings)
    return page


def _connect_source(handlers: Handlers, source: parts.SourceRow) -> None:
    """After every attempt the list shows what is really open. (Gradio's `input` fires twice for one choice.)"""
    quiet = {"show_progress": "hidden", "api_visibility": PRIVATE}
    chosen = source.recording.select(handlers.choose, source.recording, None, **quiet)
    chosen.failure(handlers.source_name, None, source.recording, **quiet)
    uploaded = source.upload.upload(handlers.upload, source.upload, None, **quiet)
    uploaded.success(handlers.source_name, None, source.recording, **quiet)


def _connect_talk(handlers: Handlers, talk: parts.Talk) -> None:
    """Typed and suggested questions take the same way; a second one while the model is busy is told so."""
    outputs = [talk.question, talk.chat, talk.stop]
    options = {"show_progress": "hidden", "trigger_mode": "multiple", "concurrency_limit": None,
               "api_visibility": PRIVATE}
    talk.question.submit(handlers.ask, talk.question, outputs, **options)
    for button in talk.suggestions:
        button.click(handlers.ask, button, outputs, **options)
    talk.chat.clear(handlers.clear, None, None, show_progress="hidden", api_visibility=PRIVATE)
    talk.stop.click(handlers.stop, None, None, show_progress="hidden", api_visibility=PRIVATE)


def _connect_settings(handlers: Handlers, settings: parts.SettingsPart) -> None:
    values = [settings.drafter, settings.temperature, settings.seed, settings.rule, settings.budget]
    for component in values:
        component.change(handlers.settings, values, None, show_progress="hidden", api_visibility=PRIVATE)
