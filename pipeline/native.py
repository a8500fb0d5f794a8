"""A forward pass of a decoder in one call of compiled C (native.c), several where they follow from each other
(writing.c): no operator of torch between two layers.

    native.switch(True)                            # once; False where no C compiler is found
    matrix = NativeMatrix.of(weight)               # y = matrix.multiply(x)
    passes = NativePass(decoder.config, decoder.layers, decoder.norm.weight)
    states, tapped = passes.run(x, cos, sin, mask, cache, taps, skip, None)

For float32 on a processor. Weights that 16 bits hold exactly, as those of the bundled pair do, are read in 16 bits and
widened, which changes no number and halves what a pass reads. The file is compiled once, for the processor that is
there, and kept in the user's cache folder. Results equal torch's but for rounding; a row's result is the same bit for
bit alone and among others, so that a verify pass says exactly what its rows say one after the other.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import itertools
import logging
import mmap
import operator
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from pipeline.decoder import DecoderConfig, KVCache

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("writing.c")
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
POINTER, NUMBER, LONG, REAL = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_float
"""Types of arguments of C functions."""

COMPILE_S = 120
"""Longest time that a compiler is given: it takes a second."""

CACHE_LINE = 64
"""Bytes that are fetched at once."""

LANES, LARGEST_HEAD = 16, 256
"""What sizes have to be multiples of, and the largest head that attention has room for."""

NORMS, MATRICES = ("attention_norm", "mlp_norm"), ("qkv", "out", "gate_up", "down")
"""Parts of a layer with weights, in the order of native.c."""

_switched_on = False


def switch(on: bool) -> bool:
    """Use compiled passes from now on, or no longer; returns whether they are used: a C compiler is needed."""
    global _switched_on
    _switched_on = on and library() is not None
    return _switched_on


def switched_on() -> bool:
    """Whether compiled passes are used."""
    return _switched_on


@functools.cache
def library() -> ctypes.CDLL | None:
    """native.c and writing.c as a library, None where it cannot be made."""
    made = built(SOURCE, {
        "multiply": (POINTER, POINTER, NUMBER, POINTER, NUMBER, NUMBER),
        "pass_rows": (POINTER, NUMBER, NUMBER, NUMBER, *[POINTER] * 6, NUMBER, *[POINTER] * 4),
        "write_on": (*[POINTER] * 3, NUMBER, POINTER, *[NUMBER] * 4, *[POINTER] * 7),
        "grow_tree": (*[POINTER] * 5, *[NUMBER] * 5, *[POINTER] * 8),
        "look_at": (POINTER, NUMBER, NUMBER, POINTER, NUMBER, *[POINTER] * 4, NUMBER, NUMBER, POINTER, NUMBER,
                    *[POINTER] * 2)})
    if made is not None:
        made.multiply.restype = None
    return made


def built(source: Path, arguments: Mapping[str, Sequence[Any]]) -> ctypes.CDLL | None:
    """A C file as a library, None where there is no compiler or it fails; why is logged. arguments: their types, by
    function."""
    compiler = next((found for name in (os.environ.get("CC"), "cc", "gcc", "clang")
                     if name and (found := shutil.which(name))), None)
    if compiler is None or os.name != "posix":
        return None
    try:
        made = ctypes.CDLL(str(_compiled(compiler, source)))
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("%s is not compiled: %s", source.name, error)
        return None
    for name, types in arguments.items():
        getattr(made, name).argtypes = types
    return made


def _compiled(compiler: str, source: Path) -> Path:
    """The compiled file, made if it is not there. Raises OSError or SubprocessError."""
    text = b"".join(file.read_bytes() for file in sorted(source.parent.glob("*.[ch]")))  # one includes another
    key = hashlib.sha256(text + repr((compiler, FLAGS, platform.machine(), _processor())).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "parafovea"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        cache = Path(tempfile.mkdtemp(prefix="parafovea-"))
    kept = cache / f"{source.stem}-{key}.so"
    if not kept.exists():
        # several programs may do so at once: each writes its own and the last one stays
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            fresh = Path(folder) / kept.name
            subprocess.run([compiler, *FLAGS, str(source), "-o", str(fresh), "-lm"], check=True, capture_output=True,
                           timeout=COMPILE_S)
            fresh.replace(kept)
    return kept


def _processor() -> str:
    """What the processor can do: a home folder may be seen by several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


class _Matrix(ctypes.Structure):
    _fields_ = [("inputs", ctypes.c_int32), ("outputs", ctypes.c_int32), ("bytes", ctypes.c_int32),
                ("weight", ctypes.c_void_p)]


class _Layer(ctypes.Structure):
    _fields_ = [("attention_norm", ctypes.c_void_p), ("mlp_norm", ctypes.c_void_p),
                *((name, _Matrix) for name in MATRICES)]


class _Decoder(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_int32) for name in ("layers", "hidden", "inner", "heads", "kv_heads", "head")),
                ("eps", ctypes.c_float), ("norm", ctypes.c_void_p), ("layer", ctypes.c_void_p)]


class NativeMatrix:
    """A frozen matrix [out, in] laid out for native.c: outputs in blocks, [blocks, in, outputs of a block]."""

    def __init__(self, weight: Tensor) -> None:
        """Raises RuntimeError where nothing is compiled."""
        made = _made()
        block, (outputs, inputs) = made.block_size(), weight.shape
        weight = weight.detach()
        half = weight.half()
        stored = half if torch.equal(half.to(weight), weight) else weight
        rows = F.pad(stored, (0, 0, 0, -outputs % block))
        self.weight = rows.view(-1, block, inputs).transpose(1, 2).contiguous()
        self.outputs = outputs
        self.struct = _Matrix(inputs, outputs, self.weight.element_size(), self.weight.data_ptr())
        self._multiply, self._at = made.multiply, ctypes.addressof(self.struct)

    def multiply(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        x = x.contiguous()
        y = x.new_empty(*x.shape[:-1], self.outputs)
        self._multiply(self._at, x.data_ptr(), x.numel() // x.shape[-1], y.data_ptr(), self.outputs, 0)
        return y


def _lay_together(matrices: Sequence[NativeMatrix]) -> None:
    """Put matrices side by side in the order they are read, into large pages where the system has them: what is fetched
    ahead then goes on from one into the next, and few pages have to be found (measured: the first pass after a picture
    takes two thirds of the time)."""
    places = [0, *itertools.accumulate(-(-matrix.weight.nbytes // CACHE_LINE) * CACHE_LINE for matrix in matrices)]
    memory = mmap.mmap(-1, places[-1], flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    for matrix, place in zip(matrices, places, strict=False):
        size, shape, kind = matrix.weight.numel(), matrix.weight.shape, matrix.weight.dtype
        moved = torch.frombuffer(memory, dtype=kind, count=size, offset=place).view(shape)
        matrix.weight = moved.copy_(matrix.weight)
        matrix.struct.weight = moved.data_ptr()


class NativePass:
    """Layers of a decoder and its last norm, with their weights as they were when this was made."""

    def __init__(self, config: DecoderConfig, layers: Iterable[nn.Module], norm: Tensor | None) -> None:
        """norm: None = nothing after the last layer. A layer whose attention_norm has no weight has none there.

        Raises RuntimeError where nothing is compiled.
        """
        made, layers = _made(), list(layers)
        self._pass, self._look, self._write, self._grow = (
            made.pass_rows, made.look_at, made.write_on, made.grow_tree)
        self._size, self._layers, self._weights = config.hidden_size, len(layers), _weights(layers, norm)
        self._known = [(weight.data_ptr(), weight._version) for weight in self._weights]
        self._kept: list[Any] = []
        structs = (_Layer * len(layers))()
        matrices = [NativeMatrix(getattr(layer, name).weight) for layer in layers for name in MATRICES]
        _lay_together(matrices)
        for index, (struct, layer) in enumerate(zip(structs, layers, strict=True)):
            for name, matrix in zip(MATRICES, matrices[index * len(MATRICES):], strict=False):
                setattr(struct, name, matrix.struct)
            for name in NORMS:
                weight = getattr(getattr(layer, name), "weight", None)
                setattr(struct, name, None if weight is None else self._keep(weight))
        self._struct = _Decoder(len(layers), config.hidden_size, config.intermediate_size, config.heads,
                                config.kv_heads, config.head_size, config.norm_eps,
                                None if norm is None else self._keep(norm), ctypes.addressof(structs))
        self._kept += [structs, matrices]
        self.weight_bytes = sum(matrix.weight.nbytes for matrix in matrices)
        """Of the matrices, as they are read in every pass."""
        self._at = ctypes.addressof(self._struct)

    def _keep(self, tensor: Tensor) -> int:
        copy = tensor.detach().clone().contiguous()
        self._kept.append(copy)
        return copy.data_ptr()

    def is_of(self, layers: Iterable[nn.Module], norm: Tensor | None) -> bool:
        """Whether they still have the weights that were laid out."""
        weights = _weights(layers, norm)
        return (all(map(operator.is_, weights, self._weights))
                and [(weight.data_ptr(), weight._version) for weight in weights] == self._known)

    def run(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, cache: KVCache, taps: Sequence[int],
            skip: Collection[int], cosines: list[Tensor] | None) -> tuple[Tensor, Tensor | None]:
        """What Decoder.forward does, of x [1, T, D], cos and sin [T, head_size] and mask [1, 1, T, S] bool or None.

        Raises MemoryError.
        """
        rows = x.shape[1]
        # named, so that they live as long as the call
        states, mask = x.clone(memory_format=torch.contiguous_format), None if mask is None else mask.contiguous()
        tapped = x.new_empty(1, rows, len(taps), self._size) if taps else None
        means = x.new_empty(self._layers) if cosines is not None else None
        wanted = (ctypes.c_int32 * len(taps))(*taps)
        left_out = bytes(index in skip for index in range(self._layers)) if skip else bytes(self._layers)
        failed = self._pass(self._at, rows, cache.length, cache.capacity, states.data_ptr(), cos.data_ptr(),
                            sin.data_ptr(), None if mask is None else mask.data_ptr(), cache.keys.data_ptr(),
                            cache.values.data_ptr(), len(taps), ctypes.addressof(wanted),
                            None if tapped is None else tapped.data_ptr(), left_out,
                            None if means is None else means.data_ptr())
        if failed:
            raise MemoryError(f"there is no memory for a pass of {rows} rows")
        if cosines is not None and means is not None:
            cosines += means.unbind()
        return states, tapped

    def write_on(self, tokens: Sequence[int], embeddings: Tensor, words: NativeMatrix, cos: Tensor, sin: Tensor,
                 cache: KVCache, count: int, end: int) -> tuple[list[int], Tensor, Tensor]:
        """Feed tokens and say the likeliest word up to `count` times, `end` being the last: the words, their logits
        [n, V] and the states that led to them [n, D]. embeddings [V, D]; cos and sin [positions, head_size]. The cache
        keeps what was fed; its cursor stays.

        Raises MemoryError.
        """
        said, fed = (ctypes.c_int32 * count)(), (ctypes.c_int32 * len(tokens))(*tokens)
        logits, states = cos.new_empty(count, words.outputs), cos.new_empty(count, self._size)
        made = self._write(self._at, ctypes.addressof(words.struct), embeddings.data_ptr(), len(tokens),
                           ctypes.addressof(fed), cache.length, cache.capacity, count, end, cos.data_ptr(),
                           sin.data_ptr(), cache.keys.data_ptr(), cache.values.data_ptr(), ctypes.addressof(said),
                           logits.data_ptr(), states.data_ptr())
        if made < 0:
            raise MemoryError(f"there is no memory for a pass of {len(tokens)} rows")
        return said[:made], logits[:made], states[:made]

    def grow(self, state: Tensor, enter: NativeMatrix, bias: Tensor, embeddings: Tensor, words: NativeMatrix,
             cos: Tensor, sin: Tensor, cache: KVCache, width: int, depth: int, end: int,
             ) -> tuple[list[int], list[int], list[float], Tensor]:
        """Grow a draft head's tree of likely words (writing.c; what trees.grow does before it takes the best): tokens,
        parents, log-scores, and states [1 + n, D], `state` [D] and, of nodes that have children, what led to those.

        Raises ValueError when the cache is full, MemoryError.
        """
        most = width + (depth - 1) * width**2
        if (rows := cache.length + (depth - 1) * width) > cache.capacity:
            raise ValueError(f"the answer is too long: {rows} rows exceed {cache.capacity}")
        tokens, parents, scores = (ctypes.c_int32 * most)(), (ctypes.c_int32 * most)(), (ctypes.c_float * most)()
        states = state.new_empty(1 + most, self._size)
        states[0] = state
        made = self._grow(self._at, ctypes.addressof(enter.struct), bias.data_ptr(), ctypes.addressof(words.struct),
                          embeddings.data_ptr(), cache.length, cache.capacity, width, depth, end, cos.data_ptr(),
                          sin.data_ptr(), cache.keys.data_ptr(), cache.values.data_ptr(), ctypes.addressof(tokens),
                          ctypes.addressof(parents), ctypes.addressof(scores), states.data_ptr())
        if made < 0:
            raise MemoryError(f"there is no memory for a tree of {most} nodes")
        return tokens[:made], parents[:made], scores[:made], states

    def look(self, layer: int, x: Tensor, at: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, total: int,
             cache: KVCache, count: int) -> tuple[list[int], list[float]]:
        """Which of the first `count` keys the first head of a layer looks at most, and its share: by state of x [R, D]
        that enters it at positions at [R], with cos and sin [positions, head_size] and mask [R, total] bool or None.

        Raises MemoryError.
        """
        rows, at, mask = len(x), at.contiguous(), None if mask is None else mask.contiguous()
        x = x if x.stride(1) == 1 else x.contiguous()
        which, shares = (ctypes.c_int32 * rows)(), (ctypes.c_float * rows)()
        failed = self._look(self._at, layer, rows, x.data_ptr(), x.stride(0), at.data_ptr(), cos.data_ptr(),
                            sin.data_ptr(), None if mask is None else mask.data_ptr(), total, cache.capacity,
                            cache.keys.data_ptr(), count, ctypes.addressof(which), ctypes.addressof(shares))
        if failed:
            raise MemoryError(f"there is no memory to look at {total} rows")
        return which[:], shares[:]


def _made() -> ctypes.CDLL:
    made = library()
    if made is None:
        raise RuntimeError("native passes need a C compiler")
    return made


def _weights(layers: Iterable[nn.Module], norm: Tensor | None) -> list[Tensor]:
    # asked before every answer: not through modules' attributes, which look everything up in Python
    weights: list[Tensor] = [weight for layer in layers for module in layer._modules.values() if module is not None
                             for weight in module._parameters.values() if weight is not None]
    return weights if norm is None else [*weights, norm]
