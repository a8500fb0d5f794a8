"""The bundled recording: a street on which things change, as a scene, an AEDAT4 file and its truth.

    write_story(Path("story.aedat4"))        # and story.json beside it

The same writer records any scene: write_recording(scene, path, duration_s=5).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from streams.aedat4 import Compression
from streams.recorder import Recorder
from streams.scenes.render import Renderer
from streams.scenes.world import DIRECTIONS, SPEEDS, Scene, SceneObject, observe
from streams.simulation import EventSimulator, SimulatorParameters
from streams.types import Events, Frame, Packet, Resolution

STORY_S = 20.0
RESOLUTION = Resolution(346, 260)
QUIET = SimulatorParameters(threshold_on=0.33, threshold_off=0.33, leak_hz=0.02, shot_noise_hz=0.03)
"""A calm sensor keeps the bundled file small."""


def pass_by(cls: str, colour: str, direction: str, rate: float, band: int, at_s: float,
            scale: float = 1.0) -> SceneObject:
    """Something that crosses the view, in the middle of it at at_s, `rate` views per second."""
    dx, dy = DIRECTIONS[direction]
    return SceneObject(cls, colour, direction, speed_word(rate), 0.5, (band + 0.5) / 3, dx * rate, dy * rate,
                       scale=scale, flip=direction == "left", look=round(100 * at_s), t_ref_s=at_s)


def speed_word(rate: float) -> str:
    """The word of SPEEDS nearest to a rate in views per second."""
    return min(SPEEDS, key=lambda word: abs(sum(SPEEDS[word]) / 2 - rate))


def story() -> Scene:
    """The bundled street: cars, a bus, a dog and others come and go, one at a time in each third of the view."""
    things = (
        pass_by("car", "red", "right", 0.12, 1, at_s=2.5),
        pass_by("ball", "yellow", "left", 0.45, 2, at_s=2.0),
        pass_by("bus", "blue", "left", 0.24, 2, at_s=6.2),
        pass_by("cyclist", "green", "right", 0.45, 1, at_s=8.2),
        pass_by("drone", "white", "right", 0.12, 0, at_s=10.0),
        pass_by("dog", "black", "left", 0.45, 2, at_s=11.6),
        pass_by("truck", "orange", "left", 0.24, 1, at_s=13.4),
        pass_by("bird", "yellow", "left", 0.45, 0, at_s=15.2),
        pass_by("pedestrian", "purple", "right", 0.11, 2, at_s=17.0),
        pass_by("car", "white", "right", 0.45, 1, at_s=18.6),
        pass_by("drone", "orange", "down", 0.24, 0, at_s=19.6),
    )
    return Scene("street", "day", things, seed=7, texture=0.0)


def play(scene: Scene, resolution: Resolution, duration_s: float, frame_rate_hz: float = 10.0,
         event_rate_hz: float = 60.0, parameters: SimulatorParameters | None = None, seed: int = 0,
         start_us: int = 0, tick_us: int = 1) -> Iterator[Packet]:
    """Frames at frame_rate_hz and simulated event packets of a scene, in time order, for duration_s.

    event_rate_hz: pictures per second that the events are simulated from. tick_us: resolution of event times.
    """
    renderer = Renderer(scene, resolution)
    simulator = EventSimulator(resolution, parameters, seed)
    every = max(1, round(event_rate_hz / frame_rate_hz))
    end_us = start_us + round(duration_s * 1e6)
    for step in range(round(duration_s * event_rate_hz) + 1):
        t_us = start_us + round(step * 1e6 / event_rate_hz)
        image = renderer.frame(step / event_rate_hz)
        events = simulator.step(image, t_us)
        yield _rounded(events[events["t"] < end_us], tick_us)
        if step % every == every // 2 and t_us < end_us:
            yield Frame(t_us, 5000, image)


def _rounded(events: Events, tick_us: int) -> Events:
    if tick_us == 1:
        return events
    events["t"] -= events["t"] % tick_us
    return events[np.lexsort((events["x"], events["y"], events["t"]))]


def write_recording(scene: Scene, path: Path, duration_s: float, resolution: Resolution = RESOLUTION,
                    parameters: SimulatorParameters | None = None, compression: Compression = "zstd",
                    tick_us: int = 1) -> None:
    """Write a scene as AEDAT4 (rendered events and frames) and its truth as JSON with the same stem."""
    with Recorder(path, resolution, resolution, "rendered", "rendered", compression=compression) as recorder:
        for item in play(scene, resolution, duration_s, parameters=parameters, tick_us=tick_us):
            recorder.write(item)
    starts_s = np.arange(0, duration_s, 1.0)
    truth = {"place": scene.place, "time": scene.time, "duration_s": duration_s,
             "windows": [{"start_s": float(s), "end_s": float(s) + 1.0,
                          "objects": observe(scene, float(s), float(s) + 1.0).to_json()["objects"]} for s in starts_s]}
    path.with_suffix(".json").write_text(json.dumps(truth, indent=1) + "\n")


def write_story(path: Path) -> None:
    """Write the bundled recording; times rounded to 1 ms and the slowest compression keep it below 5 MB."""
    write_recording(story(), path, STORY_S, parameters=QUIET, compression="zstd_high", tick_us=1000)
