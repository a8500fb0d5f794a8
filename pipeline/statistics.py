"""Intervals and formulas of measuring: shares, ratios of times, what speculation should bring.

    ratio = Ratio(); ratio.add(70, 100); ratio.interval          # [0.6042, 0.7811]
    speedup, low, high = ratio_of_sums(np.array([[2.0, 1.0], [4.0, 2.0]]))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

DRAWS = 1000
"""Resamples of a bootstrap interval."""


@dataclass
class Ratio:
    """So many of so many."""

    of: int = 0
    right: int = 0

    def add(self, right: int, of: int = 1) -> None:
        """Count some more."""
        self.right, self.of = self.right + right, self.of + of

    @property
    def share(self) -> float | None:
        """right / of, None when nothing was counted."""
        return round(self.right / self.of, 4) if self.of else None

    @property
    def interval(self) -> list[float] | None:
        """95 % interval of the share (Wilson 1927)."""
        if not self.of:
            return None
        z, n, p = 1.96, self.of, self.right / self.of
        middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return [round((middle + sign * half) / (1 + z * z / n), 4) for sign in (-1, 1)]


def ratio_of_sums(pairs: np.ndarray) -> tuple[float, float, float]:
    """Sum of pairs [N, 2] over N: first column over second, with its 95 % bootstrap interval over the N rows."""
    draws = np.random.default_rng(0).integers(0, len(pairs), (DRAWS, len(pairs)))
    ratios = pairs[draws, 0].sum(1) / pairs[draws, 1].sum(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(pairs[:, 0].sum() / pairs[:, 1].sum()), float(low), float(high)


def tokens_per_round(passed: Iterable[float], own: float = 1.0) -> float:
    """τ from the share of rounds that pass each depth among those that passed the one before: own + sum of products.

    own: share of rounds to which the verifier adds its own token, less than 1 because an answer may end with a guess.
    Holds because the shares are conditional (Leviathan et al. 2023 assume them equal).
    """
    return own + float(np.cumprod(list(passed)).sum())


def estimated_speedup(tau: float, round_s: float, plain_step_s: float) -> float:
    """Speed-up of writing that the costs predict: τ tokens for the cost of one round, in plain steps.

    round_s: drafting, verifying and everything else of one round; plain_step_s: the same of plain decoding.
    """
    return tau / (round_s / plain_step_s)


def covered_s(pieces: Sequence[tuple[float, float]]) -> float:
    """Seconds that pieces of work (start, end) cover together; what ran at the same time counts once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(pieces):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
