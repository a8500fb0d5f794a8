"""Training of the L1 adapter: event VLM states to RGB VLM states for the same prefix, written by the RGB VLM.

    for progress in train_adapter(300, Path("runs/mini")): ...

The original study paired the states of two independently written texts by index; here both models read the
verifier's text, so a pair always belongs to the same next word. Scenes are split, never tokens.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.adapters import BottleneckAdapter, save_adapter
from pipeline.inputs import WINDOW_US
from pipeline.session import DecoderSession
from pipeline.training.loop import Progress, Schedule, train
from pipeline.training.questions import KINDS, ask
from pipeline.types import Draft, Verdict
from pipeline.vlms.mini import MiniVLM, load
from streams.scenes.generate import random_scene
from streams.scenes.render import render_window
from streams.scenes.world import observe
from streams.types import Resolution

FIRST_SEED = 700_000_000
"""Scenes of this stage: far from all others in training, and above TRAIN_SEEDS."""

RESOLUTION = Resolution(173, 130)
HELD_OUT = 0.1
BOTTLENECK, STEPS, BATCH = 64, 1500, 256


def collect_states(scenes: int, folder: Path, device: torch.device | None = None) -> Iterator[Progress]:
    """States of both VLMs along the RGB VLM's greedy answers; leaves folder/adapter-states.pt."""
    path = folder / "adapter-states.pt"
    done: list[dict[str, Tensor]] = torch.load(path, weights_only=True) if path.exists() else []
    rgb, event = load("rgb", folder, device), load("event", folder, device)
    for number in range(len(done), scenes):
        done.append(_states_of_scene(FIRST_SEED + number, rgb, event))
        if number + 1 == scenes or (number + 1) % 50 == 0:
            torch.save(done, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)
        yield Progress("adapter-states", number + 1, scenes, {}, 0.0)


def _states_of_scene(seed: int, rgb: MiniVLM, event: MiniVLM) -> dict[str, Tensor]:
    rng = random.Random(seed)
    scene = random_scene(seed, aspect=RESOLUTION.aspect)
    window = render_window(scene, RESOLUTION, seed=seed, noise_sigma=rng.uniform(0, 6))
    truth = observe(scene, 0.0, WINDOW_US / 1e6, RESOLUTION.aspect)
    questions = [qa.question for kind in ("detailed", "brief", *rng.sample(KINDS, 3)) if (qa := ask(kind, truth, rng))]
    sources, targets = [], []
    for question in questions:
        written, states = write(rgb.open(window, question), rgb.tokenizer.eos)
        targets.append(states)
        sources.append(read_along(event.open(window, question), written))
    return {"event": torch.cat(sources).cpu(), "rgb": torch.cat(targets).cpu()}


@torch.inference_mode()
def write(session: DecoderSession, eos: int, longest: int = 120) -> tuple[list[int], Tensor]:
    """A greedy answer [T] and the final state that predicted each of its tokens [T, D]."""
    session.prefill()
    states, nothing = [], Draft.none()
    while len(session.committed) < longest and session.committed[-1:] != [eos]:
        scores = session.score(nothing)
        states.append(scores.hidden[0, -1].clone())
        session.commit(nothing, Verdict([], int(scores.logits[0].argmax()), "plain"))
    return session.committed, torch.stack(states)


@torch.inference_mode()
def read_along(session: DecoderSession, tokens: list[int]) -> Tensor:
    """Final states [T, D] of another model at the places that predict each of these tokens."""
    session.prefill()
    scores = session.score(Draft.chain(tokens[:-1], "given"))
    return scores.hidden[:, -1].clone()


def train_adapter(scenes: int, folder: Path, device: torch.device | None = None) -> Iterator[Progress]:
    """Fit L1 on the collected states with MSE + (1 - cos) / 2; leaves folder/adapter-L1."""
    yield from collect_states(scenes, folder, device)
    parts = torch.load(folder / "adapter-states.pt", weights_only=True)
    held_out = max(1, round(HELD_OUT * len(parts)))
    event, rgb = (torch.cat([p[name] for p in parts[held_out:]]) for name in ("event", "rgb"))
    torch.manual_seed(0)
    adapter = BottleneckAdapter(event.shape[1], rgb.shape[1], BOTTLENECK)

    def loss_of_step(step: int) -> dict[str, Tensor]:
        rows = torch.randint(len(event), (BATCH,), generator=torch.Generator().manual_seed(step))
        aligned = adapter(event[rows])
        cosine = F.cosine_similarity(aligned, rgb[rows], dim=-1).mean()
        return {"mse": F.mse_loss(aligned, rgb[rows]), "angle": 0.5 * (1 - cosine)}

    steps = STEPS if len(event) > 2000 else 30
    yield from train("adapter-L1", adapter, loss_of_step, Schedule(steps, 1e-3, weight_decay=0.01, clip=1.0), folder)
    adapter.eval()
    with torch.inference_mode():
        test = {name: torch.cat([p[name] for p in parts[:held_out]]) for name in ("event", "rgb")}
        cosine = F.cosine_similarity(adapter(test["event"]), test["rgb"], dim=-1)
    save_adapter(adapter, folder / "adapter-L1", held_out_cosine_mean=round(float(cosine.mean()), 4))
