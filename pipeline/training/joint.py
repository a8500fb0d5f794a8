"""`parafovea train medusa:joint`: Medusa-2, heads and verifier trained together (Cai et al. 2024, §2.2.2 and §2.3.2).

    for progress in train_joint(rgb, pair_folder, traces, held_out, Run(500, Path("runs/medusa-joint"))): ...

First the heads alone, as Medusa-1; then both, the verifier through low-rank changes at a quarter of the heads' rate.
What holds the verifier where it was is self-distillation: the divergence from what it said before, beside which the
heads' loss weighs little and fades in. The verifier is another one all the same: it is kept as a pair of its own, whose
drafters are measured against its own plain decoding, and `held_out_same_word` says how far it went.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.checkpoints import fingerprint
from pipeline.decoder import Decoder
from pipeline.drafters import medusa
from pipeline.mini import MiniModel, load_mini, save_mini
from pipeline.training.adapters import low_rank_library
from pipeline.training.fitting import BATCH, RATE, Run, Words, padded
from pipeline.training.heads import (
    HIDDEN,
    ahead_loss,
    calibrated_tree,
    calibration_part,
    rank_accuracies,
    train_medusa,
)
from pipeline.training.loop import Progress, Schedule, train
from pipeline.training.traces import Trace
from pipeline.vlms.mini import MiniVLM
from streams.types import InputError

NAME = "medusa:joint"

RANK, ALPHA, DROPOUT = 32, 16, 0.05
"""Of the low-rank changes, as published; they are made to all matrices of all layers."""

WARM_UP = 4
"""Steps of the heads alone, to one of both: such a step costs hardly anything, the verifier's states are at hand."""

SLOWER = 0.25
"""The verifier's rate, to the heads'."""

HEADS_WEIGHT, FADE_IN = 0.01, 0.2
"""Weight of the heads' loss beside self-distillation, as published for it; the share of the steps after which it is
reached, along a sine."""

CHANGED = ("qkv", "out", "gate_up", "down")
TREE_SIZE = 32


def states_along(decoder: Decoder, traces: Sequence[Trace]) -> Tensor:
    """The states [B, T, D] that lead a verifier's decoder to the tokens of traces, from the rows in front of them on.
    Raises InputError for traces without these."""
    rows, device = list[Tensor](), decoder.embed.weight.device
    for trace in traces:
        if trace.entering is None:
            raise InputError("these answers hold no rows that enter the verifier: an earlier version wrote them, or "
                             "--no-rows; collect them again in another folder")
        words = decoder.embed(torch.tensor(trace.tokens[:-1], device=device))
        rows.append(torch.cat([trace.entering.to(device, words.dtype), words]))
    x = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    states, _ = decoder(x, torch.arange(x.shape[1], device=device)[None])
    # the last row in front of the text leads to the first token
    led = [state[len(row) - len(trace.tokens):len(row)] for state, row, trace in zip(states, rows, traces, strict=True)]
    return nn.utils.rnn.pad_sequence(led, batch_first=True)


def joint_losses(changed: Decoder, heads: medusa.MedusaHeads, verifier: Words, traces: Sequence[Trace],
                 weight: float) -> dict[str, Tensor]:
    """Divergence of the changed verifier's next words from the original's, over the answers, and weight times the
    heads' loss on its states."""
    tokens, before, drafted = padded(traces, verifier.embed.weight.device)
    states, answers = states_along(changed, traces), drafted.roll(1, 1)
    said = changed.head(states[answers]).log_softmax(-1)
    wanted = verifier.head(before[:, :, -1][answers]).log_softmax(-1)
    return {"kept": F.kl_div(said, wanted, reduction="batchmean", log_target=True),
            "words": weight * ahead_loss(heads, tokens, states, drafted)}


def train_joint(rgb: MiniVLM, pair: Path, traces: Sequence[Trace], held_out: Sequence[Trace], run: Run,
                ) -> Iterator[Progress]:
    """Train heads for a verifier and the verifier for them; leaves a pair of models in the folder, with its heads.

    pair: folder of the pair that the verifier comes from. The heads after their warm-up stay beside the folder, as a
    Medusa-1 for the verifier as it was. Raises InputError without held-out answers and without peft.
    """
    if not held_out:
        raise InputError("how far the verifier goes is measured on held-out answers, and there are none; use at least "
                         "--scenes 2, or longer recordings")
    original, workers = rgb.model.decoder, run.workers
    verifier, (kept, rest) = Words(original, run.device), calibration_part(traces)
    warm = Run(WARM_UP * run.steps, run.folder.with_name(f"{run.folder.name}-warm"), False, workers)
    yield from train_medusa(verifier, traces, warm)
    heads = medusa.load_heads(warm.folder, original)[0].requires_grad_(True).to(run.device)
    changed = with_changes(original).to(run.device)
    pool = list(rest)

    def loss_of_step(step: int) -> dict[str, Tensor]:
        batch = random.Random(f"joint {step}").sample(pool, min(BATCH, len(pool)))
        weight = HEADS_WEIGHT * math.sin(math.pi / 2 * min(1.0, (step + 1) / (FADE_IN * run.steps)))
        return joint_losses(changed, heads, verifier, workers.share(batch), weight)

    schedule = Schedule(run.steps, RATE, min(50, max(1, run.steps // 5)), 0.3, 0.0, 1.0, 0.97)
    yield from train(run.folder.name, nn.ModuleDict({"heads": heads, "verifier": changed}), loss_of_step, schedule,
                     run.folder.parent, tuple(f"heads.{name}" for name in HIDDEN), workers=workers,
                     scales={"verifier.": SLOWER})
    if workers.first:
        _save(rgb, merged(original, changed), heads.eval(), pair, run.folder, kept, held_out, verifier)
    workers.wait()


def with_changes(decoder: Decoder) -> Decoder:
    """A copy of a decoder whose matrices peft lets change. Raises InputError when peft is missing."""
    peft = low_rank_library()
    wanted = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules=list(CHANGED))
    changed: Decoder = peft.inject_adapter_in_model(wanted, deepcopy(decoder))
    return changed


@torch.no_grad()
def merged(original: Decoder, changed: Decoder) -> Decoder:
    """A plain decoder with the changes in its weights."""
    plain = deepcopy(original)
    for before, after in zip(plain.layers, changed.layers, strict=True):
        for name in CHANGED:
            weight = getattr(before, name).weight
            weight += getattr(after, name).get_delta_weight("default").to(weight)
    return plain


@torch.inference_mode()
def drift(changed: Decoder, verifier: Words, traces: Sequence[Trace]) -> dict[str, float]:
    """How far a changed verifier is from the original, after the original's own words: the share of the words that both
    say, and the mean divergence of its next words (Kullback-Leibler, nats)."""
    same, far, count = 0, 0.0, 0
    for trace in traces:
        said = verifier.head(states_along(changed, [trace])[0, trace.prompt:]).log_softmax(-1)
        wanted = verifier.head(trace.states[trace.prompt:, -1].to(said)).log_softmax(-1)
        same += int((said.argmax(-1).cpu() == torch.tensor(trace.tokens[trace.prompt:])).sum())
        far += float(F.kl_div(said, wanted, reduction="sum", log_target=True))
        count += len(said)
    return {"held_out_same_word": round(same / count, 4), "held_out_divergence": round(far / count, 5)}


def _save(rgb: MiniVLM, decoder: Decoder, heads: medusa.MedusaHeads, pair: Path, folder: Path, kept: Sequence[Trace],
          held_out: Sequence[Trace], verifier: Words) -> None:
    """The pair with the changed verifier, and its heads, measured as they are read back: in 16 bit."""
    model = MiniModel(decoder.config, rgb.model.eye.config)
    model.eye, model.projector, model.decoder = rgb.model.eye, rgb.model.projector, decoder
    save_mini(model, pair / "mini-rgb" / "tokenizer.json", folder / "mini-rgb", rgb.tokenizer.eos, NAME)
    shutil.copytree(pair / "mini-event", folder / "mini-event", dirs_exist_ok=True)
    written = load_mini(folder / "mini-rgb", verifier.embed.weight.device)[0].decoder
    with torch.inference_mode():
        along = [replace(one, states=states_along(written, [one])[0][:, None]) for one in kept]
    medusa.save_heads(heads, calibrated_tree(rank_accuracies(heads, along), TREE_SIZE), folder / "medusa",
                      verifier=fingerprint(written), **drift(written, verifier, held_out))
