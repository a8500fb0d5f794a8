"""`ask` and `replay`: a source, windows, a captioner, words."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np
from rich.text import Text

from app import terminal
from app.compose import ModelOptions, interactive, load, quiet_libraries
from pipeline.captioner import Captioner, read_ahead
from pipeline.decoding import Limits
from pipeline.inputs import WINDOW_US
from pipeline.types import Caption, Cycle, Rule
from streams.filtering import filtered
from streams.types import InputError, Losses, Source, Window
from streams.windows import LatestWindows, latest_windows, window_at, windows

TELL_S = 0.5
"""So often a live replay looks whether its source is still there."""


@dataclass(frozen=True)
class AnswerOptions:
    """How to answer and where to print; filters: NAME[:VALUE] each, between the source and everything else."""

    drafter: str | None
    rule: Rule
    limits: Limits
    as_json: bool
    models: ModelOptions
    filters: tuple[str, ...] = ()


def ask(uri: str, question: str | None, at_s: float | None, options: AnswerOptions) -> None:
    """Answer one question, or several typed at a prompt."""
    quiet_libraries()
    if question is None and not interactive():
        raise InputError("no question was given and nobody can type one; add it after the recording")
    with filtered(terminal.opened(uri), options.filters) as source:
        captioner = _captioner(options)
        window = _window(source, at_s)
        _look_back(captioner, source, window)
        if question is not None:
            _answer(captioner, window, question, source, options)
            return
        terminal.people.print("Ask about this second of the recording; an empty line or Ctrl-D ends.")
        while typed := _typed():
            _answer(captioner, window, typed, source, options)


def _typed() -> str:
    try:
        # stdout belongs to the answers: with --json it may be a file
        terminal.people.print("> ", end="")
        return input().strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _captioner(options: AnswerOptions) -> Captioner:
    with terminal.people.status("loading the models"):
        captioner = Captioner(load(options.models))
    captioner.drafter(options.drafter)
    return captioner


def _window(source: Source, at_s: float | None) -> Window:
    info = source.info
    if info.live:
        if at_s is not None:
            raise InputError("--at needs a recording, this is a live source; leave it out to ask about now")
        newest = next(latest_windows(source, WINDOW_US), None)
        if newest is None:
            raise InputError(f"{info.name} ended before one second was seen; connect it again")
        return newest
    if info.start_us is None:
        raise InputError(f"the start of {info.name} is not known; replay it instead")
    # an endless source is asked about its first second
    length_us = WINDOW_US if info.duration_us is None else info.duration_us
    longest_s = math.inf if info.duration_us is None else length_us / 1e6
    if at_s is not None and not (math.isfinite(at_s) and 0 <= at_s <= longest_s):
        raise InputError(f"--at {at_s} is outside the recording; use 0 to {length_us / 1e6:.3f} seconds")
    return window_at(source, info.start_us + (length_us if at_s is None else round(at_s * 1e6)), WINDOW_US)


def _look_back(captioner: Captioner, source: Source, window: Window) -> None:
    """Let the conversation have seen the second before, where a recording has one: "what changed?" compares with it."""
    info = source.info
    if info.live or info.duration_us is None or info.start_us is None or window.start_us <= info.start_us:
        return
    with contextlib.suppress(InputError):  # what is damaged before this window is no reason not to answer about it
        before = window_at(source, window.start_us, WINDOW_US)
        if before.frames and before.start_us < window.start_us:
            captioner.look(before)


def _answer(captioner: Captioner, window: Window, question: str, source: Source, options: AnswerOptions) -> None:
    caption = _say(captioner, window, question, source, options, Text())
    terminal.people.print(terminal.summary(caption), style="dim")
    _note_origins(caption)
    _note_losses(source)


def _note_losses(source: Source) -> None:
    """What was lost, and what was held back on purpose."""
    losses = source.losses
    terminal.say_filtered(source)
    if losses.skew:
        terminal.people.print(losses.skew, style="dim")
    if losses.damage:
        terminal.people.print(f"parafovea: {losses.damage}", style="yellow")
    if said := terminal.lost(losses):
        terminal.people.print(", ".join(said), style="yellow")


def _say(captioner: Captioner, window: Window, question: str, source: Source, options: AnswerOptions,
         line: Text) -> Caption:
    """Answer and print, as JSON lines or as one line of coloured words after what `line` already holds."""
    for record in captioner.ask(window, question, options.drafter, options.rule, options.limits):
        if isinstance(record, Cycle):
            line.append_text(terminal.words(record))
            if options.as_json:
                terminal.print_json(record.to_json())
        elif isinstance(record, Caption):
            caption = replace(record, damaged=source.losses.damage is not None)
    if options.as_json:
        terminal.print_json(caption.to_json())
    else:
        terminal.page.print(line)
    return caption


def _note_origins(caption: Caption) -> None:
    if said := terminal.origins(caption.events_origin, caption.frames_origin):
        terminal.people.print(said, style="dim")


def replay(uri: str, start_s: float, stride_s: float, speed: float | None, question: str,
           options: AnswerOptions) -> None:
    """Caption window after window, as fast as possible or paced by the recording's clock."""
    quiet_libraries()
    if not 0 < stride_s < math.inf or (speed is not None and not 0 < speed < math.inf):
        raise InputError(f"--stride and --speed must be positive, got {stride_s} and {speed}")
    with filtered(terminal.opened(uri), options.filters) as source:
        stream = _stream(source, start_s, round(stride_s * 1e6))
        captioner = _captioner(options)
        if not options.as_json and terminal.page.is_terminal:
            terminal.people.print(terminal.legend())
        captions: list[Caption] = []
        late_s: list[float] = []
        # Ctrl-C ends a replay like the end of the recording: with its summary
        with (contextlib.suppress(KeyboardInterrupt),
              contextlib.closing(_awaited(stream, source.losses, late_s) if isinstance(stream, LatestWindows)
                                 else _paced(stream, speed) if speed is not None
                                 else read_ahead(stream, captioner, options.drafter)) as timed):
            for window in timed:
                clock = f"{(window.start_us - window.clock_start_us) / 1e6:7.2f} s "
                if window.frames or captioner.models.rgb.reads != "frames":
                    captions.append(_say(captioner, window, question, source, options, Text(clock, "dim")))
                else:
                    terminal.people.print(clock + "no frame in this window for the RGB model to read", style="yellow")
        if isinstance(stream, LatestWindows) and stream.n_skipped:
            terminal.people.print(f"{stream.n_skipped} windows were not read: the model was slower than the camera",
                                  style="yellow")
        if late_s:
            terminal.people.print(f"the models got a window {np.median(late_s) * 1e3:.0f} ms after its newest data had "
                                  f"arrived (median; longest {max(late_s) * 1e3:.0f} ms)", style="dim")
        _finish_replay(source, captions)


def _stream(source: Source, start_s: float, stride_us: int) -> Iterator[Window]:
    """All windows of a recording; of a live source always the newest."""
    info = source.info
    if info.live:
        if start_s or stride_us != WINDOW_US:
            raise InputError("--start and --stride need a recording, this is a live source; leave them out")
        return latest_windows(source, WINDOW_US)
    if not start_s:
        return windows(source, WINDOW_US, stride_us)
    length_s = math.inf if info.duration_us is None else info.duration_us / 1e6
    if info.start_us is None or not 0 <= start_s < length_s or not math.isfinite(start_s):
        raise InputError(f"--start {start_s} is outside the recording of {length_s:.3f} s")
    begin_us = info.start_us + round(start_s * 1e6)
    source.seek(begin_us)
    return windows(source, WINDOW_US, stride_us, begin_us)


def _finish_replay(source: Source, captions: list[Caption]) -> None:
    _note_losses(source)
    if not captions:
        raise InputError(f"nothing in {source.info.name} could be captioned: no window holds a frame")
    _note_origins(captions[0])
    tokens, cycles = sum(c.tokens for c in captions), sum(c.cycles for c in captions)
    terminal.people.print(f"{len(captions)} captions, {tokens / max(1, cycles):.1f} tokens per check, "
                          f"{tokens / max(1e-9, sum(c.total_s for c in captions)):.0f} tokens/s", style="dim")


def _awaited(stream: LatestWindows, losses: Losses, late_s: list[float],
             ) -> Generator[Window, None, None]:
    """The newest windows of a live source; says when it is away or silent, and notes how late each window was taken."""
    told = None
    with contextlib.suppress(StopIteration):
        while True:
            window = stream.within(TELL_S)
            if losses.outage != told:
                told = losses.outage
                terminal.people.print(told or "it is there again", style="yellow")
            if window is not None:
                late_s += [] if stream.delay_s is None else [stream.delay_s]
                yield window


def _paced(stream: Iterator[Window], speed: float | None) -> Generator[Window, None, None]:
    """The windows, each not before its end is due by the recording's clock; None = as fast as possible."""
    start: tuple[float, int] | None = None
    for window in stream:
        if speed is not None:
            start = start or (time.monotonic(), window.start_us)
            due = start[0] + (window.end_us - start[1]) / 1e6 / speed
            time.sleep(max(0.0, due - time.monotonic()))
        yield window
