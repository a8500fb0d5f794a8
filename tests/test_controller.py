"""The controller drafts where it pays and rests where it does not, whatever the drafter promises."""

import random

import pytest
from toy_models import random_decoder

from pipeline.chances import Chances, likeliest
from pipeline.controller import REST, Controller, Cost
from pipeline.timing import verify_seconds
from pipeline.types import Draft, Verdict

PLAIN_S, ROW_S = 0.004, 0.0004


def simulate(right: float, promised: float | None, draft_node_s: float, rounds: int = 400,
             most: int = 10) -> tuple[float, float, list[int]]:
    """Tokens per second with the controller over plain decoding's, the same for the second half alone, and how many
    nodes each round checked. right: chance that a guess is accepted."""
    rng, controller = random.Random(0), Controller(Cost.timed({k: PLAIN_S + ROW_S * (k - 1) for k in (1, 2, 4, 8)}))
    tokens, seconds, sizes = list[int](), list[float](), list[int]()
    for _ in range(rounds):
        asked = controller.budget(most)
        made = Draft.chain(list(range(asked)), "toy", None if promised is None else [promised] * asked)
        draft = controller.pruned(asked, made)
        passed = next((i for i in range(len(draft)) if rng.random() > right), len(draft))
        draft_s, verify_s = draft_node_s * len(made), PLAIN_S + ROW_S * len(draft)
        controller.learn(len(made), draft, Verdict(list(range(passed)), 1, "plain"), draft_s, verify_s)
        tokens.append(passed + 1)
        seconds.append(draft_s + verify_s)
        sizes.append(len(draft))
    half = rounds // 2
    return (sum(tokens) / sum(seconds) * PLAIN_S, sum(tokens[half:]) / sum(seconds[half:]) * PLAIN_S, sizes)


@pytest.mark.parametrize("promised", [None, 0.99, 0.01])
def test_a_bad_drafter_costs_next_to_nothing(promised: float | None) -> None:
    overall, later, sizes = simulate(right=0.0, promised=promised, draft_node_s=0.001)
    assert later > 0.97
    assert overall > 0.9
    # it is tried again now and then
    assert 0 < sum(size > 0 for size in sizes[200:]) < 200 / REST


@pytest.mark.parametrize("promised", [None, 0.99, 0.3])
def test_a_good_drafter_is_used(promised: float | None) -> None:
    _, later, sizes = simulate(right=0.95, promised=promised, draft_node_s=0.0005)
    assert later > 2.4
    assert min(sizes[-50:]) >= 5


def test_a_drafter_dearer_than_what_it_saves_rests() -> None:
    _, later, sizes = simulate(right=0.6, promised=0.6, draft_node_s=0.006)
    assert later > 0.97
    assert sum(sizes[-100:]) < 20


def test_the_size_grows_with_what_is_accepted() -> None:
    middle = [sorted(simulate(right, None, 0.0002)[2][-100:])[50] for right in (0.4, 0.7, 0.95)]
    assert middle[0] < middle[1] < middle[2]


def test_a_fixed_size_is_kept() -> None:
    controller = Controller(fixed=4)
    assert (controller.budget(10), controller.budget(3)) == (4, 3)
    draft = Draft.chain([1, 2], "toy", [0.1, 0.1])
    assert controller.pruned(4, draft) is draft


def test_costs_are_a_line_that_follows_what_is_measured() -> None:
    cost = Cost.timed({1: 1.0, 3: 2.0})
    assert cost.of(2) == pytest.approx(1.5, abs=0.05)
    for _ in range(200):
        cost.learn(1, 5.0)
        cost.learn(3, 5.0)
    assert cost.of(9) == pytest.approx(5.0, abs=0.01)
    assert Cost.timed({4: 2.0}).of(9) == 2.0
    assert Cost().of(3) == 0.0


def test_chances_start_as_the_drafters_word_and_become_what_is_counted() -> None:
    chances = Chances()
    assert chances.of("toy", 0.9) == pytest.approx(0.9)
    for _ in range(60):
        chances.learn(Draft([1, 2], [-1, 0], ["toy"] * 2, [0.9, 0.1]), Verdict([], 3, "recovered"))
    assert chances.of("toy", 0.9) < 0.1
    # the second word was never reached, another drafter never asked
    assert chances.of("toy", 0.1) == pytest.approx(0.1)
    assert chances.of("other", 0.9) == pytest.approx(0.9)


def test_pruning_keeps_the_likeliest_nodes_and_their_parents() -> None:
    draft = Draft([1, 2, 3, 4], [-1, 0, -1, 1], ["toy"] * 4, [0.6, 0.9, 0.4, 0.9])
    gains = Chances().gains(draft)
    assert gains == pytest.approx([0.6, 0.54, 0.4, 0.486])
    kept = likeliest(draft, gains, 3)
    assert (kept.tokens, kept.parents, kept.probs) == ([1, 2, 4], [-1, 0, 1], [0.6, 0.9, 0.9])
    assert likeliest(draft, gains, 9) is draft


def test_checks_are_timed_by_their_rows() -> None:
    seconds = verify_seconds(random_decoder(1))
    assert list(seconds) == [1, 2, 4, 8, 16]
    assert all(value > 0 for value in seconds.values())
