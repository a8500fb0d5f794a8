"""synthetic://SEED: an endless succession of rendered scenes, for demonstration and tests.

    for item in open_source("synthetic://7"): ...
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from streams.scenes.generate import random_scene
from streams.scenes.story import play
from streams.types import InputError, Losses, Packet, Resolution, SourceInfo

SCENE_S = 4.0
"""Each scene lasts this long before the next begins."""

RESOLUTION = Resolution(346, 260)


def open_source(uri: str) -> SyntheticSource:
    """Open synthetic://SEED (or synthetic:// for seed 0). Raises InputError for a seed that is no number."""
    text = uri.partition("://")[2] or "0"
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{uri} is not a synthetic source; write synthetic://SEED with a whole number as seed")
    return SyntheticSource(int(text))


class SyntheticSource:
    """Scene after scene, drawn from one seed; the same seed gives the same stream."""

    def __init__(self, seed: int) -> None:
        self._seed, self._start_us = seed, 0
        self.losses = Losses()
        self.info = SourceInfo(f"synthetic scenes {seed}", RESOLUTION, RESOLUTION, start_us=0,
                               events_origin="rendered", frames_origin="rendered", sensor="rendered")

    def __iter__(self) -> Iterator[Packet]:
        length_us = round(SCENE_S * 1e6)
        for number in itertools.count(self._start_us // length_us):
            scene = random_scene(self._seed * 100_000 + number, SCENE_S)
            for item in play(scene, RESOLUTION, SCENE_S, seed=number, start_us=number * length_us):
                if isinstance(item, np.ndarray):
                    item = item[item["t"] >= self._start_us]
                    self._start_us = int(item["t"][-1]) + 1 if len(item) else self._start_us
                    yield item
                elif item.t_us >= self._start_us:
                    self._start_us = item.t_us + 1
                    yield item

    def seek(self, t_us: int) -> None:
        """Continue at t_us."""
        self._start_us = max(0, t_us)

    def rate_histogram(self, bins: int) -> np.ndarray:
        """An endless source has no histogram. Raises InputError."""
        raise InputError("an endless synthetic source has no event-rate histogram")

    def close(self) -> None:
        """Nothing to release."""

    def __enter__(self) -> SyntheticSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
