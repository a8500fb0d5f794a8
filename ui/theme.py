"""Colours and fonts of Gradio's own widgets; everything else is in static/ui.css. Nothing is downloaded."""

from __future__ import annotations

import gradio as gr

FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
FONT_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "monospace"]


def build_theme() -> gr.themes.Base:
    """System fonts and a calm blue-grey."""
    return gr.themes.Default(primary_hue="blue", neutral_hue="slate", text_size="md", spacing_size="sm",
                             radius_size="md", font=FONT, font_mono=FONT_MONO)
