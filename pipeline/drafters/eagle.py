"""EAGLE: one layer that guesses the verifier's next state from its last one and the token it led to.

    drafter = create(models, None)          # EAGLE-2, a tree that grows where it is likely
    drafter = create(models, "static")      # EAGLE-1's fixed tree; "chain": no branches; "hass": HASS's training;
                                            # or a folder in the format that EAGLE's authors publish

Feature f of a token is the verifier's state that its head reads; the layer sees (f of a token, the next token) and
says the next f, which the verifier's own head turns into words (EAGLE-1: Li et al. 2024a; dynamic tree: EAGLE-2, Li
et al. 2024b; training through its own guesses: HASS, Zhang et al. 2025).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.checkpoints import check_names, load_module, read_checkpoint, write_checkpoint
from pipeline.decoder import FUSED, Decoder, DecoderConfig, KVCache, Layer, fused, rotary, unfused
from pipeline.drafters import folder_of, verifier_of
from pipeline.models import Models
from pipeline.trees import Grown, attention_mask, grow, grow_ranks
from pipeline.types import Draft, Prefix, Rule, Scores, Verdict
from streams.types import InputError, Window

WIDTH, DEPTH = 3, 7
"""Children and expanded nodes per level of the dynamic tree, and its levels."""

STATIC = ((0,), (0, 0), (1,), (0, 0, 0), (0, 1), (0, 0, 0, 0), (1, 0), (2,), (0, 0, 1), (0, 0, 0, 0, 0), (0, 2),
          (0, 1, 0), (3,), (2, 0), (0, 0, 2), (1, 1), (0, 0, 0, 1), (1, 0, 0), (0, 1, 1), (0, 2, 0), (0, 0, 1, 0),
          (3, 0), (2, 1), (1, 0, 1), (0, 0, 0, 2))
"""EAGLE-1's 25 paths, the likeliest first, so that a smaller budget takes a useful part of them."""

SHAPES = ("dynamic", "static", "chain")


class EagleHead(nn.Module):
    """The layer: fc of (token embedding, feature), then attention and MLP; its input is not normalised."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.fc = nn.Linear(2 * config.hidden_size, config.hidden_size)
        self.layer = Layer(config)
        self.layer.attention_norm = nn.Identity()  # type: ignore[assignment]
        cos, sin = rotary(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, words: Tensor, states: Tensor, at: Tensor, mask: Tensor | None, cache: KVCache | None) -> Tensor:
        """Guessed next states [B, T, D] from embeddings of tokens and the states before them, both [B, T, D]."""
        x = self.fc(torch.cat([words, states], -1))
        guessed: Tensor = self.layer(x, self.cos[at][:, None], self.sin[at][:, None], mask, cache, 0)
        return guessed


def create(models: Models, variant: str | None) -> EagleDrafter:
    """Make it. Raises InputError where no head was trained for the pair and for a variant that does not exist."""
    verifier = verifier_of(models, "eagle")
    folder = folder_of(models, "eagle", variant, (*SHAPES, "hass"))
    if variant == "hass":
        folder = folder.with_name("eagle-hass")
    shape = variant if variant in SHAPES else SHAPES[0]
    name = f"eagle:{variant}" if variant else "eagle"
    return EagleDrafter(name, verifier, load_head(folder, verifier), models.tokenizer.eos, shape)


INSIDE = {source for name, sources in FUSED.items() if name != "attention_norm.weight" for source in sources}


def load_head(folder: Path, verifier: Decoder) -> EagleHead:
    """A head from a checkpoint with the published names. Raises InputError where it does not fit the verifier."""
    config, state = read_checkpoint(folder, "train it with: parafovea train eagle")
    check_names(state, {"fc.weight", *(f"layers.0.{name}" for name in INSIDE)}, {"fc.bias", "embed_tokens.weight"},
                folder)
    embedded = state.pop("embed_tokens.weight", None)
    if embedded is not None and embedded.shape != verifier.embed.weight.shape:
        raise InputError(f"the checkpoint in {folder} was made for {len(embedded)} tokens, the verifier "
                         f"has {len(verifier.embed.weight)}; use a head trained for it")
    head = EagleHead(DecoderConfig.from_llama(config))
    own = {"fc.weight": state["fc.weight"], "fc.bias": state.get("fc.bias", torch.zeros(len(state["fc.weight"])))}
    own |= {f"layer.{name}": value for name, value in fused(state, "layers.0.").items()}
    load_module(head, own, folder)
    if head.config.hidden_size != verifier.config.hidden_size:
        raise InputError(f"the checkpoint in {folder} was made for states of {head.config.hidden_size} numbers, the "
                         f"verifier has {verifier.config.hidden_size}; use a head trained for it")
    return head.eval().requires_grad_(False).to(verifier.embed.weight.device)


def save_head(head: EagleHead, folder: Path, **facts: float) -> None:
    """Write a checkpoint with the published names."""
    state = {"fc.weight": head.fc.weight.data, "fc.bias": head.fc.bias.data}
    state |= {f"layers.0.{name}": value for name, value in unfused(head.layer).items()}
    write_checkpoint(folder, head.config.to_llama(architectures=["EagleModel"], **facts), state)


class EagleDrafter:
    """Draws trees of guesses from the verifier's last states."""

    def __init__(self, name: str, verifier: Decoder, head: EagleHead, eos: int, shape: str = "dynamic") -> None:
        self.name, self._verifier, self._head, self._eos, self._shape = name, verifier, head, eos, shape
        self.parameters = sum(p.numel() for p in head.parameters())

    @torch.inference_mode()
    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Read the verifier's states along the question."""
        seen = prefix()
        self._rule, self._known = rule, 0
        config = self._head.config
        weight = self._verifier.embed.weight
        self._cache = KVCache(config, config.max_positions, weight.device, weight.dtype)
        # the row before a token led to it: without visual rows the first token of the prompt has none
        first = max(0, seen.visual - 1)
        states = seen.hidden[first:, -1]
        self._read(seen.prompt[len(seen.prompt) - len(states):], states)

    def _read(self, tokens: list[int], states: Tensor) -> None:
        """Go on after verified tokens and the states that led to them."""
        count, start = len(tokens), self._cache.length
        if count:
            mask = attention_mask(list(range(-1, count - 2)), start, 1)[None, None].to(states.device)
            guessed = self._step(tokens, states, torch.arange(start, start + count), mask)
            self._cache.keep(range(count))
            self._last = guessed[-1]

    def _step(self, tokens: list[int], states: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        words = self._verifier.embed(torch.tensor(tokens, device=states.device))
        guessed: Tensor = self._head(words[None], states[None], at[None].to(states.device), mask, self._cache)[0]
        return guessed

    @torch.inference_mode()
    def propose(self, budget: int) -> Draft:
        """A tree of at most `budget` tokens, each with the guessed state that its parent led to."""
        states: dict[int, Tensor] = {-1: self._last}
        rows: dict[int, int] = {}
        stable = self._cache.length
        first = self._scores(self._last[None], [self._known])[0]
        expand = partial(self._expand, states, rows, stable)
        if self._shape == "static":
            grown = grow_ranks(first, expand, budget, STATIC, self._eos)
        else:
            width = WIDTH if self._shape == "dynamic" else 1
            grown = grow(first, expand, budget, width, min(DEPTH, budget), self._eos)
        self._cache.rewind(stable)
        return self._draft(grown, states)

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
        return self._rule.preferences(self._verifier.head(states), indices).log_softmax(-1)

    def _draft(self, grown: Grown, states: dict[int, Tensor]) -> Draft:
        led = [states[grown.numbers[parent] if parent >= 0 else -1] for parent in grown.parents]
        hidden = torch.stack(led) if led else None
        probs = torch.tensor(grown.scores).exp().tolist()
        return Draft(grown.tokens, grown.parents, [self.name] * len(grown.tokens), probs, hidden)

    @torch.inference_mode()
    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Take over the verified tokens and the verifier's true states."""
        rows = [0, *(node + 1 for node in verdict.path)]
        self._read([*(draft.tokens[node] for node in verdict.path), verdict.token], scores.hidden[rows, -1])
        self._known += len(rows)

    def finish(self, tokens: list[int]) -> None:
        """Nothing to keep."""
