"""The models of one program: the verifier, the event VLM that guesses, the adapter between them.

    models = load_models(torch.device("cpu"))
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pipeline import vlms
from pipeline.adapters import BottleneckAdapter, load_adapter
from pipeline.text import Tokenizer
from pipeline.timing import verify_seconds
from pipeline.types import VLM
from streams.types import InputError

WEIGHTS = Path(__file__).parent / "weights"
"""The bundled checkpoints."""


@dataclass(frozen=True)
class Models:
    """rgb verifies, event drafts (None = no event VLM), adapter maps event states to rgb states (None = no cos_sim)."""

    rgb: VLM
    event: VLM | None
    adapter: BottleneckAdapter | None
    tokenizer: Tokenizer
    heads: Path = WEIGHTS
    """Folder of the draft heads that were trained for this verifier."""
    verify_s: Mapping[int, float] = field(default_factory=dict)
    """Seconds of a check by its rows, measured when the models were loaded; empty = not measured."""

    @property
    def summary(self) -> str:
        """One sentence for people."""
        checker = f"{self.rgb.name} ({_size(self.rgb.parameters)}) checks"
        if self.event is None:
            return f"no event VLM, {checker}"
        return f"{self.event.name} ({_size(self.event.parameters)}) guesses, {checker}"


def _size(parameters: int) -> str:
    return f"{parameters / 1e6:.1f} M"


DEFAULT_MODEL = "mini"


def load_models(device: torch.device, model: str = DEFAULT_MODEL, drafter_model: str = DEFAULT_MODEL) -> Models:
    """Load a verifier and an event VLM by NAME[:FOLDER]; a name is a module of pipeline.vlms.

    Raises InputError for a name or folder that does not exist and for two different vocabularies.
    """
    rgb, event = _load(model, "rgb", device), _load(drafter_model, "event", device)
    if rgb.tokenizer.vocabulary != event.tokenizer.vocabulary:
        raise InputError(f"{model} and {drafter_model} have different vocabularies, so one cannot guess for the other; "
                         "use two models that were trained together")
    # an adapter belongs to the two models it was trained between: equal sizes prove nothing
    adapter = _adapter_beside(drafter_model, device) if model == drafter_model else None
    folder = model.partition(":")[2]
    measured = {} if rgb.decoder is None else verify_seconds(rgb.decoder)
    return Models(rgb, event, adapter, rgb.tokenizer, Path(folder) if folder else WEIGHTS, measured)


def _load(spec: str, side: str, device: torch.device) -> VLM:
    name, _, folder = spec.partition(":")
    known = sorted(module.name for module in pkgutil.iter_modules(vlms.__path__))
    if name not in known:
        raise InputError(f"unknown model {spec!r}; use NAME[:FOLDER] with one of {', '.join(known)}")
    module = importlib.import_module(f"pipeline.vlms.{name}")
    vlm: VLM = module.load(side, Path(folder) if folder else None, device)
    return vlm


def _adapter_beside(spec: str, device: torch.device) -> BottleneckAdapter | None:
    """The adapter in a pair's folder, when there is one."""
    folder = spec.partition(":")[2]
    directory = (Path(folder) if folder else WEIGHTS) / "adapter-L1"
    if not (directory / "model.safetensors").exists():
        return None
    adapter = load_adapter(directory, device)
    if not isinstance(adapter, BottleneckAdapter):
        raise InputError(f"{directory} holds adapter {adapter.name}, and cos_sim is measured through L1; train it "
                         "again with: parafovea train adapter:L1")
    return adapter
