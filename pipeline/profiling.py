"""Where the time of an answer goes, what a verify pass spends it on, and what the machine would allow.

    bound = measure_bound(decoder)                  # this machine, this moment
    seconds = pass_seconds(decoder, rows=(1, 8))    # median of verify passes
    operators = pass_operators(decoder, rows=8)     # the largest, from torch's profiler

A pass can be no faster than reading the weights once from where they lie, nor than its multiply-adds at the machine's
best matrix product (roofline: Williams et al. 2009).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

from pipeline.decoder import Decoder
from pipeline.timing import times, verify_pass

SIDE, ROW = 768, 4096
"""Side of the square matrices of the peak, and columns of the matrix that stands for the weights."""

REPEATS, PROFILED = 15, 20
"""How often each pass is timed, and how many passes torch's profiler sees."""


@dataclass(frozen=True)
class Bound:
    """weight_bytes: read in every pass; macs_per_row: multiply-adds of one row in all matrices; bytes_per_s: measured
    while a matrix of that size is multiplied by a vector again and again; macs_per_s: measured in a square product."""

    weight_bytes: int
    macs_per_row: int
    bytes_per_s: float
    macs_per_s: float

    def seconds(self, rows: int) -> float:
        """The least that a pass over so many rows can take."""
        return max(self.weight_bytes / self.bytes_per_s, rows * self.macs_per_row / self.macs_per_s)


@dataclass(frozen=True)
class Operator:
    """One of torch's operators in a pass: share of the pass's own time, calls per pass."""

    name: str
    share: float
    calls: float


@torch.inference_mode()
def measure_bound(decoder: Decoder) -> Bound:
    """The bound of one decoder on its machine."""
    matrices = [decoder.head.weight, *(p for p in decoder.layers.parameters() if p.ndim == 2)]
    macs = sum(matrix.numel() for matrix in matrices)
    weight, cache, head = decoder.head.weight, decoder.new_cache(1), decoder.head.compiled()
    size = macs * weight.element_size()
    if cache.compiled is not None:  # in 16 bits where those hold them
        size = cache.compiled.weight_bytes + (weight if head is None else head.weight).nbytes
    # as large as the weights: what fits a cache is read from the cache in both
    stand_in = torch.randn(max(1, size // weight.element_size() // ROW), ROW, device=weight.device, dtype=weight.dtype)
    vector, square = stand_in.new_ones(ROW), torch.randn(SIDE, SIDE, device=weight.device, dtype=weight.dtype)
    read_s = min(times(partial(torch.mv, stand_in, vector), weight.device, REPEATS))
    product_s = min(times(partial(torch.mm, square, square), weight.device, REPEATS))
    return Bound(size, macs, stand_in.numel() * stand_in.element_size() / read_s, SIDE**3 / product_s)


def pass_seconds(decoder: Decoder, rows: Iterable[int]) -> dict[int, float]:
    """Median seconds of a verify pass by its rows."""
    device = decoder.embed.weight.device
    return {count: median(times(verify_pass(decoder, count), device, REPEATS)) for count in rows}


def pass_operators(decoder: Decoder, rows: int, most: int = 10) -> list[Operator]:
    """The operators that take most of a verify pass, the largest first."""
    run, on_gpu = verify_pass(decoder, rows), decoder.embed.weight.device.type == "cuda"
    run()
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as seen:
        for _ in range(PROFILED):
            run()
    spent = {event.key: (float(event.self_device_time_total if on_gpu else event.self_cpu_time_total), event.count)
             for event in seen.key_averages()}
    total = sum(us for us, _ in spent.values())
    largest = sorted(spent, key=lambda name: -spent[name][0])[:most]
    return [Operator(name, spent[name][0] / total, spent[name][1] / PROFILED) for name in largest]
