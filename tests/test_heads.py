"""Draft heads: what they are trained on is what they do when they draft."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_models import random_decoder, toy_heads, toy_models

from pipeline import drafters
from pipeline.decoder import KVCache
from pipeline.drafters.eagle import EagleHead
from pipeline.drafters.medusa import MedusaHeads
from pipeline.training.fitting import Run, Words, padded
from pipeline.training.heads import TRAINABLE, after, calibrated_tree, rank_accuracies, train_drafter
from pipeline.training.traces import Trace
from pipeline.training.unroll import unroll
from pipeline.trees import attention_mask, grow, grow_ranks
from streams.types import InputError

SIZE, LENGTH, STEPS, CPU = 32, 9, 4, torch.device("cpu")


def random_head() -> EagleHead:
    config = replace(random_decoder(1, SIZE).config, layers=1)
    torch.manual_seed(5)
    return EagleHead(config).eval().requires_grad_(False)


def drafted(head: EagleHead, words: torch.Tensor, states: torch.Tensor, true_rows: int) -> torch.Tensor:
    """The last guess of a chain that saw `true_rows` true states and goes on with its own, as the drafter feeds it."""
    cache = KVCache(head.config, 64, words.device, words.dtype)
    first = attention_mask(list(range(-1, true_rows - 2)), 0, 1)[None, None]
    guess = head(words[:, :true_rows], states[:, :true_rows], torch.arange(true_rows)[None], first, cache)[:, -1:]
    cache.keep(range(true_rows))
    for row in range(true_rows, words.shape[1]):
        mask = torch.ones(1, 1, 1, row + 1, dtype=torch.bool)
        guess = head(words[:, row:row + 1], guess, torch.tensor([[row]]), mask, cache)
        cache.keep([0])
    return guess[0, 0]


def test_training_sees_what_a_chain_of_guesses_sees() -> None:
    head = random_head()
    words, states = torch.randn(2, 1, LENGTH, SIZE)
    with torch.inference_mode():
        for own, guessed in enumerate(unroll(head, words, states, STEPS)):
            for row in range(own, LENGTH):
                wanted = drafted(head, words[:, :row + 1], states[:, :row + 1], row + 1 - own)
                torch.testing.assert_close(guessed[0, row], wanted, atol=1e-5, rtol=1e-4)


def chances(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows).log()


def test_a_tree_grows_where_it_is_likely() -> None:
    def expand(tokens: list[int], parents: list[int], nodes: list[int]) -> torch.Tensor:
        return chances(*([0.9, 0.06, 0.04] if tokens[node] == 0 else [0.4, 0.3, 0.3] for node in nodes))

    grown = grow(chances([0.6, 0.3, 0.1])[0], expand, budget=4, width=2, depth=3, end=2)
    assert list(zip(grown.tokens, grown.parents, strict=True)) == [(0, -1), (1, -1), (0, 0), (0, 2)]
    chain = grow(chances([0.6, 0.3, 0.1])[0], expand, budget=9, width=1, depth=3, end=2)
    assert (chain.tokens, chain.parents) == ([0, 0, 0], [-1, 0, 1])


def test_nothing_follows_the_end() -> None:
    asked: list[int] = []

    def expand(tokens: list[int], parents: list[int], nodes: list[int]) -> torch.Tensor:
        asked.extend(tokens[node] for node in nodes)
        return chances(*([0.5, 0.5] for _ in nodes))

    grow(chances([0.5, 0.5])[0], expand, budget=9, width=2, depth=4, end=1)
    assert asked
    assert set(asked) == {0}
    asked.clear()
    grown = grow_ranks(chances([0.4, 0.6])[0], expand, 4, ((0,), (1,), (0, 0), (1, 0)), end=1)
    assert asked == [0]
    assert (grown.tokens, grown.parents) == ([1, 0, 0], [-1, -1, 1])


def test_a_fixed_tree_takes_its_likeliest_paths() -> None:
    def expand(tokens: list[int], parents: list[int], nodes: list[int]) -> torch.Tensor:
        return chances(*([0.2, 0.5, 0.3] for _ in nodes))

    grown = grow_ranks(chances([0.1, 0.2, 0.7])[0], expand, 3, ((0,), (0, 0), (1,), (0, 1)), end=9)
    assert (grown.tokens, grown.parents) == ([2, 1, 1], [-1, -1, 0])


def spoken(count: int = 12) -> list[Trace]:
    """What the toy verifier says after random questions, with its states, as a collected trace holds them."""
    decoder, generator = random_decoder(1), torch.Generator().manual_seed(0)
    traces = []
    for _ in range(count):
        tokens = torch.randint(4, 60, (14,), generator=generator)
        _, hidden = decoder(decoder.embed(tokens)[None], torch.arange(14)[None], None, None, (0, 1, 1, -1))
        assert hidden is not None
        traces.append(Trace(tokens[1:].tolist(), 5, hidden[0, :-1], torch.zeros(8, 16), torch.randn(7, 32).half()))
    return traces


@pytest.mark.parametrize("name", TRAINABLE)
def test_training_lowers_the_loss_and_leaves_a_drafter(name: str, tmp_path: Path) -> None:
    models = toy_models()
    assert models.rgb.decoder is not None
    words = Words(models.rgb.decoder, CPU)
    progress = list(train_drafter(name, words, spoken(), Run(12, tmp_path / "trained")))
    totals = [sum(p.losses.values()) for p in progress]
    assert totals[-1] < totals[0]
    stem = name.partition(":")[0]
    assert drafters.create(f"{stem}:{tmp_path / 'trained'}", models).parameters > 0


def test_only_drafters_with_weights_can_be_trained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="use one of eagle, eagle:hass, eagle3, medusa"):
        train_drafter("recall", Words(random_decoder(1), CPU), spoken(2), Run(1, tmp_path))


def test_what_a_head_lacks_is_said(tmp_path: Path) -> None:
    words, run = Words(random_decoder(1), CPU), Run(1, tmp_path / "one")
    flat = [replace(trace, states=trace.states[:, -1:]) for trace in spoken(3)]
    with pytest.raises(InputError, match="too few layers; train eagle"):
        list(train_drafter("eagle3", words, flat, run))
    with pytest.raises(InputError, match="too few answers to learn from"):
        list(train_drafter("medusa", words, flat[:1], run))


def test_guesses_are_trained_where_they_are_made() -> None:
    tokens, _, drafted = padded([Trace([1, 2, 3, 4, 5], 2, torch.zeros(5, 4, 8), torch.zeros(3, 8)),
                                 Trace([1, 2, 3], 2, torch.zeros(3, 4, 8), torch.zeros(1, 8))], CPU)
    assert tokens.tolist() == [[1, 2, 3, 4, 5], [1, 2, 3, 0, 0]]
    assert drafted.tolist() == [[False, True, True, True, False], [False, True, False, False, False]]
    assert after(drafted, 1).tolist() == [[False, False, True, True, False], [False] * 5]
    assert after(drafted, 3).any().item() is False


def test_medusas_tree_takes_the_likeliest_paths_first() -> None:
    tree = calibrated_tree(torch.tensor([[0.8, 0.1], [0.5, 0.4]]), 4)
    assert tree == [(0,), (0, 0), (0, 1), (1,)]


def test_rank_accuracies_count_the_token_so_many_places_ahead() -> None:
    heads = MedusaHeads(8, 8, heads=2)
    states = torch.eye(8)[:6][:, None]
    for step, head in enumerate(heads):
        # a state that is one-hot i makes head k say i + k + 1
        head[1].weight.data = torch.eye(8).roll(step + 1, 0) * 9  # type: ignore[index,union-attr]
    accuracies = rank_accuracies(heads, [Trace([0, 1, 2, 3, 4, 5], 1, states, torch.zeros(5, 8))], ranks=2)
    assert accuracies.tolist() == [[1.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize(("name", "lost"), [("eagle", "fc.weight"), ("eagle3", "midlayer.hidden_norm.weight"),
                                            ("medusa", "1.1.weight"), ("eagle3", "d2t"),
                                            ("specvlm", "layers.0.input_layernorm.weight"), ("specvlm", "queries")])
def test_checkpoints_lacking_something_are_refused_by_name(name: str, lost: str, tmp_path: Path) -> None:
    state = load_file(toy_heads() / name / "model.safetensors")
    state.pop(lost)
    (tmp_path / "config.json").write_bytes((toy_heads() / name / "config.json").read_bytes())
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=lost):
        drafters.create(f"{name}:{tmp_path}", toy_models())


@pytest.mark.parametrize("name", ["eagle", "eagle3", "medusa", "specvlm"])
def test_checkpoints_of_something_else_are_refused(name: str, tmp_path: Path) -> None:
    state = load_file(toy_heads() / name / "model.safetensors")
    (tmp_path / "config.json").write_bytes((toy_heads() / name / "config.json").read_bytes())
    save_file(state | {"other.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="other"):
        drafters.create(f"{name}:{tmp_path}", toy_models())
    wider = {name: torch.cat([value, value], -1) if value.ndim == 2 else value for name, value in state.items()}
    save_file(wider, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="another verifier"):
        drafters.create(f"{name}:{tmp_path}", toy_models())
    with pytest.raises(InputError, match="or the folder of a checkpoint"):
        drafters.create(f"{name}:nothing", toy_models())
