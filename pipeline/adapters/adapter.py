"""What every level of adapter is: a guess of the verifier's state at each place of an answer."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn

DROPOUT = 0.1

Past: TypeAlias = tuple[Tensor, Tensor]
"""Keys and values [B, heads, T, head_size] of the places already seen."""

Reads: TypeAlias = tuple[str, ...]
"""What is known at the place of a word: "event", the event VLM's state that would predict it; "words", the embedding of
the word before it; "before", the verifier's state that led to that word."""


class Adapter(nn.Module):
    """One level: what it reads at each place of an answer, and its guess of the verifier's state there.

    sizes: keyword arguments of the constructor, kept in config.json.
    """

    name: str
    reads: Reads = ("event",)
    sizes: dict[str, int]

    def follow(self, *inputs: Tensor, past: Past | None = None) -> tuple[Tensor, Past | None]:
        """Aligned states [B, T, D_rgb] from what `reads` names, each [B, T, ...], at places after those of `past`."""
        return self(*inputs), None


def projection(inputs: int, outputs: int) -> nn.Module:
    """The input projection [inputs] -> [outputs], nothing where the widths are equal."""
    return nn.Linear(inputs, outputs) if inputs != outputs else nn.Identity()
