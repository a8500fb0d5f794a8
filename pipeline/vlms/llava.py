"""LLaVA-1.5 on our decoder: CLIP ViT-L/14-336, two linear layers, Vicuna (Liu et al. 2023).

    vlm = load("rgb", Path("llava-1.5-7b-hf"), place(torch.device("cuda:0")))

It reads one picture: the frame in the middle of the window. Checkpoints are those of `transformers`
(LlavaForConditionalGeneration), under the names of version 4 or 5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.assembly import fill, fill_decoder
from pipeline.decoder import Decoder, DecoderConfig
from pipeline.inputs import pick_frames
from pipeline.pictures import Preparation
from pipeline.placement import Placement, Size, require
from pipeline.prompted import PromptedVLM, Split
from pipeline.shards import Shards
from pipeline.vocabulary import HubTokenizer
from streams.types import InputError, Window

MODEL_TYPES = ("llava",)
"""What config.json calls models that this file loads."""

PICTURE, AFTER = "<image>", " ASSISTANT:"
PROMPT = "USER: {picture}\n{question}" + AFTER

LANGUAGE_MODELS = ("llama", "mistral")
"""Language models that our decoder computes."""

IGNORED = ("rotary_emb.inv_freq", "position_ids")
"""Ends of the names of buffers that old checkpoints hold and nobody needs."""


class Projector(nn.Module):
    """From states of the tower to the decoder's embeddings."""

    def __init__(self, size: int, into: int, bias: bool = True) -> None:
        super().__init__()
        self.linear_1, self.act, self.linear_2 = nn.Linear(size, into, bias), nn.GELU(), nn.Linear(into, into, bias)

    def forward(self, states: Tensor) -> Tensor:
        """[..., size] to [..., into]."""
        embedded: Tensor = self.linear_2(self.act(self.linear_1(states)))
        return embedded


def load(side: str, folder: Path | None, where: Placement) -> PromptedVLM:
    """Load a checkpoint's folder. Raises InputError where it does not fit or does not belong here."""
    folder, config = opened(side, folder, "llava")
    decoder, tower, projector = skeleton(config)
    require(where, Size.of(decoder, tower, projector), folder.name)
    keep_first = config.vision_feature_select_strategy != "default"
    state, tokenizer = Shards.of(folder).renamed(plain_name), HubTokenizer.of(folder, AFTER)
    prepare = Preparation.of(folder, config.vision_config.image_size)
    fill_decoder(decoder, state.renamed(decoder_name), where, folder.name, tokenizer.size)
    fill(tower, state.under("vision_tower."), where, folder.name)
    fill(projector, state.under("multi_modal_projector."), where, folder.name)

    def see(window: Window) -> Tensor:
        pixels = prepare([frame.image for frame in pick_frames(window, 1)]).to(where.device, where.dtype)
        return projector(look(tower, pixels, config.vision_feature_layer, keep_first)).flatten(0, 1)

    return PromptedVLM(folder.name, decoder, tokenizer, see, around(tokenizer, PICTURE, PROMPT),
                       cells(config.vision_config) + keep_first, "frames", (tower, projector))


def opened(side: str, folder: Path | None, name: str) -> tuple[Path, Any]:
    """A folder and its configuration as transformers reads it. Raises InputError where this family cannot serve."""
    from transformers import AutoConfig

    if side != "rgb":
        raise InputError(f"{name} reads frames and cannot guess from events; use it as --model")
    if folder is None:
        raise InputError(f"--model {name} needs a checkpoint: {name}:FOLDER")
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    language = config.text_config
    if language.model_type not in LANGUAGE_MODELS or getattr(language, "sliding_window", None):
        raise InputError(f"the language model of {folder} is {language.model_type}, which the own decoder does not "
                         f"compute; use --model auto:{folder}")
    if not isinstance(config.vision_feature_layer, int) or config.vision_config.model_type != "clip_vision_model":
        raise InputError(f"{folder} sees with {config.vision_config.model_type}, layers {config.vision_feature_layer}, "
                         f"expected one layer of clip_vision_model; use --model auto:{folder}")
    return folder, config


def skeleton(config: Any) -> tuple[Decoder, nn.Module, Projector]:
    """Decoder, tower and projector of a configuration, on the meta device: shapes without memory."""
    from transformers import CLIPVisionModel

    text, vision = config.text_config, config.vision_config
    with torch.device("meta"):
        bias = getattr(config, "multimodal_projector_bias", True)
        return (Decoder(DecoderConfig.from_llama(text.to_dict())), CLIPVisionModel(vision),
                Projector(vision.hidden_size, text.hidden_size, bias))


def look(tower: nn.Module, pixels: Tensor, layer: int, keep_first: bool) -> Tensor:
    """States [N, cells, D] of one layer of a CLIP tower; keep_first: with the class token in front."""
    states: Tensor = tower(pixels, output_hidden_states=True).hidden_states[layer]
    return states if keep_first else states[:, 1:]


def cells(vision: Any) -> int:
    """Patches of one picture."""
    side: int = vision.image_size // vision.patch_size
    return side * side


def around(tokenizer: HubTokenizer, picture: str, prompt: str) -> Split:
    """Splits the tokens of a prompt at the one that stands for what is seen."""
    mark = tokenizer.vocabulary.get(picture)
    if mark is None:
        raise InputError(f"the tokenizer has no token {picture}; copy it from where the model comes from")

    def split(question: str) -> tuple[list[int], list[int]]:
        tokens = tokenizer.pieces(prompt.format(picture=picture, question=question))
        at = tokens.index(mark)
        return tokens[:at], tokens[at + 1:]

    return split


def plain_name(name: str) -> str | None:
    """A tensor's name without what versions of transformers wrap around it; None = a buffer that nobody needs."""
    if name.endswith(IGNORED):
        return None
    name = name.removeprefix("model.")
    for wrapped, plain in (("language_model.model.", "language_model."), ("language_model.lm_head.", "lm_head."),
                           ("_tower.vision_model.", "_tower.")):
        name = name.replace(wrapped, plain)
    return name


def decoder_name(name: str) -> str | None:
    """The language model's tensors under the names of LlamaForCausalLM; None = another part's."""
    if name.startswith("language_model."):
        return "model." + name.removeprefix("language_model.")
    return name if name.startswith("lm_head.") else None


