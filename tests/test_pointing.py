"""The pointing head of the bundled pair: words name objects, boxes lie on them."""

import pytest

from app.compose import ModelOptions, load
from pipeline.captioner import Captioner
from pipeline.types import Cycle
from streams.scenes.render import render_window
from streams.scenes.world import Scene, SceneObject
from streams.types import Resolution

CAR = SceneObject("car", "red", "right", "fast", 0.4, 0.5, 0.4, 0.0)
DOG = SceneObject("dog", "blue", "left", "slow", 0.6, 0.83, -0.12, 0.0, flip=True)


@pytest.mark.parametrize("thing", [CAR, DOG], ids=lambda thing: thing.cls)
def test_words_about_an_object_point_at_where_it_is_when_the_window_ends(thing: SceneObject) -> None:
    window = render_window(Scene("park", False, (CAR, DOG)), Resolution(346, 260))
    records = Captioner(load(ModelOptions("cpu"))).ask(window, "Describe the scene in detail.")
    words = [token for record in records if isinstance(record, Cycle) for token in record.emitted]
    about = [token.box for token in words if token.text.strip() == thing.cls]
    assert about
    x, y = thing.centre(1.0)
    for box in about:
        assert box is not None
        assert (box[0] + box[2]) / 2 == pytest.approx(x, abs=0.06)
        assert (box[1] + box[3]) / 2 == pytest.approx(y, abs=0.06)
