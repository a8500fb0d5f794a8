"""Bench and calibrate: what is counted, what is written, and that a rule that is not lossless is found out."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from toy_models import told, toy_models, toy_window

from app import benching, calibrating, replaying, stages
from app.cli import main
from app.compose import bundled_recording
from pipeline import clips, decoding, drafters, rereading
from pipeline.acceptance import rule_for
from pipeline.captioner import Captioner, read_ahead
from pipeline.decoding import Limits
from pipeline.drafters import eagle
from pipeline.measure import PLAIN, REPLAYED, Answer, BenchTable, Runs, compare
from pipeline.models import Models
from pipeline.overlap import same_prefix
from pipeline.training.adapters import train_adapter
from pipeline.training.fitting import Run, Words
from pipeline.training.heads import train_drafter
from pipeline.types import Caption, Cycle, Draft, Emitted, Rule, Scores, Span, Verdict
from pipeline.vlms import mini
from streams.types import InputError, Window

WINDOWS = [toy_window(0), toy_window(1_000_000)]
QUESTION = {"detailed": "Describe the scene in detail."}


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random toy models never end by themselves."""
    monkeypatch.setattr(decoding, "Limits", partial(Limits, 21))


def measured(names: list[str], temperature: float = 0.0, replayed: list[list[Window]] | None = None) -> BenchTable:
    table = BenchTable()
    rule, limits = rule_for("", temperature), Limits(max_new_tokens=21, budget=6)
    for _ in compare(toy_models(same=True), names, WINDOWS, replayed or [], table, QUESTION, rule, limits):
        pass
    return table


def accept_everything(draft: Draft, scores: Scores, rule: Rule, index: int) -> Verdict:
    """A lossy verdict under the name of a lossless rule."""
    token = int(scores.logits[len(draft)].argmax())
    return Verdict(list(range(len(draft))), token, "bonus" if len(draft) else "plain")


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_every_drafter_is_identical_and_an_equal_one_is_accepted(temperature: float) -> None:
    table = measured(["vlm", "recall", "eagle", "medusa"], temperature)
    assert table.broken() == []
    line = table.to_json()
    assert list(line["drafters"]) == [PLAIN, "vlm", "recall", "eagle", "medusa"]
    assert all(row["identity"] == 1.0 for row in line["drafters"].values())
    own = line["drafters"]["vlm"]
    assert own["acceptance_rate"] == 1.0
    assert own["depth_acceptance"] == [1.0] * 6
    assert own["tau"] == 7
    assert all(low < 1.0 == high for low, high in own["depth_acceptance_ci"])
    assert line["drafters"][PLAIN]["tokens_per_pass"] == {"1": line["drafters"][PLAIN]["tokens_per_pass"]["1"]}
    assert line["drafters"][PLAIN]["speedup_ci"] == [1.0, 1.0]


def test_repeating_an_answer_adds_no_evidence() -> None:
    runs = measured(["vlm"]).runs["detailed"]["vlm"]
    assert runs.answers == 2 * len(WINDOWS)
    assert 2 * runs.emitted.total() == runs.cycles
    assert 2 * sum(count * tokens for tokens, count in runs.emitted.items()) == runs.tokens


def test_times_are_told_apart() -> None:
    spans = [[Span("prefill", 0.0, 1.0), Span("draft_prefill", 0.0, 0.5), Span("draft", 0.5, 1.25),
              Span("verify", 1.25, 2.0)], [Span("draft", 2.5, 3.0), Span("verify", 3.0, 4.0)]]
    cycles = [Cycle(number, [], [Emitted("a", 7, "plain")], some) for number, some in enumerate(spans)]
    caption = Caption(0, 1, "?", "aa", "x", "greedy", True, 2, 2, 0, 0, None, None, 2.0, 4.0, None, None, None)
    runs = Runs()
    runs.add(5, Answer(caption, cycles), [7, 7], first=True)
    assert (runs.seconds[5], runs.writing[5]) == (4.0, 3.0)
    assert (runs.draft_s, runs.draft_while_reading_s, runs.verify_s, runs.other_s) == (1.25, 0.5, 1.75, 0.5)
    assert runs.cycles * runs.round_s == runs.writing[5]  # after reading there is nothing but rounds
    assert (runs.identical, runs.emitted) == (1, {1: 2})


def test_a_sequence_that_goes_on_is_one_conversation() -> None:
    same = [toy_window(7_000_000 * second) for second in range(3)]
    table = measured(["recall"], replayed=[same])
    assert set(table.runs) == {"detailed", *REPLAYED}
    assert table.broken() == []
    recall = table.runs["replay"]["recall"]
    assert recall.answers == 2 * len(same)
    assert recall.tau > 1.2 * table.runs["detailed"]["recall"].tau  # the same view again: the same words again


def test_a_lossy_verdict_under_a_lossless_rule_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "walk", accept_everything)
    table = measured(["medusa"])
    assert table.row("detailed", "medusa")["identity"] < 1
    assert [sentence.split()[0] for sentence in table.broken()] == ["medusa"]
    table.runs["detailed"]["medusa"].lossless = False
    assert table.broken() == []  # a rule that says it is lossy may differ


def test_after_the_story_come_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "STORY_S", 1.5)
    told, scene = clips.sequences(3, stride_s=0.5)
    assert [window.start_us for window in (*told, *scene)] == [0, 500_000, 0]
    for window in (*told, *scene):
        assert window.start_us <= window.events["t"].min() <= window.events["t"].max() < window.end_us
        assert all(window.start_us <= frame.t_us < window.end_us for frame in window.frames)


def test_all_means_every_drafter_in_every_variant(tmp_path: Path) -> None:
    names = benching.wanted(benching.BenchOptions(1, "all", rule_for(), Limits(), None, False))
    assert set(drafters.names()) <= set(names)
    assert {"eagle:chain", "eagle:hass", "medusa:chain"} <= set(names)
    assert len(names) == len(set(names))


def test_what_cannot_be_made_is_skipped_with_its_reason() -> None:
    toy = toy_models()
    models = Models(toy.rgb, None, None, toy.tokenizer, toy.heads)
    chosen, skipped = benching.usable(["none", "vlm", "eagle"], models)
    assert chosen == ["none", "eagle"]
    assert "needs an event VLM" in skipped["vlm"]
    with pytest.raises(InputError, match="needs an event VLM"):
        benching.usable(["vlm"], models)


def test_a_model_shares_everything_with_itself() -> None:
    tokens = [5, 9, 12]
    rows = same_prefix(toy_models(same=True), "vlm", WINDOWS[0], "Why?", tokens, clip=0)
    assert [(row.shared, row.agree) for row in rows] == [(pytest.approx(1, abs=1e-5), True)] * 3
    others = same_prefix(toy_models(), "vlm", WINDOWS[0], "Why?", tokens, clip=0)
    assert all(0 < row.shared < 0.99 and row.entropy > 0 and 0 < row.p_draft < 1 for row in others)


@pytest.mark.parametrize("name", ["vlm:tree", "adapter:L4", "adapter:B1", "eagle", "eagle:static", "eagle3", "medusa",
                                  "specvlm", "skip"])
def test_every_drafter_with_a_distribution_is_compared_after_the_same_words(name: str) -> None:
    """Teacher-forced words against a live drafter that was told the same words."""
    models, tokens = toy_models(), [5, 9, 12, 30]
    rows = same_prefix(models, name, WINDOWS[0], "Why?", tokens, clip=0)
    # a reduced vocabulary may leave a place without a guess, nobody else does
    assert len(rows) == len(tokens)
    for row in rows:
        assert 0 <= row.shared <= 1 + 1e-5
        assert 0 < row.p_draft <= 1
        assert row.entropy >= 0
    assert all((row.cos_sim is None) == (drafters.create(name, models).compared is None) for row in rows)
    # what comes later changes nothing, what came before does
    rereading.forget()
    assert same_prefix(models, name, WINDOWS[0], "Why?", tokens[:3], clip=0) == rows[:3]
    if name != "skip":
        rereading.forget()
        other = same_prefix(models, name, WINDOWS[0], "Why?", [7, 9, 12], clip=0)
        assert other[0].entropy == rows[0].entropy
        assert other[2].entropy != rows[2].entropy  # a word later, for the sake of who reads only states


@pytest.mark.parametrize("name", ["recall", "mix:vlm+recall", "none"])
def test_who_has_no_distribution_is_left_out(name: str) -> None:
    assert same_prefix(toy_models(), name, WINDOWS[0], "Why?", [5, 9], clip=0) == []


def test_no_evidence_is_no_number() -> None:
    runs = Runs(first_token_s=[0.1])
    line = runs.to_json()
    assert line["acceptance_rate"] is line["cos_sim_mean"] is line["first_draft_s"] is None
    assert line["depth_acceptance"] == []


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands with toy models on toy windows."""
    for module in (benching, calibrating, replaying):
        monkeypatch.setattr(module, "load", lambda options: toy_models())
    monkeypatch.setattr(clips, "clips", lambda count: WINDOWS[:count])
    monkeypatch.setattr(clips, "sequences", lambda count, stride_s=1.0: [WINDOWS[:count]])


def run(*arguments: str) -> tuple[Result, dict]:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result, json.loads(result.stdout.splitlines()[-1])


@pytest.mark.usefixtures("toy")
def test_bench_writes_a_report_that_says_where_its_numbers_come_from(tmp_path: Path) -> None:
    out = tmp_path / "report"
    result, line = run("bench", "--clips", "2", "--drafters", "vlm,recall,eagle:nonsense", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    assert (line["type"], line["broken"], list(line["drafters"])) == ("bench", [], ["none", "vlm", "recall"])
    assert set(line["best"]) == {"detailed", "brief", "short", "replay", "replay_detailed"}
    assert "eagle:nonsense is skipped" in result.stderr
    assert json.loads((out / "bench.json").read_text()) == line
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "bench.md").read_text()
    for fact in ("parafovea bench --clips 2 --drafters vlm,recall,eagle:nonsense", line["commit"], torch.__version__,
                 line["machine"], "`eagle:nonsense` was skipped", "claimed", "estimate"):
        assert fact in text


@pytest.mark.usefixtures("toy")
def test_bench_says_loudly_that_a_rule_was_not_lossless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(decoding, "walk", accept_everything)
    result, line = run("bench", "--clips", "1", "--drafters", "vlm", "--budget", "4", "--json", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "NOT LOSSLESS: vlm gave" in result.stderr
    assert line["drafters"]["vlm"]["identity"] < 1
    assert "NOT LOSSLESS" in (tmp_path / "bench.md").read_text()


@pytest.mark.usefixtures("toy")
def test_a_replay_is_benched_by_itself(tmp_path: Path) -> None:
    arguments = ("bench", "--replay", "--clips", "2", "--drafters", "recall,vlm")
    result, line = run(*arguments, "--out", str(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    assert (line["type"], line["source"], line["sequences"], line["broken"]) == ("bench", "scenes", [2], [])
    assert {length: list(rows) for length, rows in line["by_length"].items()} == {
        length: [PLAIN, "recall", "vlm"] for length in REPLAYED}
    assert set(line["best"]) == set(REPLAYED)
    assert all(row["identity"] == 1 for rows in line["by_length"].values() for row in rows.values())
    assert (tmp_path / "bench.png").exists()
    result, line = run(*arguments[:1], "--replay", str(bundled_recording()), *arguments[2:], "--stride", "7", "--json")
    assert (result.exit_code, line["sequences"], line["stride_s"]) == (0, [2], 7)
    for bad, said in ((("--replay", "nothing.aedat4"), "nothing.aedat4"), (("--replay", "--stride", "0"),
                      "is not allowed"), (("--replay", "--peers"), "different comparisons")):
        result = CliRunner().invoke(main, ["bench", *bad])
        assert (result.exit_code, said in result.stderr) == (2, True), result.output


def test_a_replay_looks_at_the_next_window_meanwhile() -> None:
    looked, models = list[int](), toy_models(same=True)
    first = Event()

    def look(window: Window) -> None:
        looked.append(window.start_us)
        if len(looked) == 2:
            first.set()

    models.rgb.look = look  # type: ignore[method-assign]
    captioner = Captioner(models)
    with closing(read_ahead(iter(WINDOWS), captioner, "none")) as ahead:
        begun = next(ahead)
        assert first.wait(10)  # before anybody asks about the first
        assert (begun.start_us, looked) == (0, [0, 1_000_000])
        assert [window.start_us for window in ahead] == [1_000_000]


def test_a_window_is_looked_at_once_by_whoever_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, entered, go_on = list[int](), Event(), Event()
    real = mini.event_input

    def slow(window: Window) -> np.ndarray:
        looked.append(window.start_us)
        entered.set()
        assert go_on.wait(10)
        return real(window)

    monkeypatch.setattr(mini, "event_input", slow)
    vlm = mini.load("event")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(vlm.look, WINDOWS[0])
        assert entered.wait(10)
        second = pool.submit(vlm.slots, WINDOWS[0])
        go_on.set()
        first.result()
        assert second.result() is vlm.slots(WINDOWS[0])
    assert looked == [0]


def test_what_was_waited_for_counts() -> None:
    """Who answers fast waits for the next window: that is a part of a replay's time."""
    runs = Runs()
    cycle = Cycle(0, [], [Emitted("a", 7, "plain")], [Span("prefill", 0.0, 1.0), Span("verify", 1.0, 2.0)])
    caption = Caption(0, 1, "?", "a", "x", "greedy", True, 1, 1, 0, 0, None, None, 2.0, 2.0, None, None, None)
    runs.add(5, Answer(caption, [cycle]), [7], first=True, seconds=3.5)
    assert (runs.seconds[5], runs.writing[5]) == (3.5, 1.0)


@pytest.mark.usefixtures("toy")
def test_stages_of_a_training_come_in_their_order(tmp_path: Path) -> None:
    source = toy_models()
    assert source.rgb.decoder is not None
    head = eagle.load_head(source.heads / "eagle", source.rgb.decoder)
    for epoch in (10, 2):
        eagle.save_head(head, tmp_path / f"epoch-{epoch}")
    (tmp_path / "traces").mkdir()
    result, line = run("bench", "--clips", "1", "--drafters", "eagle", "--checkpoints", str(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    assert [row["checkpoint"] for row in line["checkpoints"]] == ["epoch-2", "epoch-10"]
    assert all(-1 <= row["cos_sim_mean"] <= 1 for row in line["checkpoints"])
    assert "epoch-10" in result.stderr
    assert line["learned"] == {}


@pytest.mark.usefixtures("toy")
def test_one_command_shows_what_every_training_changed(tmp_path: Path) -> None:
    toy, cpu = toy_models(), torch.device("cpu")
    assert toy.rgb.decoder is not None
    words = Words(toy.rgb.decoder, cpu)
    spoken = [told(list(range(5 + number, 14 + number))) for number in range(4)]
    list(train_drafter("eagle:hass", words, spoken, Run(2, tmp_path / "eagle-hass")))
    list(train_adapter("B1", None, words, spoken[1:], spoken[:1], Run(2, tmp_path / "adapter-B1")))
    result, line = run("bench", "--clips", "1", "--drafters", "all", "--checkpoints", str(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    rows = [(row["drafter"], row["step"], row["epochs"]) for row in line["checkpoints"]]
    assert rows == [("adapter:B1", 0, 0.0), ("adapter:B1", 1, 1.0), ("adapter:B1", 2, 2.0),
                    ("eagle:hass", 0, 0.0), ("eagle:hass", 1, 1.0), ("eagle:hass", 2, 2.0)]
    for name, gain in line["learned"].items():
        own = [row["tau"] for row in line["checkpoints"] if row["drafter"] == name]
        assert gain == {"untrained_tau": own[0], "trained_tau": own[-1], "better": own[-1] > own[0]}
        assert f"{name}: {own[0]:.2f} tokens per check untrained" in result.stderr
    assert list(line["learned"]) == ["adapter:B1", "eagle:hass"]
    assert line["budget"] == stages.BUDGET


def test_a_training_that_did_not_help_is_called_so() -> None:
    rows = [{"drafter": "eagle", "step": step, "tau": tau} for step, tau in ((0, 2.0), (5, 2.0))]
    assert stages.learned(rows) == {"eagle": {"untrained_tau": 2.0, "trained_tau": 2.0, "better": False}}
    assert stages.learned(rows[1:]) == {}


@pytest.mark.usefixtures("toy")
def test_calibrate_leaves_out_who_has_no_cosine(tmp_path: Path) -> None:
    result, line = run("calibrate", "--clips", "2", "--budget", "4", "--drafters", "recall,vlm", "--out", str(tmp_path),
                       "--json")
    assert result.exit_code == 0, result.output
    assert line["type"] == "calibration"
    assert list(line["drafters"]) == ["vlm"]
    assert "recall is left out: recall" in result.stderr
    assert len(line["drafters"]["vlm"]["thresholds"]) == 6
    assert line["drafters"]["vlm"]["same_prefix"] == line["same_prefix"]["vlm"]
    assert line["same_prefix"]["vlm"]["tokens"] == 2 * 21
    assert list(line["same_prefix"]["vlm"]["predictors"]) == ["cos_sim", "p_draft", "certainty"]
    assert json.loads((tmp_path / "calibration.json").read_text()) == line
    assert (tmp_path / "calibration.png").read_bytes().startswith(b"\x89PNG")
    assert "claimed" in (tmp_path / "calibration.md").read_text()
    result, line = run("calibrate", "--clips", "1", "--drafters", "recall", "--out", str(tmp_path / "b"), "--json")
    assert (result.exit_code, line["drafters"]) == (0, {})
    assert not (tmp_path / "b" / "calibration.png").exists()
    result, line = run("calibrate", "--clips", "1", "--drafters", "medusa", "--json")
    assert (result.exit_code, line["drafters"], line["same_prefix"]["medusa"]["cos_sim"]) == (0, {}, None)


def test_missing_libraries_are_named_before_measuring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nothing(name: str) -> SimpleNamespace:
        raise ImportError(name)

    monkeypatch.setattr("app.report.importlib.import_module", nothing)
    out = tmp_path / "unused"
    for arguments, missing in ((("bench", "--out", str(out)), "matplotlib"), (("calibrate",), "scipy")):
        result = CliRunner().invoke(main, list(arguments))
        assert result.exit_code == 2
        assert f"{missing}; install it with" in result.stderr
    assert not out.exists()
