"""Memory of what was said: what is recalled, what never is, and that it does not grow without end."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_models import tokenizer, toy_models, toy_window

from pipeline import drafters
from pipeline.acceptance import Greedy
from pipeline.drafters import recall
from pipeline.drafters.recall import RecallDrafter
from pipeline.ngrams import Alignment, NGrams, following
from pipeline.types import Draft, Prefix, Scores, Verdict
from streams.types import InputError

QUESTION = "What is happening?"
FIRST = 10
"""Tokens below are special, or bytes."""


def prefix() -> Prefix:
    raise AssertionError("recall does not wait for the verifier")


def hear(drafter: RecallDrafter, tokens: list[int], question: str = QUESTION) -> None:
    """Begin an answer and let the verifier say its first tokens, each without a guess."""
    drafter.start(toy_window(), question, Greedy(), prefix)
    for token in tokens:
        drafter.observe(Draft.none(), Scores(torch.zeros(1, 9), torch.zeros(1, 1, 4)), Verdict([], token, "plain"))


def told(*answers: list[int], question: str = QUESTION) -> RecallDrafter:
    drafter = drafters.create("recall:empty", toy_models())
    assert isinstance(drafter, RecallDrafter)
    for answer in answers:
        hear(drafter, answer, question)
        drafter.finish(answer)
    return drafter


def trunk(draft: Draft) -> list[int]:
    """The likeliest guess at every place."""
    return draft.trunk().tokens


def test_an_answer_begins_like_the_last_one() -> None:
    drafter = told(list(range(20, 30)), *[list(range(40, 50))] * 2)
    hear(drafter, [])
    assert trunk(drafter.propose(6)) == list(range(40, 46))


def test_after_a_word_that_differs_the_last_answer_goes_on() -> None:
    # 30 is followed by three things, lately by 25: only the place in the last answer says which
    last = [20, 21, 30, 22, 23, 30, 24, 26, 30, 25]
    drafter = told(last, last, last)
    hear(drafter, [20, 99, 30])
    assert trunk(drafter.propose(4))[:2] == [22, 23]
    # one word more and one less than before do not lose the place either
    hear(drafter, [20, 98, 21, 30])
    assert trunk(drafter.propose(4))[:2] == [22, 23]
    hear(drafter, [21, 97, 30])
    assert trunk(drafter.propose(4))[:2] == [22, 23]


def test_where_earlier_answers_differed_both_are_guessed() -> None:
    drafter = told([20, 21, 22, 23], [20, 31, 32, 33])
    hear(drafter, [20])
    draft = drafter.propose(8)
    roots = [token for token, parent in zip(draft.tokens, draft.parents, strict=True) if parent < 0]
    assert roots == [31, 21]
    assert draft.probs is not None
    assert all(chance is not None and 0 < chance <= 1 for chance in draft.probs)
    assert len(set(zip(draft.parents, draft.tokens, strict=True))) == len(draft)


def test_the_likeliest_guesses_fill_the_budget() -> None:
    drafter = told(*([20, 21, 22 + number, 40, 41] for number in range(4)))
    hear(drafter, [20])
    small, large = drafter.propose(2), drafter.propose(8)
    assert len(small) == 2
    assert (small.tokens, small.parents) == (large.tokens[:2], large.parents[:2])


def test_specials_are_never_guessed() -> None:
    special = set(tokenizer().specials.values())
    line = [20, tokenizer().eos, 21, *sorted(special), 22, 23]
    drafter = told(line, line, [*line, 24])
    for count in range(len(line) + 1):
        hear(drafter, line[:count])
        assert not special & set(drafter.propose(16).tokens)
    nothing = told()
    hear(nothing, [])
    assert len(nothing.propose(5)) == 0


def test_the_memory_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "ANSWERS", 8)
    monkeypatch.setattr(recall, "QUESTIONS", 3)
    drafter = told()
    for number in range(40):
        start = FIRST + 20 * number
        hear(drafter, list(range(start, start + 5)), f"Question {number}?")
        drafter.finish(list(range(start, start + 5)))
    assert len(drafter._last) == 3
    for context, known in (((FIRST + 20 * 39,), True), ((FIRST + 20 * 36,), True), ((FIRST + 20 * 30,), False)):
        found, _ = following([drafter._old, drafter._young], context)
        assert bool(found) == known


def test_longer_contexts_and_later_words_count_more() -> None:
    said = NGrams()
    said.add([1, 2, 3, 4])
    said.add([9, 2, 3, 5])
    assert max((chances := following([said], (1, 2, 3))[0]), key=lambda token: chances[token]) == 4
    assert max((chances := following([said], (7, 2, 3))[0]), key=lambda token: chances[token]) == 5
    assert sum(following([said], (1, 2, 3))[0].values()) <= 1
    assert following([said], (77,)) == ({}, 0)


def test_an_alignment_has_the_fewest_edits() -> None:
    place = Alignment.begin([1, 2, 3, 4])
    for token, wanted in ((1, 2), (8, 3), (3, 4), (4, None)):
        place = place.then(token)
        assert place.next == wanted
    assert min(place.edits) == 1


def test_what_was_said_elsewhere_is_kept_and_begun_with(tmp_path: Path) -> None:
    models = toy_models()
    question = models.tokenizer.prompt(QUESTION)
    recall.keep([([*question, 50, 51, 52, 53], len(question))] * 2, models.tokenizer.size, tmp_path / "recall")
    drafter = drafters.create("recall", replace(models, heads=tmp_path))
    drafter.start(toy_window(), QUESTION, Greedy(), prefix)
    assert trunk(drafter.propose(4)) == [50, 51, 52, 53]
    assert drafters.create(f"recall:{tmp_path / 'recall'}", models).propose is not None


def test_answers_in_other_words_are_not_taken(tmp_path: Path) -> None:
    models = toy_models()
    recall.keep([([20, 21, 22], 1)], models.tokenizer.size + 1, tmp_path / "recall")
    with pytest.raises(InputError, match="no answers in the words of toy-1"):
        drafters.create(f"recall:{tmp_path / 'recall'}", models)
    drafter = drafters.create("recall", replace(models, heads=tmp_path))
    drafter.start(toy_window(), QUESTION, Greedy(), prefix)
    assert len(drafter.propose(4)) == 0
