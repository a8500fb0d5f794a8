"""The bundled pair on scenes it should know: words point at their objects, captions keep their wording."""

import pytest

from app.compose import ModelOptions, load
from pipeline.captioner import Captioner
from pipeline.types import Cycle
from streams.scenes.render import render_window
from streams.scenes.world import Scene, SceneObject
from streams.types import Resolution

CAR = SceneObject("car", "red", "right", "fast", 0.4, 0.5, 0.45, 0.0, scale=1.3)
BUS = SceneObject("bus", "blue", "left", "slow", 0.6, 0.83, -0.11, 0.0, flip=True)


@pytest.mark.parametrize("thing", [CAR, BUS], ids=lambda thing: thing.cls)
def test_words_about_an_object_point_at_where_it_is_when_the_window_ends(thing: SceneObject) -> None:
    window = render_window(Scene("park", "day", (CAR, BUS)), Resolution(346, 260))
    records = Captioner(load(ModelOptions("cpu"))).ask(window, "Describe the scene in detail.")
    words = [token for record in records if isinstance(record, Cycle) for token in record.emitted]
    about = [token.box for token in words if token.text.strip() == thing.cls]
    assert about
    x, y = thing.centre(1.0)
    for box in about:
        assert box is not None
        assert (box[0] + box[2]) / 2 == pytest.approx(x, abs=0.06)
        assert (box[1] + box[3]) / 2 == pytest.approx(y, abs=0.06)


def test_captions_keep_their_wording_while_nothing_changes() -> None:
    slow = SceneObject("bus", "blue", "left", "slow", 0.6, 0.5, -0.11, 0.0, flip=True)
    captioner, texts = Captioner(load(ModelOptions("cpu"))), set()
    for start_s in (0.0, 0.25, 0.5, 0.75):
        window = render_window(Scene("park", "day", (slow,)), Resolution(346, 260), start_s, start_s + 1.0)
        *_, caption = captioner.ask(window, "What is happening?")
        texts.add(caption.text)
    assert len(texts) == 1
