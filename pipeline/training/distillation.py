"""The last stage of the event side: it learns to guess what the RGB side says, word by word.

    for progress in distil(sizes.distilled, Path("runs/mini"), tokenizer, icons): ...

Half of the steps compare the two sides' next words over the same text about the same scenes, each side seeing the
scene through its own eye; the other half go on with true answers, so that nothing is forgotten. Idea of matching
distributions instead of words: Hinton et al. 2015.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.text import Tokenizer
from pipeline.training.eye import CPU, vision_config
from pipeline.training.language import (
    IGNORE,
    LanguageSide,
    choose_questions,
    first_position,
    moved,
    pack_questions,
)
from pipeline.training.loop import Progress, train
from pipeline.training.mini import (
    HIDDEN,
    LANGUAGE_BATCH,
    RGB_LAYERS,
    SHALLOW_LAYERS,
    answering,
    language_schedule,
    new_side,
)
from pipeline.training.questions import QA
from pipeline.training.slots import SlotSource
from pipeline.vision import Memory, Slots
from streams.scenes.render import Drawings


def distil(steps: int, folder: Path, tokenizer: Tokenizer, icons: Drawings, device: torch.device = CPU,
           ) -> Iterator[Progress]:
    """Train the event side on the RGB side's next words; leaves folder/event-distilled.pt."""
    teacher = new_side("rgb", tokenizer, RGB_LAYERS, folder, "deep").to(device).eval().requires_grad_(False)
    student = new_side("event", tokenizer, SHALLOW_LAYERS, folder, "real").to(device)
    sources = {side: SlotSource(side, vision_config(side), folder, icons) for side in ("rgb", "event")}
    true = answering(student, "real", steps, sources["event"], tokenizer, device)

    def loss_of_step(step: int) -> dict[str, Tensor]:
        if step % 2:
            return true(step)
        rng = random.Random(f"distilled {step}")
        chosen = rng.sample(range(len(sources["rgb"].truths)), LANGUAGE_BATCH)
        slots = {side: moved(source.rows(chosen), device) for side, source in sources.items()}
        rows = [choose_questions(sources["rgb"].truths[i], None, rng, captions=False) for i in chosen]
        with torch.no_grad():
            wanted = _next_words(teacher, slots["rgb"], rows, tokenizer).softmax(-1)
        guessed = _next_words(student, slots["event"], rows, tokenizer).log_softmax(-1)
        return {"distilled": F.kl_div(guessed, wanted, reduction="batchmean")}

    yield from train("event-distilled", student, loss_of_step, language_schedule(steps, 6e-4), folder, HIDDEN)


def _next_words(side: LanguageSide, slots: Slots, rows: list[list[QA]], tokenizer: Tokenizer) -> Tensor:
    """Logits [N, V] of one side at every place of the answers."""
    device = slots.found.device
    pack = moved(pack_questions(tokenizer, rows, [[]] * len(rows), first_position(side)), device)
    states, *_ = side(slots, Memory.none(len(rows), device), pack)
    logits: Tensor = side.decoder.head(states[pack.labels != IGNORE])
    return logits
