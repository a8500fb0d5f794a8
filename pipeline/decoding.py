"""The speculative loop: draft, verify, accept, again, until the answer ends.

    for record in decode(session, drafter, Greedy(), tokenizer, window, prompt, Limits()):
        ...                                   # Drafted before a check, Cycle after it

The drafter works while the verifier reads its input. In the default rules the text is exactly what the
verifier alone would have written (Leviathan et al. 2023; tree verification: SpecInfer, Miao et al. 2024).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from pipeline.acceptance import cosines, walk
from pipeline.controller import Controller
from pipeline.text import TextStream, Tokenizer
from pipeline.types import (
    Box,
    Cycle,
    Draft,
    Drafted,
    Drafter,
    Emitted,
    Kind,
    Node,
    Prefix,
    Previews,
    Rule,
    Scores,
    Session,
    Span,
    Verdict,
)
from streams.types import Window

T = TypeVar("T")


MOST = 16
"""Nodes of a draft beyond which a check costs more than they could save."""


@dataclass(frozen=True)
class Limits:
    """max_new_tokens: end of an answer that does not end itself. budget: nodes that are asked for in every round, None
    = as many as pay, at most MOST. stop: strings."""

    max_new_tokens: int = 160
    budget: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ending:
    """Why an answer ended ("eos" | "length" | "stop" | "cancelled"), its verified tokens and text still held back."""

    stopped: str
    tokens: list[int]


class _Clock:
    """Seconds since the question, and the spans measured with it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._start = now, now()
        self.spans: list[Span] = []

    def read(self) -> float:
        return self._now() - self._start

    def timed(self, lane: str, work: Callable[[], T]) -> T:
        start = self.read()
        result = work()
        self.spans.append(Span(lane, start, self.read()))
        return result

    def spent(self, lane: str) -> float:
        """Seconds of a lane in this round."""
        return sum(span.end_s - span.start_s for span in self.spans if span.lane == lane)

    def take(self) -> list[Span]:
        spans, self.spans = sorted(self.spans, key=lambda s: s.start_s), []
        return spans


def decode(session: Session, drafter: Drafter, rule: Rule, tokenizer: Tokenizer, window: Window, prompt: str,
           limits: Limits, cancel: threading.Event | None = None, controller: Controller | None = None,
           now: Callable[[], float] = time.perf_counter) -> Iterator[Drafted | Cycle | Ending]:
    """Write an answer; yields Drafted (unless the draft is empty) and Cycle per round, and one Ending last. While the
    verifier reads, a first Drafted may hold the first guess alone; the one after it holds the whole draft.

    controller: decides how much is drafted, and learns from it; a fresh one without.
    """
    clock, answer = _Clock(now), _Answer(tokenizer, limits)
    if controller is None or limits.budget is not None:
        controller = Controller(fixed=limits.budget)
    with ThreadPoolExecutor(1, "prefill") as pool:
        reading = pool.submit(clock.timed, "prefill", session.prefill)

        def prefix() -> Prefix:
            reading.result()
            return session.prefix

        clock.timed("draft_prefill", partial(drafter.start, window, prompt, rule, prefix))
        number = 0
        while not answer.stopped:
            if cancel is not None and cancel.is_set():
                answer.stopped = "cancelled"
                break
            room = min(MOST, limits.max_new_tokens - len(answer.tokens) - 1)
            asked = controller.budget(room, None if reading.done() else clock.read()) if room > 0 else 0
            if asked and not reading.done() and isinstance(drafter, Previews):
                yield Drafted(number, pending_nodes(clock.timed("draft", drafter.preview), tokenizer), clock.read())
            made = clock.timed("draft", partial(drafter.propose, asked)) if asked else Draft.none()
            hidden = not reading.done()
            draft = controller.pruned(asked, made)
            if not session.trees:
                draft = draft.trunk()
            if len(draft):
                yield Drafted(number, pending_nodes(draft, tokenizer), clock.read())
            reading.result()
            if not number:
                controller.reading.learn(1, clock.spent("prefill"))
            began_s = clock.read()
            scores, verdict = clock.timed("verify", partial(_verify, session, draft, rule, len(answer.tokens)))
            boxes = scores.boxes
            emitted, used = answer.extend(draft, verdict, boxes)
            session.commit(draft, verdict)
            nodes = judged_nodes(draft, scores, verdict, used, boxes, tokenizer) if len(draft) else []
            checked_s = clock.read()
            drafter.observe(draft, scores, verdict)
            # the first token costs no pass where nothing is guessed: reading made it
            if number or len(draft):
                controller.learn(0 if hidden else len(made), draft, verdict,
                                 clock.spent("draft") + clock.read() - checked_s, checked_s - began_s, not number)
            yield Cycle(number, nodes, emitted, clock.take())
            number += 1
    drafter.finish(answer.tokens)
    yield Ending(answer.stopped, answer.tokens)


def _verify(session: Session, draft: Draft, rule: Rule, index: int) -> tuple[Scores, Verdict]:
    """One verify pass. Reading the choices waits for the device, so both belong to the same span."""
    scores = session.score(draft)
    return scores, walk(draft, scores, rule, index)


class _Answer:
    """The verified tokens so far, their text, and the reasons to stop; sees every token by itself."""

    def __init__(self, tokenizer: Tokenizer, limits: Limits) -> None:
        self._tokenizer, self._limits = tokenizer, limits
        self._text = TextStream(tokenizer, limits.stop)
        self.tokens: list[int] = []
        self.stopped = ""

    def extend(self, draft: Draft, verdict: Verdict, boxes: list[Box | None]) -> tuple[list[Emitted], int]:
        """Append the accepted path and the verifier's token; returns them as text and how many of the path count.

        boxes: per row of the scores, what the next word is about.
        """
        line: list[tuple[int, Kind, int]] = [(draft.tokens[node], "accepted", draft.parents[node] + 1)
                                             for node in verdict.path]
        line.append((verdict.token, verdict.kind, verdict.path[-1] + 1 if verdict.path else 0))
        replaces = _replaced(draft, verdict, self._tokenizer)
        emitted: list[Emitted] = []
        for token, kind, row in line:
            self.tokens.append(token)
            text = "" if token in self._tokenizer.ends else self._text.push(token)
            self._check(token)
            if self.stopped:
                text += self._text.flush()
            emitted.append(Emitted(text, token, kind, replaces if kind == "recovered" else None, boxes[row]))
            if self.stopped:
                break
        return emitted, min(len(emitted), len(verdict.path))

    def _check(self, token: int) -> None:
        if token in self._tokenizer.ends:
            self.stopped = "eos"
        elif self._text.stopped:
            self.stopped = "stop"
        elif len(self.tokens) >= self._limits.max_new_tokens:
            self.stopped = "length"


def _replaced(draft: Draft, verdict: Verdict, tokenizer: Tokenizer) -> str | None:
    last = verdict.path[-1] if verdict.path else -1
    guess = next((t for t, parent in zip(draft.tokens, draft.parents, strict=True) if parent == last), None)
    return None if guess is None else tokenizer.piece(guess)


def pending_nodes(draft: Draft, tokenizer: Tokenizer) -> list[Node]:
    """The nodes of a draft before their check."""
    probs: Sequence[float | None] = draft.probs or [None] * len(draft)
    return [Node(tokenizer.piece(token), token, parent, depth, origin, "pending", p_draft=p)
            for token, parent, depth, origin, p
            in zip(draft.tokens, draft.parents, draft.depths(), draft.origin, probs, strict=True)]


@torch.inference_mode()
def judged_nodes(draft: Draft, scores: Scores, verdict: Verdict, used: int, boxes: list[Box | None],
                 tokenizer: Tokenizer) -> list[Node]:
    """The nodes of a draft after their check; used: how many of the accepted path count (fewer at the end); boxes: per
    row of the scores, what the next word is about.

    A node is reached when its parent was accepted. cos_sim and p_verify are given for reached nodes: they belong
    to a prefix that the verifier confirmed.
    """
    accepted, size = set(verdict.path[:used]), scores.logits.shape[1]
    at = torch.tensor([(parent + 1) * size + token for parent, token in zip(draft.parents, draft.tokens, strict=True)])
    p_verify = scores.logits.softmax(-1).take(at.to(scores.logits.device)).tolist()
    cos_sims, probs = cosines(draft, scores), draft.probs or [None] * len(draft)
    nodes = []
    for i, (token, parent, depth) in enumerate(zip(draft.tokens, draft.parents, draft.depths(), strict=True)):
        over = used < len(verdict.path) and depth > used
        reached = (parent == -1 or parent in accepted) and not over
        state = "accepted" if i in accepted else "rejected" if reached else "unreached"
        nodes.append(Node(tokenizer.piece(token), token, parent, depth, draft.origin[i],
                          state,  # type: ignore[arg-type]
                          cos_sims[i] if reached else None, probs[i], p_verify[i] if reached else None,
                          boxes[parent + 1] if reached else None))
    return nodes
