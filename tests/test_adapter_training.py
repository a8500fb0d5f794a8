"""Training of the adapters: on what the verifier said, through peft for L6, measured on every held-out word."""

import json
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import peft
import pytest
import torch
from toy_models import random_decoder, tokenizer, told, toy_models

from app.compose import ModelOptions
from app.training import DrafterOptions, train_drafter
from pipeline import drafters
from pipeline.adapters import LEVELS, BottleneckAdapter, LoraAdapter, new_adapter
from pipeline.training.adapters import event_states, measure, take_lora, train_adapter, with_lora
from pipeline.training.fitting import STAGES, Run, Words, stages_of
from pipeline.training.traces import Trace, window_traces
from pipeline.vlms.mini import load
from streams.scenes.generate import random_scene
from streams.scenes.render import render_window
from streams.types import InputError, Resolution

QUESTION = "What is happening?"
EVENT, SIZE, CPU = 16, 32, torch.device("cpu")


@lru_cache(1)
def spoken() -> list[Trace]:
    """The toy pair's states along answers of random words."""
    generator = torch.Generator().manual_seed(0)
    return [told(torch.randint(4, tokenizer().size, (9 + number % 3,), generator=generator).tolist())
            for number in range(10)]


def test_l6_merged_is_what_peft_computes() -> None:
    event = random_decoder(2, EVENT)
    adapter = new_adapter("L6", event.config, random_decoder(1).config)
    assert isinstance(adapter, LoraAdapter)
    changed = with_lora(event, adapter).eval()
    layers = [module for module in changed.modules() if isinstance(module, peft.tuners.lora.LoraLayer)]
    assert len(layers) == 2 * event.config.layers
    for name, parameter in changed.named_parameters():
        assert parameter.requires_grad == ("lora_" in name)
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    take_lora(adapter, changed)
    seen = [told(list(range(5, 5 + count))) for count in (4, 9)]
    with torch.inference_mode():
        plain, wanted, merged = (event_states(one, seen) for one in (event, changed, adapter.merged(event)))
    torch.testing.assert_close(merged, wanted, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(merged, plain, atol=1e-2)
    torch.testing.assert_close(plain[1, :9], seen[1].event, atol=1e-5, rtol=1e-4)
    wider = random_decoder(2, SIZE)
    with pytest.raises(InputError, match="use an adapter trained for this pair"):
        adapter.merged(wider)


@pytest.mark.parametrize("level", LEVELS)
def test_training_lowers_the_loss_and_leaves_a_drafter(level: str, tmp_path: Path) -> None:
    models = toy_models()
    assert models.event is not None
    assert models.event.decoder is not None
    assert models.rgb.decoder is not None
    before = deepcopy(models.event.decoder.state_dict())
    event, words, parts = models.event.decoder, Words(models.rgb.decoder, CPU), (spoken()[2:], spoken()[:2])
    run = Run(25, tmp_path / "trained")
    progress = list(train_adapter(level, event, words, *parts, run))
    totals = [sum(p.losses.values()) for p in progress]
    assert totals[-1] < totals[0]
    assert all(torch.equal(models.event.decoder.state_dict()[name], value) for name, value in before.items())
    config = json.loads((run.folder / "config.json").read_text())
    stages = {json.loads(path.read_text())["step"]: json.loads(path.read_text())
              for path in stages_of(run.folder).glob("*/config.json")}
    assert sorted(stages) == [round(share * run.steps) for share in STAGES]
    assert stages[25] == config
    torch.manual_seed(0)
    untrained, changes = new_adapter(level, event.config, words.config), event if level == "L6" else None
    assert stages[0] == config | {"step": 0, "epochs": 0.0} | measure(untrained, changes, words, spoken()[:2])
    assert config["held_out_cosine_mean"] > stages[0]["held_out_cosine_mean"]
    assert 0 <= config["held_out_top1"] <= 1
    assert drafters.create(f"adapter:{tmp_path / 'trained'}", models).parameters > 0


def test_a_resumed_training_keeps_its_stages_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.training.loop.CHECKPOINT_EVERY_S", 0.0)
    words, parts = Words(random_decoder(1), CPU), (spoken()[2:], spoken()[:2])

    def kept(folder: Path, kill_after: int | None) -> dict[str, bytes]:
        for progress in train_adapter("L1", random_decoder(2, EVENT), words, *parts, Run(8, folder)):
            if progress.step == kill_after:
                break
        return {path.parent.name: path.read_bytes() for path in stages_of(folder).glob("*/model.safetensors")}

    whole = kept(tmp_path / "whole", None)
    assert sorted(whole) == ["step-0", "step-1", "step-2", "step-4", "step-8"]
    assert set(kept(tmp_path / "killed", 3)) == {"step-0", "step-1", "step-2"}
    assert kept(tmp_path / "killed", None) == whole
    assert kept(tmp_path / "killed", None) == whole


def test_what_training_lacks_is_said(tmp_path: Path) -> None:
    pair, run = (random_decoder(2, EVENT), Words(random_decoder(1), CPU)), Run(1, tmp_path / "one")
    blind, alone = ([replace(t, **lacks) for t in spoken()] for lacks in ({"event_visual": None}, {"event": None}))
    with pytest.raises(InputError, match="no adapter 'L7'; use one of L1"):
        next(train_adapter("L7", *pair, spoken(), spoken(), run))
    with pytest.raises(InputError, match="at least --scenes 2"):
        next(train_adapter("L4", *pair, [], spoken(), run))
    with pytest.raises(InputError, match="no rows that the event VLM saw"):
        next(train_adapter("L6", *pair, blind, blind, run))
    with pytest.raises(InputError, match="this one shows none; train adapter:L4"):
        next(train_adapter("L6", None, pair[1], spoken(), spoken(), run))
    with pytest.raises(InputError, match="only adapter:B1 can learn from them"):
        next(train_adapter("L4", None, pair[1], alone, alone, run))
    assert len(list(train_adapter("B1", None, pair[1], alone, alone, run))) == 1


def test_held_out_facts_count_every_word() -> None:
    """An adapter that is exactly right has cosine 1, and top-1 is the share of words that the verifier would say."""
    # D2: the original judged its adapters by the last part of every chunk, 4 % of the data
    verifier = Words(random_decoder(1), CPU)
    seen = told(list(range(5, 13)))
    states = seen.states[seen.prompt:, -1]
    words = verifier.head(states).argmax(-1).tolist()
    right = replace(seen, tokens=[*seen.tokens[:seen.prompt], *words], event=states)
    wrong = replace(right, event=-right.event)
    plain = BottleneckAdapter(SIZE, SIZE, 4).eval()
    plain.norm_out = torch.nn.Identity()  # type: ignore[assignment]
    assert measure(plain, None, verifier, [right]) == {"held_out_cosine_mean": 1.0, "held_out_top1": 1.0}
    facts = measure(plain, None, verifier, [right, wrong])
    assert facts == {"held_out_cosine_mean": 0.0, "held_out_top1": 0.5}


def test_what_l6_reads_in_training_is_what_the_event_vlm_reads() -> None:
    """The rows kept with a trace lead the event decoder to the states that its session gave."""
    rgb, event = load("rgb"), load("event")
    window = render_window(random_scene(3), Resolution(173, 130))
    seen, same = window_traces(rgb, event, window, [(QUESTION, []), (QUESTION, rgb.tokenizer.encode(" A car."))])
    assert seen.event is not None
    with torch.inference_mode():
        states = event_states(event.model.decoder, [seen])
    # both were kept in 16 bit
    torch.testing.assert_close(states[0], seen.event.float(), atol=2e-2, rtol=1e-2)
    assert (same.tokens, same.event_prompt) == (seen.tokens, seen.tokens[:seen.prompt])


def test_levels_that_can_be_trained_are_said(tmp_path: Path) -> None:
    for name in ("adapter", "adapter:L9", "none"):
        with pytest.raises(InputError, match=r"use mini, all or one of .*adapter:L1, .*adapter:L6"):
            train_drafter(name, DrafterOptions(tmp_path, ModelOptions(), 1, True, 2))
