"""Checkpoints of draft heads: a folder with config.json and weights under the names their authors publish.

    config, state = read_checkpoint(folder, "train it with: parafovea train eagle")
    check_names(state, wanted={"fc.weight"}, optional={"fc.bias"}, folder=folder)

Nothing is ever ignored in silence: a missing, unexpected or misshapen tensor is an InputError.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.decoder import Decoder
from streams.types import InputError

M = TypeVar("M", bound=torch.nn.Module)

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "medusa_lm_head.safetensors", "medusa_lm_head.pt")
"""Names that authors give to the weights of a draft head."""


def read_checkpoint(folder: Path, remedy: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """config.json and the weights of a folder, in float32. Raises InputError when they are not there or unreadable."""
    file = next((folder / name for name in WEIGHT_FILES if (folder / name).exists()), None)
    if file is None or not (folder / "config.json").exists():
        raise InputError(f"no checkpoint in {folder}: expected config.json and {' or '.join(WEIGHT_FILES[:2])}; "
                         f"{remedy}")
    try:
        config = json.loads((folder / "config.json").read_text())
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # the readers of JSON, safetensors and pickles each have errors of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"the checkpoint in {folder} cannot be read ({reason}); {remedy}") from error
    return config, {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def check_names(state: dict[str, Tensor], wanted: set[str], optional: set[str], folder: Path) -> None:
    """Raises InputError naming what a checkpoint lacks or has too much."""
    if missing := sorted(wanted - set(state)):
        raise InputError(f"the checkpoint in {folder} lacks {len(missing)} tensors, first {missing[0]}; it is of "
                         "another kind of drafter, or damaged")
    if unexpected := sorted(set(state) - wanted - optional):
        raise InputError(f"the checkpoint in {folder} has {len(unexpected)} tensors that do not belong there, first "
                         f"{unexpected[0]}; it is of another kind of drafter")


def padded(words: int) -> int:
    """Rows of a head for so many words where its authors round up to a multiple of 64."""
    return -(-words // 64) * 64


def load_module(module: torch.nn.Module, state: dict[str, Tensor], folder: Path) -> None:
    """Load weights whose names are known to fit. Raises InputError where a shape does not."""
    own = module.state_dict()
    for name, value in own.items():
        if state[name].shape != value.shape:
            raise InputError(f"the checkpoint in {folder} was made for another verifier: {name} is "
                             f"{list(state[name].shape)}, this pair needs {list(value.shape)}")
    module.load_state_dict(state)


SAMPLED = 64
"""Numbers of each weight that a fingerprint reads."""


def fingerprint(decoder: torch.nn.Module) -> str:
    """Says which weights a decoder has: what was learnt from one decoder's states may not fit another of its sizes."""
    digest = hashlib.sha256()
    for name, weight in decoder.named_parameters():
        some = weight.detach().flatten()[::max(1, weight.numel() // SAMPLED)]
        digest.update(name.encode() + some.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def beside(module: M, verifier: Decoder) -> M:
    """A module ready for inference where the verifier is and in its type."""
    weight = verifier.embed.weight
    return module.eval().requires_grad_(False).to(weight.device, weight.dtype)


def write_checkpoint(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Write config.json and model.safetensors, weights in 16 bit."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file({name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
               for name, value in state.items()}, folder / "model.safetensors", metadata={"format": "pt"})
