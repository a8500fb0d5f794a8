"""The decoder equals transformers; trees equal their paths; the cache keeps exactly what was committed."""

import pytest
import torch
from toy_models import random_decoder
from transformers import LlamaConfig, LlamaForCausalLM

from pipeline.decoder import FINAL, Decoder, DecoderConfig, KVCache
from pipeline.session import DecoderSession
from pipeline.types import Box, Draft, Verdict


def reference(kv_heads: int, tied: bool, seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=100, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=kv_heads, tie_word_embeddings=tied, rope_theta=5000.0)).eval()


def ours(model: LlamaForCausalLM) -> Decoder:
    decoder = Decoder(DecoderConfig.from_llama(model.config.to_dict())).eval()
    decoder.load_llama(model.state_dict())
    return decoder


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("tied", [False, True])
def test_logits_and_taps_equal_transformers(kv_heads: int, tied: bool) -> None:
    model = reference(kv_heads, tied)
    decoder = ours(model)
    tokens = torch.randint(0, 100, (2, 23))
    with torch.inference_mode():
        wanted = model(tokens, output_hidden_states=True)
        states, tapped = decoder(decoder.embed(tokens), torch.arange(23)[None], taps=(0, 1, 2, FINAL))
        torch.testing.assert_close(decoder.head(states), wanted.logits, atol=2e-5, rtol=1e-5)
    for i in range(4):
        torch.testing.assert_close(tapped[:, :, i], wanted.hidden_states[i], atol=2e-5, rtol=1e-5)


def test_weights_return_to_transformers_unchanged() -> None:
    model = reference(2, tied=False)
    back = ours(model).llama_state()
    assert back.keys() == model.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())


def test_missing_and_unexpected_tensors_are_named() -> None:
    model = reference(2, tied=False)
    decoder, state = ours(model), dict(model.state_dict())
    with pytest.raises(ValueError, match="unexpected tensors, first extra"):
        decoder.load_llama(state | {"extra": torch.zeros(1)})
    state.pop("model.norm.weight")
    with pytest.raises(ValueError, match=r"lacks 1 tensors, first model\.norm\.weight"):
        decoder.load_llama(state)


def test_unsupported_variants_are_refused() -> None:
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, attention_bias=True).to_dict()
    with pytest.raises(ValueError, match="attention_bias True"):
        DecoderConfig.from_llama(config)


def begin(model: LlamaForCausalLM, prompt: list[int]) -> DecoderSession:
    session = DecoderSession(ours(model), lambda: torch.zeros(0, 64), prompt, capacity=64)
    session.prefill()
    return session


def next_logits(model: LlamaForCausalLM, tokens: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0, -1]


TREE = Draft([5, 6, 7, 8, 9, 5], [-1, 0, 0, -1, 2, 4], ["t"] * 6)
PATHS = [[], [5], [5, 6], [5, 7], [8], [5, 7, 9], [5, 7, 9, 5]]


def test_tree_scores_equal_each_path_alone() -> None:
    model = reference(2, tied=False)
    scores = begin(model, [1, 2, 3]).score(TREE)
    for row, path in enumerate(PATHS):
        torch.testing.assert_close(scores.logits[row], next_logits(model, [1, 2, 3, *path]), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("path", "kept"), [([], []), ([0], [5]), ([0, 2], [5, 7]), ([3], [8]),
                                            ([0, 2, 4, 5], [5, 7, 9, 5])])
def test_commit_then_score_equals_fresh_prefill(path: list[int], kept: list[int]) -> None:
    model = reference(2, tied=False)
    session = begin(model, [1, 2, 3])
    session.score(TREE)
    session.commit(TREE, Verdict(path, 11, "recovered"))
    again = session.score(Draft.chain([12], "t"))
    line = [1, 2, 3, *kept, 11]
    assert session.committed == line[3:]
    torch.testing.assert_close(again.logits[0], next_logits(model, line), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(again.logits[1], next_logits(model, [*line, 12]), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("keep", range(5))
def test_rewind_and_extend_equal_fresh_prefill(keep: int) -> None:
    model = reference(2, tied=False)
    session = begin(model, [1, 2])
    for token in (10, 11, 12, 13):
        session.score(Draft.none())
        session.commit(session._scored, Verdict([], token, "plain"))
    session.rewind(keep)
    session.extend([20, 21])
    line = [1, 2, *[10, 11, 12, 13][:keep], 20, 21]
    scores = session.score(TREE)
    for row, path in enumerate(PATHS):
        torch.testing.assert_close(scores.logits[row], next_logits(model, line + path), atol=2e-5, rtol=1e-5)


def test_session_refuses_misuse() -> None:
    session = DecoderSession(random_decoder(0), lambda: torch.zeros(0, 32), [1], capacity=8)
    with pytest.raises(RuntimeError, match="prefill"):
        session.score(Draft.none())
    session.prefill()
    with pytest.raises(ValueError, match="scored last"):
        session.commit(Draft.none(), Verdict([], 1, "plain"))
    with pytest.raises(ValueError, match="cannot rewind to 1 of 0"):
        session.rewind(1)
    with pytest.raises(ValueError, match="too long"):
        session.score(Draft.chain(list(range(9)), "t"))


def test_boxes_are_looked_for_once_and_only_when_wanted() -> None:
    asked = list[int]()

    def locate(entering: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, cache: KVCache,
               rows: int) -> list[Box | None]:
        asked.append(len(entering))
        assert mask is not None
        assert mask.shape == (len(entering), rows)
        assert rows == cache.length + 1 + len(TREE)
        assert positions.tolist() == [2, 3, 4, 4, 3, 5, 6]
        return [None, *[(0.0, 1.0, 2.0, 3.0)] * (len(entering) - 1)]

    session = DecoderSession(random_decoder(0), lambda: torch.zeros(0, 32), [1, 2, 3], capacity=32, locate=locate)
    session.prefill()
    scores, unwanted = session.score(TREE), Verdict([], 9, "recovered")
    assert asked == []
    assert scores.boxes is scores.boxes
    assert asked == [7]
    scores = session.score(TREE)
    session.commit(TREE, unwanted)
    with pytest.raises(RuntimeError, match="before commit"):
        _ = scores.boxes


@pytest.mark.parametrize("drafted", [[], [5, 6]])
def test_the_first_pass_without_a_draft_is_part_of_reading(drafted: list[int]) -> None:
    model, passes = reference(2, tied=False), list[int]()
    session = begin(model, [1, 2, 3])
    session._decoder.register_forward_hook(lambda module, inputs, result: passes.append(inputs[0].shape[1]))
    before = session.score(Draft.none()).logits[0]
    assert passes == []
    torch.testing.assert_close(before, next_logits(model, [1, 2, 3]), atol=2e-5, rtol=1e-5)
    draft = Draft.chain(drafted, "t")
    session.score(draft)
    session.commit(draft, Verdict(list(range(len(drafted))), 7, "bonus"))
    after = session.score(Draft.none()).logits[0]
    assert passes == ([3, 1] if drafted else [1])
    torch.testing.assert_close(after, next_logits(model, [1, 2, 3, *drafted, 7]), atol=2e-5, rtol=1e-5)
    session.rewind(0)
    torch.testing.assert_close(session.score(Draft.none()).logits[0], before, atol=2e-5, rtol=1e-5)
