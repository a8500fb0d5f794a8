"""`parafovea train adapter:LEVEL`: event VLM states to the verifier's for the same words, which the verifier wrote.

    for progress in train_adapter("L4", event, words, *load_traces(folder), Run(2000, Path("runs/L4"))): ...

The original study paired the states of two independently written texts by index; here both models read the verifier's
text, so a pair always belongs to the same next word. Loss of the study: MSE + (1 - cos) / 2, for L6 also a tenth of the
cross entropy of the words. Levels that go on from their own guesses are trained through them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.adapters import LEVELS, Adapter, CausalAdapter, LoraAdapter, new_adapter, save_adapter
from pipeline.adapters.adapter import Reads
from pipeline.decoder import Decoder, DecoderConfig
from pipeline.training.fitting import Run, Words, fit
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


def answers(traces: Sequence[Trace], verifier: Words, reads: Reads, event: Tensor | None = None) -> Answers:
    """The answers of some traces, with what `reads` names; event [B, T, D_event] stands for the event VLM's states that
    were collected."""
    places = [slice(trace.prompt, len(trace.tokens)) for trace in traces]
    before = [slice(trace.prompt - 1, len(trace.tokens) - 1) for trace in traces]
    words = [torch.tensor(trace.tokens) for trace in traces]
    final = [trace.states[:, -1] for trace in traces]
    device, inputs = verifier.embed.weight.device, dict[str, Tensor]()
    if "event" in reads:
        seen = [trace.event for trace in traces if trace.event is not None]
        inputs["event"] = _pad(seen, device) if event is None else event
    if "words" in reads:
        read = [word[at] for word, at in zip(words, before, strict=True)]
        inputs["words"] = verifier.embed(nn.utils.rnn.pad_sequence(read, batch_first=True).to(device))
    if "before" in reads:
        inputs["before"] = _pad([state[at] for state, at in zip(final, before, strict=True)], device)
    said = nn.utils.rnn.pad_sequence([word[at] for word, at in zip(words, places, strict=True)], batch_first=True)
    real = [torch.ones(len(trace.tokens) - trace.prompt, dtype=torch.bool) for trace in traces]
    return Answers(inputs, _pad([state[at] for state, at in zip(final, places, strict=True)], device), said.to(device),
                   nn.utils.rnn.pad_sequence(real, batch_first=True).to(device))


def _pad(rows: list[Tensor], device: torch.device) -> Tensor:
    """States [B, T, D] in float32."""
    return nn.utils.rnn.pad_sequence([row.float() for row in rows], batch_first=True).to(device)


def event_states(decoder: Decoder, traces: Sequence[Trace]) -> Tensor:
    """The states [B, T, D_event] of an event decoder that reads the answers of traces, from their visual rows on.
    Raises InputError for traces without them."""
    rows, first, weight = list[Tensor](), list[int](), decoder.embed.weight
    for trace in traces:
        if trace.event_visual is None:
            raise InputError("these answers hold no rows that the event VLM saw: an earlier version wrote them, or "
                             "--no-rows; collect them again in another folder")
        question = trace.tokens[:trace.prompt] if trace.event_prompt is None else trace.event_prompt
        words = torch.tensor([*question, *trace.tokens[trace.prompt:-1]], device=weight.device)
        rows.append(torch.cat([trace.event_visual.to(weight), decoder.embed(words)]))
        first.append(len(trace.event_visual) + len(question) - 1)
    x = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    states, _ = decoder(x, torch.arange(x.shape[1], device=x.device)[None])
    return _pad([state[at:len(row)] for state, at, row in zip(states, first, rows, strict=True)], weight.device)


def guesses(adapter: Adapter, inputs: dict[str, Tensor]) -> Iterator[Tensor]:
    """Aligned states [B, T, D]; from a level that reads the verifier's states also those after 1, 2, ... guesses of its
    own stand for the last of them, as in a draft (context alignment: HASS, Zhang et al. 2025)."""
    if not isinstance(adapter, CausalAdapter) or "before" not in adapter.reads:
        yield adapter(*(inputs[name] for name in adapter.reads))
        return
    inputs, at = dict(inputs), torch.arange(inputs["before"].shape[1], device=inputs["before"].device)
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


def losses(adapter: Adapter, batch: Answers, verifier: Words) -> dict[str, Tensor]:
    """The loss of a level, averaged over its guesses in a row."""
    total: dict[str, Tensor] = {}
    made = list(guesses(adapter, batch.inputs))
    for step, aligned in enumerate(made):
        # so many words of the answer must have come before for a guess after so many own ones
        rows = batch.real & (torch.arange(batch.real.shape[1], device=batch.real.device) >= step)
        for name, part in align_loss(aligned[rows], batch.states[rows]).items():
            total[name] = part / len(made) + total.get(name, 0)
    if isinstance(adapter, LoraAdapter):
        logits = verifier.head(made[0][batch.real])
        total["words"] = WORDS * F.cross_entropy(logits, batch.said[batch.real])
    return total


def train_adapter(level: str, event: Decoder | None, verifier: Words, traces: Sequence[Trace],
                  held_out: Sequence[Trace], run: Run) -> Iterator[Progress]:
    """Train a level on traces and measure it on all held-out ones; leaves a checkpoint in the folder, beside it what an
    interrupted training goes on from, the learning curve and the stages.

    event: the decoder that L6 changes; the other levels need only its states in the traces.
    Raises InputError for a level that does not exist, without scenes for both and, for L6, without peft.
    """
    if level not in LEVELS:
        raise InputError(f"there is no adapter {level!r}; use one of {', '.join(LEVELS)}")
    if not traces or not held_out:
        raise InputError(f"an adapter needs answers to learn from and held-out ones, got {len(traces)} and "
                         f"{len(held_out)}; use at least --scenes 2, or longer recordings")
    if "event" in LEVELS[level].reads:
        traces, held_out = _with_event(traces), _with_event(held_out)
    torch.manual_seed(0)
    adapter = new_adapter(level, _event_config(level, event, verifier, traces[0]), verifier.config)
    if isinstance(adapter, LoraAdapter):
        assert event is not None
        return _fit_lora(adapter, event, verifier, traces, held_out, run)

    def save(folder: Path, **facts: float) -> None:
        save_adapter(adapter, folder, **measure(adapter, None, verifier, held_out), **facts)

    return fit(adapter, lambda part: losses(adapter, answers(part, verifier, adapter.reads), verifier), traces, run,
               HIDDEN, save, "adapter")


def _with_event(traces: Sequence[Trace]) -> list[Trace]:
    """The traces with an event VLM's states. Raises InputError where there are none."""
    found = [trace for trace in traces if trace.event is not None]
    if not found:
        raise InputError("these answers hold no states of an event VLM, so only adapter:B1 can learn from them; "
                         "collect them again with one of the verifier's vocabulary (--drafter-model)")
    return found


def _event_config(level: str, event: Decoder | None, verifier: Words, first: Trace) -> DecoderConfig:
    """Sizes of the event decoder, or at least the width of its states."""
    if event is not None:
        return event.config
    if issubclass(LEVELS[level], LoraAdapter):
        raise InputError("adapter:L6 changes the weights of the event VLM, and this one shows none; train adapter:L4")
    return verifier.config if first.event is None else replace(verifier.config, hidden_size=first.event.shape[-1])


def _fit_lora(adapter: LoraAdapter, event: Decoder, verifier: Words, traces: Sequence[Trace],
              held_out: Sequence[Trace], run: Run) -> Iterator[Progress]:
    """Train L6 through peft on a copy of the event decoder and take its changes over."""
    changed = with_lora(event, adapter).to(run.device)
    model = nn.ModuleDict({"event": changed, "project": adapter.project})

    def loss(batch: list[Trace]) -> dict[str, Tensor]:
        return losses(adapter, answers(batch, verifier, adapter.reads, event_states(changed, batch)), verifier)

    def save(folder: Path, **facts: float) -> None:
        take_lora(adapter, changed)
        save_adapter(adapter, folder, **measure(adapter, changed.eval(), verifier, held_out), **facts)

    return fit(model, loss, traces, run, HIDDEN, save, "adapter")


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
def measure(adapter: Adapter, event: Decoder | None, verifier: Words, traces: Sequence[Trace]) -> dict[str, float]:
    """Over every word of the traces: mean cosine with the verifier's state, and the share whose likeliest word after
    the verifier's head is the one that the verifier said. The words before are the verifier's. event: the changed
    decoder, for L6."""
    adapter.eval()
    cosines, right = list[Tensor](), list[Tensor]()
    for trace in traces:
        own = None if event is None else event_states(event, [trace])
        batch = answers([trace], verifier, adapter.reads, own)
        aligned = adapter(*(batch.inputs[name] for name in adapter.reads))
        cosines.append(F.cosine_similarity(aligned[0], batch.states[0], dim=-1))
        right.append(verifier.head(aligned[0]).argmax(-1) == batch.said[0])
    return {"held_out_cosine_mean": round(float(torch.cat(cosines).mean()), 4),
            "held_out_top1": round(float(torch.cat(right).float().mean()), 4)}
