"""Training: losses fall, a killed run goes on where it stopped, checkpoints survive the round trip."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_models import tokenizer
from transformers import LlamaForCausalLM

from pipeline.adapters import BottleneckAdapter, load_adapter
from pipeline.inputs import CAMERA_WAY_X
from pipeline.mini import SCENE_AT, MiniModel, load_mini, save_mini, visual_tokens
from pipeline.text import Tokenizer
from pipeline.training import eye, mini, strange
from pipeline.training.curves import draw_curves, falls, read_curve
from pipeline.training.data import batch, make, mirrored, shot_of, truth_of
from pipeline.training.distillation import distil
from pipeline.training.eye import vision_config
from pipeline.training.language import (
    LanguageSide,
    choose_questions,
    exact,
    first_position,
    language_losses,
    pack_questions,
    train_tokenizer,
)
from pipeline.training.loop import Schedule, train
from pipeline.training.mini import decoder_config, export, grow, new_side, train_side
from pipeline.training.pair import fit_adapter
from pipeline.training.questions import QA, ask
from pipeline.training.slots import match, memories, oracle_slots, twinned
from pipeline.training.vision import VOCABULARIES, losses, targets
from pipeline.types import Draft, Verdict
from pipeline.vision import (
    GROUPS,
    RBF,
    SLOTS,
    VELOCITY_AT,
    Memory,
    SlotEncoder,
    Slots,
    changes,
    company,
    place_code,
    places,
    remember,
)
from pipeline.vlms.mini import load
from streams.scenes.generate import random_scene
from streams.scenes.render import render_window
from streams.scenes.world import CLASSES, Observation
from streams.types import InputError, Resolution

TINY = mini.Sizes(rgb_eye=2, event_eye=2, oracle=2, real=2, deep=2, event_oracle=2, event_real=2, distilled=4,
                  cached=32, strange=2, adapter_scenes=2, adapter=4, drawings=False)


def truth_at(seed: int) -> Observation:
    return shot_of(seed, {}).truth


def three_objects() -> Observation:
    return next(t for seed in range(200) if len((t := truth_at(seed)).objects) == 3)


def perfect(truths: list[Observation], side: str = "event") -> Slots:
    torch.manual_seed(0)
    return oracle_slots(truths, colour=side == "rgb", config=vision_config(side))


def packed(side: LanguageSide, truths: list[Observation], seed: int = 0, captions: bool = True,
           ) -> tuple[Slots, Memory, list[list[QA]], object]:
    rng, seen = random.Random(seed), perfect(truths, "rgb" if side.projector.config.colour else "event")
    homes = match(seen, truths)
    memory, previous = memories(seen, truths, homes, rng)
    rows = [choose_questions(*pair, rng, captions) for pair in zip(truths, previous, strict=True)]
    return seen, memory, rows, pack_questions(tokenizer(), rows, homes, first_position(side))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (eye, strange):
        monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(mini, "LANGUAGE_BATCH", 2)
    monkeypatch.setattr("pipeline.training.distillation.LANGUAGE_BATCH", 2)
    monkeypatch.setattr(mini, "train_tokenizer", lambda path, icons: train_tokenizer(path, icons, scenes=30))


def test_an_example_and_its_truth_belong_together() -> None:
    for side in ("rgb", "event"):
        for seed in range(12):
            pixels, truth = make(side, seed, {})
            assert truth == truth_of(side, seed, {}) == Observation.from_json(json.loads(json.dumps(truth.to_json())))
            assert np.isfinite(pixels).all()
    grey = [t for seed in range(60) if (t := truth_of("rgb", seed, {})) != truth_at(seed)]
    assert grey
    assert all(thing.colour is None for truth in grey for thing in truth.objects)


def test_a_mirror_image_tells_the_mirrored_story() -> None:
    pixels, truth = make("rgb", 5, {})
    other, mirror = mirrored("rgb", (pixels, truth))
    way = np.ones((len(pixels), 1, 1))
    way[CAMERA_WAY_X] = -1
    assert np.array_equal(other[..., ::-1], pixels * way)
    for a, b in zip(truth.objects, mirror.objects, strict=True):
        assert b.x == 1 - a.x
        assert {a.direction, b.direction} in ({"left", "right"}, {a.direction})
    again = mirrored("rgb", (other, mirror))[1]
    assert [o.direction for o in again.objects] == [o.direction for o in truth.objects]


def test_the_same_step_draws_the_same_batch() -> None:
    (one, truths), (two, again) = batch("event", 3, 4, {}), batch("event", 3, 4, {})
    assert torch.equal(one, two)
    assert truths == again
    assert not torch.equal(one, batch("event", 4, 4, {})[0])


def test_stretches_of_an_answer_tokenise_like_the_whole() -> None:
    rng = random.Random(1)
    for seed in range(30):
        for qa in choose_questions(truth_at(seed), truth_at(seed + 1), rng, captions=True):
            pieces = [token for text, _ in qa.parts for token in tokenizer().encode(text)]
            assert pieces == tokenizer().encode(" " + qa.answer)


def test_pointing_targets_name_the_slot_of_the_object_being_talked_about() -> None:
    truth = three_objects()
    qa = ask("detailed", truth, random.Random(0))
    assert qa is not None
    pack = pack_questions(tokenizer(), [[qa]], [[2, None, 0]], 13)
    said: dict[int, str] = {}
    for label, point in zip(pack.labels[0].tolist(), pack.points[0].tolist(), strict=True):
        if label >= 0 and label != tokenizer().eos:
            said[point] = said.get(point, "") + tokenizer().piece(label)
    assert truth.objects[0].cls in said[2]
    assert truth.objects[2].cls in said[0]
    assert "scene" in said[SCENE_AT] or "hall" in said[SCENE_AT]
    assert truth.objects[1].cls in said[-100]  # an object that the eye did not find: nowhere to point


def test_any_text_can_be_encoded() -> None:
    for text in ("Was ist das?", "犬はどこ 🐕", "x" * 50, "\x00\x07"):
        assert b"".join(tokenizer().bytes_of(t) for t in tokenizer().encode(text)).decode() == text


def fall(parts: list[dict[str, torch.Tensor]], first: int = 3) -> bool:
    totals = [sum(value.item() for value in p.values()) for p in parts]
    return sum(totals[-first:]) < 0.8 * sum(totals[:first])


def test_the_eyes_loss_falls() -> None:
    torch.manual_seed(0)
    encoder = SlotEncoder(vision_config("event"))
    truths = [truth_at(seed) for seed in range(8)]
    pixels = torch.randn(8, encoder.config.channels, 128, 128)
    optimizer, seen = torch.optim.AdamW(encoder.parameters(), 3e-3), []
    for _ in range(8):
        parts = losses(encoder(pixels), targets(truths), colour=False)
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
        seen.append({name: value.detach() for name, value in parts.items()})
    assert fall(seen)


def test_slots_are_decoded_from_what_the_eye_is_trained_to_say() -> None:
    truths = [three_objects(), truth_at(3)]
    wanted, encoder = targets(truths), SlotEncoder(vision_config("rgb")).eval()
    with torch.inference_mode():
        features = encoder(torch.zeros(2, encoder.config.channels, 128, 128))
    heads = torch.full_like(features.heads, -20.0)
    heads[..., 0] = torch.logit(wanted["heat"], 1e-4)
    start = 1
    for i, size in enumerate(len(VOCABULARIES[name]) for name in GROUPS):
        label = wanted["labels"][..., i]
        heads[..., start:start + size].scatter_(2, label.clamp(min=0)[..., None], 20.0)
        start += size
    heads[..., start:] = wanted["regression"]
    seen = encoder.slots(replace(features, heads=heads))
    for row, truth in enumerate(truths):
        assert seen.found[row].sum() == len(truth.objects)
        for k, thing in enumerate(truth.objects):
            assert seen.boxes[row, k].tolist() == pytest.approx(thing.box, abs=0.03)
            assert seen.attributes[row, k, 1:1 + GROUPS["cls"]].argmax() == VOCABULARIES["cls"].index(thing.cls)
    assert match(seen, truths) == [list(range(len(truth.objects))) for truth in truths]


def test_the_decoders_loss_falls_and_points() -> None:
    torch.manual_seed(0)
    side = new_side("event", tokenizer(), 2)
    seen, memory, _, pack = packed(side, [truth_at(seed) for seed in range(3)])
    optimizer, curve = torch.optim.AdamW(side.parameters(), 3e-3), []
    for _ in range(10):
        parts = language_losses(side, seen, memory, pack)
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
        curve.append({name: value.detach() for name, value in parts.items()})
    assert fall(curve)
    assert curve[-1]["pointing"] < curve[0]["pointing"]


def test_what_is_learnt_by_heart_is_exact_and_nothing_else_is() -> None:
    torch.manual_seed(0)
    side, truth = new_side("event", tokenizer(), 2), truth_at(3)
    seen, memory, rows, pack = packed(side, [truth], captions=False)
    assert not exact(side, seen, memory, pack).any()
    optimizer = torch.optim.AdamW(side.parameters(), 5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        language_losses(side, seen, memory, pack)["answer"].backward()
        optimizer.step()
    assert exact(side, seen, memory, pack)[0].tolist() == [True] * len(rows[0])
    pack.labels[0, (pack.segments[0] == 2).nonzero()[-1]] += 1
    assert exact(side, seen, memory, pack)[0].tolist() == [number != 1 for number in range(len(rows[0]))]


def test_questions_in_one_row_do_not_see_each_other() -> None:
    truth = truth_at(12)
    side = new_side("event", tokenizer(), 2).eval()
    seen, memory, rows, together = packed(side, [truth], seed=2)
    alone = pack_questions(tokenizer(), [rows[0][1:2]], [[]], first_position(side))
    with torch.inference_mode():
        states = side(seen, memory, together)[0][0][together.segments[0] == 2]
        torch.testing.assert_close(states, side(seen, memory, alone)[0][0], atol=1e-5, rtol=1e-4)


def test_growing_adds_layers_that_change_nothing() -> None:
    shallow, deep = new_side("rgb", tokenizer(), 2).eval(), new_side("rgb", tokenizer(), 8).eval()
    grow(deep, shallow.state_dict())
    seen, memory, _, pack = packed(shallow, [truth_at(3)], captions=False)
    with torch.inference_mode():
        before, after = shallow(seen, memory, pack)[0], deep(seen, memory, pack)[0]
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-4)
    again = new_side("rgb", tokenizer(), 8).eval()
    grow(again, deep.state_dict())
    with torch.inference_mode():
        assert torch.equal(again(seen, memory, pack)[0], after)


def test_the_verifier_is_ten_times_the_drafter_and_reads_a_grid() -> None:
    sizes = {side: sum(p.numel() for p in new_side(side, tokenizer(), layers).decoder.layers.parameters())
             for side, layers in (("rgb", mini.RGB_LAYERS), ("event", mini.SHALLOW_LAYERS))}
    assert 8e6 < sizes["rgb"] < 25e6
    assert sizes["event"] < sizes["rgb"] / 10
    assert visual_tokens(vision_config("rgb")) >= 64


def test_memories_are_told_as_they_are_remembered() -> None:
    truths = [truth_at(seed) for seed in range(40)]
    seen = perfect(truths, "rgb")
    memory, previous = memories(seen, truths, match(seen, truths), random.Random(0))
    assert {truth is None for truth in previous} == {True, False}
    for row, truth in enumerate(previous):
        assert bool(memory.known[row]) == (truth is not None)
        if truth is not None:
            kept = memory.attributes[row, :, 0].sum()
            assert kept == len(truth.objects)
            assert [o.y for o in truth.objects] == sorted(o.y for o in truth.objects)


def test_twins_are_told_as_two_of_a_kind() -> None:
    truths = [three_objects()] * 40
    told, twins = twinned(truths, random.Random(0))
    assert 0 < len(twins) < 40
    for row, truth in enumerate(told):
        if row not in twins:
            assert truth == truths[row]
            continue
        for model, other in twins[row]:
            assert truth.objects[other].cls == truth.objects[model].cls != truths[row].objects[other].cls
            assert (truth.objects[other].colour is None) == (truth.objects[model].colour is None)
            assert replace(truth.objects[other], cls="") == replace(truths[row].objects[other], cls="")
    assert {len(pairs) for pairs in twins.values()} == {1, 2}


def test_company_counts_others_of_the_class_and_of_the_colour() -> None:
    scene = three_objects()
    scene = replace(scene, objects=tuple(replace(thing, colour=colour) for thing, colour in
                                         zip(scene.objects, ("red", "blue", "white"), strict=True)))
    alike = replace(scene, objects=(scene.objects[0], replace(scene.objects[1], cls=scene.objects[0].cls),
                                    replace(scene.objects[2], colour=scene.objects[0].colour)))
    attributes = perfect([scene, alike], "rgb").attributes
    sharp = attributes.clone()
    sharp[..., 1:-20] = (attributes[..., 1:-20] > 0.5).float()
    counts = company(sharp)
    assert counts[0].abs().max() == 0
    assert counts[1, :3].tolist() == [[1, 1], [1, 0], [0, 1]]
    assert counts[1, 3:].abs().max() == 0


def test_what_has_a_likeness_is_not_new() -> None:
    seen = perfect([three_objects()], "rgb")
    sharp = seen.attributes.clone()
    sharp[..., 1:-20] = (sharp[..., 1:-20] > 0.5).float()
    memory = remember(replace(seen, attributes=sharp))
    assert memory.known.all()
    new, gone = changes(sharp, memory.attributes)
    assert max(new.max(), gone.max()) < 0.1
    without = memory.attributes.clone()
    without[0, 1] = 0
    new, gone = changes(sharp, without)
    assert (new[0] > 0.9).tolist() == [False, True, False, False, False, False]
    assert gone.max() < 0.1
    new, gone = changes(without, sharp)
    assert (gone[0] > 0.9).tolist() == [False, True, False, False, False, False]
    assert changes(sharp, Memory.none(1).attributes)[0][0, :3].min() == 1


def test_what_is_misread_where_it_must_have_moved_to_is_the_same() -> None:
    now = perfect([three_objects()], "rgb").attributes
    before = now.clone()
    where = places(now) - now[..., VELOCITY_AT]
    before[..., -2 * RBF:] = place_code(where[..., 0], where[..., 1]) * now[..., :1]
    before[..., 1:1 + len(CLASSES)] = before[..., 1:1 + len(CLASSES)].roll(1, -1)
    new, gone = changes(now, before)
    assert max(new.max(), gone.max()) < 0.4
    before[..., -2 * RBF:] = place_code(where[..., 0] + 0.4, where[..., 1]) * now[..., :1]
    assert changes(now, before)[0][0, :3].max() > 0.9


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.training.loop.CHECKPOINT_EVERY_S", 0.0)
    schedule = Schedule(steps=7, rate=1e-2, warmup=2, ema=0.9)

    def run(folder: Path, kill_after: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        hidden = torch.nn.Conv2d(2, 3, 2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        model = torch.nn.Sequential(hidden, torch.nn.Flatten(), torch.nn.Linear(12, 2))
        first = hidden.weight.detach().clone()

        def loss_of_step(step: int) -> dict[str, torch.Tensor]:
            x = torch.randn(8, 2, 3, 3)  # from the global generator, as oracle noise and dropout are
            return {"loss": (model(x) - 1).square().mean()}

        for progress in train("toy", model, loss_of_step, schedule, folder, hidden=("0.weight",)):
            if progress.step == kill_after:
                return torch.empty(0)
        assert not torch.equal(hidden.weight, first)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    whole = run(tmp_path / "whole", None)
    run(tmp_path / "killed", 4)
    assert torch.equal(run(tmp_path / "killed", None), whole)
    assert torch.equal(run(tmp_path / "killed", None), whole)
    whole_curve = read_curve(tmp_path / "whole" / "toy.csv")["loss"]
    assert [step for step, _ in whole_curve] == list(range(1, 8))
    assert read_curve(tmp_path / "killed" / "toy.csv")["loss"] == whole_curve
    assert falls(tmp_path / "whole") == [("toy", whole_curve[0][1], whole_curve[-1][1])]
    assert draw_curves(tmp_path / "whole").read_bytes().startswith(b"\x89PNG")


def test_some_weights_learn_at_another_rate(tmp_path: Path) -> None:
    """Adam's first step is as long as the learning rate, so a quarter of the rate is a quarter of the way."""
    model = torch.nn.ModuleDict({"fast": torch.nn.Linear(2, 1, bias=False), "slow": torch.nn.Linear(2, 1, bias=False)})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.tensor([[1.0, 2.0]])
    list(train("toy", model, lambda step: {"loss": (model["fast"](x) + model["slow"](x)).sum()},
               Schedule(1, 1e-2, warmup=1, weight_decay=0.0), tmp_path, scales={"slow.": 0.25}))
    moved = {name: (value - before[name]).abs().mean() for name, value in model.state_dict().items()}
    assert moved["slow.weight"] == pytest.approx(0.25 * moved["fast.weight"].item(), rel=1e-3)
    assert moved["fast.weight"] > 1e-3


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
    words = Tokenizer(tmp_path / "tokenizer.json")
    before = load("event", tmp_path).model.decoder.head.weight.clone()
    stages += [p.stage for p in distil(TINY.distilled, tmp_path, words, {})]
    export("event", tmp_path, words, "event-distilled", tmp_path / "distilled")
    assert not torch.equal(load("event", tmp_path / "distilled").model.decoder.head.weight, before)
    assert torch.equal(load("event", tmp_path).model.decoder.head.weight, before)
    stages += [p.stage for p in fit_adapter(TINY, tmp_path)]
    assert {"rgb-eye", "rgb-slots", "rgb-oracle", "rgb-real", "rgb-deep", "event-eye", "event-real",
            "event-distilled", "traces", "adapter-L1"} <= set(stages)
    config = json.loads((tmp_path / "adapter-L1" / "config.json").read_text())
    assert -1 <= config["held_out_cosine_mean"] <= 1
    assert isinstance(load_adapter(tmp_path / "adapter-L1"), BottleneckAdapter)
    assert (tmp_path / "adapter-L1.csv").exists()


def test_a_packed_answer_is_the_one_that_a_session_writes() -> None:
    """What training and evaluation check in one pass is what the page decodes word by word."""
    vlm = load("event")
    window = render_window(random_scene(7), Resolution(346, 260))
    side = LanguageSide(vlm.model.projector, vlm.model.decoder)
    for question in ("What is happening?", "How many objects are there?"):
        session, tokens, nothing = vlm.open(window, question), list[int](), Draft.none()
        session.prefill()
        while tokens[-1:] != [vlm.tokenizer.eos] and len(tokens) < 60:
            tokens.append(int(session.score(nothing).logits[0].argmax()))
            session.commit(nothing, Verdict([], tokens[-1], "plain"))
        text = b"".join(vlm.tokenizer.bytes_of(t) for t in tokens).decode()
        qa = QA("brief", question, ((text, None),))
        pack = pack_questions(vlm.tokenizer, [[qa]], [[]], first_position(side))
        assert exact(side, *vlm.seen(window), pack).all()


def test_mini_checkpoint_round_trip_and_stock_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MiniModel(decoder_config("event", tokenizer().size, 2), vision_config("event")).eval()
    file = tmp_path / "tokenizer.json"
    train_tokenizer(file, {}, scenes=30)
    save_mini(model, file, tmp_path / "mini-event", Tokenizer(file).eos)
    again, words = load_mini(tmp_path / "mini-event")
    pixels = torch.randn(1, model.eye.config.channels, 128, 128)
    half = {name: value.half().float() for name, value in model.state_dict().items() if value.is_floating_point()}
    model.load_state_dict(half, strict=False)
    tokens = torch.tensor([words.prompt("What is happening?")])
    with torch.inference_mode():
        seen = [m.projector(m.eye.slots(m.eye(pixels)), Memory.none(1)) for m in (again, model)]
        torch.testing.assert_close(*seen, atol=1e-5, rtol=1e-4)
        stock = LlamaForCausalLM.from_pretrained(tmp_path / "mini-event", dtype=torch.float32)
        states, _ = again.decoder(again.decoder.embed(tokens), torch.arange(tokens.shape[1])[None])
        torch.testing.assert_close(again.decoder.head(states), stock(tokens).logits, atol=2e-5, rtol=1e-4)


def test_a_checkpoint_that_does_not_fit_is_named(tmp_path: Path) -> None:
    model = MiniModel(decoder_config("event", tokenizer().size, 2), vision_config("event"))
    file = tmp_path / "tokenizer.json"
    train_tokenizer(file, {}, scenes=30)
    save_mini(model, file, tmp_path / "x", 1)
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    config["num_hidden_layers"] = 3
    (tmp_path / "x" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"lacks 9 tensors|lacks \d+ tensors, first model\.layers\.2"):
        load_mini(tmp_path / "x")


def test_oracle_slots_fill_from_the_top() -> None:
    truths = [truth_at(seed) for seed in range(20)]
    seen = perfect(truths, "rgb")
    assert seen.found.sum(1).tolist() == [len(t.objects) for t in truths]
    assert seen.attributes.shape[1] == SLOTS
    assert not perfect(truths).attributes[..., 1 + GROUPS["cls"]:1 + GROUPS["cls"] + GROUPS["colour"]].any()
