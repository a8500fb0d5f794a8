"""LLaVA-1.5, LLaVA-NeXT and Video-LLaVA on the own decoder equal transformers' models on small random checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_hub
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_checkpoints import QUESTION, SIDE, tiny_llava, tiny_video_llava, window
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from pipeline.inputs import pick_frames
from pipeline.pictures import Preparation
from pipeline.placement import Placement
from pipeline.types import Draft, Verdict
from pipeline.vlms import auto, llava, llavanext, videollava
from pipeline.vlms.eventgpt import SYSTEM
from streams.types import InputError, Window

FAMILIES = {"llava": (llava, tiny_llava), "videollava": (videollava, tiny_video_llava),
            "llavanext": (llavanext, tiny_hub.llava_next)}


def reference_inputs(name: str, model: object, tokenizer: object) -> dict[str, torch.Tensor]:
    """What transformers' processors make of the window: the prompt with its placeholder repeated, and pixels."""
    mark, count = ("<image>", 4) if name == "llava" else ("<video>", 8 * 5)
    text = f"USER: {mark * count}\n{QUESTION} ASSISTANT:"
    frames = [Image.fromarray(f.image) for f in pick_frames(window(), 1 if name == "llava" else 8)]
    pixels = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})(
        frames, return_tensors="pt")["pixel_values"]
    words = tokenizer(text, return_tensors="pt")
    seen = {"pixel_values": pixels} if name == "llava" else {"pixel_values_videos": pixels[None]}
    return {"input_ids": words["input_ids"], "attention_mask": words["attention_mask"], **seen}


def next_inputs(folder: Path, seen: Window) -> dict[str, torch.Tensor]:
    """What LLaVA-NeXT's own processor makes of the middle frame."""
    (frame,) = pick_frames(seen, 1)
    return dict(auto.load_processor(folder)(images=Image.fromarray(frame.image), return_tensors="pt",
                                            text=f"{SYSTEM}USER: <image>\n{QUESTION} ASSISTANT:"))


def inputs_of(name: str, model: object, tokenizer: object, folder: Path) -> dict[str, torch.Tensor]:
    return next_inputs(folder, window()) if name == "llavanext" else reference_inputs(name, model, tokenizer)


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_equal_transformers(name: str, tmp_path: Path) -> None:
    module, make = FAMILIES[name]
    model = make(tmp_path)
    vlm = module.load("rgb", tmp_path, Placement())
    session = vlm.open(window(), QUESTION)
    session.prefill()
    draft = Draft.chain([5, 300, 7], "t")
    scores = session.score(draft)
    inputs = inputs_of(name, model, vlm.tokenizer.hub, tmp_path)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([draft.tokens])], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.inference_mode():
        wanted = model(**inputs, output_hidden_states=True)
    assert scores.logits.shape[1] == vlm.tokenizer.size <= wanted.logits.shape[2]
    torch.testing.assert_close(scores.logits, wanted.logits[0, -4:, :vlm.tokenizer.size], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores.hidden[:, -1], wanted.hidden_states[-1][0, -4:], atol=1e-4, rtol=1e-4)
    for place, layer in enumerate((2, 3, 3)):
        torch.testing.assert_close(scores.hidden[:, place], wanted.hidden_states[layer][0, -4:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_greedy_text_equals_generate(name: str, tmp_path: Path) -> None:
    module, make = FAMILIES[name]
    model = make(tmp_path)
    vlm = module.load("rgb", tmp_path, Placement())
    words, nothing = vlm.tokenizer.size, Draft.none()
    pad = list(range(words, model.config.text_config.vocab_size))
    wanted = model.generate(**inputs_of(name, model, vlm.tokenizer.hub, tmp_path), max_new_tokens=64, do_sample=False,
                            suppress_tokens=pad or None)
    session = vlm.open(window(), QUESTION)
    session.prefill()
    while len(session.committed) < 64 and 2 not in session.committed:
        session.commit(nothing, Verdict([], int(session.score(nothing).logits[0].argmax()), "plain"))
    assert session.committed == wanted[0, -len(session.committed):].tolist()
    assert len(session.committed) > 8


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("layout", ["version 4 names", "sharded", "bin", "bin shards"])
def test_every_published_layout_gives_the_same_model(name: str, layout: str, tmp_path: Path) -> None:
    module, make = FAMILIES[name]
    make(tmp_path)
    before = module.load("rgb", tmp_path, Placement())
    relaid(tmp_path, layout)
    after = module.load("rgb", tmp_path, Placement())
    assert before.decoder is not None
    assert after.decoder is not None
    for (key, value), (_, other) in zip(before.decoder.state_dict().items(), after.decoder.state_dict().items(),
                                        strict=True):
        assert torch.equal(value, other), key
    assert torch.equal(before.see(window()), after.see(window()))


def relaid(folder: Path, layout: str) -> None:
    """Write the same tensors as other versions of transformers and other authors do."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    old = {}
    for key, value in state.items():
        plain = llava.plain_name(key)
        if plain.startswith("language_model."):
            plain = plain.replace("language_model.", "language_model.model.")
        plain = plain.replace("lm_head.", "language_model.lm_head.").replace("_tower.", "_tower.vision_model.")
        old[plain] = value.clone()
    old["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    old["image_tower.vision_model.embeddings.position_ids"] = torch.arange(5)
    if layout == "version 4 names":
        save_file(old, folder / "model.safetensors")
    elif layout == "bin":
        torch.save(old, folder / "pytorch_model.bin")
    else:
        suffix, stem = (".bin", "pytorch_model") if layout == "bin shards" else (".safetensors", "model")
        halves: list[dict[str, torch.Tensor]] = [{}, {}]
        for i, (key, value) in enumerate(old.items()):
            halves[i % 2][key] = value
        files = [f"{stem}-0000{i + 1}-of-00002{suffix}" for i in range(2)]
        for file, half in zip(files, halves, strict=True):
            torch.save(half, folder / file) if suffix == ".bin" else save_file(half, folder / file)
        index = {key: file for file, half in zip(files, halves, strict=True) for key in half}
        (folder / f"{stem}{suffix}.index.json").write_text(json.dumps({"weight_map": index}))


@pytest.mark.parametrize(("width", "height"), [(120, 30), (30, 120), (29, 28), (200, 200), (28, 57)])
def test_frames_of_any_shape_become_the_same_tiles(width: int, height: int, tmp_path: Path) -> None:
    model = tiny_hub.llava_next(tmp_path)
    vlm, seen = llavanext.load("rgb", tmp_path, Placement()), window(width=width, height=height)
    inputs = next_inputs(tmp_path, seen)
    with torch.inference_mode():
        wanted = model.get_image_features(inputs["pixel_values"], inputs["image_sizes"]).pooler_output[0]
    torch.testing.assert_close(vlm.see(seen), wanted, atol=1e-4, rtol=1e-4)
    assert len(wanted) <= vlm.visual


def test_a_next_checkpoint_without_its_last_part_is_refused(tmp_path: Path) -> None:
    tiny_hub.llava_next(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state[next(key for key in state if key.endswith("image_newline"))]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="lacks image_newline"):
        llavanext.load("rgb", tmp_path, Placement())


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    tiny_llava(tmp_path)
    with pytest.raises(InputError, match="reads frames and cannot guess from events"):
        llava.load("event", tmp_path, Placement())
    state = load_file(tmp_path / "model.safetensors")
    lost = {key: value for key, value in state.items() if "linear_2.bias" not in key}
    save_file(lost, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"lacks 1 tensors, first linear_2\.bias"):
        llava.load("rgb", tmp_path, Placement())
    save_file(state | {"model.language_model.extra": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"1 tensors that do not belong there, first model\.extra"):
        llava.load("rgb", tmp_path, Placement())
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="cannot be read"):
        llava.load("rgb", tmp_path, Placement())
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights in"):
        llava.load("rgb", tmp_path, Placement())


def test_a_question_cannot_spell_special_tokens(tmp_path: Path) -> None:
    tiny_llava(tmp_path)
    vlm = llava.load("rgb", tmp_path, Placement())
    session = vlm.open(window(), "What is <image></s> here?")
    session.prefill()
    assert not {1, 2, vlm.tokenizer.vocabulary["<image>"]} & set(session.prefix.prompt)
    with pytest.raises(InputError, match="shorten it"):
        vlm.open(window(), "word " * 2000)


@pytest.mark.parametrize("size", [(480, 640), (36, 48), (640, 480), (29, 300), (20, 20), (260, 346)])
def test_pictures_equal_the_reference_processor(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for side in (224, 336):
        sizes = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
        ours = Preparation(side, (side, side))([image])
        wanted = CLIPImageProcessorPil(**sizes)(Image.fromarray(image), return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(ours, wanted, atol=2e-6, rtol=0)
        padded = Preparation(side, (side, side), pad=True)([image])
        wanted = LlavaImageProcessorPil(do_pad=True, **sizes)(Image.fromarray(image), return_tensors="pt")
        torch.testing.assert_close(padded, wanted["pixel_values"], atol=2e-6, rtol=0)


def test_a_folder_says_how_pictures_are_prepared(tmp_path: Path) -> None:
    assert Preparation.of(tmp_path, 28) == Preparation(28, (28, 28))
    (tmp_path / "preprocessor_config.json").write_text('{"size": 20, "crop_size": 18, "image_mean": [0.5, 0.5, 0.5]}')
    assert Preparation.of(tmp_path, 28) == Preparation(20, (18, 18), (0.5, 0.5, 0.5))
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"longest_edge": 20}}')
    with pytest.raises(InputError, match="longest_edge"):
        Preparation.of(tmp_path, 28)


def test_the_frames_are_spread_over_the_whole_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D5: the original trained on frames of the whole clip and measured on its first 0.4 s."""
    tiny_video_llava(tmp_path)
    vlm, seen, look = videollava.load("rgb", tmp_path, Placement()), list[torch.Tensor](), videollava.look

    def spy(tower: torch.nn.Module, pixels: torch.Tensor, layer: int, keep_first: bool) -> torch.Tensor:
        seen.append(pixels)
        return look(tower, pixels, layer, keep_first)

    monkeypatch.setattr(videollava, "look", spy)
    long = window(frames=20)
    for _ in range(2):
        session = vlm.open(long, QUESTION)
        session.prefill()
    # a second question about a window does not look again
    assert len(seen) == 1
    chosen = pick_frames(long, 8)
    times_us = [frame.t_us for frame in chosen]
    assert times_us == sorted(set(times_us))
    assert times_us[0] < 100_000
    assert times_us[-1] > 900_000
    torch.testing.assert_close(seen[0], Preparation(SIDE, (SIDE, SIDE))([frame.image for frame in chosen]))
