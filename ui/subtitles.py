"""Captions of a recording as a subtitle file.

    srt([Marked(end_s=3.0, text=" A red car.", start_s=2.0)])
    vtt(marks)

A caption is shown from the beginning of the second that it is about until the next one begins. Pure.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from ui.answer_messages import Marked

LONGEST_S = 5.0
"""A caption without a successor does not stay for ever."""


def _cues(marks: Sequence[Marked]) -> list[tuple[float, float, str]]:
    ordered = sorted(marks, key=lambda mark: mark.start_s)
    following = [*(mark.start_s for mark in ordered[1:]), float("inf")][:len(ordered)]
    return [(mark.start_s, max(mark.end_s, min(next_s, mark.start_s + LONGEST_S)), " ".join(mark.text.split()))
            for mark, next_s in zip(ordered, following, strict=True)]


def _clock(seconds: float, point: str) -> str:
    ms = max(0, round(seconds * 1000))
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


def srt(marks: Sequence[Marked]) -> str:
    """SubRip: numbered cues. "-->" inside a caption would end it and is written apart."""
    return "".join(f"{number}\n{_clock(start_s, ',')} --> {_clock(end_s, ',')}\n{text.replace('-->', '-- >')}\n\n"
                   for number, (start_s, end_s, text) in enumerate(_cues(marks), start=1))


def vtt(marks: Sequence[Marked]) -> str:
    """WebVTT (W3C); its cue text is markup, so the words are escaped."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(start_s, '.')} --> {_clock(end_s, '.')}\n{html.escape(text, quote=False)}\n\n"
        for start_s, end_s, text in _cues(marks))
