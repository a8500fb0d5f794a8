"""Models of transformers behind our session: the same text as generate, with and without drafts, in trees or chains."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import tiny_hub
import torch
from tiny_checkpoints import QUESTION, byte_tokenizer, tiny_llama, window
from toy_models import TreeDrafter
from transformers import LlamaForCausalLM

from pipeline.acceptance import Greedy, Sampling
from pipeline.decoding import Ending, Limits, decode
from pipeline.hub_session import HubSession
from pipeline.models import load_models
from pipeline.placement import Placement
from pipeline.types import Draft, Rule, Verdict
from pipeline.vlms import auto, llava
from streams.types import InputError

LENGTH = 64
NOTHING = Draft.none()
TREES = {"llava": True, "llava_next": True, "qwen2_vl": True, "qwen2_5_vl": True, "idefics3": True, "gemma3": False,
         "internvl": True}


@lru_cache(10)
def family(name: str) -> auto.AutoVLM:
    folder = Path(mkdtemp())
    tiny_hub.FAMILIES[name](folder)
    return auto.load("rgb", folder, Placement())


@pytest.fixture(params=tiny_hub.FAMILIES)
def vlm(request: pytest.FixtureRequest) -> Iterator[auto.AutoVLM]:
    return family(request.param)


def opened(vlm: auto.AutoVLM, question: str = QUESTION, seed: int = 0) -> HubSession:
    session = vlm.open(window(seed), question)
    session.prefill()
    return session


def plain(session: HubSession, length: int) -> list[int]:
    for _ in range(length):
        session.commit(NOTHING, Verdict([], int(session.score(NOTHING).logits[0].argmax()), "plain"))
    return session.committed


def generated(vlm: auto.AutoVLM) -> list[int]:
    inputs = vlm.inputs(window(), QUESTION)
    padding = list(range(vlm.tokenizer.size, vlm._model.get_output_embeddings().weight.shape[0]))
    said = vlm._model.generate(**inputs, max_new_tokens=LENGTH, do_sample=False, suppress_tokens=padding or None)[0]
    return said[inputs["input_ids"].shape[1]:].tolist()


def test_plain_decoding_equals_generate(vlm: auto.AutoVLM) -> None:
    said = generated(vlm)
    assert plain(opened(vlm), len(said)) == said
    assert len(set(said)) > 8


@pytest.mark.parametrize("right", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("rule", [Greedy(), Sampling(0.8, seed=3)], ids=["greedy", "sampling"])
def test_drafts_change_nothing(vlm: auto.AutoVLM, rule: Rule, right: float) -> None:
    def text(drafter: TreeDrafter, limits: Limits) -> tuple[list[int], int]:
        records = list(decode(vlm.open(window(), QUESTION), drafter, rule, vlm.tokenizer, window(), QUESTION, limits))
        assert isinstance(records[-1], Ending)
        return records[-1].tokens, len(records)

    alone, _ = text(TreeDrafter([], 0.0, 0), Limits(LENGTH, budget=0))
    if isinstance(rule, Greedy):
        assert alone == generated(vlm)[:len(alone)]
    for seed in range(2):
        again, records = text(TreeDrafter(alone, right, seed), Limits(LENGTH, budget=6))
        assert again == alone
        assert right < 1.0 or records < 1.5 * LENGTH


def test_trees_are_checked_where_the_model_scores_them_right(vlm: auto.AutoVLM) -> None:
    name = next(name for name in tiny_hub.FAMILIES if family(name) is vlm)
    assert vlm.trees == TREES[name]
    tree = Draft([5, 6, 7, 8, 9, 5], [-1, 0, 0, -1, 2, 4], ["t"] * 6)
    session = opened(vlm)
    if not vlm.trees:
        with pytest.raises(ValueError, match="chains only"):
            session.score(tree)
        tree = tree.trunk()
        assert (tree.tokens, tree.parents) == ([5, 6], [-1, 0])
    whole = session.score(tree)
    for node, depth in enumerate(tree.depths()):
        path = [node]
        while tree.parents[path[0]] >= 0:
            path.insert(0, tree.parents[path[0]])
        alone = session.score(Draft.chain([tree.tokens[n] for n in path], "t"))
        torch.testing.assert_close(whole.logits[node + 1], alone.logits[depth], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(whole.hidden[node + 1], alone.hidden[depth], atol=1e-4, rtol=1e-4)


def test_what_is_committed_equals_reading_it_anew(vlm: auto.AutoVLM) -> None:
    """D6, D7 and the cache: after any accept, rewind or extension the next scores are those of a fresh session."""
    draft = Draft.chain([5, 6, 7, 8], "t")
    session = opened(vlm)
    session.score(draft)
    session.commit(draft, Verdict([0, 1], 9, "recovered"))
    again = session.score(Draft.chain([10, 11], "t"))
    for changed, line in ((session, [5, 6, 9]), (rewound(opened(vlm)), [5, 6, 12, 13])):
        fresh = opened(vlm)
        fresh.extend(line)
        wanted = fresh.score(Draft.chain([10, 11], "t"))
        found = again if changed is session else changed.score(Draft.chain([10, 11], "t"))
        assert changed.committed == line
        torch.testing.assert_close(found.logits, wanted.logits, atol=1e-4, rtol=1e-4)
    assert plain(rewound(opened(vlm), 0, []), 12) == plain(opened(vlm), 12)


def rewound(session: HubSession, to: int = 2, then: list[int] | None = None) -> HubSession:
    for token in (5, 6, 7):
        session.score(NOTHING)
        session.commit(NOTHING, Verdict([], token, "plain"))
    session.rewind(to)
    session.extend([12, 13] if then is None else then)
    return session


def test_sessions_do_not_disturb_each_other(vlm: auto.AutoVLM) -> None:
    """Models with positions in three dimensions keep a shift on themselves; ours is the session's."""
    alone = plain(opened(vlm), 12)
    first, other = opened(vlm), vlm.open(window(1, width=90, height=30), "Describe the scene.")
    plain(first, 5)
    other.prefill()
    plain(other, 3)
    assert plain(first, 7) == alone


def test_the_prefix_is_what_was_read(vlm: auto.AutoVLM) -> None:
    inputs, prefix = vlm.inputs(window(), QUESTION), opened(vlm).prefix
    tokens = inputs["input_ids"][0].tolist()
    assert tokens[prefix.visual:] == prefix.prompt
    assert tokens[prefix.visual - 1] in vlm._marks
    assert len(prefix.hidden) == len(tokens) - 1
    with torch.inference_mode():
        wanted = vlm._model(**inputs, output_hidden_states=True).hidden_states[-1][0]
    torch.testing.assert_close(prefix.hidden[:, -1], wanted[:-1], atol=1e-4, rtol=1e-4)


def test_llava_is_the_same_on_both_ways(tmp_path: Path) -> None:
    tiny_hub.llava(tmp_path)
    own, hub = llava.load("rgb", tmp_path, Placement()), auto.load("rgb", tmp_path, Placement())
    first, second = own.open(window(), QUESTION), opened(hub)
    first.prefill()
    draft = Draft.chain([5, 6, 7], "t")
    torch.testing.assert_close(first.score(draft).logits, second.score(draft).logits, atol=1e-4, rtol=1e-4)


def test_what_cannot_serve_is_one_sentence(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    byte_tokenizer(tmp_path / "text")
    LlamaForCausalLM(tiny_llama(300)).save_pretrained(tmp_path / "text")
    with pytest.raises(InputError, match=r"no model for .* that reads pictures"):
        load_models(cpu, f"auto:{tmp_path / 'text'}")
    with pytest.raises(InputError, match="frames=no"):
        load_models(cpu, f"auto:{tmp_path}?frames=no")
    tiny_hub.qwen2_vl(tmp_path / "qwen")
    models = load_models(cpu, f"{tmp_path / 'qwen'}?frames=2")
    assert models.rgb.inputs(window(), QUESTION)["image_grid_thw"].shape == (2, 3)  # type: ignore[attr-defined]
    (tmp_path / "qwen" / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="does not have a chat template"):
        load_models(cpu, str(tmp_path / "qwen")).rgb.open(window(), QUESTION).prefill()
