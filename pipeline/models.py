"""The models of one program: the verifier, the event VLM that guesses, the adapter between them.

    models = load_models(torch.device("cpu"))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from pipeline.adapters import BottleneckAdapter, load_adapter
from pipeline.session import DecoderSession
from pipeline.text import Tokenizer
from streams.types import Window


class OpensSessions(Protocol):
    """A VLM on our own decoder: its sessions can also be extended and rewound, as a drafter needs."""

    name: str
    hidden_size: int

    def open(self, window: Window, prompt: str) -> DecoderSession:
        """Begin an answer."""

    @property
    def parameters(self) -> int:
        """Number of weights."""


@dataclass(frozen=True)
class Models:
    """rgb verifies, event drafts (None = no event VLM), adapter maps event states to rgb states (None = no cos_sim)."""

    rgb: OpensSessions
    event: OpensSessions | None
    adapter: BottleneckAdapter | None
    tokenizer: Tokenizer

    @property
    def summary(self) -> str:
        """One sentence for people."""
        checker = f"{self.rgb.name} ({_size(self.rgb.parameters)}) checks"
        if self.event is None:
            return f"no event VLM, {checker}"
        return f"{self.event.name} ({_size(self.event.parameters)}) guesses, {checker}"


def _size(parameters: int) -> str:
    return f"{parameters / 1e6:.1f} M"


def load_models(device: torch.device, folder: Path | None = None) -> Models:
    """Load the bundled pair, or one that `parafovea train mini` left in a folder."""
    from pipeline.vlms import mini

    rgb, event = mini.load("rgb", folder, device), mini.load("event", folder, device)
    directory = (folder or mini.WEIGHTS) / "adapter-L1"
    adapter = load_adapter(directory, device) if (directory / "model.safetensors").exists() else None
    return Models(rgb, event, adapter, rgb.tokenizer)
