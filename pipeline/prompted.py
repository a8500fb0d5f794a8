"""A VLM made of our decoder and anything that sees: words, what was seen, more words, then the answer.

    vlm = PromptedVLM("llava", decoder, tokenizer, see, split)
    session = vlm.open(window, "What is happening?")

see(window) gives visual tokens [V, D]; split(question) the words of the prompt before and behind them. Every model
family whose language model is a Llama differs in these two only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from pipeline.decoder import FINAL, Decoder
from pipeline.seen import LastSeen
from pipeline.session import DecoderSession
from pipeline.vocabulary import HubTokenizer
from streams.types import InputError, Window

See: TypeAlias = Callable[[Window], Tensor]
Split: TypeAlias = Callable[[str], tuple[list[int], list[int]]]

ANSWER_ROWS = 768
"""Rows of a session's cache behind the prompt: an answer, a draft and some room."""

FEWEST_ROWS = 64
"""Rows that a prompt must leave for an answer."""

FEWEST_LEVELS = 6
"""Layers from which on a low, a middle and a high one are three."""

RECENT = 2
"""Windows whose visual tokens are kept: several questions are asked about one."""


class PromptedVLM:
    """One model: its decoder, its tokenizer, its eye and its prompt."""

    def __init__(self, name: str, decoder: Decoder, tokenizer: HubTokenizer, see: See, split: Split,
                 visual: int, reads: Literal["frames", "events", "nothing"], towers: Sequence[nn.Module] = ()) -> None:
        """visual: how many tokens see() gives at most. reads: what it looks at. towers: modules beside the decoder."""
        self.name, self.tokenizer, self.reads, self.visual = name, tokenizer, reads, visual
        self.decoder: Decoder | None = decoder
        self.hidden_size = decoder.config.hidden_size
        self.taps = taps_of(decoder)
        self.parameters = sum(p.numel() for module in (decoder, *towers) for p in module.parameters())
        self._see, self._split = see, split
        self._seen = LastSeen(RECENT, self._looked_at)

    def open(self, window: Window, prompt: str) -> DecoderSession:
        """Begin an answer; the window is read by Session.prefill(). Raises InputError for an endless question."""
        decoder = self.decoder
        assert decoder is not None
        before, after = self._split(harmless(prompt.strip(), self.tokenizer.specials))
        rows, longest = len(before) + self.visual + len(after), decoder.config.max_positions
        if rows + FEWEST_ROWS > longest:
            raise InputError(f"the question has {len(after)} tokens; {self.name} reads {longest} tokens in all, "
                             f"up to {self.visual} of them for what it sees; shorten it")

        def read_prefix() -> Tensor:
            weight = decoder.embed.weight
            words = decoder.embed(torch.tensor(before, dtype=torch.long, device=weight.device))
            return torch.cat([words, self.see(window).to(weight)])

        return DecoderSession(decoder, read_prefix, after, min(rows + ANSWER_ROWS, longest), self.taps)

    def look(self, window: Window) -> None:
        """See what there is in a window that will be asked about."""
        self.see(window)

    def see(self, window: Window) -> Tensor:
        """Visual tokens [V, D] of a window; the last few windows are not looked at again."""
        return self._seen.of(window)

    @torch.inference_mode()
    def _looked_at(self, window: Window) -> Tensor:
        tokens = self._see(window)
        if len(tokens) > self.visual:
            raise InputError(f"{self.name} made {len(tokens)} visual tokens, at most {self.visual} were expected; its "
                             "preprocessor config does not belong to its weights")
        return tokens


def taps_of(decoder: Decoder) -> tuple[int, ...]:
    """Layers whose states draft heads read: those that EAGLE-3's authors chose, where there are enough."""
    layers = decoder.config.layers
    return (2, layers // 2, layers - 3, FINAL) if layers >= FEWEST_LEVELS else (FINAL,)


def harmless(question: str, specials: Sequence[str] | dict[str, int]) -> str:
    """A question in which no special token is spelled: what a person types must stay text."""
    for token in specials:
        if token in question:
            question = question.replace(token, token[0] + " " + token[1:])
    return question
