"""How many guesses are worth making: measured costs against measured acceptance, so that speculation always pays.

    costs = Costs(Checks.timed({1: 0.004, 8: 0.006}))      # of a machine, for all conversations
    controller = costs.controller("vlm")            # of one conversation
    budget = controller.budget(12)                  # nodes to ask the drafter for, 0 = plain decoding this round
    draft = controller.pruned(budget, made := drafter.propose(budget))
    controller.learn(len(made), draft, verdict, draft_s, verify_s)

The best number of nodes n maximises the tokens per second of a round, (1 + gains of the n likeliest) / (draft(n) +
verify(n)); the original study assumed the costs away (facts: predicted 5.77x, measured 1.03x). While speculation
rests it is tried again now and then.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.chances import Chances, likeliest
from pipeline.types import Draft, Verdict

REST = 12
"""Rounds of plain decoding after which a small draft is tried again; doubled while that does not pay."""

LONGEST_REST, TRIAL, FIRST = 96, 2, 4
"""The longest such rest; nodes of a trial; nodes that are asked for while nothing is known."""

SPARE = 0.03
"""Share of the time of plain decoding that trials may take."""

SHORTEST_NAP, LONGEST_NAP = 2, 8
"""Answers that a drafter sits out: the fewest, doubled while it does not pay, and the most."""

MARGIN = 1.1
"""How many times faster than plain decoding a draft must promise to be: what is close is not worth the risk."""

FAR_OUT = 3.0
"""How many times what was expected a measurement counts at most."""

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

    def learn(self, rows: int, seconds: float) -> None:
        """Take in one measurement; one far out, during which the machine did something else, counts less."""
        if self.count:
            seconds = min(seconds, FAR_OUT * self.of(rows))
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
        if spread > 0.05:
            slope = max(0.0, (self.products / self.count - mean_rows * mean_s) / spread)
        else:
            # one size alone says nothing about others: more are taken for dearer in proportion, fewer for no cheaper
            slope = mean_s / mean_rows if rows > mean_rows > 0 else 0.0
        return max(mean_s + slope * (rows - mean_rows), 0.2 * mean_s)


@dataclass
class Checks:
    """Seconds of a check by its rows: as measured at start-up, times what checks took lately, those of one row and
    those of several each for themselves. Who only ever checks many rows would otherwise forget what one costs.

    table: (rows, seconds), rows rising; empty = nothing was measured, and all checks are taken for equally long.
    """

    table: Sequence[tuple[int, float]] = ()
    one: float = 1.0
    several: float = 1.0

    @classmethod
    def timed(cls, seconds_by_rows: Mapping[int, float]) -> Checks:
        """From a table measured at start-up."""
        return cls(sorted(seconds_by_rows.items()))

    def of(self, rows: int) -> float:
        """Seconds for so many rows."""
        return self._measured(rows) * (self.one if rows == 1 else self.several)

    def learn(self, rows: int, seconds: float) -> None:
        """Take in one measurement; one far out counts less."""
        ratio = min(seconds / max(1e-9, self._measured(rows)), FAR_OUT * (self.one if rows == 1 else self.several))
        if rows == 1:
            self.one += (1 - SLOW) * (ratio - self.one)
        else:
            self.several += (1 - SLOW) * (ratio - self.several)

    def _measured(self, rows: int) -> float:
        """Between two rows of the table on a straight line, beyond them as on the nearest."""
        if not self.table:
            return 1.0
        at = min(max(1, bisect_left(self.table, (rows, 0.0))), len(self.table) - 1)
        (low, low_s), (high, high_s) = self.table[max(0, at - 1)], self.table[at]
        slope = (high_s - low_s) / (high - low) if high > low else 0.0
        return max(low_s + slope * (rows - low), 0.2 * low_s)


@dataclass
class Costs:
    """What checks, reading and the drafts of each drafter cost on a machine, as all conversations there have found."""

    verify: Checks = field(default_factory=Checks)
    reading: Cost = field(default_factory=Cost)
    drafts: dict[str, Cost] = field(default_factory=dict)

    def controller(self, drafter: str) -> Controller:
        """For a conversation with a drafter, by name."""
        return Controller(self.verify, reading=self.reading, draft=self.drafts.setdefault(drafter, Cost()))


@dataclass
class Controller:
    """Decides per round; lives as long as a conversation with one drafter. fixed: always draft so many nodes. reading:
    seconds that the verifier reads before an answer, by 1."""

    verify: Checks = field(default_factory=Checks)
    fixed: int | None = None
    draft: Cost = field(default_factory=Cost)
    reading: Cost = field(default_factory=Cost)
    chances: Chances = field(default_factory=Chances)
    _gains: list[float] = field(default_factory=list)
    _rested: int = 0
    _rest: int = REST
    _saved_s: float | None = None
    _here_s: float = 0.0
    _took_part: bool = False
    _cold: bool = True
    _warm: bool = False
    _nap: int = SHORTEST_NAP
    _napped: int = 0

    @property
    def may_take_part_soon(self) -> bool:
        """Whether the drafter may read what the next answer, or the one after it, is about."""
        return self._took_part or self._napped + 1 >= self._nap

    def takes_part(self, share: float = 0.0) -> bool:
        """Asked once before every answer: whether the drafter reads what is asked about. One that has lately saved no
        more than its reading costs, a share of the verifier's, sits out 2, 4, 8 answers before it is tried again.
        """
        costs_s = share * self.reading.of(1)
        if self._took_part and self._cold:
            self._cold = False  # its first answer pays for what later ones find
        elif self._took_part:
            self._saved_s = self._here_s if self._saved_s is None else (
                SLOW * self._saved_s + (1 - SLOW) * self._here_s)
        useful = self._saved_s is None or self._saved_s > costs_s
        if self.fixed is not None or useful:
            self._nap, self._napped, self._took_part = SHORTEST_NAP, 0, True
        elif self._napped < self._nap:
            self._napped, self._took_part = self._napped + 1, False
        else:
            self._nap, self._napped, self._took_part = min(LONGEST_NAP, 2 * self._nap), 0, True
        self._here_s = 0.0
        return self._took_part

    def budget(self, most: int, read_for_s: float | None = None) -> int:
        """How many nodes to ask for, at most `most`. read_for_s: how long the verifier has been reading, during which
        drafting costs nothing; None = it has read."""
        if self.fixed is not None:
            return min(self.fixed, most)
        free_s = 0.0
        if read_for_s is not None:
            free_s = max(0.0, self.reading.of(1) - read_for_s) if self.reading.count else math.inf
        # the first rounds show what the drafter can do, unless it is known to be too dear though it be always right
        gains = continued(self._gains, most) if self._gains else [1.0] * (most if free_s else min(FIRST, most))
        if not (free_s or self.draft.count):
            return min(FIRST, most)
        best = self._best(gains, free_s)
        if best:
            self._rest = REST
            return best
        self._rested += 1
        if self._rested < max(self._rest, self.draft.of(TRIAL) / (SPARE * max(1e-9, self.verify.of(1)))):
            return 0
        self._rested, self._rest = 0, min(LONGEST_REST, 2 * self._rest)
        return min(TRIAL, most)

    def _best(self, gains: Sequence[float], free_s: float) -> int:
        """The number of nodes with the most tokens per second; free_s: seconds of drafting that cost nothing."""
        best, most = 0, (1.0 if free_s else MARGIN) / max(1e-9, self.verify.of(1))
        total = 1.0
        for size, gain in enumerate(gains, 1):
            total += gain
            rate = total / max(1e-9, self.verify.of(1 + size) + max(0.0, self.draft.of(size) - free_s))
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
        return likeliest(draft, gains, max(1, self._best(ranked, math.inf))) if len(draft) else draft

    def _expect(self, ranked: Sequence[float]) -> None:
        """Remember the gains of the likeliest, second likeliest ... node."""
        seen = [SLOW * old + (1 - SLOW) * new for old, new in zip(self._gains, ranked, strict=False)]
        seen += ranked[len(seen):]
        self._gains = continued(seen, max(len(seen), len(self._gains)))

    def learn(self, drafted: int, draft: Draft, verdict: Verdict, draft_s: float, verify_s: float,
              first: bool = False) -> None:
        """What a round cost and what became of its guesses; drafted: the nodes that were made, checked or not, 0 where
        they cost nothing. draft_s: of the drafter in all. verify_s: of everything else in the round. first: of an
        answer; its check finds nothing in the processor's caches and says nothing about those that follow."""
        if self.fixed is not None:
            return
        self._here_s += (len(verdict.path) + 1) * self.verify.of(1) - draft_s - verify_s
        if not first:
            self.verify.learn(1 + len(draft), verify_s)
        # a drafter's first draft has to load and lay out what later ones find: it says nothing about their cost
        if drafted and self._warm:
            self.draft.learn(drafted, draft_s)
        self._warm = self._warm or drafted > 0 or len(draft) > 0
        self.chances.learn(draft, verdict)


def continued(gains: Sequence[float], count: int) -> list[float]:
    """The first `count` gains; those that are not known go on geometrically."""
    known = list(gains[:count])
    step = (known[-1] / known[0]) ** (1 / (len(known) - 1)) if len(known) > 1 and known[0] else known[0]
    while len(known) < count:
        known.append(known[-1] * step)
    return known
