"""Draft heads trained the way they are used: a guess is made from the head's own earlier guesses.

    for guessed in unroll(head, words, features, steps=3): loss(guessed, targets)

Step 1 is EAGLE's training (Li et al. 2024): every row sees true states. In step F, row r sees true states up to column
r - F + 1 and the head's own guesses of the steps before in the columns after it, as it does when it draws a chain of
F tokens (context alignment: HASS, Zhang et al. 2025, whose released code adds its mask instead of excluding).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.heads import DraftHead

TOP = 10
FEATURE_WEIGHT, WORD_WEIGHT, TOP_WEIGHT = 1.0, 0.1, 1.0
"""Weights of the parts of the loss, as published for EAGLE (features, words) and HASS (likeliest words)."""


def unroll(head: DraftHead, words: Tensor, features: Tensor, steps: int, through: bool = False) -> Iterator[Tensor]:
    """Guessed next features [B, T, D] after 1, 2, ... own guesses, from embeddings of tokens and features of what led
    to them [B, T, D]; through: let gradients pass from a guess to those before (EAGLE-3's training-time test)."""
    layer, length = head.layer, words.shape[1]
    at = torch.arange(length, device=words.device)
    cos, sin = head.cos[at], head.sin[at]
    back = at[:, None] - at[None]
    keys, values = list[Tensor](), list[Tensor]()
    for step in range(steps):
        past, into = head.enter(words, features)
        query, key, value = layer.project(into, cos, sin)
        keys.append(key)
        values.append(value)
        allowed = [back >= step if j == 0 else back == step - j for j in range(step + 1)]
        x = layer.after(past, attend(query, keys, values, allowed))
        yield x
        # what was guessed after a token takes the place of the feature that led to the next
        features = torch.cat([features[:, :1], x[:, :-1]], 1)
        features = features if through else features.detach()


def attend(query: Tensor, keys: list[Tensor], values: list[Tensor], allowed: list[Tensor]) -> Tensor:
    """Attention over several versions of the same columns, one allowed per row and column."""
    groups = query.shape[1] // keys[0].shape[1]
    scores = torch.full((), float("-inf"), device=query.device)
    for key, where in zip(keys, allowed, strict=True):
        own = query @ key.repeat_interleave(groups, 1).transpose(-1, -2) / query.shape[-1] ** 0.5
        scores = torch.where(where, own, scores)
    share = scores.softmax(-1)
    parts = [(share * where) @ value.repeat_interleave(groups, 1) for value, where in zip(values, allowed, strict=True)]
    return torch.stack(parts).sum(0)


def state_losses(guessed: Tensor, states: Tensor, logits: Tensor, wanted: Tensor, top: bool) -> dict[str, Tensor]:
    """EAGLE's loss on guessed states [N, D] against true ones; logits, wanted [N, V] of the verifier's head on both.

    top: also HASS's loss on the verifier's likeliest words.
    """
    chance, said = wanted.softmax(-1), logits.log_softmax(-1)
    result = {"states": FEATURE_WEIGHT * F.smooth_l1_loss(guessed, states),
              "words": -WORD_WEIGHT * (chance * said).sum(-1).mean()}
    if top:
        best = chance.topk(TOP, -1)
        result["top"] = -TOP_WEIGHT * (best.values * said.gather(-1, best.indices)).sum(-1).mean()
    return result
