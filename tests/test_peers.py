"""transformers on our weights says what we say, reads every window itself, and is counted as we are."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from toy_models import ToyVLM, tokenizer, toy_models, toy_window

from app import peering
from app.cli import main
from pipeline import clips, decoding
from pipeline import peers as peers_module
from pipeline.captioner import Captioner
from pipeline.decoding import Limits
from pipeline.measure import PLAIN, Answer, BenchTable, Runs, answered, compare
from pipeline.models import Models
from pipeline.peers import PEERS, Peers, Places, compared, seeing_llama
from pipeline.session import DecoderSession
from pipeline.types import Draft, Verdict
from streams.types import InputError, Window

QUESTION = "What is happening?"
LIMITS = Limits(max_new_tokens=21, budget=6)
SETTINGS = [(name, number) for name, choices in PEERS.items() for number in range(len(choices))]


class WideVLM(ToyVLM):
    """Sees more rows than the event VLM has; remembers which windows it read."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.read = list[Window]()

    def open(self, window: Window, prompt: str) -> DecoderSession:
        def view() -> torch.Tensor:
            self.read.append(window)
            return torch.linspace(0, 1, 3)[:, None].repeat(1, self.hidden_size) + float(window.start_us % 7)

        return DecoderSession(self.decoder, view, tokenizer().prompt(prompt), capacity=390, taps=self.taps)


def wide_models() -> Models:
    return replace(toy_models(), rgb=WideVLM(1))


@pytest.mark.parametrize(("name", "number"), SETTINGS)
def test_every_setting_says_what_plain_decoding_says(name: str, number: int) -> None:
    models = wide_models()
    peers = Peers(models)
    peers.settings[name] = PEERS[name][number]
    wanted = answered(Captioner(models), PLAIN, toy_window(), QUESTION, limits=LIMITS)
    answer = peers.answer(name, toy_window(), QUESTION, LIMITS)
    assert answer.tokens == wanted.tokens
    assert len(answer.tokens) == answer.caption.tokens == 21
    assert answer.caption.cycles == 21 if name == "transformers_generate" else answer.caption.cycles <= 21


def test_an_assistant_that_is_the_verifier_is_accepted() -> None:
    models = toy_models(same=True)
    peers = Peers(models)
    assert peers.answer("transformers_assisted", toy_window(), QUESTION, LIMITS).caption.cycles < 8


def test_the_end_token_ends_both(monkeypatch: pytest.MonkeyPatch) -> None:
    models = toy_models()
    third = answered(Captioner(models), PLAIN, toy_window(), QUESTION, limits=LIMITS).tokens[2]
    monkeypatch.setattr(models.tokenizer, "eos", third)
    monkeypatch.setattr(models.tokenizer, "ends", frozenset({third}))
    wanted = answered(Captioner(models), PLAIN, toy_window(), QUESTION, limits=LIMITS).tokens
    assert wanted[-1] == third
    peers = Peers(models)
    for name in PEERS:
        assert peers.answer(name, toy_window(), QUESTION, LIMITS).tokens == wanted


def test_empty_places_change_nothing() -> None:
    models = toy_models()
    assert models.event is not None
    assert models.event.decoder is not None
    session = models.event.open(toy_window(), QUESTION)
    session.prefill()
    assert isinstance(session, DecoderSession)
    wanted = []
    for _ in range(4):
        wanted.append(session.score(nothing := Draft.none()).logits[0])
        session.commit(nothing, Verdict([], int(wanted[-1].argmax()), "plain"))
    rows, prompt = session.read()
    model, places = seeing_llama(models.event.decoder), 5
    words = model.get_input_embeddings()
    assert isinstance(words, Places)
    ids = torch.tensor([[0] * places + prompt])
    for _ in range(2):
        words.look(rows, places)
        said = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False,
                              output_logits=True, return_dict_in_generate=True, pad_token_id=0)
        for logits, ours in zip(said.logits, wanted, strict=True):
            torch.testing.assert_close(logits[0], ours, atol=2e-5, rtol=1e-5)


def measured(models: Models, peers: Peers, names: list[str]) -> BenchTable:
    table, windows = BenchTable(), [toy_window(0), toy_window(1_000_001)]
    for _ in compare(models, names, windows, [], table, {"detailed": QUESTION}, limits=LIMITS,
                     peers=peers.callables(LIMITS)):
        pass
    return table


def test_everybody_reads_every_window_anew() -> None:
    models = wide_models()
    peers = Peers(models)
    assert isinstance(models.rgb, WideVLM)
    table = measured(models, peers, ["vlm"])
    contestants, runs = 2 + len(PEERS), table.runs["detailed"]
    assert set(runs) == {PLAIN, "vlm", *PEERS}
    assert all(run.answers == 4 and run.identical == 4 and sorted(run.seconds) == [0, 1] for run in runs.values())
    timed = models.rgb.read[contestants:]  # everybody warms up first
    assert len(timed) == len({id(window.frames) for window in timed}) == 2 * 2 * contestants
    assert table.broken() == []
    assert list(table.to_json()["drafters"]) == [PLAIN, "vlm"]
    assert table.best("detailed") == "vlm"


def test_tuning_keeps_the_fastest_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = Peers(toy_models())
    real = peers.answer

    def slow_but_one(name: str, window: Window, question: str, limits: Limits) -> Answer:
        answer = real(name, window, question, Limits(max_new_tokens=1))
        took = 1.0 if peers.settings[name] == PEERS[name][2] else 5.0
        return replace(answer, caption=replace(answer.caption, total_s=took))

    monkeypatch.setattr(peers, "answer", slow_but_one)
    peers.tune(toy_window(), LIMITS)
    assert peers.settings == {name: choices[2] for name, choices in PEERS.items()}
    assert peers.skipped == {}


def test_what_transformers_refuses_is_skipped_with_its_words() -> None:
    models = toy_models()
    peers = Peers(models)
    assert peers._assistant is not None
    peers._assistant.config.vocab_size += 1
    peers.tune(toy_window(), Limits(max_new_tokens=2))
    assert list(peers.skipped) == ["transformers_assisted"]
    assert peers.skipped["transformers_assisted"].startswith("transformers does not accept it: The main and assistant")
    assert list(Peers(replace(models, event=None)).skipped) == ["transformers_assisted"]
    other = ToyVLM(1)
    other.decoder = None  # type: ignore[assignment]
    with pytest.raises(InputError, match="already runs there"):
        Peers(replace(models, rgb=other))


def test_ratios_are_of_sums_over_clips() -> None:
    times = {PLAIN: (4.0, 2.0), "vlm": (2.0, 1.0), "transformers_generate": (8.0, 4.0)}
    table = BenchTable(peers=("transformers_generate",))
    for name, seconds in times.items():
        runs = table.runs["short"][name] = Runs(first_token_s=[0.5])
        for clip, time in enumerate(seconds):
            runs.seconds[clip] = time
            runs.first_words[clip] += (time / 4 if name == "vlm" else float("nan"), time / 2)
    both = compared(table, "short", {"transformers_generate": PEERS["transformers_generate"][0]})
    row = both["peers"]["transformers_generate"]
    assert (row["speedup_of_none"], row["speedup_of_best"], both["best"]["speedup"]) == (2.0, 4.0, 2.0)
    assert row["speedup_of_best_ci"] == [4.0, 4.0]
    assert both["first_word"]["first_draft_over_first_token_own"] == 0.5
    assert both["first_word"]["first_draft_over_first_token_transformers_generate"] == 0.125
    del table.runs["short"]["vlm"]
    assert set(compared(table, "short", {})["first_word"]) == {"drafter"}  # who guesses nothing has no first guess


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command with toy models on toy windows; random toys never end by themselves."""
    monkeypatch.setattr(decoding, "Limits", lambda budget: Limits(8, budget))
    monkeypatch.setattr(peers_module, "ROUNDS", 1)
    for name, choices in PEERS.items():
        monkeypatch.setitem(PEERS, name, choices[:1])
    monkeypatch.setattr(peering, "load", lambda options: toy_models())
    monkeypatch.setattr(clips, "clips", lambda count: [toy_window(1_000_000 * clip) for clip in range(count)])


def run(*arguments: str) -> tuple[Result, dict]:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result, json.loads(result.stdout.splitlines()[-1]) if result.exit_code == 0 else {}


@pytest.mark.usefixtures("toy")
def test_the_command_writes_what_was_compared_and_how(tmp_path: Path) -> None:
    out = tmp_path / "report"
    result, line = run("bench", "--peers", "--clips", "2", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    assert (line["type"], line["unequal"], list(line["drafters"])) == ("bench", [], [PLAIN, "vlm"])
    assert set(line["peers"]) == set(PEERS)
    assert set(line["peers_by_length"]) == {"detailed", "brief", "short"}
    assert all(row["identity"] == 1 for both in line["peers_by_length"].values() for row in both["peers"].values())
    assert json.loads((out / "peers.json").read_text()) == line
    assert (out / "peers.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "peers.md").read_text()
    for fact in ("parafovea bench --peers --clips 2", line["commit"], line["transformers"], "batch 1", "cache"):
        assert fact in text


@pytest.mark.usefixtures("toy")
def test_a_peer_with_other_words_is_pointed_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = Peers.__init__

    def other_weights(self: Peers, models: Models) -> None:
        real(self, models)
        self._target.lm_head.weight.mul_(-1)

    monkeypatch.setattr(Peers, "__init__", other_weights)
    result, line = run("bench", "--peers", "--clips", "1", "--json", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert line["peers"]["transformers_generate"]["identity"] == 0
    assert "only 0% of the detailed answers of transformers_generate equal ours" in result.stderr
    assert "equal ours" in (tmp_path / "peers.md").read_text()


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(("options", "message"), [
    (["--temperature", "0.7"], "got the rule sampling"), (["--rule", "typical"], "got the rule typical"),
    (["--checkpoints", "nowhere"], "different comparisons"), (["--clips", "0"], "at least 1")])
def test_what_cannot_be_compared_is_refused(options: list[str], message: str) -> None:
    result, _ = run("bench", "--peers", *options)
    assert result.exit_code == 2
    assert message in result.stderr
