"""Puts the parts together: device, models, bundled recording."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from streams.types import InputError

if TYPE_CHECKING:
    import torch

    from pipeline.models import Models

SWITCH_S = 0.0005
"""How soon a thread that computes in Python lets others do so."""


def choose_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` (the first GPU) or `cuda:N` as a device; that of `spread` is where inputs go. Raises
    InputError for anything else or a GPU that is not there."""
    import torch

    if name in ("auto", "spread"):
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"unknown device {name!r}; use auto, cpu, cuda:N or spread")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name} is not there: {torch.cuda.device_count()} GPUs found; use --device cpu")
    # with a number, as in every list of devices
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


@dataclass(frozen=True)
class ModelOptions:
    """Which models, where and in what precision: devices `auto`, `cpu` or `cuda:N`; models NAME[:FOLDER_OR_ID], a
    folder or an id; None = the same as the verifier's; compiled: None = compiled C where a compiler is found and no
    CUDA graphs; adapter: a folder or id of what cos_sim is measured through, None = the bundled pair's."""

    device: str = "auto"
    model: str = "mini"
    drafter_model: str | None = None
    precision: str = "auto"
    drafter_device: str | None = None
    compiled: bool | None = None
    adapter: str | None = None


def load(options: ModelOptions) -> Models:
    """The models on their device; on a GPU whoever asked for compiling is told which passes stay ordinary. Raises
    InputError for models that cannot be loaded, and where compiling is asked for and impossible."""
    import torch

    from app import terminal
    from pipeline import native
    from pipeline.models import load_models

    device = choose_device(options.device)
    beside = choose_device(options.drafter_device) if options.drafter_device else device
    if device.type == "cpu" and options.model.partition(":")[0] == "mini":
        # measured: below 15 M weights a second thread costs more in barriers than it saves
        torch.set_num_threads(1)
        # two models read side by side: one would wait 5 ms for the other's Python (measured: the first guess comes 4 %
        # sooner, so does the first word)
        sys.setswitchinterval(SWITCH_S)
    captured = bool(options.compiled) and "cuda" in (device.type, beside.type)
    if not native.switch(options.compiled is not False) and options.compiled and not captured:
        raise InputError("--compile needs a C compiler (cc, gcc or clang) that works, and none is here; install one, "
                         "or leave --compile away")
    models = load_models(device, options.model, options.drafter_model, options.precision, beside,
                         options.device == "spread", options.adapter, captured)
    for name, reason in models.ordinary.items():
        if reason is not None:
            terminal.people.print(f"parafovea: --compile makes no CUDA graphs of {name}: {reason}", style="yellow")
    return models


def bundled_recording() -> Path:
    """The recording that comes with the package."""
    return Path(str(files("streams") / "recordings" / "story.aedat4"))


def quiet_libraries() -> None:
    """Keep libraries from writing to the terminal."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it where it is installed


def interactive() -> bool:
    """Whether a person sits at the terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()
