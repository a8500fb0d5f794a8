"""`parafovea train adapter:LEVEL`: event VLM states to the verifier's for the same words, which the verifier wrote.

    for progress in train_adapter("L4", event, verifier, *load_traces(folder), steps=2000, folder=Path("runs/L4")): ...

The original study paired the states of two independently written texts by index; here both models read the verifier's
text, so a pair always belongs to the same next word. Loss of the study: MSE + (1 - cos) / 2, for L6 also a tenth of the
cross entropy of the words. Levels that go on from their own guesses are trained through them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.adapters import LEVELS, Adapter, CausalAdapter, LoraAdapter, new_adapter, save_adapter
from pipeline.decoder import Decoder
from pipeline.training.fitting import fit
from pipeline.training.loop import Progress
from pipeline.training.traces import Trace
from pipeline.training.unroll import attend
from streams.types import InputError

HIDDEN = ("layer.", "fuse.", "gate.")
OWN_GUESSES = 3
"""How many guesses in a row the levels that read the verifier's states learn to make."""

WORDS = 0.1
"""Weight of the cross entropy in L6's loss."""

LORA_DROPOUT = 0.05


@dataclass(frozen=True, eq=False)
class Answers:
    """A batch of answers, padded at their end, T words long at most.

    inputs: what an adapter may read, each [B, T, ...] (pipeline.adapters.adapter.Reads). states [B, T, D]: the
    verifier's, which predicted each word. said [B, T]: the words. real [B, T]: False where padded.
    """

    inputs: dict[str, Tensor]
    states: Tensor
    said: Tensor
    real: Tensor


def answers(traces: Sequence[Trace], verifier: Decoder, event: Tensor | None = None) -> Answers:
    """The answers of some traces; event [B, T, D_event] stands for the event VLM's states that were collected."""
    places = [slice(trace.prompt, len(trace.tokens)) for trace in traces]
    before = [slice(trace.prompt - 1, len(trace.tokens) - 1) for trace in traces]
    words = [torch.tensor(trace.tokens) for trace in traces]
    final = [trace.states[:, -1] for trace in traces]
    said = _pad([word[at] for word, at in zip(words, places, strict=True)])
    return Answers({
        "event": _pad([trace.event for trace in traces]) if event is None else event,
        "words": verifier.embed(_pad([word[at] for word, at in zip(words, before, strict=True)])),
        "before": _pad([state[at] for state, at in zip(final, before, strict=True)]),
    }, _pad([state[at] for state, at in zip(final, places, strict=True)]), said,
        _pad([torch.ones(len(trace.tokens) - trace.prompt, dtype=torch.bool) for trace in traces]))


def _pad(rows: list[Tensor]) -> Tensor:
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


def event_states(decoder: Decoder, traces: Sequence[Trace]) -> Tensor:
    """The states [B, T, D_event] of an event decoder that reads the answers of traces, from their visual rows on.
    Raises InputError for traces without them."""
    rows, first = list[Tensor](), list[int]()
    for trace in traces:
        if trace.event_visual is None:
            raise InputError("these traces were collected by a version that did not keep what the event VLM saw; give "
                             "another folder with --out, so that they are collected again")
        rows.append(torch.cat([trace.event_visual.float(), decoder.embed(torch.tensor(trace.tokens[:-1]))]))
        first.append(len(trace.event_visual) + trace.prompt - 1)
    x = _pad(rows)
    states, _ = decoder(x, torch.arange(x.shape[1])[None])
    return _pad([state[at:len(row)] for state, at, row in zip(states, first, rows, strict=True)])


def guesses(adapter: Adapter, inputs: dict[str, Tensor]) -> Iterator[Tensor]:
    """Aligned states [B, T, D]; from a level that reads the verifier's states also those after 1, 2, ... guesses of its
    own stand for the last of them, as in a draft (context alignment: HASS, Zhang et al. 2025)."""
    if not isinstance(adapter, CausalAdapter) or "before" not in adapter.reads:
        yield adapter(*(inputs[name] for name in adapter.reads))
        return
    inputs, at = dict(inputs), torch.arange(inputs["before"].shape[1])
    back = at[:, None] - at[None]
    keys, values = list[Tensor](), list[Tensor]()
    for step in range(OWN_GUESSES):
        x, passed = adapter.enter(*(inputs[name] for name in adapter.reads))
        query, key, value = adapter.layer.project(x)
        keys.append(key)
        values.append(value)
        allowed = [back >= step if j == 0 else back == step - j for j in range(step + 1)]
        aligned = adapter.leave(adapter.layer.after(x, attend(query, keys, values, allowed)), passed)
        yield aligned
        inputs["before"] = torch.cat([inputs["before"][:, :1], aligned[:, :-1]], 1).detach()


def align_loss(aligned: Tensor, states: Tensor) -> dict[str, Tensor]:
    """MSE and half of one minus the cosine, of states [N, D]."""
    return {"mse": F.mse_loss(aligned, states),
            "angle": 0.5 * (1 - F.cosine_similarity(aligned, states, dim=-1).mean())}


def losses(adapter: Adapter, batch: Answers, verifier: Decoder) -> dict[str, Tensor]:
    """The loss of a level, averaged over its guesses in a row."""
    total: dict[str, Tensor] = {}
    made = list(guesses(adapter, batch.inputs))
    for step, aligned in enumerate(made):
        # so many words of the answer must have come before for a guess after so many own ones
        rows = batch.real & (torch.arange(batch.real.shape[1]) >= step)
        for name, part in align_loss(aligned[rows], batch.states[rows]).items():
            total[name] = total.get(name, torch.zeros(())) + part / len(made)
    if isinstance(adapter, LoraAdapter):
        logits = verifier.head(made[0][batch.real])
        total["words"] = WORDS * F.cross_entropy(logits, batch.said[batch.real])
    return total


def train_adapter(level: str, event: Decoder, verifier: Decoder, traces: Sequence[Trace], held_out: Sequence[Trace],
                  steps: int, folder: Path) -> Iterator[Progress]:
    """Train a level on traces and measure it on all held-out ones; leaves a checkpoint in the folder, beside it what an
    interrupted training goes on from and the learning curve.

    Raises InputError for a level that does not exist, without scenes for both and, for L6, without peft.
    """
    if level not in LEVELS:
        raise InputError(f"there is no adapter {level!r}; use one of {', '.join(LEVELS)}")
    if not traces or not held_out:
        raise InputError(f"an adapter needs answers to learn from and held-out ones, got {len(traces)} and "
                         f"{len(held_out)}; use at least --scenes 2")
    torch.manual_seed(0)
    adapter = new_adapter(level, event.config, verifier.config)
    if isinstance(adapter, LoraAdapter):
        yield from _fit_lora(adapter, event, verifier, traces, steps, folder)
        event = adapter.merged(event)
    else:
        yield from fit(adapter, lambda part: losses(adapter, answers(part, verifier), verifier), traces, steps, folder,
                       HIDDEN, "adapter")
    save_adapter(adapter, folder, **measure(adapter, event, verifier, held_out))


def _fit_lora(adapter: LoraAdapter, event: Decoder, verifier: Decoder, traces: Sequence[Trace], steps: int,
              folder: Path) -> Iterator[Progress]:
    """Train L6 through peft on a copy of the event decoder and take its changes over."""
    changed = with_lora(event, adapter)
    model = nn.ModuleDict({"event": changed, "project": adapter.project})

    def loss(batch: list[Trace]) -> dict[str, Tensor]:
        return losses(adapter, answers(batch, verifier, event_states(changed, batch)), verifier)

    yield from fit(model, loss, traces, steps, folder, HIDDEN, "adapter")
    take_lora(adapter, changed)


def low_rank_library() -> Any:
    """The module peft. Raises InputError when it is missing."""
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise InputError("training adapter:L6 needs peft; install it with `pip install 'parafovea[train]'`") from error


def with_lora(event: Decoder, adapter: LoraAdapter) -> Decoder:
    """A copy of the event decoder whose attention peft lets change. Raises InputError when peft is missing."""
    peft = low_rank_library()
    rank = adapter.sizes["rank"]
    wanted = peft.LoraConfig(r=rank, lora_alpha=adapter.scale * rank, lora_dropout=LORA_DROPOUT,
                             target_modules=list(adapter.targets))
    changed: Decoder = peft.inject_adapter_in_model(wanted, deepcopy(event))
    return changed


def take_lora(adapter: LoraAdapter, changed: Decoder) -> None:
    """Copy what peft trained into the adapter."""
    named = dict(changed.named_parameters())
    for name, parameter in adapter.layers.named_parameters():
        parameter.data.copy_(named[f"layers.{name.removesuffix('.weight')}.default.weight"].data)


@torch.inference_mode()
def measure(adapter: Adapter, event: Decoder, verifier: Decoder, traces: Sequence[Trace]) -> dict[str, float]:
    """Over every word of the traces: mean cosine with the verifier's state, and the share whose likeliest word after
    the verifier's head is the one that the verifier said. The words before are the verifier's."""
    adapter.eval()
    cosines, right = list[Tensor](), list[Tensor]()
    for trace in traces:
        own = event_states(event, [trace]) if isinstance(adapter, LoraAdapter) else None
        batch = answers([trace], verifier, own)
        aligned = adapter(*(batch.inputs[name] for name in adapter.reads))
        cosines.append(F.cosine_similarity(aligned[0], batch.states[0], dim=-1))
        right.append(verifier.head(aligned[0]).argmax(-1) == batch.said[0])
    return {"held_out_cosine_mean": round(float(torch.cat(cosines).mean()), 4),
            "held_out_top1": round(float(torch.cat(right).float().mean()), 4)}
