"""How often the bundled pair answers exactly right, on scenes that training never draws.

    for progress, total in evaluate(models, scenes=50, first_seed=0, result=(table := EvalTable())): ...

Every scene gets one question of each kind. "Chance" is what a blind answerer reaches that knows the questions
and always gives the most frequent answer.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.captioner import Captioner
from pipeline.drafters.none import NoneDrafter
from pipeline.models import Models
from pipeline.training.data import TRAIN_SEEDS
from pipeline.training.questions import KINDS, QA, SHORT, ask
from pipeline.types import VLM, Caption
from streams.scenes.render import render_window
from streams.scenes.world import CLASSES, COLOURS, observe, random_scene
from streams.types import InputError, Resolution

RESOLUTION = Resolution(346, 260)
NOT_COLOUR = tuple(kind for kind in SHORT if kind != "colour")
"""Short kinds that leave something to compare when colour words are ignored; "colour" would always be right."""

BLIND_SCENES = 3000
COLOUR_WORDS = re.compile(r"\b(an?\s+)?(" + "|".join(COLOURS) + r")\b")
"""A colour with its article, which changes with it ("an orange", "a red")."""


@dataclass
class Count:
    """right of asked; also with colours left out of the comparison."""

    asked: int = 0
    right: int = 0
    right_no_colour: int = 0

    def add(self, said: str, true: str) -> None:
        """Compare one answer with the truth."""
        self.asked += 1
        self.right += said == true
        self.right_no_colour += without_colour(said) == without_colour(true)


@dataclass
class EvalTable:
    """Counts per side ("rgb", "event", "chance") and question kind."""

    counts: dict[str, dict[str, Count]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Count)))
    scenes: int = 0

    def share(self, side: str, kinds: tuple[str, ...], colour: bool = True) -> float:
        """Share of exact answers over some kinds."""
        chosen = [self.counts[side][kind] for kind in kinds]
        right = sum(c.right if colour else c.right_no_colour for c in chosen)
        return right / max(1, sum(c.asked for c in chosen))

    def to_json(self) -> dict[str, Any]:
        """The "eval" line of design.md §8, as far as this version measures it."""
        by_kind = {kind: {"n": self.counts["rgb"][kind].asked, "rgb": round(self.share("rgb", (kind,)), 4),
                          "event": round(self.share("event", (kind,)), 4),
                          "event_no_colour": None if kind == "colour" else round(
                              self.share("event", (kind,), colour=False), 4),
                          "chance": round(self.share("chance", (kind,)), 4)} for kind in KINDS}
        return {"type": "eval", "scenes": self.scenes,
                "rgb": {"short_exact": round(self.share("rgb", SHORT), 4),
                        "brief_exact": round(self.share("rgb", ("brief",)), 4),
                        "caption_exact": round(self.share("rgb", ("detailed",)), 4)},
                "event": {"short_exact": round(self.share("event", SHORT), 4),
                          "short_exact_no_colour": round(self.share("event", NOT_COLOUR, colour=False), 4)},
                "by_kind": by_kind}


def without_colour(text: str) -> str:
    """A text with every colour word replaced by one mark."""
    return COLOUR_WORDS.sub("#", text.lower())


def evaluate(models: Models, scenes: int, first_seed: int, result: EvalTable) -> Iterator[tuple[int, int]]:
    """Ask both sides every kind of question about unseen scenes; yields (scenes done, scenes).

    Raises InputError when the scenes would overlap with training.
    """
    if scenes < 1 or first_seed < 0 or first_seed + scenes > TRAIN_SEEDS:
        raise InputError(f"scenes {first_seed} to {first_seed + scenes} are not all unseen; stay between 0 and "
                         f"{TRAIN_SEEDS}")
    sides = {"rgb": models.rgb, "event": models.event}
    guesser = BlindGuesser()
    for done, seed in enumerate(range(first_seed, first_seed + scenes), 1):
        scene = random_scene(seed)
        window = render_window(scene, RESOLUTION, seed=seed, noise_sigma=4.0)
        truth, rng = observe(scene, 0.0, 1.0), random.Random(seed)
        for kind in KINDS:
            qa = ask(kind, truth, rng)
            if qa is None:
                continue
            result.counts["chance"][kind].add(guesser.answer(qa), qa.answer)
            for name, vlm in sides.items():
                if vlm is not None:
                    result.counts[name][kind].add(answer(vlm, models, window, qa.question), qa.answer)
        result.scenes = done
        yield done, scenes


def answer(vlm: VLM, models: Models, window: Any, question: str) -> str:
    """Greedy answer of one VLM alone."""
    alone = Captioner(Models(vlm, None, None, models.tokenizer))
    *_, last = alone.ask(window, question, drafter=NoneDrafter.name)
    assert isinstance(last, Caption)
    return last.text


class BlindGuesser:
    """Knows how often every answer is right for every question, and sees nothing."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        rng = random.Random(0)
        for seed in range(TRAIN_SEEDS, TRAIN_SEEDS + BLIND_SCENES):
            truth = observe(random_scene(seed), 0.0, 1.0)
            for kind in KINDS:
                if qa := ask(kind, truth, rng):
                    self._seen[_topic(qa)][qa.answer] += 1

    def answer(self, qa: QA) -> str:
        """The most frequent answer to such a question."""
        known = self._seen[_topic(qa)]
        return known.most_common(1)[0][0] if known else ""


def _topic(qa: QA) -> tuple[str, str]:
    """Kind and class asked about, without the phrasing."""
    words = re.findall(r"[a-z]+", qa.question.lower())
    named = next((c for c in CLASSES if any(w in (c, c + "s", c + "es") for w in words)), "")
    return qa.kind, named
