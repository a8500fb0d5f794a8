"""`parafovea doctor`: one line per thing, one line of advice per problem."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from click.testing import CliRunner
from tiny_checkpoints import tiny_llava, window

from app import doctor
from app.cli import main
from app.compose import ModelOptions
from pipeline.captioner import Captioner
from pipeline.types import VLM, Caption
from streams.sources import dv
from streams.types import InputError


@pytest.fixture(autouse=True)
def no_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dv, "discover", lambda: [{"uri": "dv://00000391", "model": "DAVIS", "serial": "00000391"}])


def test_everything_is_looked_at() -> None:
    result = CliRunner().invoke(main, ["doctor", "--seconds", "0", "--json"])
    assert result.exit_code == 0, result.output
    line = json.loads(result.stdout)
    found = {finding["subject"]: finding for finding in line["findings"]}
    assert {"system", "packages", "processor", "event cameras", "webcams", "models", "passes over few rows",
            "self-test"} <= set(found)
    assert found["event cameras"]["found"] == "dv://00000391"
    assert "all the same as without guesses" in found["self-test"]["found"]
    assert "mini-rgb" in found["models"]["found"]
    assert line["problems"] == sum(finding["advice"] is not None for finding in line["findings"])
    people = CliRunner().invoke(main, ["doctor", "--seconds", "0"])
    assert people.exit_code == 0
    assert "ok  models: mini-event" in people.stdout


def test_a_model_that_does_not_load_is_one_line_of_advice(tmp_path: Path) -> None:
    tiny_llava(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    result = CliRunner().invoke(main, ["doctor", "--seconds", "0", "--model", str(tmp_path)])
    assert result.exit_code == 2
    assert "!!  models: do not load\n    no weights in" in result.stdout


def test_every_problem_has_its_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> list[str]:
        raise InputError("cameras cannot be listed: unplug them and plug them in again.")

    monkeypatch.setattr(dv, "discover", failing)
    assert doctor._events_cameras().advice == "cameras cannot be listed: unplug them and plug them in again."
    monkeypatch.setattr(doctor, "_version", lambda package: None if package == "aedat" else "1")
    assert doctor._installed().broken
    assert doctor._installed().found == "aedat missing"
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(doctor, "LITTLE_BYTES", 2**60)
    advice = {finding.subject: finding.advice for finding in doctor._devices()}
    assert "close other programs" in str(advice["processor"])
    assert "CUDA build" in str(advice["GPU"])


def test_it_says_how_few_rows_pass(tmp_path: Path) -> None:
    tiny_llava(tmp_path)
    models = doctor.load(ModelOptions("cpu", str(tmp_path), compiled=False))
    assert doctor._passes(models).found == "not compiled"

    def beside(graphs: object) -> str:
        weight = SimpleNamespace(device=torch.device("cuda", 0))
        event = SimpleNamespace(decoder=SimpleNamespace(embed=SimpleNamespace(weight=weight), graphs=graphs))
        asked = {"event": None, "rgb": "it runs on cpu"} if graphs else {}
        return doctor._passes(replace(models, event=cast(VLM, event), ordinary=asked)).found

    assert beside(None) == "not compiled; no CUDA graphs; --compile makes them (never run on a GPU by their authors)"
    assert beside(object()) == "not compiled; CUDA graphs; no CUDA graphs of rgb: it runs on cpu"


def test_the_self_test_sees_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D12: identity is looked at on this machine, not assumed."""
    tiny_llava(tmp_path)
    models = doctor.load(ModelOptions("cpu", str(tmp_path)))
    clock = count(0, 4)
    same = doctor._self_test(Captioner(models), [window()], 10, lambda: float(next(clock)))
    assert same.advice is None
    assert same.found.startswith("3 answers")
    said = Captioner.ask

    def sometimes(self: Captioner, asked: object, question: str, drafter: str | None = None) -> object:
        for record in said(self, asked, question, drafter):
            if isinstance(record, Caption) and drafter is None:
                yield replace(record, text=record.text + "!")
            else:
                yield record

    monkeypatch.setattr(Captioner, "ask", sometimes)
    wrong = doctor._self_test(Captioner(models), [window()], 0)
    assert wrong.broken
    assert "1 of 1 answers differ" in wrong.found

