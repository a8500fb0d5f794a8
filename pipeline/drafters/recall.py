"""What was said before is the cheapest guess: memory of earlier answers and of the text so far.

    drafter = create(models, None)          # begins with what the pair said about other scenes, where that was kept
    drafter = create(models, "empty")       # knows nothing but this conversation; or a folder of `train recall`

A tree of the likeliest continuations: what followed the same words earlier (prompt lookup, Saxena 2023; a datastore of
what the verifier said elsewhere: REST, He et al. 2024), what was said lately counting more, and what the last answer to
the same question said at this place. Never proposes special tokens. Has no hidden state.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipeline.chances import Chances
from pipeline.drafters import folder_of
from pipeline.models import Models
from pipeline.ngrams import LONGEST, Alignment, NGrams, following
from pipeline.types import VLM, Draft, Prefix, Rule, Scores, Verdict
from streams.types import InputError, Window

VARIANTS = ("empty",)
FILE = "answers.safetensors"

ANSWERS, QUESTIONS = 64, 32
"""Answers, and questions with their last answer, that are remembered: at least half of the former, all of the
latter."""

WIDTH, LEAST = 3, 0.02
"""Children of a node; chance of a branch below which it is not guessed."""


def create(models: Models, variant: str | None) -> RecallDrafter:
    """Make it; its memory lives as long as it does. Raises InputError for a variant that is no folder of answers in
    the verifier's words."""
    name = f"recall:{variant}" if variant else "recall"
    folder = folder_of(models, "recall", variant, VARIANTS)
    if variant == "empty" or (variant is None and not _fits(folder, models)):
        return RecallDrafter(name, models)
    if not _fits(folder, models):
        raise InputError(f"there are no answers in the words of {models.rgb.name} in {folder}; make them with: "
                         "parafovea train recall")
    return RecallDrafter(name, models, _told(folder))


def keep(answers: Sequence[tuple[Sequence[int], int]], words: int, folder: Path) -> None:
    """Write answers, each with its question: all tokens, and how many of them ask. words: size of the vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"tokens": [token for line, _ in answers for token in line],
               "lengths": [len(line) for line, _ in answers], "prompts": [prompt for _, prompt in answers]}
    save_file({name: torch.tensor(column, dtype=torch.int32) for name, column in columns.items()}, folder / FILE,
              metadata={"vocab_size": str(words)})


def _fits(folder: Path, models: Models) -> bool:
    if not (folder / FILE).exists():
        return False
    with safe_open(folder / FILE, "pt") as file:
        return (file.metadata() or {}).get("vocab_size") == str(models.tokenizer.size)


@lru_cache(2)
def _told(folder: Path) -> NGrams:
    """What was said elsewhere; read only, so that all conversations share it."""
    columns, told, start = load_file(folder / FILE), NGrams(), 0
    tokens = columns["tokens"].tolist()
    for length, prompt in zip(columns["lengths"].tolist(), columns["prompts"].tolist(), strict=True):
        told.add(tokens[start:start + length], prompt)
        start += length
    return told.limited()


class RecallDrafter:
    """Continues as what was said before continued."""

    parameters = 0
    compared: str | None = None
    event: VLM | None = None

    def __init__(self, name: str, models: Models, told: NGrams | None = None) -> None:
        self.name, self._tokenizer, self._specials = name, models.tokenizer, set(models.tokenizer.specials.values())
        self._told = [told] if told else []
        self._young, self._old, self._answers = NGrams(), NGrams(), 0
        self._last: dict[tuple[int, ...], list[int]] = {}
        self._line: list[int] = []
        self._stays = Chances()

    def start(self, window: Window, prompt: str, rule: Rule, prefix: Callable[[], Prefix]) -> None:
        """Begin a new line with the question, so that the same question recalls the same answer."""
        self._line = self._tokenizer.prompt(prompt)
        self._question = tuple(self._line)
        if self._question not in self._last:
            self._young.add(self._line)
        earlier = self._last.get(self._question)
        self._place = Alignment.begin(earlier) if earlier else None

    def propose(self, budget: int) -> Draft:
        """The `budget` likeliest continuations as a tree, fewer or none where little like this was said."""
        guesses, waiting = list[_Guess](), list[tuple[float, int, _Guess]]()
        number = itertools.count()

        def wait(line: tuple[int, ...], place: Alignment | None, total: float, parent: int) -> None:
            likely = self._likely(line, place)
            sayable = (token for token in likely if token not in self._specials)
            for token in heapq.nlargest(WIDTH, sayable, key=lambda token: likely[token]):
                if total * likely[token] >= LEAST:
                    guess = _Guess(token, parent, likely[token], total * likely[token], line, place)
                    heapq.heappush(waiting, (-guess.total, next(number), guess))

        wait(tuple(self._line[-LONGEST:]), self._place, 1.0, -1)
        while waiting and len(guesses) < budget:
            guess = heapq.heappop(waiting)[-1]
            guesses.append(guess)
            if len(guesses) < budget:
                place = guess.place and guess.place.along(guess.token)
                wait((*guess.line[1 - LONGEST:], guess.token), place, guess.total, len(guesses) - 1)
        return Draft([guess.token for guess in guesses], [guess.parent for guess in guesses],
                     [self.name] * len(guesses), [guess.chance for guess in guesses])

    def _likely(self, line: tuple[int, ...], place: Alignment | None) -> dict[int, float]:
        """Probabilities of what comes next after a line whose end stands at a place of the last answer."""
        likely, known = self._following(line)
        if place is None or place.next is None:
            return likely
        sure = self._stays.of(*_stay(place, place.next, likely, known))
        rest = sum(likely.values()) - likely.get(place.next, 0.0)
        left = min(1.0, (1.0 - sure) / rest) if rest else 1.0
        return {token: chance * left for token, chance in likely.items()} | {place.next: sure}

    def _following(self, line: tuple[int, ...]) -> tuple[dict[int, float], int]:
        return following([*self._told, self._old, self._young], line)

    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        """Append what was confirmed, and count where the last answer was right."""
        for token in (*(draft.tokens[node] for node in verdict.path), verdict.token):
            place = self._place
            if place is not None:
                if place.next is not None:
                    likely, known = self._following(tuple(self._line[-LONGEST:]))
                    self._stays.count(*_stay(place, place.next, likely, known), place.next == token)
                self._place = place.then(token)
            self._line.append(token)
            self._young.add(self._line, len(self._line) - 1)

    def finish(self, tokens: list[int]) -> None:
        """Remember the whole answer with its question."""
        self._last[self._question] = tokens
        if len(self._last) > QUESTIONS:
            del self._last[next(iter(self._last))]
        self._answers += 1
        if self._answers % (ANSWERS // 2) == 0:
            self._old, self._young = self._young, NGrams()


def _stay(place: Alignment, token: int, likely: dict[int, float], known: int) -> tuple[str, float]:
    """What kind of place of the last answer this is, and how sure its token is before that was counted."""
    return f"{place.agree}, {known}", (1 + likely.get(token, 0.0)) / 2


@dataclass(frozen=True)
class _Guess:
    """A token after a line, at a place of the last answer; chance: after its parent; total: of all from the root."""

    token: int
    parent: int
    chance: float
    total: float
    line: tuple[int, ...]
    place: Alignment | None
