"""Rising curves with bands, and how well a number ranks what happens; needs scipy (`pip install 'parafovea[report]'`).

    curve(clips=[0, 0, 1], places=[0.5, 0.8, 0.9], values=[0, 1, 1])["acceptance"]
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streams.types import InputError

DRAWS, POINTS = 200, 41


def science(part: str) -> Any:
    """A module of scipy. Raises InputError when it is not installed."""
    try:
        return importlib.import_module(f"scipy.{part}")
    except ImportError as error:
        raise InputError("calibrate needs scipy; install it with `pip install 'parafovea[report]'`") from error


@dataclass(frozen=True)
class Isotonic:
    """A rising function: heights [N] at places [N], linear between them, constant outside."""

    places: np.ndarray
    heights: np.ndarray

    @classmethod
    def fit(cls, places: np.ndarray, values: np.ndarray) -> Isotonic:
        """Least squares over values [N] at places [N] (pool adjacent violators)."""
        unique, inverse, counts = np.unique(places, return_inverse=True, return_counts=True)
        means = np.bincount(inverse, values) / counts
        fitted = science("optimize").isotonic_regression(means, weights=counts.astype(float))
        return cls(unique, fitted.x)

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Heights at places [M]."""
        return np.interp(places, self.places, self.heights)


def curve(clips: Sequence[int], places: Sequence[float], values: Sequence[float]) -> dict[str, list[float]]:
    """Values [N] by cosine (places [N]): isotonic fit over the observed range, 95 % band by bootstrap over clips."""
    x, y, rows = np.array(places), np.array(values, float), defaultdict[int, list[int]](list)
    grid = np.linspace(x.min(), x.max(), POINTS)
    for row, clip in enumerate(clips):
        rows[clip].append(row)
    by_clip, rng, fits = [np.array(some) for some in rows.values()], np.random.default_rng(0), []
    for _ in range(DRAWS):
        drawn = np.concatenate([by_clip[clip] for clip in rng.integers(0, len(by_clip), len(by_clip))])
        fits.append(Isotonic.fit(x[drawn], y[drawn])(grid))
    low, high = np.quantile(fits, [0.025, 0.975], axis=0)
    return {"cos_sim": _rounded(grid), "acceptance": _rounded(Isotonic.fit(x, y)(grid)), "low": _rounded(low),
            "high": _rounded(high)}


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 4) for value in values]


def ranking(values: Sequence[float], happened: Sequence[bool]) -> dict[str, float] | None:
    """Spearman's correlation and ROC AUC of values for what happened; None where either side is constant."""
    if len(set(values)) < 2 or len(set(happened)) < 2:
        return None
    stats = science("stats")
    own, fate = np.array(values), np.array(happened)
    wins = stats.mannwhitneyu(own[fate], own[~fate]).statistic
    return {"spearman": round(float(stats.spearmanr(own, fate).statistic), 4),
            "auc": round(float(wins) / (int(fate.sum()) * int((~fate).sum())), 4)}
