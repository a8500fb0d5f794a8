"""The controller drafts where it pays and rests where it does not, whatever the drafter promises."""

import random

import pytest
from toy_models import random_decoder

from pipeline.chances import Chances, likeliest
from pipeline.controller import FIRST, REST, Checks, Controller, Cost, Costs
from pipeline.timing import verify_seconds
from pipeline.types import Draft, Verdict

PLAIN_S, ROW_S = 0.004, 0.0004


def simulate(right: float, promised: float | None, draft_node_s: float, rounds: int = 400,
             most: int = 10) -> tuple[float, float, list[int]]:
    """Tokens per second with the controller over plain decoding's, the same for the second half alone, and how many
    nodes each round checked. right: chance that a guess is accepted."""
    rng, controller = random.Random(0), Controller(Checks.timed({k: PLAIN_S + ROW_S * (k - 1) for k in (1, 2, 4, 8)}))
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
    cost = Cost()
    assert cost.of(3) == 0.0
    cost.learn(4, 2.0)
    assert [cost.of(nodes) for nodes in (2, 4, 8)] == [2.0, 2.0, 4.0]
    for _ in range(200):
        cost.learn(1, 1.0)
        cost.learn(3, 2.0)
    assert cost.of(2) == pytest.approx(1.5, abs=0.05)


def test_checks_of_one_row_and_of_several_are_followed_each_for_themselves() -> None:
    checks = Checks.timed({8: 3.0, 1: 1.0, 2: 1.2})
    assert [checks.of(rows) for rows in (1, 2, 5, 8, 10)] == pytest.approx([1.0, 1.2, 2.1, 3.0, 3.6])
    for _ in range(60):
        checks.learn(8, 6.0)
    assert [checks.of(rows) for rows in (1, 2, 8)] == pytest.approx([1.0, 2.4, 6.0])
    for _ in range(60):
        checks.learn(1, 3.0)
    assert [checks.of(rows) for rows in (1, 8)] == pytest.approx([3.0, 6.0])
    assert Checks().of(1) == Checks().of(9) == 1.0


def test_who_only_checked_many_rows_still_knows_what_one_costs() -> None:
    """A drafter whose guesses are all right and cost more than the verifier's own words must be given up."""
    rng, controller = random.Random(0), Controller(Checks.timed({1: 0.002, 16: 0.007}))
    sizes = []
    for _ in range(40):
        asked = controller.budget(16)
        draft = controller.pruned(asked, Draft.chain(list(range(asked)), "toy", [0.95] * asked))
        passed = next((i for i in range(len(draft)) if rng.random() > 0.85), len(draft))
        draft_s = 0.012 if asked else 0.0
        controller.learn(asked, draft, Verdict(list(range(passed)), 1, "plain"), draft_s,
                         0.002 if not len(draft) else 0.007)
        sizes.append(len(draft))
    assert sum(size > 0 for size in sizes[10:]) < 8


def test_a_drafter_that_only_rests_sits_out_answers() -> None:
    controller = Controller(Checks.timed({1: 0.002, 16: 0.007}))
    took_part = []
    for _ in range(40):
        took_part.append(controller.takes_part())
        for _ in range(20 if took_part[-1] else 0):
            asked = controller.budget(16)
            draft = controller.pruned(asked, Draft.chain(list(range(asked)), "toy", [0.1] * asked))
            controller.learn(asked, draft, Verdict([], 1, "plain"), 0.01 if asked else 0.0, 0.003)
    assert took_part[0]
    assert 3 <= sum(took_part) < 12
    assert all(Controller(fixed=2).takes_part() for _ in range(3))


def answer(controller: Controller, costs_s: float, first_draft_s: float = 0.001) -> tuple[bool, int]:
    """One answer of a drafter that is always right, with checks of 3 ms: whether it took part, and how many rounds
    were drafted for."""
    controller.reading.learn(1, 1.0)
    if not controller.takes_part(costs_s):
        return False, 0
    drafted = 0
    for number in range(8):
        asked = controller.budget(16)
        draft = controller.pruned(asked, Draft.chain(list(range(asked)), "toy", [0.9] * asked))
        took_s = 0.0 if not asked else 0.001 if number else first_draft_s
        controller.learn(asked, draft, Verdict(list(range(len(draft))), 1, "plain"), took_s, 0.003)
        drafted += asked > 0
    return True, drafted


def test_a_drafter_whose_reading_costs_more_than_it_saves_sits_out_answers() -> None:
    worth, dear = Controller(Checks.timed({1: 0.003})), Controller(Checks.timed({1: 0.003}))
    assert all(answer(worth, costs_s=0.01)[0] for _ in range(12))
    assert 3 <= sum(answer(dear, costs_s=10.0)[0] for _ in range(12)) < 6


def test_the_first_draft_of_all_says_nothing_about_what_drafts_cost() -> None:
    assert answer(Controller(Checks.timed({1: 0.003})), 0.0, first_draft_s=0.2) == (True, 8)
    # and one far out later on is not the end of it either
    cost = Cost()
    for seconds in (1.0, 1.0, 1000.0):
        cost.learn(4, seconds)
    assert cost.of(4) < 2


def test_a_conversation_knows_what_drafts_cost_in_others() -> None:
    costs = Costs(Checks.timed({1: 0.002, 8: 0.003}))
    assert costs.controller("new").budget(16) == FIRST
    for name, seconds in (("dear", 0.02), ("cheap", 0.001)):
        costs.controller(name).draft.learn(FIRST, seconds)
    assert costs.controller("dear").budget(16) == 0
    assert costs.controller("cheap").budget(16) == FIRST
    # what is made while the verifier reads costs nothing, for as long as it does
    assert costs.controller("dear").budget(16, read_for_s=0.0) == 16
    costs.reading.learn(1, 0.02)
    assert costs.controller("dear").budget(16, read_for_s=0.0) == FIRST
    assert costs.controller("dear").budget(16, read_for_s=0.021) == 0


def test_guesses_that_cost_nothing_are_made_though_drafting_rests() -> None:
    controller = Controller(Checks.timed({1: 0.002, 16: 0.004}))
    for _ in range(30):
        asked = controller.budget(8)
        draft = controller.pruned(asked, Draft.chain(list(range(asked)), "toy", [0.9] * asked))
        controller.learn(asked, draft, Verdict(list(range(len(draft))), 1, "plain"), 0.2, 0.004 if asked else 0.002)
    assert controller.budget(8) == 0
    assert controller.budget(8, read_for_s=0.0) > 2


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


def test_what_is_sat_out_is_known_two_answers_ahead() -> None:
    controller, promised = Controller(Checks.timed({1: 0.003})), [True, True]
    for _ in range(40):
        took_part = answer(controller, costs_s=10.0)[0]
        assert promised.pop(0) or not took_part
        promised.append(controller.may_take_part_soon)
    assert not all(promised)
