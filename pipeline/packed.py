"""Matrices whose weights do not change, laid out for the processor: a verify pass of eight rows takes three quarters of
the time.

    layer = PackedLinear(320, 960, bias=False).requires_grad_(False)
    with torch.inference_mode():
        y = layer(x)                       # the first call makes the copies

One or two rows are multiplied with a copy that lies column by column, more with one that oneDNN keeps in blocks, as
torch's compiler does with frozen weights; limits were measured inside whole passes, where the caches hold the matrix
before. Results differ from those of the plain layer by rounding only.

    in_eight_bits(decoder.layers)          # LOSSY: another model, a third faster

Then weights are rounded to 8 bits with a scale per output and inputs with a scale per row: rows do not influence each
other and whole numbers add up exactly, so a product of several rows is bit for bit that of each row alone. Attention is
not in 8 bits: it differs by some 4e-7 between a row alone and among others.

Where compiled passes are switched on (pipeline.native), one layout of theirs takes the place of columns and blocks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import native
from streams.types import InputError

SMALLEST, BLOCKED, LARGEST = 100_000, 200_000, 8_000_000
"""Weights of a matrix from which columns save time; from which blocks do, because calling oneDNN costs some too; and
beyond which there are no copies: large models may fill the memory once. Measured on a core with AVX-512."""

FEW = 2
"""Rows up to which columns are faster than blocks."""

GREATEST, SMALL = 127, 1e-12
"""Of whole numbers in 8 bits; and what a scale is made of at least, so that rows of zeros have one."""

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


class _Native(NamedTuple):
    """Where the weights lay and how often they had been changed; their layout for native.c."""

    pointer: int
    version: int
    matrix: native.NativeMatrix


class _Rounded(NamedTuple):
    """Where the weights lay and how often they had been changed; whole numbers int8 [in, out] and their scales [out],
    once column by column, which is faster for one row."""

    pointer: int
    version: int
    whole: Tensor
    columns: Tensor
    scales: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> _Rounded:
        scales = weight.abs().amax(1).clamp_min(SMALL) / GREATEST
        whole = (weight / scales[:, None]).round().to(torch.int8)
        return cls(weight.data_ptr(), weight._version, whole.t().contiguous(), whole.t(), scales)

    def multiply(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out], each row rounded by its own scale."""
        rows = x.reshape(-1, x.shape[-1])
        scales = torch.linalg.vector_norm(rows, float("inf"), -1, True).clamp_min_(SMALL).div_(GREATEST)
        whole = rows.div(scales).round_().to(torch.int8)
        product = torch._int_mm(whole, self.columns if len(rows) == 1 else self.whole)
        return product.mul(scales).mul_(self.scales).view(*x.shape[:-1], -1)


class PackedLinear(nn.Linear):
    """A linear layer; frozen weights on a processor are laid out anew when nothing is to be learnt through them."""

    _copies: _Copies | _Native | _Rounded | None = None
    _eight_bits = False

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        # a module looks its weights up in Python: asked for once, and without what only the making of copies needs
        weight, bias = self._parameters["weight"], self._parameters["bias"]
        assert weight is not None
        copies = None if torch.is_grad_enabled() or weight.requires_grad else self._current(weight)
        if copies is None:
            return F.linear(x, weight, bias)
        if not isinstance(copies, _Copies):
            exact = copies.multiply(x) if isinstance(copies, _Rounded) else copies.matrix.multiply(x)
            return exact if bias is None else exact + bias
        if copies.blocks is None or x.numel() <= copies.few:
            return F.linear(x, copies.columns, bias)
        product: Tensor = _multiply(x, copies.blocks, bias, "none", [], "")
        return product

    def compiled(self) -> native.NativeMatrix | None:
        """The weights as they are now, without the bias, laid out for native.c; None where they are not."""
        copies = None if self.weight.requires_grad else self._current(self.weight)
        return copies.matrix if isinstance(copies, _Native) else None

    def _current(self, weight: Tensor) -> _Copies | _Native | _Rounded | None:
        """Copies of the weights as they are now, None where there can be none."""
        copies = self._copies
        # weights that were changed or moved in the meantime are laid out again
        if copies is None or copies.pointer != weight.data_ptr() or copies.version != weight._version:
            if not _packable(weight) or weight.is_inference():
                return None
            copies = self._copies = self._laid_out(weight)
        return copies

    def _laid_out(self, weight: Tensor) -> _Copies | _Native | _Rounded:
        if self._eight_bits:
            return _Rounded.of(weight)
        if native.switched_on():
            return _Native(weight.data_ptr(), weight._version, native.NativeMatrix(weight))
        return _Copies.of(weight)

    @property
    def eight_bits(self) -> bool:
        """Whether it is multiplied in 8 bits."""
        return self._eight_bits

    def __getstate__(self) -> dict[str, Any]:
        # blocks can be neither copied nor stored; whoever gets the weights makes them
        return {name: value for name, value in super().__getstate__().items() if name != "_copies"}


def in_eight_bits(module: nn.Module) -> None:
    """Multiply in 8 bits from now on wherever copies are made: LOSSY. The float weights stay, for what else reads them.

    Raises InputError where this processor does not add up whole numbers exactly.
    """
    # without instructions for it, pairs of products are cut off at 16 bits
    greatest = torch.full((8, 128), GREATEST, dtype=torch.int8)
    for rows in (1, 8):
        if not bool((torch._int_mm(greatest[:rows], greatest.t()) == 128 * GREATEST**2).all()):
            raise InputError("this processor does not add up 8-bit numbers exactly, and verifying needs it; use "
                             "--dtype fp32")
    for child in module.modules():
        if isinstance(child, PackedLinear):
            child._eight_bits, child._copies = True, None


def _packable(weight: Tensor) -> bool:
    return (weight.device.type == "cpu" and weight.dtype == torch.float32
            and SMALLEST <= weight.numel() <= LARGEST and torch.backends.mkldnn.is_available())
