"""Shapes of draft trees: which node may see which, where it stands, and how a tree grows.

    attention_mask(parents=[-1, 0, 0], prefix=5, pending=1)    # bool [4, 9]
    grow(first, expand, budget=8, width=3, depth=5, end=eos)   # the likeliest nodes
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor


def attention_mask(parents: list[int], prefix: int, pending: int) -> Tensor:
    """Who sees whom in a verify pass: bool [pending + N, prefix + pending + N], True = may attend.

    prefix: rows already in the cache. pending: committed tokens not yet in the cache, a chain in front of
    the tree; the first level of the tree follows the last of them.
    """
    own = _own_mask(tuple(parents), pending)
    return torch.cat([own.new_ones(len(own), prefix), own], 1)


@functools.lru_cache(maxsize=256)
def _own_mask(parents: tuple[int, ...], pending: int) -> Tensor:
    """Who of a draft sees whom, bool [pending + N, pending + N]; most drafts have a shape that was there before."""
    with torch.inference_mode(False):  # for whoever asks next
        own = torch.eye(pending + len(parents), dtype=torch.bool)
        own[:pending, :pending] = torch.ones(pending, pending, dtype=torch.bool).tril()
        for node, parent in enumerate(parents):
            own[pending + node] |= own[pending + parent if parent >= 0 else pending - 1]
    return own


def positions(depths: list[int], prefix: int, pending: int) -> Tensor:
    """Position ids [pending + N]: siblings share one."""
    last = prefix + pending - 1
    return torch.tensor([*range(prefix, prefix + pending), *(last + depth for depth in depths)])


def children_of(parents: list[int], node: int) -> list[int]:
    """Children of a node, -1 = of the last committed token, in order."""
    return [i for i, parent in enumerate(parents) if parent == node]


Expand: TypeAlias = Callable[[list[int], list[int], list[int]], Tensor]
"""Tokens and parents of a tree so far and some of its nodes: log-scores [nodes, V] of what follows each of those."""


@dataclass(frozen=True)
class Grown:
    """A tree of guesses: tokens, parents, log-score of each token after its parent, and its number in the making."""

    tokens: list[int]
    parents: list[int]
    scores: list[float]
    numbers: list[int]

    @property
    def probs(self) -> list[float]:
        """Probability of each token after its parent."""
        probs: list[float] = torch.tensor(self.scores).exp().tolist()
        return probs

    def led(self, states: Mapping[int, Tensor]) -> list[Tensor]:
        """The state that led to each token, from those after nodes by their number in the making; -1: before all."""
        return [states[self.numbers[parent] if parent >= 0 else -1] for parent in self.parents]


def grow(first: Tensor, expand: Expand, budget: int, width: int, depth: int, end: int) -> Grown:
    """The `budget` likeliest nodes of a tree that grows where it is likely (EAGLE-2, Li et al. 2024).

    first [V]: log-scores of the first level. Every level expands the `width` likeliest nodes into `width` children
    each; what is kept is ranked by the product of probabilities, so a node never loses its parent. `end`: the token
    that nothing follows. width 1 gives a chain.
    """
    tokens, parents, scores, totals = list[int](), list[int](), list[float](), list[float]()
    frontier, rows = [-1], first[None]
    for level in range(1, depth + 1):
        best, new = rows.topk(min(width, rows.shape[1]), -1), list[int]()
        for node, values, chosen in zip(frontier, best.values.tolist(), best.indices.tolist(), strict=True):
            for value, token in zip(values, chosen, strict=True):
                new.append(len(tokens))
                tokens.append(token)
                parents.append(node)
                scores.append(value)
                totals.append(value + (totals[node] if node >= 0 else 0.0))
        frontier = sorted((i for i in new if tokens[i] != end), key=lambda i: -totals[i])[:width]
        if level == depth or not frontier:
            break
        rows = expand(tokens, parents, frontier)
    return likeliest_nodes(tokens, parents, scores, budget)


def likeliest_nodes(tokens: list[int], parents: list[int], scores: list[float], budget: int) -> Grown:
    """The `budget` nodes of a tree with the largest products of probabilities, whose logarithms `scores` are."""
    totals = list[float]()
    for parent, score in zip(parents, scores, strict=True):
        totals.append(score + (totals[parent] if parent >= 0 else 0.0))
    # sorting is stable: of equals the earlier, which may be the parent, stays
    kept = sorted(sorted(range(len(tokens)), key=lambda i: -totals[i])[:budget])
    return _only(kept, tokens, parents, scores)


def grow_ranks(first: Tensor, expand: Expand, budget: int, paths: Sequence[tuple[int, ...]], end: int) -> Grown:
    """A tree of fixed shape: a path (0, 2) is the third likeliest child of the likeliest first token (Medusa, Cai et
    al. 2024). The first `budget` paths are drawn; every path comes after those it begins with."""
    chosen = paths[:budget]
    at: dict[tuple[int, ...], int] = {(): -1}
    follows: dict[tuple[int, ...], Tensor] = {(): first}
    tokens, parents, scores = list[int](), list[int](), list[float]()
    for length in range(1, max(map(len, chosen), default=0) + 1):
        level = sorted(path for path in chosen if len(path) == length and path[:-1] in follows)
        for path in level:
            ranked = follows[path[:-1]].topk(path[-1] + 1)
            at[path] = len(tokens)
            tokens.append(int(ranked.indices[-1]))
            parents.append(at[path[:-1]])
            scores.append(float(ranked.values[-1]))
        inner = [path for path in level if tokens[at[path]] != end and any(
            longer[:length] == path for longer in chosen if len(longer) > length)]
        if inner:
            rows = expand(tokens, parents, [at[path] for path in inner])
            follows |= dict(zip(inner, rows, strict=True))
    return Grown(tokens, parents, scores, list(range(len(tokens))))


def _only(kept: list[int], tokens: list[int], parents: list[int], scores: list[float]) -> Grown:
    number = {-1: -1} | {node: i for i, node in enumerate(kept)}
    return Grown([tokens[i] for i in kept], [number[parents[i]] for i in kept], [scores[i] for i in kept], kept)
