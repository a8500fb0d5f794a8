"""What all drafters share when they are trained: a batch of traces, and the loop over them.

    for progress in fit(head, loss, traces, steps=2000, folder=Path("runs/eagle"), hidden=("fc.", "layer.")): ...
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.training.loop import Progress, Schedule, train
from pipeline.training.traces import Trace

BATCH, RATE = 16, 1e-3
NOISE = 0.1
"""Half width of the uniform noise on the states that are read, as EAGLE's authors add at their length."""

Loss = Callable[[list[Trace]], dict[str, Tensor]]


def padded(traces: Sequence[Trace]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens [B, T], states that led to them [B, T, taps, D] and whether the next token is of the answer [B, T]."""
    length = max(len(trace.tokens) for trace in traces)
    tokens = torch.zeros(len(traces), length, dtype=torch.long)
    hidden = torch.zeros(len(traces), length, *traces[0].states.shape[1:])
    drafted = torch.zeros(len(traces), length, dtype=torch.bool)
    for row, trace in enumerate(traces):
        count = len(trace.tokens)
        tokens[row, :count] = torch.tensor(trace.tokens)
        hidden[row, :count] = trace.states
        drafted[row, trace.prompt - 1:count - 1] = True
    return tokens, hidden, drafted


def noisy(features: Tensor) -> Tensor:
    """Features with EAGLE's noise: a head that drafts reads guesses, which are never quite true."""
    return features + (torch.rand_like(features) - 0.5) * 2 * NOISE


def fit(model: nn.Module, loss: Loss, traces: Sequence[Trace], steps: int, folder: Path, hidden: tuple[str, ...],
        draws: str = "heads") -> Iterator[Progress]:
    """Train on random batches of traces; hidden: see loop.train(); draws: names the sequence of batches.

    What a killed run goes on from, and the curve, lie beside the folder: what it holds is copied and shipped.
    """
    pool = list(traces)

    def loss_of_step(step: int) -> dict[str, Tensor]:
        return loss(random.Random(f"{draws} {step}").sample(pool, min(BATCH, len(pool))))

    schedule = Schedule(steps, RATE, min(50, max(1, steps // 5)), 0.3, 0.01, 1.0, 0.97)
    return train(folder.name, model, loss_of_step, schedule, folder.parent, hidden)
