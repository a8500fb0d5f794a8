"""Draft heads: what they are trained on is what they do when they draft."""

from dataclasses import replace

import torch
from toy_models import random_decoder

from pipeline.decoder import KVCache
from pipeline.drafters.eagle import EagleHead
from pipeline.training.unroll import unroll
from pipeline.trees import attention_mask, grow, grow_ranks

SIZE, LENGTH, STEPS = 32, 9, 4


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
