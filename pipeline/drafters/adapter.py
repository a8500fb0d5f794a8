"""The event VLM's states, mapped into the verifier's space and read out by the verifier's own head.

    drafter = create(models, None)          # level L1; or "L2" ... "L6", "L5F", "B1", or the folder of an adapter

The levels are those of the original study (xifan-zhang/EventGPT): pipeline.adapters has their shapes. B1 needs no event
VLM: it goes on from the verifier's last states. L6 changes a copy of the event VLM.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

import torch
from torch import Tensor

from pipeline import graphs
from pipeline.adapters import LEVELS, Adapter, LoraAdapter, load_adapter
from pipeline.adapters.adapter import Past
from pipeline.checkpoints import beside
from pipeline.drafters import folder_of, verifier_of
from pipeline.models import Models
from pipeline.types import VLM, Draft, Prefix, Rule, Scores, Session, Verdict
from streams.types import InputError, Window

VARIANTS = tuple(level for level in LEVELS if level != "L1")


def create(models: Models, variant: str | None) -> AdapterDrafter:
    """Make it. Raises InputError where no adapter was trained for the pair, for a level that does not exist and where
    the event VLM that a level reads is not there."""
    verifier, folder = verifier_of(models, "adapter"), folder_of(models, "adapter", variant, tuple(LEVELS))
    level = variant or "L1"
    if level in LEVELS:
        folder = folder.with_name(f"adapter-{level}")
    adapter = load_adapter(folder, verifier.embed.weight.device,
                           f"train it with: parafovea train adapter:{level if level in LEVELS else 'LEVEL'}")
    adapter = beside(adapter, verifier)
    event = event_side(models, adapter) if "event" in adapter.reads else None
    wanted = {"inputs": models.rgb.hidden_size if event is None else event.hidden_size,
              "outputs": models.rgb.hidden_size}
    if {name: adapter.sizes[name] for name in wanted} != wanted:
        raise InputError(f"the adapter in {folder} maps states of {adapter.sizes['inputs']} numbers to "
                         f"{adapter.sizes['outputs']}, this pair needs {wanted['inputs']} to {wanted['outputs']}; use "
                         "an adapter trained for it")
    return AdapterDrafter(f"adapter:{variant}" if variant else "adapter", models, adapter, event)


def event_side(models: Models, adapter: Adapter) -> VLM:
    """The event VLM that an adapter reads; for L6 a copy with the adapter's changes. Raises InputError without one."""
    event = models.event
    if event is None:
        raise InputError(f"drafter 'adapter:{adapter.name}' needs an event VLM, and none is loaded; use --drafter "
                         "adapter:B1, recall or none")
    if models.through_text:
        raise InputError(f"drafter 'adapter:{adapter.name}' needs an event VLM with the verifier's vocabulary, and "
                         f"{event.name} has another one than {models.rgb.name}; use --drafter vlm, which goes through "
                         "text")
    if not isinstance(adapter, LoraAdapter):
        return event
    if event.decoder is None:
        raise InputError(f"drafter 'adapter:L6' changes the weights of the event VLM, and {event.name} shows none; use "
                         "--drafter adapter:L4")
    changed = copy(event)
    changed.decoder = adapter.merged(event.decoder)
    if event.decoder.graphs is not None:
        graphs.use(changed.decoder)
    return changed


class AdapterDrafter:
    """A chain of words; the event VLM, where there is one, reads every word that is guessed.

    Verified words are read by the adapter once, with the verifier's true states, whatever was guessed meanwhile.
    """

    def __init__(self, name: str, models: Models, adapter: Adapter, event: VLM | None) -> None:
        self.name, self._tokenizer, self._adapter, self.event = name, models.tokenizer, adapter, event
        self.compared = adapter.name
        assert models.rgb.decoder is not None
        self._verifier = models.rgb.decoder
        # what L6 changed is inside the event VLM, whose weights are counted
        counted = adapter.project if isinstance(adapter, LoraAdapter) else adapter
        self.parameters = sum(p.numel() for p in counted.parameters()) + (event.parameters if event else 0)

    @torch.inference_mode()
    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Read the events and the prompt; levels that read the verifier's states wait for them."""
        self._session: Session | None = None
        if self.event is not None:
            self._session = self.event.open(window, prompt)
            self._session.prefill()
        self._rule, self._known = rule, 0
        self._past: Past | None = None
        # not yet read by the adapter: the word before each place, and the verifier's state that led to it
        self._words = self._tokenizer.prompt(prompt)[-1:]
        self._before = self._verifier.embed.weight.new_zeros(1, self._verifier.config.hidden_size)
        if "before" in self._adapter.reads:
            self._before = prefix().hidden[-1:, -1]

    @torch.inference_mode()
    def propose(self, budget: int) -> Draft:
        """A chain of up to `budget` words, chosen by the verifier's own rule; ends after <eos>."""
        if budget < 1:
            return Draft.none()
        states, self._past = self._read(self._words, self._before, self._past)
        self._words, self._before, past = [], self._before[:0], self._past
        tokens, probs, hidden = list[int](), list[float](), list[Tensor]()
        while True:
            logits = self._verifier.head(states[-1:])
            token = self._rule.choose(logits, [self._known + len(tokens)])[0]
            tokens.append(token)
            probs.append(float(logits[0].softmax(-1)[token]))
            hidden.append(states[-1])
            self._say(token)
            if token == self._tokenizer.eos or len(tokens) == budget:
                return Draft.chain(tokens, self.name, probs, torch.stack(hidden))
            states, past = self._read([token], states[-1:], past)

    def _read(self, words: list[int], before: Tensor, past: Past | None) -> tuple[Tensor, Past | None]:
        """Aligned states [N, D] at the places after these words, the first of which the event VLM has been told."""
        device = self._verifier.embed.weight.device
        inputs = {"words": self._verifier.embed(torch.tensor(words, device=device)), "before": before}
        if self._session is not None:
            self._told = Draft.chain(words[1:], self.name)
            inputs["event"] = self._session.score(self._told).hidden[:, -1].to(inputs["words"])
        states, past = self._adapter.follow(*(inputs[name][None] for name in self._adapter.reads), past=past)
        return states[0], past

    def _say(self, token: int) -> None:
        """Tell the event VLM a word."""
        if self._session is not None:
            self._session.commit(self._told, Verdict(list(range(len(self._told))), token, "plain"))

    @torch.inference_mode()
    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Go back to what was known and take over the verified words and the verifier's states that led to them."""
        verified = [*(draft.tokens[node] for node in verdict.path), verdict.token]
        if not self._words and self._session is not None:
            self._session.rewind(self._known)
            self._session.extend(verified[:1])
        self._words += verified
        self._before = torch.cat([self._before, scores.hidden[[0, *(node + 1 for node in verdict.path)], -1]])
        self._known += len(verified)

    def finish(self, tokens: list[int]) -> None:
        """Let the event model's cache go."""
        self._session = None
