"""Level L6: a low-rank change of the event decoder itself, trained through peft, merged without it.

    changed = adapter.merged(event_decoder)      # a copy; the decoder that other drafters use stays as it is
"""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn

from pipeline.adapters.adapter import Adapter, projection
from pipeline.decoder import Decoder, DecoderConfig
from streams.types import InputError


def lora_sizes(config: DecoderConfig) -> dict[str, int]:
    """The sizes of an event decoder that a change must fit."""
    return {"inputs": config.hidden_size, "layers": config.layers, "attention": config.heads * config.head_size,
            "keys": config.kv_heads * config.head_size}


class LowRank(nn.Module):
    """A change of a weight: scale * lora_B lora_A (LoRA, Hu et al. 2022), under the names that peft gives."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.lora_A = nn.Linear(inputs, rank, bias=False)
        self.lora_B = nn.Linear(rank, outputs, bias=False)
        nn.init.zeros_(self.lora_B.weight)


class LoraAdapter(Adapter):
    """L6: changes of rank `rank` to the attention of the event decoder, and the input projection after it.

    attention, keys: widths of its queries and of its keys. LoRA's alpha is twice the rank, as in the study.
    """

    name, scale = "L6", 2.0
    targets = ("qkv", "out")

    def __init__(self, inputs: int, outputs: int, layers: int, attention: int, keys: int, rank: int) -> None:
        super().__init__()
        self.sizes = {"inputs": inputs, "outputs": outputs, "layers": layers, "attention": attention, "keys": keys,
                      "rank": rank}
        self.project = projection(inputs, outputs)
        self.layers = nn.ModuleList(nn.ModuleDict({
            "qkv": LowRank(inputs, attention + 2 * keys, rank), "out": LowRank(attention, inputs, rank)})
            for _ in range(layers))

    def forward(self, states: Tensor) -> Tensor:
        """Map the changed decoder's states [..., D_event] to [..., D_rgb]."""
        aligned: Tensor = self.project(states)
        return aligned

    def change(self, layer: int, name: str) -> Tensor:
        """What is added to one weight of the decoder, [outputs, inputs]."""
        low = self.get_submodule(f"layers.{layer}.{name}")
        assert isinstance(low, LowRank)
        return self.scale * (low.lora_B.weight @ low.lora_A.weight)

    def merged(self, decoder: Decoder) -> Decoder:
        """A copy of the event decoder with the changes in its weights. Raises InputError where they do not fit."""
        if lora_sizes(decoder.config) != {name: self.sizes[name] for name in lora_sizes(decoder.config)}:
            raise InputError(f"this adapter L6 changes an event decoder of sizes {self.sizes}, the one here has "
                             f"{lora_sizes(decoder.config)}; use an adapter trained for this pair")
        changed = deepcopy(decoder)
        for number, layer in enumerate(changed.layers):
            for name in self.targets:
                weight = getattr(layer, name).weight
                weight.data += self.change(number, name).detach().to(weight)
        return changed
