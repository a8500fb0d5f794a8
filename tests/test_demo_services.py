"""What `demo` hands to the page: model pairs that are loaded when they are chosen, and measured curves."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from app import demo
from app.compose import ModelOptions, bundled_recording, load
from app.demo import Pairs, measured_curves, pairs_of
from pipeline.clips import clips
from pipeline.models import WEIGHTS
from pipeline.rereading import find
from streams.types import InputError
from ui.comparing import compare
from ui.services import AskSettings


def test_a_pair_is_loaded_once_and_only_when_it_is_chosen() -> None:
    given, other, loaded = SimpleNamespace(), SimpleNamespace(), []
    pairs = Pairs("mine", given, {"mini": lambda: loaded.append(1) or other})
    assert pairs.models("") is pairs.models("mine") is given
    assert loaded == []
    assert pairs.models("mini") is pairs.models("mini") is other
    assert loaded == [1]
    with pytest.raises(InputError, match="choose one of mine, mini"):
        pairs.models("/etc")


def test_a_comparison_reads_in_all_of_its_runs_what_the_question_before_has_read(
        monkeypatch: pytest.MonkeyPatch) -> None:
    offered = demo.services(load(ModelOptions("cpu", compiled=False)), str(bundled_recording()), "story")
    asked = next(iter(clips(1))), "How many objects are there?", AskSettings("vlm"), threading.Event()
    known = list[bool]()
    monkeypatch.setattr("pipeline.rereading.find", lambda *at: known.append(find(*at) is not None) or find(*at))
    assert list(offered.converse()(*asked))
    once = len(known)
    assert list(offered.converse()(*asked))
    assert known[once:] == [True] * once  # a second question does not
    *_, measured = compare(offered.converse, offered.unread, *asked)
    assert measured.same
    # the verifier four times, the event model in two of the runs
    assert known[2 * once:] == [False] * 6


def test_the_bundled_pair_can_be_chosen_beside_another() -> None:
    assert pairs_of(ModelOptions()) == ("mini", {})
    name, others = pairs_of(ModelOptions(model="mini:runs/mini"))
    assert (name, list(others)) == ("mini:runs/mini", ["mini"])


def test_curves_of_the_bundled_pair_rise_from_measured_guesses(tmp_path: Path) -> None:
    curves = measured_curves(WEIGHTS)
    assert {"vlm", "eagle", "mix"} <= set(curves)
    for curve in curves.values():
        shares = [share for _, share in curve.points]
        assert shares == sorted(shares)
        assert 0 <= shares[0] <= shares[-1] <= 1
        assert "guesses" in curve.said
    commit = json.loads((WEIGHTS / "calibration.json").read_text())["commit"]
    assert not commit.endswith("dirty")
    assert measured_curves(tmp_path) == {}


@pytest.mark.parametrize(("host", "login", "warned"), [
    ("127.0.0.1", None, False), ("0.0.0.0", None, True), ("0.0.0.0", "ada:lovelace1843", False)])
def test_a_page_that_others_reach_warns_unless_it_has_a_password(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str, login: str | None,
        warned: bool) -> None:
    monkeypatch.setattr("ui.build_app", lambda services, login, hosts: (login, hosts))
    monkeypatch.setattr("ui.serve", lambda app, *at: served.append(app))
    monkeypatch.setattr(demo, "services", lambda *given: None)
    monkeypatch.setattr(demo, "load", lambda options: None)
    served: list[tuple] = []
    demo.run(None, host, 0, False, ModelOptions(), login)
    told = capsys.readouterr().err
    assert ("everybody who reaches" in told and "--auth user:password" in told) == warned
    ((asked, hosts),) = served
    assert asked == login
    assert (hosts is None) == (host != "127.0.0.1")
