"""Medusa-2: the verifier begins as it was, is kept as a pair of its own, and is lossless against itself only."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer

from pipeline import drafters
from pipeline.captioner import Captioner
from pipeline.clips import clips
from pipeline.decoding import Limits
from pipeline.drafters.medusa import MedusaHeads
from pipeline.measure import answered
from pipeline.models import WEIGHTS, Models, load_models
from pipeline.training.fitting import Run, Words
from pipeline.training.joint import CHANGED, drift, joint_losses, merged, states_along, train_joint, with_changes
from pipeline.training.traces import Trace, window_traces
from pipeline.vlms.mini import MiniVLM
from streams.types import InputError

CPU = torch.device("cpu")
QUESTIONS = ["How many objects are there?", "Where is this?", "What time of day is it?"]


@lru_cache(1)
def bundled() -> Models:
    return load_models(CPU)


@lru_cache(1)
def spoken() -> list[Trace]:
    rgb, (window,) = bundled().rgb, clips(1)
    return window_traces(rgb, None, window, [(question, []) for question in QUESTIONS])


def verifier() -> MiniVLM:
    rgb = bundled().rgb
    assert isinstance(rgb, MiniVLM)
    return rgb


def test_the_verifier_begins_as_it_was() -> None:
    decoder, words = verifier().model.decoder, Words(verifier().model.decoder, CPU)
    changed, heads = with_changes(decoder).eval(), MedusaHeads(320, 1024)
    layers = [name for name, module in changed.named_modules() if isinstance(module, LoraLayer)]
    assert {name.split(".")[-1] for name in layers} == {*CHANGED}
    with torch.inference_mode():
        states = states_along(changed, spoken())
        for one, row in zip(spoken(), states, strict=True):
            torch.testing.assert_close(row[:len(one.tokens)], one.states[:, -1].float(), atol=2e-2, rtol=2e-2)
        assert joint_losses(changed, heads, words, spoken(), 0.0)["kept"] < 1e-4
        assert drift(changed, words, spoken())["held_out_same_word"] == 1


def test_what_is_merged_is_what_was_trained() -> None:
    decoder = verifier().model.decoder
    changed = with_changes(decoder).eval()
    for name, parameter in changed.named_parameters():
        assert parameter.requires_grad == ("lora_" in name)
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.06, generator=torch.Generator().manual_seed(len(name)))
    with torch.inference_mode():
        plain, trained, before = (states_along(one, spoken()) for one in (merged(decoder, changed), changed, decoder))
    torch.testing.assert_close(plain, trained, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(trained, before, atol=0.1)


def test_a_jointly_trained_pair_is_a_pair_of_its_own(tmp_path: Path) -> None:
    folder, before = tmp_path / "medusa-joint", {name: value.clone() for name, value
                                                in verifier().model.decoder.state_dict().items()}
    progress = list(train_joint(verifier(), WEIGHTS, spoken(), spoken()[:1], Run(2, folder)))
    assert [step.stage for step in progress] == ["medusa-joint-warm"] * 8 + ["medusa-joint"] * 2
    assert {*progress[-1].losses} == {"kept", "words"}
    assert all(torch.equal(verifier().model.decoder.state_dict()[name], value) for name, value in before.items())
    models = load_models(CPU, f"mini:{folder}")
    assert models.summary.endswith("mini-rgb changed by medusa:joint (11.9 M) checks")
    assert models.rgb.decoder is not None
    assert not torch.equal(models.rgb.decoder.state_dict()["layers.0.qkv.weight"], before["layers.0.qkv.weight"])
    window, limits = next(clips(1)), Limits(max_new_tokens=12)
    plain, guessed = (answered(Captioner(models), name, window, "What is happening?", limits=limits)
                      for name in ("none", "medusa"))
    assert guessed.tokens == plain.tokens
    with pytest.raises(InputError, match=r"trained together with a verifier that is not this one .*--model mini:"):
        drafters.create(f"medusa:{folder / 'medusa'}", bundled())
    assert drafters.create(f"medusa:{tmp_path / 'medusa-joint-warm'}", bundled()).parameters > 0


def test_what_joint_training_lacks_is_said(tmp_path: Path) -> None:
    blind = [replace(one, entering=None) for one in spoken()]
    with pytest.raises(InputError, match="measured on held-out answers"):
        next(train_joint(verifier(), WEIGHTS, spoken(), [], Run(1, tmp_path / "one")))
    with pytest.raises(InputError, match="no rows that enter the verifier"):
        list(train_joint(verifier(), WEIGHTS, blind, blind, Run(1, tmp_path / "two")))
