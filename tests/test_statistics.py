"""Intervals and formulas of measuring, against known values."""

import numpy as np
import pytest

from pipeline import claims
from pipeline.statistics import Ratio, covered_s, estimated_speedup, ratio_of_sums, tokens_per_round


def test_intervals_contain_the_share() -> None:
    ratio = Ratio()
    assert ratio.share is ratio.interval is None
    ratio.add(70, 100)
    low, high = ratio.interval or (1, 0)
    assert (low, high) == pytest.approx((0.604, 0.781), abs=0.002)


def test_a_ratio_of_sums_weighs_long_clips_more_and_its_interval_holds_it() -> None:
    """D10: the original took the mean of ratios."""
    assert ratio_of_sums(np.array([[2.0, 1.0], [4.0, 2.0]])) == (2.0, 2.0, 2.0)
    ratio, low, high = ratio_of_sums(np.array([[1.0, 1.0], [9.0, 3.0], [5.0, 2.0], [8.0, 4.0]]))
    assert ratio == 2.3
    assert 1 < low < ratio < high < 3
    one = ratio_of_sums(np.array([[1.0, 4.0]]))
    assert one == (0.25, 0.25, 0.25)


def test_tokens_per_round_is_the_known_sum() -> None:
    alpha, length = 0.6, 5
    assert tokens_per_round([alpha] * length) == pytest.approx((1 - alpha**(length + 1)) / (1 - alpha))
    assert tokens_per_round([]) == 1
    assert tokens_per_round([1.0, 0.5], own=0.5) == 2.0


def test_the_estimate_counts_what_a_round_costs() -> None:
    assert estimated_speedup(3.0, 0.02, 0.01) == 1.5
    assert claims.speedup(3.3) == pytest.approx(3.0)  # the claimed formula does not


def test_work_at_the_same_time_counts_once() -> None:
    assert covered_s([(0.0, 1.0), (0.5, 2.0), (3.0, 4.0), (0.2, 0.3)]) == pytest.approx(3.0)
    assert covered_s([]) == 0


def test_the_claimed_map_covers_every_cosine_once() -> None:
    ends = [end for _, end, *_ in claims.ACCEPTANCE]
    assert [start for start, *_ in claims.ACCEPTANCE] == [-1.0, *ends[:-1]]
    assert ends[-1] == 1.0
