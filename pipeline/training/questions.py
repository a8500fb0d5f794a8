"""Questions about a scene and their answers, with the object that every stretch of an answer is about.

    qa = ask("colour", truth, random.Random(0))
    qa.question, qa.answer          # "What color is the bus?", "The bus is red."

Objects are counted from top to bottom. A question is asked only where its answer is beyond doubt.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from pipeline.training.captions import (
    ADVERBS,
    DECLINED,
    NUMBERS,
    SCENE,
    WAYS,
    Stretch,
    brief,
    change,
    detailed,
    fastest,
    motion,
    name,
    position,
    there_are,
    things,
)
from pipeline.training.outside import outside
from pipeline.training.phrasings import PHRASINGS, YES_NO
from pipeline.training.wording import article, fill, freely, plural
from streams.scenes.world import CLASSES, COLOURS, RENDERED, TIMES, Observation, ObservedObject

KINDS = (*PHRASINGS, "yes_no", "outside")
CAPTIONS = ("brief", "detailed")
SHORT = tuple(kind for kind in KINDS if kind not in CAPTIONS)
LARGER, FURTHER_LEFT = 1.4, 0.06
"""The largest object has that many times the area of the next, the leftmost is that much of the view further left."""


Made: TypeAlias = tuple[str, list[Stretch]] | None
"""A question and the stretches of its answer; None where it would be ambiguous."""


@dataclass(frozen=True)
class QA:
    """A question with its answer in stretches: (text, object index | SCENE | None).

    about_colour: whether nobody can answer it without seeing colours.
    """

    kind: str
    question: str
    parts: tuple[Stretch, ...]
    about_colour: bool = False

    @property
    def answer(self) -> str:
        """The whole answer."""
        return "".join(text for text, _ in self.parts).strip()


def declined(qa: QA) -> QA:
    """The same question about something that is no scene of this world."""
    return replace(qa, parts=((" " + DECLINED, SCENE),))


def ask(kind: str, truth: Observation, rng: random.Random, previous: Observation | None = None, free: bool = False,
        unseen: bool = False) -> QA | None:
    """A question of this kind with its true answer, or None when it would be ambiguous for this scene.

    previous: the truth of the window before, for "change". free: in free wording. unseen: outside questions from the
    list that training never draws.
    """
    if kind == "outside":
        made: Made = outside(rng, unseen), [(" " + DECLINED, SCENE)]
    elif kind == "yes_no":
        made = _yes_no(truth, rng)
    else:
        made = _of_kind(kind, truth, rng, previous)
    if made is None:
        return None
    question, parts = made
    about_colour = kind in ("colour", "count_colour") or (kind == "yes_no" and any(
        re.search(rf"\b{colour}\b", question) for colour in COLOURS))
    return QA(kind, freely(question, rng) if free else question, tuple(parts), about_colour)


def _of_kind(kind: str, truth: Observation, rng: random.Random, previous: Observation | None) -> Made:
    template = rng.choice(PHRASINGS[kind])
    if kind == "change":
        return template, change(truth, previous)
    if kind in ("count_class", "existence"):
        cls = _class_in_or_out(truth, rng, 0.6)
        return fill(template, cls), _about_class(kind, cls, truth)
    if kind == "count_colour":
        return _count_colour(template, truth, rng)
    if kind in ABOUT:
        cls = _class_in_or_out(truth, rng, 0.92)
        return fill(template, cls), _of_class(cls, truth, lambda thing: ABOUT[kind](thing))
    if kind in ("fastest", "largest", "leftmost"):
        best = _best(kind, truth)
        return None if best is None else (template, best)
    say = {"brief": brief, "detailed": detailed, "count": _count, "time": _time, "place": _place}[kind]
    return template, say(truth)


def _class_in_or_out(truth: Observation, rng: random.Random, share_in: float) -> str:
    """Mostly a class that is there; else one that is not."""
    if truth.objects and rng.random() < share_in:
        return rng.choice(truth.objects).cls
    return rng.choice(RENDERED if rng.random() < 0.6 else CLASSES)


def _with(cls: str, truth: Observation) -> list[int]:
    return [i for i, thing in enumerate(truth.objects) if thing.cls == cls]


def _about_class(kind: str, cls: str, truth: Observation) -> list[Stretch]:
    found = _with(cls, truth)
    about = SCENE if not found else found[0] if len(found) == 1 else None
    if kind == "count_class":
        return [(there_are(len(found), cls, plural(cls)) + ".", about)]
    if not found:
        return [(f" No, there is no {cls}.", SCENE)]
    if len(found) > 1:
        return [(f" Yes, there are {things(len(found), cls)}.", about)]
    return [(f" Yes, there is {article(cls)}.", about)]


def _of_class(cls: str, truth: Observation, say: Callable[[ObservedObject], str]) -> list[Stretch]:
    """About the one of a class; a false premise is corrected."""
    found = _with(cls, truth)
    if not found:
        return [(f" There is no {cls}.", SCENE)]
    if len(found) > 1:
        return [(f" There are {things(len(found), cls)}.", None)]
    return [(" " + say(truth.objects[found[0]]), found[0])]


def _count_colour(template: str, truth: Observation, rng: random.Random) -> Made:
    colours = [thing.colour for thing in truth.objects]
    wanted = rng.choice([c for c in colours if c] or list(COLOURS)) if rng.random() < 0.6 else rng.choice(list(COLOURS))
    question = template.format(colour=wanted)
    if colours and not any(colours):
        return question, [(" " + DECLINED, SCENE)]
    if None in colours:
        return None
    count = colours.count(wanted)
    about = SCENE if not count else colours.index(wanted) if count == 1 else None
    return question, [(there_are(count, f"{wanted} object", f"{wanted} objects") + ".", about)]


def _direction(thing: ObservedObject) -> str:
    return f"The {thing.cls} is {'not moving' if thing.speed == 'still' else 'moving ' + WAYS[thing.direction]}."


def _colour(thing: ObservedObject) -> str:
    return f"The {thing.cls} is {thing.colour}." if thing.colour else DECLINED


def _speed(thing: ObservedObject) -> str:
    how = {"moderate": "at a moderate speed"} | ADVERBS
    return f"The {thing.cls} is {'not moving' if thing.speed == 'still' else 'moving ' + how[thing.speed]}."


def _activity(thing: ObservedObject) -> str:
    return f"The {name(thing)} {motion(thing)}."


ABOUT: dict[str, Callable[[ObservedObject], str]] = {
    "direction": _direction, "colour": _colour, "speed": _speed, "activity": _activity,
    "position": lambda thing: f"The {thing.cls} is {position(thing)}."}


def _best(kind: str, truth: Observation) -> list[Stretch] | None:
    if kind == "fastest" and all(thing.speed == "still" for thing in truth.objects):
        return [(" Nothing is moving.", SCENE)]
    if not truth.objects:
        return [(" There is nothing in view.", SCENE)]
    best = {"fastest": fastest, "largest": _largest, "leftmost": _leftmost}[kind](truth)
    return None if best is None else [(f" The {name(truth.objects[best])} is the {kind} object.", best)]


def _largest(truth: Observation) -> int | None:
    order = sorted(range(len(truth.objects)), key=lambda i: -truth.objects[i].area)
    if len(order) > 1 and truth.objects[order[0]].area < LARGER * truth.objects[order[1]].area:
        return None
    return order[0]


def _leftmost(truth: Observation) -> int | None:
    order = sorted(range(len(truth.objects)), key=lambda i: truth.objects[i].x)
    if len(order) > 1 and truth.objects[order[1]].x - truth.objects[order[0]].x < FURTHER_LEFT:
        return None
    return order[0]


def _count(truth: Observation) -> list[Stretch]:
    return [(there_are(len(truth.objects), "object", "objects") + ".", SCENE)]


def _time(truth: Observation) -> list[Stretch]:
    if truth.place == "hall":
        return [(" It is indoors with bright light.", SCENE)]
    return [({"day": " It is daytime.", "dusk": " It is dusk.", "night": " It is night."}[truth.time], SCENE)]


def _place(truth: Observation) -> list[Stretch]:
    return [({"street": " It is a street outdoors.", "park": " It is a park outdoors.",
              "hall": " It is an indoor hall.", "beach": " It is a beach outdoors.",
              "snow": " It is a snowy place outdoors."}[truth.place], SCENE)]


def _yes_no(truth: Observation, rng: random.Random) -> Made:
    topic = rng.choice(tuple(YES_NO))
    template = rng.choice(YES_NO[topic])
    if topic in ("anything", "time") or topic.startswith("camera"):
        return _of_scene(topic, template, truth, rng)
    cls = _class_in_or_out(truth, rng, 0.92)
    found = _with(cls, truth)
    thing = truth.objects[found[0]] if len(found) == 1 else None
    truly = rng.random() < 0.5
    colour = thing.colour if truly and thing and thing.colour else rng.choice(list(COLOURS))
    ways = [way for way in WAYS if way not in ("towards", "away") or topic == "direction"]
    way = thing.direction if truly and thing and thing.direction in WAYS else rng.choice(ways)
    question = fill(template.replace("{colour}", colour).replace("{way}", WAYS[way]), cls)

    def say(seen: ObservedObject) -> str:
        if topic == "colour":
            return DECLINED if seen.colour is None else (
                f"{'Yes' if seen.colour == colour else 'No'}, the {cls} is {seen.colour}.")
        if seen.speed == "still":
            return f"No, the {cls} is not moving."
        if topic == "moving":
            return f"Yes, the {cls} is moving."
        return f"{'Yes' if seen.direction == way else 'No'}, the {cls} is moving {WAYS[seen.direction]}."

    return question, _of_class(cls, truth, say)


def _of_scene(topic: str, template: str, truth: Observation, rng: random.Random) -> Made:
    if topic == "anything":
        moving = [i for i, thing in enumerate(truth.objects) if thing.speed != "still"]
        if not moving:
            return template, [(" No, nothing is moving.", SCENE)]
        several = f" Yes, {NUMBERS[len(moving)]} objects are moving."
        return template, [(f" Yes, the {name(truth.objects[moving[0]])} is moving.", moving[0]) if len(moving) == 1
                          else (several, None)]
    if topic.startswith("camera"):
        asked = topic.partition(" ")[2]
        holds = truth.camera == asked or (asked == "moving" and truth.camera != "still")
        return template, [(f" {'Yes' if holds else 'No'}, the camera is {truth.camera}.", SCENE)]
    if truth.place == "hall":
        return template.format(time=rng.choice(("daytime", "dusk", "night"))), _time(truth)
    wanted = truth.time if rng.random() < 0.5 else rng.choice(TIMES)
    words = {"day": "daytime", "dusk": "dusk", "night": "night"}
    yes = "Yes" if wanted == truth.time else "No"
    return template.format(time=words[wanted]), [(f" {yes}, it is {words[truth.time]}.", SCENE)]
