"""Training of the decoders: packed questions about scenes, answers only, and a head that learns to point.

    pack = pack_questions(tokenizer, [[qa, qa]], homes=[[0, 2]], first=77)
    language_losses(side, slots, memory, pack)

Several questions about one scene share its visual tokens in one row; a mask keeps them apart.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.decoder import Decoder
from pipeline.mini import SCENE_AT, Projector, pointing, pointing_layer, visual_tokens
from pipeline.text import SPECIALS, Tokenizer
from pipeline.training.captions import ADVERBS, SCENE, WAYS
from pipeline.training.data import shot_of
from pipeline.training.questions import KINDS, QA, SHORT, ask
from pipeline.training.vision import SCENE_VOCABULARIES, VOCABULARIES
from pipeline.vision import Memory, Slots
from streams.scenes.render import Drawings
from streams.scenes.world import Observation

VOCABULARY = 1024
IGNORE = -100
WORDING_SEEDS = 900_000_000
"""Scenes whose questions and answers the tokenizer is made of."""

FREE_SHARE = 0.4
"""Share of training's questions in free wording."""

WEIGHTS = {"count": 0.4, "time": 0.3, "place": 0.3, "fastest": 0.7, "largest": 0.7, "leftmost": 0.7, "outside": 2.0,
           "yes_no": 2.4, "existence": 1.6, "count_class": 1.6, "count_colour": 1.2, "change": 3.0}
"""How often a kind of short question is asked, 1 where it is not named: the harder the more often."""

LED_IN = 3
"""Last tokens of a question that already point at what the answer will be about: by then the question is known."""


def train_tokenizer(path: Path, icons: Drawings, scenes: int = 3000) -> None:
    """Byte-level BPE over questions and answers of random scenes; any text can be encoded (byte fallback)."""
    from tokenizers import Tokenizer as Bpe
    from tokenizers import decoders, models, pre_tokenizers, trainers

    rng, lines = random.Random(1), []
    for seed in range(WORDING_SEEDS, WORDING_SEEDS + scenes):
        truth, before = shot_of(seed, icons).truth, shot_of(seed + scenes, icons).truth
        for kind in KINDS:
            if qa := ask(kind, truth, rng, before):
                lines += [" " + qa.question, " " + qa.answer]
    bpe = Bpe(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIALS), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    path.parent.mkdir(parents=True, exist_ok=True)
    bpe.save(str(path))


def choose_questions(truth: Observation, previous: Observation | None, rng: random.Random, captions: bool) -> list[QA]:
    """Questions about one scene: both captions and 4 short ones, or one caption and 8 short ones."""
    kinds = ["detailed", "brief"] if captions else ["detailed" if rng.random() < 0.6 else "brief"]
    kinds += rng.choices(SHORT, [WEIGHTS.get(kind, 1.0) for kind in SHORT], k=4 if captions else 8)
    drawn = [qa for kind in kinds if (qa := ask(kind, truth, rng, previous, rng.random() < FREE_SHARE))]
    return list({qa.question: qa for qa in drawn}.values())


@dataclass(frozen=True, eq=False)
class Pack:
    """Rows of several questions each: all [B, T]. segment 0 = padding; labels and points IGNORE where unused."""

    tokens: Tensor
    segments: Tensor
    positions: Tensor
    labels: Tensor
    points: Tensor


Record = TypeVar("Record", Slots, Pack, Memory)


def moved(record: Record, device: torch.device) -> Record:
    """A record of tensors on another device."""
    return type(record)(**{name: value.to(device) for name, value in vars(record).items()})


def pack_questions(tokenizer: Tokenizer, rows: list[list[QA]], homes: list[list[int | None]], first: int) -> Pack:
    """Tokenise and pack; homes: slot of each object by row (empty = not known); first: position of the first word.

    Points are rows of the visual tokens: a slot, or SCENE_AT for words about no object.
    """
    packed = []
    for questions, slots_of in zip(rows, homes, strict=True):
        row: tuple[list[int], ...] = ([], [], [], [], [])
        for number, qa in enumerate(questions, 1):
            prompt = tokenizer.prompt(qa.question)
            answer, about = _answer_tokens(tokenizer, qa, slots_of)
            tokens = prompt + answer[:-1]
            row[0].extend(tokens)
            row[1].extend([number] * len(tokens))
            row[2].extend(range(first, first + len(tokens)))
            row[3].extend([IGNORE] * (len(prompt) - 1) + answer)
            lead = [about[0]] * (LED_IN - 1) if len(set(about[:-1])) == 1 else [IGNORE] * (LED_IN - 1)
            row[4].extend([IGNORE] * (len(prompt) - LED_IN) + lead + about)
        packed.append(row)
    width = max(len(row[0]) for row in packed)
    fill = (tokenizer.specials["<pad>"], 0, 0, IGNORE, IGNORE)
    columns = [torch.tensor([row[i] + [fill[i]] * (width - len(row[i])) for row in packed]) for i in range(5)]
    return Pack(*columns)


def _answer_tokens(tokenizer: Tokenizer, qa: QA, homes: list[int | None]) -> tuple[list[int], list[int]]:
    tokens: list[int] = []
    about: list[int] = []
    for text, thing in qa.parts:
        piece = tokenizer.encode(text)
        tokens += piece
        home = SCENE_AT if thing == SCENE else None if thing is None or not homes else homes[thing]
        about += [IGNORE if home is None else home] * len(piece)
    return [*tokens, tokenizer.eos], [*about, SCENE_AT]


class LanguageSide(nn.Module):
    """Projector and decoder, trained on slots that are given."""

    def __init__(self, projector: Projector, decoder: Decoder) -> None:
        super().__init__()
        self.projector, self.decoder = projector, decoder

    def forward(self, slots: Slots, memory: Memory, pack: Pack,
                taps: tuple[int, ...] = ()) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """States [B, T, D] of the words, tapped states [B, V+T, taps, D], positions and mask of the packed rows."""
        visual = self.projector(slots, memory)
        x = torch.cat([visual, self.decoder.embed(pack.tokens)], 1)
        seen = torch.arange(visual.shape[1], device=x.device).expand(len(x), -1)
        positions = torch.cat([seen, pack.positions], 1)
        segment = torch.cat([torch.zeros_like(seen), torch.where(pack.segments > 0, pack.segments, -1)], 1)
        together = (segment[:, None, :] == 0) | (segment[:, :, None] == segment[:, None, :])
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        mask = (causal & together)[:, None]
        states, tapped = self.decoder(x, positions, mask, None, taps)
        return states[:, visual.shape[1]:], tapped, positions, mask


def language_losses(side: LanguageSide, slots: Slots, memory: Memory, pack: Pack, pointing_weight: float = 0.5,
                    ) -> dict[str, Tensor]:
    """Cross entropy of answers and of the pointing head's attention."""
    decoder = side.decoder
    layer = pointing_layer(decoder.config.layers)
    states, tapped, positions, mask = side(slots, memory, pack, (layer,))
    known = pack.labels != IGNORE
    logits = decoder.head(states[known])
    result = {"answer": F.cross_entropy(logits, pack.labels[known])}
    aimed = pack.points != IGNORE
    if aimed.any() and pointing_weight:
        assert tapped is not None
        rows = pointing(decoder, tapped[:, :, 0], positions, mask)[:, -pack.tokens.shape[1]:][aimed]
        result["pointing"] = pointing_weight * F.nll_loss(rows, pack.points[aimed])
    return result


@torch.inference_mode()
def exact(side: LanguageSide, slots: Slots, memory: Memory, pack: Pack) -> Tensor:
    """Which questions a greedy answer gets exactly right, bool [B, most questions of a row] (False beyond a row's).

    An answer is right when every token of the true one, its end included, is the likeliest after those before it.
    """
    states, *_ = side(slots, memory, pack)
    wrong = (side.decoder.head(states).argmax(-1) != pack.labels) & (pack.labels != IGNORE)
    most = int(pack.segments.max())
    return torch.stack([(pack.segments == n).any(1) & ~(wrong & (pack.segments == n)).any(1)
                        for n in range(1, most + 1)], 1)


@torch.inference_mode()
def predictions(side: LanguageSide, slots: Slots, memory: Memory, pack: Pack) -> tuple[list[int], list[int]]:
    """The likeliest token at every place of the answers, each after the true ones before it, and the true tokens."""
    states, *_ = side(slots, memory, pack)
    known = pack.labels != IGNORE
    return side.decoder.head(states[known]).argmax(-1).tolist(), pack.labels[known].tolist()


SAID_AS = {"up": WAYS["up"], "down": WAYS["down"], **ADVERBS}
"""Words of the answers for attributes that these call otherwise."""


@torch.no_grad()
def name_attributes(side: LanguageSide, tokenizer: Tokenizer) -> None:
    """Let every attribute of a slot begin as the embedding of its word, so that words and things are alike."""
    def named(words: Iterable[str | None]) -> Tensor:
        return torch.stack([_embedding(side.decoder, tokenizer, SAID_AS.get(word, word)) if word else nothing
                            for word in words], 1)

    nothing = torch.zeros(side.decoder.config.hidden_size)
    things = torch.cat([named(words) for words in VOCABULARIES.values()], 1)
    for layer in (side.projector.attributes, side.projector.before):
        layer.weight[:, 1:1 + things.shape[1]] = things
    scene = torch.cat([named(words) for words in SCENE_VOCABULARIES.values()], 1)
    side.projector.scene.weight[:, :scene.shape[1]] = scene


def _embedding(decoder: Decoder, tokenizer: Tokenizer, word: str) -> Tensor:
    return decoder.embed.weight[tokenizer.encode(" " + word)].mean(0)


def first_position(side: LanguageSide) -> int:
    """Position of the first word: after the visual tokens."""
    return visual_tokens(side.projector.config)
