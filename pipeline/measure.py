"""Drafters against plain decoding: identity, acceptance, time, on unseen scenes.

    for done, total in compare(models, ["none", "vlm"], clips, table := BenchTable()): ...

Every clip is described by every drafter in both orders (A B B A), prefill included, batch 1; the speed-up is the
ratio of summed times with a bootstrap interval over clips. Identity counts answers equal to plain decoding's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.captioner import Captioner
from pipeline.models import Models
from pipeline.types import Caption, Cycle
from streams.scenes.generate import random_scene
from streams.scenes.render import render_window
from streams.types import Resolution, Window

PLAIN = "none"
QUESTIONS = {"detailed": "Describe the scene in detail.", "brief": "What is happening?",
             "short": "How many objects are there?"}
CLIP = Resolution(346, 260)
FIRST_CLIP = 500_000
"""First scene of the clips; training draws none below 1 000 000, `eval mini` begins at 0."""


@dataclass
class Runs:
    """What one drafter did: per clip seconds, and sums over all answers."""

    seconds: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    answers: int = 0
    identical: int = 0
    tokens: int = 0
    cycles: int = 0
    accepted: int = 0
    depth: int = 0
    draft_s: float = 0.0
    verify_s: float = 0.0
    first_draft_s: list[float] = field(default_factory=list)
    first_token_s: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    parameters: int = 0


@dataclass
class BenchTable:
    """Runs per question length and drafter."""

    runs: dict[str, dict[str, Runs]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Runs)))
    clips: int = 0

    def speedup(self, length: str, name: str) -> tuple[float, float, float]:
        """Plain time over the drafter's time: ratio of sums and its 95 % bootstrap interval over clips."""
        plain, own = self.runs[length][PLAIN].seconds, self.runs[length][name].seconds
        pairs = np.array([[plain[clip], own[clip]] for clip in sorted(own)])
        draws = np.random.default_rng(0).integers(0, len(pairs), (1000, len(pairs)))
        ratios = pairs[draws, 0].sum(1) / pairs[draws, 1].sum(1)
        low, high = np.quantile(ratios, [0.025, 0.975])
        return float(pairs[:, 0].sum() / pairs[:, 1].sum()), float(low), float(high)

    def row(self, length: str, name: str) -> dict[str, Any]:
        """One drafter's numbers on one question length, as in the "bench" line of design.md §8."""
        runs = self.runs[length][name]
        ratio, low, high = self.speedup(length, name)
        cosines = np.array(runs.cosines)
        return {"tau": round(runs.tokens / max(1, runs.cycles), 3),
                "acceptance_rate": round(runs.accepted / runs.depth, 4) if runs.depth else None,
                "identity": round(runs.identical / max(1, runs.answers), 4),
                "speedup": round(ratio, 3), "speedup_ci": [round(low, 3), round(high, 3)],
                "tokens_per_s": round(runs.tokens / max(1e-9, sum(runs.seconds.values())), 1),
                "draft_s": round(runs.draft_s / max(1, runs.cycles), 5),
                "verify_s": round(runs.verify_s / max(1, runs.cycles), 5),
                "first_draft_s": round(float(np.median(runs.first_draft_s)), 5) if runs.first_draft_s else None,
                "first_token_s": round(float(np.median(runs.first_token_s)), 5),
                "cos_sim_mean": round(float(cosines.mean()), 4) if len(cosines) else None,
                "accept_at_0.90": round(float((cosines > 0.9).mean()), 4) if len(cosines) else None,
                "parameters": runs.parameters}

    def to_json(self) -> dict[str, Any]:
        """Detailed captions per drafter, and the best drafter per length."""
        best = {}
        for length, drafters in self.runs.items():
            ratios = {name: self.speedup(length, name)[0] for name in drafters if name != PLAIN}
            if ratios:
                winner = max(ratios, key=lambda name: ratios[name])
                best[length] = {"drafter": winner, "speedup": round(ratios[winner], 3)}
        return {"type": "bench", "clips": self.clips,
                "drafters": {name: self.row("detailed", name) for name in self.runs["detailed"]},
                "by_length": {length: {name: self.row(length, name) for name in drafters}
                              for length, drafters in self.runs.items()},
                "best": best}


def clips(count: int) -> Iterator[Window]:
    """Windows of unseen scenes."""
    for seed in range(FIRST_CLIP, FIRST_CLIP + count):
        yield render_window(random_scene(seed, aspect=CLIP.aspect), CLIP, seed=seed, noise_sigma=4.0)


def compare(models: Models, names: Sequence[str], windows: Sequence[Window],
            table: BenchTable) -> Iterator[tuple[int, int]]:
    """Answer about every window with every drafter, forwards and backwards; yields (clips done, clips)."""
    order = [PLAIN, *(name for name in names if name != PLAIN)]
    # conversations of their own per pass and length: a memory must not have heard about the clip it is timed on
    passes = {length: [(sequence, {name: Captioner(models) for name in order}) for sequence in (order, order[::-1])]
              for length in QUESTIONS}
    warm_up = Captioner(models)
    for name in order:
        list(warm_up.ask(windows[0], QUESTIONS["brief"], name))
    for number, window in enumerate(windows):
        for length, question in QUESTIONS.items():
            plain = ""
            for names_in_order, captioners in passes[length]:
                for name in names_in_order:
                    runs = table.runs[length][name]
                    caption = _run(captioners[name], name, window, question, number, runs)
                    plain = plain or caption.text
                    runs.identical += caption.text == plain
                    runs.parameters = captioners[name].drafter(name).parameters
        table.clips = number + 1
        yield number + 1, len(windows)


def _run(captioner: Captioner, name: str, window: Window, question: str, clip: int, runs: Runs) -> Caption:
    for record in captioner.ask(window, question, name):
        if isinstance(record, Cycle):
            runs.draft_s += record.seconds("draft")
            runs.verify_s += record.seconds("verify")
            runs.cosines += [node.cos_sim for node in record.nodes if node.cos_sim is not None]
            runs.depth += max((n.depth for n in record.nodes), default=0)
        elif isinstance(record, Caption):
            caption = record
    runs.answers += 1
    runs.tokens += caption.tokens
    runs.cycles += caption.cycles
    runs.accepted += caption.accepted
    runs.seconds[clip] += caption.total_s
    runs.first_token_s.append(caption.first_token_s)
    if caption.first_draft_s is not None:
        runs.first_draft_s.append(caption.first_draft_s)
    return caption
