"""What `eval mini` counts, and that its short cut gives the answers that people get."""

import random

import pytest
import torch
from toy_models import toy_models, toy_window

from app.compose import ModelOptions, load
from pipeline.captioner import Captioner
from pipeline.clips import FIRST_CLIP
from pipeline.evaluation import (
    ASPECT,
    LAST_SEED,
    RESOLUTION,
    BlindGuesser,
    answers,
    drawing_scene,
    evaluate,
    named,
    questions_of,
)
from pipeline.models import Models
from pipeline.scoreboard import Scoreboard, without_colour
from pipeline.training.captions import DECLINED
from pipeline.training.data import TRAIN_SEEDS, shot_of
from pipeline.training.questions import KINDS, QA, ask
from pipeline.types import Caption
from streams.scenes.generate import random_scene
from streams.scenes.render import render_window
from streams.scenes.world import observe
from streams.types import InputError

RED_CAR = QA("direction", "Which way?", ((" The car is moving to the left.", 0),))


@pytest.fixture(scope="module")
def pair() -> Models:
    return load(ModelOptions("cpu"))


def test_exact_means_every_letter() -> None:
    board = Scoreboard()
    board.add("rgb", RED_CAR, "The car is moving to the left.")
    board.add("rgb", RED_CAR, "The car is moving to the right.")
    assert board.share("rgb", ("direction",)) == 0.5
    assert board.share("rgb", ("speed",)) is None
    assert board.ratios["rgb not declined"].share == 1


def test_colour_words_can_be_left_out_of_the_comparison() -> None:
    assert without_colour("An orange car") == without_colour("A red car") == "# car"
    qa = QA("activity", "?", ((" The red car stays still.", 0),))
    board = Scoreboard()
    board.add("event", qa, "The blue car stays still.")
    board.add("event", qa, "The blue bus stays still.")
    assert board.share("event", ("activity",)) == 0
    assert board.share("event", ("activity",), colour=False) == 0.5
    about = QA("colour", "?", ((" The car is red.", 0),), about_colour=True)
    board.add("event", about, "The car is blue.")
    assert board.share("event", ("colour",), colour=False) is None  # there is nothing left to compare


def test_refusals_are_counted_on_both_sides() -> None:
    board, outside = Scoreboard(), QA("outside", "?", ((" " + DECLINED, -1),))
    for said in (DECLINED, DECLINED, "The car is red.", DECLINED):
        board.add("rgb", outside, said)
    board.add("rgb", RED_CAR, DECLINED)
    assert board.ratios["rgb declined"].share == 0.75
    assert board.ratios["rgb not declined"].share == 0
    grey = QA("colour", "?", ((" " + DECLINED, 0),), about_colour=True)
    board.add("rgb", grey, DECLINED)
    assert board.ratios["rgb not declined"].of == 1  # declining is right where no colour can be seen


def test_attributes_of_captions_are_counted_per_object() -> None:
    truth = shot_of(3, {}).truth
    qa = ask("detailed", truth, random.Random(0))
    assert qa is not None
    board = Scoreboard()
    board.add("rgb", qa, qa.answer, truth)
    assert board.ratios["rgb slots"].share == 1
    assert board.ratios["rgb slots"].of == 4 * len(truth.objects)


def test_the_first_class_named_counts() -> None:
    assert named("A photo camera moves to the left and a car drives.") == "photo camera"
    assert named("Nothing is moving.") == ""
    assert named("A red car drives to the left.") == "car"


def test_the_line_has_the_fields_of_the_contract() -> None:
    line = Scoreboard().to_json()
    assert set(line["rgb"]) >= {"short_exact", "slots", "brief_exact", "caption_exact", "unseen_style_class",
                                "declined", "not_declined", "short_exact_reconstructed", "short_exact_noise5"}
    assert set(line["event"]) >= {"short_exact_no_colour", "slots_no_colour", "unseen_style_class", "declined",
                                  "not_declined", "short_exact_noise5"}
    assert set(line["agreement"]) == {"all", "no_colour"}
    assert set(line["by_kind"]) == set(KINDS)


def test_no_scene_of_the_evaluation_is_drawn_in_training() -> None:
    assert LAST_SEED < FIRST_CLIP < TRAIN_SEEDS
    board, models = Scoreboard(), toy_models()
    for scenes, first in ((10, LAST_SEED - 5), (0, 0), (1, -1)):
        with pytest.raises(InputError, match="not all unseen"):
            next(evaluate(models, scenes, first, {}, board))
    with pytest.raises(InputError, match="pairs of the bundled kind"):
        next(evaluate(models, 1, 0, {}, board))


def test_a_blind_guesser_knows_only_what_is_frequent() -> None:
    guesser, board = BlindGuesser(), Scoreboard()
    for seed in range(150):
        truth = observe(random_scene(seed), 0, 1)
        for qa, _ in questions_of(truth, None, seed):
            board.add("chance", qa, guesser.answer(qa))
    assert 0.1 < (board.share("chance", ("direction",)) or 0) < 0.6
    assert (board.share("chance", ("detailed",)) or 0) < 0.1
    assert board.ratios["chance declined"].share == 1  # a blind answerer can decline


def test_drawing_scenes_show_one_drawing() -> None:
    icons = {("twemoji", cls): torch.zeros(1).numpy() for cls in ("horse", "key", "apple")}
    scenes = [drawing_scene(seed, icons) for seed in range(12)]
    assert {truth.objects[0].cls for _, truth in scenes} == {"horse", "key", "apple"}
    assert all(len(truth.objects) == 1 for _, truth in scenes)


def test_the_short_cut_gives_the_answers_that_people_get(pair: Models) -> None:
    scene = random_scene(21, aspect=ASPECT)
    window = render_window(scene, RESOLUTION, seed=21, noise_sigma=4.0)
    truth = observe(scene, 0, 1, ASPECT)
    asked = [qa for qa, _ in questions_of(truth, None, 5) if qa.kind in ("brief", "count", "colour", "outside")]
    assert len(asked) > 2
    said = answers(pair.rgb, window, asked)  # type: ignore[arg-type]
    for qa, text in zip(asked, said, strict=True):
        *_, caption = Captioner(pair).ask(window, qa.question, drafter="none")
        assert isinstance(caption, Caption)
        assert caption.text.strip() == text.strip()


def test_a_scene_is_measured_in_every_way(pair: Models) -> None:
    board = Scoreboard()
    assert list(evaluate(pair, 1, 4, {}, board)) == [(1, 1)]
    line = board.to_json()
    assert line["scenes"] == 1
    for value in (line["rgb"]["short_exact_noise5"], line["rgb"]["short_exact_reconstructed"],
                  line["event"]["short_exact_no_colour"], line["agreement"]["all"]):
        assert 0 <= value <= 1
    assert line["rgb"]["unseen_style_class"] is None


def test_a_conversation_remembers_the_window_before() -> None:
    captioner = Captioner(toy_models())
    first, second = toy_window(0), toy_window(1_000_000)
    assert captioner.look(first).previous is None
    assert captioner.look(second).previous is not None
    again = captioner.look(second)
    assert again.previous is not None
    assert again.previous.start_us == 0
    assert again.previous.previous is None
    assert captioner.look(first).previous is None  # going back begins anew
