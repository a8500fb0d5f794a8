"""The rendered world: truth agrees with pictures, seeds repeat, the story is recorded as told."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.compose import bundled_recording
from pipeline.inputs import EVENT_CHANNELS, RGB_CHANNELS, SIDE, event_input, pick_frames, rgb_input
from streams.scenes.draw import sprite
from streams.scenes.render import Renderer, render_window, simulate_events
from streams.scenes.story import STORY_S, play, story
from streams.scenes.world import CLASSES, COLOURS, DIRECTIONS, PLACES, Scene, SceneObject, observe, random_scene
from streams.types import Frame, InputError, Resolution, Window, empty_packet

SMALL = Resolution(173, 130)


def test_the_same_seed_gives_the_same_scene_and_others_differ() -> None:
    assert random_scene(5) == random_scene(5)
    assert len({random_scene(seed) for seed in range(50)}) == 50


def test_scenes_cover_the_world() -> None:
    seen = [observe(random_scene(seed), 0, 1) for seed in range(400)]
    things = [thing for truth in seen for thing in truth.objects]
    assert {t.cls for t in things} == set(CLASSES)
    assert {t.colour for t in things} == set(COLOURS)
    assert {t.direction for t in things} == set(DIRECTIONS)
    assert {t.place for t in seen} == set(PLACES)
    assert {len(t.objects) for t in seen} == {0, 1, 2, 3}
    assert any(len({o.cls for o in t.objects}) < len(t.objects) for t in seen)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_object_is_painted_where_the_truth_says(cls: str) -> None:
    thing = SceneObject(cls, "red", "right", "fast", 0.5, 0.5, 0.4, 0.0)
    scene, empty = Scene("hall", False, (thing,)), Scene("hall", False, ())
    for t_s in (0.1, 0.5, 0.9):
        changed = (Renderer(scene, SMALL).frame(t_s) != Renderer(empty, SMALL).frame(t_s)).any(-1)
        rows, columns = np.nonzero(changed)
        width, height = thing.size()
        x, y = thing.centre(t_s)
        assert columns.mean() / SMALL.width == pytest.approx(x, abs=0.04)
        assert (columns.max() - columns.min()) / SMALL.height == pytest.approx(width, abs=0.05)
        assert (rows.max() - rows.min()) / SMALL.height == pytest.approx(height, abs=0.04)
        assert rows.mean() / SMALL.height == pytest.approx(y, abs=0.04)


def test_flipped_and_coloured_sprites_differ() -> None:
    assert not np.array_equal(sprite("car", "red", False, 40), sprite("car", "red", True, 40))
    assert not np.array_equal(sprite("car", "red", False, 40), sprite("car", "blue", False, 40))
    assert sprite("car", "red", False, 40)[..., 3].max() == pytest.approx(1)


def test_events_come_from_what_moves() -> None:
    still = SceneObject("car", "red", "still", "still", 0.5, 0.5, 0, 0)
    moving = replace(still, direction="right", speed="fast", vx=0.4)
    quiet, busy = (len(simulate_events(Scene("street", False, (o,)), SMALL, 0, 1)) for o in (still, moving))
    assert busy > 3 * quiet


def test_entering_and_leaving() -> None:
    thing = SceneObject("car", "red", "right", "fast", 0.5, 0.5, 0.4, 0.0, t_ref_s=5.0)
    scene = Scene("street", False, (thing,))
    assert [len(observe(scene, s, s + 1).objects) for s in (0, 3, 4.5, 7)] == [0, 0, 1, 0]


def test_the_fastest_needs_a_clear_lead() -> None:
    slow = SceneObject("car", "red", "right", "fast", 0.5, 0.2, 0.40, 0.0)
    near, clear = replace(slow, cls="dog", y=0.8, vx=0.42), replace(slow, cls="dog", y=0.8, vx=0.50)
    assert observe(Scene("street", False, (slow, near)), 0, 1).fastest() is None
    assert observe(Scene("street", False, (slow, clear)), 0, 1).fastest().cls == "dog"  # type: ignore[union-attr]


def test_play_is_sorted_and_starts_where_told() -> None:
    items = list(play(random_scene(1), SMALL, 0.5, start_us=7_000_000))
    times = [item["t"] if isinstance(item, np.ndarray) else np.array([item.t_us]) for item in items]
    events = np.concatenate([i["t"] for i in items if isinstance(i, np.ndarray)])
    assert np.all(np.diff(events) >= 0)
    assert min(t.min() for t in times if len(t)) >= 7_000_000
    assert sum(isinstance(i, Frame) for i in items) == 5


def test_inputs_have_one_shape_whatever_the_resolution() -> None:
    scene = random_scene(8)
    reference = None
    for resolution in (Resolution(128, 128), SMALL, Resolution(346, 260), Resolution(640, 360)):
        window = render_window(scene, resolution)
        rgb, events = rgb_input(window), event_input(window)
        assert rgb.shape == (RGB_CHANNELS, SIDE, SIDE)
        assert events.shape == (EVENT_CHANNELS, SIDE, SIDE)
        assert np.isfinite(rgb).all()
        if reference is not None:
            assert np.corrcoef(reference.ravel(), rgb[:3].ravel())[0, 1] > 0.8
        reference = rgb[:3]


def test_inputs_do_not_write_what_they_read() -> None:
    window = render_window(random_scene(3), SMALL)
    events, image = window.events.copy(), window.frames[0].image.copy()
    rgb_input(window)
    event_input(window)
    assert np.array_equal(window.events, events)
    assert np.array_equal(window.frames[0].image, image)


def test_empty_windows() -> None:
    window = Window(0, 1_000_000, empty_packet(), [], SMALL)
    assert not event_input(window).any()
    with pytest.raises(InputError, match="holds no frame"):
        rgb_input(window)


def test_frames_are_picked_by_time() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    frames = [Frame(t, 0, image) for t in (0, 100_000, 900_000)]
    window = Window(0, 1_000_000, empty_packet(), frames, SMALL)
    assert [f.t_us for f in pick_frames(window)] == [100_000] * 4 + [900_000] * 4


def test_the_bundled_recording_is_the_story() -> None:
    path = bundled_recording()
    truth = json.loads(path.with_suffix(".json").read_text())
    assert path.stat().st_size < 4_000_000
    assert truth["duration_s"] == STORY_S
    assert 20 <= STORY_S <= 30
    assert len(truth["windows"]) == STORY_S
    told = [o["cls"] for o in truth["windows"][3]["objects"]]
    assert told == [o.cls for o in observe(story(), 3.0, 4.0).objects]
    assert len({tuple(o["cls"] for o in w["objects"]) for w in truth["windows"]}) > 6


def test_recording_data_is_packaged() -> None:
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert 'streams = ["recordings/*"]' in text
    assert 'pipeline = ["weights/**/*"]' in text
