"""Training: losses fall, a killed run goes on where it stopped, checkpoints survive the round trip."""

import json
import random
from pathlib import Path

import pytest
import torch
from toy_models import tokenizer
from transformers import LlamaForCausalLM

from pipeline.adapters import BottleneckAdapter, load_adapter, save_adapter
from pipeline.mini import VISUAL_TOKENS, MiniModel, load_mini, save_mini
from pipeline.text import Tokenizer
from pipeline.training import mini
from pipeline.training.alignment import read_along, train_adapter, write
from pipeline.training.language import (
    choose_questions,
    language_losses,
    oracle_slots,
    pack_questions,
    train_tokenizer,
)
from pipeline.training.loop import Schedule, train
from pipeline.training.mini import SMOKE, Sizes, decoder_config, grow, new_side, train_side, truth_of, vision_config
from pipeline.training.questions import KINDS, ask
from pipeline.training.vision import losses, targets
from pipeline.vision import SLOTS, SlotEncoder
from pipeline.vlms.mini import load
from streams.scenes.render import render_window
from streams.scenes.world import random_scene
from streams.types import InputError, Resolution

TINY = Sizes(rgb_eye=2, event_eye=2, oracle=2, real=2, deep=2, event_oracle=2, event_real=2, cached=32,
             adapter_scenes=2)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mini, "EYE_BATCH", 2)
    monkeypatch.setattr(mini, "LANGUAGE_BATCH", 2)
    monkeypatch.setattr(mini, "train_tokenizer", lambda path: train_tokenizer(path, scenes=30))


def test_every_kind_of_question_is_asked_and_answered() -> None:
    rng = random.Random(0)
    for kind in KINDS:
        answers = {qa.answer for seed in range(60) if (qa := ask(kind, truth_of(seed), rng))}
        assert len(answers) >= 2, kind


def test_stretches_of_an_answer_tokenise_like_the_whole() -> None:
    rng = random.Random(1)
    for seed in range(30):
        for qa in choose_questions(truth_of(seed), rng, captions=True):
            pieces = [token for text, _ in qa.parts for token in tokenizer().encode(text)]
            assert pieces == tokenizer().encode(" " + qa.answer)


def test_pointing_targets_name_the_object_being_talked_about() -> None:
    truth = next(t for seed in range(100) if len((t := truth_of(seed)).objects) == 3)
    qa = ask("detailed", truth, random.Random(0))
    assert qa is not None
    for text, about in qa.parts:
        if about is not None:
            assert truth.objects[about].cls in text


def test_any_text_can_be_encoded() -> None:
    for text in ("Was ist das?", "犬はどこ 🐕", "x" * 50, "\x00\x07"):
        assert b"".join(tokenizer().bytes_of(t) for t in tokenizer().encode(text)).decode() == text


def fall(parts: list[dict[str, torch.Tensor]], first: int = 3) -> bool:
    totals = [sum(value.item() for value in p.values()) for p in parts]
    return sum(totals[-first:]) < 0.8 * sum(totals[:first])


def test_the_eyes_loss_falls() -> None:
    torch.manual_seed(0)
    eye = SlotEncoder(vision_config("event"))
    truths = [truth_of(seed) for seed in range(8)]
    pixels, optimizer, seen = torch.randn(8, 22, 128, 128), torch.optim.AdamW(eye.parameters(), 3e-3), []
    for _ in range(8):
        parts = losses(eye(pixels), targets(truths), colour=False)
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
        seen.append(parts)
    assert fall(seen)


def test_the_decoders_loss_falls_and_points() -> None:
    torch.manual_seed(0)
    rng, truths = random.Random(0), [truth_of(seed) for seed in range(3)]
    side = new_side("event", tokenizer(), 2)
    pack = pack_questions(tokenizer(), [choose_questions(t, rng, captions=True) for t in truths])
    slots = oracle_slots(truths, colour=False, features=128)
    optimizer, seen = torch.optim.AdamW(side.parameters(), 3e-3), []
    for _ in range(10):
        parts = language_losses(side, slots, pack)
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
        seen.append(parts)
    assert fall(seen)
    assert seen[-1]["pointing"] < seen[0]["pointing"]


def test_questions_in_one_row_do_not_see_each_other() -> None:
    rng, truth = random.Random(2), truth_of(12)
    questions = choose_questions(truth, rng, captions=True)
    side = new_side("event", tokenizer(), 2).eval()
    slots = oracle_slots([truth], colour=False, features=128)
    together, alone = pack_questions(tokenizer(), [questions]), pack_questions(tokenizer(), [questions[1:2]])
    with torch.inference_mode():
        states = side(slots, together)[0][0, VISUAL_TOKENS:][together.segments[0] == 2]
        torch.testing.assert_close(states, side(slots, alone)[0][0, VISUAL_TOKENS:], atol=1e-5, rtol=1e-4)


def test_growing_adds_layers_that_change_nothing() -> None:
    shallow, deep = new_side("rgb", tokenizer(), 2).eval(), new_side("rgb", tokenizer(), 8).eval()
    grow(deep, shallow.state_dict())
    truths, rng = [truth_of(3)], random.Random(0)
    pack = pack_questions(tokenizer(), [choose_questions(truths[0], rng, captions=False)])
    slots = oracle_slots(truths, colour=True, features=128)
    with torch.inference_mode():
        torch.testing.assert_close(deep(slots, pack)[0], shallow(slots, pack)[0], atol=1e-5, rtol=1e-4)


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.training.loop.CHECKPOINT_EVERY_S", 0.0)
    schedule = Schedule(steps=7, rate=1e-2, warmup=2, ema=0.9)

    def run(folder: Path, kill_after: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 2)

        def loss_of_step(step: int) -> dict[str, torch.Tensor]:
            x = torch.randn(8, 4)  # from the global generator, as oracle noise and dropout are
            return {"loss": (model(x) - 1).square().mean()}

        for progress in train("toy", model, loss_of_step, schedule, folder):
            if progress.step == kill_after:
                return torch.empty(0)
        return model.weight.detach().clone()

    whole = run(tmp_path / "whole", None)
    run(tmp_path / "killed", 4)
    assert torch.equal(run(tmp_path / "killed", None), whole)
    assert torch.equal(run(tmp_path / "killed", None), whole)
    assert len((tmp_path / "whole" / "toy.csv").read_text().splitlines()) > 3


def test_a_checkpoint_of_another_length_is_refused(tmp_path: Path) -> None:
    def run(steps: int) -> int:
        model = torch.nn.Linear(2, 1)
        return len(list(train("toy", model, lambda step: {"loss": model.weight.square().sum()},
                              Schedule(steps, 1e-2), tmp_path)))

    assert run(3) == 3
    assert run(3) == 0
    with pytest.raises(InputError, match="a run of 3 steps, this one has 50"):
        run(50)


@pytest.mark.usefixtures("tiny")
def test_all_stages_make_a_pair_that_answers(tmp_path: Path) -> None:
    stages = []
    for side in ("rgb", "event"):
        stages += [p.stage for p in train_side(side, TINY, tmp_path)]
    stages += [p.stage for p in train_adapter(TINY.adapter_scenes, tmp_path)]
    assert {"rgb-eye", "rgb-slots", "rgb-oracle", "rgb-real", "rgb-deep", "event-eye", "event-real",
            "adapter-L1"} <= set(stages)
    rgb, event = load("rgb", tmp_path), load("event", tmp_path)
    window = render_window(random_scene(1), Resolution(173, 130))
    tokens, states = write(rgb.open(window, "What is happening?"), rgb.tokenizer.eos, longest=5)
    assert states.shape == (len(tokens), rgb.hidden_size)
    assert read_along(event.open(window, "What is happening?"), tokens).shape == (len(tokens), event.hidden_size)
    config = json.loads((tmp_path / "adapter-L1" / "config.json").read_text())
    assert -1 <= config["held_out_cosine_mean"] <= 1


def test_mini_checkpoint_round_trip_and_stock_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MiniModel(decoder_config("event", tokenizer().size, 2), vision_config("event")).eval()
    file = tmp_path / "tokenizer.json"
    train_tokenizer(file, scenes=30)
    save_mini(model, file, tmp_path / "mini-event", Tokenizer(file).eos)
    again, words = load_mini(tmp_path / "mini-event")
    pixels = torch.randn(1, 22, 128, 128)
    half = {name: value.half().float() for name, value in model.state_dict().items() if value.is_floating_point()}
    model.load_state_dict(half, strict=False)
    tokens = torch.tensor([words.prompt("What is happening?")])
    with torch.inference_mode():
        torch.testing.assert_close(again.see(pixels)[0], model.see(pixels)[0], atol=1e-5, rtol=1e-4)
        stock = LlamaForCausalLM.from_pretrained(tmp_path / "mini-event", dtype=torch.float32)
        states, _ = again.decoder(again.decoder.embed(tokens), torch.arange(tokens.shape[1])[None])
        torch.testing.assert_close(again.decoder.head(states), stock(tokens).logits, atol=2e-5, rtol=1e-4)


def test_a_checkpoint_that_does_not_fit_is_named(tmp_path: Path) -> None:
    model = MiniModel(decoder_config("event", tokenizer().size, 2), vision_config("event"))
    file = tmp_path / "tokenizer.json"
    train_tokenizer(file, scenes=30)
    save_mini(model, file, tmp_path / "x", 1)
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    config["num_hidden_layers"] = 3
    (tmp_path / "x" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"lacks 9 tensors|lacks \d+ tensors, first model\.layers\.2"):
        load_mini(tmp_path / "x")


def test_adapter_round_trip(tmp_path: Path) -> None:
    adapter = BottleneckAdapter(16, 32, 8).eval()
    torch.nn.init.normal_(adapter.up.weight)
    save_adapter(adapter, tmp_path / "a", held_out_cosine_mean=0.5)
    x = torch.randn(5, 16)
    assert torch.equal(load_adapter(tmp_path / "a")(x), adapter(x))
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    (tmp_path / "a" / "config.json").write_text(json.dumps(config | {"variant": "L9"}))
    with pytest.raises(ValueError, match="adapter L9"):
        load_adapter(tmp_path / "a")


def test_oracle_slots_fill_from_the_top() -> None:
    truths = [truth_of(seed) for seed in range(20)]
    slots = oracle_slots(truths, colour=True, features=4)
    assert slots.found.sum(1).tolist() == [len(t.objects) for t in truths]
    assert slots.attributes.shape[1] == SLOTS
    assert SMOKE.rgb_eye > 0
