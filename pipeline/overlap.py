"""How much of the verifier's distribution the event VLM shares, after the verifier's own words.

    rows = same_prefix(models, window, "Describe the scene in detail.", tokens, clip=0)
    overlap_json(rows)

With the same words before it, a sampled guess is accepted with chance 1 - TV exactly (Leviathan et al. 2023), and a
greedy one where both favourites agree. Unlike live guesses, every word of the answer counts, and each is a first guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from pipeline.isotonic import curve, ranking
from pipeline.models import Models
from pipeline.types import Draft, Scores
from streams.types import Window


@dataclass(frozen=True)
class Overlap:
    """At one word: cosine of the aligned states, 1 - TV, whether the favourites agree, how likely the event VLM finds
    its own one, and its entropy in nats."""

    clip: int
    cos_sim: float
    shared: float
    agree: bool
    p_draft: float
    entropy: float


@torch.inference_mode()
def same_prefix(models: Models, window: Window, question: str, tokens: Sequence[int], clip: int) -> list[Overlap]:
    """Both models read the window, then the verifier's tokens; needs an event VLM and an adapter."""
    assert models.event is not None
    assert models.adapter is not None
    scores: list[Scores] = []
    for vlm in (models.event, models.rgb):
        session = vlm.open(window, question)
        session.prefill()
        scores.append(session.score(Draft.chain(list(tokens), "verifier")))
    q, p = (side.logits[:len(tokens)].float().softmax(-1) for side in scores)
    aligned = models.adapter(scores[0].hidden[:len(tokens), -1])
    cosines = F.cosine_similarity(aligned.float(), scores[1].hidden[:len(tokens), -1].float(), dim=-1)
    columns = (cosines, torch.minimum(p, q).sum(-1), q.argmax(-1) == p.argmax(-1), q.max(-1).values,
               torch.special.entr(q).sum(-1))
    return [Overlap(clip, *row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def overlap_json(rows: Sequence[Overlap]) -> dict[str, Any]:
    """Means, curves over cosine, and what ranks agreement; certainty is the entropy's negative."""
    clips, cosines = [row.clip for row in rows], [row.cos_sim for row in rows]
    agree = [row.agree for row in rows]
    return {"tokens": len(rows), "shared": round(float(np.mean([row.shared for row in rows])), 4),
            "agree": round(float(np.mean(agree)), 4),
            "curves": {"shared": curve(clips, cosines, [row.shared for row in rows]),
                       "agree": curve(clips, cosines, agree)},
            "predictors": {"cos_sim": ranking(cosines, agree), "p_draft": ranking([row.p_draft for row in rows], agree),
                           "certainty": ranking([-row.entropy for row in rows], agree)}}
