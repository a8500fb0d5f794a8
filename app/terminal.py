"""What a person sees in the terminal: words coloured by verdict, one line per answer."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from pipeline.types import Caption, Cycle
from streams.filtering import filter_counts
from streams.opening import watched
from streams.sources import open_source
from streams.types import Frame, Losses, Packet, Source, SourceInfo

BLOCKS = " ▁▂▃▄▅▆▇█"
QUICK_S = 0.5
"""Opening that takes no longer shows no bar."""
WIDE = 130
"""Columns where the output is no terminal."""

class _Page(Console):
    """Leaves a reader that went away (`| head`) to the command line, which ends quietly."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


people = Console(stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else WIDE)
"""Progress and remarks."""

page = _Page(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
"""Results, when no JSON is asked for."""

STYLES = {"accepted": "green underline", "recovered": "bold magenta", "bonus": "bold blue", "plain": "default",
          "rejected": "dim strike dark_orange"}


def words(cycle: Cycle) -> Text:
    """One round: accepted words, the first rejected guess struck through, the verifier's own word.

    Where nothing can be struck through (a file, a pipe) rejected guesses are left out.
    """
    text = Text()
    for token in cycle.emitted:
        if token.kind == "recovered" and token.replaces and page.is_terminal:
            text.append(token.replaces, STYLES["rejected"])
        text.append(token.text, STYLES[token.kind])
    return text


def legend() -> Text:
    """What the colours mean."""
    text = Text("words: ")
    for i, (kind, meaning) in enumerate((("accepted", "guess accepted"), ("rejected", "guess rejected"),
                                         ("recovered", "verifier's correction"), ("bonus", "verifier's extra word"))):
        text.append(", " if i else "")
        text.append(meaning, STYLES[kind])
    return text


def summary(caption: Caption) -> str:
    """Counts and times of an answer in one line."""
    rate = "–" if caption.acceptance_rate is None else f"{caption.acceptance_rate:.0%}"
    lossy = "" if caption.lossless else ", LOSSY"
    return (f"{caption.drafter}, {caption.rule}{lossy}: {caption.tokens} tokens in {caption.cycles} checks "
            f"({caption.acceptance_length:.1f} per check, {rate} of guesses accepted), "
            f"first word {caption.first_token_s * 1e3:.0f} ms, total {caption.total_s * 1e3:.0f} ms")


def origins(events: str | None, frames: str | None) -> str:
    """Where the two streams come from, when it is worth saying."""
    said = []
    if events in ("simulated", "rendered"):
        said.append(f"events are {events}")
    if frames in ("rendered", "reconstructed"):
        said.append(f"frames are {frames}" + (" from events" if frames == "reconstructed" else ""))
    return "; ".join(said)


def lost(losses: Losses) -> list[str]:
    """What a source could not deliver so far, in words; nothing for nothing."""
    counts = ((losses.n_dropped, "events dropped"),
              (losses.n_others_dropped, "frames or samples dropped"), (losses.n_rejected, "events refused"),
              (losses.n_late, "packets or frames out of order"), (losses.n_clamped, "late events moved"),
              (losses.n_restarts, "restarts of the clock mended"))
    said = [f"{count:,} {what}" for count, what in counts if count]
    if losses.n_gaps:
        times = "once" if losses.n_gaps == 1 else f"{losses.n_gaps} times"
        away_s = sum(end_us - start_us for start_us, end_us in losses.gaps) / 1e6
        said.append(f"away and back {times}, {away_s:.1f} s missing")
    return said + ([losses.outage] if losses.outage else [])


def say_filtered(source: Source) -> None:
    """What each filter of the source has held back, which is no loss."""
    for count in filter_counts(source):
        share = f" ({1 - count.n_out / count.n_in:.1%})" if count.n_in else ""
        people.print(f"{count.filter} held back {count.n_in - count.n_out:,} of {count.n_in:,} events{share}",
                     style="dim")


def opened(uri: str, opener: Callable[[str], Source] = open_source) -> Source:
    """Open a source; while a large recording is read for that, a bar shows how far it is."""
    began_s = time.monotonic()
    with Progress(console=people, transient=True, disable=not people.is_terminal) as bar:
        task = bar.add_task("opening", total=None, visible=False)
        with watched(lambda share: bar.update(task, completed=share or 0.0, total=None if share is None else 1.0,
                                              visible=time.monotonic() - began_s > QUICK_S)):
            return opener(uri)


@contextmanager
def reading(info: SourceInfo, what: str, start_us: int | None = None,
            end_us: int | None = None) -> Iterator[Callable[[Packet | int], None]]:
    """A bar that moves with the items or times in µs that it is told, from start_us to end_us or over everything."""
    start_us = (info.start_us or 0) if start_us is None else start_us
    end_us = start_us + (info.duration_us or 0) if end_us is None else end_us
    with Progress(console=people, transient=True) as bar:
        task = bar.add_task(what, total=max(1, end_us - start_us))

        def tell(item: Packet | int) -> None:
            if isinstance(item, Frame):
                item = item.t_us
            if isinstance(item, int) or len(item):
                bar.update(task, completed=(item if isinstance(item, int) else int(item["t"][-1])) - start_us)

        yield tell


def sparkline(values: Sequence[float]) -> str:
    """Values from 0 up as a line of blocks; only what is exactly 0 is blank."""
    highest = max(values, default=0.0) or 1.0
    return "".join(BLOCKS[math.ceil(value / highest * (len(BLOCKS) - 1))] for value in values)


def print_json(line: dict[str, Any]) -> None:
    """One JSON line on stdout."""
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()
