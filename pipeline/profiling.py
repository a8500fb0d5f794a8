"""Where the time of an answer goes, what a verify pass spends it on, and what the machine would allow.

    bound = measure_bound(decoder)                  # this machine, this moment
    seconds = pass_seconds(decoder, rows=(1, 8))    # median of verify passes
    operators = pass_operators(decoder, rows=8)     # the largest, from torch's profiler

A pass can be no faster than reading the weights once from where they lie, nor than its multiply-adds at the machine's
best matrix product (roofline: Williams et al. 2009).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

from pipeline.decoder import Decoder, KVCache
from pipeline.trees import attention_mask

PREFIX_ROWS = 128
"""Rows in the cache before the passes that are timed: about a picture and half an answer."""

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
    size = macs * decoder.head.weight.element_size()
    weight = decoder.head.weight
    # as large as the weights: what fits a cache is read from the cache in both
    stand_in = torch.randn(max(1, macs // ROW), ROW, device=weight.device, dtype=weight.dtype)
    vector, square = stand_in.new_ones(ROW), torch.randn(SIDE, SIDE, device=weight.device, dtype=weight.dtype)
    read_s = min(_times(partial(torch.mv, stand_in, vector), weight.device))
    product_s = min(_times(partial(torch.mm, square, square), weight.device))
    return Bound(size, macs, stand_in.numel() * stand_in.element_size() / read_s, SIDE**3 / product_s)


@torch.inference_mode()
def pass_seconds(decoder: Decoder, rows: Iterable[int]) -> dict[int, float]:
    """Median seconds of a verify pass by its rows."""
    return {count: median(_times(_one_pass(decoder, count), decoder.embed.weight.device)) for count in rows}


@torch.inference_mode()
def pass_operators(decoder: Decoder, rows: int, most: int = 10) -> list[Operator]:
    """The operators that take most of a verify pass, the largest first."""
    run, on_gpu = _one_pass(decoder, rows), decoder.embed.weight.device.type == "cuda"
    run()
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as seen:
        for _ in range(PROFILED):
            run()
    spent = {event.key: (float(event.self_device_time_total if on_gpu else event.self_cpu_time_total), event.count)
             for event in seen.key_averages()}
    total = sum(us for us, _ in spent.values())
    largest = sorted(spent, key=lambda name: -spent[name][0])[:most]
    return [Operator(name, spent[name][0] / total, spent[name][1] / PROFILED) for name in largest]


def _one_pass(decoder: Decoder, rows: int) -> Callable[[], torch.Tensor]:
    """A verify pass over one committed token and a chain after it."""
    weight = decoder.embed.weight
    cache: KVCache = decoder.new_cache(PREFIX_ROWS + rows)
    cache.keys.zero_()
    cache.values.zero_()
    cache.length = PREFIX_ROWS
    mask = attention_mask(list(range(-1, rows - 2)), PREFIX_ROWS, 1)[None, None].to(weight.device)
    at = torch.arange(PREFIX_ROWS, PREFIX_ROWS + rows, device=weight.device)[None]
    x = weight[:1].expand(1, rows, -1)

    def run() -> torch.Tensor:
        logits: torch.Tensor = decoder.head(decoder(x, at, mask, cache)[0])
        return logits

    return run


def _times(work: Callable[[], object], device: torch.device) -> list[float]:
    """Seconds of each repetition; the first, which only warms up, is left out."""
    times = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return times[1:]
