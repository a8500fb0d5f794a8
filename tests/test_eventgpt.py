"""EventGPT: a reference in plain modules, three ways to draw events, published layouts, the original's defects."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SHARED_RECORDINGS
from reading import read
from safetensors.torch import save_file
from tiny_checkpoints import QUESTION, SIDE, events, tiny_clip, tiny_eventgpt, tiny_llama, window
from transformers import AutoTokenizer, CLIPVisionModel, LlamaForCausalLM
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from pipeline.event_images import around_middle, cropped, equal_counts, render
from pipeline.models import load_models
from pipeline.placement import Placement
from pipeline.prompted import PromptedVLM
from pipeline.types import Draft, Verdict
from pipeline.vlms import eventgpt
from streams.representations import CONFLICTS
from streams.types import Events, InputError, Resolution, Window

SENSOR = Resolution(48, 36)


def seen_window(count: int = 20_000) -> Window:
    return replace(window(), events=events(count=count))


def drawn_by_loop(shown: Events, resolution: Resolution, conflict: str) -> np.ndarray:
    """What the published programs do, event by event."""
    image = np.full((*resolution.hw, 3), 255, np.uint8)
    order = np.arange(len(shown))
    if conflict != "last":
        order = np.argsort(shown["p"] if conflict == "positive" else ~shown["p"], kind="stable")
    for event in shown[order]:
        image[event["y"], event["x"]] = (255, 0, 0) if event["p"] else (0, 0, 255)
    return image


def reference_embeddings(state: dict[str, torch.Tensor], folder: Path, adapted: bool) -> torch.Tensor:
    """Facts §4.2 and §4.6 in plain modules: pictures, tower, projector, adaptor, pooling, prompt."""
    tower = CLIPVisionModel(tiny_clip(128, 2)).eval()
    prefix = "model.visual_tower.visual_tower.vision_model."
    tower.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ state[f"model.{name}.weight"].T + state[f"model.{name}.bias"]

    parts = [seen_window().events[i * 4000:(i + 1) * 4000] for i in range(5)]
    pixels = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})(
        [drawn_by_loop(part, SENSOR, "positive") for part in parts], return_tensors="pt")["pixel_values"]
    frames = []
    for picture in pixels:
        x = tower(picture[None]).last_hidden_state[0]
        x = linear(torch.nn.functional.gelu(linear(x, "visual_projector.0")), "visual_projector.2")
        frames.append(linear(x, "feature_adaptor") if adapted else x)
    stacked = torch.stack(frames)
    tokens = torch.cat([stacked.mean(1), stacked.mean(0)])
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    system = ("A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
              "detailed, and polite answers to the human's questions. USER: <ev_start>")
    embed = state["model.embed_tokens.weight"]
    before = tokenizer(system)["input_ids"]
    behind = tokenizer(f"<ev_end>\n{QUESTION} ASSISTANT:")["input_ids"][1:]
    return torch.cat([embed[before], tokens, embed[behind]])[None]


@pytest.mark.parametrize("adapted", [True, False])
def test_logits_and_text_equal_a_reference_in_plain_modules(adapted: bool, tmp_path: Path) -> None:
    state = tiny_eventgpt(tmp_path, adapted=adapted)
    language = LlamaForCausalLM(tiny_llama(len(state["lm_head.weight"]))).eval()
    language.load_state_dict({k: v for k, v in state.items() if "visual_" not in k and "adaptor" not in k})
    with torch.inference_mode():
        inputs = reference_embeddings(state, tmp_path, adapted)
        wanted = language(inputs_embeds=inputs).logits[0, -1]
        text = language.generate(inputs_embeds=inputs, attention_mask=torch.ones(inputs.shape[:2]), do_sample=False,
                                 max_new_tokens=64)[0].tolist()
    vlm = eventgpt.load("event", tmp_path, Placement())
    session, nothing = vlm.open(seen_window(), QUESTION), Draft.none()
    session.prefill()
    assert session.prefix.hidden.shape[0] == inputs.shape[1] - 1
    torch.testing.assert_close(session.score(nothing).logits[0], wanted, atol=1e-4, rtol=1e-4)
    for _ in text:
        session.commit(nothing, Verdict([], int(session.score(nothing).logits[0].argmax()), "plain"))
    assert session.committed == text
    assert len(text) > 8


def test_every_part_is_applied_once(tmp_path: Path) -> None:
    """D1: the original study applied the adaptor twice in all its results."""
    tiny_eventgpt(tmp_path)
    vlm, counts = eventgpt.load("event", tmp_path, Placement()), dict[str, int]()
    encoder = next(cell.cell_contents for cell in vlm._see.__closure__
                   if isinstance(cell.cell_contents, eventgpt.EventEncoder))
    for name in ("visual_tower", "visual_projector", "feature_adaptor"):
        getattr(encoder, name).register_forward_hook(
            lambda *_, name=name: counts.__setitem__(name, counts.get(name, 0) + 1))
    session = vlm.open(seen_window(), QUESTION)
    session.prefill()
    session.score(Draft.none())
    assert counts == {"visual_tower": 1, "visual_projector": 1, "feature_adaptor": 1}
    assert vlm.visual == 5 + (SIDE // 14) ** 2 + 1 == len(vlm.see(seen_window()))


@pytest.mark.parametrize("slices", [1, 3, 5])
def test_it_sees_as_many_pictures_as_it_says(slices: int, tmp_path: Path) -> None:
    """D3: the original's "five frames" were the first fifth of the events, as one picture."""
    tiny_eventgpt(tmp_path)
    vlm = eventgpt.load("event", tmp_path, Placement(), slices=str(slices))
    changed = seen_window(2000)
    before = vlm.see(changed)
    assert len(before) == slices + 5
    # the newest events change the last picture's token, and no other picture's
    late = changed.events.copy()
    late["p"][-100:] ^= True
    after = vlm.see(replace(changed, events=late))
    differs = (before - after).abs().amax(1) > 1e-6
    assert differs[:slices].tolist() == [False] * (slices - 1) + [True]


@pytest.mark.parametrize("conflict", CONFLICTS)
def test_events_are_drawn_as_three_programs_drew_them(conflict: str) -> None:
    """D4: training, published inference and the later study colour a pixel with both polarities differently."""
    shown = events(count=3000)
    np.testing.assert_array_equal(render(shown, SENSOR, conflict), drawn_by_loop(shown, SENSOR, conflict))
    np.testing.assert_array_equal(render(shown[:0], SENSOR, conflict), np.full((36, 48, 3), 255))


def test_the_three_drawings_differ_exactly_where_polarities_meet() -> None:
    shown = events(count=1500)
    positive, last, negative = (render(shown, SENSOR, conflict) for conflict in CONFLICTS)
    count = np.zeros((2, 36, 48), int)
    np.add.at(count, (shown["p"].astype(int), shown["y"], shown["x"]), 1)
    both = (count > 0).all(0)
    assert 0 < both.sum() < both.size
    np.testing.assert_array_equal((positive != negative).any(-1), both)
    assert (positive[both] == (255, 0, 0)).all()
    assert (negative[both] == (0, 0, 255)).all()
    newest = {(e["y"], e["x"]): bool(e["p"]) for e in shown}
    assert all((last[y, x] == ((255, 0, 0) if newest[y, x] else (0, 0, 255))).all() for y, x in np.argwhere(both))


@pytest.mark.parametrize(("name", "active", "both", "red"), [
    ("dsec_interlaken_00_d_000074.npy", 45_923, 21_900, (0.747, 0.555, 0.270)),
    ("eventgpt_sample1.npy", 93_959, 19_023, (0.591, 0.493, 0.389))])
def test_real_recordings_are_drawn_as_three_programs_drew_them(name: str, active: int, both: int,
                                                               red: tuple[float, float, float]) -> None:
    file = SHARED_RECORDINGS / name
    if not file.exists():
        pytest.skip("no real recordings beside the repository")
    shown, sensor = read(file), Resolution(640, 480)
    images = [render(shown, sensor, conflict) for conflict in CONFLICTS]
    for image, conflict, share in zip(images, CONFLICTS, red, strict=True):
        np.testing.assert_array_equal(image, drawn_by_loop(shown, sensor, conflict))
        coloured = (image != 255).any(-1)
        assert coloured.sum() == active
        assert (image[coloured] == (255, 0, 0)).all(-1).mean() == pytest.approx(share, abs=1e-3)
    assert (images[0] != images[2]).any(-1).sum() == both
    assert cropped(shown) == sensor


def test_slices_hold_equally_many_events_and_the_last_the_remainder() -> None:
    shown = events(count=1003)
    assert [len(part) for part in equal_counts(shown, 5)] == [200, 200, 200, 200, 203]
    np.testing.assert_array_equal(np.concatenate(equal_counts(shown, 5)), shown)
    assert [len(part) for part in equal_counts(shown[:3], 5)] == [0, 0, 0, 0, 3]
    assert all(a["t"][-1] <= b["t"][0] for a, b in pairwise(equal_counts(shown, 5)))


def test_of_a_long_window_the_brief_middle_is_seen() -> None:
    """D15: the model knows 50 ms; the original study gave it whole seconds."""
    long = events(count=200_000, span_us=1_000_000, start_us=0)
    brief = around_middle(long, 0, 1_000_000)
    assert brief["t"][0] >= 475_000
    assert brief["t"][-1] < 525_000
    assert len(brief) == ((long["t"] >= 475_000) & (long["t"] < 525_000)).sum()
    quiet = events(count=8_000, span_us=1_000_000, start_us=0)
    assert len(around_middle(quiet, 0, 1_000_000)) >= 5_000
    assert len(around_middle(quiet[:100], 0, 1_000_000)) == 100
    assert len(around_middle(quiet[:0], 0, 1_000_000)) == 0


def test_marks_are_tokens_only_where_they_were_trained(tmp_path: Path) -> None:
    vlms = dict[bool, PromptedVLM]()
    for marked in (False, True):
        tiny_eventgpt(tmp_path / str(marked), marked=marked)
        vlms[marked] = eventgpt.load("event", tmp_path / str(marked), Placement())
    assert vlms[True].tokenizer.size == vlms[False].tokenizer.size + 2
    for marked, vlm in vlms.items():
        before, after = vlm._split(QUESTION)
        start, end = (vlm.tokenizer.vocabulary.get(mark) for mark in ("<ev_start>", "<ev_end>"))
        assert (start == before[-1]) == (end == after[0]) == marked if marked else start is None
        assert before.count(1) == 1
        assert 1 not in after
    # asked for, but never trained: the embeddings have no rows for them
    tiny_eventgpt(tmp_path / "asked", mm_use_im_start_end=True, mm_use_im_patch_token=True)
    asked = eventgpt.load("event", tmp_path / "asked", Placement())
    assert asked.tokenizer.vocabulary == vlms[False].tokenizer.vocabulary


@pytest.mark.parametrize("layout", ["safetensors", "stages"])
def test_other_layouts_give_the_same_model(layout: str, tmp_path: Path) -> None:
    state = tiny_eventgpt(tmp_path)
    before = eventgpt.load("event", tmp_path, Placement())
    (tmp_path / "pytorch_model.bin").unlink()
    if layout == "safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "model.safetensors")
    else:
        stages = {"mm_projector.bin": "model.visual_projector.", "feature_adaptor.bin": "model.feature_adaptor."}
        for file, prefix in stages.items():
            torch.save({k: v for k, v in state.items() if k.startswith(prefix)}, tmp_path / file)
        torch.save({k: v for k, v in state.items() if not k.startswith(tuple(stages.values()))},
                   tmp_path / "pytorch_model.bin")
    after = eventgpt.load("event", tmp_path, Placement())
    assert torch.equal(before.see(seen_window()), after.see(seen_window()))


def test_options_and_misfits_are_one_sentence(tmp_path: Path) -> None:
    state = tiny_eventgpt(tmp_path)
    cpu, spec = torch.device("cpu"), f"eventgpt:{tmp_path}"
    alone = load_models(cpu, "none", f"{spec}?conflict=last&canvas=cropped&slices=3")
    assert alone.rgb.reads == "events"
    assert len(alone.rgb.see(seen_window())) == 3 + 5  # type: ignore[attr-defined]
    for query, message in (("conflict=first", "got first"), ("colour=red", "no option 'colour'"), ("where=x", "no")):
        with pytest.raises(InputError, match=message):
            load_models(cpu, "none", f"{spec}?{query}")
    with pytest.raises(InputError, match="reads events"):
        load_models(cpu, spec)
    torch.save({k: v for k, v in state.items() if "adaptor" not in k}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="names a feature adaptor"):
        load_models(cpu, "none", str(tmp_path))
    torch.save({k: v for k, v in state.items() if "visual_tower" not in k}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="no visual tower"):
        load_models(cpu, "none", str(tmp_path))
    tiny_eventgpt(tmp_path, use_event_qformer=True)
    with pytest.raises(InputError, match="Q-Former"):
        load_models(cpu, "none", str(tmp_path))
    torch.save(Evil(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be read"):
        load_models(cpu, "none", str(tmp_path))
    assert not (tmp_path / "run").exists()


class Evil:
    """A pickle that would run something."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("run"),)
