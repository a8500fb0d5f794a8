"""The bundled pair's model: eye, projector and decoder in one checkpoint directory.

    model, tokenizer = load_mini(directory)
    slots = model.eye.slots(model.eye(pixels))    # pixels float32 [B, C, 128, 128]
    tokens = model.projector(slots, memory)       # visual tokens [B, V, D]

A directory holds config.json (a LlamaConfig with one more section, "parafovea"), model.safetensors (Llama names
for the decoder, "eye." and "projector." for the rest, stored in 16 bit and computed in float32) and
tokenizer.json. `LlamaForCausalLM.from_pretrained` loads the decoder from it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.decoder import Decoder, DecoderConfig, KVCache, Layer, rotate
from pipeline.text import Tokenizer
from pipeline.types import Box
from pipeline.vision import ATTRIBUTES, COARSE, SCENE, SLOTS, Memory, SlotEncoder, Slots, VisionConfig, changes, company

SCENE_AT = 2 * SLOTS
"""Place of the scene's visual token: after the slots of this window and of the one before."""


def visual_tokens(config: VisionConfig) -> int:
    """How many visual tokens there are: slots, remembered slots, the scene and, where it is read, the grid."""
    return SCENE_AT + 1 + (COARSE * COARSE if config.grid else 0)


class Projector(nn.Module):
    """Slots to visual tokens: soft attributes, how many are alike and features of the peak cell; what was seen before;
    scene; grid."""

    def __init__(self, config: VisionConfig, size: int) -> None:
        super().__init__()
        self.config = config
        near, far = config.widths[-2:]
        self.attributes = nn.Linear(ATTRIBUTES + 3, size, bias=False)
        self.features = nn.Linear(near + far, size, bias=False)
        self.before = nn.Linear(ATTRIBUTES + 1, size, bias=False)
        self.scene = nn.Linear(SCENE + 2, size)
        self.grid = nn.Linear(far, size, bias=False) if config.grid else None
        self.place = nn.Parameter(torch.randn(visual_tokens(config), size) * 0.5 / size**0.5)
        for layer in (self.attributes, self.before, self.scene):
            nn.init.normal_(layer.weight, std=size**-0.5)
        for plain in (self.features, self.grid):
            if plain is not None:
                nn.init.zeros_(plain.weight)

    def forward(self, slots: Slots, memory: Memory) -> Tensor:
        """Visual tokens [B, visual_tokens, D]; without a grid in the slots, its tokens are left out."""
        known, strange = memory.known[:, None].float(), slots.strange[:, None].float()
        new, gone = (sure * known for sure in changes(slots.attributes, memory.attributes))
        features = F.rms_norm(slots.features, (slots.features.shape[-1],))
        things = self.attributes(torch.cat([slots.attributes, new[..., None], company(slots.attributes)], -1))
        things = things + self.features(features)
        before = self.before(torch.cat([memory.attributes, gone[..., None]], -1))
        tokens = [things, before, self.scene(torch.cat([slots.scene, known, strange], -1))[:, None]]
        if self.grid is not None:
            tokens.append(self.grid(F.rms_norm(slots.grid, (slots.grid.shape[-1],))))
        seen = torch.cat(tokens, 1)
        return seen * 0.5 + self.place[:seen.shape[1]]


class MiniModel(nn.Module):
    """Eye, projector and decoder of one side of the bundled pair."""

    def __init__(self, decoder: DecoderConfig, vision: VisionConfig) -> None:
        super().__init__()
        self.eye = SlotEncoder(vision)
        self.projector = Projector(vision, decoder.hidden_size)
        self.decoder = Decoder(decoder)
        self.changed_by = ""

    @property
    def pointing_layer(self) -> int:
        """Layer whose first head is trained to look at the object being talked about."""
        return pointing_layer(self.decoder.config.layers)


def pointing_layer(layers: int) -> int:
    """The pointing layer of a decoder with so many layers."""
    return layers // 3 if layers > 2 else 1


def pointing(decoder: Decoder, entering: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
    """Log-attention [B, T, T] of the pointing head, from the states entering its layer."""
    layer = decoder.layers[pointing_layer(decoder.config.layers)]
    assert isinstance(layer, Layer)
    cos, sin = decoder.cos[positions], decoder.sin[positions]
    head, keys_at = decoder.config.head_size, layer.split[0]
    normed, weight = layer.attention_norm(entering), layer.qkv.weight
    query = rotate(F.linear(normed, weight[:head]), cos, sin)
    key = rotate(F.linear(normed, weight[keys_at:keys_at + head]), cos, sin)
    scores = query @ key.transpose(1, 2) / head**0.5
    return scores.masked_fill(~mask[:, 0], float("-inf")).log_softmax(-1)


POINTING_MASS = 0.8
"""Attention on one slot above which a word is about its object."""


def locate(decoder: Decoder, boxes: Sequence[Box | None], entering: Tensor, positions: Tensor, mask: Tensor | None,
           cache: KVCache, rows: int) -> list[Box | None]:
    """Boxes of the objects that the next words are about, None for words about none.

    boxes: of the window's SLOTS objects; entering [R, D]: states entering the pointing layer; mask [R, rows] bool, None
    = everything is seen; rows: of the cache, those of the pass that gave the states included.
    """
    index, cos, sin = pointing_layer(decoder.config.layers), decoder.cos, decoder.sin
    # that pass has already written its own keys after the cursor
    if cache.compiled is not None:
        slots, shares = cache.compiled.look(index, entering, positions, cos, sin, mask, rows, cache, SLOTS)
    else:
        layer, head = decoder.layers[index], decoder.config.head_size
        assert isinstance(layer, Layer)
        query = F.linear(layer.attention_norm(entering), layer.qkv.weight[:head])
        scores = rotate(query, cos[positions], sin[positions]) @ cache.keys[index, 0, 0, :rows].T / head**0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        most = scores.softmax(-1)[:, :SLOTS].max(-1)
        slots, shares = most.indices.tolist(), most.values.tolist()
    return [boxes[slot] if share > POINTING_MASS else None for slot, share in zip(slots, shares, strict=True)]


def save_mini(model: MiniModel, tokenizer_file: Path, directory: Path, eos: int, changed_by: str = "") -> None:
    """Write a checkpoint directory, weights in float16. changed_by: a later training that made it another model."""
    directory.mkdir(parents=True, exist_ok=True)
    state = model.decoder.llama_state()
    state |= {f"eye.{name}": value for name, value in model.eye.state_dict().items()
              if not name.endswith("num_batches_tracked")}
    state |= {f"projector.{name}": value for name, value in model.projector.state_dict().items()}
    save_file({name: value.half().contiguous() for name, value in state.items()}, directory / "model.safetensors",
              metadata={"format": "pt"})
    vision = asdict(model.eye.config)
    config = model.decoder.config.to_llama(eos_token_id=eos, bos_token_id=None, pad_token_id=0,
                                           parafovea={"vision": vision, "changed_by": changed_by})
    (directory / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (directory / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())


def load_mini(directory: Path, device: torch.device | None = None) -> tuple[MiniModel, Tokenizer]:
    """Read a checkpoint directory in float32, ready for inference."""
    config = json.loads((directory / "config.json").read_text())
    vision = config["parafovea"]["vision"]
    model = MiniModel(DecoderConfig.from_llama(config), VisionConfig(**vision | {"widths": tuple(vision["widths"])}))
    state = {name: value.float() for name, value in load_file(directory / "model.safetensors").items()}
    for part, prefix in ((model.eye, "eye."), (model.projector, "projector.")):
        mine = {name.removeprefix(prefix): state.pop(name) for name in list(state) if name.startswith(prefix)}
        missing, unexpected = part.load_state_dict(mine, strict=False)
        if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
            raise ValueError(f"{directory.name} does not fit: missing {missing[:3]}, unexpected {unexpected[:3]}")
    model.decoder.load_llama(state)
    model.changed_by = config["parafovea"].get("changed_by", "")
    model.eval().requires_grad_(False)
    model.eye.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.to(device or torch.device("cpu")), Tokenizer(directory / "tokenizer.json")
