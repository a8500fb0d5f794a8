"""Shapes of draft trees: which node may see which, and where it stands.

    attention_mask(parents=[-1, 0, 0], prefix=5, pending=1)    # bool [4, 9]
"""

from __future__ import annotations

import torch
from torch import Tensor


def attention_mask(parents: list[int], prefix: int, pending: int) -> Tensor:
    """Who sees whom in a verify pass: bool [pending + N, prefix + pending + N], True = may attend.

    prefix: rows already in the cache. pending: committed tokens not yet in the cache, a chain in front of
    the tree; the first level of the tree follows the last of them.
    """
    own = torch.eye(pending + len(parents), dtype=torch.bool)
    own[:pending, :pending] = torch.ones(pending, pending, dtype=torch.bool).tril()
    for node, parent in enumerate(parents):
        own[pending + node] |= own[pending + parent if parent >= 0 else pending - 1]
    return torch.cat([torch.ones(len(own), prefix, dtype=torch.bool), own], 1)


def positions(depths: list[int], prefix: int, pending: int) -> Tensor:
    """Position ids [pending + N]: siblings share one."""
    last = prefix + pending - 1
    return torch.tensor([*range(prefix, prefix + pending), *(last + depth for depth in depths)])


def children_of(parents: list[int], node: int) -> list[int]:
    """Children of a node, -1 = of the last committed token, in order."""
    return [i for i, parent in enumerate(parents) if parent == node]
