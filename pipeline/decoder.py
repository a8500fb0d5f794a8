"""A Llama-family decoder written for speculation: preallocated cache with a cursor, tree masks, taps,
layers without their attention.

    decoder = Decoder.from_config(config); decoder.load_llama(state_dict)     # ordinary transformers names
    cache = decoder.new_cache(capacity=512)
    states = decoder(decoder.embed(tokens), positions, mask, cache)           # [B, T, D]

Logits equal those of transformers' LlamaForCausalLM. Architecture: Touvron et al. 2023; rotary positions:
Su et al. 2021. Projections are fused (q, k, v and gate, up) because small matrices cost mostly their dispatch.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import native
from pipeline.packed import LARGEST, PackedLinear
from streams.types import InputError

if TYPE_CHECKING:
    from pipeline.graphs import FixedPasses, Graphs, Memory

SHORT = 16
"""Rows up to which a compiled pass, which runs in one thread, is taken though torch has several."""

FINAL = -1
"""Tap of the state after the final norm: what the head reads."""


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a Llama decoder, as in transformers' LlamaConfig."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    max_positions: int = 2048
    tied: bool = False

    @classmethod
    def from_llama(cls, config: Mapping[str, Any]) -> DecoderConfig:
        """Read the fields of a LlamaConfig's config.json (transformers 4 or 5).

        Raises InputError for rotary scaling or biases, which this decoder does not have.
        """
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default" or config.get("attention_bias") or config.get("mlp_bias"):
            raise InputError(f"unsupported Llama variant: rope type {kind!r}, attention_bias "
                             f"{config.get('attention_bias')}, mlp_bias {config.get('mlp_bias')}")
        heads = config["num_attention_heads"]
        return cls(config["vocab_size"], config["hidden_size"], config["intermediate_size"],
                   config["num_hidden_layers"], heads, config.get("num_key_value_heads") or heads,
                   config.get("head_dim") or config["hidden_size"] // heads, config["rms_norm_eps"],
                   float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
                   config["max_position_embeddings"], bool(config.get("tie_word_embeddings")))

    def to_llama(self, **extra: Any) -> dict[str, Any]:
        """The config.json that transformers' LlamaForCausalLM reads."""
        return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": self.vocab_size,
                "hidden_size": self.hidden_size, "intermediate_size": self.intermediate_size,
                "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
                "num_key_value_heads": self.kv_heads, "head_dim": self.head_size, "rms_norm_eps": self.norm_eps,
                "rope_theta": self.rope_theta, "max_position_embeddings": self.max_positions,
                "tie_word_embeddings": self.tied, "hidden_act": "silu", "torch_dtype": "float16", **extra}


class KVCache:
    """Keys and values of one sequence, preallocated [layers, B, kv_heads, capacity, head_size].

    Rows up to `length` are valid; a forward pass writes after them without moving the cursor. Others hold anything.
    """

    def __init__(self, config: DecoderConfig, capacity: int, device: torch.device, dtype: torch.dtype) -> None:
        shape = (config.layers, 1, config.kv_heads, capacity, config.head_size)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.capacity, self.length = capacity, 0
        self.compiled: native.NativePass | None = None
        """The compiled pass of the decoder that made this cache, for the answer that it is made for."""
        self.fixed: FixedPasses | None = None
        """The CUDA graphs that read and write this cache's memory."""

    def write(self, index: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write a layer's new rows [1, kv_heads, T, head_size] after the cursor; returns all rows up to them."""
        start, end = self.length, self.length + k.shape[2]
        self.keys[index, :, :, start:end] = k
        self.values[index, :, :, start:end] = v
        return self.keys[index, :, :, :end], self.values[index, :, :, :end]

    def keep(self, rows: Sequence[int]) -> None:
        """Make these of the rows just written (0 = first after the cursor) permanent, in this order."""
        start, count = self.length, len(rows)
        if list(rows) != list(range(count)):
            source = torch.tensor(rows, device=self.keys.device) + start
            for store in (self.keys, self.values):
                # index_select copies first: source and target ranges may overlap
                store[:, :, :, start:start + count] = store.index_select(3, source)
        self.length = start + count

    def rewind(self, length: int) -> None:
        """Forget everything after the first `length` rows."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind to {length}: {self.length} rows are valid")
        self.length = length


class RMSNorm(nn.Module):
    """Root mean square normalisation (Zhang and Sennrich 2019)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        size = x.shape[-1]
        if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled():
            return F.rms_norm(x, (size,), self.weight, self.eps)
        # on a processor torch makes eight operators of it, each of which has to come back into the cache
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).mul_(size**-0.5)
        return x.div(torch.hypot(length, _root(self.eps), out=length)).mul_(self.weight)


@functools.cache
def _root(number: float) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(number**0.5)


class Layer(nn.Module):
    """Attention and gated MLP with residuals."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        size, head = config.hidden_size, config.head_size
        self.split = (config.heads * head, config.kv_heads * head, config.kv_heads * head)
        self.attention_norm = RMSNorm(size, config.norm_eps)
        self.qkv = PackedLinear(size, sum(self.split), bias=False)
        self.out = PackedLinear(config.heads * head, size, bias=False)
        self.mlp_norm = RMSNorm(size, config.norm_eps)
        self.gate_up = PackedLinear(size, 2 * config.intermediate_size, bias=False)
        self.down = PackedLinear(config.intermediate_size, size, bias=False)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, values, each [B, heads, T, head_size]."""
        batch, length, _ = x.shape
        heads, shared = self.config.heads, self.config.kv_heads
        parts = self.qkv(self.attention_norm(x)).view(batch, length, -1, self.config.head_size).transpose(1, 2)
        turned, v = parts.split((heads + shared, shared), 1)
        q, k = rotate(turned, cos, sin).split((heads, shared), 1)
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, cache: KVCache | Memory | None,
               index: int) -> Tensor:
        """Attention of projected rows [B, heads, T, head_size] to themselves and, after writing them to it, to the
        cache."""
        length = q.shape[2]
        if cache is not None:
            k, v = cache.write(index, k, v)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None and length > 1,
                                              enable_gqa=self.config.kv_heads != self.config.heads)

    def after(self, x: Tensor, mixed: Tensor) -> Tensor:
        """What follows attention, given its result [B, heads, T, head_size]: projection, residuals, MLP."""
        return self.think(self.add(x, mixed))

    def add(self, x: Tensor, mixed: Tensor) -> Tensor:
        """x [B, T, D] plus the projected result of attention [B, heads, T, head_size]."""
        added: Tensor = x + self.out(mixed.transpose(1, 2).flatten(2))
        return added

    def think(self, x: Tensor) -> Tensor:
        """The second half of the layer, MLP with residual; all that is left of it without attention."""
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to x [B, H, T, head_size]; cos, sin [B or 1, 1, T, head_size] as rotary() gives them."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def rotary(config: DecoderConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines [max_positions, head_size] of rotary positions (Su et al. 2021); the first half of the sines
    is negated, so that rotating takes no negation."""
    angle = torch.arange(0, config.head_size, 2, dtype=torch.float64) / config.head_size
    turns = torch.arange(config.max_positions)[:, None] / config.rope_theta ** angle[None]
    return torch.cat([turns.cos()] * 2, -1).float(), torch.cat([-turns.sin(), turns.sin()], -1).float()


class Decoder(nn.Module):
    """The decoder: embeddings, layers, final norm, head."""

    cos: Tensor
    sin: Tensor
    _native: native.NativePass | None = None
    graphs: Graphs | None = None
    """What lends caches with CUDA graphs; None = passes are ordinary."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.layers)])
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.head = PackedLinear(config.hidden_size, config.vocab_size, bias=False)
        if config.tied:
            self.head.weight = self.embed.weight
        cos, sin = rotary(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None = None, cache: KVCache | None = None,
                taps: Sequence[int] = (), skip: Collection[int] = (), cosines: list[Tensor] | None = None,
                ) -> tuple[Tensor, Tensor | None]:
        """Run embeddings x [B, T, D] at integer positions [B or 1, T].

        mask: bool [B or 1, 1, T, S], True = may attend; S counts the cache's valid rows and then T. None is
        causal and only allowed on an empty cache or for one row, which sees everything. Returns final-norm states
        [B, T, D] and, for taps, the states entering those layers (FINAL = the final-norm state) as [B, T, taps, D].
        skip: layers whose attention is left out; they write nothing to the cache. cosines: is given one number per
        layer, the mean cosine of a state before and after attention.
        Raises ValueError when the cache is full or causal attention is asked for on a filled one.
        """
        if cache is not None and cache.length + x.shape[1] > cache.capacity:
            raise ValueError(f"the answer is too long: {cache.length} + {x.shape[1]} tokens exceed {cache.capacity}")
        if mask is None and cache is not None and cache.length and x.shape[1] > 1:
            raise ValueError("a filled cache needs an explicit mask")
        if cache is not None and cache.compiled is not None and runs_compiled(x):
            at = positions[0]
            return cache.compiled.run(x, self.cos[at], self.sin[at], mask, cache, taps, skip, cosines)
        if cache is not None and cache.fixed is not None and cache.fixed.takes(x, cache, skip, cosines):
            return cache.fixed.run(x, positions, mask, cache, taps)
        return self.through_layers(x, positions, mask, cache, taps, skip, cosines)

    def through_layers(self, x: Tensor, positions: Tensor, mask: Tensor | None, cache: KVCache | Memory | None,
                       taps: Sequence[int] = (), skip: Collection[int] = (), cosines: list[Tensor] | None = None,
                       ) -> tuple[Tensor, Tensor | None]:
        """What forward() does, operator by operator and unchecked. With a Memory nothing in it depends on the numbers
        in tensors, and on no length: what it does can be recorded once and repeated."""
        if mask is not None:
            # attention would turn it into numbers in every layer
            mask = torch.zeros_like(mask, dtype=x.dtype).masked_fill_(~mask, float("-inf"))
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        tapped: dict[int, Tensor] = {}
        for index, layer in enumerate(self.layers):
            if index in taps:
                tapped[index] = x
            assert isinstance(layer, Layer)
            mixed = x if index in skip else layer.add(x, layer.attend(*layer.project(x, cos, sin), mask, cache, index))
            if cosines is not None:
                cosines.append(F.cosine_similarity(x, mixed, dim=-1).mean())
            x = layer.think(mixed)
        x = tapped[FINAL] = self.norm(x)
        return x, torch.stack([tapped[tap] for tap in taps], 2) if taps else None

    def write_on(self, tokens: Sequence[int], cache: KVCache, count: int, end: int,
                 ) -> tuple[list[int], Tensor, Tensor] | None:
        """After the tokens, the likeliest one up to `count` times in one compiled call, each after the one before,
        `end` being the last: tokens, logits [n, V] and the states that led to them [n, D]; the cursor stays. None where
        nothing is compiled.

        Raises ValueError when the cache is full.
        """
        words = self.head.compiled() if cache.compiled is not None and self.head.bias is None else None
        if words is None or cache.compiled is None:
            return None
        if (rows := cache.length + len(tokens) + count - 1) > cache.capacity:
            raise ValueError(f"the answer is too long: {rows} tokens exceed {cache.capacity}")
        return cache.compiled.write_on(tokens, self.embed.weight, words, self.cos, self.sin, cache, count, end)

    def __getstate__(self) -> dict[str, Any]:
        # laid out for this process: whoever gets the weights does it again
        return {name: value for name, value in super().__getstate__().items() if name not in ("_native", "graphs")}

    def new_cache(self, capacity: int) -> KVCache:
        """An empty cache on the decoder's device, for one answer with the weights as they are now."""
        capacity = min(capacity, self.config.max_positions)
        if self.graphs is not None:
            return self.graphs.cache(capacity)
        cache = KVCache(self.config, capacity, self.embed.weight.device, self.embed.weight.dtype)
        cache.compiled = self._native = compiled_pass(self._native, self.config, self.layers, self.norm)
        return cache

    def load_llama(self, state: Mapping[str, Tensor]) -> None:
        """Load weights under transformers' names. Raises ValueError naming missing or unexpected tensors."""
        state = dict(state)
        wanted = set(llama_names(self.config))
        if self.config.tied:
            state.pop("lm_head.weight", None)
        if missing := sorted(wanted - set(state)):
            raise ValueError(f"checkpoint lacks {len(missing)} tensors, first {missing[0]}")
        if unexpected := sorted(set(state) - wanted):
            raise ValueError(f"checkpoint has {len(unexpected)} unexpected tensors, first {unexpected[0]}")
        own = {"embed.weight": state["model.embed_tokens.weight"], "norm.weight": state["model.norm.weight"],
               "head.weight": state["model.embed_tokens.weight" if self.config.tied else "lm_head.weight"]}
        for i in range(self.config.layers):
            own |= {f"layers.{i}.{name}": value for name, value in fused(state, f"model.layers.{i}.").items()}
        self.load_state_dict({name: value.float() for name, value in own.items()})

    def llama_state(self) -> dict[str, Tensor]:
        """Weights under transformers' names, ready for LlamaForCausalLM."""
        own = self.state_dict()
        state = {"model.embed_tokens.weight": own["embed.weight"], "model.norm.weight": own["norm.weight"]}
        if not self.config.tied:
            state["lm_head.weight"] = own["head.weight"]
        for i, layer in enumerate(self.layers):
            state |= {f"model.layers.{i}.{name}": value for name, value in unfused(layer).items()}
        return state


def compiled_pass(known: native.NativePass | None, config: DecoderConfig, layers: Sequence[nn.Module] | nn.ModuleList,
                  norm: RMSNorm | None) -> native.NativePass | None:
    """The compiled pass of layers and a last norm with their weights as they are now, None where there is none; known:
    the one made before."""
    weight = None if norm is None else norm.weight
    if not native.switched_on():
        return None
    if known is not None and known.is_of(layers, weight):
        return known
    return native.NativePass(config, layers, weight) if _compilable(config, layers) else None


def _compilable(config: DecoderConfig, layers: Sequence[nn.Module] | nn.ModuleList) -> bool:
    sizes = (config.hidden_size, config.intermediate_size, config.head_size)
    matrices = [getattr(layer, name) for layer in layers for name in native.MATRICES]
    weights = [weight for layer in layers for weight in layer.parameters()]
    return (all(weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in weights)
            and all(size % native.LANES == 0 for size in sizes) and config.head_size <= native.LARGEST_HEAD
            and all(type(matrix) is PackedLinear and not matrix.eight_bits and matrix.weight.numel() <= LARGEST
                    for matrix in matrices)
            and all(type(getattr(layer, name)) in (RMSNorm, nn.Identity) for layer in layers for name in native.NORMS)
            and not any(weight.requires_grad or weight.is_inference() for weight in weights))


def runs_compiled(x: Tensor) -> bool:
    """Whether rows [B, T, D] go through a compiled pass."""
    return (len(x) == 1 and x.dtype == torch.float32 and not torch.is_grad_enabled()
            and (x.shape[1] <= SHORT or torch.get_num_threads() == 1))


FUSED = {"attention_norm.weight": ("input_layernorm.weight",),
         "qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
         "out.weight": ("self_attn.o_proj.weight",),
         "mlp_norm.weight": ("post_attention_layernorm.weight",),
         "gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
         "down.weight": ("mlp.down_proj.weight",)}
"""Our fused tensors and the transformers tensors they are made of, inside one layer."""


def fused(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """One layer's weights under our names, from those under transformers' names after a prefix; what the checkpoint
    has no tensor for (a layer without its first norm) is left out."""
    return {name: torch.cat([state[prefix + source] for source in sources])
            for name, sources in FUSED.items() if prefix + sources[0] in state}


def unfused(layer: nn.Module) -> dict[str, Tensor]:
    """One layer's weights under transformers' names."""
    assert isinstance(layer, Layer)
    cuts = {"qkv.weight": layer.split, "gate_up.weight": (layer.config.intermediate_size,) * 2}
    state: dict[str, Tensor] = {}
    for name, value in layer.state_dict().items():
        pieces = value.split(list(cuts.get(name, (len(value),))))
        state |= dict(zip(FUSED[name], pieces, strict=True))
    return state


def llama_names(config: DecoderConfig) -> list[str]:
    """Names of all tensors of a LlamaForCausalLM of this configuration."""
    names = ["model.embed_tokens.weight", "model.norm.weight"] + ([] if config.tied else ["lm_head.weight"])
    inside = [source for sources in FUSED.values() for source in sources]
    return names + [f"model.layers.{i}.{name}" for i in range(config.layers) for name in inside]
