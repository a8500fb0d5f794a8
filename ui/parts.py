"""The parts of the page: each function lays out one part and returns its components by name. No behaviour.

    source = build_source(list(services.recordings), "Bundled story")
    source.recording.input(handlers.choose, ...)          # wiring is page.py's
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gradio as gr

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("bus.js", "answers.js", "head.js", "stage.js", "words.js", "chart.js", "tiles.js")
STYLES = ("ui.css", "stage.css", "answers.css")
UPLOADS = [".aedat4", ".aedat", ".raw", ".dat", ".es", ".bin", ".npy", ".csv", ".txt", ".h5", ".hdf5", ".bag",
           ".mp4", ".avi", ".mov", ".mkv", ".webm"]
QUESTIONS = ["What is happening?", "Describe the scene in detail.", "How many objects are there?",
             "What color is the car?"]


@cache
def script() -> tuple[str, str]:
    """Our scripts as one file (a browser loads several in any order), and the address it is served at.

    The content's hash in the address makes a browser load a new version.
    """
    text = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return text, f"/page/{hashlib.sha256(text.encode()).hexdigest()[:16]}.js"


def _live(template: str, on_load: str, elem_id: str, value: object = None) -> gr.HTML:
    """A part that the live channel fills: static markup, drawn by a script of ours."""
    return gr.HTML(value=value, html_template=(STATIC / template).read_text(encoding="utf-8"), js_on_load=on_load,
                   head=f'<script src="{script()[1]}"></script>', elem_id=elem_id, apply_default_css=False)


def build_head() -> gr.HTML:
    """Name, one sentence, connection, keys."""
    return _live("head.html", "pf.head(element);", "head")


def build_stage() -> gr.HTML:
    """Both views, caption, scrubber. Its value {"token": …} opens the live channel."""
    return _live("stage.html", "pf.stage(element);"
                 " watch('value', () => { if (props.value && props.value.token) pf.open(props.value.token); });",
                 "stage", {"token": ""})


def build_words() -> gr.HTML:
    """The words of the answer with their verdicts, and the answer in numbers."""
    return _live("words.html", "pf.words(element); pf.tiles(element);", "words")


def build_runs() -> gr.HTML:
    """What runs when, and cos_sim, of the same answer."""
    return _live("runs.html", "pf.chart(element);", "runs")


@dataclass(frozen=True)
class SourceRow:
    """Where the events come from."""

    recording: gr.Dropdown
    upload: gr.UploadButton


def build_source(names: list[str], first: str | None) -> SourceRow:
    """The list of recordings and the upload."""
    with gr.Row(elem_id="sources"):
        recording = gr.Dropdown(names, value=first, label="Recording", show_label=False, container=False, scale=2,
                                min_width=150, elem_id="recording")
        upload = gr.UploadButton("Open a file…", file_types=UPLOADS, size="md", scale=0, min_width=130,
                                 elem_id="upload")
        gr.HTML(html_template='<div class="pf"><span class="chip source"></span></div>', elem_id="about",
                min_width=150, scale=3, apply_default_css=False)
    return SourceRow(recording, upload)


@dataclass(frozen=True)
class Talk:
    """Question and answer."""

    chat: gr.Chatbot
    question: gr.Textbox
    stop: gr.Button
    suggestions: list[gr.Button]


def build_talk() -> Talk:
    """The chat, suggested questions, the question line, and Stop (visible only while an answer is made)."""
    chat = gr.Chatbot(label="Ask about the last second", elem_id="chat", height=360, render_markdown=False,
                      allow_tags=False, buttons=[], feedback_options=None, layout="bubble",
                      placeholder="Ask about what both cameras saw in the last second.\n"
                                  "The answer appears here, and how it was made under the pictures.")
    with gr.Row(elem_id="suggestions"):
        suggestions = [gr.Button(question, size="sm", min_width=60, scale=0) for question in QUESTIONS]
    with gr.Row(elem_id="askrow"):
        question = gr.Textbox(placeholder="Type a question…  ( / )", show_label=False, label="Question",
                              container=False, scale=6, elem_id="ask", submit_btn=True, max_length=500)
        stop = gr.Button("Stop", variant="secondary", size="md", elem_id="stop", visible=False, min_width=70, scale=0)
    return Talk(chat, question, stop, suggestions)


@dataclass(frozen=True)
class SettingsPart:
    """How to answer."""

    drafter: gr.Dropdown
    temperature: gr.Slider
    seed: gr.Number
    rule: gr.Dropdown
    budget: gr.Dropdown


RULES = [("right ones: lossless", ""), ("typical ones: lossy", "typical"), ("cos_sim > 0.9: lossy", "cosine:0.9")]
BUDGETS = [("automatic", 0), *((str(nodes), nodes) for nodes in (1, 2, 4, 6, 8, 12, 16))]


def build_settings(drafters: list[str], first: str) -> SettingsPart:
    """Drafter, sampling, acceptance rule and budget, folded away."""
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        drafter = gr.Dropdown(drafters, value=first, label="Drafter: who guesses the words", elem_id="drafter",
                              info="Changes how fast words appear, not which words they are.")
        with gr.Row():
            temperature = gr.Slider(0.0, 1.5, value=0.0, step=0.1, label="Temperature", elem_id="temperature",
                                    info="0 = always the likeliest word", scale=2)
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="seed", min_width=90, scale=1,
                             info="same seed, same words")
        with gr.Row():
            rule = gr.Dropdown(RULES, value="", label="Which guesses pass", elem_id="rule", scale=2)
            budget = gr.Dropdown(BUDGETS, value=0, label="Guesses per check", elem_id="budget", min_width=90, scale=1)
    return SettingsPart(drafter, temperature, seed, rule, budget)
