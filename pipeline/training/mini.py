"""`parafovea train mini`: the stages that make the bundled pair from nothing.

    for progress in train_side("rgb", SMOKE, Path("runs/mini")): ...      # one side, resumable at any moment
    for progress in train_adapter(SMOKE, Path("runs/mini")): ...          # then the cos_sim adapter

Recipe: the eye alone on fresh scenes; a shallow decoder on slots as a perfect eye would give them, then on the
eye's own; the RGB side is then grown to its full depth by identity layers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.decoder import Decoder, DecoderConfig, Layer
from pipeline.inputs import EVENT_CHANNELS, RGB_CHANNELS
from pipeline.mini import MiniModel, Projector, pointing_layer, save_mini
from pipeline.text import Tokenizer
from pipeline.training.data import TRAIN_SEEDS, batch, make, truth_of
from pipeline.training.icons import TRAIN_STYLES, Icons, load_icons
from pipeline.training.language import (
    LanguageSide,
    Pack,
    choose_questions,
    language_losses,
    oracle_slots,
    pack_questions,
    train_tokenizer,
)
from pipeline.training.loop import Progress, Schedule, train
from pipeline.training.vision import losses, targets
from pipeline.vision import SlotEncoder, Slots, VisionConfig
from streams.scenes.world import Observation, observe, random_scene

EYE_BATCH, LANGUAGE_BATCH = 32, 8
ORACLE_SHARE = 0.25
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
    cached: int
    adapter_scenes: int
    drawings: bool = True


FULL = Sizes(rgb_eye=2600, event_eye=1700, oracle=700, real=600, deep=500, event_oracle=1200, event_real=1500,
             cached=8000, adapter_scenes=300)
SMOKE = Sizes(rgb_eye=12, event_eye=12, oracle=25, real=10, deep=6, event_oracle=20, event_real=10, cached=32,
              adapter_scenes=8)


def vision_config(modality: str) -> VisionConfig:
    """The encoder of one side of the pair."""
    rgb = modality == "rgb"
    return VisionConfig(RGB_CHANNELS if rgb else EVENT_CHANNELS, colour=rgb)


def decoder_config(modality: str, vocabulary: int, layers: int) -> DecoderConfig:
    """The decoder of one side: wide and deep for the verifier, small for the drafter."""
    size, heads, inner = (256, 8, 704) if modality == "rgb" else (128, 4, 352)
    return DecoderConfig(vocabulary, size, inner, layers, heads, heads, size // heads, max_positions=640)


RGB_LAYERS, SHALLOW_LAYERS = 8, 2


CPU = torch.device("cpu")


def train_side(modality: str, sizes: Sizes, folder: Path, device: torch.device = CPU) -> Iterator[Progress]:
    """All stages of one side; leaves folder/mini-MODALITY, a checkpoint directory."""
    ensure_tokenizer(folder)
    yield from train_eye(modality, sizes, folder, device)
    yield from cache_slots(modality, sizes, folder, device)
    yield from train_language(modality, sizes, folder, device)
    export(modality, folder)


def ensure_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer both sides share, trained when it is not there yet."""
    path = folder / "tokenizer.json"
    if not path.exists():
        train_tokenizer(path)
    return Tokenizer(path)


def drawings(sizes: Sizes, folder: Path) -> Icons:
    """The icon sets that training draws from, fetched into folder/icons when they are not there yet."""
    return load_icons(folder / "icons", TRAIN_STYLES) if sizes.drawings else {}


def train_eye(modality: str, sizes: Sizes, folder: Path, device: torch.device = CPU) -> Iterator[Progress]:
    """Train one encoder on fresh scenes; leaves folder/MODALITY-eye.pt."""
    icons = drawings(sizes, folder)
    torch.manual_seed(0)
    eye = SlotEncoder(vision_config(modality)).to(device)
    eye.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_of_step(step: int) -> dict[str, Tensor]:
        pixels, truths = batch(modality, step, EYE_BATCH, icons)
        wanted = {name: value.to(device) for name, value in targets(truths).items()}
        return losses(eye(pixels.to(device)), wanted, colour=modality == "rgb")

    steps = sizes.rgb_eye if modality == "rgb" else sizes.event_eye
    return train(f"{modality}-eye", eye, loss_of_step, Schedule(steps, 2e-3), folder)


def trained_eye(modality: str, folder: Path) -> SlotEncoder:
    """The encoder that train_eye left, ready for inference."""
    eye = SlotEncoder(vision_config(modality))
    eye.load_state_dict(torch.load(folder / f"{modality}-eye.pt", weights_only=True, map_location=CPU)["model"])
    return eye.eval().requires_grad_(False)


def cache_slots(modality: str, sizes: Sizes, folder: Path, device: torch.device = CPU) -> Iterator[Progress]:
    """Slots of the first `cached` training scenes as the eye sees them; leaves folder/MODALITY-slots.pt."""
    path = folder / f"{modality}-slots.pt"
    parts: list[dict[str, Tensor]] = torch.load(path, weights_only=True) if path.exists() else []
    eye, example = trained_eye(modality, folder).to(device), rgb_example if modality == "rgb" else event_example
    for start in range(len(parts) * EYE_BATCH, sizes.cached, EYE_BATCH):
        pixels = np.stack([example(TRAIN_SEEDS + start + i)[0] for i in range(EYE_BATCH)])
        with torch.inference_mode():
            slots = eye.slots(eye(torch.from_numpy(pixels).to(device)))
        parts.append({name: value.cpu().clone() for name, value in vars(slots).items()})
        last = start + EYE_BATCH >= sizes.cached
        if last or len(parts) % 50 == 0:
            torch.save(parts, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)
        yield Progress(f"{modality}-slots", start + EYE_BATCH, sizes.cached, {}, 0.0)


Record = TypeVar("Record", Slots, Pack)


def moved(record: Record, device: torch.device) -> Record:
    """A record of tensors on another device."""
    return type(record)(**{name: value.to(device) for name, value in vars(record).items()})


class SlotSource:
    """Draws scenes with their slots: cached ones of the eye, or perfect ones."""

    def __init__(self, modality: str, folder: Path) -> None:
        self.colour, self.features = modality == "rgb", vision_config(modality).widths[-1]
        path = folder / f"{modality}-slots.pt"
        parts = torch.load(path, weights_only=True) if path.exists() else []
        self.cached = {name: torch.cat([p[name] for p in parts]) for name in parts[0]} if parts else {}
        self.count = len(parts) * EYE_BATCH

    def perfect(self, rng: random.Random, size: int) -> tuple[Slots, list[Observation]]:
        """Fresh scenes with oracle slots."""
        truths = [truth_of(TRAIN_SEEDS + rng.randrange(10**9)) for _ in range(size)]
        return oracle_slots(truths, self.colour, self.features), truths

    def seen(self, rng: random.Random, size: int) -> tuple[Slots, list[Observation]]:
        """Cached scenes with the eye's own slots."""
        chosen = rng.sample(range(self.count), size)
        slots = Slots(**{name: value[chosen] for name, value in self.cached.items()})
        return slots, [truth_of(TRAIN_SEEDS + i) for i in chosen]


def truth_of(seed: int) -> Observation:
    """What there is to say about the training scene of this seed."""
    return observe(random_scene(seed), 0.0, 1.0)


def train_language(modality: str, sizes: Sizes, folder: Path, device: torch.device = CPU) -> Iterator[Progress]:
    """Decoder and projector: perfect slots, then the eye's; for the RGB side then grown and trained deep."""
    rgb = modality == "rgb"
    yield from _language_stage(modality, "oracle", SHALLOW_LAYERS, None,
                               Schedule(sizes.oracle if rgb else sizes.event_oracle, 2e-3, 60, 0.3, 0.02, 1.0, 0.97),
                               folder, device)
    yield from _language_stage(modality, "real", SHALLOW_LAYERS, "oracle",
                               Schedule(sizes.real if rgb else sizes.event_real, 1e-3, 40, 0.3, 0.02, 1.0, 0.97),
                               folder, device)
    if rgb:
        yield from _language_stage(modality, "deep", RGB_LAYERS, "real",
                                   Schedule(sizes.deep, 6e-4, 40, 0.3, 0.02, 1.0, 0.97), folder, device)


def _language_stage(modality: str, stage: str, layers: int, start_from: str | None, schedule: Schedule,
                    folder: Path, device: torch.device = CPU) -> Iterator[Progress]:
    tokenizer = ensure_tokenizer(folder)
    torch.manual_seed(0)
    side = new_side(modality, tokenizer, layers)
    if start_from:
        grow(side, torch.load(folder / f"{modality}-{start_from}.pt", weights_only=True, map_location=CPU)["model"])
    side.to(device)
    source = SlotSource(modality, folder)

    def loss_of_step(step: int) -> dict[str, Tensor]:
        rng = random.Random(f"{modality} {stage} {step}")
        perfect = stage == "oracle" or rng.random() < ORACLE_SHARE
        slots, truths = (source.perfect if perfect else source.seen)(rng, LANGUAGE_BATCH)
        captions = stage == "oracle" or step < 0.4 * schedule.steps
        pack = pack_questions(tokenizer, [choose_questions(truth, rng, captions) for truth in truths])
        return language_losses(side, moved(slots, device), moved(pack, device))

    return train(f"{modality}-{stage}", side, loss_of_step, schedule, folder)


def new_side(modality: str, tokenizer: Tokenizer, layers: int) -> LanguageSide:
    """A fresh projector and decoder with the initial scales that trained well."""
    config = decoder_config(modality, tokenizer.size, layers)
    decoder = Decoder(config)
    narrow = 1 / math.sqrt(config.hidden_size)
    for name, parameter in decoder.named_parameters():
        if parameter.ndim == 2:
            shrink = math.sqrt(2 * layers) if name.endswith(("out.weight", "down.weight")) else 1.0
            nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]) / shrink)
    nn.init.normal_(decoder.embed.weight, std=narrow)
    return LanguageSide(Projector(vision_config(modality).widths[-1], config.hidden_size), decoder)


def grow(side: LanguageSide, state: dict[str, Tensor]) -> None:
    """Load a shallower side: its two layers go to the first and the pointing place, new layers start as identity."""
    decoder = side.decoder
    layers = decoder.config.layers
    homes = {0: 0, 1: pointing_layer(layers)} if layers > SHALLOW_LAYERS else {0: 0, 1: 1}
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


def export(modality: str, folder: Path) -> None:
    """Write folder/mini-MODALITY from the last finished stages."""
    tokenizer = ensure_tokenizer(folder)
    rgb = modality == "rgb"
    config = decoder_config(modality, tokenizer.size, RGB_LAYERS if rgb else SHALLOW_LAYERS)
    model = MiniModel(config, vision_config(modality))
    model.eye.load_state_dict(trained_eye(modality, folder).state_dict())
    last = folder / f"{modality}-{'deep' if rgb else 'real'}.pt"
    state = torch.load(last, weights_only=True, map_location=CPU)["model"]
    for part in ("projector", "decoder"):
        getattr(model, part).load_state_dict(
            {name.removeprefix(part + "."): v for name, v in state.items() if name.startswith(part + ".")})
    save_mini(model, folder / "tokenizer.json", folder / f"mini-{modality}", tokenizer.eos)
