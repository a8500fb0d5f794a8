"""EventGPT on our decoder: event pictures through CLIP, projector and adaptor, pooled; Vicuna (Liu et al. 2025).

    vlm = load("event", Path("EventGPT-7b"), place(torch.device("cuda:0")))

`--drafter-model eventgpt:FOLDER` guesses with it, together with `--model none` it answers by itself. Reads the
published layout: config.json of type EventChat_llama, weights in `.bin` or safetensors, the tower among them. Options
behind the folder: ?conflict=positive|last|negative, &canvas=sensor|cropped, &slices=5, &span_ms=50.

Of a longer window it sees the 50 ms around the middle, which is what it was trained on: the original study fed it
whole seconds, and only their first fifth.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.assembly import fill, fill_decoder
from pipeline.decoder import Decoder, DecoderConfig
from pipeline.event_images import SPAN_US, around_middle, cropped, equal_counts, render
from pipeline.pictures import Preparation
from pipeline.placement import Placement, Size, require
from pipeline.prompted import PromptedVLM, Split
from pipeline.shards import Shards, read_json
from pipeline.vlms.llava import IGNORED
from pipeline.vocabulary import HubTokenizer
from streams.representations import CONFLICTS
from streams.types import InputError, Window

MODEL_TYPES = ("EventChat_llama",)
"""What config.json calls models that this file loads."""

SYSTEM = ("A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
          "detailed, and polite answers to the human's questions. ")
BEFORE, AFTER = SYSTEM + "USER: <ev_start>", " ASSISTANT:"
BEHIND = "<ev_end>\n{question}" + AFTER

STAGES = ("mm_projector.bin", "feature_adaptor.bin")
"""Files of training stages that may lie beside the language model's."""

CANVASES = ("sensor", "cropped")


class EventEncoder(nn.Module):
    """Tower, projector and adaptor, each applied once to every picture, then pooled over space and over time."""

    def __init__(self, vision: Any, into: int, adapted: bool) -> None:
        """vision: a CLIPVisionConfig. into: size of the decoder's embeddings. adapted: whether there is an adaptor."""
        from transformers import CLIPVisionModel

        super().__init__()
        self.visual_tower = CLIPVisionModel(vision)
        self.visual_projector = nn.Sequential(nn.Linear(vision.hidden_size, into), nn.GELU(), nn.Linear(into, into))
        self.feature_adaptor = nn.Linear(into, into) if adapted else nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [t, 3, side, side] in time order to tokens [t + cells, D]: one per picture, then one per cell with
        the class token in front."""
        # all cells of the last layer, before CLIP's own last norm
        states = self.visual_tower(pixels).last_hidden_state
        features = self.feature_adaptor(self.visual_projector(states))
        return torch.cat([features.mean(1), features.mean(0)])


def load(side: str, folder: Path | None, where: Placement, conflict: str = "positive", canvas: str = "sensor",
         slices: str = "5", span_ms: str = str(SPAN_US // 1000)) -> PromptedVLM:
    """Load a checkpoint's folder. Raises InputError where it does not fit, and for options that do not exist."""
    if side != "event" or folder is None:
        raise InputError("eventgpt reads events: use it as --drafter-model eventgpt:FOLDER, with --model none to let "
                         "it answer by itself")
    if conflict not in CONFLICTS or canvas not in CANVASES or not slices.isdigit() or not span_ms.isdigit():
        raise InputError(f"eventgpt has the options conflict={'|'.join(CONFLICTS)}, canvas={'|'.join(CANVASES)}, and "
                         f"slices and span_ms (whole numbers); got {conflict}, {canvas}, {slices} and {span_ms}")
    config = read_json(folder / "config.json")
    state = Shards.of(folder, STAGES).renamed(encoder_name)
    decoder, encoder = skeleton(config, state)
    require(where, Size.of(decoder, encoder), folder.name)
    tokenizer = with_marks(HubTokenizer.of(folder, AFTER), config, len(state["model.embed_tokens.weight"]))
    fill_decoder(decoder, state.renamed(lambda name: None if name.startswith("visual.") else name), where, folder.name,
                 tokenizer.size)
    fill(encoder, state.under("visual."), where, folder.name)
    count, span_us = int(slices), int(span_ms) * 1000
    vision = encoder.visual_tower.config
    prepare = Preparation(vision.image_size, (vision.image_size, vision.image_size))

    def see(window: Window) -> Tensor:
        events = around_middle(window.events, window.start_us, window.end_us, span_us)
        size = cropped(events) if canvas == "cropped" else window.resolution
        images = [render(part, size, conflict) for part in equal_counts(events, count)]  # type: ignore[arg-type]
        seen: Tensor = encoder(prepare(images).to(where.device, where.dtype))
        return seen

    cells = (vision.image_size // vision.patch_size) ** 2 + 1
    return PromptedVLM(folder.name, decoder, tokenizer, see, around(tokenizer), count + cells, "events", (encoder,))


def skeleton(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[Decoder, EventEncoder]:
    """Decoder and encoder on the meta device; the tower's sizes are read from its weights, for the config names only
    an id. Raises InputError for parts that EventGPT never published."""
    if config.get("use_event_qformer"):
        raise InputError("this EventGPT asks for a Q-Former, whose code was never published; use a checkpoint without")
    adapted = "visual.feature_adaptor.weight" in state
    if config.get("event_feature_adaptor") and not adapted:
        raise InputError("config.json names a feature adaptor and the weights have none; copy the whole checkpoint")
    with torch.device("meta"):
        return (Decoder(DecoderConfig.from_llama(config)),
                EventEncoder(tower_config(state), config["hidden_size"], adapted))


def tower_config(state: Mapping[str, Tensor]) -> Any:
    """A CLIPVisionConfig from the shapes of a tower's weights. Raises InputError where there is no tower."""
    from transformers import CLIPVisionConfig

    prefix = "visual.visual_tower."
    if f"{prefix}embeddings.patch_embedding.weight" not in state:
        raise InputError("the checkpoint has no visual tower (model.visual_tower...); copy it completely")
    size, _, patch, _ = state[f"{prefix}embeddings.patch_embedding.weight"].shape
    places = len(state[f"{prefix}embeddings.position_embedding.weight"])
    layers = len({name.split(".")[4] for name in state if name.startswith(f"{prefix}encoder.layers.")})
    return CLIPVisionConfig(hidden_size=size, num_hidden_layers=layers, num_attention_heads=max(1, size // HEAD),
                            intermediate_size=len(state[f"{prefix}encoder.layers.0.mlp.fc1.weight"]),
                            image_size=round((places - 1) ** 0.5) * patch, patch_size=patch)


HEAD = 64
"""Size of an attention head in every CLIP tower."""


def with_marks(tokenizer: HubTokenizer, config: Mapping[str, Any], rows: int) -> HubTokenizer:
    """The tokenizer with the tokens that this checkpoint was trained with.

    The original code adds <ev_patch> unless told not to, and <ev_start>, <ev_end> when told to, after loading; where
    the embeddings have no rows for them they were never trained, and the marks are spelled like any other text.
    """
    marks = ["<ev_patch>"] if config.get("mm_use_im_patch_token", True) else []
    marks += ["<ev_start>", "<ev_end>"] if config.get("mm_use_im_start_end", False) else []
    new = [mark for mark in marks if mark not in tokenizer.vocabulary]
    if not new or rows < tokenizer.size + len(new):
        return tokenizer
    tokenizer.hub.add_tokens(new, special_tokens=True)
    return HubTokenizer(tokenizer.hub, tokenizer.ends, AFTER)


def around(tokenizer: HubTokenizer) -> Split:
    """The prompt of Vicuna 1.1 in two pieces, each made into tokens by itself, as the original does."""
    before = tokenizer.pieces(BEFORE)

    def split(question: str) -> tuple[list[int], list[int]]:
        behind = tokenizer.pieces(BEHIND.format(question=question))
        return before, behind[1:] if behind[0] == tokenizer.bos else behind

    return split


def encoder_name(name: str) -> str | None:
    """What is not the language model's goes under `visual.`; None = a buffer that nobody needs."""
    if name.endswith(IGNORED):
        return None
    for part in ("visual_tower.", "visual_projector.", "feature_adaptor."):
        if name.startswith(f"model.{part}"):
            inside = name.removeprefix(f"model.{part}")
            return f"visual.{part}" + inside.removeprefix("visual_tower.").removeprefix("vision_model.")
    return name
