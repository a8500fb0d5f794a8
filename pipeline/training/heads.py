"""`parafovea train eagle`, `eagle3`, `medusa`, `specvlm`: draft heads on the verifier's own answers.

    for progress in train_drafter("eagle", words, traces, Run(2000, Path("runs/eagle"))): ...

Losses are those of the papers: EAGLE (states and words), HASS (through three own guesses, and the likeliest words),
EAGLE-3 (words only, through many own guesses), Medusa-1 (words).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.drafters import eagle, eagle3, medusa
from pipeline.training.fitting import Loss, Run, Words, fit, noisy, padded
from pipeline.training.loop import Progress
from pipeline.training.specvlm import train_specvlm
from pipeline.training.traces import Trace
from pipeline.training.unroll import state_losses, unroll
from streams.types import InputError

HIDDEN = ("fc.", "layer.", *(f"{number}.0." for number in range(medusa.HEADS)))

FURTHER = 0.8
"""Weight of the loss of each guess to that of the one before (EAGLE-3, Medusa)."""

HASS_GUESSES, EAGLE3_GUESSES = 3, 5
DRAFT_WORDS = 384
"""Size of EAGLE-3's reduced vocabulary."""


def after(drafted: Tensor, guesses: int) -> Tensor:
    """Where a guess is made after so many own ones: that many tokens of the answer came before."""
    rows = drafted.clone()
    rows[:, guesses:] &= drafted[:, :drafted.shape[1] - guesses]
    rows[:, :guesses] = False
    return rows


def eagle_loss(head: eagle.EagleHead, verifier: Words, own_guesses: int) -> Loss:
    """EAGLE's loss, averaged over 1 to own_guesses guesses of the head's own; from two on with HASS's addition."""
    def loss(traces: list[Trace]) -> dict[str, Tensor]:
        tokens, hidden, drafted = padded(traces, verifier.embed.weight.device)
        features = head.features(hidden)
        total: dict[str, Tensor] = {}
        for step, guessed in enumerate(unroll(head, verifier.embed(tokens), noisy(features), own_guesses)):
            rows = after(drafted, step)
            here, true = guessed[rows], features.roll(-1, 1)[rows]
            parts = state_losses(here, true, verifier.head(here), verifier.head(true), top=own_guesses > 1)
            for name, part in parts.items():
                total[name] = total.get(name, torch.zeros((), device=tokens.device)) + part / own_guesses
        return total

    return loss


def eagle3_loss(head: eagle3.Eagle3Head, verifier: Words, own_guesses: int) -> Loss:
    """EAGLE-3's loss: the verifier's distribution over the words the head knows, where its favourite is one of them."""
    def loss(traces: list[Trace]) -> dict[str, Tensor]:
        tokens, hidden, drafted = padded(traces, verifier.embed.weight.device)
        wanted = verifier.head(hidden[:, :, -1].roll(-1, 1))
        chance = wanted[..., head.t2d].softmax(-1)
        sayable = drafted & head.t2d[wanted.argmax(-1)]
        total = torch.zeros((), device=tokens.device)
        guesses = unroll(head, verifier.embed(tokens), head.features(hidden), own_guesses, through=True)
        for step, guessed in enumerate(guesses):
            rows = after(drafted, step) & sayable
            said = head.draft_logits(guessed[rows]).log_softmax(-1)
            total = total - FURTHER**step * (chance[rows] * said).sum(-1).mean()
        return {"words": total}

    return loss


def medusa_loss(heads: medusa.MedusaHeads, verifier: Words) -> Loss:
    """Medusa-1's loss, on states that stay as they are."""
    def loss(traces: list[Trace]) -> dict[str, Tensor]:
        tokens, hidden, drafted = padded(traces, verifier.embed.weight.device)
        return {"words": ahead_loss(heads, tokens, hidden[:, :, -1], drafted)}

    return loss


def ahead_loss(heads: medusa.MedusaHeads, tokens: Tensor, states: Tensor, drafted: Tensor) -> Tensor:
    """Each head's cross entropy with the token so many places ahead, from states [B, T, D] that led to tokens [B, T].
    """
    total = torch.zeros((), device=tokens.device)
    for step, head in enumerate(heads):
        ahead = tokens.roll(-1 - step, 1)
        rows = drafted & drafted.roll(-step, 1)
        rows[:, rows.shape[1] - step:] = False
        total = total + FURTHER**step * F.cross_entropy(head(states[rows]), ahead[rows])
    return total


TRAINABLE = ("eagle", "eagle:hass", "eagle3", "medusa", "specvlm")


def train_drafter(name: str, verifier: Words, traces: Sequence[Trace], run: Run) -> Iterator[Progress]:
    """Train one of TRAINABLE; leaves a checkpoint in the folder. Raises InputError for another name."""
    if name == "eagle3":
        return train_eagle3(verifier, traces, run)
    if name == "medusa":
        return train_medusa(verifier, traces, run)
    if name == "specvlm":
        return train_specvlm(verifier, traces, run)
    if name in ("eagle", "eagle:hass"):
        return train_eagle(verifier, traces, run, HASS_GUESSES if name == "eagle:hass" else 1)
    raise InputError(f"there is nothing to train for drafter {name!r}; use one of {', '.join(TRAINABLE)}")


def train_eagle(verifier: Words, traces: Sequence[Trace], run: Run, own_guesses: int = 1) -> Iterator[Progress]:
    """Train a head of the verifier's width; leaves a checkpoint in the folder."""
    torch.manual_seed(0)
    head = eagle.EagleHead(replace(verifier.config, layers=1))
    yield from fit(head, eagle_loss(head, verifier, own_guesses), traces, run, HIDDEN, partial(eagle.save_head, head))


def train_eagle3(verifier: Words, traces: Sequence[Trace], run: Run) -> Iterator[Progress]:
    """Train a head over the most frequent words of the answers; leaves a checkpoint in the folder. Raises InputError
    for a verifier with too few layers."""
    if traces and traces[0].states.shape[1] != eagle3.LEVELS + 1:
        raise InputError("eagle3 reads low, middle and high states, and this verifier has too few layers; train eagle")
    torch.manual_seed(0)
    counts = Counter(token for trace in traces for token in trace.tokens[trace.prompt:])
    words = torch.tensor(sorted(token for token, _ in counts.most_common(DRAFT_WORDS)))
    head = eagle3.Eagle3Head(replace(verifier.config, layers=1), words)
    head.head.weight.data.copy_(verifier.head.weight[words.to(verifier.head.weight.device)])
    yield from fit(head, eagle3_loss(head, verifier, EAGLE3_GUESSES), traces, run, HIDDEN,
                   partial(eagle3.save_head, head))


def train_medusa(verifier: Words, traces: Sequence[Trace], run: Run, tree_size: int = 32) -> Iterator[Progress]:
    """Train heads that begin as the verifier's own and find their tree on a part of the traces that is kept apart."""
    heads, (kept, rest) = new_medusa(verifier), calibration_part(traces)

    def save(folder: Path, **facts: float) -> None:
        medusa.save_heads(heads, calibrated_tree(rank_accuracies(heads, kept), tree_size), folder, **facts)

    yield from fit(heads, medusa_loss(heads, verifier), rest, run, HIDDEN, save)


def new_medusa(verifier: Words) -> medusa.MedusaHeads:
    """Heads that begin as the verifier's own."""
    torch.manual_seed(0)
    heads = medusa.MedusaHeads(verifier.config.hidden_size, verifier.config.vocab_size)
    for name, parameter in heads.named_parameters():
        if name.endswith(".1.weight"):
            parameter.data.copy_(verifier.head.weight)
    return heads


def calibration_part(traces: Sequence[Trace]) -> tuple[Sequence[Trace], Sequence[Trace]]:
    """A twentieth of the traces, which Medusa's tree is found on, and the others."""
    kept = max(1, len(traces) // 20)
    return traces[:kept], traces[kept:]


@torch.inference_mode()
def rank_accuracies(heads: medusa.MedusaHeads, traces: Sequence[Trace], ranks: int = 8) -> Tensor:
    """How often the token ahead is each head's guess of each rank, [heads, ranks]."""
    device = next(heads.parameters()).device
    right, asked = torch.zeros(len(heads), ranks), torch.zeros(len(heads), 1)
    for trace in traces:
        states = trace.states[trace.prompt - 1:, -1].to(device, torch.float32)
        tokens = torch.tensor(trace.tokens[trace.prompt:])
        for step, head in enumerate(heads):
            ahead = tokens[step:]
            best = head(states[:len(ahead)]).topk(ranks, -1).indices.cpu()
            right[step] += (best == ahead[:, None]).sum(0)
            asked[step] += len(ahead)
    return right / asked.clamp(min=1)


def calibrated_tree(accuracies: Tensor, size: int) -> list[tuple[int, ...]]:
    """The `size` paths of ranks with the largest products of accuracies, the likeliest first (Medusa §2.3.3)."""
    tree: list[tuple[int, ...]] = []
    front: dict[tuple[int, ...], float] = {(rank,): float(p) for rank, p in enumerate(accuracies[0])}
    while front and len(tree) < size:
        path = max(front, key=lambda path: front[path])
        chance = front.pop(path)
        tree.append(path)
        if len(path) < len(accuracies):
            front |= {(*path, rank): chance * float(p) for rank, p in enumerate(accuracies[len(path)])}
    return tree
