"""How often guesses were accepted, by their cos_sim: counts of one visit, for the page to draw beside the guesses.

    counts = AgreementCounts()
    counts.add("L1", cycle.nodes)
    counts.message("L1")
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from pipeline.types import Node
from ui.answer_messages import Agreement

BINS = 20


class AgreementCounts:
    """Accepted and all guesses per bin of cos_sim, for every adapter by itself: their scales differ."""

    def __init__(self) -> None:
        self._accepted: dict[str, list[int]] = defaultdict(lambda: [0] * BINS)
        self._total: dict[str, list[int]] = defaultdict(lambda: [0] * BINS)

    def add(self, adapter: str, nodes: Iterable[Node]) -> None:
        """Count the guesses that were reached and have a cos_sim."""
        for node in nodes:
            if node.cos_sim is None or node.verdict == "unreached":
                continue
            place = min(BINS - 1, max(0, int(node.cos_sim * BINS)))
            self._total[adapter][place] += 1
            self._accepted[adapter][place] += node.verdict == "accepted"

    def message(self, adapter: str) -> Agreement:
        """The counts of one adapter."""
        return Agreement(adapter, list(self._accepted[adapter]), list(self._total[adapter]))
