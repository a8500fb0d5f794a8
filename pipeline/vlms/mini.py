"""The bundled pair: a small event VLM and a small RGB VLM of one rendered world, for any machine.

    vlm = load("rgb")                        # or "event", or a folder made by `parafovea train mini`
    session = vlm.open(window, "What is happening?")
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pipeline.decoder import FINAL, Decoder, KVCache
from pipeline.inputs import event_input, rgb_input
from pipeline.mini import MiniModel, load_mini, locate
from pipeline.models import WEIGHTS
from pipeline.packed import in_eight_bits
from pipeline.placement import Placement
from pipeline.seen import LastSeen
from pipeline.session import DecoderSession
from pipeline.text import Tokenizer
from pipeline.types import Box
from pipeline.vision import Memory, Slots, boxes_after, remember
from streams.types import InputError, Window

CAPACITY = 512
"""Rows of a session's cache: visual tokens, prompt and answer."""

MAX_PROMPT = 256
"""Longest question in tokens."""

FEWEST_LEVELS = 6
"""Layers from which on a low, a middle and a high one are three."""

RECENT = 4
"""Windows whose slots are kept: several questions are asked about one window, and the next one compares with it."""


class MiniVLM:
    """One side of the bundled pair."""

    def __init__(self, side: Literal["event", "rgb"], model: MiniModel, tokenizer: Tokenizer) -> None:
        self.name, self.side = f"mini-{side}", side
        if model.changed_by:
            self.name += f" changed by {model.changed_by}"
        self.reads: Literal["frames", "events", "nothing"] = "frames" if side == "rgb" else "events"
        self.model, self.tokenizer = model, tokenizer
        self.decoder: Decoder | None = model.decoder
        layers = model.decoder.config.layers
        levels = (layers // 2, layers - 3) if layers >= FEWEST_LEVELS else ()
        self.taps: tuple[int, ...] = (model.pointing_layer, *levels, FINAL)
        self.hidden_size = model.decoder.config.hidden_size
        self._seen = LastSeen(RECENT, self._looked_at)

    def open(self, window: Window, prompt: str) -> DecoderSession:
        """Begin an answer; pixels are read by Session.prefill(). Raises InputError for an endless question."""
        tokens_of_prompt = self.tokenizer.prompt(prompt)
        if len(tokens_of_prompt) > MAX_PROMPT:
            raise InputError(f"the question has {len(tokens_of_prompt)} tokens, at most {MAX_PROMPT} are allowed; "
                             "shorten it")
        # not the model's: a drafter may have changed the words of this VLM and left its eye as it is
        decoder, seen = self.decoder, list[list[Box | None]]()
        assert decoder is not None

        def read_prefix() -> Tensor:
            tokens, slots = self.see(window)
            # the end of the window is what a person sees while asking
            boxes = boxes_after(slots, window.duration_us / 2e6)[0].tolist()
            found = slots.found[0].tolist()
            seen.append([tuple(box) if there else None for box, there in zip(boxes, found, strict=True)])
            return tokens[0]

        def find(entering: Tensor, positions: Tensor, mask: Tensor | None, cache: KVCache,
                 rows: int) -> list[Box | None]:
            return locate(decoder, seen[0], entering, positions, mask, cache, rows)

        return DecoderSession(decoder, read_prefix, tokens_of_prompt, CAPACITY, self.taps, find)

    @torch.inference_mode()
    def see(self, window: Window) -> tuple[Tensor, Slots]:
        """Visual tokens [1, V, D] of a window and the objects behind them."""
        slots, memory = self.seen(window)
        return self.model.projector(slots, memory), slots

    @torch.inference_mode()
    def seen(self, window: Window) -> tuple[Slots, Memory]:
        """The objects of a window and what is remembered of the one before."""
        slots, before = self.slots(window), window.previous
        if before is None or (self.side == "rgb" and not before.frames):
            return slots, Memory.none(1, slots.found.device)
        return slots, remember(self.slots(before))

    def look(self, window: Window) -> None:
        """See what there is in a window that will be asked about."""
        self.slots(window)

    def slots(self, window: Window) -> Slots:
        """What the eye sees in a window; the last few windows are not looked at again."""
        return self._seen.of(window)

    @torch.inference_mode()
    def _looked_at(self, window: Window) -> Slots:
        pixels = torch.from_numpy(rgb_input(window) if self.side == "rgb" else event_input(window))
        eye = self.model.eye
        return eye.slots(eye(pixels[None].to(self.model.decoder.embed.weight.device)))

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.model.parameters())


def load(side: Literal["event", "rgb"], folder: Path | None = None, where: Placement | None = None) -> MiniVLM:
    """Load one side from the package or from a folder that holds mini-event and mini-rgb; always in float32, but for
    the RGB side's decoder in int8, which is said in its name. The event side is too small to gain from it.

    Raises InputError when the folder does not hold a checkpoint.
    """
    directory = (folder or WEIGHTS) / f"mini-{side}"
    if not (directory / "model.safetensors").exists():
        raise InputError(f"no checkpoint in {directory}; expected config.json, model.safetensors and tokenizer.json "
                         "as written by `parafovea train mini`")
    try:
        model, tokenizer = load_mini(directory, where.device if where else None)
    except Exception as error:  # the readers of JSON, safetensors and tokenizers each have errors of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"the checkpoint in {directory} cannot be read ({reason}); train or copy it again") from error
    vlm = MiniVLM(side, model, tokenizer)
    if side == "rgb" and where is not None and where.int8:
        in_eight_bits(model.decoder.layers)
        vlm.name += " in 8 bit, LOSSY against float32"
    return vlm
