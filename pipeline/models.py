"""The models of one program: the verifier, the event VLM that guesses, the adapter between them.

    models = load_models(torch.device("cpu"))
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from urllib.parse import parse_qsl

import torch

from pipeline import graphs, vlms
from pipeline.adapters import BottleneckAdapter, load_adapter
from pipeline.controller import Checks, Costs
from pipeline.hub import located
from pipeline.placement import Placement, place
from pipeline.prompted import PromptedVLM
from pipeline.shards import read_json
from pipeline.text import Tokenizer
from pipeline.timing import session_seconds, verify_seconds
from pipeline.translation import adopt, relation
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
    costs: Costs = field(default_factory=Costs)
    """What checks and drafts cost here, for all conversations: checks as measured when the models were loaded."""
    through_text: bool = False
    """Whether the two have different vocabularies, so that guesses of the event VLM are written out and read again."""
    ordinary: Mapping[str, str | None] = field(default_factory=dict)
    """By model, why its passes over few rows are no CUDA graphs, None where they are; empty = not asked for."""

    @property
    def default_drafter(self) -> str:
        """Who guesses when nobody is named: the event VLM, without one what was said before."""
        return "recall" if self.event is None else "vlm"

    @property
    def summary(self) -> str:
        """One sentence for people."""
        recorded = [name for name, reason in self.ordinary.items() if reason is None]
        return self._who + (f"; CUDA graphs: {', '.join(recorded)}" if recorded else "")

    @property
    def _who(self) -> str:
        verifier = f"{self.rgb.name} ({_size(self.rgb.parameters)})"
        checker = f"{verifier} checks"
        if self.rgb.reads == "events":
            return f"{verifier} answers by itself, from events alone"
        if self.rgb.reads == "nothing":
            checker += ", without seeing anything"
        if self.event is None:
            return f"no event VLM, {checker}"
        way = " through text" if self.through_text else ""
        return f"{self.event.name} ({_size(self.event.parameters)}) guesses{way}, {checker}"


def _size(parameters: int) -> str:
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.1f} M"


DEFAULT_MODEL = "mini"

ANY = "auto"
"""The module that loads whatever transformers knows."""

NONE = "none"
"""The word for no model: without an event VLM nobody guesses from events; without a verifier it answers alone."""


def load_models(device: torch.device, model: str = DEFAULT_MODEL, drafter_model: str | None = None,
                precision: str = "auto", drafter_device: torch.device | None = None, spread: bool = False,
                adapter: str | None = None, captured: bool = False) -> Models:
    """Load a verifier and an event VLM, each by NAME[:FOLDER_OR_ID], by a folder or by an id; a name is a module of
    pipeline.vlms. Options of its own may follow: eventgpt:FOLDER?conflict=last&slices=3.

    drafter_model: the other side of the bundled pair, or of one trained like it, when None; NONE = no event VLM.
    model: NONE = the event VLM answers by itself. drafter_device: that of the verifier when None.
    spread: the verifier over all devices, through transformers and accelerate. adapter: a folder or id of an adapter
    L1 trained between the two, through which cos_sim is measured; None = the one beside the bundled pair. captured:
    whether passes over few rows are CUDA graphs, where they can be (pipeline.graphs).
    Raises InputError for a name or folder that does not exist, and for an adapter of other sizes.
    """
    drafter_model = drafter_model or (model if model.partition(":")[0] == DEFAULT_MODEL else NONE)
    where, beside = place(device, precision, spread), place(drafter_device or device, precision)
    if model == drafter_model == NONE:
        raise InputError("neither --model nor --drafter-model names a model; choose at least one")
    if model == NONE:
        alone = _load(drafter_model, "event", beside)
        ordinary = {alone.name: graphs.use(alone.decoder)} if captured else {}
        return Models(alone, None, None, alone.tokenizer, WEIGHTS, _measured(alone, beside.device), ordinary=ordinary)
    rgb = _load(model, "rgb", where)
    event = None if drafter_model == NONE else _load(drafter_model, "event", beside)
    how = "same" if event is None else relation(event.tokenizer, rgb.tokenizer)
    if how == "words" and isinstance(event, PromptedVLM):
        adopt(event, rgb.tokenizer)
    ordinary = {vlm.name: graphs.use(vlm.decoder) for vlm in (rgb, event) if vlm is not None} if captured else {}
    # an adapter belongs to the two models it was trained between: equal sizes prove nothing
    between = _adapter_beside(drafter_model, beside.device) if model == drafter_model else None
    if adapter is not None:
        between = _adapter_of(located(adapter), rgb, event, beside.device)
    return Models(rgb, event, between, rgb.tokenizer, _folder(model) or WEIGHTS, _measured(rgb, device), how == "text",
                  ordinary)


def _measured(verifier: VLM, device: torch.device) -> Costs:
    if verifier.decoder is None:
        return Costs(Checks.timed(session_seconds(verifier, device)))
    return Costs(Checks.timed(verify_seconds(verifier.decoder)))


def names() -> list[str]:
    """Names of all model families: the modules of pipeline.vlms."""
    return sorted(module.name for module in pkgutil.iter_modules(vlms.__path__))


def _load(spec: str, side: str, where: Placement) -> VLM:
    spec, _, query = spec.partition("?")
    name, _, rest = spec.partition(":")
    if name in names():
        folder = located(rest) if rest else None
    elif Path(spec).is_dir() or "/" in spec:
        folder = located(spec)
        name = family(folder)
    else:
        raise InputError(f"unknown model {spec!r}; use NAME[:FOLDER] with one of {', '.join(names())}, the folder of a "
                         "checkpoint, or its id on the Hugging Face hub")
    if where.int8 and name != DEFAULT_MODEL:
        raise InputError(f"--dtype int8 is for the bundled pair, and {spec} is none; use fp32, 8-bit or 4-bit")
    if where.spread and name != DEFAULT_MODEL:
        # the own decoder lies on one device
        name = ANY
    module, options = importlib.import_module(f"pipeline.vlms.{name}"), dict(parse_qsl(query))
    if unknown := sorted(set(options) - set(list(signature(module.load).parameters)[3:])):
        raise InputError(f"{name} has no option {unknown[0]!r}; its file in pipeline/vlms says which it has")
    vlm: VLM = module.load(side, folder, where, **options)
    return vlm


def family(folder: Path) -> str:
    """Which module of pipeline.vlms loads a folder, told by its config.json: ANY where none names its type.

    Raises InputError where there is no config.json.
    """
    if (folder / "mini-rgb").is_dir() or (folder / "mini-event").is_dir():
        return DEFAULT_MODEL
    kind = read_json(folder / "config.json").get("model_type")
    for name in names():
        if kind in getattr(importlib.import_module(f"pipeline.vlms.{name}"), "MODEL_TYPES", ()):
            return name
    return ANY


def _folder(spec: str) -> Path | None:
    spec = spec.partition("?")[0]
    name, _, rest = spec.partition(":")
    path = rest if name in names() else spec
    return located(path) if path else None


def _adapter_beside(spec: str, device: torch.device) -> BottleneckAdapter | None:
    """The adapter in a pair's folder, when there is one."""
    directory = (_folder(spec) or WEIGHTS) / "adapter-L1"
    return _adapter_in(directory, device) if (directory / "model.safetensors").exists() else None


def _adapter_in(directory: Path, device: torch.device) -> BottleneckAdapter:
    adapter = load_adapter(directory, device)
    if not isinstance(adapter, BottleneckAdapter):
        raise InputError(f"{directory} holds adapter {adapter.name}, and cos_sim is measured through L1; train one "
                         "with: parafovea train adapter:L1")
    return adapter


def _adapter_of(directory: Path, rgb: VLM, event: VLM | None, device: torch.device) -> BottleneckAdapter:
    """An adapter that somebody named for these two models."""
    if event is None:
        raise InputError("--adapter compares an event VLM with the RGB VLM; name one with --drafter-model")
    adapter = _adapter_in(directory, device)
    wanted = event.hidden_size, rgb.hidden_size
    if (found := (adapter.sizes["inputs"], adapter.sizes["outputs"])) != wanted:
        raise InputError(f"the adapter in {directory} maps {found[0]} numbers to {found[1]}, and {event.name} and "
                         f"{rgb.name} have {wanted[0]} and {wanted[1]}; train one with: parafovea "
                         "train adapter:L1")
    return adapter
