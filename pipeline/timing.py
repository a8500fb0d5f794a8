"""How long a verify pass takes on this machine: what the controller starts from, and what `bench --profile` looks into.

    seconds = times(verify_pass(decoder, rows=8), decoder.embed.weight.device, repeats=3)
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from pipeline.decoder import Decoder
from pipeline.trees import attention_mask

PREFIX_ROWS = 128
"""Rows in the cache before the passes that are timed: about a picture and half an answer."""

ROWS = (1, 2, 4, 8, 16)
"""Rows of the passes that are timed."""

AT_START = 3
"""How often each is timed when the models are loaded."""


def verify_seconds(decoder: Decoder) -> dict[int, float]:
    """Seconds of a check by its rows: the fastest of a few."""
    device = decoder.embed.weight.device
    return {rows: min(times(verify_pass(decoder, rows), device, AT_START)) for rows in ROWS}


def verify_pass(decoder: Decoder, rows: int) -> Callable[[], torch.Tensor]:
    """A verify pass over one committed token and a chain after it, ready to run."""
    weight = decoder.embed.weight
    cache = decoder.new_cache(PREFIX_ROWS + rows)
    cache.length = PREFIX_ROWS
    mask = attention_mask(list(range(-1, rows - 2)), PREFIX_ROWS, 1)[None, None].to(weight.device)
    at = torch.arange(PREFIX_ROWS, PREFIX_ROWS + rows, device=weight.device)[None]
    x = weight[:1].expand(1, rows, -1)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = decoder.head(decoder(x, at, mask, cache)[0])
        return logits

    return run


def times(work: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Seconds of each repetition; a first one, which only warms up, is left out."""
    found = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - start)
    return found[1:]
