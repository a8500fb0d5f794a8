"""`parafovea train mini`: the stages that make the bundled pair from nothing.

    for progress in train_side("rgb", SMOKE, Path("runs/mini")): ...      # one side, resumable at any moment

Recipe: the eye alone on fresh scenes; a shallow decoder on slots as a perfect eye would give them, then on the
eye's own; the RGB side is then grown to its full depth by identity layers. What needs both sides comes after:
pipeline.training.distillation and pipeline.training.adapters.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.decoder import Decoder, DecoderConfig, Layer
from pipeline.mini import MiniModel, Projector, pointing_layer, save_mini
from pipeline.text import Tokenizer
from pipeline.training.eye import CPU, cache_slots, train_eye, trained_eye, vision_config
from pipeline.training.icon_sets import TRAIN_STYLES
from pipeline.training.icons import Icons, load_icons
from pipeline.training.language import (
    LanguageSide,
    choose_questions,
    first_position,
    language_losses,
    moved,
    name_attributes,
    pack_questions,
    train_tokenizer,
)
from pipeline.training.loop import Progress, Schedule, train
from pipeline.training.questions import declined
from pipeline.training.slots import SlotSource, estranged
from pipeline.training.strange import train_strange

LANGUAGE_BATCH = 8
HIDDEN = ("decoder.layers.",)
ORACLE_SHARE = 0.2
"""Share of perfect slots mixed into the training on the eye's own slots."""


@dataclass(frozen=True)
class Sizes:
    """How long each stage trains, in steps; cached: scenes whose slots are computed once for the decoders."""

    rgb_eye: int
    event_eye: int
    oracle: int
    real: int
    deep: int
    event_oracle: int
    event_real: int
    distilled: int
    cached: int
    strange: int
    adapter_scenes: int
    adapter: int
    drawings: bool = True


FULL = Sizes(rgb_eye=8000, event_eye=8000, oracle=3000, real=800, deep=800, event_oracle=3500, event_real=2500,
             distilled=500, cached=6000, strange=400, adapter_scenes=220, adapter=1500)
SMOKE = Sizes(rgb_eye=12, event_eye=12, oracle=25, real=10, deep=6, event_oracle=20, event_real=10, distilled=6,
              cached=32, strange=8, adapter_scenes=8, adapter=30, drawings=False)


def decoder_config(modality: str, vocabulary: int, layers: int) -> DecoderConfig:
    """The decoder of one side: wide and deep for the verifier, small for the drafter."""
    size, heads, inner = (320, 5, 864) if modality == "rgb" else (160, 5, 432)
    return DecoderConfig(vocabulary, size, inner, layers, heads, heads, size // heads, max_positions=640)


RGB_LAYERS, SHALLOW_LAYERS = 8, 2


def train_side(modality: str, sizes: Sizes, folder: Path, device: torch.device = CPU) -> Iterator[Progress]:
    """All stages of one side alone; leaves folder/mini-MODALITY, a checkpoint directory."""
    icons = drawings(sizes, folder)
    tokenizer = ensure_tokenizer(folder, icons)
    yield from train_eye(modality, sizes.rgb_eye if modality == "rgb" else sizes.event_eye, folder, icons, device)
    yield from train_strange(modality, sizes.strange, folder, icons, device)
    yield from cache_slots(modality, sizes.cached, folder, icons, device)
    yield from train_language(modality, sizes, folder, tokenizer, icons, device)
    export(modality, folder, tokenizer)


def drawings(sizes: Sizes, folder: Path) -> Icons:
    """The icon sets that training draws from, fetched into folder/icons when they are not there yet."""
    return load_icons(folder / "icons", TRAIN_STYLES) if sizes.drawings else {}


def ensure_tokenizer(folder: Path, icons: Icons) -> Tokenizer:
    """The tokenizer both sides share, trained when it is not there yet."""
    path = folder / "tokenizer.json"
    if not path.exists():
        unfinished = path.with_suffix(".tmp")
        train_tokenizer(unfinished, icons)
        unfinished.replace(path)
    return Tokenizer(path)


def train_language(modality: str, sizes: Sizes, folder: Path, tokenizer: Tokenizer, icons: Icons,
                   device: torch.device = CPU) -> Iterator[Progress]:
    """Decoder and projector: perfect slots, then the eye's; for the RGB side then grown and trained deep."""
    rgb = modality == "rgb"
    stages = [("oracle", SHALLOW_LAYERS, None, sizes.oracle if rgb else sizes.event_oracle, 2e-3),
              ("real", SHALLOW_LAYERS, "oracle", sizes.real if rgb else sizes.event_real, 1e-3)]
    if rgb:
        stages.append(("deep", RGB_LAYERS, "real", sizes.deep, 6e-4))
    for stage, layers, start_from, steps, rate in stages:
        side = new_side(modality, tokenizer, layers, folder, start_from).to(device)
        source = SlotSource(modality, vision_config(modality), folder, icons)
        yield from train(f"{modality}-{stage}", side, answering(side, stage, steps, source, tokenizer, device),
                         language_schedule(steps, rate), folder, HIDDEN)


def language_schedule(steps: int, rate: float) -> Schedule:
    """The schedule of every stage that trains a decoder; its averaged weights are kept."""
    return Schedule(steps, rate, min(50, max(1, steps // 5)), 0.3, 0.02, 1.0, 0.97)


def answering(side: LanguageSide, stage: str, steps: int, source: SlotSource, tokenizer: Tokenizer,
              device: torch.device) -> Callable[[int], dict[str, Tensor]]:
    """The loss of a step of answering true answers about scenes of a source, which is the same for the same step."""
    def loss_of_step(step: int) -> dict[str, Tensor]:
        rng = random.Random(f"{source.modality} {stage} {step}")
        perfect = stage == "oracle" or rng.random() < ORACLE_SHARE
        looks = (source.perfect if perfect else source.seen)(rng, LANGUAGE_BATCH)
        slots, strange = estranged(looks.slots, rng)
        captions = stage == "oracle" and step < 0.3 * steps
        rows = [choose_questions(*pair, rng, captions) for pair in zip(looks.truths, looks.previous, strict=True)]
        rows = [[declined(qa) for qa in row] if i in strange else row for i, row in enumerate(rows)]
        pack = pack_questions(tokenizer, rows, looks.homes, first_position(side))
        return language_losses(side, moved(slots, device), moved(looks.memory, device), moved(pack, device))

    return loss_of_step


def new_side(modality: str, tokenizer: Tokenizer, layers: int, folder: Path | None = None,
             start_from: str | None = None) -> LanguageSide:
    """A fresh projector and decoder with the initial scales that trained well, or grown from an earlier stage."""
    torch.manual_seed(0)
    config = decoder_config(modality, tokenizer.size, layers)
    decoder = Decoder(config)
    narrow = 1 / math.sqrt(config.hidden_size)
    for name, parameter in decoder.named_parameters():
        if parameter.ndim == 2:
            shrink = math.sqrt(2 * layers) if name.endswith(("out.weight", "down.weight")) else 1.0
            nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]) / shrink)
    nn.init.normal_(decoder.embed.weight, std=narrow)
    decoder.head.weight.data.copy_(decoder.embed.weight)
    side = LanguageSide(Projector(vision_config(modality), config.hidden_size), decoder)
    name_attributes(side, tokenizer)
    if folder is not None and start_from is not None:
        grow(side, stage_weights(folder, f"{modality}-{start_from}"))
    return side


def stage_weights(folder: Path, stage: str) -> dict[str, Tensor]:
    """The weights that a stage left."""
    state: dict[str, Tensor] = torch.load(folder / f"{stage}.pt", weights_only=True, map_location=CPU)["model"]
    return state


def grow(side: LanguageSide, state: dict[str, Tensor]) -> None:
    """Load a side, or a shallower one: its two layers go to the first and the pointing place, new layers start as
    identity."""
    decoder = side.decoder
    layers = decoder.config.layers
    as_deep = f"decoder.layers.{layers - 1}.qkv.weight" in state
    homes = {i: i for i in range(layers)} if as_deep else {0: 0, 1: pointing_layer(layers)}
    renamed = {name: value for name, value in state.items() if not name.startswith("decoder.layers.")}
    for old, new in homes.items():
        before, after = f"decoder.layers.{old}.", f"decoder.layers.{new}."
        renamed |= {name.replace(before, after): v for name, v in state.items() if name.startswith(before)}
    for index, layer in enumerate(decoder.layers):
        if index not in homes.values():
            assert isinstance(layer, Layer)
            nn.init.zeros_(layer.out.weight)
            nn.init.zeros_(layer.down.weight)
    own = side.state_dict()
    side.load_state_dict(own | renamed)


LAST = {"rgb": "rgb-deep", "event": "event-real"}
"""The stage whose weights each side of the pair ships."""


def export(modality: str, folder: Path, tokenizer: Tokenizer, stage: str = "", into: Path | None = None) -> None:
    """Write mini-MODALITY from a finished stage (the last one), into the folder of training or another."""
    rgb = modality == "rgb"
    model = MiniModel(decoder_config(modality, tokenizer.size, RGB_LAYERS if rgb else SHALLOW_LAYERS),
                      vision_config(modality))
    model.eye.load_state_dict(trained_eye(modality, folder).state_dict())
    state = stage_weights(folder, stage or LAST[modality])
    for part in ("projector", "decoder"):
        getattr(model, part).load_state_dict(
            {name.removeprefix(part + "."): v for name, v in state.items() if name.startswith(part + ".")})
    save_mini(model, folder / "tokenizer.json", (into or folder) / f"mini-{modality}", tokenizer.eos)
