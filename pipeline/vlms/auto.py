"""Any VLM that transformers' Auto class loads: Qwen-VL, SmolVLM, InternVL, Gemma and so on.

    vlm = load("rgb", Path("Qwen2.5-VL-3B-Instruct"), place(torch.device("cuda:0")))

Its frames are given as pictures, with the model's own processor and chat template. Drafts are checked in trees where
the model scores a tree as it scores the tree's paths, which is tried out when it is loaded, and in chains where not:
`vlm.trees` says which. Options behind the folder: ?frames=4, how many frames of a window it is shown.

Draft heads and adapters need the own decoder and do not work with these models; recall and the event VLM do.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.decoder import FINAL, Decoder
from pipeline.hub_session import HubSession, input_device, trees_work
from pipeline.inputs import pick_frames
from pipeline.placement import Placement, Size, require
from pipeline.prompted import harmless
from pipeline.vocabulary import HubTokenizer, endings
from streams.types import InputError, Window

FRAMES = 4
SINGLE = ("llava", "llava_next", "vipllava", "paligemma")
"""Types that were trained on one picture at a time."""

MARKS = ("image_token_id", "image_token_index", "video_token_id")
"""Fields of a configuration that name the tokens in whose place pictures are read."""

SHORT = ("sliding_attention", "chunked_attention")
"""Layers that see only what is near: a tree's mask would have to differ from layer to layer, so they get chains."""


class AutoVLM:
    """A model of transformers with its processor."""

    decoder: Decoder | None = None
    taps = (FINAL,)
    reads: Literal["frames", "events", "nothing"] = "frames"

    def __init__(self, name: str, model: Any, processor: Any, tokenizer: HubTokenizer, frames: int) -> None:
        self.name, self._model, self._processor, self.tokenizer, self._frames = (name, model, processor, tokenizer,
                                                                                 frames)
        text = model.config.get_text_config()
        self.hidden_size: int = text.hidden_size
        self.parameters: int = sum(p.numel() for p in model.parameters())
        self._marks = frozenset(i for field in MARKS if (i := getattr(model.config, field, None)) is not None)
        words = [i for i in range(tokenizer.size) if len(tokenizer.bytes_of(i)) > 1][:9]
        near = set(getattr(text, "layer_types", None) or ()) & set(SHORT)
        self.trees = not near and trees_work(model, words)

    def open(self, window: Window, prompt: str) -> HubSession:
        """Begin an answer; the frames are read by Session.prefill()."""
        question = harmless(prompt.strip(), self.tokenizer.specials)
        return HubSession(self._model, lambda: self.inputs(window, question), self._marks, self.tokenizer.size,
                          self.trees)

    def look(self, window: Window) -> None:
        """Pictures are read together with the question: nothing to do before it."""

    def inputs(self, window: Window, question: str) -> Mapping[str, Tensor]:
        """What the model is given: tokens and pixels. Raises InputError where the processor refuses."""
        images = [Image.fromarray(frame.image) for frame in pick_frames(window, self._frames)]
        content = [*({"type": "image", "image": image} for image in images), {"type": "text", "text": question}]
        try:
            made = self._processor.apply_chat_template([{"role": "user", "content": content}], tokenize=True,
                                                       add_generation_prompt=True, return_dict=True,
                                                       return_tensors="pt")
        except Exception as error:  # every family's processor has errors of its own
            raise InputError(f"the processor of {self.name} refuses {len(images)} pictures and a question "
                             f"({_reason(error)}); try another number of frames: ?frames=1") from error
        moved: Mapping[str, Tensor] = made.to(input_device(self._model))
        return {name: value.to(self._model.dtype) if value.is_floating_point() else value
                for name, value in moved.items()}


def load(side: str, folder: Path | None, where: Placement, frames: str = "") -> AutoVLM:
    """Load a checkpoint's folder. Raises InputError where transformers does not know it or it does not fit."""
    from transformers import AutoConfig, AutoModelForImageTextToText
    from transformers.utils import logging

    if side != "rgb" or folder is None:
        raise InputError("auto reads frames: use it as --model auto:FOLDER")
    if frames and not (frames.isdigit() and int(frames)):
        raise InputError(f"auto shows a whole number of frames, got frames={frames}")
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
        with torch.device("meta"):
            empty = AutoModelForImageTextToText.from_config(config)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"transformers has no model for {folder} that reads pictures and writes text "
                         f"({_reason(error)})") from error
    require(where, size_of(empty, config.get_text_config()), folder.name)
    processor, quantised = load_processor(folder), {}
    logging.disable_progress_bar()
    if where.bits:
        from transformers import BitsAndBytesConfig

        quantised = {"quantization_config": BitsAndBytesConfig(
            load_in_4bit=where.bits == 4, load_in_8bit=where.bits == 8, bnb_4bit_compute_dtype=where.dtype,
            bnb_4bit_quant_type="nf4")}
    model = AutoModelForImageTextToText.from_pretrained(str(folder), dtype=where.dtype, local_files_only=True,
                                                        device_map="auto" if where.spread else {"": where.device},
                                                        **quantised)
    model.eval().requires_grad_(False)
    ends = endings(folder)
    count = int(frames) if frames else 1 if config.model_type in SINGLE else FRAMES
    return AutoVLM(folder.name, model, processor, HubTokenizer(processor.tokenizer, ends), count)


def size_of(model: nn.Module, text: Any) -> Size:
    """Sizes of any model on the meta device; matrices are what bitsandbytes replaces: linear layers but the head."""
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    matrices = sum(module.weight.numel() for name, module in linear if not name.endswith("lm_head"))
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    everything = sum(p.numel() for p in model.parameters())
    return Size(matrices, everything - matrices, 2 * text.num_hidden_layers * heads * head)


def load_processor(folder: Path) -> Any:
    """The processor of a folder. transformers wants torchvision for processors that could also read videos; without
    it they are put together without that part. Raises InputError where that does not work either."""
    from transformers import AutoProcessor

    try:
        if importlib.util.find_spec("torchvision"):
            return AutoProcessor.from_pretrained(str(folder), local_files_only=True)
        return _without_videos(folder)
    except Exception as error:  # several libraries, each with errors of its own
        raise InputError(f"the processor in {folder} cannot be read ({_reason(error)}); it may need: pip install "
                         "torchvision num2words") from error


def _without_videos(folder: Path) -> Any:
    from transformers import AutoConfig, AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    known = PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(str(folder), local_files_only=True))]
    if "video_processor" not in known.get_attributes():
        return AutoProcessor.from_pretrained(str(folder), local_files_only=True)

    class WithoutVideos(known):  # type: ignore[misc, valid-type]
        @classmethod
        def get_attributes(cls) -> list[str]:
            attributes: list[str] = known.get_attributes()
            return [name for name in attributes if name != "video_processor"]

    return WithoutVideos.from_pretrained(str(folder), local_files_only=True)


def _reason(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
