"""Colours and fonts of Gradio's own widgets; everything else is in static/ui.css. Nothing is downloaded."""

from __future__ import annotations

import gradio as gr

FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
FONT_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "monospace"]


def build_theme() -> gr.themes.Base:
    """System fonts and a calm blue-grey."""
    theme = gr.themes.Default(primary_hue="blue", neutral_hue="slate", text_size="md", spacing_size="sm",
                              radius_size="md", font=FONT, font_mono=FONT_MONO)
    # Gradio's own grey of notes has a contrast of 2.6 on white
    return theme.set(body_text_color_subdued="*neutral_500", block_info_text_color="*neutral_500")
