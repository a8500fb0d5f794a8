"""A session of a VLM that runs on our own decoder: prefix, committed tokens, one cache.

    session = DecoderSession(decoder, read_prefix, prompt_tokens, capacity=512)
    session.prefill()
    scores = session.score(draft); session.commit(draft, verdict)

The last committed tokens wait as `pending` until the next pass feeds them together with the draft.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from pipeline import rereading
from pipeline.decoder import FINAL, Decoder, KVCache
from pipeline.placement import own_stream
from pipeline.trees import attention_mask, positions
from pipeline.types import Box, Draft, Prefix, Scores, Verdict

Locate: TypeAlias = Callable[[Tensor, Tensor, Tensor | None, KVCache, int], list[Box | None]]
"""Boxes [R] (None = about no object) from states [R, D], positions [R], mask [R, S] (None: all is seen), the cache and
how many of its rows count, S."""


class DecoderSession:
    """One answer in the making: implements pipeline.types.Session for any prefix of embeddings."""

    trees = True

    def __init__(self, decoder: Decoder, read_prefix: Callable[[], Tensor], prompt: Sequence[int],
                 capacity: int = 512, taps: Sequence[int] = (FINAL,), locate: Locate | None = None) -> None:
        """read_prefix: gives the visual prefix [P, D], called once by prefill(). prompt: at least one token.

        locate: says from the states of the first tap which object each next word is about.
        """
        if not prompt:
            raise ValueError("a prompt needs at least one token")
        self._decoder, self._read_prefix, self._prompt = decoder, read_prefix, list(prompt)
        self._taps, self._locate = tuple(taps), locate
        self._cache = decoder.new_cache(capacity)
        self._prefix_rows: int | None = None
        self._led: tuple[Tensor, Tensor] | None = None
        self._cosines = list[Tensor]()
        self._prefix_hidden: Tensor
        self._pending = [self._prompt[-1]]
        self._committed: list[int] = []
        self._scored: Draft | None = None

    @property
    def committed(self) -> list[int]:
        """Tokens of the answer so far."""
        return list(self._committed)

    @torch.inference_mode()
    def read(self) -> tuple[Tensor, list[int]]:
        """The visual prefix [P, D] and the prompt, for who feeds them to another decoder; the cache stays as it is."""
        return self._read_prefix(), list(self._prompt)

    @torch.inference_mode()
    def prefill(self) -> None:
        """Read the prefix and the prompt; a second call does nothing.

        The last token of the prompt is read too but not kept: the first pass may feed it with a draft, and one without
        a draft has been made here.
        """
        if self._prefix_rows is not None:
            return
        device = self._decoder.embed.weight.device
        with own_stream(device):
            words = self._decoder.embed(torch.tensor(self._prompt, device=device))
            x = torch.cat([self._read_prefix().to(words), words])[None]
            states, hidden = self._read_rows(x)
        self._prefix_hidden, self._led = hidden[:, :-1], (states[:, -1:], hidden[:, -1:])
        self._prefix_rows = x.shape[1] - 1
        self._cache.keep(range(self._prefix_rows - self._cache.length))

    def _read_rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Final states of the rows x [1, T, D] that were not read before, and tapped states [1, T, taps, D] of all."""
        rows, taps, before = x.shape[1], self._taps, rereading.find(self._decoder, self._cache, x, self._taps)
        where = torch.arange(rows, device=x.device)[None]
        if before is None:
            states, hidden = self._decoder(x, where, None, self._cache, taps, cosines=self._cosines)
        else:
            reading, known = before
            rereading.take_over(reading, known, self._cache)
            mask = attention_mask(list(range(-1, rows - known - 2)), known, 1)[None, None].to(x.device)
            states, new = self._decoder(x[:, known:], where[:, known:], mask, self._cache, taps)
            hidden, self._cosines = torch.cat([reading.hidden[:, :known], new], 1), reading.cosines
        if before is None or known < len(before[0].x):
            rereading.keep(self._decoder, self._cache, x, taps, hidden, self._cosines)
        return states, hidden

    @property
    def prefix(self) -> Prefix:
        """What prefill() read. Raises RuntimeError before it."""
        if self._prefix_rows is None:
            raise RuntimeError("prefix needs prefill() first")
        return Prefix(self._prompt, self._prefix_rows - len(self._prompt) + 1, self._prefix_hidden[0],
                      torch.stack(self._cosines).tolist(), self.ahead)

    @torch.inference_mode()
    def score(self, draft: Draft) -> Scores:
        """Score a draft in one forward pass; commits nothing. Raises RuntimeError before prefill()."""
        if self._prefix_rows is None:
            raise RuntimeError("score() needs prefill() first")
        device, pending, prefix = self._decoder.embed.weight.device, len(self._pending), self._cache.length
        tokens = torch.tensor(self._pending + draft.tokens, device=device)
        # one row sees everything
        mask = attention_mask(draft.parents, prefix, pending)[None, None].to(device) if len(tokens) > 1 else None
        where = positions(draft.depths(), prefix, pending)[None].to(device)
        if self._led is not None and not len(draft):
            states, hidden = self._led
        else:
            states, hidden = self._decoder(self._decoder.embed(tokens)[None], where, mask, self._cache, self._taps)
        assert hidden is not None
        self._scored, tapped, locate = draft, hidden[0, pending - 1:], self._locate

        def find() -> list[Box | None]:
            assert locate is not None
            if self._scored is not draft:
                raise RuntimeError("boxes are asked for before commit()")
            with torch.inference_mode():
                seen = None if mask is None else mask[0, 0, pending - 1:]
                return locate(tapped[:, 0], where[0, pending - 1:], seen, self._cache, prefix + len(tokens))

        return Scores(self._decoder.head(states[0, pending - 1:]), tapped, find if locate is not None else None)

    @torch.inference_mode()
    def ahead(self, skip: Collection[int], choose: Callable[[Scores], int | None]) -> None:
        """Write on with the attention of some layers left out (pipeline.types.Ahead). Commits nothing: the rows it
        writes lie after the cursor, where the next score() writes its own. Raises RuntimeError before prefill()."""
        if self._prefix_rows is None:
            raise RuntimeError("ahead() needs prefill() first")
        stable, tokens, device = self._cache.length, self._pending, self._decoder.embed.weight.device
        self._scored = self._led = None  # their rows are overwritten here
        try:
            while tokens:
                mask = attention_mask([], self._cache.length, len(tokens))[None, None].to(device)
                where = positions([], self._cache.length, len(tokens))[None].to(device)
                words = self._decoder.embed(torch.tensor(tokens, device=device))[None]
                states, tapped = self._decoder(words, where, mask, self._cache, self._taps, skip)
                assert tapped is not None
                self._cache.keep(range(len(tokens)))
                token = choose(Scores(self._decoder.head(states[0, -1:]), tapped[0, -1:]))
                tokens = [] if token is None else [token]
        finally:
            self._cache.rewind(stable)

    @torch.inference_mode()
    def write_on(self, count: int, end: int) -> tuple[list[int], Tensor, Tensor] | None:
        """Say the likeliest token up to `count` times, `end` being the last, and commit them, in one compiled call:
        tokens, logits [n, V] and the states that led to them [n, D]. None where nothing is compiled, and where the
        first token costs no pass: score() has it."""
        if self._prefix_rows is None or self._led is not None:
            return None
        made = self._decoder.write_on(self._pending, self._cache, count, end)
        if made is not None:
            # the last one said waits for the next pass
            self._cache.keep(range(len(self._pending) + len(made[0]) - 1))
            self._committed += made[0]
            self._pending, self._scored = made[0][-1:], None
        return made

    def commit(self, draft: Draft, verdict: Verdict) -> None:
        """Keep the accepted path of the draft just scored and append the verdict's token."""
        if draft is not self._scored:
            raise ValueError("commit() takes the draft that was scored last")
        pending = len(self._pending)
        self._cache.keep([*range(pending), *(pending + node for node in verdict.path)])
        self._committed += [*(draft.tokens[node] for node in verdict.path), verdict.token]
        self._pending, self._scored, self._led = [verdict.token], None, None

    def extend(self, tokens: Sequence[int]) -> None:
        """Append tokens that somebody else verified; the next score() feeds them."""
        self._committed += tokens
        self._pending += tokens
        self._scored = self._led = None

    def rewind(self, n_committed: int) -> None:
        """Forget all committed tokens after the first n_committed. Raises ValueError when there are fewer."""
        if self._prefix_rows is None or not 0 <= n_committed <= len(self._committed):
            raise ValueError(f"cannot rewind to {n_committed} of {len(self._committed)} committed tokens")
        # the cache never holds the last committed token: row prefix + i is token i of [last prompt token, answer]
        cached = min(self._cache.length, self._prefix_rows + n_committed)
        self._cache.rewind(cached)
        self._committed = self._committed[:n_committed]
        line = [self._prompt[-1], *self._committed]
        self._pending, self._scored, self._led = line[cached - self._prefix_rows:], None, None
