"""How much of the verifier's distribution a drafter shares, after the verifier's own words.

    rows = same_prefix(models, "eagle", window, "Describe the scene in detail.", tokens, clip=0)
    overlap_json(rows)

With the same words before it, a sampled guess is accepted with chance 1 - TV exactly (Leviathan et al. 2023), and a
greedy one where both favourites agree. Unlike live guesses, every word of the answer counts, and each is a first guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline import drafters
from pipeline.acceptance import Greedy, cosines
from pipeline.calibration import FIRST_WORDS
from pipeline.isotonic import curve, ranking
from pipeline.models import Models
from pipeline.types import Draft, Scores, Verdict
from streams.types import Window


@dataclass(frozen=True)
class Overlap:
    """At one word, counted from 0: 1 - TV, whether the favourites agree, how likely the drafter finds its own one, its
    entropy in nats, and the cosine of the states, None where the drafter has none."""

    clip: int
    word: int
    shared: float
    agree: bool
    p_draft: float
    entropy: float
    cos_sim: float | None


@dataclass(frozen=True)
class _Overheard(Greedy):
    """Greedy, and keeps the scores that a drafter ranks its guesses by; those for the very next word come first."""

    only_likeliest = False
    kept: list[Tensor] = field(default_factory=list)

    def preferences(self, logits: Tensor, indices: list[int]) -> Tensor:
        """The logits themselves."""
        self.kept.append(logits[0])
        return logits

    def choose(self, logits: Tensor, indices: list[int]) -> list[int]:
        """Arg-max of each row of logits [R, V]."""
        self.kept.append(logits[0])
        return super().choose(logits, indices)


@torch.inference_mode()
def same_prefix(models: Models, name: str, window: Window, question: str, tokens: Sequence[int],
                clip: int) -> list[Overlap]:
    """A drafter guesses each of the verifier's tokens and is told it afterwards. Empty for who has no distribution of
    its own: recall, which counts, and mixtures."""
    rows = list[Overlap]()
    if name.partition(":")[0] == "mix":
        return rows
    drafter, session, rule, text = drafters.create(name, models), models.rgb.open(window, question), _Overheard(), ""
    session.prefill()
    drafter.start(window, question, rule, lambda: session.prefix)
    for token in tokens:
        rule.kept.clear()
        draft = drafter.propose(1)
        scores = session.score(draft)
        text += models.tokenizer.piece(token)
        if len(draft) and rule.kept:
            rows.append(_compared(draft, scores, rule.kept[0], clip, max(0, len(text.split()) - 1)))
        # also where it was right: the next word is guessed by itself
        verdict = Verdict([], token, "recovered")
        session.commit(draft, verdict)
        drafter.observe(draft, scores, verdict)
    return rows


def _compared(draft: Draft, scores: Scores, ranked: Tensor, clip: int, word: int) -> Overlap:
    q, p = ranked.float().softmax(-1), scores.logits[0].float().softmax(-1)
    return Overlap(clip, word, float(torch.minimum(p, q.to(p)).sum()), int(q.argmax()) == int(p.argmax()),
                   float(q.max()), float(torch.special.entr(q).sum()), cosines(draft, scores)[0])


def overlap_json(rows: Sequence[Overlap]) -> dict[str, Any]:
    """Means, curves over cosine, and what ranks agreement; certainty is the entropy's negative."""
    later = [row for row in rows if row.word >= FIRST_WORDS]
    known = [(row.clip, row.cos_sim, row.shared, row.agree) for row in rows if row.cos_sim is not None]
    clips, places, shared, agree = zip(*known, strict=True) if known else [()] * 4
    return {"tokens": len(rows), "shared": round(float(np.mean([row.shared for row in rows])), 4),
            "agree": round(float(np.mean([row.agree for row in rows])), 4),
            "entropy": round(float(np.mean([row.entropy for row in rows])), 4),
            "cos_sim": round(float(np.mean(places)), 4) if known else None,
            "curves": {"shared": curve(clips, places, shared), "agree": curve(clips, places, agree)} if known else {},
            "predictors": _predictors(rows), f"predictors_without_first_{FIRST_WORDS}_words": _predictors(later)}


def _predictors(rows: Sequence[Overlap]) -> dict[str, dict[str, float] | None]:
    agree = [row.agree for row in rows]
    known = [(row.cos_sim, row.agree) for row in rows if row.cos_sim is not None]
    return {"cos_sim": ranking([cosine for cosine, _ in known], [same for _, same in known]),
            "p_draft": ranking([row.p_draft for row in rows], agree),
            "certainty": ranking([-row.entropy for row in rows], agree)}
