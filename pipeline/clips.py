"""What drafters are measured on: unseen scenes one by one, and a sequence that goes on.

    windows = list(clips(20))
    story = list(sequence(20))              # consecutive windows of 1 s, one conversation
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from streams.scenes.generate import random_scene
from streams.scenes.render import render_window
from streams.scenes.story import STORY_S, story
from streams.types import Resolution, Window

CLIP = Resolution(346, 260)
NOISE_SIGMA = 4.0
FIRST_CLIP = 500_000
"""First scene of the clips; training draws none below 1 000 000, `eval mini` begins at 0."""

FIRST_OF_SEQUENCE = 700_000
"""First scene that follows the story."""

SCENE_S = 4
"""How long each of these goes on."""


def clips(count: int) -> Iterator[Window]:
    """Windows of unseen scenes."""
    for seed in range(FIRST_CLIP, FIRST_CLIP + count):
        yield render_window(random_scene(seed, aspect=CLIP.aspect), CLIP, seed=seed, noise_sigma=NOISE_SIGMA)


def sequence(count: int) -> Iterator[Window]:
    """Consecutive windows of 1 s: the story of the bundled recording, then one longer scene after another."""
    for second in range(count):
        into, seed = second, FIRST_OF_SEQUENCE
        scene = story()
        if second >= STORY_S:
            number, into = divmod(second - int(STORY_S), SCENE_S)
            seed += number
            scene = random_scene(seed, SCENE_S, aspect=CLIP.aspect)
        window = render_window(scene, CLIP, into, into + 1, seed=seed + 1000 * into, noise_sigma=NOISE_SIGMA)
        yield _later(window, (second - into) * 1_000_000)


def _later(window: Window, by_us: int) -> Window:
    """The same window on a clock that is ahead."""
    events = window.events.copy()
    events["t"] += by_us
    return replace(window, start_us=window.start_us + by_us, end_us=window.end_us + by_us, events=events,
                   frames=[replace(frame, t_us=frame.t_us + by_us) for frame in window.frames])
