"""What draft heads learn from: the verifier's own answers with its states, and the event VLM's along the same words.

    for progress in collect_traces(pair, 600, Path("runs/traces")): ...
    train_part, held_out = load_traces(Path("runs/traces"))

Answers are the verifier's greedy ones, never a truth it would not say; both models read the same prefix. Scenes are
split, never tokens. Written in parts, so that a killed run goes on where it was.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pipeline.acceptance import Greedy, walk
from pipeline.session import DecoderSession
from pipeline.training.loop import Progress
from pipeline.training.questions import QA, SHORT, ask
from pipeline.types import Draft
from pipeline.vlms.mini import MiniVLM
from streams.scenes.generate import random_scene
from streams.scenes.render import render_window
from streams.scenes.world import observe
from streams.types import Resolution, Window

FIRST_SEED = 700_000_000
"""Scenes of this stage: far from all others in training, and above TRAIN_SEEDS."""

RESOLUTION = Resolution(173, 130)
SHORT_QUESTIONS = 4
PART = 50
HELD_OUT_EVERY = 10
LONGEST = 160


@dataclass(frozen=True, eq=False)
class Trace:
    """One answer: tokens [T] of question and answer, prompt: how many of them ask, states [T, taps, D] of the
    verifier that led to each token, event [T - prompt, D_event]: the event VLM's that led to each of the answer.

    visual float16 [V, D]: the verifier's last states of the rows before the text; event_visual float16 [V, D_event]:
    what enters the event decoder before the question. One tensor each for all of a scene's traces, None in files that
    have none.
    """

    tokens: list[int]
    prompt: int
    states: Tensor
    event: Tensor
    visual: Tensor | None = None
    event_visual: Tensor | None = None


@torch.inference_mode()
def follow(session: DecoderSession, guess: Sequence[int], eos: int) -> tuple[list[int], Tensor]:
    """A greedy answer [N] and the states [N, taps, D] that led to its tokens; a good guess saves passes."""
    session.prefill()
    tokens, states, draft = list[int](), list[Tensor](), Draft.chain(list(guess), "guess")
    while len(tokens) < LONGEST and eos not in tokens:
        scores = session.score(draft)
        verdict = walk(draft, scores, Greedy(), 0)
        session.commit(draft, verdict)
        tokens += [*(draft.tokens[node] for node in verdict.path), verdict.token]
        states.append(scores.hidden[[0, *(node + 1 for node in verdict.path)]].clone())
        draft = Draft.none()
    count = tokens.index(eos) + 1 if eos in tokens else len(tokens)
    return tokens[:count], torch.cat(states)[:count]


def trace(rgb: MiniVLM, event: MiniVLM, window: Window, qa: QA, event_visual: Tensor | None = None) -> Trace:
    """The verifier's answer to a question about a window, with both models' states."""
    session, words = rgb.open(window, qa.question), rgb.tokenizer
    answer, states = follow(session, [*words.encode(" " + qa.answer), words.eos], words.eos)
    prefix = session.prefix
    other = event.open(window, qa.question)
    other.prefill()
    with torch.inference_mode():
        along = other.score(Draft.chain(answer[:-1], "given")).hidden[:, -1].clone()
    before = prefix.hidden[prefix.visual - 1:]
    return Trace([*prefix.prompt, *answer], len(prefix.prompt), torch.cat([before, states]), along,
                 prefix.hidden[:prefix.visual, -1].half().cpu(), event_visual)


def scene_traces(seed: int, rgb: MiniVLM, event: MiniVLM) -> list[Trace]:
    """Answers to both captions and some short questions about one scene."""
    rng = random.Random(seed)
    aspect = RESOLUTION.width / RESOLUTION.height
    scene = random_scene(seed, aspect=aspect)
    window = render_window(scene, RESOLUTION, seed=seed, noise_sigma=rng.uniform(0, 6))
    truth = observe(scene, 0.0, 1.0, aspect)
    kinds = ["detailed", "brief", *rng.sample(SHORT, SHORT_QUESTIONS)]
    seen = event.see(window)[0][0].half().cpu()
    traces = [trace(rgb, event, window, qa, seen) for kind in kinds if (qa := ask(kind, truth, rng))]
    # the rows before the text cannot see the question: they are the same for all, and one tensor is written once
    return [replace(one, visual=traces[0].visual) for one in traces]


def collect_traces(rgb: MiniVLM, event: MiniVLM, scenes: int, folder: Path) -> Iterator[Progress]:
    """Traces of many scenes; leaves folder/traces-NNNN.pt."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, scenes, PART):
        path = folder / f"traces-{first // PART:04}.pt"
        last = min(first + PART, scenes)
        if not path.exists():
            part = []
            for number in range(first, last):
                for one in scene_traces(FIRST_SEED + number, rgb, event):
                    part.append({"scene": number, "tokens": one.tokens, "prompt": one.prompt,
                                 "states": one.states.half().cpu(), "event": one.event.half().cpu(),
                                 "visual": one.visual, "event_visual": one.event_visual})
                yield Progress("traces", number + 1, scenes, {}, 0.0)
            torch.save(part, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)
        yield Progress("traces", last, scenes, {}, 0.0)


def load_traces(folder: Path) -> tuple[list[Trace], list[Trace]]:
    """Traces for training and held-out ones; every tenth scene is held out."""
    parts: tuple[list[Trace], list[Trace]] = ([], [])
    for path in sorted(folder.glob("traces-*.pt")):
        for plain in torch.load(path, weights_only=True):
            held_out = plain["scene"] % HELD_OUT_EVERY == 0
            parts[held_out].append(Trace(plain["tokens"], plain["prompt"], plain["states"].float(),
                                         plain["event"].float(), plain.get("visual"), plain.get("event_visual")))
    return parts
