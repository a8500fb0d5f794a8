"""A head that sees compressed visual rows: shapes, the gate, and that training reads what drafting reads."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_decoding import QUESTION, RULES, run
from test_heads import spoken
from toy_models import ToyVLM, random_decoder, tokenizer, toy_heads, toy_models, toy_window

from pipeline import drafters
from pipeline.acceptance import Greedy
from pipeline.drafters.none import NoneDrafter
from pipeline.drafters.specvlm import OPERATORS, SpecVlmHead, load_head, save_head
from pipeline.models import load_models
from pipeline.session import DecoderSession
from pipeline.training.fitting import Run, Words
from pipeline.training.heads import train_drafter
from pipeline.training.specvlm import drawn, read_behind, specvlm_loss
from pipeline.training.traces import Trace, collect_traces, load_traces
from pipeline.types import Prefix, Rule
from pipeline.vlms.mini import MiniVLM
from streams.types import InputError, Window

SIZE, VISUAL = 32, 45


def random_head() -> SpecVlmHead:
    torch.manual_seed(6)
    return SpecVlmHead(replace(random_decoder(1).config, layers=1)).eval().requires_grad_(False)


def only(operator: str) -> torch.Tensor:
    return torch.eye(len(OPERATORS))[OPERATORS.index(operator)][None]


@pytest.mark.parametrize(("operator", "rows"), [("none", [0, 0, 0, 0]), ("prune", [0, 1, 1, 4]),
                                                ("pool", [0, 1, 1, 4]), ("convolve", [0, 1, 7, 26]),
                                                ("resample", [0, 2, 2, 2])])
def test_operators_leave_few_rows(operator: str, rows: list[int]) -> None:
    head = random_head()
    found = [head.compress(operator, torch.randn(2, count, SIZE)) for count in (0, 1, 20, 77)]
    assert [list(part.shape) for part in found] == [[2, count, SIZE] for count in rows]


def test_operators_take_and_average_the_rows_they_say() -> None:
    head, visual = random_head(), torch.randn(1, VISUAL, SIZE)
    torch.testing.assert_close(head.compress("prune", visual)[0], visual[0, [0, 20, 40]])
    means = torch.stack([visual[0, :20].mean(0), visual[0, 20:40].mean(0), visual[0, 40:].mean(0)])
    torch.testing.assert_close(head.compress("pool", visual)[0], means)
    # what the resampler gathers does not depend on the order of the rows, what the convolution says does
    turned = visual.flip(1)
    torch.testing.assert_close(head.compress("resample", turned), head.compress("resample", visual))
    assert not torch.allclose(head.compress("convolve", turned), head.compress("convolve", visual))


def some_prefix() -> Prefix:
    generator = torch.Generator().manual_seed(2)
    return Prefix([5, 9, 8, 7], VISUAL, torch.randn(VISUAL + 3, 4, SIZE, generator=generator))


def first_guess(folder: Path, variant: str | None, seen: Prefix) -> torch.Tensor:
    """The state that the drafter guesses after the question."""
    drafter = drafters.create(f"specvlm:{variant}" if variant else "specvlm",
                              replace(toy_models(), heads=folder))
    drafter.start(toy_window(), QUESTION, Greedy(), lambda: seen)
    hidden = drafter.propose(1).hidden
    assert hidden is not None
    return hidden[0]


@pytest.mark.parametrize("operator", OPERATORS)
def test_training_sees_what_the_drafter_sees(operator: str) -> None:
    verifier = random_decoder(1)
    head = load_head(toy_heads() / "specvlm", verifier)
    seen = some_prefix()
    states = seen.hidden[None, :, -1]
    guessed = read_behind(head, states[:, :VISUAL], only(operator), verifier.embed(torch.tensor([seen.prompt])),
                          states[:, VISUAL - 1:])
    torch.testing.assert_close(guessed[0, -1], first_guess(toy_heads(), operator, seen), atol=1e-5, rtol=1e-4)


def test_every_operator_shows_the_head_something_else() -> None:
    seen = some_prefix()
    guesses = [first_guess(toy_heads(), operator, seen) for operator in OPERATORS]
    for i, one in enumerate(guesses):
        assert not any(torch.allclose(one, other, atol=1e-4) for other in guesses[:i])


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_gate_takes_the_operator_of_its_largest_score(operator: str, tmp_path: Path) -> None:
    head = load_head(toy_heads() / "specvlm", random_decoder(1))
    seen = some_prefix()
    question = seen.hidden[VISUAL - 1:, -1].mean(0)
    # scores are positive for this question where the weights point along it
    head.gate.weight.copy_(torch.stack([question * (name == operator) for name in OPERATORS]))
    head.gate.bias.zero_()
    assert head.choose(seen.hidden[VISUAL - 1:, -1]) == operator
    save_head(head, tmp_path / "specvlm")
    assert torch.equal(first_guess(tmp_path, None, seen), first_guess(tmp_path, operator, seen))


def test_half_of_a_batch_draws_from_all_alike() -> None:
    torch.manual_seed(0)
    shares = drawn(torch.tensor([[0.0, 0.0, 50.0, 0.0, 0.0]]).expand(400, -1))
    torch.testing.assert_close(shares.sum(1), torch.ones(400))
    assert shares[1::2, 2].min() > 0.99
    assert shares[::2].unique().tolist() == [0.0, 1.0]
    assert shares[::2].sum(0).min() > 20


def seen_traces(count: int = 12) -> list[Trace]:
    generator = torch.Generator().manual_seed(1)
    return [replace(trace, visual=torch.randn(VISUAL, SIZE, generator=generator).half()) for trace in spoken(count)]


def test_all_parts_learn_from_one_batch() -> None:
    verifier, head = random_decoder(1), random_head().requires_grad_(True)
    torch.manual_seed(1)
    losses = specvlm_loss(head, verifier)(seen_traces())
    assert set(losses) == {"states", "words"}
    sum(losses.values(), torch.zeros(())).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_gate_learns_which_operator_helps(operator: str) -> None:
    """What is true is what the head says behind one operator's rows: the scores must come to prefer that one."""
    head, generator = random_head(), torch.Generator().manual_seed(0)
    scores = torch.zeros(len(OPERATORS), requires_grad=True)
    optimizer = torch.optim.Adam([scores], 0.1)
    torch.manual_seed(0)
    scene = 2 * torch.randn(1, 1, SIZE, generator=generator)
    for _ in range(60):
        visual = scene + torch.randn(12, VISUAL, SIZE, generator=generator)
        words, features = torch.randn(2, 12, 5, SIZE, generator=generator)
        true = read_behind(head, visual, only(operator).expand(12, -1), words, features)
        guessed = read_behind(head, visual, drawn(scores.expand(12, -1)), words, features)
        optimizer.zero_grad()
        (guessed - true).square().mean().backward()
        optimizer.step()
    assert OPERATORS[int(scores.argmax())] == operator


def test_traces_without_visual_rows_are_refused(tmp_path: Path) -> None:
    bare = [replace(trace, visual=None) for trace in spoken(4)]
    with pytest.raises(InputError, match="hold no visual rows"):
        list(train_drafter("specvlm", Words(random_decoder(1), torch.device("cpu")), bare, Run(1, tmp_path / "one")))


def test_a_head_of_another_width_is_refused() -> None:
    with pytest.raises(InputError, match="made for states of 32 numbers, the verifier has 16"):
        load_head(toy_heads() / "specvlm", random_decoder(2, size=16))


class SeeingVLM(ToyVLM):
    """A toy whose window is many rows."""

    def open(self, window: Window, prompt: str) -> DecoderSession:
        view = torch.randn(VISUAL, SIZE, generator=torch.Generator().manual_seed(window.start_us))
        return DecoderSession(self.decoder, lambda: view, tokenizer().prompt(prompt), capacity=390, taps=self.taps)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("variant", ["", *(f":{operator}" for operator in OPERATORS)])
def test_the_text_is_the_verifiers_whatever_is_seen(variant: str, rule: Rule) -> None:
    models = replace(toy_models(), rgb=SeeingVLM(1))
    drafter = drafters.create(f"specvlm{variant}", models)
    assert run(drafter, rule, models=models)[0] == run(NoneDrafter(), rule, models=models)[0]


def test_traces_hold_the_visual_rows_of_a_scene_once(tmp_path: Path) -> None:
    models = load_models(torch.device("cpu"))
    assert isinstance(models.rgb, MiniVLM)
    assert isinstance(models.event, MiniVLM)
    list(collect_traces(models.rgb, models.event, 1, tmp_path))
    file = tmp_path / "traces-0000.pt"
    plain = torch.load(file, weights_only=True)
    assert len(plain) > 2
    assert len({answer["visual"].data_ptr() for answer in plain}) == 1
    held_out = load_traces(tmp_path)[1]
    for trace in held_out:
        assert trace.visual is not None
        # the last visual row is the one that led to the first token of the question
        torch.testing.assert_close(trace.visual[-1], trace.states[0, -1], atol=2e-3, rtol=1e-2)
    for answer in plain:
        answer.pop("visual")
    torch.save(plain, file)
    assert [trace.visual for trace in load_traces(tmp_path)[1]] == [None] * len(plain)


def test_what_is_no_operator_is_refused() -> None:
    with pytest.raises(InputError, match="use none, prune, pool, convolve, resample or the folder of a checkpoint"):
        drafters.create("specvlm:maxpool", toy_models())
