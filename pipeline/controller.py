"""How many guesses are worth making: measured costs against measured acceptance, so that speculation always pays.

    controller = Controller(verify=Cost.timed({1: 0.004, 8: 0.006}))
    budget = controller.budget(12)                  # nodes to ask the drafter for, 0 = plain decoding this round
    draft = controller.pruned(budget, made := drafter.propose(budget))
    controller.learn(len(made), draft, verdict, draft_s, verify_s)

The best number of nodes n maximises the tokens per second of a round, (1 + gains of the n likeliest) / (draft(n) +
verify(n)); the original study assumed the costs away (facts: predicted 5.77x, measured 1.03x). While speculation
rests it is tried again now and then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.chances import Chances, likeliest
from pipeline.types import Draft, Verdict

REST = 12
"""Rounds of plain decoding after which a small draft is tried again; doubled while that does not pay."""

LONGEST_REST, TRIAL = 96, 2
FORGET, SLOW = 0.95, 0.6
"""How much of the cost measured before, and of the gains expected before, is left after a round."""


@dataclass
class Cost:
    """Seconds as a straight line over a number of rows, fitted to what was measured lately."""

    count: float = 0.0
    rows: float = 0.0
    seconds: float = 0.0
    squares: float = 0.0
    products: float = 0.0

    @classmethod
    def timed(cls, seconds_by_rows: Mapping[int, float]) -> Cost:
        """From a table measured at start-up."""
        cost = cls()
        for rows, seconds in seconds_by_rows.items():
            cost.learn(rows, seconds)
        return cost

    def learn(self, rows: int, seconds: float) -> None:
        """Take in one measurement."""
        self.count = self.count * FORGET + 1
        self.rows = self.rows * FORGET + rows
        self.seconds = self.seconds * FORGET + seconds
        self.squares = self.squares * FORGET + rows * rows
        self.products = self.products * FORGET + rows * seconds

    def of(self, rows: int) -> float:
        """Seconds for so many rows: never falling with rows; 0 before anything was measured."""
        if not self.count:
            return 0.0
        mean_rows, mean_s = self.rows / self.count, self.seconds / self.count
        spread = self.squares / self.count - mean_rows**2
        # with hardly any spread the slope would be noise
        slope = max(0.0, (self.products / self.count - mean_rows * mean_s) / spread) if spread > 0.05 else 0.0
        return max(mean_s + slope * (rows - mean_rows), 0.2 * mean_s)


@dataclass
class Controller:
    """Decides per round; lives as long as a conversation with one drafter. fixed: always draft so many nodes."""

    verify: Cost = field(default_factory=Cost)
    fixed: int | None = None
    draft: Cost = field(default_factory=Cost)
    chances: Chances = field(default_factory=Chances)
    _gains: list[float] = field(default_factory=list)
    _rested: int = 0
    _rest: int = REST

    def budget(self, most: int) -> int:
        """How many nodes to ask for, at most `most`."""
        if self.fixed is not None:
            return min(self.fixed, most)
        # nothing is known yet: the first rounds show what the drafter can do
        if not self._gains or not self.draft.count:
            return most
        best = self._best(self._gains[:most], drafting=True)
        if best:
            self._rest = REST
            return best
        self._rested += 1
        if self._rested < self._rest:
            return 0
        self._rested, self._rest = 0, min(LONGEST_REST, 2 * self._rest)
        return min(TRIAL, most)

    def _best(self, gains: Sequence[float], drafting: bool) -> int:
        """The number of nodes with the most tokens per second; drafting: whether they must still be made."""
        best, most = 0, 1 / max(1e-9, self.verify.of(1))
        total = 1.0
        for size, gain in enumerate(gains, 1):
            total += gain
            rate = total / max(1e-9, self.verify.of(1 + size) + (self.draft.of(size) if drafting else 0.0))
            if rate > most:
                best, most = size, rate
        return best

    def pruned(self, asked: int, draft: Draft) -> Draft:
        """The part of a draft that is worth checking; asked: the nodes the drafter was asked for."""
        if self.fixed is not None or not asked:
            return draft
        gains = self.chances.gains(draft)
        ranked = sorted(gains, reverse=True)
        self._expect(ranked + [0.0] * (asked - len(ranked)))
        return likeliest(draft, gains, max(1, self._best(ranked, drafting=False))) if len(draft) else draft

    def _expect(self, ranked: Sequence[float]) -> None:
        """Remember the gains of the likeliest, second likeliest ... node; those not asked for go on geometrically."""
        seen = [SLOW * old + (1 - SLOW) * new for old, new in zip(self._gains, ranked, strict=False)]
        seen += ranked[len(seen):]
        step = (seen[-1] / seen[0]) ** (1 / (len(seen) - 1)) if len(seen) > 1 and seen[0] else seen[0]
        while len(seen) < len(self._gains):
            seen.append(seen[-1] * step)
        self._gains = seen

    def learn(self, drafted: int, draft: Draft, verdict: Verdict, draft_s: float, verify_s: float) -> None:
        """What a round cost and what became of its guesses; drafted: the nodes that were made, checked or not."""
        self.verify.learn(1 + len(draft), verify_s)
        if drafted:
            self.draft.learn(drafted, draft_s)
        self.chances.learn(draft, verdict)
