"""The parts of the page: each function lays out one part and returns its components by name. No behaviour.

    talk = build_talk()
    talk.question.submit(handlers.ask, ...)               # wiring is page.py's
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import gradio as gr

from ui.links import HOTTEST, LEAST_TOP_P, LONGEST_S, SHORTEST_S

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("bus.js", "answers.js", "head.js", "sources.js", "stage.js", "scrubber.js", "filters.js", "words.js",
           "chart.js", "tiles.js", "race.js", "takeaway.js")
STYLES = ("ui.css", "sources.css", "stage.css", "filters.css", "answers.css")
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


def build_rejoin() -> gr.Button:
    """What the live channel presses when the program was started again: the page gets a new session."""
    return gr.Button("rejoin", elem_id="rejoin", visible="hidden")


def build_stage() -> gr.HTML:
    """Both views, caption, scrubber. Its value {"token": …} opens the live channel."""
    return _live("stage.html", "pf.stage(element);"
                 " watch('value', () => { if (props.value && props.value.token) pf.open(props.value.token); });",
                 "stage", {"token": ""})


def build_filters() -> gr.HTML:
    """What the events pass before they are seen and read; folded away."""
    return _live("filters.html", "pf.filters(element);", "filters")


def build_words() -> gr.HTML:
    """The words of the answer with their verdicts, and the answer in numbers."""
    return _live("words.html", "pf.words(element); pf.tiles(element); pf.race(element);", "words")


def build_runs() -> gr.HTML:
    """What runs when, and cos_sim, of the same answer."""
    return _live("runs.html", "pf.chart(element);", "runs")


def build_sources() -> gr.HTML:
    """Where the events come from: recordings, files, cameras, the network, the browser's webcam."""
    return _live("sources.html", "pf.sources(element);", "sources")


@dataclass(frozen=True)
class Talk:
    """Question and answer."""

    chat: gr.Chatbot
    question: gr.Textbox
    again: gr.Button
    stop: gr.Button
    suggestions: list[gr.Button]


def build_talk() -> Talk:
    """The chat, suggested questions, the question line, and Stop (visible only while an answer is made)."""
    chat = gr.Chatbot(label="Ask what the camera sees", elem_id="chat", height=360, render_markdown=False,
                      allow_tags=False, buttons=[], feedback_options=None, layout="bubble",
                      placeholder="Ask about what both cameras saw in the last second, or in a part that you select.\n"
                                  "The answer appears here, and how it was made under the pictures.")
    with gr.Row(elem_id="suggestions"):
        suggestions = [gr.Button(question, size="sm", min_width=60, scale=0) for question in QUESTIONS]
    with gr.Row(elem_id="askrow"):
        question = gr.Textbox(placeholder="Type a question…  ( / )", show_label=False, label="Question",
                              container=False, scale=6, elem_id="ask", submit_btn=True, max_length=500)
        again = gr.Button("Ask again", variant="secondary", size="md", elem_id="again", min_width=96, scale=0)
        stop = gr.Button("Stop", variant="secondary", size="md", elem_id="stop", visible=False, min_width=70, scale=0)
    return Talk(chat, question, again, stop, suggestions)


def build_take_away() -> gr.UploadButton:
    """Files of the answer that is shown, and the button that opens a trace."""
    with gr.Row(elem_id="takeaway"):
        _live("takeaway.html", "pf.takeaway(element);", "files")
        return gr.UploadButton("Open a trace…", file_types=[".jsonl", ".json", ".txt"], size="sm", scale=0,
                               min_width=120, elem_id="trace")


@dataclass(frozen=True)
class SettingsPart:
    """How to answer."""

    drafter: gr.Dropdown
    rule: gr.Dropdown
    budget: gr.Dropdown
    temperature: gr.Slider
    seed: gr.Number
    top_k: gr.Number
    top_p: gr.Slider
    window_s: gr.Slider
    period_s: gr.Slider
    pair: gr.Dropdown

    def named(self) -> dict[str, gr.components.Component]:
        """Components by name."""
        return {of.name: getattr(self, of.name) for of in fields(self)}


RULES = [("only the RGB model’s own words (lossless)", ""), ("typical words too (LOSSY)", "typical"),
         ("words with cos_sim > 0.9 too (LOSSY)", "cosine:0.9")]
BUDGETS = [("automatic", 0), *((str(nodes), nodes) for nodes in (1, 2, 4, 6, 8, 12, 16))]
GUESSERS = {"vlm": "the event model", "vlm:tree": "the event model, several words at every place",
            "recall": "memory of what was said before", "adapter": "event model’s states through an adapter",
            "eagle": "EAGLE-2 head on the RGB model", "eagle3": "EAGLE-3 head on the RGB model",
            "medusa": "Medusa heads on the RGB model", "specvlm": "EAGLE with compressed pictures",
            "skip": "the RGB model with layers left out", "mix": "event model and memory in one tree",
            "none": "nobody: plain decoding"}


def build_settings(drafters: list[str], first: str, pairs: list[str]) -> SettingsPart:
    """Who guesses, which guesses pass, sampling, what an answer is about, the models; folded away."""
    named = [(f"{name}: {GUESSERS[name]}" if name in GUESSERS else name, name) for name in drafters]
    with gr.Accordion("Settings for the next question", open=False, elem_id="settings"):
        drafter = gr.Dropdown(named, value=first, label="Who guesses (drafter)", elem_id="drafter",
                              info="Changes how fast words appear, not which words they are.")
        with gr.Row():
            rule = gr.Dropdown(RULES, value="", label="Which guesses pass", elem_id="rule", scale=2)
            budget = gr.Dropdown(BUDGETS, value=0, label="Guesses per check", elem_id="budget", min_width=90, scale=1)
        with gr.Row():
            temperature = gr.Slider(0.0, HOTTEST, value=0.0, step=0.1, label="Temperature", elem_id="temperature",
                                    info="0 = always the likeliest word", scale=2)
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="seed", min_width=90, scale=1,
                             info="same seed, same words")
        with gr.Row():
            top_p = gr.Slider(LEAST_TOP_P, 1.0, value=1.0, step=0.05, label="Top-p", elem_id="top-p", scale=2,
                              info="draw from the likeliest that make up this share")
            top_k = gr.Number(0, label="Top-k", precision=0, minimum=0, elem_id="top-k", min_width=90, scale=1,
                              info="0 = all words")
        with gr.Row():
            window_s = gr.Slider(SHORTEST_S, LONGEST_S, value=1.0, step=0.1, label="Seconds asked about",
                                 elem_id="window", min_width=120, info="before the moment that is shown")
            period_s = gr.Slider(0.5, 10.0, value=2.0, step=0.5, label="Live caption every … seconds",
                                 elem_id="period", min_width=120, info="of the recording")
        pair = gr.Dropdown(pairs or [""], value=pairs[0] if pairs else "", label="Model pair", elem_id="pair",
                           visible=len(pairs) > 1)
    return SettingsPart(drafter, rule, budget, temperature, seed, top_k, top_p, window_s, period_s, pair)
