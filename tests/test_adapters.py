"""Adapters: a level drafts what it was trained to guess, and looks at nothing that it could not know."""

import json
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from toy_models import random_decoder, told, toy_heads, toy_models, toy_window

from pipeline import drafters
from pipeline.acceptance import Greedy, Sampling
from pipeline.adapters import (
    LEVELS,
    Adapter,
    BottleneckAdapter,
    LoraAdapter,
    load_adapter,
    new_adapter,
    save_adapter,
)
from pipeline.captioner import Captioner
from pipeline.decoding import Ending, Limits, decode
from pipeline.drafters.adapter import AdapterDrafter
from pipeline.drafters.none import NoneDrafter
from pipeline.models import WEIGHTS, Models
from pipeline.training.adapters import (
    OWN_GUESSES,
    answers,
    event_states,
    guesses,
)
from pipeline.types import Caption, Draft, Rule, Scores, Verdict
from streams.types import InputError

QUESTION = "What is happening?"
LIMITS = Limits(max_new_tokens=24, budget=4)
EVENT, SIZE = 16, 32


def run(drafter: object, rule: Rule, budget: int = 4, models: Models | None = None) -> list[int]:
    models = models or toy_models()
    *_, ending = decode(models.rgb.open(toy_window(), QUESTION), drafter, rule, models.tokenizer,  # type: ignore[arg-type]
                        toy_window(), QUESTION, replace(LIMITS, budget=budget))
    assert isinstance(ending, Ending)
    return ending.tokens


@pytest.mark.parametrize("rule", [Greedy(), Sampling(0.7, seed=3)], ids=["greedy", "sampling"])
@pytest.mark.parametrize("budget", [1, 4])
@pytest.mark.parametrize("level", LEVELS)
def test_every_level_writes_the_plain_text(level: str, budget: int, rule: Rule) -> None:
    models = toy_models()
    assert run(drafters.create(f"adapter:{level}", models), rule, budget) == run(NoneDrafter(), rule, budget)


@dataclass
class Round:
    """A draft, what was known of the answer before it, and what became of it."""

    known: int
    draft: Draft
    scores: Scores
    verdict: Verdict


def watched(drafter: AdapterDrafter, rule: Rule) -> tuple[list[int], list[Round]]:
    """The answer that a drafter helped to write, and its rounds."""
    rounds, known, observe = list[Round](), 0, drafter.observe

    def record(draft: Draft, scores: Scores, verdict: Verdict) -> None:
        nonlocal known
        rounds.append(Round(known, draft, scores, verdict))
        known += len(verdict.path) + 1
        observe(draft, scores, verdict)

    drafter.observe = record  # type: ignore[method-assign]
    return run(drafter, rule), rounds


def toy_adapter(level: str) -> Adapter:
    return load_adapter(toy_heads() / f"adapter-{level}")


@torch.inference_mode()
def whole(level: str, answer: list[int]) -> list[torch.Tensor]:
    """What training computes for an answer: aligned states [T, D] after 0, 1, ... guesses of the level's own."""
    adapter, models = toy_adapter(level), toy_models()
    assert models.event is not None
    assert models.event.decoder is not None
    assert models.rgb.decoder is not None
    seen = told(answer)
    changed = event_states(adapter.merged(models.event.decoder), [seen]) if isinstance(adapter, LoraAdapter) else None
    read = answers([seen], models.rgb.decoder, adapter.reads, changed).inputs
    return [aligned[0] for aligned in guesses(adapter, read)]


@pytest.mark.parametrize("level", LEVELS)
def test_a_draft_is_what_training_computes_for_the_same_words(level: str) -> None:
    """D8: the original trained with another mask, and other lengths, than it used."""
    drafter = drafters.create(f"adapter:{level}", toy_models())
    assert isinstance(drafter, AdapterDrafter)
    answer, rounds = watched(drafter, Sampling(0.7, seed=3))
    compared = 0
    for one in (one for one in rounds if len(one.draft)):
        assert one.draft.hidden is not None
        # each round by itself: what was guessed may have been rejected
        made = whole(level, [*answer[:one.known], *one.draft.tokens])
        # a level that does not go on from its own guesses computes all of a draft in one go
        for node, state in enumerate(one.draft.hidden[:OWN_GUESSES if len(made) > 1 else None]):
            aligned = made[min(node, len(made) - 1)]
            torch.testing.assert_close(state, aligned[one.known + node], atol=2e-5, rtol=1e-4)
            compared += 1
    assert compared > 2 * len(rounds)


def random_inputs(length: int = 7, event: int = EVENT) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {name: torch.randn(1, length, size, generator=generator)
            for name, size in (("event", event), ("words", SIZE), ("before", SIZE))}


def read(adapter: Adapter, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        return adapter.follow(*(inputs[name] for name in adapter.reads))[0][0]


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_later_changes_what_was_said(level: str) -> None:
    adapter, inputs = toy_adapter(level), random_inputs()
    first = read(adapter, inputs)
    for name in adapter.reads:
        changed = {key: value.clone() for key, value in inputs.items()}
        changed[name][:, 4] += 1
        second = read(adapter, changed)
        assert torch.equal(second[:4], first[:4])
        assert not torch.allclose(second[4], first[4], atol=1e-3)


@pytest.mark.parametrize("level", LEVELS)
def test_the_answer_may_be_read_in_pieces(level: str) -> None:
    adapter, inputs = toy_adapter(level), random_inputs()
    past, pieces = None, []
    for start, end in ((0, 3), (3, 4), (4, 7)):
        aligned, past = adapter.follow(*(inputs[name][:, start:end] for name in adapter.reads), past=past)
        pieces.append(aligned[0])
    torch.testing.assert_close(torch.cat(pieces), read(adapter, inputs), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("level", ["B1", "L5F"])
def test_the_state_that_is_guessed_is_never_seen(level: str) -> None:
    """In training: the verifier's state at a place changes no guess of it. In a draft: there is none yet to see."""
    answer = run(NoneDrafter(), Greedy())
    seen, adapter, verifier = told(answer), toy_adapter(level), random_decoder(1)
    first = answers([seen], verifier, adapter.reads)
    place = 5
    changed = seen.states.clone()
    changed[seen.prompt + place] += 1
    second = answers([replace(seen, states=changed)], verifier, adapter.reads)
    assert not torch.allclose(first.states[0, place], second.states[0, place])
    with torch.inference_mode():
        for before, after in zip(guesses(adapter, first.inputs), guesses(adapter, second.inputs), strict=True):
            assert torch.equal(before[0, :place + 1], after[0, :place + 1])
            assert not torch.allclose(before[0, place + 1:], after[0, place + 1:], atol=1e-4)


def test_b1_needs_no_event_vlm_and_costs_only_itself() -> None:
    models = replace(toy_models(), event=None)
    drafter = drafters.create("adapter:B1", models)
    assert drafter.parameters == sum(p.numel() for p in toy_adapter("B1").parameters())
    assert run(drafter, Greedy()) == run(NoneDrafter(), Greedy())
    with pytest.raises(InputError, match="needs an event VLM"):
        drafters.create("adapter:L4", models)


def test_l6_changes_a_copy_of_the_event_vlm() -> None:
    models = toy_models()
    assert models.event is not None
    assert models.event.decoder is not None
    before = deepcopy(models.event.decoder.state_dict())
    drafter = drafters.create("adapter:L6", models)
    run(drafter, Greedy(), models=models)
    assert isinstance(drafter, AdapterDrafter)
    assert drafter.event is not None
    assert drafter.event.decoder is not None
    after = models.event.decoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    changed = {name for name, value in drafter.event.decoder.state_dict().items()
               if not torch.equal(value, before[name])}
    assert changed == {f"layers.{i}.{name}.weight" for i in range(2) for name in ("qkv", "out")}
    assert drafter.parameters == models.event.parameters + EVENT * SIZE + SIZE


@pytest.mark.parametrize("event", [EVENT, SIZE])
@pytest.mark.parametrize("level", LEVELS)
def test_a_saved_level_loads_back_equal(level: str, event: int, tmp_path: Path) -> None:
    torch.manual_seed(1)
    adapter = new_adapter(level, random_decoder(2, event).config, random_decoder(1).config).half().float().eval()
    assert any(name.startswith("project.") for name in adapter.state_dict()) == (event != SIZE and level != "B1")
    save_adapter(adapter, tmp_path / "a", held_out_cosine_mean=0.5)
    again, inputs = load_adapter(tmp_path / "a"), random_inputs(event=event)
    assert again.name == level
    assert torch.equal(read(again, inputs), read(adapter, inputs))


def test_the_adapter_that_ships_is_l1() -> None:
    adapter = load_adapter(WEIGHTS / "adapter-L1")
    assert isinstance(adapter, BottleneckAdapter)
    assert adapter(torch.zeros(3, 160)).shape == (3, 320)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="parafovea train adapter:L4"):
        drafters.create("adapter:L4", replace(toy_models(), heads=tmp_path))
    with pytest.raises(InputError, match="use L1, L2, L3, L4, L5, L5F, B1, L6 or the folder"):
        drafters.create("adapter:L7", toy_models())
    adapter = new_adapter("L4", random_decoder(2, 8).config, random_decoder(1).config)
    save_adapter(adapter, tmp_path / "a")
    with pytest.raises(InputError, match="of 8 numbers to 32, this pair needs 16 to 32"):
        drafters.create(f"adapter:{tmp_path / 'a'}", toy_models())
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    (tmp_path / "a" / "config.json").write_text(json.dumps(config | {"variant": "L9"}))
    with pytest.raises(InputError, match="adapter L9"):
        load_adapter(tmp_path / "a")
    del config["heads"]
    (tmp_path / "a" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="does not say heads"):
        load_adapter(tmp_path / "a")


@pytest.mark.parametrize(("drafter", "through"), [
    ("adapter:L4", "L4"), ("adapter:B1", "B1"), ("vlm", "L1"), ("eagle", "own"), ("mix:vlm+eagle", "L1+own"),
    ("medusa", None)])
def test_a_caption_says_what_its_cos_sim_came_through(drafter: str, through: str | None) -> None:
    *_, caption = Captioner(toy_models()).ask(toy_window(), QUESTION, drafter, limits=LIMITS)
    assert isinstance(caption, Caption)
    assert caption.cos_adapter == through
