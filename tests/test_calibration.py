"""Curves of acceptance over cosine, from guesses whose truth is known."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from pipeline.calibration import (
    DETAILED,
    Guess,
    Guesses,
    Rounds,
    acceptance_curve,
    predicted_tau,
    predictors,
    threshold,
)
from pipeline.isotonic import Isotonic, ranking
from pipeline.measure import Answer
from pipeline.types import Caption, Cycle, Emitted, Node


def chance(cosine: float) -> float:
    return min(1.0, max(0.0, 2 * (cosine - 0.4)))


def drawn(clips: int, per_clip: int, truth: Callable[[float], float] = chance, depth: int = 3,
          ) -> tuple[list[Guess], Rounds]:
    """Chains of guesses up to `depth`, each accepted with the true chance of its cosine."""
    rng, guesses, rounds = random.Random(0), list[Guess](), Rounds()
    for clip in range(clips):
        for _ in range(per_clip):
            for level in range(1, depth + 1):
                cosine = rng.uniform(0.3, 1.0)
                accepted = rng.random() < truth(cosine)
                guesses.append(Guess(clip, rounds.number.total(), level, level + 1, accepted, cosine, rng.random(),
                                     truth(cosine)))
                if not accepted:
                    break
            rounds.number[clip] += 1
            rounds.own[clip] += 1
    return guesses, rounds


def measured(guesses: list[Guess], rounds: Rounds) -> float:
    return 1 + sum(guess.accepted for guess in guesses) / rounds.number.total()


def test_the_curve_rises_and_its_band_holds_the_truth() -> None:
    found = acceptance_curve(drawn(40, 40)[0])
    assert np.diff(found["acceptance"]).min() >= 0
    truth = np.array([chance(cosine) for cosine in found["cos_sim"]])
    assert np.abs(np.array(found["acceptance"]) - truth).max() < 0.15
    inside = (truth >= np.array(found["low"]) - 0.02) & (truth <= np.array(found["high"]) + 0.02)
    assert inside.mean() > 0.9
    assert (np.array(found["low"]) <= np.array(found["high"])).all()


def test_another_value_can_be_fitted() -> None:
    found = acceptance_curve(drawn(10, 40)[0], lambda guess: guess.p_verify)
    truth = [chance(cosine) for cosine in found["cos_sim"]]
    assert found["acceptance"] == pytest.approx(truth, abs=0.03)


def test_an_isotonic_fit_pools_what_falls_and_equal_places() -> None:
    fit = Isotonic.fit(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 1.0, 0.0, 0.2]))
    assert fit(np.array([0.0, 1.0, 2.0, 3.0, 9.0])) == pytest.approx([0.0, 0.0, 0.4, 0.4, 0.4])


def test_ranking_knows_perfect_useless_and_undefined() -> None:
    assert ranking([1, 2, 3, 4], [False, False, True, True]) == {"spearman": 0.8944, "auc": 1.0}
    assert (ranking([1, 2, 1, 2], [False, False, True, True]) or {})["auc"] == 0.5
    assert ranking([1, 1], [True, False]) is None
    assert ranking([1, 2], [True, True]) is None
    assert ranking([], []) is None


def test_cosine_predicts_where_it_decides_and_chance_does_not() -> None:
    rows = predictors(drawn(20, 40)[0])
    assert rows["cos_sim"]["auc"] > 0.75
    assert abs(rows["p_draft"]["auc"] - 0.5) < 0.1


def test_curves_predict_the_tokens_per_check_of_other_clips() -> None:
    guesses, rounds = drawn(40, 30)
    assert predicted_tau(guesses, rounds) == pytest.approx(measured(guesses, rounds), abs=0.1)
    assert predicted_tau(*drawn(1, 30)) is None


def test_a_threshold_row_counts_what_is_over_it() -> None:
    guesses, rounds = drawn(20, 40, lambda cosine: float(cosine > 0.8))
    row = threshold(guesses, rounds, (0.8, 0.28, 6, 3.0))
    assert row["accepted_over"] == 1.0
    assert row["tau_if_cosine_ruled"] == pytest.approx(measured(guesses, rounds), abs=0.001)  # it does rule here
    assert row["share_over"] == pytest.approx(np.mean([guess.accepted for guess in guesses]), abs=0.001)
    assert row["claimed"] == {"acceptance": 0.28, "chain": 6, "speedup": 3.0}
    assert threshold(guesses, rounds, (0.999999, 0.75, 25, 7.0))["accepted_over"] is None


def test_siblings_share_a_level() -> None:
    pair = [Guess(0, 0, 1, 0, False, 0.9, None, 0.1), Guess(0, 0, 1, 0, True, 0.95, None, 0.8)]
    rounds = Rounds()
    rounds.number[0] = rounds.own[0] = 1
    assert threshold(pair, rounds, (0.85, 0.38, 10, 4.0))["tau_if_cosine_ruled"] == 2.0


def heard(cos_sim: float | None) -> Guesses:
    nodes = [Node(" A", 1, -1, 1, "x", "accepted", cos_sim, 0.5, 0.9),
             Node(" red", 2, 0, 2, "x", "rejected", cos_sim, 0.5, 0.1), Node(" car", 3, 1, 3, "x", "unreached")]
    last = Node(" bus", 5, -1, 1, "x", "accepted", cos_sim, 0.5, 0.9)
    cycles = [Cycle(0, nodes, [Emitted(" A", 1, "accepted"), Emitted(" blue", 4, "recovered")], []),
              Cycle(1, [last], [Emitted(" bus", 5, "accepted")], [])]
    caption = Caption(0, 1, DETAILED["detailed"], " A blue bus", "x", "greedy", True, 2, 3, 4, 2, 0.5, None, 0.1, 0.2,
                      None, None, None)
    guesses = Guesses()
    guesses.listen("x", 0, Answer(caption, cycles))
    return guesses


def test_only_guesses_after_an_accepted_parent_count() -> None:
    guesses = heard(0.9)
    assert [(guess.depth, guess.word, guess.accepted) for guess in guesses.guesses["x"]] == [
        (1, 0, True), (2, 1, False), (1, 2, True)]
    assert (guesses.rounds["x"].number[0], guesses.rounds["x"].own[0]) == (2, 1)
    assert guesses.left_out("x") is None


def test_without_states_there_is_no_curve() -> None:
    assert "no hidden state" in (heard(None).left_out("x") or "")
    assert heard(None).left_out("silent") == "silent guessed nothing"


def test_the_line_of_a_drafter_can_be_written_down() -> None:
    guesses = Guesses()
    guesses.guesses["x"], guesses.rounds["x"] = drawn(6, 30)
    line = guesses.to_json("x")
    assert set(line["curves"]) >= {"all", "0", "1"}
    assert [row["threshold"] for row in line["thresholds"]] == [0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    assert line["predicted_tau"] == pytest.approx(measured(*drawn(6, 30)), abs=0.3)
    later = line["predictors"]["without_first_3_words"]["guesses"]
    assert later == sum(guess.depth > 1 for guess in guesses.guesses["x"]) < line["guesses"]
