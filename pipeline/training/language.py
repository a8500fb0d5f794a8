"""Training of the decoders: packed questions about scenes, answers only, and a head that learns to point.

    pack = pack_questions(tokenizer, [(truth, [qa, qa])], slots)
    language_losses(projector, decoder, slots, pack)

Several questions about one scene share its visual tokens in one row; a mask keeps them apart.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.decoder import Decoder
from pipeline.mini import VISUAL_TOKENS, Projector, pointing, pointing_layer
from pipeline.text import SPECIALS, Tokenizer
from pipeline.training.questions import ABSENT, KINDS, QA, SHORT, ask
from pipeline.training.vision import VOCABULARIES
from pipeline.vision import GROUPS, SLOTS, Slots, describe
from streams.scenes.world import PLACES, Observation, observe, random_scene

VOCABULARY = 768
IGNORE = -100


def train_tokenizer(path: Path, scenes: int = 3000) -> None:
    """Byte-level BPE over questions and answers of random scenes; any text can be encoded (byte fallback)."""
    from tokenizers import Tokenizer as Bpe
    from tokenizers import decoders, models, pre_tokenizers, trainers

    rng, lines = random.Random(1), []
    for seed in range(scenes):
        truth = observe(random_scene(seed + 5_000_000), 0.0, 1.0)
        for kind in KINDS:
            if qa := ask(kind, truth, rng):
                lines += [" " + qa.question, " " + qa.answer]
    bpe = Bpe(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIALS), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    path.parent.mkdir(parents=True, exist_ok=True)
    bpe.save(str(path))


def choose_questions(truth: Observation, rng: random.Random, captions: bool) -> list[QA]:
    """Questions about one scene: both captions and 3 short ones, or one caption and 6 short ones."""
    kinds = ["detailed", "brief"] if captions else ["detailed" if rng.random() < 0.6 else "brief"]
    weights = [{"count": 0.6, "time": 0.4, "place": 0.4}.get(kind, 2.0) for kind in SHORT]
    kinds += rng.choices(SHORT, weights, k=3 if captions else 6)
    drawn = [qa for kind in kinds if (qa := ask(kind, truth, rng))]
    return list({qa.question: qa for qa in drawn}.values())


@dataclass(frozen=True, eq=False)
class Pack:
    """Rows of several questions each: all [B, T]. segment 0 = padding; labels and points IGNORE where unused."""

    tokens: Tensor
    segments: Tensor
    positions: Tensor
    labels: Tensor
    points: Tensor


def pack_questions(tokenizer: Tokenizer, rows: list[list[QA]]) -> Pack:
    """Tokenise and pack; points are rows of the visual tokens (SLOTS = the scene)."""
    packed = []
    for questions in rows:
        row: tuple[list[int], ...] = ([], [], [], [], [])
        for number, qa in enumerate(questions, 1):
            prompt = tokenizer.prompt(qa.question)
            answer, about = _answer_tokens(tokenizer, qa)
            tokens = prompt + answer[:-1]
            row[0].extend(tokens)
            row[1].extend([number] * len(tokens))
            row[2].extend(range(VISUAL_TOKENS, VISUAL_TOKENS + len(tokens)))
            row[3].extend([IGNORE] * (len(prompt) - 1) + answer)
            row[4].extend([IGNORE] * (len(prompt) - 1) + about)
        packed.append(row)
    width = max(len(row[0]) for row in packed)
    fill = (tokenizer.specials["<pad>"], 0, 0, IGNORE, IGNORE)
    columns = [torch.tensor([row[i] + [fill[i]] * (width - len(row[i])) for row in packed]) for i in range(5)]
    return Pack(*columns)


def _answer_tokens(tokenizer: Tokenizer, qa: QA) -> tuple[list[int], list[int]]:
    tokens: list[int] = []
    about: list[int] = []
    for text, thing in qa.parts:
        piece = tokenizer.encode(text)
        tokens += piece
        about += [IGNORE if thing is None else SLOTS if thing == ABSENT else min(thing, SLOTS - 1)] * len(piece)
    return [*tokens, tokenizer.eos], [*about, IGNORE]


class LanguageSide(nn.Module):
    """Projector and decoder, trained on slots that are given."""

    def __init__(self, projector: Projector, decoder: Decoder) -> None:
        super().__init__()
        self.projector, self.decoder = projector, decoder

    def forward(self, slots: Slots, pack: Pack,
                taps: tuple[int, ...] = ()) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """States [B, V+T, D], tapped states, positions and mask of the packed rows."""
        batch = pack.tokens.shape[0]
        visual = self.projector(slots)
        x = torch.cat([visual, self.decoder.embed(pack.tokens)], 1)
        eye = torch.arange(VISUAL_TOKENS, device=x.device).expand(batch, -1)
        positions = torch.cat([eye, pack.positions], 1)
        segment = torch.cat([torch.zeros_like(eye), torch.where(pack.segments > 0, pack.segments, -1)], 1)
        together = (segment[:, None, :] == 0) | (segment[:, :, None] == segment[:, None, :])
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        mask = (causal & together)[:, None]
        states, tapped = self.decoder(x, positions, mask, None, taps)
        return states, tapped, positions, mask


def language_losses(side: LanguageSide, slots: Slots, pack: Pack, pointing_weight: float = 0.5) -> dict[str, Tensor]:
    """Cross entropy of answers and of the pointing head's attention."""
    decoder = side.decoder
    layer = pointing_layer(decoder.config.layers)
    states, tapped, positions, mask = side(slots, pack, (layer,))
    known = pack.labels != IGNORE
    logits = decoder.head(states[:, VISUAL_TOKENS:][known])
    result = {"answer": F.cross_entropy(logits, pack.labels[known])}
    aimed = pack.points != IGNORE
    if aimed.any() and pointing_weight:
        assert tapped is not None
        rows = pointing(decoder, tapped[:, :, 0], positions, mask)[:, VISUAL_TOKENS:][aimed]
        result["pointing"] = pointing_weight * F.nll_loss(rows, pack.points[aimed])
    return result


def oracle_slots(truths: list[Observation], colour: bool, features: int) -> Slots:
    """Slots as a nearly perfect eye would give them, with soft noise, for training before the eye is ready."""
    batch = len(truths)
    soft = [torch.zeros(batch, SLOTS, size) for size in GROUPS.values()]
    numbers = torch.zeros(batch, SLOTS, 7)
    found = torch.zeros(batch, SLOTS, dtype=torch.bool)
    scene = torch.zeros(batch, len(PLACES) + 1)
    for row, truth in enumerate(truths):
        for i, thing in enumerate(truth.objects[:SLOTS]):
            found[row, i] = True
            for group, values in zip(soft, GROUPS, strict=True):
                group[row, i, VOCABULARIES[values].index(getattr(thing, values))] = 1
            x0, y0, x1, y1 = thing.box
            numbers[row, i] = torch.tensor([thing.vx, thing.vy, thing.rate, x1 - x0, y1 - y0, thing.x, thing.y])
        scene[row, PLACES.index(truth.place)], scene[row, -1] = 1, float(truth.night)
    for i, group in enumerate(soft):
        doubt = torch.rand(batch, SLOTS, 1) ** 3 * 0.5
        soft[i] = group * (1 - doubt) + doubt * torch.softmax(torch.randn_like(group) * 2, -1)
    if not colour:
        soft[1] = torch.zeros_like(soft[1])
    numbers = numbers + torch.randn_like(numbers) * 0.01
    mask = found[..., None].float()
    attributes = describe(soft, numbers[..., :3], numbers[..., 3:5], numbers[..., 5], numbers[..., 6]) * mask
    return Slots(attributes, torch.zeros(batch, SLOTS, features), scene, torch.zeros(batch, SLOTS, 4), found)
