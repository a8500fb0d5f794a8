"""How long a verify pass takes on this machine: what the controller starts from, and what `bench --profile` looks into.

    seconds = times(verify_pass(decoder, rows=8), decoder.embed.weight.device, repeats=3)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from pipeline.decoder import Decoder
from pipeline.trees import attention_mask
from pipeline.types import VLM, Draft
from streams.types import Frame, Resolution, Window, empty_packet

PREFIX_ROWS = 128
"""Rows in the cache before the passes that are timed: about a picture and half an answer."""

ROWS = (1, 2, 4, 8, 16)
"""Rows of the passes that are timed."""

AT_START, SLOW_S = 3, 0.2
"""How often each is timed when the models are loaded, and seconds from which on once is enough."""


def verify_seconds(decoder: Decoder) -> dict[int, float]:
    """Seconds of a check by its rows: the fastest of a few, or one each where a check takes long."""
    device, found = decoder.embed.weight.device, dict[int, float]()
    for rows in ROWS:
        often = AT_START if min(found.values(), default=0.0) < SLOW_S else 1
        found[rows] = min(times(verify_pass(decoder, rows), device, often))
    return found


def session_seconds(vlm: VLM, device: torch.device) -> dict[int, float]:
    """The same for a model that is somebody else's code, through a session about grey pictures."""
    frames = [Frame(at_us, 0, np.full((240, 320, 3), 128, np.uint8)) for at_us in range(0, 1_000_000, 100_000)]
    session = vlm.open(Window(0, 1_000_000, empty_packet(), frames, Resolution(320, 240)), "What is happening?")
    session.prefill()
    token, found = session.prefix.prompt[-1], dict[int, float]()
    session.extend([token])
    for rows in ROWS:
        draft = Draft.chain([token] * (rows - 1), "timed")
        often = AT_START if min(found.values(), default=0.0) < SLOW_S else 1
        found[rows] = min(times(partial(session.score, draft), device, often))
    return found


def verify_pass(decoder: Decoder, rows: int) -> Callable[[], torch.Tensor]:
    """A verify pass over one committed token and a chain after it, ready to run."""
    weight = decoder.embed.weight
    cache = decoder.new_cache(PREFIX_ROWS + rows)
    # what happens to lie in new memory may be numbers that processors are slow with (measured: up to three times)
    for store in (cache.keys, cache.values):
        store.fill_(1.0)
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
