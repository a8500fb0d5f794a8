"""Levels L4, L5, L5F and B1: one layer of attention over the answer so far.

    aligned, past = adapter.follow(event_states)                 # places 0 to T - 1
    aligned, past = adapter.follow(next_event_state, past=past)  # place T, the same as in one go

The study's L4 saw later states while it was trained, and its L5F and B1 were given the state they were to guess.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.adapters.adapter import DROPOUT, Adapter, Past, projection

PLACES = 160
"""Learnt positions of the words of an answer; whatever comes later shares the last."""


class CausalLayer(nn.Module):
    """Attention with biases and a GELU network of half the width, each after LN and with a residual."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.network_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.merge = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.widen, self.narrow = nn.Linear(size, size // 2), nn.Linear(size // 2, size)
        self.drop = nn.Dropout(DROPOUT)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each [B, heads, T, head_size]."""
        parts = self.qkv(self.attention_norm(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        return q, k, v

    def after(self, x: Tensor, mixed: Tensor) -> Tensor:
        """What follows attention, given its result [B, heads, T, head_size]."""
        x = x + self.drop(self.merge(mixed.transpose(1, 2).flatten(2)))
        return x + self.drop(self.narrow(self.drop(F.gelu(self.widen(self.network_norm(x))))))

    def forward(self, x: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """x [B, T, D] at the places after those of `past`; also keys and values of all places."""
        q, k, v = self.project(x)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        rows, columns = q.shape[2], k.shape[2]
        seen = torch.ones(rows, columns, dtype=torch.bool, device=x.device).tril(columns - rows)
        return self.after(x, F.scaled_dot_product_attention(q, k, v, attn_mask=seen)), (k, v)


class CausalAdapter(Adapter):
    """A level that looks back over the answer: y = r + alpha * (out(layer(x)) - r), alpha learnt.

    A level says what enters the layer (x) and what is passed by it (r).
    """

    def __init__(self, inputs: int, outputs: int, heads: int) -> None:
        super().__init__()
        self.sizes = {"inputs": inputs, "outputs": outputs, "heads": heads}
        self.layer = CausalLayer(outputs, heads)
        self.out = nn.Sequential(nn.LayerNorm(outputs), nn.Linear(outputs, outputs))
        # the verifier's state before a word is no guess of the next, so levels that pass it by start at the layer's
        self.alpha = nn.Parameter(torch.tensor(1.0 if "before" in self.reads else 0.1))
        nn.init.eye_(self.out[1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.out[1].bias)  # type: ignore[arg-type]

    def enter(self, *inputs: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        """x and r [B, T, D_rgb] at the places from `start` on."""
        raise NotImplementedError

    def leave(self, mixed: Tensor, passed: Tensor) -> Tensor:
        """Aligned states from what the layer made of x, and r."""
        return passed + self.alpha * (self.out(mixed) - passed)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Aligned states of whole answers."""
        return self.follow(*inputs)[0]

    def follow(self, *inputs: Tensor, past: Past | None = None) -> tuple[Tensor, Past | None]:
        """Aligned states, and keys and values of all places so far."""
        x, passed = self.enter(*inputs, start=0 if past is None else past[0].shape[2])
        mixed, past = self.layer(x, past)
        return self.leave(mixed, passed), past


class AttentionAdapter(CausalAdapter):
    """L4: one layer over the event states so far; the study's saw the later ones too while it was trained."""

    name = "L4"

    def __init__(self, inputs: int, outputs: int, heads: int) -> None:
        super().__init__(inputs, outputs, heads)
        self.project = projection(inputs, outputs)

    def enter(self, *inputs: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        """The projected event states, as both."""
        h = self.project(inputs[0])
        return h, h


class Places(nn.Module):
    """LN, then the learnt positions of the words of an answer."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.places = nn.Parameter(nn.init.trunc_normal_(torch.empty(PLACES, size), std=0.02))

    def forward(self, x: Tensor, start: int) -> Tensor:
        """x [B, T, D] at places from `start` on."""
        at = torch.arange(start, start + x.shape[1], device=x.device).clamp(max=PLACES - 1)
        placed: Tensor = self.norm(x) + self.places[at]
        return placed


class EagleAdapter(CausalAdapter):
    """L5: event state and the word just read, positions and one layer. Its guess is of one state only, the one that
    predicts the next word; the study asked one vector to equal two successive states."""

    name, reads = "L5", ("event", "words")

    def __init__(self, inputs: int, outputs: int, heads: int) -> None:
        super().__init__(inputs, outputs, heads)
        self.project = projection(inputs, outputs)
        self.fuse = nn.Linear(2 * outputs, outputs)
        self.places = Places(outputs)

    def enter(self, *inputs: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        """Both fused; the event state is passed by."""
        h = self.project(inputs[0])
        return self.places(self.fuse(torch.cat([h, inputs[1]], -1)), start), h


class VerifierAdapter(CausalAdapter):
    """B1, the study's baseline without an event VLM: L5's layer over the verifier's states before the word to be said;
    the study gave it the very state that it was to guess."""

    name, reads = "B1", ("before",)

    def __init__(self, inputs: int, outputs: int, heads: int) -> None:
        super().__init__(inputs, outputs, heads)
        self.places = Places(outputs)

    def enter(self, *inputs: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        """The verifier's states, which are passed by too."""
        return self.places(inputs[0], start), inputs[0]


class FusedAdapter(CausalAdapter):
    """L5F: event state and the verifier's state before the word to be said, mixed by a gate; then L5's layer."""

    name, reads = "L5F", ("event", "before")

    def __init__(self, inputs: int, outputs: int, heads: int) -> None:
        super().__init__(inputs, outputs, heads)
        self.project = projection(inputs, outputs)
        self.gate, self.fuse = nn.Linear(2 * outputs, outputs), nn.Linear(2 * outputs, outputs)
        self.places = Places(outputs)

    def enter(self, *inputs: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        """gate * event + (1 - gate) * verifier + fuse of both; the verifier's state is passed by."""
        event, before = self.project(inputs[0]), inputs[1]
        both = torch.cat([event, before], -1)
        gate = self.gate(both).sigmoid()
        return self.places(gate * event + (1 - gate) * before + self.fuse(both), start), before
