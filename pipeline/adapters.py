"""Adapters between the event VLM's hidden states and the RGB VLM's: what cos_sim is measured through.

    adapter = load_adapter(directory)
    aligned = adapter(event_states)          # [N, D_event] -> [N, D_rgb]
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class BottleneckAdapter(nn.Module):
    """L1: LN(h + alpha * Up(Drop(GELU(Down(LN h))))), after an input projection where the widths differ.

    Shape of the original study's HiddenStateAdapter; alpha is learnt and starts at 0.1, Up starts at zero.
    """

    name = "L1"

    def __init__(self, inputs: int, outputs: int, bottleneck: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.sizes = (inputs, outputs, bottleneck)
        self.project = nn.Linear(inputs, outputs) if inputs != outputs else nn.Identity()
        self.norm_in = nn.LayerNorm(outputs)
        self.down = nn.Linear(outputs, bottleneck, bias=False)
        self.up = nn.Linear(bottleneck, outputs, bias=False)
        self.drop = nn.Dropout(dropout)
        self.alpha = nn.Parameter(torch.tensor(0.1))
        self.norm_out = nn.LayerNorm(outputs)
        nn.init.zeros_(self.up.weight)

    def forward(self, states: Tensor) -> Tensor:
        """Map states [..., D_event] to [..., D_rgb]."""
        h = self.project(states)
        aligned: Tensor = self.norm_out(h + self.alpha * self.up(self.drop(F.gelu(self.down(self.norm_in(h))))))
        return aligned


def save_adapter(adapter: BottleneckAdapter, directory: Path, **facts: float) -> None:
    """Write config.json (sizes and measured facts) and model.safetensors."""
    directory.mkdir(parents=True, exist_ok=True)
    inputs, outputs, bottleneck = adapter.sizes
    config = {"variant": adapter.name, "inputs": inputs, "outputs": outputs, "bottleneck": bottleneck, **facts}
    (directory / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file({name: value.contiguous() for name, value in adapter.state_dict().items()},
              directory / "model.safetensors")


def load_adapter(directory: Path, device: torch.device | None = None) -> BottleneckAdapter:
    """Read an adapter for inference. Raises ValueError for another variant."""
    config = json.loads((directory / "config.json").read_text())
    if config["variant"] != BottleneckAdapter.name:
        raise ValueError(f"{directory.name} is adapter {config['variant']}, only {BottleneckAdapter.name} is known")
    adapter = BottleneckAdapter(config["inputs"], config["outputs"], config["bottleneck"])
    adapter.load_state_dict(load_file(directory / "model.safetensors"))
    return adapter.eval().requires_grad_(False).to(device or torch.device("cpu"))
