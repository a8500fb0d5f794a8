"""Questions about a scene and their answers, with the object that every stretch of an answer is about.

    qa = ask("colour", truth, random.Random(0))
    qa.question, qa.answer          # "What color is the bus?", "The bus is red."

Objects are counted from top to bottom, as the eye's slots are.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from streams.scenes.world import CLASSES, Observation, ObservedObject

ABSENT = -1
"""Pointing target of an answer about something that is not there: the scene as a whole."""

VERBS = {"car": ("drives", "driving"), "truck": ("drives", "driving"), "bus": ("drives", "driving"),
         "pedestrian": ("walks", "walking"), "cyclist": ("rides", "riding"), "ball": ("rolls", "rolling"),
         "dog": ("runs", "running"), "drone": ("flies", "flying")}
WAYS = {"left": "to the left", "right": "to the right", "up": "upwards", "down": "downwards"}
ADVERBS = {"slow": "slowly", "fast": "quickly"}
NUMBERS = ("no", "one", "two", "three", "four", "five")

PHRASINGS = {
    "brief": ["What is happening?", "Describe the scene briefly.", "Give a short caption.", "What do you see?",
              "Summarize this clip in one sentence.", "Caption this.", "What is going on?", "What happens here?"],
    "detailed": ["Describe the scene in detail.", "Give a detailed description of the clip.",
                 "Please describe everything that happens.", "Tell me in detail what is going on.",
                 "Write a detailed caption.", "Describe everything you see."],
    "count": ["How many objects are there?", "How many things can you see?", "Count the objects.",
              "What is the number of objects in the scene?"],
    "count_class": ["How many {plural} are there?", "Count the {plural}.", "How many {plural} do you see?",
                    "Tell me the number of {plural}."],
    "direction": ["Which direction is the {cls} moving?", "Where is the {cls} going?",
                  "Is the {cls} moving left or right?", "In what direction does the {cls} travel?"],
    "colour": ["What color is the {cls}?", "What is the color of the {cls}?", "Tell me the color of the {cls}.",
               "Which color does the {cls} have?", "What colour is the {cls}?"],
    "speed": ["How fast is the {cls}?", "Is the {cls} moving fast or slowly?", "What is the speed of the {cls}?",
              "Does the {cls} move quickly?"],
    "existence": ["Is there a {cls}?", "Can you see a {cls}?", "Do you see any {plural}?", "Is a {cls} visible?"],
    "time": ["Is it day or night?", "What time of day is it?", "Is this scene bright or dark?",
             "Was this recorded at night?"],
    "place": ["Where is this?", "What kind of place is this?", "What is the setting?",
              "Is this indoors or outdoors?"],
    "activity": ["What is the {cls} doing?", "Describe the {cls}.", "What does the {cls} do?",
                 "Tell me about the {cls}."],
    "fastest": ["Which object is the fastest?", "What moves fastest?", "Which one is moving the quickest?",
                "What is the fastest thing?"],
}
KINDS = tuple(PHRASINGS)
SHORT = tuple(kind for kind in KINDS if kind not in ("brief", "detailed"))


@dataclass(frozen=True)
class QA:
    """A question with its answer in stretches: (text, object index | ABSENT | None when not about one)."""

    kind: str
    question: str
    parts: tuple[tuple[str, int | None], ...]

    @property
    def answer(self) -> str:
        """The whole answer."""
        return "".join(text for text, _ in self.parts).strip()


def ask(kind: str, truth: Observation, rng: random.Random) -> QA | None:
    """A question of this kind with its true answer, or None when it would be ambiguous for this scene."""
    template, things = rng.choice(PHRASINGS[kind]), truth.objects
    if kind in ("count_class", "existence"):
        cls = rng.choice(things).cls if things and rng.random() < 0.6 else rng.choice(CLASSES)
        return QA(kind, _fill(template, cls), ((_about_class(kind, cls, truth), _only(cls, truth)),))
    if kind in ("direction", "colour", "speed", "activity"):
        unique = [o for o in things if sum(other.cls == o.cls for other in things) == 1]
        if not unique:
            return None
        thing = rng.choice(unique)
        return QA(kind, _fill(template, thing.cls), ((_about_object(kind, thing), things.index(thing)),))
    if kind == "fastest":
        return _fastest(template, truth)
    parts = {"brief": _brief, "detailed": _detailed, "count": _count, "time": _time, "place": _place}[kind](truth)
    return QA(kind, template, tuple(parts))


def _fill(template: str, cls: str) -> str:
    return template.format(cls=cls, plural=plural(cls))


def plural(cls: str) -> str:
    """Several of a class."""
    return {"bus": "buses"}.get(cls, cls + "s")


def article(words: str) -> str:
    """With "a" or "an"."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def _phrase(thing: ObservedObject, definite: bool = False) -> str:
    name = f"{thing.colour} {thing.cls}"
    subject = "the " + name if definite else article(name)
    if thing.speed == "still":
        return f"{subject} stays still"
    return f"{subject} {VERBS[thing.cls][0]} {ADVERBS[thing.speed]} {WAYS[thing.direction]}"


def _only(cls: str, truth: Observation) -> int | None:
    """The one object of a class, ABSENT when there is none, None when there are several."""
    found = [i for i, thing in enumerate(truth.objects) if thing.cls == cls]
    return ABSENT if not found else found[0] if len(found) == 1 else None


def _about_class(kind: str, cls: str, truth: Observation) -> str:
    count = sum(thing.cls == cls for thing in truth.objects)
    if kind == "count_class":
        return f" There {'is' if count == 1 else 'are'} {NUMBERS[count]} {cls if count == 1 else plural(cls)}."
    if not count:
        return f" No, there is no {cls}."
    return f" Yes, there is {article(cls)}." if count == 1 else f" Yes, there are {NUMBERS[count]} {plural(cls)}."


def _about_object(kind: str, thing: ObservedObject) -> str:
    still = thing.speed == "still"
    if kind == "direction":
        return f" The {thing.cls} is {'not moving' if still else 'moving ' + WAYS[thing.direction]}."
    if kind == "colour":
        return f" The {thing.cls} is {thing.colour}."
    if kind == "speed":
        return f" The {thing.cls} is {'not moving' if still else 'moving ' + ADVERBS[thing.speed]}."
    return " " + _capital(_phrase(thing, definite=True)) + "."


def _fastest(template: str, truth: Observation) -> QA | None:
    moving = [o for o in truth.objects if o.rate > 0]
    if not moving:
        return QA("fastest", template, ((" Nothing is moving.", ABSENT),))
    best = moving[0] if len(moving) == 1 else truth.fastest()
    if best is None:
        return None
    return QA("fastest", template, ((f" The {best.cls} is the fastest object.", truth.objects.index(best)),))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _where(truth: Observation) -> str:
    place = {"street": "on a street", "park": "in a park", "hall": "in an indoor hall"}[truth.place]
    return place if truth.place == "hall" else place + (" at night" if truth.night else " during the day")


def _brief(truth: Observation) -> list[tuple[str, int | None]]:
    if not truth.objects:
        return [(f" Nothing is moving {_where(truth)}.", ABSENT)]
    parts: list[tuple[str, int | None]] = []
    last = len(truth.objects) - 1
    for i, thing in enumerate(truth.objects):
        if i:
            parts.append((" and" if i == last else ",", None))
        parts.append((" " + (_phrase(thing) if i else _capital(_phrase(thing))), i))
    return [*parts, (f" {_where(truth)}.", None)]


def _detailed(truth: Observation) -> list[tuple[str, int | None]]:
    scene = {"street": "a street scene", "park": "a park scene", "hall": "an indoor hall"}[truth.place]
    light = "" if truth.place == "hall" else " at night" if truth.night else " during the day"
    parts: list[tuple[str, int | None]] = [(f" This is {scene}{light}.", None), *_count(truth, " in view")]
    for i, thing in enumerate(truth.objects):
        parts.append((f" {'In' if thing.band == 'middle' else 'At'} the {thing.band}, {_phrase(thing)}.", i))
    best = truth.fastest()
    if best is not None:
        parts.append((f" The {best.cls} is the fastest object.", truth.objects.index(best)))
    elif all(thing.rate == 0 for thing in truth.objects):
        parts.append((" Nothing is moving.", None))
    return parts


def _count(truth: Observation, tail: str = "") -> list[tuple[str, int | None]]:
    count = len(truth.objects)
    many = f"are {NUMBERS[count]} objects" if count != 1 else "is one object"
    return [(f" There {many}{tail}.", None)]


def _time(truth: Observation) -> list[tuple[str, int | None]]:
    if truth.place == "hall":
        return [(" It is indoors with bright light.", None)]
    return [(" It is night." if truth.night else " It is daytime.", None)]


def _place(truth: Observation) -> list[tuple[str, int | None]]:
    return [({"street": " It is a street outdoors.", "park": " It is a park outdoors.",
              "hall": " It is an indoor hall."}[truth.place], None)]
