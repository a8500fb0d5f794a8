"""What drafters are measured on: unseen scenes one by one, and a sequence that goes on.

    windows = list(clips(20))
    story, *scenes = sequences(36)          # consecutive windows of 1 s, every sequence one conversation
"""

from __future__ import annotations

from collections.abc import Iterator

from streams.scenes.generate import random_scene
from streams.scenes.render import render_window
from streams.scenes.story import STORY_S, story
from streams.types import Resolution, Window

CLIP = Resolution(346, 260)
NOISE_SIGMA = 4.0
FIRST_CLIP = 500_000
"""First scene of the clips; training draws none below 1 000 000, `eval mini` begins at 0."""

FIRST_OF_SEQUENCES = 700_000
"""The scenes after the story are those from the next one on."""

SCENE_S = 8.0
"""How long each of these goes on."""


def clips(count: int) -> Iterator[Window]:
    """Windows of unseen scenes."""
    for seed in range(FIRST_CLIP, FIRST_CLIP + count):
        yield render_window(random_scene(seed, aspect=CLIP.aspect), CLIP, seed=seed, noise_sigma=NOISE_SIGMA)


def sequences(count: int, stride_s: float = 1.0) -> Iterator[list[Window]]:
    """`count` windows of 1 s in sequences that go on: the bundled recording's story, then unseen scenes."""
    left = count
    scene, length_s, seed = story(), STORY_S, FIRST_OF_SEQUENCES
    while left > 0:
        starts_s = [number * stride_s for number in range(int((length_s - 1) / stride_s) + 1)][:left]
        yield [render_window(scene, CLIP, start_s, start_s + 1, seed=seed + round(1000 * start_s),
                             noise_sigma=NOISE_SIGMA) for start_s in starts_s]
        left, seed, length_s = left - len(starts_s), seed + 1, SCENE_S
        scene = random_scene(seed, SCENE_S, aspect=CLIP.aspect)
