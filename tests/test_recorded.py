"""Learning from recordings: pairs belong to one word, chunks survive a kill, whole recordings are held out."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from tiny_checkpoints import QUESTION, events, tiny_eventgpt, tiny_llava
from tiny_checkpoints import window as tiny_window
from toy_models import ToyVLM, toy_models, toy_window

from app import extracting, training
from app.cli import main
from app.compose import bundled_recording
from pipeline import drafters
from pipeline.adapters import LEVELS
from pipeline.captioner import Captioner
from pipeline.decoding import Limits
from pipeline.measure import answered
from pipeline.models import load_models
from pipeline.training import recorded, traces
from pipeline.training.adapters import event_states, train_adapter
from pipeline.training.fitting import Run, Words
from pipeline.training.heads import TRAINABLE
from pipeline.training.recorded import Asked, Data, split
from pipeline.training.traces import Trace, load_part, window_traces
from streams.sources import open_source
from streams.types import InputError, Resolution, SourceInfo, Window
from streams.windows import windows

WINDOWS = [toy_window(1_000_000 * second) for second in range(7)]
ASKED = Asked(["What is happening?", "Why?"], 1_000_000, 1_000_000)
INFO = SourceInfo("drive.aedat4", Resolution(4, 4), Resolution(4, 4), start_us=0, duration_us=7_000_000)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random toy models never end by themselves; chunks of three windows."""
    monkeypatch.setattr(traces, "LONGEST", 6)
    monkeypatch.setattr(recorded, "PART", 3)


def from_window(first: int) -> Iterator[Window]:
    return iter(WINDOWS[first:])


def extracted(data: Data, number: int) -> list[tuple[int, Trace]]:
    list(data.extract(number, toy_models(), from_window, 7))
    return [(facts["window"], one) for path in sorted(data.place(number).glob("traces-*.pt"))
            for facts, one in load_part(path)]


def test_a_state_is_paired_with_the_word_it_predicts() -> None:
    """With itself as the event VLM, the verifier's and the event VLM's states are the same, word by word, and each says
    the word it is kept with."""
    # D7: the original compared states one word apart.
    models = toy_models(same=True)
    for guess in ([], [9, 9], [5]):
        (one,) = window_traces(models.rgb, models.event, WINDOWS[3], [("Why?", guess)])
        answer, states = one.tokens[one.prompt:], one.states[one.prompt:, -1].float()
        assert one.event is not None
        torch.testing.assert_close(one.event.float(), states, atol=5e-3, rtol=5e-3)
        assert models.rgb.decoder is not None
        assert models.rgb.decoder.head(states).argmax(-1).tolist() == answer
        assert len(answer) == 6
        assert one.event_prompt == one.tokens[:one.prompt]


def test_without_shared_words_only_the_verifier_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    models = toy_models()
    monkeypatch.setattr(traces, "relation", lambda event, rgb: "text")
    (one,) = window_traces(models.rgb, models.event, WINDOWS[0], [("Why?", [])], rows=False)
    assert (one.event, one.event_prompt, one.visual, one.entering, one.event_visual) == (None,) * 5
    assert len(one.states) == len(one.tokens)


def test_a_killed_extraction_goes_on_and_ends_with_the_same(tmp_path: Path) -> None:
    whole = Data.begin(tmp_path / "whole", toy_models(), ASKED)
    wanted = extracted(whole, whole.add(INFO))
    assert [window for window, _ in wanted] == sorted([*range(7)] * 2)
    killed = Data.begin(tmp_path / "killed", toy_models(), ASKED)
    number = killed.add(INFO)
    for progress in killed.extract(number, toy_models(), from_window, 7):
        if progress.step == 5:
            break
    again = Data.begin(tmp_path / "killed", toy_models(), ASKED)
    assert (again.add(INFO), again.recordings[0]["windows"], again.finished(0)) == (number, 3, False)
    found = extracted(again, number)
    assert [one.tokens for _, one in found] == [one.tokens for _, one in wanted]
    for (_, mine), (_, other) in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine.states, other.states, atol=5e-3, rtol=5e-3)
    assert again.recordings == whole.recordings
    assert again.finished(number)
    assert extracted(again, number) != []
    assert list(again.extract(number, toy_models(), lambda first: pytest.fail("read again"), 7)) == []


def test_windows_without_frames_are_counted(tmp_path: Path) -> None:
    """D13: samples of the original could vanish in silence."""
    data = Data.begin(tmp_path, toy_models(), ASKED)
    blind = [replace(window, frames=[]) if second % 2 else window for second, window in enumerate(WINDOWS)]
    list(data.extract(data.add(INFO), toy_models(), lambda first: iter(blind[first:]), 7))
    counted = data.recordings[0]
    assert (counted["windows"], counted["without_frames"], counted["answers"]) == (7, 3, 8)


def test_a_folder_belongs_to_its_weights_and_questions(tmp_path: Path) -> None:
    data = Data.begin(tmp_path, toy_models(), ASKED)
    Data.begin(tmp_path, toy_models(), ASKED)
    with pytest.raises(InputError, match=r"\"What is happening\?\", \"Why\?\", 1 s every 1 s.*ask the same"):
        Data.begin(tmp_path, toy_models(), replace(ASKED, rows=False))
    with pytest.raises(InputError, match="choose the same with --model"):
        data.check(replace(toy_models(), rgb=ToyVLM(9)), ("verifier", "event"))
    with pytest.raises(InputError, match="choose the same with --drafter-model"):
        data.check(replace(toy_models(), event=None), ("verifier", "event"))
    data.check(replace(toy_models(), event=None), ("verifier",))
    renamed = ToyVLM(1)
    renamed.decoder = None  # type: ignore[assignment]
    with pytest.raises(InputError, match="shows none"):
        Data.begin(tmp_path / "other", replace(toy_models(), rgb=renamed), ASKED)
    with pytest.raises(InputError, match="parafovea extract RECORDING"):
        Data.read(tmp_path / "nothing")
    (tmp_path / "data.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        Data.read(tmp_path)


def test_whole_recordings_are_held_out(tmp_path: Path) -> None:
    data = Data.begin(tmp_path, toy_models(), ASKED)
    for number in range(3):
        extracted(data, data.add(replace(INFO, name=f"drive/{number}.aedat4")))
    learn, held_out, said = split(data)
    assert (len(learn), len(held_out)) == (28, 14)
    assert said == "1 of 3 recordings held out: drive/0.aedat4"
    first = [one.tokens for _, one in extracted(data, 0)]
    assert [one.tokens for one in held_out] == first


def test_of_one_recording_no_overlapping_window_is_learnt_from(tmp_path: Path) -> None:
    """D14: half of every clip of the original was in the next one too."""
    data = Data.begin(tmp_path, toy_models(), replace(ASKED, stride_us=400_000))
    number = data.add(INFO)
    found = extracted(data, number)
    learn, held_out, said = split(data)
    tokens = [[one.tokens for window, one in found if window in chosen] for chosen in (range(4), (6,))]
    assert [[one.tokens for one in part] for part in (learn, held_out)] == tokens
    assert "one recording only, of which the last 1 of 7 windows" in said


def test_published_models_learn_from_each_other(tmp_path: Path) -> None:
    """EventGPT's and LLaVA's prompts differ, their words do not: states are paired by word, and the adapters, the one
    that changes EventGPT too, are read back by the drafter, losslessly."""
    for name in ("llava", "eventgpt"):
        (tmp_path / name).mkdir()
    tiny_llava(tmp_path / "llava")
    tiny_eventgpt(tmp_path / "eventgpt")
    models = load_models(torch.device("cpu"), f"llava:{tmp_path / 'llava'}", f"eventgpt:{tmp_path / 'eventgpt'}")
    rgb, event = models.rgb, models.event
    assert event is not None
    assert event.tokenizer.vocabulary != rgb.tokenizer.vocabulary
    seen = [replace(tiny_window(seed), events=events(seed)) for seed in range(3)]
    (one,) = window_traces(rgb, event, seen[0], [(QUESTION, [])])
    assert one.event_prompt not in (None, one.tokens[:one.prompt])
    assert one.event is not None
    assert event.decoder is not None
    with torch.inference_mode():
        torch.testing.assert_close(event_states(event.decoder, [one])[0], one.event.float(), atol=2e-2, rtol=1e-2)
    data = Data.begin(tmp_path / "data", models, replace(ASKED, questions=[QUESTION]))
    list(data.extract(data.add(INFO), models, lambda first: iter(seen[first:]), 3))
    learn, held_out, _ = split(data)
    assert rgb.decoder is not None
    words, limits = Words(rgb.decoder, torch.device("cpu")), Limits(max_new_tokens=8)
    plain = answered(Captioner(models), "none", seen[2], QUESTION, limits=limits)
    for level in ("L4", "L6"):
        list(train_adapter(level, event.decoder, words, learn, held_out, Run(2, tmp_path / level)))
        guessed = answered(Captioner(models), f"adapter:{tmp_path / level}", seen[2], QUESTION, limits=limits)
        assert guessed.tokens == plain.tokens


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (extracting, training):
        monkeypatch.setattr(module, "load", lambda options: toy_models())


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code in (0, 2), result.output
    return result.output


@pytest.mark.usefixtures("toy")
def test_from_a_recording_to_a_drafter(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    said = run("extract", bundled_recording(), bundled_recording(), "--out", data, "--question", "Why?", "--stride", 4,
               "--json")
    line = json.loads(next(line for line in said.splitlines() if line.startswith('{"type"')))
    assert (line["type"], line["recordings"], line["windows"], line["answers"]) == ("extract", 1, 5, 5)
    for name in ("adapter:L4", "adapter:L6", "specvlm"):
        said = run("train", name, "--data", data, "--out", out, "--steps", 2)
        folder = out / name.replace(":", "-")
        assert f"--drafter {name.partition(':')[0]}:{folder}" in said.replace("\n", "")
        assert "last 1 of 5 windows are held out" in said.replace("\n", " ")
        assert drafters.create(f"{name.partition(':')[0]}:{folder}", toy_models()).parameters > 0
    said = run("train", "all", "--data", data, "--out", tmp_path / "all", "--steps", 1, "--no-stages")
    assert {path.name for path in (tmp_path / "all").iterdir() if path.is_dir()} == {
        name.replace(":", "-") for name in (*TRAINABLE, "recall", *(f"adapter:{level}" for level in LEVELS))}
    assert "skipped" not in said.replace("\n", " ")
    assert "is no recording" in run("extract", "synthetic://1", "--out", data)
    assert "--stride 0.0 is not allowed" in run("extract", bundled_recording(), "--out", data, "--stride", 0)
    assert "begun with other questions" in run("extract", bundled_recording(), "--out", data)
    assert "know about rendered scenes" in run("train", "eagle", "--out", out)
    for name in ("eagle", "all"):
        assert run("train", name, "--out", out, "--data", tmp_path).count("holds no data.json") == 1


def test_a_window_is_the_same_from_wherever_reading_goes_on() -> None:
    with open_source(str(bundled_recording())) as source:
        whole = list(windows(source, 1_000_000, 4_000_000))
    with open_source(str(bundled_recording())) as source:
        rest = list(extracting.windows_from(source, 4_000_000, 3))
        assert list(extracting.windows_from(source, 4_000_000, 9)) == []
    assert [(one.start_us, len(one.events), len(one.frames)) for one in rest] == [
        (one.start_us, len(one.events), len(one.frames)) for one in whole[3:]]
