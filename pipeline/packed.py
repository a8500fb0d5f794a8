"""Matrices whose weights do not change, laid out for the processor: a verify pass of eight rows takes three quarters of
the time.

    layer = PackedLinear(320, 960, bias=False).requires_grad_(False)
    with torch.inference_mode():
        y = layer(x)                       # the first call makes the copies

One or two rows are multiplied with a copy that lies column by column, more with one that oneDNN keeps in blocks, as
torch's compiler does with frozen weights; limits were measured inside whole passes, where the caches hold the matrix
before. Results differ from those of the plain layer by rounding only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST, BLOCKED, LARGEST = 100_000, 200_000, 8_000_000
"""Weights of a matrix from which columns save time; from which blocks do, because calling oneDNN costs some too; and
beyond which there are no copies: large models may fill the memory once. Measured on a core with AVX-512."""

FEW = 2
"""Rows up to which columns are faster than blocks."""

ROWS = 16
"""How many rows the blocks are made for: measured, it serves 3 to 160."""


_multiply = torch.ops.mkldnn._linear_pointwise.default
"""Looked up once: torch.ops asks three registries at every call."""


class _Copies(NamedTuple):
    """Where the weights lay and how often they had been changed; the columns, and blocks where they pay; numbers in x
    up to which columns are faster."""

    pointer: int
    version: int
    columns: Tensor
    blocks: Tensor | None
    few: int

    @classmethod
    def of(cls, weight: Tensor) -> _Copies:
        blocks = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS) if weight.numel() >= BLOCKED else None
        outputs, inputs = weight.shape
        # long rows and few of them: columns are short, and slower than blocks even for one row
        few = FEW * inputs if outputs >= inputs else 0
        return cls(weight.data_ptr(), weight._version, weight.t().contiguous().t(), blocks, few)


class PackedLinear(nn.Linear):
    """A linear layer; frozen weights on a processor are laid out anew when nothing is to be learnt through them."""

    _copies: _Copies | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        # a module looks its weights up in Python: asked for once, and without what only the making of copies needs
        weight, bias = self._parameters["weight"], self._parameters["bias"]
        assert weight is not None
        copies = self._copies
        if torch.is_grad_enabled() or weight.requires_grad:
            return F.linear(x, weight, bias)
        # weights that were changed or moved in the meantime are laid out again
        if copies is None or copies.pointer != weight.data_ptr() or copies.version != weight._version:
            if weight.is_inference() or not _packable(weight):
                return F.linear(x, weight, bias)
            copies = self._copies = _Copies.of(weight)
        if copies.blocks is None or x.numel() <= copies.few:
            return F.linear(x, copies.columns, bias)
        product: Tensor = _multiply(x, copies.blocks, bias, "none", [], "")
        return product

    def __getstate__(self) -> dict[str, Any]:
        # blocks can be neither copied nor stored; whoever gets the weights makes them
        return {name: value for name, value in super().__getstate__().items() if name != "_copies"}


def _packable(weight: Tensor) -> bool:
    return (weight.device.type == "cpu" and weight.dtype == torch.float32
            and SMALLEST <= weight.numel() <= LARGEST and torch.backends.mkldnn.is_available())
