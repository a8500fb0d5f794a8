"""What drafters learn from: the verifier's own answers with its states, and the event VLM's along the same words.

    for progress in collect_traces(rgb, event, 600, Path("runs/traces")): ...
    train_part, held_out = load_traces(Path("runs/traces"))

Answers are the verifier's greedy ones, never a truth it would not say; both models read the same prefix. Scenes are
split, never tokens. Written in parts, so that a killed run goes on where it was.
"""

from __future__ import annotations

import os
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from pipeline.acceptance import Greedy, walk
from pipeline.session import DecoderSession
from pipeline.training.loop import Progress
from pipeline.training.questions import SHORT, ask
from pipeline.translation import relation
from pipeline.types import VLM, Draft, Session
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
    verifier that led to each token, event [T - prompt, D_event]: the event VLM's that led to each of the answer, None
    without an event VLM that has the same words; it reads the question as event_prompt (None = likewise).

    Rows in front of the text, one tensor for all answers about a window, None where they were not kept: visual [V, D]:
    the verifier's last states there; entering [V, D], event_visual [V', D_event]: what its decoder and the event VLM's
    read. Tensors are float16 where they come from a file.
    """

    tokens: list[int]
    prompt: int
    states: Tensor
    event: Tensor | None
    visual: Tensor | None = None
    event_visual: Tensor | None = None
    entering: Tensor | None = None
    event_prompt: list[int] | None = None


@torch.inference_mode()
def follow(session: Session, guess: Sequence[int], ends: Collection[int]) -> tuple[list[int], Tensor]:
    """A greedy answer [N] and the states [N, taps, D] that led to its tokens; a good guess saves passes."""
    session.prefill()
    tokens, states, draft = list[int](), list[Tensor](), Draft.chain(list(guess), "guess")
    while len(tokens) < LONGEST and not any(token in ends for token in tokens):
        scores = session.score(draft)
        verdict = walk(draft, scores, Greedy(), 0)
        session.commit(draft, verdict)
        tokens += [*(draft.tokens[node] for node in verdict.path), verdict.token]
        states.append(scores.hidden[[0, *(node + 1 for node in verdict.path)]].clone())
        draft = Draft.none()
    # an accepted guess may reach beyond either end
    count = next((place + 1 for place, token in enumerate(tokens[:LONGEST]) if token in ends),
                 min(LONGEST, len(tokens)))
    return tokens[:count], torch.cat(states)[:count]


def trace(rgb: VLM, event: VLM | None, window: Window, question: str, guess: Sequence[int] = ()) -> Trace:
    """The verifier's answer to a question about a window, with both models' states after the same words; without the
    rows in front of the text."""
    session = rgb.open(window, question)
    answer, states = follow(session, guess, rgb.tokenizer.ends)
    prefix, along, prompt = session.prefix, None, None
    if event is not None:
        other = event.open(window, question)
        other.prefill()
        prompt = other.prefix.prompt
        with torch.inference_mode():
            along = other.score(Draft.chain(answer[:-1], "given")).hidden[:, -1].half().cpu()
    before = prefix.hidden[prefix.visual - 1:]
    return Trace([*prefix.prompt, *answer], len(prefix.prompt), torch.cat([before, states]).half().cpu(), along,
                 prefix.hidden[:prefix.visual, -1].half().cpu(), event_prompt=prompt)


def window_traces(rgb: VLM, event: VLM | None, window: Window, asked: Sequence[tuple[str, Sequence[int]]],
                  rows: bool = True) -> list[Trace]:
    """Answers to questions about one window, each with a guess of its answer; rows: whether those in front of the text
    are kept. They cannot see the question, so they are the same for all, and one tensor is written once.

    An event VLM that has other words than the verifier cannot read its answers and is left out.
    """
    if event is not None and relation(event.tokenizer, rgb.tokenizer) == "text":
        event = None
    traces = [trace(rgb, event, window, question, guess) for question, guess in asked]
    if not rows or not traces:
        return [replace(one, visual=None) for one in traces]
    visual, entering = traces[0].visual, _entering(rgb, window, asked[0][0])
    seen = _entering(event, window, asked[0][0])
    return [replace(one, visual=visual, entering=entering, event_visual=seen) for one in traces]


def _entering(vlm: VLM | None, window: Window, question: str) -> Tensor | None:
    """What enters a VLM's decoder before the question; None where it is somebody else's."""
    session = None if vlm is None else vlm.open(window, question)
    return session.read()[0].half().cpu() if isinstance(session, DecoderSession) else None


def scene_traces(seed: int, rgb: VLM, event: VLM) -> list[Trace]:
    """Answers to both captions and some short questions about one scene."""
    rng = random.Random(seed)
    aspect = RESOLUTION.width / RESOLUTION.height
    scene = random_scene(seed, aspect=aspect)
    window = render_window(scene, RESOLUTION, seed=seed, noise_sigma=rng.uniform(0, 6))
    truth, words = observe(scene, 0.0, 1.0, aspect), rgb.tokenizer
    kinds = ["detailed", "brief", *rng.sample(SHORT, SHORT_QUESTIONS)]
    return window_traces(rgb, event, window, [(qa.question, [*words.encode(" " + qa.answer), words.eos])
                                              for kind in kinds if (qa := ask(kind, truth, rng))])


def save_part(part: Sequence[tuple[dict[str, int], Trace]], path: Path) -> None:
    """Write traces, each with facts about it, whole or not at all."""
    torch.save([facts | {field.name: getattr(one, field.name) for field in fields(one)} for facts, one in part],
               path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def load_part(path: Path) -> list[tuple[dict[str, int], Trace]]:
    """The traces of a part, each with its facts. Their tensors stay in the file until they are used."""
    names = {field.name for field in fields(Trace)}
    return [({name: value for name, value in plain.items() if name not in names},
             Trace(**{name: value for name, value in plain.items() if name in names}))
            for plain in torch.load(path, weights_only=True, mmap=True)]


def collect_traces(rgb: VLM, event: VLM, scenes: int, folder: Path) -> Iterator[Progress]:
    """Traces of many scenes; leaves folder/traces-NNNN.pt."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, scenes, PART):
        path = folder / f"traces-{first // PART:04}.pt"
        last = min(first + PART, scenes)
        # a shorter run may have left a part of a part
        if not path.exists() or max(facts["scene"] for facts, _ in load_part(path)) < last - 1:
            part = []
            for number in range(first, last):
                part += [({"scene": number}, one) for one in scene_traces(FIRST_SEED + number, rgb, event)]
                yield Progress("traces", number + 1, scenes, {}, 0.0)
            save_part(part, path)
        yield Progress("traces", last, scenes, {}, 0.0)


def load_traces(folder: Path) -> tuple[list[Trace], list[Trace]]:
    """Traces for training and held-out ones; every tenth scene is held out."""
    parts: tuple[list[Trace], list[Trace]] = ([], [])
    for path in sorted(folder.glob("traces-*.pt")):
        for facts, one in load_part(path):
            parts[facts["scene"] % HELD_OUT_EVERY == 0].append(one)
    return parts
