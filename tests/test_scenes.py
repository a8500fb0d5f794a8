"""The rendered world: truth agrees with pictures, seeds repeat, the story is recorded as told."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.compose import bundled_recording
from pipeline.alignment import camera_shifts
from pipeline.inputs import EVENT_CHANNELS, RGB_CHANNELS, SIDE, event_input, pick_frames, rgb_input
from streams.scenes.generate import before_change, beyond_doubt, changing, random_scene
from streams.scenes.render import Renderer, render_frames, render_window, simulate_events
from streams.scenes.sprites import sprite
from streams.scenes.story import STORY_S, play, speed_word, story
from streams.scenes.world import (
    CAMERAS,
    COLOURS,
    DIRECTIONS,
    DRAWINGS,
    MAX_OBJECTS,
    PLACES,
    RENDERED,
    SPEEDS,
    TIMES,
    Scene,
    SceneObject,
    box_of,
    observe,
    visible_shares,
)
from streams.types import Frame, InputError, Resolution, Window, empty_packet

SMALL = Resolution(173, 130)


def scene_with(*things: SceneObject, place: str = "street") -> Scene:
    return Scene(place, "day", things, texture=0.0)


def test_the_same_seed_gives_the_same_scene_and_others_differ() -> None:
    assert random_scene(5) == random_scene(5)
    assert len({random_scene(seed) for seed in range(50)}) == 50


def test_the_world_is_as_large_as_promised() -> None:
    assert len(RENDERED) >= 12
    assert len(DRAWINGS) >= 40
    assert len(COLOURS) == 8
    assert len(PLACES) == 5
    assert len(TIMES) == 3
    assert len(SPEEDS) == 4  # three and "still"


def test_scenes_cover_the_world() -> None:
    seen = [observe(random_scene(seed), 0, 1) for seed in range(900)]
    things = [thing for truth in seen for thing in truth.objects]
    assert {t.cls for t in things} == set(RENDERED)
    assert {t.colour for t in things} == set(COLOURS)
    assert {t.direction for t in things} == set(DIRECTIONS)
    assert {t.speed for t in things} == set(SPEEDS)
    assert {t.place for t in seen} == set(PLACES)
    assert {t.time for t in seen} == set(TIMES)
    assert {t.camera for t in seen} == set(CAMERAS)
    assert {len(t.objects) for t in seen} == set(range(MAX_OBJECTS + 1))
    assert any(len({o.cls for o in t.objects}) < len(t.objects) for t in seen)


def test_drawings_come_only_where_pictures_of_them_are_given() -> None:
    seen = [observe(random_scene(seed, styles={"horse": ("noto",)}), 0, 1) for seed in range(60)]
    drawn = [thing for truth in seen for thing in truth.objects if thing.cls == "horse"]
    assert len(drawn) > 20
    assert {thing.colour for thing in drawn} == {None}


def test_labels_are_beyond_doubt_whatever_the_shape_of_the_view() -> None:
    for aspect in (1.0, 4 / 3, 16 / 9):
        for seed in range(150):
            scene = random_scene(seed, aspect=aspect)
            assert beyond_doubt(scene, 0.5, aspect)
            truth = observe(scene, 0, 1, aspect)
            for thing in truth.objects:
                assert 0.05 < (thing.x * 3) % 1 < 0.95
                assert 0.05 < (thing.y * 3) % 1 < 0.95
            heights = [thing.y for thing in truth.objects]
            assert all(b - a > 0.02 for a, b in itertools.pairwise(heights))


def test_an_object_behind_another_is_not_spoken_of() -> None:
    behind = SceneObject("dog", "red", "right", "slow", 0.5, 0.5, 0.1, 0.0)
    cover = SceneObject("bus", "blue", "left", "slow", 0.5, 0.5, -0.1, 0.0, scale=1.5)
    assert [o.cls for o in observe(scene_with(behind, cover), 0, 1).objects] == ["bus"]
    assert visible_shares([box_of(t, 0.5, 4 / 3) for t in (behind, cover)]) == pytest.approx([0, 1])


@pytest.mark.parametrize("cls", RENDERED)
def test_an_object_is_painted_where_the_truth_says(cls: str) -> None:
    thing = SceneObject(cls, "red", "right", "fast", 0.5, 0.5, 0.4, 0.0)
    scene, empty = scene_with(thing, place="hall"), scene_with(place="hall")
    for t_s in (0.1, 0.5, 0.9):
        changed = (Renderer(scene, SMALL).frame(t_s) != Renderer(empty, SMALL).frame(t_s)).any(-1)
        rows, columns = np.nonzero(changed)
        width, height = thing.size(t_s)
        x, y = thing.centre(t_s)
        assert columns.mean() / SMALL.width == pytest.approx(x, abs=0.04)
        assert (columns.max() - columns.min()) / SMALL.height == pytest.approx(width, abs=0.05)
        assert (rows.max() - rows.min()) / SMALL.height == pytest.approx(height, abs=0.05)
        assert rows.mean() / SMALL.height == pytest.approx(y, abs=0.05)


def test_what_comes_closer_grows() -> None:
    thing = SceneObject("car", "red", "towards", "fast", 0.5, 0.5, growth=0.9)
    widths = [thing.size(t_s)[0] for t_s in (0.0, 0.5, 1.0)]
    assert widths[1] / widths[0] == pytest.approx(widths[2] / widths[1]) == pytest.approx(np.exp(0.45))
    sizes = [(Renderer(scene_with(thing), SMALL).frame(t) != Renderer(scene_with(), SMALL).frame(t)).sum()
             for t in (0.0, 1.0)]
    assert sizes[1] > 2 * sizes[0]


def test_sprites_are_individuals() -> None:
    assert np.array_equal(sprite("car", "red", 1, 40), sprite("car", "red", 1, 40))
    assert not np.array_equal(sprite("car", "red", 1, 40), sprite("car", "red", 2, 40))
    assert not np.array_equal(sprite("car", "red", 1, 40), sprite("car", "blue", 1, 40))
    assert sprite("car", "red", 1, 40)[..., 3].max() == pytest.approx(1)


@pytest.mark.parametrize("place", PLACES)
def test_something_stirs_in_every_place(place: str) -> None:
    frames = [Renderer(Scene(place, "day", (), seed=3), SMALL).frame(t_s) for t_s in (0.0, 0.37)]
    assert (frames[0] != frames[1]).any()


def test_time_of_day_is_seen() -> None:
    frames = {time: Renderer(Scene("park", time, (), ambient=1.0), SMALL).frame(0.2).astype(int) for time in TIMES}
    lamps = np.abs(frames["night"] - Renderer(Scene("park", "night", ()), SMALL).frame(0.3).astype(int)).max()
    assert lamps > 10  # they flicker
    assert frames["dusk"][..., 0].mean() > frames["day"][..., 0].mean() > frames["night"][..., 0].mean()
    thing = SceneObject("car", "red", "still", "still", 0.5, 0.5)
    shadows = {}
    for time in TIMES:
        bare = Renderer(Scene("street", time, (), texture=0.0), SMALL).frame(0.2).astype(int)
        changed = Renderer(Scene("street", time, (thing,), texture=0.0), SMALL).frame(0.2) != bare
        shadows[time] = np.ptp(np.nonzero(changed.any((0, 2)))[0])
    assert shadows["dusk"] > shadows["day"] + 10 > shadows["night"]


def test_events_come_from_what_moves() -> None:
    still = SceneObject("car", "red", "still", "still", 0.5, 0.5)
    moving = replace(still, direction="right", speed="fast", vx=0.4)
    quiet, busy = (len(simulate_events(scene_with(o), SMALL, 0, 1)) for o in (still, moving))
    assert busy > 1.5 * quiet


def test_entering_and_leaving() -> None:
    thing = SceneObject("car", "red", "right", "fast", 0.5, 0.5, 0.4, 0.0, t_ref_s=5.0)
    assert [len(observe(scene_with(thing), s, s + 1).objects) for s in (0, 3, 4.5, 7)] == [0, 0, 1, 0]


def test_a_panning_camera_moves_the_picture_and_not_the_truth() -> None:
    thing = SceneObject("car", "red", "still", "still", 0.5, 0.5)
    scene = replace(scene_with(thing), pan_x=0.1)
    seen = observe(scene, 0, 1).objects[0]
    assert (seen.direction, seen.speed, seen.vx) == ("still", "still", 0.1)
    assert observe(scene, 1, 2).objects[0].x == pytest.approx(0.6)
    assert scene.camera == "panning"


def test_the_cameras_own_motion_is_found() -> None:
    scene = Scene("park", "day", (), seed=4, shake=0.015, pan_x=0.05)
    times_s = (np.arange(8) + 0.5) / 8
    luma = np.stack([f.image.mean(-1) for f in render_frames(scene, Resolution(SIDE, SIDE), times_s, 4.0)]) / 255
    slide = np.array([(scene.panned(t)[0] + scene.shaken(t)[0], scene.panned(t)[1] + scene.shaken(t)[1])
                      for t in times_s]) * SIDE
    assert np.abs(camera_shifts(luma.astype(np.float32)) - (slide - slide[3])).max() < 0.6


def test_a_camera_that_stands_still_has_not_moved() -> None:
    times_s = (np.arange(8) + 0.5) / 8
    for place in PLACES:
        frames = render_frames(Scene(place, "day", (), seed=9), Resolution(SIDE, SIDE), times_s, 3.0)
        assert not camera_shifts(np.stack([f.image.mean(-1) / 255 for f in frames]).astype(np.float32)).any()


def test_speed_words() -> None:
    assert [speed_word(rate) for rate in (0, 0.11, 0.25, 0.5)] == ["still", "slow", "moderate", "fast"]


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
    window = Window(0, 500_000, empty_packet(), [], SMALL)
    assert not event_input(window)[:-1].any()
    assert (event_input(window)[-1] == -1).all()  # the binary logarithm of half a second
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
    assert path.stat().st_size < 5_000_000
    assert truth["duration_s"] == STORY_S
    assert 20 <= STORY_S <= 30
    assert len(truth["windows"]) == STORY_S
    told = [o["cls"] for o in truth["windows"][3]["objects"]]
    assert told == [o.cls for o in observe(story(), 3.0, 4.0).objects]
    assert len({tuple(o["cls"] for o in w["objects"]) for w in truth["windows"]}) > 6


def test_recording_data_is_packaged() -> None:
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert 'streams = ["recordings/*"]' in text
    assert 'pipeline = ["weights/**/*", "*.[ch]"]' in text


def test_before_a_change_nothing_has_come_or_gone() -> None:
    for seed in range(40):
        scene = changing(random_scene(seed), seed)
        before = before_change(scene)
        assert {o.look for o in before.objects} == {o.look for o in scene.objects if o.present(-0.1)}
        assert all(thing.present(-0.1) and thing.present(0.0) for thing in before.objects)
