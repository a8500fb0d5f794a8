"""A clip of an answer: both views of the window that was asked about, then the words as they were made.

    pictures = clip_pictures(trace, window)      # a list of Shot: picture and how long it is shown
    data = clip_bytes(pictures, ".mp4")          # or ".gif", ".webm"

The window plays at its own speed; the words follow at the times that were measured, slowed down where they would be
too fast to see, and the clip says by how much. Every verdict has its own shape, as on the page.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.types import Cycle, Drafted
from streams.representations import polarity_image
from streams.types import InputError, Window
from ui.answer_messages import AnswerStarted, RoundJudged, Word, WordsDrafted
from ui.film import Film
from ui.filming import event_picture
from ui.trace import Trace, at_s
from ui.transcript import Transcript

FPS = 12
VIEW_HEIGHT, PAD, LINE, MOST_LINES = 240, 10, 26, 12
WORDS_S, REST_S, LONGEST_S = 3.0, 2.5, 20.0
ACCUMULATION_US = 33_000
PAPER, INK, DIM = (255, 255, 255), (17, 24, 39), (89, 98, 115)
COLOURS = {"accepted": (0, 121, 92), "rejected": (200, 80, 10), "recovered": (162, 59, 140), "bonus": (11, 111, 208),
           "pending": (107, 114, 128)}


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture of a clip and how long it is shown."""

    picture: Image.Image
    seconds: float


def clip_pictures(trace: Trace, window: Window) -> list[Shot]:
    """The whole clip. Raises InputError for an answer without words."""
    steps = list(_steps(trace))
    if not steps:
        raise InputError("this answer has no words yet; ask a question first")
    stage = _Stage(window, steps[-1][1])
    heading = f"“{trace.header['question']}”  {trace.header['start_s']:.1f} to {trace.header['end_s']:.1f} s"
    shots = [Shot(stage.draw(at_us, heading, [], "the models read this second" if window.duration_us == 1_000_000
                             else "the models read this"), 1 / FPS)
             for at_us in range(window.start_us + 1_000_000 // FPS, window.end_us + 1, 1_000_000 // FPS)]
    last_s = max(when_s for when_s, _ in steps)
    slow = min(LONGEST_S, max(WORDS_S, last_s)) / max(last_s, 1e-3)
    note = f"words at {1 / slow:.2f} x the speed they were made" if slow != 1 else "words as fast as they were made"
    for (when_s, words), (next_s, _) in zip(steps, [*steps[1:], (last_s, [])], strict=True):
        shots.append(Shot(stage.draw(window.end_us, heading, words, note), max(1 / FPS, (next_s - when_s) * slow)))
    return [*shots, Shot(stage.draw(window.end_us, heading, steps[-1][1], _ending(trace)), REST_S)]


def _ending(trace: Trace) -> str:
    last = trace.records[-1]
    if isinstance(last, (Cycle, Drafted)):
        return "stopped here"
    law = "exactly the RGB model's own words" if last.lossless else "LOSSY: may differ from the RGB model's own words"
    return f"{law} · {last.drafter} · {last.tokens} words in {last.cycles} checks, {last.total_s:.2f} s"


def _steps(trace: Trace) -> Iterator[tuple[float, list[Word]]]:
    """Seconds since the question, and the words of the sentence as they stood then."""
    transcript = Transcript(AnswerStarted("clip", "question", "", 0.0, 0.0, ""))
    rounds: dict[int, list[Word]] = {}
    for record in trace.records:
        for message in transcript.messages(record):
            if isinstance(message, (WordsDrafted, RoundJudged)):
                rounds[message.round] = [word for word in message.words if word.main and word.text]
                yield at_s(record), [word for number in sorted(rounds) for word in rounds[number]]


class _Stage:
    """Draws one picture: both views above, words below."""

    def __init__(self, window: Window, longest: list[Word]) -> None:
        self._window = window
        self._font, self._small = ImageFont.load_default(17), ImageFont.load_default(12)
        sizes = [window.resolution.width / window.resolution.height]
        sizes += [frame.image.shape[1] / frame.image.shape[0] for frame in window.frames[:1]]
        self._widths = [round(VIEW_HEIGHT * size) for size in sizes]
        self._width = max(400, sum(self._widths) + PAD * (len(sizes) + 1))
        lines = min(MOST_LINES, len(self._lines(longest)) + 1)
        self._size = (self._width, VIEW_HEIGHT + PAD + 52 + lines * LINE)

    def draw(self, at_us: int, heading: str, words: list[Word], note: str) -> Image.Image:
        """The picture of one moment."""
        width, height = (side + side % 2 for side in self._size)
        picture = Image.new("RGB", (width, height), PAPER)
        drawing = ImageDraw.Draw(picture)
        left = PAD
        for view, name, wide in zip(self._views(at_us), ("events", "RGB"), self._widths, strict=False):
            picture.paste(view.resize((wide, VIEW_HEIGHT), Image.Resampling.BILINEAR), (left, PAD))
            drawing.rectangle((left, PAD, left + 9 + drawing.textlength(name, self._small), PAD + 17), (11, 15, 25))
            drawing.text((left + 5, PAD + 2), name, PAPER, self._small)
            left += wide + PAD
        top = VIEW_HEIGHT + PAD + 6
        drawing.text((PAD, top), heading, DIM, self._small)
        self._words(drawing, words, top + 20)
        drawing.text((PAD, height - 18), note, DIM, self._small)
        return picture

    def _views(self, at_us: int) -> Iterator[Image.Image]:
        events = self._window.events
        recent = events[(events["t"] >= at_us - ACCUMULATION_US) & (events["t"] < at_us)]
        yield Image.fromarray(event_picture(polarity_image(recent, self._window.resolution), "events", "dark"))
        frames = [frame for frame in self._window.frames if frame.t_us <= at_us] or self._window.frames[:1]
        if frames:
            yield Image.fromarray(np.ascontiguousarray(frames[-1].image))

    def _words(self, drawing: ImageDraw.ImageDraw, words: list[Word], top: float) -> None:
        """The sentence; its last lines when there are too many."""
        for number, line in enumerate(self._lines(words)[-MOST_LINES:]):
            for x, word in line:
                self._word(drawing, PAD + x + 3, top + number * LINE, word)

    def _lines(self, words: list[Word]) -> list[list[tuple[float, Word]]]:
        """The sentence broken into lines: the place of every word, with the space that it brings."""
        lines: list[list[tuple[float, Word]]] = [[]]
        x, before = 0.0, ""
        for word in words:
            wide = self._font.getlength(word.text.strip())
            framed = {"recovered", "rejected", "unreached"} & {word.state, before}
            x += 9 if framed else 5 if word.text[:1].isspace() else 0
            if x + wide > self._width - 2 * PAD - 6 and lines[-1]:
                lines.append([])
                x = 0.0
            lines[-1].append((x, word))
            x, before = x + wide, word.state
        return lines

    def _word(self, drawing: ImageDraw.ImageDraw, x: float, y: float, word: Word) -> None:
        text, state = word.text.strip(), word.state
        right = x + drawing.textlength(text, self._font)
        colour = COLOURS.get(state, DIM)
        drawing.text((x, y), text, DIM if state in ("rejected", "unreached", "pending") else INK, self._font)
        if state in ("rejected", "unreached"):
            drawing.line((x - 1, y + 11, right + 1, y + 11), colour, 2 if state == "rejected" else 1)
        elif state == "recovered":
            drawing.rounded_rectangle((x - 3, y - 1, right + 3, y + 22), 5, outline=colour, width=2)
        elif state == "pending":
            for start in np.arange(x, right, 6):
                drawing.line((start, y + 21, start + 3, y + 21), colour, 1)
        elif state in ("accepted", "bonus"):
            drawing.line((x, y + 21, right, y + 21), colour, 3 if state == "accepted" else 1)
            if state == "bonus":
                drawing.line((x, y + 24, right, y + 24), colour, 1)


def clip_bytes(shots: list[Shot], suffix: str) -> bytes:
    """The clip as a film of this kind: ".gif", ".mp4" or ".webm". Raises InputError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{suffix}"
        with Film(path, shots[0].picture.size, FPS) as film:
            for shot in shots:
                film.show(np.asarray(shot.picture), shot.seconds)
        return path.read_bytes()
