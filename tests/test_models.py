"""Which models are loaded: by name, by folder, by id; the event VLM alone; memory before loading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import tiny_hub
import torch
from tiny_checkpoints import QUESTION, events, tiny_eventgpt, tiny_llava, tiny_video_llava, window

from pipeline import models
from pipeline.adapters import BottleneckAdapter, save_adapter
from pipeline.captioner import Captioner
from pipeline.models import load_models
from pipeline.types import Caption, Cycle
from streams.types import InputError

CPU = torch.device("cpu")


def answer(captioner: Captioner, drafter: str | None = None, frames: bool = True) -> Caption:
    asked = window() if frames else replace(window(), frames=[])
    *_, caption = captioner.ask(asked, QUESTION, drafter)
    assert isinstance(caption, Caption)
    return caption


@pytest.mark.parametrize(("make", "name"), [(tiny_llava, "llava"), (tiny_video_llava, "videollava"),
                                            (tiny_hub.llava_next, "llavanext")])
def test_a_folder_is_loaded_by_what_it_holds(make: object, name: str, tmp_path: Path) -> None:
    make(tmp_path)
    assert models.family(tmp_path) == name
    loaded = load_models(CPU, str(tmp_path))
    assert loaded.event is None
    assert loaded.default_drafter == "recall"
    assert {rows for rows, _ in loaded.costs.verify.table} == {1, 2, 4, 8, 16}
    captioner = Captioner(loaded)
    first, again = answer(captioner), answer(captioner)
    assert first.text == again.text == answer(captioner, "none").text
    assert again.accepted > 0
    with pytest.raises(InputError, match="there is no frame between"):
        answer(captioner, frames=False)


def test_the_event_model_answers_alone() -> None:
    alone = load_models(CPU, "none", "mini")
    assert alone.rgb.reads == "events"
    assert alone.summary.endswith("answers by itself, from events alone")
    caption = answer(Captioner(alone), frames=False)
    assert caption.text
    assert caption.drafter == "recall"
    with pytest.raises(InputError, match="needs an event VLM"):
        answer(Captioner(alone), "vlm")


def test_in_eight_bits_guesses_change_nothing_and_the_model_is_called_another_one() -> None:
    rounded = load_models(CPU, precision="int8")
    assert "mini-rgb in 8 bit, LOSSY against float32" in rounded.summary
    assert rounded.event is not None
    assert "8 bit" not in rounded.event.name
    plain = answer(Captioner(rounded), "none")
    for name in ("vlm", "eagle", "medusa"):
        guessed = answer(Captioner(rounded), name)
        assert guessed.text == plain.text
        assert guessed.accepted > 0
    with pytest.raises(InputError, match="int8 is for the bundled pair"):
        load_models(CPU, "llava", precision="int8")
    with pytest.raises(InputError, match="int8 is for a processor"):
        load_models(torch.device("cuda"), precision="int8")


def test_what_cannot_be_loaded_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", unreachable)
    with pytest.raises(InputError, match="unknown model 'no'"):
        load_models(CPU, "no")
    with pytest.raises(InputError, match="neither a folder nor in the local Hugging Face cache"):
        load_models(CPU, "nobody/nothing-at-all")
    with pytest.raises(InputError, match="needs a checkpoint: llava:FOLDER"):
        load_models(CPU, "llava")
    with pytest.raises(InputError, match="is not a folder"):
        load_models(CPU, f"llava:{tmp_path}/nowhere/at/all")
    with pytest.raises(InputError, match="choose at least one"):
        load_models(CPU, "none", "none")
    (tmp_path / "config.json").write_text('{"model_type": "abacus"}')
    with pytest.raises(InputError, match=r"transformers has no model for .*abacus"):
        load_models(CPU, str(tmp_path))
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(InputError, match="cannot be read"):
        load_models(CPU, str(tmp_path))


def test_an_adapter_that_was_trained_for_two_models_measures_their_cosines(tmp_path: Path) -> None:
    tiny_llava(tmp_path / "rgb")
    tiny_eventgpt(tmp_path / "event")
    pair, folder = (str(tmp_path / "rgb"), str(tmp_path / "event")), str(tmp_path / "between")
    save_adapter(BottleneckAdapter(64, 64, 8), Path(folder))
    asked = replace(window(), events=events())
    for adapter in (None, folder):
        loaded = load_models(CPU, *pair, adapter=adapter)
        cycles = [r for r in Captioner(loaded).ask(asked, QUESTION, "vlm") if isinstance(r, Cycle)]
        cosines = [n.cos_sim for c in cycles for n in c.nodes if n.verdict != "unreached"]
        assert cosines
        assert all((cosine is None) == (adapter is None) for cosine in cosines)
    with pytest.raises(InputError, match="name one with --drafter-model"):
        load_models(CPU, pair[0], adapter=folder)
    save_adapter(BottleneckAdapter(32, 64, 8), Path(folder))
    with pytest.raises(InputError, match="maps 32 numbers to 64"):
        load_models(CPU, *pair, adapter=folder)
    with pytest.raises(InputError, match="is not a folder"):
        load_models(CPU, *pair, adapter=str(tmp_path / "nowhere/at/all"))
