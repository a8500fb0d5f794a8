"""Free wording: the same question as somebody in a hurry would type it.

    freely("What color is the motorcycle?", random.Random(3))     # "what color is the motorbike"
"""

from __future__ import annotations

import random
import re

from pipeline.training.phrasings import PHRASINGS, SYNONYMS, YES_NO
from streams.scenes.world import CLASSES, COLOURS, DIRECTIONS

SHORTEST_MISTYPED = 5
"""Letters a word needs before it may be mistyped: in a shorter one a slip can make another word."""

PLURALS = {"bus": "buses", "octopus": "octopuses", "fish": "fish", "butterfly": "butterflies",
           "pair of scissors": "pairs of scissors", "bunch of grapes": "bunches of grapes", "wrench": "wrenches",
           "strawberry": "strawberries", "trophy": "trophies",
           "coach": "coaches", "puppy": "puppies", "kitty": "kitties", "lorry": "lorries", "pony": "ponies",
           "bunny": "bunnies", "aircraft": "aircraft"}


def plural(name: str) -> str:
    """Several of a thing."""
    return PLURALS.get(name, name + "s")


def article(words: str) -> str:
    """With "a" or "an"."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def fill(template: str, thing: str) -> str:
    """A question of PHRASINGS or YES_NO about a thing: {cls} and {plural}, with the right article."""
    text = template.format(cls=thing, plural=plural(thing))
    return text.replace(f"a {thing}", article(thing))


def _known_words() -> frozenset[str]:
    phrases = [*CLASSES, *map(plural, CLASSES), *COLOURS, *DIRECTIONS]
    for table in (PHRASINGS, YES_NO, SYNONYMS):
        for values in table.values():
            phrases += [*values, *map(plural, values)]
    return frozenset(word for phrase in phrases for word in re.findall("[a-z]+", phrase.lower()))


KNOWN_WORDS = _known_words()


def freely(question: str, rng: random.Random) -> str:
    """A question in lower case or without its mark, with a synonym, a courtesy or one mistyped letter."""
    for cls, others in SYNONYMS.items():
        other = rng.choice(others)
        if rng.random() < 0.5:
            question = re.sub(rf"\b{re.escape(plural(cls))}\b", plural(other), question)
            question = re.sub(rf"\b{re.escape(cls)}\b", other, question)
    if rng.random() < 0.4:
        question = mistyped(question, rng)
    if rng.random() < 0.15:
        question = rng.choice(("Please tell me: ", "Hey, ", "Can you tell me: ", "So, ")) + question
    if rng.random() < 0.5:
        question = question.lower()
    if rng.random() < 0.35:
        question = question.rstrip("?.")
    return question


def mistyped(question: str, rng: random.Random) -> str:
    """The question with one letter swapped, lost, doubled or wrong, never making another known word."""
    places = [m.span() for m in re.finditer(r"[A-Za-z]+", question) if m.end() - m.start() >= SHORTEST_MISTYPED]
    if not places:
        return question
    start, end = rng.choice(places)
    word = question[start:end]
    at = rng.randrange(1, len(word) - 1)
    slip = rng.choice(("swap", "lose", "double", "wrong"))
    if slip == "swap":
        typed = word[:at] + word[at + 1] + word[at] + word[at + 2:]
    elif slip == "lose":
        typed = word[:at] + word[at + 1:]
    else:
        extra = word[at] if slip == "double" else rng.choice("abcdefghijklmnoprstuvwyz")
        typed = word[:at] + extra + word[at + (slip == "wrong"):]
    return question if typed.lower() in KNOWN_WORDS else question[:start] + typed + question[end:]
