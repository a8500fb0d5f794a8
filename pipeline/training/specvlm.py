"""`parafovea train specvlm`: EAGLE's losses behind compressed visual rows, all operators and the gate at once.

    for progress in train_specvlm(verifier, traces, steps=2000, folder=Path("runs/specvlm")): ...

The verifier's logits are made in the training loop, by its frozen head from the states in the traces ("online-logit
distillation", Huang et al. 2025): they are never stored. Every answer of a batch is read behind one operator's rows,
drawn by Gumbel-softmax (Jang et al. 2017): for every other answer from the gate's scores, for the rest from all alike,
so that each operator is trained, and can be forced, whatever the gate prefers. A batch costs one pass, not five.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.decoder import Decoder
from pipeline.drafters.specvlm import OPERATORS, SpecVlmHead, save_head
from pipeline.training.fitting import Loss, fit, noisy, padded
from pipeline.training.loop import Progress
from pipeline.training.traces import Trace
from pipeline.training.unroll import state_losses
from streams.types import InputError

HIDDEN = ("fc.", "layer.", "convolve.", "resample.")


def drawn(scores: Tensor) -> Tensor:
    """One operator per row, one-hot [B, operators] with the gradient of the relaxed choice, from the gate's scores;
    even rows draw from all alike."""
    even = torch.arange(len(scores), device=scores.device)[:, None] % 2 == 0
    return F.gumbel_softmax(scores.masked_fill(even, 0.0), hard=True)


def read_behind(head: SpecVlmHead, visual: Tensor, choice: Tensor, words: Tensor, features: Tensor) -> Tensor:
    """Guessed next features [B, T, D] from embeddings and features [B, T, D] behind the rows that the choice
    [B, operators] makes of visual [B, V, D], as the drafter reads them.

    All operators' rows stand in front and only the chosen ones are seen. How much they are attended to carries the
    gradient to the gate: rows that should be seen more speak for their operator.
    """
    parts = [head.compress(operator, visual) for operator in OPERATORS]
    rows = torch.cat(parts, 1)
    batch, front, text = len(words), rows.shape[1], words.shape[1]
    owner = torch.tensor([i for i, part in enumerate(parts) for _ in range(part.shape[1])], device=words.device)
    share = choice[:, owner]
    seen = share > 0.5  # one-hot but for rounding
    whole = front + text
    allowed = torch.ones(batch, whole, whole, dtype=torch.bool, device=words.device).tril()
    allowed[:, :, :front] &= seen[:, None]
    allowed |= torch.eye(whole, dtype=torch.bool, device=words.device)  # a row that sees nothing has no softmax
    weight = torch.cat([share.clamp(min=0.5).log(), share.new_zeros(batch, text)], 1)
    mask = weight[:, None].expand(-1, whole, -1).masked_fill(~allowed, float("-inf"))
    at = torch.cat([seen, seen.new_ones(batch, text)], 1).cumsum(1).sub(1).clamp(min=0)
    guessed: Tensor = head(torch.cat([torch.zeros_like(rows), words], 1), torch.cat([rows, features], 1), at,
                           mask[:, None], None)
    return guessed[:, front:]


def specvlm_loss(head: SpecVlmHead, verifier: Decoder) -> Loss:
    """EAGLE's loss of each batch behind drawn operators. Raises InputError for traces without visual rows."""
    def loss(traces: list[Trace]) -> dict[str, Tensor]:
        tokens, hidden, drafted = padded(traces)
        features = head.features(hidden)
        questions = torch.stack([features[row, :trace.prompt].mean(0) for row, trace in enumerate(traces)])
        guessed = read_behind(head, visual_rows(traces), drawn(head.gate(questions)), verifier.embed(tokens),
                              noisy(features))
        here, true = guessed[drafted], features.roll(-1, 1)[drafted]
        return state_losses(here, true, verifier.head(here), verifier.head(true), top=False)

    return loss


def visual_rows(traces: Sequence[Trace]) -> Tensor:
    """The visual rows [B, V, D] of traces. Raises InputError where they were not written."""
    found = [trace.visual.float() for trace in traces if trace.visual is not None]
    if len(found) < len(traces):
        raise InputError("these traces hold no visual rows, an earlier version wrote them; give another folder with "
                         "--out")
    return torch.stack(found)


def train_specvlm(verifier: Decoder, traces: Sequence[Trace], steps: int, folder: Path) -> Iterator[Progress]:
    """Train a head of the verifier's width; leaves a checkpoint in the folder."""
    torch.manual_seed(0)
    head = SpecVlmHead(replace(verifier.config, layers=1))
    yield from fit(head, specvlm_loss(head, verifier), traces, steps, folder, HIDDEN)
    save_head(head, folder)
