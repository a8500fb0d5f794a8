"""Drafters against plain decoding: identity, acceptance, time, on unseen scenes and on a sequence that goes on.

    table = BenchTable()
    for done, total in compare(models, ["none", "vlm"], list(clips(20)), list(sequences(36)), table): ...

Every clip is described by every drafter in both orders (A B B A), reading included, batch 1; the speed-up is the ratio
of summed times with a bootstrap interval over clips. Identity counts answers whose tokens equal plain decoding's.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from pipeline import claims, rereading
from pipeline.captioner import DEFAULT_QUESTION, DEFAULT_RULE, Captioner, read_ahead
from pipeline.decoding import Limits
from pipeline.models import Models
from pipeline.statistics import Ratio, covered_s, estimated_speedup, ratio_of_sums
from pipeline.types import Caption, Cycle, Rule
from streams.types import Window

PLAIN = "none"
QUESTIONS = {"detailed": "Describe the scene in detail.", "brief": DEFAULT_QUESTION,
             "short": "How many objects are there?"}
REPLAYED = {"replay": DEFAULT_QUESTION, "replay_detailed": QUESTIONS["detailed"]}
"""Asked about window after window of one sequence: drafters that remember have something to remember."""

READING = ("prefill", "draft_prefill")


@dataclass(frozen=True)
class Answer:
    """One answer with all its rounds."""

    caption: Caption
    cycles: list[Cycle]

    @property
    def tokens(self) -> list[int]:
        """Its verified tokens."""
        return [token.token for cycle in self.cycles for token in cycle.emitted]


Listen: TypeAlias = Callable[[str, int, Answer], None]
"""Is told drafter, clip and answer."""

Peer: TypeAlias = Callable[[Window, str], Answer]
"""Somebody else's program on the verifier's weights: answers a question about a window that it has not read."""


@dataclass
class Runs:
    """What one drafter did: seconds per clip (in all, after reading, until the first [guess, verified word], NaN
    without a guess) and sums over all answers; histogram, depths and cosines over the first time that each answer was
    given, for repeating it adds no evidence."""

    seconds: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    writing: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    first_words: dict[int, np.ndarray] = field(default_factory=lambda: defaultdict(lambda: np.zeros(2)))
    answers: int = 0
    identical: int = 0
    lossless: bool = True
    tokens: int = 0
    cycles: int = 0
    accepted: int = 0
    depth: int = 0
    emitted: Counter[int] = field(default_factory=Counter)
    by_depth: dict[int, Ratio] = field(default_factory=lambda: defaultdict(Ratio))
    draft_s: float = 0.0
    draft_while_reading_s: float = 0.0
    verify_s: float = 0.0
    other_s: float = 0.0
    first_draft_s: list[float] = field(default_factory=list)
    first_token_s: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    parameters: int = 0

    @property
    def tau(self) -> float:
        """Tokens per verify pass."""
        return self.tokens / max(1, self.cycles)

    @property
    def round_s(self) -> float:
        """Seconds of one round after reading: drafting, verifying and everything else."""
        return (self.draft_s - self.draft_while_reading_s + self.verify_s + self.other_s) / max(1, self.cycles)

    def add(self, clip: int, answer: Answer, plain: list[int], first: bool, seconds: float | None = None) -> None:
        """Count one more answer; plain: the tokens of plain decoding; first: it was not given before; seconds: what it
        took, where that is more than answering."""
        caption, spans = answer.caption, [span for cycle in answer.cycles for span in cycle.spans]
        read_s = max(span.end_s for span in spans if span.lane in READING)
        self.answers += 1
        self.identical += answer.tokens == plain
        self.lossless &= caption.lossless
        self.tokens += caption.tokens
        self.cycles += caption.cycles
        self.accepted += caption.accepted
        self.seconds[clip] += caption.total_s if seconds is None else seconds
        self.writing[clip] += caption.total_s - read_s
        self.draft_while_reading_s += sum(max(0.0, min(span.end_s, read_s) - span.start_s) for span in spans
                                          if span.lane == "draft")
        self.other_s += caption.total_s - covered_s([(span.start_s, span.end_s) for span in spans])
        self.first_token_s.append(caption.first_token_s)
        guess_s = float("nan") if caption.first_draft_s is None else caption.first_draft_s
        self.first_words[clip] += (guess_s, caption.first_token_s)
        if caption.first_draft_s is not None:
            self.first_draft_s.append(caption.first_draft_s)
        for cycle in answer.cycles:
            self.draft_s += cycle.seconds("draft")
            self.verify_s += cycle.seconds("verify")
            self.depth += max((node.depth for node in cycle.nodes), default=0)
            if first:
                self._count(cycle)

    def _count(self, cycle: Cycle) -> None:
        self.emitted[len(cycle.emitted)] += 1
        for node in cycle.nodes:
            if node.verdict != "unreached":
                self.by_depth[node.depth].add(node.verdict == "accepted")
            if node.cos_sim is not None:
                self.cosines.append(node.cos_sim)

    def to_json(self) -> dict[str, Any]:
        """Everything that needs no comparison, as in the "bench" line of design.md §8."""
        cosines, depths = np.array(self.cosines), [self.by_depth[depth] for depth in sorted(self.by_depth)]
        rounds = max(1, self.cycles)
        return {"tau": round(self.tau, 3), "tokens_per_pass": {str(n): self.emitted[n] for n in sorted(self.emitted)},
                "acceptance_rate": round(self.accepted / self.depth, 4) if self.depth else None,
                "depth_acceptance": [ratio.share for ratio in depths],
                "depth_acceptance_ci": [ratio.interval for ratio in depths],
                "depth_nodes": [ratio.of for ratio in depths],
                "lossless": self.lossless, "identity": round(self.identical / max(1, self.answers), 4),
                "tokens_per_s": round(self.tokens / max(1e-9, sum(self.seconds.values())), 1),
                "draft_s": round(self.draft_s / rounds, 5), "verify_s": round(self.verify_s / rounds, 5),
                "other_s": round(self.other_s / rounds, 5),
                "first_draft_s": round(float(np.median(self.first_draft_s)), 5) if self.first_draft_s else None,
                "first_token_s": round(float(np.median(self.first_token_s)), 5),
                "cos_sim_mean": round(float(cosines.mean()), 4) if len(cosines) else None,
                "accept_at_0.90": round(float((cosines > 0.9).mean()), 4) if len(cosines) else None,
                "parameters": self.parameters}


@dataclass
class BenchTable:
    """Runs per question length and drafter or peer."""

    runs: dict[str, dict[str, Runs]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Runs)))
    clips: int = 0
    peers: tuple[str, ...] = ()

    def speedup(self, length: str, name: str, over: str = PLAIN) -> tuple[float, float, float]:
        """The time of `over` over the drafter's: ratio of sums and its 95 % bootstrap interval over clips."""
        slow, fast = self.runs[length][over].seconds, self.runs[length][name].seconds
        return ratio_of_sums(np.array([[slow[clip], fast[clip]] for clip in sorted(fast)]))

    def own(self, length: str) -> dict[str, Runs]:
        """Our drafters' runs, without the peers'."""
        return {name: runs for name, runs in self.runs[length].items() if name not in self.peers}

    def best(self, length: str) -> str | None:
        """The fastest lossless drafter other than plain decoding, None when there is none."""
        ratios = {name: self.speedup(length, name)[0] for name, runs in self.own(length).items()
                  if name != PLAIN and runs.lossless}
        return max(ratios, key=lambda name: ratios[name]) if ratios else None

    def row(self, length: str, name: str) -> dict[str, Any]:
        """One drafter's numbers on one question length, as in the "bench" line of design.md §8.

        writing_speedup is measured like speedup, but after reading; the estimates predict it from τ alone (claimed
        formula) and from τ and measured costs.
        """
        runs, plain = self.runs[length][name], self.runs[length][PLAIN]
        ratio, low, high = self.speedup(length, name)
        writing = sum(plain.writing.values()) / max(1e-9, sum(runs.writing.values()))
        estimates = {"claimed_formula": round(claims.speedup(runs.tau), 3),
                     "from_costs": round(estimated_speedup(runs.tau, runs.round_s, plain.round_s), 3)}
        return {**runs.to_json(), "speedup": round(ratio, 3), "speedup_ci": [round(low, 3), round(high, 3)],
                "writing_speedup": round(writing, 3), "estimates": estimates}

    def broken(self) -> list[str]:
        """Sentences about drafters whose answers differ from plain decoding's though their rule is lossless."""
        return [f"{name} gave {runs.answers - runs.identical} of {runs.answers} {length} answers that differ from "
                "plain decoding" for length in self.runs for name, runs in self.own(length).items()
                if runs.lossless and runs.identical < runs.answers]

    def to_json(self) -> dict[str, Any]:
        """Detailed captions per drafter, all lengths, and the best drafter per length."""
        best = {length: {"drafter": name, "speedup": round(self.speedup(length, name)[0], 3)}
                for length in self.runs if (name := self.best(length)) is not None}
        by_length = {length: {name: self.row(length, name) for name in self.own(length)} for length in self.runs}
        return {"type": "bench", "clips": self.clips, "drafters": by_length.get("detailed", {}),
                "by_length": by_length, "best": best}


def compare(models: Models, names: Sequence[str], windows: Sequence[Window], replayed: Sequence[Sequence[Window]],
            table: BenchTable, questions: Mapping[str, str] = QUESTIONS, rule: Rule = DEFAULT_RULE,
            limits: Limits | None = None, listen: Listen | None = None,
            peers: Mapping[str, Peer] = MappingProxyType({})) -> Iterator[tuple[int, int]]:
    """Answer about every window with every drafter and peer, forwards and backwards; yields (steps done, steps).

    replayed: sequences of windows, see replay(), which peers do not see. listen: is told every answer about `windows`
    of the forward pass.
    """
    order = [PLAIN, *(name for name in names if name != PLAIN)]
    everybody, table.peers = [*order, *peers], tuple(peers)
    # conversations of their own per pass and length: a memory must not have heard about the clip it is timed on
    passes = {length: [(sequence, {name: Captioner(models) for name in order})
                       for sequence in (everybody, everybody[::-1])] for length in questions}
    warm_up, steps = Captioner(models), len(windows) + 2 * len(REPLAYED) * len(order) * len(replayed)
    for peer in peers.values():
        peer(unread(windows[0]), DEFAULT_QUESTION)
    for name in order:
        list(warm_up.ask(windows[0], DEFAULT_QUESTION, name, rule, limits))
    for clip, window in enumerate(windows):
        for length, question in questions.items():
            plain: list[int] | None = None
            for forward, (names_in_order, captioners) in zip((True, False), passes[length], strict=True):
                for name in names_in_order:
                    if name in peers:
                        answer = peers[name](captioners[PLAIN].look(unread(window)), question)
                    else:
                        answer = answered(captioners[name], name, window, question, rule, limits)
                        table.runs[length][name].parameters = captioners[name].drafter(name).parameters
                    plain = answer.tokens if plain is None else plain
                    table.runs[length][name].add(clip, answer, plain, forward)
                    if listen and forward:
                        listen(name, clip, answer)
        table.clips = clip + 1
        yield clip + 1, steps
    for done, _ in replay(models, order, replayed, table, rule, limits):
        yield len(windows) + done, steps


def replay(models: Models, names: Sequence[str], sequences: Sequence[Sequence[Window]], table: BenchTable,
           rule: Rule = DEFAULT_RULE, limits: Limits | None = None) -> Iterator[tuple[int, int]]:
    """Ask REPLAYED about window after window, every drafter in both orders; yields (steps done, steps).

    Every sequence is a conversation per drafter and pass. As in `parafovea replay`, the next window is looked at while
    an answer is made; the time of an answer is that from the end of the one before, whatever was done in it.
    """
    order = [PLAIN, *(name for name in names if name != PLAIN)]
    passes = [(True, order), (False, order[::-1])]
    done, steps, first = 0, len(REPLAYED) * len(sequences) * 2 * len(order), 0
    for windows in sequences:
        for length, question in REPLAYED.items():
            plain: dict[int, list[int]] = {}
            for forward, names_in_order in passes:
                for name in names_in_order:
                    captioner, runs = Captioner(models), table.runs[length][name]
                    runs.parameters = captioner.drafter(name).parameters
                    answers = list(_goes_on(captioner, name, windows, question, rule, limits))
                    for clip, (answer, seconds) in enumerate(answers):
                        expected = plain.setdefault(clip, answer.tokens)
                        runs.add(first + clip, answer, expected, forward, seconds)
                    done += 1
                    yield done, steps
        first += len(windows)


def _goes_on(captioner: Captioner, name: str, windows: Sequence[Window], question: str, rule: Rule,
             limits: Limits | None) -> Iterator[tuple[Answer, float]]:
    """The answers about a sequence and the seconds that each took after the one before."""
    with closing(read_ahead(map(unread, windows), captioner, name)) as ahead:
        start = time.perf_counter()
        for window in ahead:
            answer = _told(captioner, name, window, question, rule, limits)
            end = time.perf_counter()
            yield answer, end - start
            start = end


def answered(captioner: Captioner, name: str, window: Window, question: str, rule: Rule = DEFAULT_RULE,
             limits: Limits | None = None) -> Answer:
    """One answer about a window that no model has read yet."""
    return _told(captioner, name, unread(window), question, rule, limits)


def _told(captioner: Captioner, name: str, window: Window, question: str, rule: Rule, limits: Limits | None) -> Answer:
    cycles = []
    for record in captioner.ask(window, question, name, rule, limits):
        if isinstance(record, Cycle):
            cycles.append(record)
        elif isinstance(record, Caption):
            caption = record
    return Answer(caption, cycles)


def unread(window: Window) -> Window:
    """The same window as one that no model has read: models keep what they read, and whoever asks second would read
    for nothing."""
    rereading.forget()
    return replace(window, frames=list(window.frames))
