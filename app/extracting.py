"""`extract`: recordings, windows, questions; leaves a folder that `train DRAFTER --data FOLDER` learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from app import terminal
from app.compose import ModelOptions, load, quiet_libraries
from app.training import progress_bars
from streams.filtering import filtered
from streams.types import InputError, Source, Window
from streams.windows import windows


def extract(recordings: Sequence[str], folder: Path, questions: Sequence[str], stride_s: float, rows: bool,
            as_json: bool, options: ModelOptions, filters: Sequence[str] = ()) -> None:
    """Let the verifier answer about every window of the recordings and keep what a drafter learns from; goes on where
    an interrupted run stopped."""
    from pipeline.inputs import WINDOW_US
    from pipeline.measure import QUESTIONS
    from pipeline.training.recorded import Asked, Data

    quiet_libraries()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; give a folder")
    if not 0 < stride_s <= 3600:
        raise InputError(f"--stride {stride_s} is not allowed; use seconds above 0, up to 3600")
    if any(not question.strip() for question in questions):
        raise InputError("a --question is empty; ask for example \"What is happening?\"")
    # what cannot be read is said now, not after an hour of reading the others
    for uri in recordings:
        with filtered(terminal.opened(uri), filters) as source:
            _check(uri, source)
    asked = Asked(list(questions) or list(QUESTIONS.values()), WINDOW_US, round(stride_s * 1e6), rows)
    with terminal.people.status("loading the models"):
        models = load(options)
    data, numbers = Data.begin(folder, models, asked), list[int]()
    with progress_bars() as show:
        for uri in recordings:
            with filtered(terminal.opened(uri), filters) as source:
                numbers.append(data.add(source.info))
                for progress in data.extract(numbers[-1], models, partial(windows_from, source, asked.stride_us),
                                             (source.info.duration_us or 0) // asked.stride_us):
                    show("recording", progress)
                if source.losses.damage:
                    terminal.people.print(f"parafovea: {uri}: {source.losses.damage}", style="yellow")
    counts = {name: sum(data.recordings[number][name] for number in set(numbers))
              for name in ("windows", "answers", "without_frames")}
    if not counts["answers"]:
        raise InputError(f"nothing can be learnt: none of {counts['windows']} windows holds a frame for the verifier "
                         "to read")
    blind = f", {counts['without_frames']} of them without a frame to read" if counts["without_frames"] else ""
    terminal.people.print(f"{counts['answers']} answers about {counts['windows']} windows{blind}, in {folder}; train "
                          f"on them with: parafovea train adapter:L4 --data {folder}")
    if as_json:
        terminal.print_json({"type": "extract", "folder": str(folder), "recordings": len(set(numbers)), **counts})


def _check(uri: str, source: Source) -> None:
    if source.info.live or source.info.duration_us is None:
        raise InputError(f"{uri} is no recording: it has no end; record it to a file first")


def windows_from(source: Source, stride_us: int, first: int) -> Iterator[Window]:
    """Windows from number `first` on."""
    from pipeline.inputs import WINDOW_US

    info = source.info
    if not first:
        return windows(source, WINDOW_US, stride_us)
    if info.start_us is None:
        return islice(windows(source, WINDOW_US, stride_us), first, None)
    begin_us = info.start_us + first * stride_us
    if begin_us > info.start_us + (info.duration_us or 0):
        return iter(())
    source.seek(begin_us)
    return windows(source, WINDOW_US, stride_us, begin_us)
