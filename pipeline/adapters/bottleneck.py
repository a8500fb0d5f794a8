"""Levels L1 to L3: narrow layers that look at one state at a time.

    aligned = BottleneckAdapter(160, 320, bottleneck=64)(event_states)      # [..., D_event] -> [..., D_rgb]
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.adapters.adapter import DROPOUT, Adapter, projection


class BottleneckAdapter(Adapter):
    """L1: LN(h + alpha * Up(Drop(GELU(Down(LN h))))), after an input projection where the widths differ.

    Shape of the original study's HiddenStateAdapter; alpha is learnt and starts at 0.1, Up starts at zero.
    """

    name = "L1"

    def __init__(self, inputs: int, outputs: int, bottleneck: int) -> None:
        super().__init__()
        self.sizes = {"inputs": inputs, "outputs": outputs, "bottleneck": bottleneck}
        self.project = projection(inputs, outputs)
        self.norm_in = nn.LayerNorm(outputs)
        self.down = nn.Linear(outputs, bottleneck, bias=False)
        self.up = nn.Linear(bottleneck, outputs, bias=False)
        self.drop = nn.Dropout(DROPOUT)
        self.alpha = nn.Parameter(torch.tensor(0.1))
        self.norm_out = nn.LayerNorm(outputs)
        nn.init.zeros_(self.up.weight)

    def forward(self, states: Tensor) -> Tensor:
        """Map states [..., D_event] to [..., D_rgb]."""
        h = self.project(states)
        aligned: Tensor = self.norm_out(h + self.alpha * self.up(self.drop(F.gelu(self.down(self.norm_in(h))))))
        return aligned


class Block(nn.Module):
    """h + alpha * Up(Drop(GELU(norm Down(norm h)))); which of the two norms there is, is the level's."""

    def __init__(self, size: int, narrow: int, first: bool) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(size) if first else nn.Identity()
        self.down = nn.Linear(size, narrow, bias=False)
        self.norm_narrow = nn.Identity() if first else nn.LayerNorm(narrow)
        self.up = nn.Linear(narrow, size, bias=False)
        self.drop = nn.Dropout(DROPOUT)
        self.alpha = nn.Parameter(torch.tensor(0.1))
        nn.init.zeros_(self.up.weight)

    def forward(self, h: Tensor) -> Tensor:
        """The same shape."""
        narrow = F.gelu(self.norm_narrow(self.down(self.norm_in(h))))
        return h + self.alpha * self.up(self.drop(narrow))


class StackedAdapter(Adapter):
    """L2: three of L1's blocks, then LN (the study's MultiLayerBottleneckAdapter)."""

    name = "L2"

    def __init__(self, inputs: int, outputs: int, bottleneck: int) -> None:
        super().__init__()
        self.sizes = {"inputs": inputs, "outputs": outputs, "bottleneck": bottleneck}
        self.project = projection(inputs, outputs)
        self.blocks = nn.Sequential(*(Block(outputs, bottleneck, first=True) for _ in range(3)))
        self.norm_out = nn.LayerNorm(outputs)

    def forward(self, states: Tensor) -> Tensor:
        """Map states [..., D_event] to [..., D_rgb]."""
        aligned: Tensor = self.norm_out(self.blocks(self.project(states)))
        return aligned


class WideAdapter(Adapter):
    """L3: LN, three blocks that are normalised in their middle, LN (the study's WideBottleneckAdapter as trained)."""

    name = "L3"

    def __init__(self, inputs: int, outputs: int, bottleneck: int) -> None:
        super().__init__()
        self.sizes = {"inputs": inputs, "outputs": outputs, "bottleneck": bottleneck}
        self.project = projection(inputs, outputs)
        self.norm_in = nn.LayerNorm(outputs)
        self.blocks = nn.Sequential(*(Block(outputs, bottleneck, first=False) for _ in range(3)))
        self.norm_out = nn.LayerNorm(outputs)

    def forward(self, states: Tensor) -> Tensor:
        """Map states [..., D_event] to [..., D_rgb]."""
        aligned: Tensor = self.norm_out(self.blocks(self.norm_in(self.project(states))))
        return aligned
