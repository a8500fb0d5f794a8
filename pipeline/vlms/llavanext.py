"""LLaVA-NeXT (LLaVA-1.6) on our decoder: one picture whole and in tiles, Vicuna or Mistral (Liu et al. 2024).

    vlm = load("rgb", Path("llava-v1.6-vicuna-7b-hf"), place(torch.device("cuda:0")))

It reads the frame in the middle of the window: once small, and once cut into the tiles of the grid that fits its
shape best, whose rows of cells end with a learnt token. A 640x480 frame makes 2,340 tokens with the published
grids. Checkpoints are those of `transformers` (LlavaNextForConditionalGeneration), whose own cutting is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.assembly import fill, fill_decoder
from pipeline.inputs import pick_frames
from pipeline.placement import Placement, Size, require
from pipeline.prompted import PromptedVLM
from pipeline.shards import Shards
from pipeline.vlms.eventgpt import SYSTEM
from pipeline.vlms.llava import PICTURE, around, cells, decoder_name, look, opened, plain_name, skeleton
from pipeline.vocabulary import HubTokenizer
from streams.types import InputError, Window

MODEL_TYPES = ("llava_next",)
"""What config.json calls models that this file loads."""

PROMPTS = {"llama": (SYSTEM + "USER: {picture}\n{question}", " ASSISTANT:"),
           "mistral": ("[INST] {picture}\n{question}", " [/INST]")}
"""By language model: the prompt up to the question, and what follows it."""


def load(side: str, folder: Path | None, where: Placement) -> PromptedVLM:
    """Load a checkpoint's folder. Raises InputError where it does not fit or does not belong here."""
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    folder, config = opened(side, folder, "llavanext")
    if config.vision_feature_select_strategy != "default":
        raise InputError(f"{folder} keeps the class token of every tile (vision_feature_select_strategy full), which "
                         f"has no place in a grid of cells; use --model auto:{folder}")
    decoder, tower, projector = skeleton(config)
    require(where, Size.of(decoder, tower, projector), folder.name)
    prompt, after = PROMPTS[config.text_config.model_type]
    state, tokenizer = Shards.of(folder).renamed(plain_name), HubTokenizer.of(folder, after)
    prepare = LlavaNextImageProcessorPil.from_pretrained(str(folder), local_files_only=True)
    fill_decoder(decoder, state.renamed(decoder_name), where, folder.name, tokenizer.size)
    fill(tower, state.under("vision_tower."), where, folder.name)
    fill(projector, state.under("multi_modal_projector."), where, folder.name)
    if "image_newline" not in state:
        raise InputError(f"{folder.name} lacks image_newline, the token at the end of a row; copy the whole checkpoint")
    line, grids = state["image_newline"].to(where.device, where.dtype), config.image_grid_pinpoints
    pictured, count = config.vision_config.image_size, cells(config.vision_config)

    def see(window: Window) -> Tensor:
        frame = pick_frames(window, 1)[0].image
        pixels = prepare(frame, return_tensors="pt")["pixel_values"][0].to(where.device, where.dtype)
        features = projector(look(tower, pixels, config.vision_feature_layer, False))
        return packed(features, frame.shape[:2], grids, pictured, line)

    return PromptedVLM(folder.name, decoder, tokenizer, see, around(tokenizer, PICTURE, prompt + after),
                       longest(grids, pictured, count), "frames", (tower, projector))


def packed(features: Tensor, size: tuple[int, int], grids: Sequence[Sequence[int]], side: int, line: Tensor) -> Tensor:
    """Cells [1 + tiles, cells, D] of a picture of size (height, width) as tokens [V, D]: the whole picture, then the
    tiles put together, without the bars that made their shape fit, row by row with `line` [D] at each end.

    grids: sizes (height, width) that a picture may be cut to, into squares of `side` pixels.
    """
    from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape, unpad_image

    rows, columns = get_anyres_image_grid_shape(size, [list(grid) for grid in grids], side)
    edge = round(features.shape[1] ** 0.5)
    tiles = features[1:].view(rows, columns, edge, edge, -1).permute(4, 0, 2, 1, 3)
    picture = unpad_image(tiles.flatten(1, 2).flatten(2, 3), size)
    ended = torch.cat([picture, line[:, None, None].expand(-1, picture.shape[1], 1)], -1)
    return torch.cat([features[0], ended.flatten(1).transpose(0, 1)])


def longest(grids: Sequence[Sequence[int]], side: int, cells: int) -> int:
    """The most tokens that a picture of any shape becomes."""
    edge = round(cells ** 0.5)
    return cells + max(height // side * edge * (width // side * edge + 1) for height, width in grids)
