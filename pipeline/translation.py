"""An event VLM that guesses for a verifier with another vocabulary.

    how = relation(event.tokenizer, rgb.tokenizer)     # "same", "words" or "text"
    adopt(event, rgb.tokenizer)                        # "words": only special tokens differ
    TextDrafter("vlm", event, rgb.tokenizer)           # "text": guesses go through text

Universal assisted decoding (Timor et al. 2024): what one model says is written out and read again with the other's
tokenizer. The verifier checks its own tokens, so the answer stays exactly its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from pipeline.packed import PackedLinear
from pipeline.prompted import PromptedVLM
from pipeline.text import Tokenizer
from pipeline.types import VLM, Draft, Prefix, Rule, Scores, Verdict
from streams.types import Window

CONTEXT = 8
"""Verified tokens that are read again together with a guess, so that it is cut into tokens as it would be inside a
text."""

EXTRA = 1.5
"""Tokens that the event VLM says for each that is asked for: its words may be cut into longer ones."""


def relation(event: Tokenizer, rgb: Tokenizer) -> Literal["same", "words", "text"]:
    """Whether two vocabularies are the same, the same but for special tokens, or different."""
    if event.vocabulary == rgb.vocabulary:
        return "same"
    return "words" if words(event) == words(rgb) else "text"


def words(tokenizer: Tokenizer) -> dict[str, int]:
    """The part of a vocabulary that answers are made of."""
    return {name: i for name, i in tokenizer.vocabulary.items() if name not in tokenizer.specials}


def adopt(event: PromptedVLM, rgb: Tokenizer) -> None:
    """Let an event VLM speak the verifier's vocabulary, where the words are the same: what it cannot mean it cannot
    say, its end of an answer is the verifier's, and a special token of the verifier reads as an end."""
    decoder, own = event.decoder, event.tokenizer
    assert decoder is not None
    head, embedded = decoder.head.weight, decoder.embed.weight
    shared = [i for name, i in rgb.vocabulary.items() if own.vocabulary.get(name) == i]
    fitted = PackedLinear(head.shape[1], rgb.size, bias=True, device=head.device, dtype=head.dtype)
    weight, bias = torch.zeros_like(fitted.weight), torch.full_like(fitted.bias, float("-inf"))
    weight[shared], bias[shared] = head[shared], 0
    weight[rgb.eos], bias[rgb.eos] = head[own.eos], 0
    fitted.weight, fitted.bias = (nn.Parameter(value, requires_grad=False) for value in (weight, bias))
    missing = max(0, rgb.size - len(embedded))
    padded = torch.cat([embedded, embedded[own.eos].expand(missing, -1)])
    decoder.head, decoder.embed.weight = fitted, nn.Parameter(padded, requires_grad=False)
    decoder.config = replace(decoder.config, vocab_size=rgb.size)


class TextDrafter:
    """The event VLM writes on in its own tokens; what it wrote is read with the verifier's tokenizer. A chain, without
    states to compare."""

    compared: str | None = None

    def __init__(self, name: str, event: VLM, tokenizer: Tokenizer) -> None:
        self.name, self._event, self._rgb = name, event, tokenizer
        self.parameters = event.parameters

    @property
    def event(self) -> VLM | None:
        """The event VLM."""
        return self._event

    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Read the events and the prompt."""
        self._session = self._event.open(window, prompt)
        self._session.prefill()
        self._said: list[int] = []

    @torch.inference_mode()
    def propose(self, budget: int) -> Draft:
        """At most `budget` tokens of the verifier for what the event VLM says next; its likeliest words, whatever the
        rule: noise of sampling belongs to tokens that it does not have."""
        own, nothing = self._event.tokenizer, Draft.none()
        before = len(self._session.committed)
        ended = False
        for _ in range(int(budget * EXTRA) + 1):
            token = int(self._session.score(nothing).logits[0].argmax())
            if token in own.ends:
                ended = True
                break
            self._session.commit(nothing, Verdict([], token, "plain"))
        guess = written(own, self._session.committed[before:])
        tokens = self._read(guess if self._said else guess.lstrip())
        if ended and (tokens or not guess):
            tokens = [*tokens, self._rgb.eos]
        return Draft.chain(tokens[:budget], self.name)

    def _read(self, guess: str) -> list[int]:
        """A continuation of the answer in the verifier's tokens, none where it begins inside one of them."""
        context = self._said[-CONTEXT:]
        told = written(self._rgb, context)
        known, whole = self._rgb.encode(told), self._rgb.encode(told + guess)
        return whole[len(known):] if whole[:len(known)] == known else []

    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Go back to where the event VLM's text and the verified one part, and read the rest of the verified one."""
        self._said += [*(draft.tokens[node] for node in verdict.path), verdict.token]
        line = self._event.tokenizer.encode(written(self._rgb, self._said).strip())
        had = self._session.committed
        shared = next((i for i, pair in enumerate(zip(had, line, strict=False)) if pair[0] != pair[1]),
                      min(len(had), len(line)))
        self._session.rewind(shared)
        self._session.extend(line[shared:])

    def finish(self, tokens: list[int]) -> None:
        """Let the event model's cache go."""
        del self._session


def written(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """The text of tokens, without a character that is not complete."""
    return b"".join(tokenizer.bytes_of(token) for token in tokens).decode("utf-8", "ignore")
