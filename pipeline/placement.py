"""Where a model's weights lie and in how many bits, and whether they fit there.

    where = place(torch.device("cuda:0"), "4-bit")
    require(where, Size.of(decoder, tower), "llava-1.5")     # built on the meta device: costs no memory

Sizes are estimates from shapes: weights, the cache of one answer and a tenth for what passes through.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pipeline.decoder import Decoder
from streams.types import InputError

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BITS: Mapping[str, int] = {"8-bit": 8, "4-bit": 4}
SPREAD = "spread"
"""The word for all GPUs, and the processor behind them."""

INT8 = "int8"
"""The word for the bundled pair's verifier in 8 bits on a processor (pipeline.packed)."""

PRECISIONS = ("auto", *DTYPES, *BITS, INT8)

STORED = {8: 1.0, 4: 0.5 + 1 / 64}
"""Bytes per weight of a quantised matrix; 4 bit with one float16-sized scale per 64 weights."""

SPARE = 1.1
"""What passes through a model while it works, as a factor: estimated, not measured."""

GIB = 2**30
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Placement:
    """A device, the type that is computed in, the bits of the decoder's matrices (None = the type's own), whether
    the model is spread over all devices instead, and whether its matrices are multiplied in 8 bits (INT8)."""

    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    bits: int | None = None
    spread: bool = False
    int8: bool = False

    @property
    def precision(self) -> str:
        """The word on the command line."""
        if self.int8:
            return INT8
        named = {bits: word for word, bits in BITS.items()}
        return named[self.bits] if self.bits else next(word for word, kind in DTYPES.items() if kind == self.dtype)


def place(device: torch.device, precision: str = "auto", spread: bool = False) -> Placement:
    """A placement by words. precision auto: bf16 on a GPU that has it, fp16 on an older one, fp32 on a processor.

    Raises InputError for an unknown precision and where bitsandbytes is missing.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown --dtype {precision!r}; use one of {', '.join(PRECISIONS)}")
    if precision == INT8:
        if device.type != "cpu" or spread:
            raise InputError("--dtype int8 is for a processor; add --device cpu, or use 8-bit")
        return Placement(device, int8=True)
    half = torch.bfloat16
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        half = torch.float16
    if precision in BITS:
        try:
            import bitsandbytes  # noqa: F401
        except ImportError as error:
            raise InputError(f"--dtype {precision} needs bitsandbytes: pip install 'parafovea[quantised]'") from error
        return Placement(device, half, BITS[precision], spread)
    if precision == "auto":
        return Placement(device, half if device.type == "cuda" else torch.float32, spread=spread)
    return Placement(device, DTYPES[precision], spread=spread)


@dataclass(frozen=True)
class Size:
    """Numbers of weights: of matrices that may be quantised, of everything else; and of cached numbers per token."""

    matrices: int
    others: int
    cached: int

    @classmethod
    def of(cls, decoder: Decoder, *towers: nn.Module) -> Size:
        """Of modules, which may be on the meta device."""
        config = decoder.config
        matrices = sum(p.numel() for p in decoder.layers.parameters() if p.ndim == 2)
        everything = sum(p.numel() for module in (decoder, *towers) for p in module.parameters())
        return cls(matrices, everything - matrices, 2 * config.layers * config.kv_heads * config.head_size)

    def bytes(self, where: Placement, tokens: int = 4096) -> int:
        """Estimated memory with a cache of so many tokens."""
        width = where.dtype.itemsize
        matrix = STORED[where.bits] if where.bits else width
        return round((self.matrices * matrix + self.others * width + self.cached * tokens * width) * SPARE)


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    counts = Path("/proc/meminfo")
    if counts.exists():
        line = next(line for line in counts.read_text().splitlines() if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def require(where: Placement, size: Size, name: str, free: Mapping[torch.device, int] | None = None) -> None:
    """Raises InputError, with the choices that would fit, where a model is estimated not to fit.

    free: bytes by device, in place of asking the machine.
    """
    found = free if free is not None else {device: free_bytes(device) for device in devices()}
    here, needed = found.get(where.device, 0), size.bytes(where)
    if where.spread:
        here = sum(found.values())
    if needed <= here:
        return
    fitting = [f"--device {device} --dtype {other.precision} ({size.bytes(other) / GIB:.1f} GiB)"
               for device, room in found.items() for other in choices(device) if size.bytes(other) <= room]
    fitting += [f"--device {SPREAD} --dtype {other.precision} ({size.bytes(other) / GIB:.1f} GiB)"
                for other in choices(where.device) if len(found) > 1 and size.bytes(other) <= sum(found.values())][:1]
    raise InputError(f"{name} needs about {needed / GIB:.1f} GiB in {where.precision} (estimated), "
                     f"{'all devices have' if where.spread else f'{where.device} has'} {here / GIB:.1f} GiB free; "
                     + (f"would fit: {', '.join(fitting)}" if fitting else "nothing here is large enough: choose a "
                        "smaller model"))


def devices() -> list[torch.device]:
    """All GPUs and the processor."""
    return [*(torch.device("cuda", i) for i in range(torch.cuda.device_count())), torch.device("cpu")]


def choices(device: torch.device) -> list[Placement]:
    """The placements on one device from the largest to the smallest."""
    return [Placement(device, torch.float32), Placement(device, torch.bfloat16),
            *(Placement(device, torch.bfloat16, bits) for bits in BITS.values())]


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Run what is inside on a CUDA stream of its own, after what was begun before, and wait until it is done.

    Two models that read their prompts in two threads then share one GPU; on its default stream, which all threads
    have in common, one would wait for the other. On a processor this does nothing.
    """
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()
