"""The event VLM guesses words from the events of the same window (Leviathan et al. 2023, across modalities).

    drafter = create(models, None)        # a chain; "tree": the likeliest words at every place

It reads its own input while the verifier still reads frames. Its hidden states are mapped to the verifier's by
the L1 adapter, so that every guess has a cos_sim.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from pipeline.models import Models
from pipeline.session import DecoderSession
from pipeline.translation import TextDrafter
from pipeline.trees import grow
from pipeline.types import VLM, Draft, Prefix, Rule, Scores, Verdict
from streams.types import InputError, Window

VARIANTS = ("tree",)
WIDTH, DEPTH = 2, 8
"""Children and expanded nodes per level of the tree, and its levels: a deep one, because chains are long here."""


def create(models: Models, variant: str | None) -> VlmDrafter | TextDrafter:
    """Make it. Raises InputError when no event VLM is loaded, for a variant that does not exist, and for trees where
    the two have different vocabularies."""
    if variant not in (None, *VARIANTS):
        raise InputError(f"drafter 'vlm' has no variant {variant!r}; use vlm or vlm:tree")
    if models.event is None:
        raise InputError("drafter 'vlm' needs an event VLM, and none is loaded; use --drafter recall or none")
    if models.through_text:
        if variant:
            raise InputError(f"drafter 'vlm:{variant}' needs the verifier's vocabulary, and {models.event.name} has "
                             f"another one than {models.rgb.name}; use --drafter vlm, which goes through text")
        return TextDrafter("vlm", models.event, models.tokenizer)
    return VlmDrafter(f"vlm:{variant}" if variant else "vlm", models, branching=variant == "tree")


class VlmDrafter:
    """Decodes the event VLM one token, or one level of a tree, at a time; its session is rewound to what the verifier
    confirmed."""

    def __init__(self, name: str, models: Models, branching: bool) -> None:
        assert models.event is not None
        self.name, self._models, self._branching = name, models, branching
        self._known = 0
        self.event: VLM | None = models.event
        self.parameters = models.event.parameters
        self.compared = None if models.adapter is None else models.adapter.name

    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Read the events and the prompt."""
        assert self._models.event is not None
        self._session = self._models.event.open(window, prompt)
        self._session.prefill()
        self._rule, self._known = rule, 0

    @torch.inference_mode()
    def preview(self) -> Draft:
        """The event model's first word: reading has already led to it."""
        scores = self._session.score(Draft.none())
        token = self._rule.choose(scores.logits, [self._known])[0]
        return Draft.chain([token], self.name, [float(scores.logits[0].softmax(-1)[token])])

    @torch.inference_mode()
    def propose(self, budget: int) -> Draft:
        """At most `budget` tokens, ranked by the verifier's own rule; nothing follows <eos>."""
        return self._tree(budget) if self._branching else self._chain(budget)

    def _chain(self, budget: int) -> Draft:
        tokens, rows, states = list[int](), list[torch.Tensor](), list[torch.Tensor]()
        end = self._models.tokenizer.eos
        while len(tokens) < budget and end not in tokens[-1:]:
            said, logits, led = self._write_on(budget - len(tokens), end) or self._next(len(tokens))
            tokens += said
            rows.append(logits)
            states.append(led)
        if not tokens:
            return Draft.none()
        # all at once: one by one every word would wait for its number
        said_at = torch.tensor(tokens, device=rows[0].device)[:, None]
        probs = torch.cat(rows).softmax(-1).gather(1, said_at)[:, 0].tolist()
        return Draft.chain(tokens, self.name, probs, self._aligned(torch.cat(states)))

    def _write_on(self, count: int, end: int) -> tuple[list[int], torch.Tensor, torch.Tensor] | None:
        """Several tokens in one call, where that is possible."""
        if not self._rule.only_likeliest or not isinstance(self._session, DecoderSession):
            return None
        return self._session.write_on(count, end)

    def _next(self, number: int) -> tuple[list[int], torch.Tensor, torch.Tensor]:
        """The next token, its logits [1, V] and the state that led to it [1, D]."""
        nothing = Draft.none()
        scores = self._session.score(nothing)
        token = self._rule.choose(scores.logits, [self._known + number])[0]
        self._session.commit(nothing, Verdict([], token, "plain"))
        return [token], scores.logits[:1], scores.hidden[:1, -1]

    def _tree(self, budget: int) -> Draft:
        scores = self._session.score(Draft.none())
        states = {-1: scores.hidden[0, -1]}

        def expand(tokens: list[int], parents: list[int], nodes: list[int]) -> torch.Tensor:
            # nothing is committed: every level reads the small tree again
            whole = Draft(tokens, parents, [self.name] * len(tokens))
            scores, depths = self._session.score(whole), whole.depths()
            states.update((node, scores.hidden[node + 1, -1]) for node in nodes)
            rows = torch.tensor(nodes, device=scores.logits.device) + 1
            return self._ranked(scores.logits[rows], [self._known + depths[node] for node in nodes])

        grown = grow(self._ranked(scores.logits, [self._known])[0], expand, budget, WIDTH, DEPTH,
                     self._models.tokenizer.eos)
        if not grown.tokens:
            return Draft.none()
        return Draft(grown.tokens, grown.parents, [self.name] * len(grown.tokens), grown.probs,
                     self._aligned(torch.stack(grown.led(states))))

    def _ranked(self, logits: torch.Tensor, indices: list[int]) -> torch.Tensor:
        return self._rule.preferences(logits, indices).log_softmax(-1)

    def _aligned(self, states: torch.Tensor) -> torch.Tensor | None:
        if self._models.adapter is None:
            return None
        aligned: torch.Tensor = self._models.adapter(states.float())
        return aligned

    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Go back to the last guess that was confirmed and take over the rest, the verifier's token last."""
        said = [*(draft.tokens[node] for node in verdict.path), verdict.token]
        guessed = self._session.committed[self._known:]
        shared = next((i for i, pair in enumerate(zip(guessed, said, strict=False)) if pair[0] != pair[1]),
                      min(len(guessed), len(said)))
        # the verifier's token is fed again even where it was guessed: its state is not in the cache yet
        shared = min(shared, len(verdict.path))
        self._session.rewind(self._known + shared)
        self._session.extend(said[shared:])
        self._known += len(said)

    def finish(self, tokens: list[int]) -> None:
        """Let the event model's cache go."""
        del self._session
