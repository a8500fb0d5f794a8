"""What a GPU owner runs, on a GPU that is not there: no tensor meets one of another device, and answers stay the same.

How fast it is, and what CUDA makes of it, only a GPU can say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from test_graphs import Recorder
from tiny_checkpoints import tiny_eventgpt, tiny_llava, window
from toy_gpu import GPU, toy_gpu

from app.cli import main
from app.compose import ModelOptions, bundled_recording, load
from app.measuring import provenance
from pipeline import drafters
from pipeline.acceptance import Greedy
from pipeline.captioner import Captioner
from pipeline.clips import clips
from pipeline.decoding import Limits
from pipeline.evaluation import _agreement, answers
from pipeline.models import Models
from pipeline.scoreboard import Scoreboard
from pipeline.training.questions import QA
from pipeline.types import Caption
from pipeline.vlms.mini import MiniVLM
from streams.types import Window

LIMITS = Limits(max_new_tokens=20, budget=5)


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Models, list[Recorder]]]:
    with toy_gpu() as recorders:
        yield load(ModelOptions("cuda", compiled=True)), recorders


def test_the_toy_gpu_refuses_to_mix() -> None:
    with toy_gpu():
        there, here = torch.ones(3, device="cuda:0"), torch.ones(3)
        assert (there + 1)[:2].device == there.view(3, 1).device == here.to("cuda:0").device == GPU
        assert here.device == there.cpu().device == there.to("cpu").device == torch.zeros(2).device
        assert (there + torch.tensor(1.0)).tolist() == there[torch.tensor([0, 1, 2])].add(1).tolist()
        for mixing in (lambda: there + here, lambda: torch.cat([here, there]), lambda: here[there.long()],
                       lambda: torch.nn.functional.linear(there, here[None])):
            with pytest.raises(RuntimeError, match="same device"):
                mixing()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()


def said(models: Models, window: Window, name: str, question: str = "Describe the scene in detail.") -> str:
    *_, caption = Captioner(models).ask(window, question, name, Greedy(), LIMITS)
    assert isinstance(caption, Caption)
    return caption.text


def test_every_drafter_of_the_bundled_pair_answers_there(pair: tuple[Models, list[Recorder]]) -> None:
    models, recorders = pair
    assert models.summary.endswith("CUDA graphs: mini-rgb, mini-event")
    scene = next(iter(clips(1)))
    wanted = said(load(ModelOptions("cpu", compiled=False)), scene, "none")
    for name in ["none", *drafters.every()]:
        assert said(models, scene, name) == wanted, name
    # one each for timing, the verifier and the event model, and for the copy of it that adapter:L6 changes
    assert [recorder.replayed > 0 for recorder in recorders] == [True] * 4


@pytest.mark.usefixtures("pair")
def test_published_models_answer_there(tmp_path: Path) -> None:
    rgb, event = tmp_path / "rgb", tmp_path / "event"
    tiny_llava(rgb)
    tiny_eventgpt(event)
    found = set[str]()
    for device in ("cuda", "cpu"):
        models = load(ModelOptions(device, str(rgb), str(event), "fp32", compiled=device == "cuda"))
        assert models.summary.endswith("CUDA graphs: rgb, event") == (device == "cuda")
        found |= {said(models, window(), name) for name in ("none", "vlm")}
    assert len(found) == 1


def test_the_pair_is_evaluated_there(pair: tuple[Models, list[Recorder]]) -> None:
    models, _ = pair
    scene, asked = next(iter(clips(1))), QA("brief", "What is happening?", ((" nothing", None),))
    board = Scoreboard()
    assert isinstance(models.rgb, MiniVLM)
    assert isinstance(models.event, MiniVLM)
    answer, = answers(models.rgb, scene, [asked])
    assert answer.startswith(said(models, scene, "none", asked.question))
    _agreement(models.event, scene, [asked], [answer], board)
    assert board.ratios["agreement all"].of


@pytest.mark.usefixtures("pair")
def test_the_command_answers_there() -> None:
    result = CliRunner().invoke(main, ["ask", str(bundled_recording()), "What is happening?", "--device", "cuda",
                                       "--compile", "--json", "--budget", "4"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1])["text"]
    assert provenance()["processor"] == "toy"
