"""What was said after the same words before, and where the present answer stands in an earlier one.

    said = NGrams()
    said.add(line)
    following([said], line)                     # {token: probability}
    Alignment(earlier).after(token).next        # the word of the earlier answer that would come now

Counts after contexts of several lengths are blended, longer ones first (prediction by partial matching, Cleary and
Witten 1984); the alignment is the one with the fewest edits (Levenshtein 1966), so that a word that differs does not
lose the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST = 6
"""Words of context beyond which a longer one says nothing more."""

FADE, ESCAPE, FIRM, NOTHING = 0.9, 0.5, 1.0, 0.01
"""What is left of a count when something is said after the same words again; what a context leaves to shorter ones, in
counts; counts that a context has at most where it was not said in this conversation; chance that is not worth sharing.
"""


NEAR = 3
"""Words before a place of an alignment that are compared."""


class NGrams:
    """Counts of tokens by the 1 to LONGEST tokens before them."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], dict[int, float]] = {}

    def add(self, line: Sequence[int], start: int = 1) -> None:
        """Count the tokens of a line from `start` on, each after those before it."""
        for place in range(max(1, start), len(line)):
            for size in range(1, min(LONGEST, place) + 1):
                counts = self._after.setdefault(tuple(line[place - size:place]), {})
                for token in counts:
                    counts[token] *= FADE
                counts[line[place]] = counts.get(line[place], 0.0) + 1.0

    def limited(self) -> NGrams:
        """The same with at most FIRM counts per context."""
        less = NGrams()
        for context, counts in self._after.items():
            share = min(1.0, FIRM / sum(counts.values()))
            less._after[context] = {token: count * share for token, count in counts.items()}
        return less

    def after(self, context: tuple[int, ...]) -> dict[int, float] | None:
        """Counts after a context, None where it was never said."""
        return self._after.get(context)


def following(tables: Sequence[NGrams], line: tuple[int, ...]) -> tuple[dict[int, float], int]:
    """Probabilities of what follows a line, and how many tokens of context were known."""
    chances: dict[int, float] = {}
    known, left = 0, 1.0
    for size in range(min(LONGEST, len(line)), 0, -1):
        context = line[-size:]
        found = [counts for table in tables if (counts := table.after(context))]
        if not found:
            continue
        known = known or size
        share = left / (ESCAPE + sum(sum(counts.values()) for counts in found))
        for counts in found:
            for token, count in counts.items():
                chances[token] = chances.get(token, 0.0) + share * count
        left = share * ESCAPE
        if left < NOTHING:
            break
    return chances, known


@dataclass(frozen=True)
class Alignment:
    """Where an answer stands in an earlier one. edits: between what was said and each beginning of the earlier answer;
    place: of the token that would come next; agree: how many tokens just before it are the same, at most NEAR."""

    earlier: list[int]
    edits: list[int]
    place: int = 0
    agree: int = 0

    @classmethod
    def begin(cls, earlier: Sequence[int]) -> Alignment:
        """Before anything was said."""
        return cls(list(earlier), list(range(len(earlier) + 1)))

    @property
    def next(self) -> int | None:
        """The token of the earlier answer that would come now; None at its end."""
        return self.earlier[self.place] if self.place < len(self.earlier) else None

    def then(self, token: int) -> Alignment:
        """After one more token: at the beginning with the fewest edits, of equals at one that ends with this token, of
        those at the nearest."""
        above, row = self.edits, [self.edits[0] + 1]
        for place, other in enumerate(self.earlier):
            row.append(min(above[place] + (token != other), above[place + 1] + 1, row[place] + 1))
        fewest, onwards = min(row), self.place + 1
        places = [place for place, edits in enumerate(row) if edits == fewest]
        place = min(places, key=lambda at: (at == 0 or self.earlier[at - 1] != token, abs(at - onwards)))
        same = place > 0 and self.earlier[place - 1] == token
        agree = min(NEAR, self.agree + 1 if place == onwards else 1) if same else 0
        return Alignment(self.earlier, row, place, agree)

    def along(self, token: int) -> Alignment:
        """After a guess: one word further, whatever it is. Cheaper than then(), after which it must not be asked."""
        same = token == self.next
        return Alignment(self.earlier, [], min(self.place + 1, len(self.earlier)),
                         min(NEAR, self.agree + 1) if same else 0)
