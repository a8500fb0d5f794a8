"""Passes over few rows on a GPU as CUDA graphs: draft steps and checks whose shapes never change, recorded once and
started by one call, where an ordinary pass starts every operator of every layer from Python.

    graphs.use(decoder)                          # None, or why not; new_cache() then lends memory with its graphs
    cache = decoder.new_cache(512)               # passes over up to 32 rows of it are replayed, all others ordinary

A graph keeps addresses and shapes. So the rows of a pass are filled up to one of SIZES; where it writes to is a
tensor; it attends to the whole memory under a mask; and the memory outlives the answer: it is cleared and lent again
with its graphs. What fills up sees one row, is seen by none, and is written behind the rows that count.

Recorded with torch.cuda.CUDAGraph, not torch.compile(mode="reduce-overhead"): that one records nothing that writes to
its inputs, as a pass does to the cache, unless their addresses are declared fixed, and compiles again for each that is
(pytorch issue 156377), fails in threads that did not compile (issue 123177; answers run in threads), and needs a
compiler and minutes. The operators stay those of an ordinary pass, so that only the number of rows may change rounding.

Tested on tensors of a processor, with a recorder in place of CUDA's. NEVER RUN ON A GPU by its authors.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from pipeline.decoder import Decoder, KVCache
from pipeline.native import MATRICES
from pipeline.packed import PackedLinear

SIZES = (1, 2, 4, 8, 16, 32)
"""Rows of the recorded passes. The largest holds the largest draft and the small trees that grow level by level."""

STEP = 256
"""Rows of a memory are a multiple of it: somewhat longer questions find room, and masks lie as kernels like them."""

WARM_UPS = 3
"""Passes before the recorded one, in which libraries choose kernels and make room for themselves."""

Passed: TypeAlias = tuple[Tensor, Tensor | None]
"""What a pass gives: final states [1, R, D] and tapped ones [1, R, taps, D]."""

Capture: TypeAlias = Callable[[Callable[[], Passed]], tuple[Callable[[], object], Passed]]
"""Records a pass whose inputs stay where they are: what runs it again, and where its results will lie."""


def use(decoder: Decoder | None) -> str | None:
    """Lend memory with graphs from now on. None, or why this decoder's passes stay ordinary."""
    if decoder is None:
        return "it runs through transformers"
    if (device := decoder.embed.weight.device).type != "cuda":
        return f"it runs on {device}"
    if any(type(getattr(layer, name)) is not PackedLinear for layer in decoder.layers for name in MATRICES):
        return "its matrices are quantised, and whether their kernels can be recorded is not known"
    decoder.graphs = Graphs(decoder, partial(cuda_capture, device))
    return None


def cuda_capture(device: torch.device) -> Capture:
    """A recorder for one memory: its graphs share one pool, which is freed with the last of them."""
    # of another priority than the streams that prompts are read on: matrix products keep a work space per stream, and
    # a replay may run beside a reading
    stream, pool = torch.cuda.Stream(device, priority=-1), torch.cuda.graph_pool_handle()

    def capture(work: Callable[[], Passed]) -> tuple[Callable[[], object], Passed]:
        with torch.cuda.device(device):
            now = torch.cuda.current_stream()
            stream.wait_stream(now)
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    work()
            now.wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # another thread may be reading a prompt: what it does is no error of this recording
            with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
                passed = work()
        return graph.replay, passed

    return capture


@dataclass(frozen=True)
class Memory:
    """Keys and values [layers, 1, kv_heads, S, head_size] that are written to at `rows` [R] and read as a whole."""

    keys: Tensor
    values: Tensor
    rows: Tensor

    def write(self, index: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write a layer's new rows [1, kv_heads, R, head_size]; returns what is attended to."""
        keys, values = self.keys[index], self.values[index]
        return keys.index_copy_(2, self.rows, k), values.index_copy_(2, self.rows, v)


class FixedPasses:
    """The memory of one cache at a time, the places of a pass's inputs, and what was recorded with them."""

    def __init__(self, decoder: Decoder, capacity: int, capture: Capture) -> None:
        most, total = SIZES[-1], -(-(capacity + SIZES[-1]) // STEP) * STEP
        weight = decoder.embed.weight
        device = weight.device
        self.room, self.weights = total - most, addresses(decoder)
        self._decoder, self._capture = decoder, capture
        self._recorded: dict[tuple[int, ...], dict[int, tuple[Callable[[], object], Passed]]] = {}
        with torch.inference_mode(False):  # for whoever passes rows next
            self._whole = KVCache(decoder.config, total, device, weight.dtype)
            self._x = torch.zeros(1, most, decoder.config.hidden_size, device=device, dtype=weight.dtype)
            self._positions = torch.zeros(1, most, device=device, dtype=torch.long)
            self._numbers = torch.arange(most, device=device)
            self._rows = self._numbers.clone()
            self._mask = torch.zeros(1, 1, most, total, device=device, dtype=torch.bool)

    def lend(self, capacity: int) -> KVCache:
        """An empty cache of so many rows. What an earlier answer left is cleared: a number that is none, times a weight
        of zero, would still be none."""
        for left in (self._whole.keys, self._whole.values, self._x):
            left.zero_()
        cache = copy(self._whole)
        cache.capacity, cache.fixed = capacity, self
        return cache

    def takes(self, x: Tensor, cache: KVCache, skip: Collection[int], cosines: list[Tensor] | None) -> bool:
        """Whether these rows [B, T, D] go through a recorded pass: not a prompt, and all layers whole."""
        return (cache.length > 0 and len(x) == 1 and x.shape[1] <= SIZES[-1] and not skip and cosines is None
                and not torch.is_grad_enabled())

    def run(self, x: Tensor, positions: Tensor, mask: Tensor | None, cache: KVCache, taps: Sequence[int]) -> Passed:
        """What Decoder.forward does, of x [1, T, D], positions [1, T] and mask [1, 1, T, S] bool or None."""
        count = x.shape[1]
        self._fill(x, positions, mask, cache.length)
        wanted = tuple(taps)
        if wanted not in self._recorded:
            # all at once, so that no answer waits later; the largest first: the others find room in its pool
            self._recorded[wanted] = {size: self._capture(partial(self._pass, size, wanted))
                                      for size in reversed(SIZES)}
        replay, (states, tapped) = self._recorded[wanted][next(size for size in SIZES if size >= count)]
        replay()
        # the next replay, of whatever size, writes to the same places
        return states[:, :count].clone(), None if tapped is None else tapped[:, :count].clone()

    def _fill(self, x: Tensor, positions: Tensor, mask: Tensor | None, length: int) -> None:
        count = x.shape[1]
        self._x[:, :count], self._positions[:, :count] = x, positions  # the rest keeps rows of an earlier pass
        torch.add(self._numbers, length, out=self._rows)
        self._mask.zero_()
        self._mask[:, :, :count, :length + count] = True if mask is None else mask
        self._mask[:, :, count:, 0] = True  # who sees nothing has no average

    def _pass(self, size: int, taps: tuple[int, ...]) -> Passed:
        """The recorded part: reads and writes tensors only, at places that stay."""
        memory = Memory(self._whole.keys, self._whole.values, self._rows[:size])
        return self._decoder.through_layers(self._x[:, :size], self._positions[:, :size], self._mask[:, :, :size],
                                            memory, taps)


class Graphs:
    """The memories of one decoder that nobody uses: one for every session that is open at the same time."""

    def __init__(self, decoder: Decoder, recorder: Callable[[], Capture]) -> None:
        """recorder: makes what records the passes of one memory."""
        self._decoder, self._recorder = decoder, recorder
        self._free: deque[FixedPasses] = deque()
        self._lending = threading.Lock()

    def cache(self, capacity: int) -> KVCache:
        """An empty cache, whose memory comes back when nobody holds it any more."""
        weights = addresses(self._decoder)
        with self._lending:
            passes = None
            # one by one: others come back meanwhile
            for one in [self._free.popleft() for _ in range(len(self._free))]:
                # too small, or recorded with weights that lay elsewhere: gone, and their place is free
                if one.room >= capacity and one.weights == weights:
                    if passes is not None:
                        self._free.append(passes)
                    passes = one
            if passes is None:
                passes = FixedPasses(self._decoder, capacity, self._recorder())
        cache = passes.lend(capacity)
        weakref.finalize(cache, self._free.append, passes).atexit = False
        return cache


def addresses(decoder: Decoder) -> list[int]:
    """Where a decoder's weights and tables lie."""
    return [tensor.data_ptr() for tensors in (decoder.parameters(), decoder.buffers()) for tensor in tensors]
