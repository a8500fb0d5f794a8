"""`parafovea train specvlm`: EAGLE's losses behind compressed visual rows, all operators and the gate at once.

    for progress in train_specvlm(words, traces, Run(2000, Path("runs/specvlm"))): ...

The verifier's logits are never stored: its frozen head makes them in the training loop from the states in the traces.
(The authors' "online-logit distillation" runs the whole verifier there, Huang et al. 2025; as it is frozen too, the
logits are the same but for the 16 bits of the states.) A batch costs one pass, not one per operator: every other answer
is read behind the rows of one operator, drawn from all alike, so that each is trained and can be forced whatever the
gate prefers; the rest behind a mixture that the gate says, relaxed by Gumbel-softmax (Jang et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.drafters.specvlm import OPERATORS, SpecVlmHead, save_head
from pipeline.training.fitting import Loss, Run, Words, fit, noisy, padded
from pipeline.training.loop import Progress
from pipeline.training.traces import Trace
from pipeline.training.unroll import state_losses
from streams.types import InputError

HIDDEN = ("fc.", "layer.", "convolve.", "resample.")

LEAST = 1e-6
"""Share below which an operator's rows are not attended to any less."""


def drawn(scores: Tensor) -> Tensor:
    """How much of each operator is shown, [B, operators] adding up to 1, from the gate's scores: one alone, of all
    alike, in even rows; a relaxed draw from the scores in odd ones."""
    count = len(scores)
    one = F.one_hot(torch.randint(len(OPERATORS), (count,), device=scores.device), len(OPERATORS)).to(scores)
    even = torch.arange(count, device=scores.device)[:, None] % 2 == 0
    return torch.where(even, one, F.gumbel_softmax(scores))


def read_behind(head: SpecVlmHead, visual: Tensor, shares: Tensor, words: Tensor, features: Tensor) -> Tensor:
    """Guessed next features [B, T, D] from embeddings and features [B, T, D] behind what the operators make of visual
    [B, V, D]; shares [B, operators]: how much each is attended to.

    With one share of 1 this is what the drafter reads. A share scales the attention to its operator's rows, which
    leads to the gate; scaling the rows themselves would be undone by the norm in front of attention.
    """
    parts = [head.compress(operator, visual) for operator in OPERATORS]
    sizes = torch.tensor([part.shape[1] for part in parts], device=words.device)
    rows, owner = torch.cat(parts, 1), torch.arange(len(parts), device=words.device).repeat_interleave(sizes)
    batch, front, text = len(words), rows.shape[1], words.shape[1]
    share = shares[:, owner]
    weight = share.clamp(min=LEAST).log().masked_fill(share == 0, float("-inf"))
    ones = torch.ones(front + text, front + text, dtype=torch.bool, device=words.device)
    mask = torch.cat([weight, weight.new_zeros(batch, text)], 1)[:, None].expand(-1, front + text, -1)
    # a row that sees nothing has no softmax: each sees itself
    mask = mask.masked_fill(ones.triu(1), float("-inf")).masked_fill(ones.tril().triu(), 0.0)
    # every operator's rows begin at 0, the text follows those of the largest share
    own = torch.cat([torch.arange(part.shape[1], device=words.device) for part in parts]).expand(batch, -1)
    after = sizes[shares.argmax(1)][:, None] + torch.arange(text, device=words.device)
    guessed: Tensor = head(torch.cat([torch.zeros_like(rows), words], 1), torch.cat([rows, features], 1),
                           torch.cat([own, after], 1), mask[:, None], None)
    return guessed[:, front:]


def specvlm_loss(head: SpecVlmHead, verifier: Words) -> Loss:
    """EAGLE's loss of each batch behind drawn operators. Raises InputError for traces without visual rows."""
    def loss(traces: list[Trace]) -> dict[str, Tensor]:
        tokens, hidden, drafted = padded(traces, verifier.embed.weight.device)
        features = head.features(hidden)
        questions = torch.stack([features[row, :trace.prompt].mean(0) for row, trace in enumerate(traces)])
        guessed = read_behind(head, visual_rows(traces).to(features), drawn(head.gate(questions)),
                              verifier.embed(tokens), noisy(features))
        here, true = guessed[drafted], features.roll(-1, 1)[drafted]
        return state_losses(here, true, verifier.head(here), verifier.head(true), top=False)

    return loss


def visual_rows(traces: Sequence[Trace]) -> Tensor:
    """The visual rows [B, V, D] of traces. Raises InputError where they were not written or are not equally many."""
    found = [trace.visual.float() for trace in traces if trace.visual is not None]
    if len(found) < len(traces):
        raise InputError("these answers hold no visual rows: an earlier version wrote them, or --no-rows; collect them "
                         "again in another folder")
    if len({len(rows) for rows in found}) > 1:
        raise InputError("specvlm learns from windows of equally many visual rows, these differ; train eagle instead")
    return torch.stack(found)


def train_specvlm(verifier: Words, traces: Sequence[Trace], run: Run) -> Iterator[Progress]:
    """Train a head of the verifier's width; leaves a checkpoint in the folder."""
    torch.manual_seed(0)
    head = SpecVlmHead(replace(verifier.config, layers=1))
    yield from fit(head, specvlm_loss(head, verifier), traces, run, HIDDEN, partial(save_head, head))
