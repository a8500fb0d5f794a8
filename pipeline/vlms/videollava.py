"""Video-LLaVA on our decoder: eight frames through a CLIP-like tower, Vicuna (Lin et al. 2023).

    vlm = load("rgb", Path("Video-LLaVA-7B-hf"), place(torch.device("cuda:0")))

The frames are spread evenly over the whole window, in the same way and with the same prompt wherever the model is
used (the original study trained on the whole clip and measured on its beginning). Checkpoints are those of
`transformers` (VideoLlavaForConditionalGeneration); its tower for single pictures is not loaded.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from pipeline.assembly import fill, fill_decoder
from pipeline.inputs import FRAMES, pick_frames
from pipeline.pictures import Preparation
from pipeline.placement import Placement, Size, require
from pipeline.prompted import PromptedVLM
from pipeline.shards import Shards
from pipeline.vlms.llava import AFTER, PROMPT, around, cells, decoder_name, look, opened, plain_name, skeleton
from pipeline.vocabulary import HubTokenizer
from streams.types import Window

MODEL_TYPES = ("video_llava",)
"""What config.json calls models that this file loads."""

PICTURE = "<video>"


def load(side: str, folder: Path | None, where: Placement) -> PromptedVLM:
    """Load a checkpoint's folder. Raises InputError where it does not fit or does not belong here."""
    folder, config = opened(side, folder, "videollava")
    decoder, tower, projector = skeleton(config)
    require(where, Size.of(decoder, tower, projector), folder.name)
    state, tokenizer = Shards.of(folder).renamed(plain_name), HubTokenizer.of(folder, AFTER)
    prepare = Preparation.of(folder, config.vision_config.image_size)
    fill_decoder(decoder, state.renamed(decoder_name), where, folder.name, tokenizer.size)
    fill(tower, state.under("video_tower."), where, folder.name)
    fill(projector, state.under("multi_modal_projector."), where, folder.name)

    def see(window: Window) -> Tensor:
        pixels = prepare([frame.image for frame in pick_frames(window, FRAMES)]).to(where.device, where.dtype)
        # every frame keeps its class token: 257 states of each
        return projector(look(tower, pixels, config.vision_feature_layer, True)).flatten(0, 1)

    return PromptedVLM(folder.name, decoder, tokenizer, see, around(tokenizer, PICTURE, PROMPT),
                       FRAMES * (cells(config.vision_config) + 1), "frames", (tower, projector))
