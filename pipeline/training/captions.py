"""What there is to say about a scene: names, motion, places, captions, changes; and reading a caption back.

    brief(truth)        # [(" A red car drives slowly to the left", 0), (" on a street at night.", -1)]

Every answer comes in stretches (text, about): about is the index of an object, SCENE for words about none, or
None for words about several or about something that is gone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import permutations

from pipeline.training.wording import article, plural
from streams.scenes.world import CLASSES, COLOURS, SPEEDS, Observation, ObservedObject

SCENE = -1
DECLINED = "I cannot tell that from this scene."
Stretch = tuple[str, int | None]

VERBS = {"car": "drives", "truck": "drives", "bus": "drives", "motorcycle": "rides", "pedestrian": "walks",
         "cyclist": "rides", "ball": "rolls", "dog": "runs", "cat": "runs", "bird": "flies", "drone": "flies",
         "plane": "flies"}
WAYS = {"left": "to the left", "right": "to the right", "up": "upwards", "down": "downwards",
        "towards": "towards the camera", "away": "away from the camera"}
ADVERBS = {"slow": "slowly", "fast": "quickly"}
NUMBERS = ("no", "one", "two", "three", "four", "five")
WHERE = {"street": "on a street", "park": "in a park", "hall": "in an indoor hall", "beach": "on a beach",
         "snow": "in the snow"}
SETTINGS = {"street": "a street scene", "park": "a park scene", "hall": "an indoor hall", "beach": "a beach scene",
            "snow": "a snowy scene"}
WHEN = {"day": " during the day", "dusk": " at dusk", "night": " at night"}
POSITIONS = {("top", "left"): "at the top left", ("top", "centre"): "at the top", ("top", "right"): "at the top right",
             ("middle", "left"): "on the left", ("middle", "centre"): "in the centre",
             ("middle", "right"): "on the right", ("bottom", "left"): "at the bottom left",
             ("bottom", "centre"): "at the bottom", ("bottom", "right"): "at the bottom right"}
RANKS = tuple(SPEEDS)


def name(thing: ObservedObject) -> str:
    """Colour, where it can be told, and class."""
    return f"{thing.colour} {thing.cls}" if thing.colour else thing.cls


def motion(thing: ObservedObject) -> str:
    """What it does, as a predicate."""
    if thing.speed == "still":
        return "stays still"
    words = (VERBS.get(thing.cls, "moves"), ADVERBS.get(thing.speed), WAYS[thing.direction])
    return " ".join(word for word in words if word)


def position(thing: ObservedObject) -> str:
    """Where it is, in words for a ninth of the view."""
    return POSITIONS[thing.row, thing.column]


def capital(text: str) -> str:
    """With a capital first letter."""
    return text[0].upper() + text[1:]


def where(truth: Observation) -> str:
    """Place and time of day; a hall has no time of day."""
    return WHERE[truth.place] + ("" if truth.place == "hall" else WHEN[truth.time])


def there_are(count: int, one: str, several: str) -> str:
    """A sentence with a number."""
    return f" There is one {one}" if count == 1 else f" There are {NUMBERS[count]} {several}"


def brief(truth: Observation) -> list[Stretch]:
    """One sentence: up to two objects with their motion, more by name."""
    things = truth.objects
    if not things:
        return [(f" Nothing is moving {where(truth)}.", SCENE)]
    parts: list[Stretch] = []
    if len(things) > 2:
        parts.append((f" {capital(NUMBERS[len(things)])} objects are {where(truth)}:", SCENE))
    for i, thing in enumerate(things):
        if i:
            parts.append((" and" if i == len(things) - 1 else ",", SCENE))
        text = article(name(thing)) + (f" {motion(thing)}" if len(things) < 3 else "")
        parts.append((" " + (text if i or len(things) > 2 else capital(text)), i))
    return [*parts, ("." if len(things) > 2 else f" {where(truth)}.", SCENE)]


def detailed(truth: Observation) -> list[Stretch]:
    """Setting, camera, number, every object with its place and motion, and the fastest."""
    light = "" if truth.place == "hall" else WHEN[truth.time]
    parts: list[Stretch] = [(f" This is {SETTINGS[truth.place]}{light}.", SCENE)]
    if truth.camera != "still":
        parts.append((f" The camera is {truth.camera}.", SCENE))
    parts.append((there_are(len(truth.objects), "object", "objects") + " in view.", SCENE))
    for i, thing in enumerate(truth.objects):
        parts.append((f" {capital(position(thing))}, {article(name(thing))} {motion(thing)}.", i))
    best = fastest(truth)
    if best is not None and len(truth.objects) > 1:
        parts.append((f" The {name(truth.objects[best])} is the fastest object.", best))
    if all(thing.speed == "still" for thing in truth.objects):
        parts.append((" Nothing is moving.", SCENE))
    return parts


def fastest(truth: Observation) -> int | None:
    """The one object with the highest speed word, None where there is no such one."""
    ranks = [RANKS.index(thing.speed) for thing in truth.objects]
    top = max(ranks, default=0)
    return ranks.index(top) if top > 0 and ranks.count(top) == 1 else None


def change(truth: Observation, previous: Observation | None) -> list[Stretch]:
    """What has appeared and what has left since the window before."""
    if previous is None:
        return [(" There is no earlier window to compare with.", SCENE)]
    before = [(thing.cls, thing.colour) for thing in previous.objects]
    parts: list[Stretch] = []
    for i, thing in enumerate(truth.objects):
        if (thing.cls, thing.colour) in before:
            before.remove((thing.cls, thing.colour))
        else:
            parts.append((f" {capital(article(name(thing)))} has appeared.", i))
    parts += [(f" The {colour + ' ' if colour else ''}{cls} has left.", None) for cls, colour in before]
    return parts or [(" Nothing has changed.", SCENE)]


@dataclass(frozen=True)
class Said:
    """An object as a detailed caption describes it."""

    position: str
    colour: str | None
    cls: str
    motion: str


_OBJECT = re.compile(
    "(?P<position>" + "|".join(sorted(POSITIONS.values(), key=len, reverse=True)) + "), (?:an? )?(?:(?P<colour>"
    + "|".join(COLOURS) + ") )?(?P<cls>" + "|".join(sorted(CLASSES, key=len, reverse=True))
    + r") (?P<motion>[a-z ]+)\.",
    re.IGNORECASE)


def said_objects(caption: str) -> list[Said]:
    """The objects that a detailed caption speaks of."""
    return [Said(m["position"].lower(), m["colour"], m["cls"], m["motion"]) for m in _OBJECT.finditer(caption)]


def slots_right(caption: str, truth: Observation, colour: bool = True) -> tuple[int, int]:
    """(right, all) attributes of a detailed caption: position, class, motion and colour of every object.

    Objects are matched so that most is right; what is left out or invented counts as wrong in all.
    """
    said = said_objects(caption)
    true = [Said(position(t), t.colour, t.cls, motion(t)) for t in truth.objects]
    fields = ("position", "cls", "motion", *(("colour",) if colour else ()))
    long, short = (said, true) if len(said) >= len(true) else (true, said)
    best = max((sum(getattr(a, f) == getattr(b, f) for a, b in zip(short, order, strict=True) for f in fields)
                for order in permutations(long[:7], min(len(short), 7))), default=0)
    return best, len(fields) * len(long)


def things(count: int, cls: str) -> str:
    """Number and name in one: "one car", "two cars"."""
    return f"{NUMBERS[count]} {cls if count == 1 else plural(cls)}"
