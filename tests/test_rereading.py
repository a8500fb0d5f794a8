"""A second question about a window reads only its words, and says what it would have said."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from toy_models import random_decoder

from pipeline import native, rereading
from pipeline.decoder import FINAL, Decoder
from pipeline.session import DecoderSession
from pipeline.types import Draft

SEEN = torch.randn(12, 64, generator=torch.Generator().manual_seed(5))


@pytest.fixture(params=["torch", "compiled"], autouse=True)
def compiled(request: pytest.FixtureRequest) -> Iterator[bool]:
    if request.param == "compiled" and not native.switch(True):
        pytest.skip("no C compiler")
    yield request.param == "compiled"
    native.switch(False)


def counting(decoder: Decoder) -> list[int]:
    """Rows of every pass from now on."""
    rows, forward = list[int](), decoder.forward

    def counted(x: torch.Tensor, *rest: object, **named: object) -> object:
        rows.append(x.shape[1])
        return forward(x, *rest, **named)  # type: ignore[arg-type]

    decoder.forward = counted  # type: ignore[method-assign]
    return rows


def asked(decoder: Decoder, prompt: list[int], seen: torch.Tensor, taps: tuple[int, ...] = (1, FINAL),
          ) -> tuple[DecoderSession, torch.Tensor]:
    """A session that has read, and its logits after a draft."""
    session = DecoderSession(decoder, lambda: seen, prompt, capacity=64, taps=taps)
    session.prefill()
    return session, session.score(Draft([5, 6, 7], [-1, 0, -1], ["t"] * 3)).logits


@pytest.fixture
def decoder() -> Decoder:
    return random_decoder(3, size=64, layers=3, vocabulary=80)


@pytest.mark.parametrize("prompt", [[1, 9, 8, 3], [1, 4], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7]])
def test_what_is_taken_over_changes_nothing(decoder: Decoder, compiled: bool, prompt: list[int]) -> None:
    fresh, expected = asked(random_decoder(3, size=64, layers=3, vocabulary=80), prompt, SEEN)
    first, _ = asked(decoder, [1, 2, 3, 4, 5], SEEN)
    rows = counting(decoder)
    again, logits = asked(decoder, prompt, SEEN)
    common = sum(a == b for a, b in zip(prompt, [1, 2, 3, 4, 5], strict=False))
    assert rows == [len(prompt) - min(common, 4, len(prompt) - 1), 4]  # the last row of a prompt is its answer's own
    tolerance = 0.0 if compiled else 2e-5
    torch.testing.assert_close(logits, expected, atol=tolerance, rtol=0.0)
    torch.testing.assert_close(again.prefix.hidden, fresh.prefix.hidden, atol=tolerance, rtol=0.0)
    assert (again.prefix.visual, again.prefix.prompt) == (fresh.prefix.visual, fresh.prefix.prompt)
    assert first.prefix.cosines is not None
    assert len(again.prefix.cosines or ()) == 3


def test_an_answer_does_not_reach_into_what_was_kept(decoder: Decoder) -> None:
    session, expected = asked(decoder, [1, 2, 3], SEEN)
    session.extend([40, 41, 42])
    session.score(Draft.chain([50, 51], "t"))
    session.rewind(0)
    session.extend([60])
    session.score(Draft.chain([50, 51], "t"))
    assert torch.equal(asked(decoder, [1, 2, 3], SEEN)[1], asked(decoder, [1, 2, 3], SEEN)[1])
    torch.testing.assert_close(asked(decoder, [1, 2, 3], SEEN)[1], expected, atol=2e-5, rtol=0.0)


def test_guesses_of_an_answer_that_was_broken_off_are_nobody_elses(decoder: Decoder, compiled: bool) -> None:
    _, expected = asked(random_decoder(3, size=64, layers=3, vocabulary=80), [1, 2, 3, 4, 5], SEEN)
    broken = DecoderSession(decoder, lambda: SEEN, [1, 2, 3], capacity=64, taps=(1, FINAL))
    broken.prefill()
    broken.ahead({0}, lambda _: None)  # writes with layers left out, and no check comes after it
    _, logits = asked(decoder, [1, 2, 3, 4, 5], SEEN)
    torch.testing.assert_close(logits, expected, atol=0.0 if compiled else 2e-5, rtol=0.0)


def test_a_question_that_is_repeated_leaves_the_other_window_known(decoder: Decoder) -> None:
    rows = counting(decoder)
    for seen in (SEEN + 1, SEEN, SEEN, SEEN, SEEN + 1):
        asked(decoder, [1, 2, 3], seen)
    assert rows == [15, 4, 15, 4, 1, 4, 1, 4, 1, 4]


def test_other_windows_other_weights_and_other_taps_are_read_anew(decoder: Decoder) -> None:
    asked(decoder, [1, 2, 3], SEEN)
    rows = counting(decoder)
    asked(decoder, [1, 2, 3], SEEN + 1)
    asked(decoder, [1, 2, 3], SEEN, taps=(FINAL,))
    decoder.layers[1].down.weight.mul_(1)
    asked(decoder, [1, 2, 3], SEEN)
    assert rows == [15, 4] * 3


def test_the_last_two_windows_are_remembered(decoder: Decoder) -> None:
    rows = counting(decoder)
    for seen in (SEEN, SEEN + 1, SEEN, SEEN + 1, SEEN + 2, SEEN):
        asked(decoder, [1, 2, 3], seen)
    assert rows == [15, 4, 15, 4, 1, 4, 1, 4, 15, 4, 15, 4]


def test_readings_that_need_too_much_memory_are_let_go(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    _, store = asked(decoder, [1, 2, 3], SEEN), rereading._readings[decoder][0]
    rows = counting(decoder)
    monkeypatch.setattr(rereading, "MOST_BYTES", store.keys.nbytes + store.values.nbytes)
    for seen in (SEEN, SEEN + 1, SEEN):  # one has room
        asked(decoder, [1, 2, 3], seen)
    monkeypatch.setattr(rereading, "MOST_BYTES", 100)
    for seen in (SEEN + 2, SEEN + 2):
        asked(decoder, [1, 2, 3], seen)
    assert rows == [1, 4, 15, 4, 15, 4, 15, 4, 15, 4]
