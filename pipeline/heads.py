"""Draft heads that go on from the verifier's states, and the drafter that draws trees with them.

    drafter = HeadDrafter("eagle", verifier, head, eos=tokenizer.eos, shape="dynamic")

A head is one decoder layer that sees what the verifier made of a token and the token after it, and says what the
verifier would make of that one; then it goes on from what it said (EAGLE, Li et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from pipeline.decoder import Decoder, DecoderConfig, KVCache, Layer, compiled_pass, rotary, runs_compiled
from pipeline.native import NativePass
from pipeline.packed import PackedLinear
from pipeline.trees import Grown, attention_mask, grow, grow_ranks, likeliest_nodes
from pipeline.types import VLM, Draft, Prefix, Rule, Scores, Verdict
from streams.types import Window

WIDTH, DEPTH = 3, 12
"""Children and expanded nodes per level of the dynamic tree, and its levels."""

STATIC = ((0,), (0, 0), (1,), (0, 0, 0), (0, 1), (0, 0, 0, 0), (1, 0), (2,), (0, 0, 1), (0, 0, 0, 0, 0), (0, 2),
          (0, 1, 0), (3,), (2, 0), (0, 0, 2), (1, 1), (0, 0, 0, 1), (1, 0, 0), (0, 1, 1), (0, 2, 0), (0, 0, 1, 0),
          (3, 0), (2, 1), (1, 0, 1), (0, 0, 0, 2))
"""EAGLE-1's 25 paths, the likeliest first, so that a smaller budget takes a useful part of them."""

SHAPES = ("dynamic", "static", "chain")


class DraftHead(nn.Module):
    """One decoder layer over features; a kind of head says what a feature is, what enters the layer and how words are
    read from what it says."""

    cos: Tensor
    sin: Tensor
    aligned: bool
    """Whether what it says is in the space of the verifier's last state, so that their cosine means something."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.layer = Layer(config)
        self.layer.attention_norm = nn.Identity()  # type: ignore[assignment]
        cos, sin = rotary(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def features(self, hidden: Tensor) -> Tensor:
        """Features [..., D] from the verifier's tapped states [..., taps, D]."""
        raise NotImplementedError

    def front(self, seen: Prefix) -> Tensor:
        """Features [K, D] of rows that stand before the text and have no word; most heads read the text alone."""
        return self.features(seen.hidden[:0])

    def enter(self, words: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """What goes past attention and what goes into it, from embeddings of tokens and the features before them."""
        raise NotImplementedError

    @property
    def entrance(self) -> PackedLinear | None:
        """What makes the layer's one input of an embedding and a feature side by side, where words are then read by the
        verifier's own head: such a head can draw a tree in one compiled call."""
        return None

    def logits(self, features: Tensor, verifier: Decoder) -> Tensor:
        """Scores [..., V] of the verifier's words."""
        raise NotImplementedError

    def forward(self, words: Tensor, features: Tensor, at: Tensor, mask: Tensor | None,
                cache: KVCache | None) -> Tensor:
        """Guessed next features [B, T, D] from embeddings and features [B, T, D] at positions [B or 1, T].

        mask [B or 1, 1, T, S]: bool, True = may attend, or float, added to the scores of attention.
        """
        past, into = self.enter(words, features)
        compiled = cache.compiled if cache is not None and past is into and mask is not None else None
        if cache is not None and compiled is not None and runs_compiled(past):
            return compiled.run(past, self.cos[at[0]], self.sin[at[0]], mask, cache, (), (), None)[0]
        projected = self.layer.project(into, self.cos[at][:, None], self.sin[at][:, None])
        return self.layer.after(past, self.layer.attend(*projected, mask, cache, 0))


class HeadDrafter:
    """Draws trees of guesses from the verifier's last states."""

    event: VLM | None = None

    def __init__(self, name: str, verifier: Decoder, head: DraftHead, eos: int, shape: str = "dynamic") -> None:
        self.name, self._verifier, self._head, self._eos, self._shape = name, verifier, head, eos, shape
        self.parameters = sum(p.numel() for p in head.parameters())
        self.compared = "own" if head.aligned else None
        self._compiled: NativePass | None = None

    @torch.inference_mode()
    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Wait for what stands before the text, and the verifier's states along the question; they are read when the
        first guess is asked for, as everything that follows, so that a head that rests costs nothing."""
        self._front: Prefix | None = prefix()
        self._rule, self._known = rule, 0
        self._tokens, self._hidden = list[int](), list[Tensor]()

    def _begin(self, seen: Prefix) -> None:
        config = self._head.config
        weight = self._verifier.embed.weight
        self._cache = KVCache(config, config.max_positions, weight.device, weight.dtype)
        self._cache.compiled = self._compiled = compiled_pass(self._compiled, config, [self._head.layer], None)
        front = self._head.front(seen)
        if len(front):
            at = torch.arange(len(front), device=front.device)[None]
            self._head(torch.zeros_like(front)[None], front[None], at, None, self._cache)
            self._cache.keep(range(len(front)))
        # the row before a token led to it: without visual rows the first token of the prompt has none
        hidden = seen.hidden[max(0, seen.visual - 1):]
        self._tokens[:0], self._hidden[:0] = seen.prompt[len(seen.prompt) - len(hidden):], [hidden]

    def _read(self, tokens: list[int], hidden: Tensor) -> None:
        """Go on after verified tokens and the verifier's states that led to them."""
        count, start = len(tokens), self._cache.length
        if count:
            mask = attention_mask(list(range(-1, count - 2)), start, 1)[None, None].to(hidden.device)
            guessed = self._step(tokens, self._head.features(hidden), torch.arange(start, start + count), mask)
            self._cache.keep(range(count))
            self._last = guessed[-1]

    def _step(self, tokens: list[int], states: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        words = self._verifier.embed(torch.tensor(tokens, device=states.device))
        guessed: Tensor = self._head(words[None], states[None], at[None].to(states.device), mask, self._cache)[0]
        return guessed

    @torch.inference_mode()
    def propose(self, budget: int) -> Draft:
        """A tree of at most `budget` tokens, each with the guessed state that its parent led to."""
        if self._front is not None:
            self._begin(self._front)
            self._front = None
        if self._tokens:
            self._read(self._tokens, torch.cat(self._hidden))
            self._tokens, self._hidden = [], []
        width, depth = (WIDTH if self._shape == "dynamic" else 1), min(DEPTH, budget)
        if self._shape != "static" and (drawn := self._drawn(budget, width, depth)) is not None:
            return drawn
        states: dict[int, Tensor] = {-1: self._last}
        rows: dict[int, int] = {}
        stable = self._cache.length
        first = self._scores(self._last[None], [self._known])[0]
        expand = partial(self._expand, states, rows, stable)
        if self._shape == "static":
            grown = grow_ranks(first, expand, budget, STATIC, self._eos)
        else:
            grown = grow(first, expand, budget, width, depth, self._eos)
        self._cache.rewind(stable)
        return self._draft(grown, states)

    def _drawn(self, budget: int, width: int, depth: int) -> Draft | None:
        """The same in one compiled call, None where that is not possible."""
        compiled, enter, verifier = self._cache.compiled, self._head.entrance, self._verifier
        if compiled is None or enter is None or not self._rule.only_likeliest or verifier.head.bias is not None:
            return None
        entrance, words = enter.compiled(), verifier.head.compiled()
        if entrance is None or words is None:
            return None
        tokens, parents, scores, states = compiled.grow(
            self._last, entrance, enter.bias, verifier.embed.weight, words, self._head.cos, self._head.sin, self._cache,
            width, depth, self._eos)
        grown = likeliest_nodes(tokens, parents, scores, budget)
        return self._draft(grown, {node: states[node + 1] for node in [-1, *grown.numbers]})

    def _expand(self, states: dict[int, Tensor], rows: dict[int, int], stable: int, tokens: list[int],
                parents: list[int], nodes: list[int]) -> Tensor:
        """Log-scores of what follows some nodes; fills their states and the cache rows they were written to."""
        written, count = self._cache.length, len(nodes)
        mask = torch.zeros(count, written + count, dtype=torch.bool)
        mask[:, :stable] = True
        depths = []
        for i, node in enumerate(nodes):
            rows[node] = written + i
            above, depth = node, 0
            while above >= 0:
                mask[i, rows[above]] = True
                above, depth = parents[above], depth + 1
            depths.append(depth)
        before = torch.stack([states[parents[node]] for node in nodes])
        at = torch.tensor([stable - 1 + depth for depth in depths])
        guessed = self._step([tokens[node] for node in nodes], before, at, mask[None, None].to(before.device))
        self._cache.keep(range(count))
        states.update(zip(nodes, guessed, strict=True))
        return self._scores(guessed, [self._known + depth for depth in depths])

    def _scores(self, states: Tensor, indices: list[int]) -> Tensor:
        return self._rule.preferences(self._head.logits(states, self._verifier), indices).log_softmax(-1)

    def _draft(self, grown: Grown, states: dict[int, Tensor]) -> Draft:
        led = grown.led(states)
        hidden = torch.stack(led) if led and self._head.aligned else None
        return Draft(grown.tokens, grown.parents, [self.name] * len(grown.tokens), grown.probs, hidden)

    @torch.inference_mode()
    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Take over the verified tokens and the verifier's true states."""
        rows = [0, *(node + 1 for node in verdict.path)]
        self._tokens += [*(draft.tokens[node] for node in verdict.path), verdict.token]
        self._hidden.append(scores.hidden[rows])
        self._known += len(rows)

    def finish(self, tokens: list[int]) -> None:
        """Let the verifier's cache go, where no guess was asked for."""
        self._front = None
