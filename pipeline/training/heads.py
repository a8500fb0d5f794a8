"""`parafovea train eagle`: draft heads on the verifier's own answers.

    for progress in train_eagle(verifier, traces, steps=2000, folder=Path("runs/eagle"), own_guesses=1): ...

own_guesses 1 is EAGLE's training, 3 with the loss on the likeliest words is HASS's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pipeline.decoder import Decoder
from pipeline.drafters.eagle import EagleHead, save_head
from pipeline.training.loop import Progress, Schedule, train
from pipeline.training.traces import Trace
from pipeline.training.unroll import state_losses, unroll

BATCH, RATE = 16, 1e-3
HIDDEN = ("fc.weight", "layer.")
NOISE = 0.1
"""Half width of the uniform noise on the states that are read, as EAGLE's authors add at their length."""


def padded(traces: Sequence[Trace]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens [B, T], the last tap's states that led to them [B, T, D] and whose next token is of the answer [B, T]."""
    length = max(len(trace.tokens) for trace in traces)
    tokens = torch.zeros(len(traces), length, dtype=torch.long)
    states = torch.zeros(len(traces), length, traces[0].states.shape[-1])
    drafted = torch.zeros(len(traces), length, dtype=torch.bool)
    for row, trace in enumerate(traces):
        count = len(trace.tokens)
        tokens[row, :count] = torch.tensor(trace.tokens)
        states[row, :count] = trace.states[:, -1]
        drafted[row, trace.prompt - 1:count - 1] = True
    return tokens, states, drafted


def chain_losses(head: EagleHead, verifier: Decoder, traces: Sequence[Trace], own_guesses: int, top: bool,
                 ) -> dict[str, Tensor]:
    """Loss of guesses after 1 to own_guesses guesses of the head's own, averaged."""
    tokens, states, drafted = padded(traces)
    words = verifier.embed(tokens)
    noisy = states + (torch.rand_like(states) - 0.5) * 2 * NOISE
    total: dict[str, Tensor] = {}
    for step, guessed in enumerate(unroll(head, words, noisy, own_guesses)):
        # a guess after `step` own ones is made only where that many tokens of the answer came before
        rows = drafted.clone()
        rows[:, step:] &= drafted[:, :drafted.shape[1] - step]
        rows[:, :step] = False
        here, true = guessed[rows], states.roll(-1, 1)[rows]
        for name, loss in state_losses(here, true, verifier.head(here), verifier.head(true), top).items():
            total[name] = total.get(name, 0.0) + loss / own_guesses
    return total


def train_eagle(verifier: Decoder, traces: Sequence[Trace], steps: int, folder: Path, own_guesses: int = 1,
                ) -> Iterator[Progress]:
    """Train a head of the verifier's width; leaves folder/config.json and model.safetensors."""
    torch.manual_seed(0)
    head = EagleHead(replace(verifier.config, layers=1))

    def loss_of_step(step: int) -> dict[str, Tensor]:
        chosen = random.Random(f"eagle {step}").sample(list(traces), min(BATCH, len(traces)))
        return chain_losses(head, verifier, chosen, own_guesses, top=own_guesses > 1)

    yield from train(folder.name, head, loss_of_step, Schedule(steps, RATE, 50, 0.3, 0.01, 1.0, 0.97), folder, HIDDEN)
    save_head(head, folder)
