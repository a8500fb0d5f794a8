"""A session of any model of `transformers`: its own forward pass and cache behind our protocol.

    session = HubSession(model, lambda: processor(...), branching=True)
    session.prefill()
    scores = session.score(draft); session.commit(draft, verdict)

Chains work with every model whose cache can be cut back. Trees need masks and positions of their own; whether a model
obeys them is tried out by trees_work().
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.placement import own_stream
from pipeline.trees import attention_mask, positions
from pipeline.types import Draft, Prefix, Scores, Verdict
from streams.types import InputError

CLOSE = {torch.float32: 1e-3, torch.bfloat16: 0.06, torch.float16: 0.02}
"""How far a tree's logits may be from its paths', relative to the largest: rounding of the type."""


class HubSession:
    """One answer in the making. The cache holds the prompt and all committed tokens but those that wait as pending."""

    def __init__(self, model: Any, read: Callable[[], Mapping[str, Tensor]], marks: frozenset[int], words: int,
                 trees: bool) -> None:
        """read: gives the model's inputs, called once by prefill(). marks: tokens that stand for pictures. words: size
        of the vocabulary; the head's rows beyond it only pad. trees: whether score() may be given drafts that branch.
        """
        self._model, self._read, self._marks, self._words, self.trees = model, read, marks, words, trees
        self._committed: list[int] = []
        self._prefix: Prefix | None = None
        self._scored: Draft | None = None
        self._led: Scores | None = None

    @property
    def committed(self) -> list[int]:
        """Tokens of the answer so far."""
        return list(self._committed)

    @property
    def prefix(self) -> Prefix:
        """What prefill() read. Raises RuntimeError before it."""
        if self._prefix is None:
            raise RuntimeError("prefix needs prefill() first")
        return self._prefix

    @torch.inference_mode()
    def prefill(self) -> None:
        """Read the pictures and the prompt; a second call does nothing. Raises InputError where what the model keeps
        cannot be cut back.

        The last token of the prompt is read too but not kept: the first pass may feed it with a draft.
        """
        if self._prefix is not None:
            return
        self._cache = new_cache()
        with own_stream(input_device(self._model)):
            inputs = dict(self._read())
            out = run(self._model, self._cache, **inputs)
        if any(type(layer).__name__ != "DynamicLayer" for layer in self._cache.layers):
            raise InputError(f"{type(self._model).__name__} keeps a state that cannot be cut back to what was "
                             "accepted; use another model")
        hidden, tokens = out.hidden_states[-1][0], inputs["input_ids"][0].tolist()
        # models with positions in three dimensions go on from the largest one, not from the number of rows
        shift = getattr(getattr(self._model, "model", None), "rope_deltas", None)
        self._shift = None if shift is None else int(shift.flatten()[0])
        seen = max((i + 1 for i, token in enumerate(tokens[:-1]) if token in self._marks), default=0)
        self._prefix = Prefix(tokens[seen:], seen, hidden[:-1, None])
        self._led = Scores(out.logits[0, -1:, :self._words], hidden[-1:, None])
        self._stable, self._pending = len(tokens) - 1, tokens[-1:]
        keep_rows(self._cache, self._stable, [])

    @torch.inference_mode()
    def score(self, draft: Draft) -> Scores:
        """Score a draft in one forward pass; commits nothing. Raises RuntimeError before prefill(), ValueError for a
        tree where only chains work."""
        if self._prefix is None:
            raise RuntimeError("score() needs prefill() first")
        chain = draft.parents == list(range(-1, len(draft) - 1))
        if not (chain or self.trees):
            raise ValueError("this model scores chains only; see Draft.trunk")
        self._scored = draft
        if self._led is not None and not len(draft):
            return self._led
        pending = len(self._pending)
        keep_rows(self._cache, self._stable, [])
        out = forward(self._model, self._cache, self._pending + draft.tokens,
                      positions(draft.depths(), self._stable, pending),
                      None if chain else attention_mask(draft.parents, self._stable, pending), self._shift)
        return Scores(out.logits[0, pending - 1:, :self._words], out.hidden_states[-1][0, pending - 1:, None])

    def commit(self, draft: Draft, verdict: Verdict) -> None:
        """Keep the accepted path of the draft just scored and append the verdict's token."""
        if draft is not self._scored:
            raise ValueError("commit() takes the draft that was scored last")
        self._committed += [*(draft.tokens[node] for node in verdict.path), verdict.token]
        pending = len(self._pending)
        if self._led is not None and not len(draft):
            # nothing was fed: the token that led here waits with the new one
            self._pending = [*self._pending, verdict.token]
        else:
            keep_rows(self._cache, self._stable, [*range(pending), *(pending + node for node in verdict.path)])
            self._stable += pending + len(verdict.path)
            self._pending = [verdict.token]
        self._scored = self._led = None

    def extend(self, tokens: Sequence[int]) -> None:
        """Append tokens that somebody else verified; the next score() feeds them."""
        self._committed += tokens
        self._pending += tokens
        self._scored = self._led = None

    def rewind(self, n_committed: int) -> None:
        """Forget all committed tokens after the first n_committed. Raises ValueError when there are fewer."""
        if self._prefix is None or not 0 <= n_committed <= len(self._committed):
            raise ValueError(f"cannot rewind to {n_committed} of {len(self._committed)} committed tokens")
        line = [self._prefix.prompt[-1], *self._committed]
        start = self._stable - (len(line) - len(self._pending))
        self._stable = min(self._stable, start + n_committed)
        keep_rows(self._cache, self._stable, [])
        self._committed = self._committed[:n_committed]
        self._pending = line[self._stable - start:n_committed + 1]
        self._scored = self._led = None


def new_cache() -> Any:
    """An empty cache whose layers all keep every row, so that it can be cut back anywhere."""
    from transformers import DynamicCache

    return DynamicCache()


def keep_rows(cache: Any, start: int, rows: Sequence[int]) -> None:
    """Of a cache's rows from `start` on keep only these (0 = the row at start), in this order.

    The same in all versions of transformers: its own crop() has changed the meaning of its argument.
    """
    for layer in cache.layers:
        if rows and list(rows) != list(range(len(rows))):
            chosen = torch.tensor([*range(start), *(start + row for row in rows)], device=layer.keys.device)
            layer.keys, layer.values = layer.keys.index_select(2, chosen), layer.values.index_select(2, chosen)
        else:
            end = start + len(rows)
            layer.keys, layer.values = layer.keys[:, :, :end], layer.values[:, :, :end]


def run(model: Any, cache: Any, **inputs: Any) -> Any:
    """One forward pass with hidden states, writing to a cache, whatever its argument is called."""
    accepted = inspect.signature(model.forward).parameters
    name = "cache" if "cache" in accepted else "past_key_values"
    return model(**inputs, **{name: cache}, use_cache=True, output_hidden_states=True, return_dict=True)


def forward(model: Any, cache: Any, tokens: list[int], where: Tensor, mask: Tensor | None, shift: int | None) -> Any:
    """A pass over tokens at positions [T]; mask [T, S] bool for a tree, None for a chain; shift: of positions in three
    dimensions, None = in one."""
    device, dtype = input_device(model), model.dtype
    at = where[None].to(device)
    if shift is not None:
        at = (at + shift)[None].expand(3, -1, -1)
    inputs: dict[str, Any] = {"input_ids": torch.tensor([tokens], device=device), "position_ids": at}
    if mask is not None:
        closed = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)
        inputs["attention_mask"] = closed[None, None].to(device)
    return run(model, cache, **inputs)


def input_device(model: Any) -> torch.device:
    """Where a model's inputs go; accelerate brings them to weights that are fetched when they are needed."""
    device: torch.device = model.get_input_embeddings().weight.device
    return torch.device("cpu") if device.type == "meta" else device


@torch.inference_mode()
def trees_work(model: Any, words: Sequence[int]) -> bool:
    """Whether a model scores a small tree as it scores each of its paths; words: a few ordinary tokens."""
    prompt, last, tree = list(words[:4]), words[4], Draft(list(words[5:9]), [-1, -1, 0, 1], [""] * 4)
    shift = 0 if any("mrope" in key for key in rope_fields(model)) else None
    start = torch.arange(len(prompt))

    def scored(tokens: list[int], where: Tensor, mask: Tensor | None) -> Tensor:
        cache = new_cache()
        forward(model, cache, prompt, start, None, shift)
        found: Tensor = forward(model, cache, tokens, where, mask, shift).logits[0].float()
        return found

    try:
        whole = scored([last, *tree.tokens], positions(tree.depths(), len(prompt), 1),
                       attention_mask(tree.parents, len(prompt), 1))
    except (ValueError, RuntimeError, TypeError, IndexError, NotImplementedError):
        return False
    for path in ([0, 2], [1, 3]):
        alone = scored([last, *(tree.tokens[node] for node in path)], torch.arange(4, 7), None)
        if (whole[[0, *(node + 1 for node in path)]] - alone).abs().max() > CLOSE[model.dtype] * alone.abs().max():
            return False
    return True


def rope_fields(model: Any) -> Mapping[str, Any]:
    """How a model's text positions rotate, by its configuration."""
    text = model.config.get_text_config()
    return getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
