"""What `eval mini` counts: exact answers per side and kind of question, attributes, classes, refusals, agreement.

    board = Scoreboard()
    board.add("rgb", qa, said="The bus is red.")
    board.to_json()
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from pipeline.statistics import Ratio
from pipeline.training.captions import DECLINED, slots_right
from pipeline.training.questions import KINDS, QA, SHORT
from streams.scenes.world import COLOURS, Observation

COLOUR_WORDS = re.compile(r"\b(an?\s+)?(" + "|".join(COLOURS) + r")\b")
"""A colour with its article, which changes with it ("an orange", "a red")."""

INSIDE = tuple(kind for kind in SHORT if kind != "outside")
"""Short kinds that can be answered."""

SIDES = ("rgb", "event")


def without_colour(text: str) -> str:
    """A text with every colour word replaced by one mark."""
    return COLOUR_WORDS.sub("#", text.lower())


@dataclass
class Count:
    """right of asked; the same with colour words ignored, for questions that do not ask about them."""

    asked: int = 0
    right: int = 0
    colourless: int = 0
    right_colourless: int = 0

    def add(self, qa: QA, said: str) -> None:
        """Compare one answer with the truth."""
        self.asked += 1
        self.right += said == qa.answer
        if not qa.about_colour:
            self.colourless += 1
            self.right_colourless += without_colour(said) == without_colour(qa.answer)


@dataclass
class Scoreboard:
    """Counts per series and kind of question, and ratios by name.

    Series: "rgb", "event", "chance", and those of a changed input such as "rgb noise5".
    """

    counts: dict[str, dict[str, Count]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Count)))
    ratios: dict[str, Ratio] = field(default_factory=lambda: defaultdict(Ratio))
    scenes: int = 0

    def add(self, series: str, qa: QA, said: str, truth: Observation | None = None) -> None:
        """Count one answer; truth: of the scene, for the attributes of a detailed caption."""
        self.counts[series][qa.kind].add(qa, said)
        if qa.kind == "outside":
            self.ratios[f"{series} declined"].add(said == DECLINED)
        elif qa.kind in INSIDE and qa.answer != DECLINED:
            self.ratios[f"{series} not declined"].add(said != DECLINED)
        if qa.kind == "detailed" and truth is not None:
            self.ratios[f"{series} slots"].add(*slots_right(said, truth))
            self.ratios[f"{series} slots without colour"].add(*slots_right(said, truth, colour=False))

    def share(self, series: str, kinds: tuple[str, ...], colour: bool = True) -> float | None:
        """Share of exact answers over some kinds; without colour: of those that do not ask about one."""
        chosen = [self.counts[series][kind] for kind in kinds]
        right = sum(c.right if colour else c.right_colourless for c in chosen)
        asked = sum(c.asked if colour else c.colourless for c in chosen)
        return round(right / asked, 4) if asked else None

    def to_json(self) -> dict[str, Any]:
        """The "eval" line of design.md §8."""
        rgb = {"short_exact": self.share("rgb", INSIDE), "slots": self.ratios["rgb slots"].share,
               "brief_exact": self.share("rgb", ("brief",)), "caption_exact": self.share("rgb", ("detailed",)),
               **self._common("rgb"), "short_exact_noise5": self.share("rgb noise5", INSIDE),
               "short_exact_varied": self.share("rgb varied", INSIDE),
               "change_exact_where_changed": self.share("rgb changed", ("change",)),
               "short_exact_reconstructed": self.share("rgb reconstructed", INSIDE, colour=False)}
        event = {"short_exact_no_colour": self.share("event", INSIDE, colour=False),
                 "slots_no_colour": self.ratios["event slots without colour"].share, **self._common("event"),
                 "short_exact_noise5": self.share("event noise5", INSIDE, colour=False),
                 "short_exact_varied": self.share("event varied", INSIDE, colour=False)}
        return {"type": "eval", "scenes": self.scenes, "rgb": rgb, "event": event,
                "agreement": {name: self.ratios[f"agreement {name}"].share for name in ("all", "no_colour")},
                "by_kind": {kind: self._kind(kind) for kind in KINDS}}

    def _common(self, side: str) -> dict[str, Any]:
        style = self.ratios[f"{side} unseen style"]
        return {"unseen_style_class": style.share, "unseen_style_interval": style.interval, "unseen_style_n": style.of,
                "declined": self.ratios[f"{side} declined"].share,
                "not_declined": self.ratios[f"{side} not declined"].share,
                "strange_declined": self.ratios[f"{side} strange"].share,
                "short_exact_free": self.share(f"{side} free", INSIDE, colour=side == "rgb")}

    def _kind(self, kind: str) -> dict[str, Any]:
        return {"n": self.counts["rgb"][kind].asked, "rgb": self.share("rgb", (kind,)),
                "event": self.share("event", (kind,)), "event_no_colour": self.share("event", (kind,), colour=False),
                "chance": self.share("chance", (kind,))}
