"""Answers questions about windows: one conversation about one stream, with its memory.

    captioner = Captioner(models)
    for record in captioner.ask(window, "What is happening?"):
        ...                              # Drafted, Cycle, Drafted, Cycle, ..., Caption

    with closing(read_ahead(windows, captioner)) as ahead: ...      # each window while the next is looked at

Models are shared between captioners; what was said before (the `recall` drafter's memory) is not.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pipeline import drafters
from pipeline.acceptance import Greedy
from pipeline.controller import Controller
from pipeline.decoding import Ending, Limits, decode
from pipeline.models import Models
from pipeline.types import VLM, Caption, Cycle, Drafted, Drafter, Record, Rule
from streams.types import InputError, Window

DEFAULT_RULE = Greedy()
BESIDE = 0.1
"""Share of the verifier's reading that must be saved for an event VLM to read beside it, which makes it longer (by 4 %,
measured on two idle cores)."""

DEFAULT_QUESTION = "What is happening?"


class Captioner:
    """A conversation: drafters with memory live as long as it does."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self._drafters: dict[str, Drafter] = {}
        self._controllers: dict[str, Controller] = {}
        self._last: Window | None = None

    def look(self, window: Window) -> Window:
        """Make this the window spoken about; returns it with the one before, for "what changed?".

        Going back in time, or to another recording, begins anew.
        """
        last = self._last
        if last is None or (last.resolution, last.clock_start_us) != (window.resolution, window.clock_start_us):
            before = None
        elif (last.start_us, last.end_us) == (window.start_us, window.end_us):
            before = last.previous
        else:
            before = replace(last, previous=None) if last.start_us < window.start_us else None
        self._last = replace(window, previous=before)
        return self._last

    def drafter(self, name: str | None = None) -> Drafter:
        """The drafter of this conversation by NAME[:VARIANT], that of the models when None. Raises InputError when
        unknown."""
        name = name or self.models.default_drafter
        if name not in self._drafters:
            self._drafters[name] = drafters.create(name, self.models)
        return self._drafters[name]

    def look_ahead(self, window: Window, drafter: str | None = None, at_once: bool = False) -> None:
        """See what there is in a window that will be asked about, beside the answer that another thread is making, or,
        where none is made, both models at_once; for a drafter that sits out answers the verifier alone. What cannot be
        read is left to ask()."""
        controller = self._controllers.get(drafter or self.models.default_drafter)
        guessing = controller is None or controller.may_take_part_soon
        vlms = [vlm for vlm in (self.models.rgb, self.drafter(drafter).event if guessing else None) if vlm is not None]

        def look(vlm: VLM) -> None:
            with contextlib.suppress(InputError):
                vlm.look(window)

        if at_once:
            with ThreadPoolExecutor(len(vlms), "look") as pool:
                list(pool.map(look, vlms))
            return
        for vlm in vlms:
            look(vlm)

    def ask(self, window: Window, question: str, drafter: str | None = None, rule: Rule = DEFAULT_RULE,
            limits: Limits | None = None, cancel: threading.Event | None = None,
            damaged: bool = False) -> Iterator[Record]:
        """Answer a question about a window: Drafted and Cycle records, then one Caption.

        Raises InputError before the first record for a question that is empty or no text, a window without frames or an
        unknown drafter.
        """
        if not question.strip():
            raise InputError("the question is empty; ask for example \"What is happening?\"")
        if question.encode(errors="replace").decode() != question:
            raise InputError("the question holds bytes that are no UTF-8; write it anew")
        drafter = drafter or self.models.default_drafter
        if self.models.rgb.reads == "frames" and not window.frames:
            start_s, end_s = ((t_us - window.clock_start_us) / 1e6 for t_us in (window.start_us, window.end_us))
            raise InputError(f"there is no frame between {start_s:.2f} and {end_s:.2f} s for the RGB model to read; "
                             "choose another moment")
        guesser, window = self.drafter(drafter), self.look(window)
        controller = self._controllers.setdefault(drafter, self.models.costs.controller(drafter))
        # who only remembers costs nothing and hears everything
        awake = not guesser.parameters or (limits is not None and limits.budget is not None) or controller.takes_part(
            BESIDE if guesser.event is not None else 0.0)
        acting, tally = guesser if awake else self.drafter("none"), _Tally()
        for record in decode(self.models.rgb.open(window, question), acting, rule, self.models.tokenizer, window,
                             question, limits or Limits(), cancel, controller):
            if isinstance(record, Ending):
                yield replace(_caption(tally, record, window, question, guesser, rule), damaged=damaged)
            else:
                tally.add(record)
                yield record


def read_ahead(windows: Iterator[Window], captioner: Captioner,
               drafter: str | None = None) -> Generator[Window, None, None]:
    """The windows; while one is with the caller, the next is read and looked at by another thread. For recordings:
    whoever waits for a camera would hold back what is there. Close it before the source."""
    captioner.drafter(drafter)  # not made twice

    def read() -> Window | None:
        window = next(windows, None)
        if window is not None:
            captioner.look_ahead(window, drafter)
        return window

    with ThreadPoolExecutor(1, "read ahead") as pool:
        window = next(windows, None)
        if window is not None:
            captioner.look_ahead(window, drafter, at_once=True)  # nobody answers beside the first
        while window is not None:
            coming = pool.submit(read)
            yield window
            window = coming.result()


def _caption(tally: _Tally, ending: Ending, window: Window, question: str, drafter: Drafter, rule: Rule) -> Caption:
    return Caption(
        window.start_us, window.end_us, question, tally.text, drafter.name, rule.name, rule.lossless, tally.cycles,
        len(ending.tokens), tally.drafted, tally.accepted, tally.accepted / tally.depth if tally.depth else None,
        tally.first_draft_s, tally.first_token_s or 0.0, tally.total_s,
        drafter.compared if tally.has_cosine else None, window.frames_origin, window.events_origin, window.n_dropped,
        stopped=ending.stopped)


class _Tally:
    """Counts over the records of one answer."""

    def __init__(self) -> None:
        self.text = ""
        self.cycles = self.drafted = self.accepted = self.depth = 0
        self.first_draft_s: float | None = None
        self.first_token_s: float | None = None
        self.total_s = 0.0
        self.has_cosine = False

    def add(self, record: Drafted | Cycle) -> None:
        if isinstance(record, Drafted):
            if self.first_draft_s is None:
                self.first_draft_s = record.at_s
            return
        self.text += "".join(token.text for token in record.emitted)
        self.cycles += 1
        self.drafted += len(record.nodes)
        self.accepted += sum(node.verdict == "accepted" for node in record.nodes)
        self.depth += max((node.depth for node in record.nodes), default=0)
        self.has_cosine |= any(node.cos_sim is not None for node in record.nodes)
        self.total_s = max((span.end_s for span in record.spans), default=self.total_s)
        if self.first_token_s is None:
            self.first_token_s = self.total_s
