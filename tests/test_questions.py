"""Questions and answers: every kind, true answers, free wording, refusals, captions that can be read back."""

import itertools
import random
import re
from dataclasses import replace

import pytest

from pipeline.training import outside
from pipeline.training.captions import DECLINED, change, detailed, fastest, said_objects, slots_right
from pipeline.training.data import shot_of, without_colours
from pipeline.training.phrasings import PHRASINGS, SYNONYMS, YES_NO
from pipeline.training.questions import CAPTIONS, KINDS, SHORT, ask
from pipeline.training.wording import KNOWN_WORDS, SHORTEST_MISTYPED, freely, mistyped
from streams.scenes.world import CLASSES, COLOURS, Observation, ObservedObject


def thing(cls: str = "car", colour: str | None = "red", direction: str = "right", speed: str = "slow", x: float = 0.5,
          y: float = 0.5, side: float = 0.2) -> ObservedObject:
    box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    return ObservedObject(cls, colour, direction, speed, x, y, 0.1, 0.0, 0.0, box)


def scene(*things: ObservedObject, place: str = "street", time: str = "day", camera: str = "still") -> Observation:
    return Observation(place, time, camera, things)


def answers(kind: str, truth: Observation, previous: Observation | None = None, times: int = 60) -> set[str]:
    rng = random.Random(0)
    return {qa.answer for _ in range(times) if (qa := ask(kind, truth, rng, previous))}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_asked_in_many_ways_and_answered(kind: str) -> None:
    rng = random.Random(0)
    truths = [shot_of(seed, {}).truth for seed in range(300)]
    asked = [qa for a, b in itertools.pairwise(truths) if (qa := ask(kind, a, rng, b))]
    assert len(asked) > 100
    assert len({qa.answer for qa in asked}) >= (1 if kind == "outside" else 4)
    assert all(qa.answer and qa.question for qa in asked)
    if kind in PHRASINGS:
        assert len(PHRASINGS[kind]) >= 8


def test_yes_and_no_are_asked_in_many_phrasings() -> None:
    assert sum(map(len, YES_NO.values())) >= 20


def test_kinds_are_captions_or_short() -> None:
    assert set(KINDS) == {*CAPTIONS, *SHORT}


@pytest.mark.parametrize(("kind", "answer"), [
    ("count", "There are two objects."), ("time", "It is dusk."), ("place", "It is a beach outdoors."),
    ("fastest", "The blue dog is the fastest object."), ("largest", "The red car is the largest object."),
    ("leftmost", "The blue dog is the leftmost object."),
    ("brief", "A red car drives slowly to the right and a blue dog runs quickly to the left on a beach at dusk."),
    ("detailed", "This is a beach scene at dusk. The camera is shaking. There are two objects in view. At the top "
                 "right, a red car drives slowly to the right. On the left, a blue dog runs quickly to the left. The "
                 "blue dog is the fastest object.")])
def test_what_is_said_about_a_scene(kind: str, answer: str) -> None:
    truth = scene(thing(x=0.8, y=0.2, side=0.4), thing("dog", "blue", "left", "fast", 0.2), place="beach", time="dusk",
                  camera="shaking")
    assert answers(kind, truth) == {answer}


@pytest.mark.parametrize(("kind", "expected"), [
    ("direction", "The car is moving towards the camera."), ("colour", "The car is red."),
    ("speed", "The car is moving at a moderate speed."), ("position", "The car is in the centre."),
    ("activity", "The red car drives towards the camera."), ("count_class", "There is one car."),
    ("existence", "Yes, there is a car.")])
def test_what_is_said_about_a_class(kind: str, expected: str) -> None:
    said = answers(kind, scene(thing(direction="towards", speed="moderate")))
    assert expected in said
    assert any("no " in text.lower() for text in said)  # a class that is not there is denied, never invented


def test_a_premise_that_does_not_hold_is_corrected() -> None:
    two = scene(thing(y=0.2), thing(y=0.8, colour="blue"))
    assert "There are two cars." in answers("colour", two)
    assert any(text.startswith("There is no ") for text in answers("direction", two))


def test_comparisons_are_asked_only_where_they_are_clear() -> None:
    alike = scene(thing(y=0.2), thing("dog", y=0.8, x=0.52))
    for kind in ("fastest", "largest", "leftmost"):
        assert answers(kind, alike) == set()
    assert fastest(alike) is None


def test_an_empty_or_static_scene_is_called_so() -> None:
    assert answers("brief", scene()) == {"Nothing is moving on a street during the day."}
    assert "Nothing is moving." in detailed(scene())[-1][0]
    still = scene(thing(speed="still", direction="still"))
    assert answers("fastest", still) == {"Nothing is moving."}
    assert "Nothing is moving." in detailed(still)[-1][0]
    assert answers("direction", still) >= {"The car is not moving."}
    assert "No, nothing is moving." in answers("yes_no", still)


def test_who_sees_no_colours_names_none() -> None:
    grey = without_colours(scene(thing(), thing("dog", "blue", y=0.8)))
    for kind in KINDS:
        for text in answers(kind, grey, scene(thing())):
            if kind not in ("count_colour", "change"):
                assert not set(re.findall("[a-z]+", text.lower())) & set(COLOURS), text
    assert DECLINED in answers("colour", grey)
    assert answers("count_colour", grey) == {DECLINED}


def test_changes_are_what_came_and_what_went() -> None:
    before, now = scene(thing(), thing("dog", "blue", y=0.2)), scene(thing(), thing("bus", "green", y=0.8))
    assert "".join(text for text, _ in change(now, before)).strip() == ("A green bus has appeared. The blue dog has "
                                                                         "left.")
    assert change(now, now)[0][0].strip() == "Nothing has changed."
    assert "no earlier window" in change(now, None)[0][0]
    moved = scene(replace(now.objects[0], x=0.1), now.objects[1])
    assert change(now, moved)[0][0].strip() == "Nothing has changed."


def test_drawn_things_are_spoken_of_by_name() -> None:
    assert answers("brief", scene(thing("octopus", None, "up", "fast"))) == {
        "An octopus moves quickly upwards on a street during the day."}
    scissors = scene(thing("pair of scissors", None))
    assert "Yes, there is a pair of scissors." in answers("existence", scissors, times=300)


def test_free_wording_keeps_what_is_asked_about() -> None:
    rng = random.Random(0)
    typed = [freely("What color is the motorcycle?", rng) for _ in range(200)]
    assert len(set(typed)) > 60
    assert any(text == text.lower() for text in typed)
    assert any("motorbike" in text.lower() for text in typed)
    assert any(not text.endswith("?") for text in typed)


def test_a_slip_never_makes_another_known_word() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        question = f"Is the {rng.choice(CLASSES)} {rng.choice(list(COLOURS))}?"
        typed = mistyped(question, rng)
        wrong = [w for w, v in zip(typed.split(), question.split(), strict=True) if w != v]
        assert len(wrong) <= 1
        for word in wrong:
            assert word.strip("?").lower() not in KNOWN_WORDS
            assert len(word.strip("?")) >= SHORTEST_MISTYPED - 1


def test_every_synonym_names_one_class() -> None:
    others = [other for values in SYNONYMS.values() for other in values]
    assert len(others) == len(set(others))
    assert not set(others) & set(CLASSES)
    assert set(SYNONYMS) <= set(CLASSES)


def test_questions_from_outside_are_declined_and_tested_with_other_words() -> None:
    rng = random.Random(0)
    qa = ask("outside", scene(), rng)
    assert qa is not None
    assert qa.answer == DECLINED
    assert not set(outside.TEMPLATES_TRAIN) & set(outside.TEMPLATES_TEST) - {
        # blanks filled with words of their own
        template for template in outside.TEMPLATES_TEST if "{" in template}
    known = {*CLASSES, *(other for values in SYNONYMS.values() for other in values)}
    for words in (outside.NOUNS, outside.ATTRIBUTES, outside.ADJECTIVES, outside.VERBS, outside.SUBJECTS):
        assert not set(words[False]) & set(words[True])
        assert not (set(words[False]) | set(words[True])) & known


def test_invented_words_are_no_words_of_this_world() -> None:
    rng = random.Random(0)
    words = [outside.invented(rng) for _ in range(3000)]
    assert len(set(words)) > 1500
    assert not set(words) & KNOWN_WORDS


def test_captions_can_be_read_back() -> None:
    for seed in range(200):
        truth = shot_of(seed, {}).truth
        text = "".join(part for part, _ in detailed(truth)).strip()
        assert [said.cls for said in said_objects(text)] == [o.cls for o in truth.objects]
        right, of = slots_right(text, truth)
        assert right == of == 4 * len(truth.objects)


def test_attributes_are_matched_per_object() -> None:
    truth = scene(thing(y=0.2), thing("dog", "blue", "left", "fast", y=0.8))
    text = "".join(part for part, _ in detailed(truth)).strip()
    assert slots_right(text.replace("a red car", "a green car"), truth) == (7, 8)
    assert slots_right(text.replace("a red car", "a green car"), truth, colour=False) == (6, 6)
    one = "".join(part for part, _ in detailed(scene(truth.objects[1]))).strip()
    assert slots_right(one, truth) == (4, 8)  # what is left out is wrong in all
    assert slots_right(text, scene(truth.objects[0])) == (4, 8)  # what is invented too
    assert slots_right("", scene()) == (0, 0)


def test_evaluation_asks_nothing_outside_that_training_asks() -> None:
    def plain(template: str) -> str:
        return re.sub(r"\{(cls|noun)\}", "{}", template.replace("{plural}", "{noun}s")).lower()

    trained = {plain(text) for text in (*outside.TEMPLATES_TRAIN, *outside.ABOUT_A_CLASS)}
    assert not trained & {plain(text) for text in outside.TEMPLATES_TEST}
    for table in (outside.NOUNS, outside.ATTRIBUTES, outside.ADJECTIVES, outside.VERBS, outside.SUBJECTS):
        assert not set(table[False]) & set(table[True])
