"""How often guesses were accepted, by their cos_sim: counts of one visit, for the page to draw beside the guesses.

    counts = AgreementCounts()
    counts.add("vlm", cycle.nodes)
    counts.message("vlm")
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from pipeline.types import Node
from ui.answer_messages import Agreement

BINS = 20


class AgreementCounts:
    """Accepted and all guesses per bin of cos_sim, for every drafter by itself: their scales differ."""

    def __init__(self) -> None:
        self._accepted: dict[str, list[int]] = defaultdict(lambda: [0] * BINS)
        self._total: dict[str, list[int]] = defaultdict(lambda: [0] * BINS)

    def add(self, drafter: str, nodes: Iterable[Node]) -> None:
        """Count the guesses that were reached and have a cos_sim."""
        for node in nodes:
            if node.cos_sim is None or node.verdict == "unreached":
                continue
            place = min(BINS - 1, max(0, int(node.cos_sim * BINS)))
            self._total[drafter][place] += 1
            self._accepted[drafter][place] += node.verdict == "accepted"

    def message(self, drafter: str) -> Agreement:
        """The counts of one drafter."""
        return Agreement(drafter, list(self._accepted[drafter]), list(self._total[drafter]))
