"""What transformers makes of the same weights, windows and prompts: the peers that `bench --peers` compares with.

    peers = Peers(models)
    peers.tune(window, limits)                       # the fastest of each peer's settings, on a window of its own
    answer = peers.answer("transformers_generate", window, "What is happening?", limits)

The visual rows take the places of the first ids of a prompt, as in LLaVA (Liu et al. 2023), so that what reads ids
works: prompt lookup (Saxena 2023) and assisted generation (Gante 2023), whose assistant is the event VLM's decoder.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from pipeline.captioner import DEFAULT_RULE
from pipeline.decoder import Decoder
from pipeline.decoding import Limits
from pipeline.measure import PLAIN, QUESTIONS, Answer, BenchTable, Peer, unread
from pipeline.models import Models
from pipeline.session import DecoderSession
from pipeline.statistics import ratio_of_sums
from pipeline.types import VLM, Caption, Cycle, Emitted, Span
from streams.types import InputError, Window

PLACE = 0
"""The id whose places the visual rows take: <pad>, which no answer contains."""


@dataclass(frozen=True)
class Setting:
    """How transformers runs: words for people, what generate() and the assistant's generation_config are given."""

    words: str
    attention: str = "sdpa"
    options: dict[str, Any] = field(default_factory=dict)
    assistant: dict[str, Any] | None = None


def _assisted(words: str, tokens: int, schedule: str, confidence: float) -> Setting:
    return Setting(words, assistant={"num_assistant_tokens": tokens, "num_assistant_tokens_schedule": schedule,
                                     "assistant_confidence_threshold": confidence})


PEERS = {
    "transformers_generate": (
        Setting("sdpa, dynamic cache"), Setting("sdpa, static cache", options={"cache_implementation": "static"}),
        Setting("eager, dynamic cache", "eager"),
        Setting("eager, static cache", "eager", {"cache_implementation": "static"})),
    "transformers_prompt_lookup": tuple(
        Setting(f"sdpa, dynamic cache, {tokens} tokens", options={"prompt_lookup_num_tokens": tokens})
        for tokens in (2, 4, 8, 12)),
    "transformers_assisted": (
        _assisted("sdpa, dynamic cache, 4 tokens", 4, "constant", 0.0),
        _assisted("sdpa, dynamic cache, 8 tokens", 8, "constant", 0.0),
        _assisted("sdpa, dynamic cache, 12 tokens", 12, "constant", 0.0),
        _assisted("sdpa, dynamic cache, 12 tokens above confidence 0.4", 12, "constant", 0.4),
        _assisted("sdpa, dynamic cache, as many tokens as its heuristic says", 8, "heuristic", 0.4)),
}
"""Every peer with the settings that are tried; assisted generation takes no static cache."""

ROUNDS = 2
"""How often every setting is timed on every question."""


class Places(nn.Embedding):
    """Word embeddings; the first pass after look() reads visual rows where the prompt keeps places for them."""

    rows: Tensor | None = None
    empty = 0

    def look(self, rows: Tensor, places: int) -> None:
        """Take rows [P, D] for the last P of the first `places` ids."""
        self.rows, self.empty = rows, places - len(rows)

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings [B, T, D] of ids [B, T]."""
        words = super().forward(ids)
        if self.rows is not None:
            words[0, self.empty:self.empty + len(self.rows)] = self.rows
            self.rows = None
        return words


class SeeingLlama(LlamaForCausalLM):  # type: ignore[misc, unused-ignore]
    """transformers' Llama with places for visual rows; places that stay empty are not attended to."""

    def prepare_inputs_for_generation(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What forward() is given: empty places masked, positions counted after them, as in left padding."""
        # generate() reads the names of these parameters: it looks further only where one is called kwargs
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, *args, **kwargs)
        empty = self.get_input_embeddings().empty
        if empty:
            length, end = inputs["input_ids"].shape[1], input_ids.shape[1]
            mask = torch.ones_like(input_ids)
            mask[:, :empty] = 0
            at = torch.arange(end - length - empty, end - empty, device=mask.device)[None].clamp_min(0)
            inputs |= {"attention_mask": mask, "position_ids": at}
        return inputs


def seeing_llama(decoder: Decoder) -> SeeingLlama:
    """transformers' Llama with the weights of our decoder."""
    config = LlamaConfig.from_dict(decoder.config.to_llama())
    model = SeeingLlama(config).float()
    model.load_state_dict(decoder.llama_state(), strict=not decoder.config.tied)
    words = Places(decoder.config.vocab_size, decoder.config.hidden_size)
    words.weight = model.get_input_embeddings().weight
    model.set_input_embeddings(words)
    model.tie_weights()
    return model.eval().requires_grad_(False).to(decoder.embed.weight.device)


class _Rounds:
    """A streamer of transformers: the tokens of every pass and when they came."""

    def __init__(self) -> None:
        self.tokens, self.ends = list[list[int]](), list[float]()

    def put(self, value: Tensor) -> None:
        self.tokens.append(value.flatten().tolist())
        self.ends.append(time.perf_counter())

    def end(self) -> None:
        """Everything was given to put()."""


class Peers:
    """transformers' models of the pair, and how each peer runs them; skipped: why a peer cannot run."""

    def __init__(self, models: Models) -> None:
        """Raises InputError when the verifier does not run on our decoder."""
        if models.rgb.decoder is None:
            raise InputError(f"--peers compares the same weights in transformers, and {models.rgb.name} already runs "
                             "there; use --model mini")
        # its advice about deprecated arguments comes from its own calls
        logging.set_verbosity_error()
        self._models = models
        self._target, self._assistant = seeing_llama(models.rgb.decoder), None
        self.settings = {name: choices[0] for name, choices in PEERS.items()}
        self.skipped = dict[str, str]()
        if models.event is None or models.event.decoder is None:
            self._skip("transformers_assisted", "there is no event VLM with a decoder of ours")
        else:
            self._assistant = seeing_llama(models.event.decoder)

    def _skip(self, name: str, reason: str) -> None:
        self.skipped[name] = reason
        del self.settings[name]

    def tune(self, window: Window, limits: Limits) -> None:
        """Choose each peer's fastest setting; a peer that transformers refuses to run is skipped with its words."""
        for name in list(self.settings):
            seconds = dict[int, float]()
            try:
                for number in range(1 + ROUNDS):
                    for choice, setting in enumerate(PEERS[name]):
                        self.settings[name] = setting
                        took = sum(self.answer(name, unread(window), question, limits).caption.total_s
                                   for question in QUESTIONS.values())
                        # the first round only warms up
                        seconds[choice] = min(took, seconds[choice]) if number else float("inf")
            except Exception as error:  # whatever transformers raises, its words are what a person has to know
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                self._skip(name, f"transformers does not accept it: {reason}")
                continue
            self.settings[name] = PEERS[name][min(seconds, key=lambda choice: seconds[choice])]

    def callables(self, limits: Limits) -> dict[str, Peer]:
        """The peers as pipeline.measure.compare takes them."""
        return {name: partial(self.answer, name, limits=limits) for name in self.settings}

    @torch.inference_mode()
    def answer(self, name: str, window: Window, question: str, limits: Limits) -> Answer:
        """One greedy answer about a window, which is read here: one Cycle per pass, drafting included."""
        setting, start, rounds = self.settings[name], time.perf_counter(), _Rounds()
        rows, prompt = _read(self._models.rgb, window, question)
        options = dict(setting.options)
        if setting.assistant is not None:
            assert self._assistant is not None
            assert self._models.event is not None
            seen, _ = _read(self._models.event, window, question)
            self._assistant.get_input_embeddings().look(seen, len(rows))
            self._assistant.generation_config.update(**setting.assistant)
            options["assistant_model"] = self._assistant
        read_s = time.perf_counter() - start
        self._target.get_input_embeddings().look(rows, len(rows))
        if self._target.config._attn_implementation != setting.attention:
            self._target.set_attn_implementation(setting.attention)
        ids = torch.tensor([[PLACE] * len(rows) + prompt], device=rows.device)
        self._target.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, streamer=rounds,
                              max_new_tokens=limits.max_new_tokens, eos_token_id=sorted(self._models.tokenizer.ends),
                              pad_token_id=PLACE, **options)
        return _answer(name, window, question, read_s, rounds.tokens[1:], [end - start for end in rounds.ends[1:]])


def _read(vlm: VLM, window: Window, question: str) -> tuple[Tensor, list[int]]:
    """Visual rows [P, D] and prompt."""
    session = vlm.open(window, question)
    assert isinstance(session, DecoderSession)
    return session.read()


def _answer(name: str, window: Window, question: str, read_s: float, rounds: Sequence[list[int]],
            ends: Sequence[float]) -> Answer:
    """The records of an answer, so that everybody's answers are counted alike; rounds: tokens of every pass."""
    cycles, start = list[Cycle](), read_s
    for number, (tokens, end) in enumerate(zip(rounds, ends, strict=True)):
        spans = [Span("prefill", 0.0, read_s)] if number == 0 else []
        cycles.append(Cycle(number, [], [Emitted("", token, "plain") for token in tokens],
                            [*spans, Span("verify", start, end)]))
        start = end
    count = sum(map(len, rounds))
    return Answer(Caption(window.start_us, window.end_us, question, "", name, DEFAULT_RULE.name, True, len(cycles),
                          count, 0, 0, None, None, ends[0], ends[-1], None, window.frames_origin,
                          window.events_origin), cycles)


def compared(table: BenchTable, length: str, settings: dict[str, Setting]) -> dict[str, Any]:
    """Us against the peers on one question length: how many times faster plain decoding and the best lossless drafter
    are, reading included, with intervals over clips; and when the first guess comes, as a share of the time until the
    first verified word."""
    best = table.best(length) or PLAIN
    runs, rows = table.runs[length], dict[str, Any]()
    for name, setting in settings.items():
        counted = runs[name].to_json()
        rows[name] = {"settings": setting.words, **{key: counted[key] for key in (
                          "identity", "tau", "tokens_per_s", "first_token_s")},
                      **_ratio("speedup_of_none", table.speedup(length, PLAIN, name)),
                      **_ratio("speedup_of_best", table.speedup(length, best, name))}
    guesses = {clip: pair[0] for clip, pair in runs[best].first_words.items() if not np.isnan(pair[0])}
    first = {"drafter": best}
    if guesses:
        for label, name in (("own", best), (PLAIN, PLAIN), *((name, name) for name in settings)):
            words = runs[name].first_words
            first |= _ratio(f"first_draft_over_first_token_{label}", ratio_of_sums(np.array(
                [[guess, words[clip][1]] for clip, guess in guesses.items()])))
    return {"peers": rows, "best": {"drafter": best, **_ratio("speedup", table.speedup(length, best))},
            "first_word": first}


def _ratio(name: str, ratio: tuple[float, float, float]) -> dict[str, Any]:
    middle, low, high = (round(value, 3) for value in ratio)
    return {name: middle, f"{name}_ci": [low, high]}
