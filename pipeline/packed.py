"""Matrices whose weights do not change, laid out for the processor: a verify pass of eight rows takes three quarters of
the time.

    layer = PackedLinear(320, 960, bias=False).requires_grad_(False)
    with torch.inference_mode():
        y = layer(x)                       # the first call makes the copies

One or two rows are multiplied with a copy that lies column by column, more with one that oneDNN keeps in blocks, as
torch's compiler does with frozen weights. Results differ from those of the plain layer by rounding only.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST, BLOCKED, LARGEST = 130_000, 200_000, 8_000_000
"""Weights of a matrix from which columns save time; from which blocks do, because calling oneDNN costs some too; and
beyond which there are no copies: large models may fill the memory once. Measured on a core with AVX-512."""

FEW = 2
"""Rows up to which columns are faster than blocks."""

ROWS = 16
"""How many rows the blocks are made for: measured, it serves 3 to 160."""


class PackedLinear(nn.Linear):
    """A linear layer; frozen weights on a processor are laid out anew when nothing is to be learnt through them."""

    _copies: tuple[tuple[int, int], Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        weight = self.weight
        if torch.is_grad_enabled() or weight.requires_grad or weight.is_inference() or not _packable(weight):
            return F.linear(x, weight, self.bias)
        # weights that were changed or moved in the meantime are laid out again
        state = (weight.data_ptr(), weight._version)
        if self._copies is None or self._copies[0] != state:
            self._copies = (state, weight.t().contiguous().t(),
                            torch.ops.mkldnn._reorder_linear_weight(weight, ROWS))
        _, columns, blocks = self._copies
        if x.numel() <= FEW * self.in_features or weight.numel() < BLOCKED:
            return F.linear(x, columns, self.bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, blocks, self.bias, "none", [], "")
        return product

    def __getstate__(self) -> dict[str, Any]:
        # blocks can be neither copied nor stored; whoever gets the weights makes them
        return {name: value for name, value in super().__getstate__().items() if name != "_copies"}


def _packable(weight: Tensor) -> bool:
    return (weight.device.type == "cpu" and weight.dtype == torch.float32
            and SMALLEST <= weight.numel() <= LARGEST and torch.backends.mkldnn.is_available())
