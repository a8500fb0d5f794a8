"""How often the bundled pair answers exactly right, on scenes that training never draws.

    for done, total in evaluate(models, scenes=50, first_seed=0, icons={}, board=(board := Scoreboard())): ...

Every scene gets one question of each kind, a part of them in free wording, put to both sides; then the same with
five times the sensor noise, with frames reconstructed from its events, and, for every fifth scene, with another
camera (resolution, frame rate, window length); a picture that is nothing like the rendered world must be declined.
"Chance" is a blind answerer that knows the questions and always gives the most frequent answer. Answers are greedy:
the true answer is checked in one pass, and what differs is written out.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from pipeline.acceptance import Greedy
from pipeline.decoding import Limits, decode
from pipeline.drafters.none import NoneDrafter
from pipeline.models import Models
from pipeline.scoreboard import SIDES, Scoreboard
from pipeline.training.captions import DECLINED
from pipeline.training.data import TRAIN_SEEDS, any_length_s, without_colours
from pipeline.training.language import LanguageSide, exact, first_position, moved, pack_questions, predictions
from pipeline.training.questions import KINDS, QA, SHORT, ask
from pipeline.training.strange import strange_window
from pipeline.types import Cycle
from pipeline.vlms.mini import MiniVLM
from streams.reconstruction import reconstructed_frames
from streams.scenes.generate import changing, random_scene, scene_before
from streams.scenes.render import Drawings, render_window
from streams.scenes.world import CLASSES, COLOURS, Observation, Scene, observe
from streams.simulation import SimulatorParameters
from streams.types import InputError, Resolution, Window

RESOLUTION = Resolution(346, 260)
ASPECT = RESOLUTION.aspect
NOISE_SIGMA, SENSOR = 4.0, SimulatorParameters()
"""Usual noise of the frames in grey levels, and of the event sensor."""

NOISIER = 5
NOISY_SENSOR = replace(SENSOR, shot_noise_hz=NOISIER * SENSOR.shot_noise_hz, leak_hz=NOISIER * SENSOR.leak_hz)
BESIDE_CAPTIONS = tuple(kind for kind in SHORT if kind != "change")
"""What is asked again about a changed input."""

FREE_SHARE = 0.3
VARIED_EVERY = 5
VARIED = ((128, 128), (1280, 720), (240, 180), (640, 480), (304, 240), (480, 270))
STYLE_SEEDS, STYLE_TRIES = 500_000, 40
LAST_SEED = 400_000
BLIND_SCENES = 2000


def evaluate(models: Models, scenes: int, first_seed: int, icons: Drawings, board: Scoreboard,
             ) -> Iterator[tuple[int, int]]:
    """Ask both sides every kind of question about unseen scenes; yields (scenes done, scenes).

    icons: pictures of the drawing style that training never draws; without them that part is left out.
    Raises InputError when the scenes would overlap with training or the models are not the bundled kind.
    """
    if scenes < 1 or first_seed < 0 or first_seed + scenes > LAST_SEED:
        raise InputError(f"scenes {first_seed} to {first_seed + scenes} are not all unseen; stay between 0 and "
                         f"{LAST_SEED}")
    if not (isinstance(models.rgb, MiniVLM) and isinstance(models.event, MiniVLM)):
        raise InputError("eval mini measures pairs of the bundled kind; use --model mini and --drafter-model mini")
    sides = {"rgb": models.rgb, "event": models.event}
    guesser = BlindGuesser()
    for done, seed in enumerate(range(first_seed, first_seed + scenes), 1):
        _usual(sides, seed, board, guesser)
        _spoilt(sides, seed, board)
        _strange(sides, seed, board)
        if done % VARIED_EVERY == 0:
            _varied(sides, seed, board)
        if icons:
            _unseen_style(sides, seed, icons, board)
        board.scenes = done
        yield done, scenes


def questions_of(truth: Observation, previous: Observation | None, seed: int, kinds: tuple[str, ...] = KINDS,
                 ) -> list[tuple[QA, bool]]:
    """One question of each kind that can be asked here, and whether it is in free wording."""
    rng, drawn = random.Random(seed), []
    for kind in kinds:
        free = rng.random() < FREE_SHARE
        if qa := ask(kind, truth, rng, previous, free, unseen=True):
            drawn.append((qa, free))
    return drawn


def _usual(sides: dict[str, MiniVLM], seed: int, board: Scoreboard, guesser: BlindGuesser) -> None:
    scene = changing(random_scene(seed, aspect=ASPECT), seed)
    truth, before = observe(scene, 0.0, 1.0, ASPECT), None
    window = render_window(scene, RESOLUTION, seed=seed, noise_sigma=NOISE_SIGMA, parameters=SENSOR)
    earlier = scene_before(scene, 1.0, ASPECT)
    if earlier is not None and seed % 6:
        before = observe(earlier, -1.0, 0.0, ASPECT)
        window = replace(window, previous=render_window(earlier, RESOLUTION, -1.0, 0.0, seed=seed + 1,
                                                        noise_sigma=NOISE_SIGMA, parameters=SENSOR))
    drawn = questions_of(truth, before, seed)
    said = {side: answers(vlm, window, [qa for qa, _ in drawn]) for side, vlm in sides.items()}
    for i, (qa, free) in enumerate(drawn):
        board.add("chance", qa, guesser.answer(qa))
        if qa.kind == "change" and ("has appeared" in qa.answer or "has left" in qa.answer):
            for side in SIDES:
                board.add(f"{side} changed", qa, said[side][i])
        for side in SIDES:
            board.add(side, qa, said[side][i], truth)
            if free:
                board.add(f"{side} free", qa, said[side][i])
    _agreement(sides["event"], window, [qa for qa, _ in drawn], said["rgb"], board)


def _spoilt(sides: dict[str, MiniVLM], seed: int, board: Scoreboard) -> None:
    """The same scene with more noise, and with frames made of its events."""
    scene = random_scene(seed, aspect=ASPECT)
    truth = observe(scene, 0.0, 1.0, ASPECT)
    asked = [qa for qa, _ in questions_of(truth, None, seed + 1, BESIDE_CAPTIONS)]
    noisy = render_window(scene, RESOLUTION, seed=seed, noise_sigma=NOISIER * NOISE_SIGMA, parameters=NOISY_SENSOR)
    for side, vlm in sides.items():
        _count(board, f"{side} noise5", vlm, noisy, asked)
    lead_in = render_window(scene, RESOLUTION, -0.3, 1.0, seed=seed, parameters=SENSOR)
    times_us = np.arange(50_000, 1_000_000, 100_000)
    grey = replace(noisy, frames=reconstructed_frames(lead_in.events, RESOLUTION, times_us),
                   frames_origin="reconstructed")
    asked = [qa for qa, _ in questions_of(without_colours(truth), None, seed + 1, BESIDE_CAPTIONS)]
    _count(board, "rgb reconstructed", sides["rgb"], grey, asked)


def _count(board: Scoreboard, series: str, vlm: MiniVLM, window: Window, asked: list[QA]) -> None:
    for qa, text in zip(asked, answers(vlm, window, asked), strict=True):
        board.add(series, qa, text)


def _strange(sides: dict[str, MiniVLM], seed: int, board: Scoreboard) -> None:
    """A picture that is nothing like the rendered world: is it declined?"""
    asked = [QA("brief", "What is happening?", ((" " + DECLINED, None),))]
    for side, vlm in sides.items():
        board.ratios[f"{side} strange"].add(answers(vlm, strange_window(side, seed, {}), asked)[0] == DECLINED)


def _varied(sides: dict[str, MiniVLM], seed: int, board: Scoreboard) -> None:
    """Another scene through another camera."""
    rng = np.random.default_rng([seed, 31])
    resolution = Resolution(*VARIED[rng.integers(len(VARIED))])
    length_s = any_length_s(rng)
    scene = random_scene(LAST_SEED + seed % 100_000, length_s, aspect=resolution.aspect)
    window = render_window(scene, resolution, 0.0, length_s, float(rng.uniform(15, 60)), NOISE_SIGMA, seed, SENSOR)
    truth = observe(scene, 0.0, length_s, resolution.aspect)
    asked = [qa for qa, _ in questions_of(truth, None, seed, BESIDE_CAPTIONS)]
    for side, vlm in sides.items():
        _count(board, f"{side} varied", vlm, window, asked)


def _unseen_style(sides: dict[str, MiniVLM], seed: int, icons: Drawings, board: Scoreboard) -> None:
    """One drawing of a style that training never shows: is the right thing named?"""
    scene, truth = drawing_scene(seed, icons)
    window = render_window(scene, RESOLUTION, seed=seed, noise_sigma=NOISE_SIGMA, parameters=SENSOR, drawings=icons)
    qa = ask("brief", truth, random.Random(seed))
    assert qa is not None
    for side, vlm in sides.items():
        board.ratios[f"{side} unseen style"].add(named(answers(vlm, window, [qa])[0]) == truth.objects[0].cls)


def drawing_scene(seed: int, icons: Drawings) -> tuple[Scene, Observation]:
    """The scene of a seed with one drawing and nothing else in view."""
    styles: dict[str, list[str]] = defaultdict(list)
    for style, cls in icons:
        styles[cls].append(style)
    for attempt in range(10 * STYLE_TRIES):
        number = (seed * STYLE_TRIES + attempt) % (TRAIN_SEEDS - STYLE_SEEDS)
        scene = random_scene(STYLE_SEEDS + number, styles=styles, aspect=ASPECT)
        truth = observe(scene, 0.0, 1.0, ASPECT)
        if len(truth.objects) == 1 and all(thing.style for thing in scene.objects):
            return scene, truth
    raise RuntimeError(f"no scene with one drawing among the seeds from {STYLE_SEEDS}")


def named(text: str) -> str:
    """The first class that a text names, empty for none."""
    at = [(place, -len(cls), cls) for cls in CLASSES if (place := f" {text} ".find(f" {cls} ")) >= 0]
    return min(at)[2] if at else ""


@torch.inference_mode()
def answers(vlm: MiniVLM, window: Window, asked: list[QA]) -> list[str]:
    """Greedy answers of one side alone: the true ones where they are, checked all at once; others written out."""
    side = LanguageSide(vlm.model.projector, vlm.model.decoder)
    slots, memory = vlm.seen(window)
    pack = moved(pack_questions(vlm.tokenizer, [asked], [[]], first_position(side)), slots.found.device)
    right = exact(side, slots, memory, pack)[0].tolist()
    return [qa.answer if ok else written(vlm, window, qa.question) for qa, ok in zip(asked, right, strict=True)]


def written(vlm: MiniVLM, window: Window, question: str) -> str:
    """The greedy answer of one side, word by word."""
    text = ""
    for record in decode(vlm.open(window, question), NoneDrafter(), Greedy(), vlm.tokenizer, window, question,
                         Limits(max_new_tokens=200)):
        if isinstance(record, Cycle):
            text += "".join(token.text for token in record.emitted)
    return text


def _agreement(event: MiniVLM, window: Window, asked: list[QA], said: list[str], board: Scoreboard) -> None:
    """How many tokens of the RGB side's own answers the event side would have guessed, each after the right prefix."""
    side = LanguageSide(event.model.projector, event.model.decoder)
    own = [replace(qa, parts=((" " + text, None),)) for qa, text in zip(asked, said, strict=True) if text]
    slots, memory = event.seen(window)
    pack = moved(pack_questions(event.tokenizer, [own], [[]], first_position(side)), slots.found.device)
    guessed, labels = predictions(side, slots, memory, pack)
    for guess, token in zip(guessed, labels, strict=True):
        board.ratios["agreement all"].add(guess == token)
        if event.tokenizer.piece(token).strip() not in COLOURS:
            board.ratios["agreement no_colour"].add(guess == token)


class BlindGuesser:
    """Knows how often every answer is right for every question, and sees nothing."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        rng = random.Random(0)
        for seed in range(TRAIN_SEEDS, TRAIN_SEEDS + BLIND_SCENES):
            scene = changing(random_scene(seed), seed)
            truth, before = observe(scene, 0.0, 1.0), observe(scene, -1.0, 0.0) if seed % 6 else None
            for kind in KINDS:
                if qa := ask(kind, truth, rng, before):
                    self._seen[_topic(qa)][qa.answer] += 1

    def answer(self, qa: QA) -> str:
        """The most frequent answer to such a question."""
        known = self._seen[_topic(qa)]
        return known.most_common(1)[0][0] if known else ""


def _topic(qa: QA) -> tuple[str, str]:
    """Kind and class asked about, without the phrasing; what cannot be answered is one topic."""
    if qa.kind == "outside":
        return qa.kind, ""
    return qa.kind, named(qa.question.lower().translate(str.maketrans("?.,", "   ")))
