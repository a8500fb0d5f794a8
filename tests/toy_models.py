"""Tiny random models and drafters for the laws of decoding. Test doubles, never shipped."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal

import numpy as np
import torch

from pipeline.adapters import LEVELS, BottleneckAdapter, new_adapter, save_adapter
from pipeline.decoder import FINAL, Decoder, DecoderConfig
from pipeline.drafters import eagle, eagle3, medusa, specvlm
from pipeline.models import Models
from pipeline.session import DecoderSession
from pipeline.text import Tokenizer
from pipeline.training.language import train_tokenizer
from pipeline.training.traces import Trace
from pipeline.types import Draft, Prefix, Rule, Scores, Verdict
from streams.types import Frame, Resolution, Window, empty_packet


@lru_cache(1)
def tokenizer() -> Tokenizer:
    path = Path(mkdtemp()) / "tokenizer.json"
    train_tokenizer(path, {}, scenes=30)
    return Tokenizer(path)


def random_decoder(seed: int, size: int = 32, layers: int = 2, vocabulary: int | None = None) -> Decoder:
    torch.manual_seed(seed)
    config = DecoderConfig(vocabulary or tokenizer().size, size, 2 * size, layers, 4, 2, size // 4, max_positions=400)
    decoder = Decoder(config).eval().requires_grad_(False)
    for parameter in decoder.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.25)
    return decoder


class ToyVLM:
    """A random decoder whose view of a window is one embedding; temperature of its words is set by `scale`."""

    def __init__(self, seed: int, size: int = 32, layers: int = 2) -> None:
        self.name, self.hidden_size, self.tokenizer = f"toy-{seed}", size, tokenizer()
        self.decoder = random_decoder(seed, size, layers)
        self.taps = (0, 1, 1, FINAL)
        self.reads: Literal["frames", "events", "nothing"] = "frames"
        self.parameters = sum(p.numel() for p in self.decoder.parameters())

    def open(self, window: Window, prompt: str) -> DecoderSession:
        view = torch.full((1, self.hidden_size), float(window.start_us % 7) / 7)
        return DecoderSession(self.decoder, lambda: view, tokenizer().prompt(prompt), capacity=390, taps=self.taps)

    def look(self, window: Window) -> None:
        pass


def toy_models(same: bool = False) -> Models:
    """A verifier and an event VLM; `same` makes the event VLM a copy of the verifier."""
    rgb = ToyVLM(1)
    event = rgb if same else ToyVLM(2, size=16)
    torch.manual_seed(3)
    adapter = BottleneckAdapter(event.hidden_size, rgb.hidden_size, 8).eval()
    return Models(rgb, event, adapter, tokenizer(), toy_heads())


@lru_cache(1)
def toy_heads() -> Path:
    """A folder with random draft heads and adapters for the toy pair."""
    return write_heads(Path(mkdtemp()), random_decoder(1).config, random_decoder(2, 16).config)


def write_heads(folder: Path, verifier: DecoderConfig, event: DecoderConfig) -> Path:
    """Random draft heads and adapters for a pair, under the names where they are looked for."""
    config = replace(verifier, layers=1)
    torch.manual_seed(4)
    for name in ("eagle", "eagle-hass"):
        eagle.save_head(eagle.EagleHead(config), folder / name)
    words = torch.arange(0, config.vocab_size, 2)
    eagle3.save_head(eagle3.Eagle3Head(config, words), folder / "eagle3")
    heads = medusa.MedusaHeads(config.hidden_size, config.vocab_size, 3)
    medusa.save_heads(heads, [(0,), (1,), (0, 0), (0, 0, 0), (1, 0), (0, 1)], folder / "medusa")
    specvlm.save_head(specvlm.SpecVlmHead(config), folder / "specvlm")
    for level in LEVELS:
        adapter = new_adapter(level, event, config)
        for parameter in adapter.parameters():
            # what starts at zero would hide what it reads
            torch.nn.init.normal_(parameter, std=0.3)
        save_adapter(adapter, folder / f"adapter-{level}")
    return folder


def toy_window(start_us: int = 0) -> Window:
    frame = Frame(start_us + 1, 0, np.zeros((4, 4, 3), np.uint8))
    return Window(start_us, start_us + 1_000_000, empty_packet(), [frame], Resolution(4, 4))


@torch.inference_mode()
def told(answer: list[int], question: str = "What is happening?") -> Trace:
    """The toy pair's states along an answer."""
    models = toy_models()
    assert models.event is not None
    rgb, event = models.rgb.open(toy_window(), question), models.event.open(toy_window(), question)
    rgb.prefill()
    event.prefill()
    chain, prefix = Draft.chain(answer[:-1], "given"), rgb.prefix
    states = torch.cat([prefix.hidden[prefix.visual - 1:], rgb.score(chain).hidden])
    visual = torch.full((1, models.event.hidden_size), float(toy_window().start_us % 7) / 7)
    return Trace([*prefix.prompt, *answer], len(prefix.prompt), states, event.score(chain).hidden[:, -1],
                 event_visual=visual)


class TreeDrafter:
    """Random trees over a known continuation: `right` is the chance that a node carries the true next token."""

    name = "tree"
    parameters = 0
    compared = None

    def __init__(self, truth: list[int], right: float, seed: int, wide: bool = True) -> None:
        self._truth, self._right, self._wide = truth, right, wide
        self._rng, self._done = random.Random(seed), 0

    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        self._done = 0

    def propose(self, budget: int) -> Draft:
        tokens: list[int] = []
        parents: list[int] = []
        depths: list[int] = []
        for node in range(self._rng.randint(0, budget)):
            parent = self._rng.randint(-1, node - 1) if self._wide else node - 1
            depth = 0 if parent < 0 else depths[parent] + 1
            at = self._done + depth
            token = self._truth[at] if at < len(self._truth) and self._rng.random() < self._right else 5
            if any(p == parent and t == token for p, t in zip(parents, tokens, strict=True)):
                token = 6 + node
            tokens.append(token)
            parents.append(parent)
            depths.append(depth)
        return Draft(tokens, parents, [self.name] * len(tokens))

    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        self._done += len(verdict.path) + 1

    def finish(self, tokens: list[int]) -> None:
        pass
