"""What all drafters share when they are trained: a batch of traces, and the loop over them.

    run = Run(steps=2000, folder=Path("runs/eagle"))
    for progress in fit(head, loss, traces, run, hidden=("fc.", "layer."), save=save): ...

A training leaves its checkpoint in the folder and, beside it, FOLDER-stages/step-N: what it would have been after 0
(not trained at all), 1/8, 1/4, 1/2 and all of the steps. `bench --checkpoints` reads them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.decoder import Decoder
from pipeline.training.loop import Progress, Schedule, Snapshots, train
from pipeline.training.traces import Trace
from pipeline.training.workers import ALONE, Workers
from streams.types import InputError

BATCH, RATE = 16, 1e-3
NOISE = 0.1
"""Half width of the uniform noise on the states that are read, as EAGLE's authors add at their length."""

STAGES = (0.0, 0.125, 0.25, 0.5, 1.0)
"""Shares of a training after which a stage is kept."""

Loss = Callable[[list[Trace]], dict[str, Tensor]]
Save = Callable[..., None]
"""save(folder, **facts): writes a checkpoint of the model as it is, with numbers for its config.json."""


@dataclass(frozen=True)
class Run:
    """One training: its length, the folder of its checkpoint, whether stages are kept, who else trains."""

    steps: int
    folder: Path
    stages: bool = True
    workers: Workers = ALONE

    @property
    def device(self) -> torch.device:
        """Where this process trains."""
        return self.workers.device


class Words(nn.Module):
    """What training needs of a frozen verifier: its embeddings of words and its scores of states, in float32."""

    def __init__(self, decoder: Decoder, device: torch.device) -> None:
        super().__init__()
        self.config = decoder.config
        self.embed = nn.Embedding.from_pretrained(decoder.embed.weight.detach().to(device, torch.float32))
        self.head = nn.Linear(decoder.config.hidden_size, len(decoder.head.weight), bias=False, device="meta")
        self.head.weight = nn.Parameter(decoder.head.weight.detach().to(device, torch.float32), requires_grad=False)


def padded(traces: Sequence[Trace], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
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
    return tokens.to(device), hidden.to(device), drafted.to(device)


def noisy(features: Tensor) -> Tensor:
    """Features with EAGLE's noise: a head that drafts reads guesses, which are never quite true."""
    return features + (torch.rand_like(features) - 0.5) * 2 * NOISE


def fit(model: nn.Module, loss: Loss, traces: Sequence[Trace], run: Run, hidden: tuple[str, ...], save: Save,
        draws: str = "heads") -> Iterator[Progress]:
    """Train on random batches of traces and save the result; hidden: see loop.train(); draws: names the sequence of
    batches. Raises InputError without traces.

    What a killed run goes on from, the curve and the stages lie beside the folder: what it holds is copied and shipped.
    """
    pool, folder, workers = list(traces), run.folder, run.workers
    if not pool:
        raise InputError("there are too few answers to learn from; use more --scenes, or longer recordings")

    def loss_of_step(step: int) -> dict[str, Tensor]:
        batch = random.Random(f"{draws} {step}").sample(pool, min(BATCH, len(pool)))
        return loss(workers.share(batch))

    def keep(step: int, place: Path) -> None:
        save(place, step=step, epochs=round(step * min(BATCH, len(pool)) / len(pool), 3))

    kept = sorted({round(share * run.steps) for share in STAGES}) if run.stages else []
    snapshots = Snapshots(kept, lambda step: keep(step, stages_of(folder) / f"step-{step}"))
    schedule = Schedule(run.steps, RATE, min(50, max(1, run.steps // 5)), 0.3, 0.01, 1.0, 0.97)
    yield from train(folder.name, model.to(run.device), loss_of_step, schedule, folder.parent, hidden, snapshots,
                     workers)
    if workers.first:
        keep(run.steps, folder)
    workers.wait()


def stages_of(folder: Path) -> Path:
    """Where the stages of a training lie whose checkpoint is in this folder."""
    return folder.with_name(f"{folder.name}-stages")
