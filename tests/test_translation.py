"""Models with different vocabularies: the same words are shared, others go through text, the answer stays the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_decoding import ScriptedSession
from tiny_checkpoints import QUESTION, byte_tokenizer, events, llama_tokenizer, tiny_eventgpt, tiny_llava, window
from toy_models import toy_heads

from pipeline import drafters
from pipeline.acceptance import Greedy, Sampling
from pipeline.captioner import Captioner
from pipeline.decoding import Ending, Limits, decode
from pipeline.models import Models, load_models
from pipeline.translation import TextDrafter, relation, words, written
from pipeline.types import Caption, Cycle, Draft, Rule, Scores, Verdict
from pipeline.vocabulary import HubTokenizer
from streams.types import InputError, Window

CPU = torch.device("cpu")
ANSWER = "A red car drives to the left. The key elements in this scene include a street and a tree."


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Two models with the same words and different special tokens, as EventGPT and LLaVA."""
    folder = tmp_path_factory.mktemp("pair")
    tiny_llava(folder / "llava")
    tiny_eventgpt(folder / "eventgpt", marked=True)
    return load_models(CPU, str(folder / "llava"), str(folder / "eventgpt"))


def both() -> Window:
    return replace(window(), events=events())


def answer(models: Models, drafter: str, rule: Rule) -> Caption:
    *_, caption = Captioner(models).ask(both(), QUESTION, drafter, rule, Limits(max_new_tokens=40, budget=5))
    assert isinstance(caption, Caption)
    return caption


def test_vocabularies_are_compared_by_their_words(tmp_path: Path) -> None:
    plain, marked, other = tmp_path / "plain", tmp_path / "marked", tmp_path / "other"
    llama_tokenizer(plain)
    llama_tokenizer(marked, ("<image>",))
    byte_tokenizer(other)
    first, second, third = (HubTokenizer.of(folder) for folder in (plain, marked, other))
    assert relation(first, first) == "same"
    assert relation(first, second) == relation(second, first) == "words"
    assert relation(first, third) == "text"
    assert not {"<s>", "<image>"} & set(words(second))


@pytest.mark.parametrize("drafter", ["vlm", "vlm:tree", "recall"])
@pytest.mark.parametrize("rule", [Greedy(), Sampling(0.9, seed=5)], ids=["greedy", "sampling"])
def test_shared_words_change_nothing(pair: Models, drafter: str, rule: Rule) -> None:
    assert not pair.through_text
    assert answer(pair, drafter, rule).text == answer(pair, "none", rule).text


def test_what_only_one_of_them_means_is_never_guessed(pair: Models) -> None:
    assert pair.event is not None
    session = pair.event.open(both(), QUESTION)
    session.prefill()
    logits = session.score(Draft.chain([pair.tokenizer.vocabulary["<image>"], 5], "t")).logits
    assert logits.shape == (3, pair.tokenizer.size)
    unsayable = [i for name, i in pair.tokenizer.vocabulary.items() if pair.event.tokenizer.vocabulary.get(name) != i]
    assert unsayable
    assert torch.isinf(logits[:, unsayable]).all()
    assert torch.isfinite(logits[:, pair.tokenizer.eos]).all()


class Scripted:
    """An event VLM that says a text, whatever it sees."""

    name, parameters, decoder = "scripted", 0, None

    def __init__(self, tokenizer: HubTokenizer, text: str) -> None:
        self.tokenizer, self._line = tokenizer, [*tokenizer.encode(text), tokenizer.eos]

    def open(self, window: Window, prompt: str) -> Scripted:
        self.committed: list[int] = []
        return self

    def prefill(self) -> None:
        pass

    def score(self, draft: Draft) -> Scores:
        # goes on where its text is as long as what has been said
        lengths = [len(written(self.tokenizer, self._line[:at])) for at in range(len(self._line))]
        said = len(written(self.tokenizer, self.committed))
        at = next((i for i, length in enumerate(lengths) if length >= said), len(self._line) - 1)
        logits = torch.nn.functional.one_hot(torch.tensor([self._line[at]]), self.tokenizer.size).float()
        return Scores(logits, torch.zeros(1, 1, 1))

    def commit(self, draft: Draft, verdict: Verdict) -> None:
        self.committed.append(verdict.token)

    def extend(self, tokens: list[int]) -> None:
        self.committed += tokens

    def rewind(self, n_committed: int) -> None:
        self.committed = self.committed[:n_committed]


@pytest.mark.parametrize("guess", [ANSWER, ANSWER.replace("red", "big"), "Nothing of that.", ""])
def test_guesses_go_through_text(guess: str, tmp_path: Path) -> None:
    llama_tokenizer(tmp_path / "rgb")
    byte_tokenizer(tmp_path / "event")
    rgb, event = HubTokenizer.of(tmp_path / "rgb"), HubTokenizer.of(tmp_path / "event")
    line = [*rgb.encode(ANSWER), rgb.eos]
    drafter = TextDrafter("vlm", Scripted(event, guess), rgb)  # type: ignore[arg-type]
    *records, ending = decode(ScriptedSession(line), drafter, Greedy(), rgb, window(), QUESTION,  # type: ignore[arg-type]
                              Limits(budget=8))
    assert isinstance(ending, Ending)
    assert ending.tokens == line
    rounds = sum(isinstance(record, Cycle) for record in records)
    if guess == ANSWER:
        assert rounds <= len(line) / 8 + 1
    elif "big" in guess:
        # wrong in one word: before it and behind it the guesses pass
        assert rounds < len(line) / 3
    assert written(rgb, line).strip() == ANSWER


def test_the_bundled_event_model_guesses_for_any_model_through_text(tmp_path: Path) -> None:
    tiny_llava(tmp_path)
    models = load_models(CPU, str(tmp_path), "mini")
    assert models.through_text
    assert "guesses through text" in models.summary
    assert answer(models, "vlm", Greedy()).text == answer(models, "none", Greedy()).text
    with pytest.raises(InputError, match="needs the verifier's vocabulary"):
        drafters.create("vlm:tree", models)
    with pytest.raises(InputError, match="the verifier's vocabulary"):
        drafters.create(f"adapter:{toy_heads() / 'adapter-L1'}", models)
