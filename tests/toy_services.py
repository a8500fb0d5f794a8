"""A test double of what the page needs: a moving square in memory, and scripted answers instead of models.

    services = toy_services()                       # ui.services.Services
    services = toy_services(pace=1.0)               # answers as slow as a real pair, for looking at the page

Recordings: "square" (events and frames), "events only", "frames only", "damaged" (fails when it is opened),
"breaks" (stops with an error while it plays), "live". The question SLOW is answered for ever, until it is stopped;
ToyModels.judged_at has the wall-clock time of every verdict of the newest answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from toy_sources import ListSource

from pipeline.types import Caption, Cycle, Drafted, Emitted, Node, Record, Span
from streams.player import Player
from streams.types import (
    Frame,
    InputError,
    Packet,
    Resolution,
    SourceInfo,
    Window,
    events_from_columns,
)
from ui.pictures import Pictures
from ui.services import AskSettings, Services

SENSOR = Resolution(240, 180)
FPS, SECONDS = 25, 12
SLOW, BROKEN, MARKUP, LONG = "Go on for ever", "Break off", "Say markup", "Say a thousand words"
TREE = "Describe the scene in detail."


# The recording


def picture(at_s: float) -> np.ndarray:
    """A red square that moves to the right and back, before a grey wall: uint8 [H, W, 3]."""
    image = np.full((*SENSOR.hw, 3), (66, 70, 78), np.uint8)
    image[130:] = (60, 58, 56)
    left = round(20 + 160 * (0.5 - 0.5 * np.cos(at_s)))
    top = round(60 + 15 * np.sin(3 * at_s))
    image[top:top + 50, left:left + 45] = (250, 60, 50)
    image[40:130, 196:226] = (150, 140, 120)
    return image


@cache
def recording() -> list[Packet]:
    """Event packets between pictures, and the pictures, in order of time."""
    rng = np.random.default_rng(0)
    items: list[Packet] = []
    last = picture(0.0)
    for i in range(1, FPS * SECONDS):
        start_us, end_us = (i - 1) * 1_000_000 // FPS, i * 1_000_000 // FPS
        now = picture(i / FPS)
        change = now.astype(np.int16).sum(-1) - last.astype(np.int16).sum(-1)
        change.flat[rng.integers(0, change.size, 12)] = 99 * rng.choice([-1, 1], 12)
        y, x = np.nonzero(np.abs(change) > 20)
        t = np.sort(rng.integers(start_us, end_us, len(x)))
        items += [Frame(start_us, 0, last), events_from_columns(t, x, y, change[y, x] > 0)]
        last = now
    return items


class SquareSource(ListSource):
    """The recording as a source that tells its event rate."""

    def rate_histogram(self, bins: int) -> np.ndarray:
        times = np.concatenate([item["t"] for item in recording() if not isinstance(item, Frame)])
        counts, _ = np.histogram(times, bins, (0, SECONDS * 1_000_000))
        return counts * bins / SECONDS


class FollowedSource(SquareSource):
    """The recording as a camera: gives an item whenever its time has come, until it is closed."""

    def __iter__(self) -> Iterator[Packet]:
        gone = threading.Event()
        self._gone = gone
        for item in recording():
            if isinstance(item, Frame) and gone.wait(1 / FPS):
                return
            yield item

    def close(self) -> None:
        if gone := getattr(self, "_gone", None):
            gone.set()
        super().close()


FULL = SourceInfo("square", SENSOR, SENSOR, start_us=0, duration_us=SECONDS * 1_000_000,
                  events_origin="rendered", frames_origin="rendered", sensor="toy sensor")


def open_player(uri: str) -> Player:
    """A started player, as the page expects it from the program."""
    items = recording()
    if uri == "toy://square":
        return Player(SquareSource(items, FULL), loop=False).start()
    if uri == "toy://events":
        items = [item for item in items if not isinstance(item, Frame)]
        return Player(SquareSource(items, replace(FULL, frame_resolution=None, frames_origin=None))).start()
    if uri == "toy://frames":
        return Player(SquareSource(items, replace(FULL, events_origin="simulated", frames_origin="video"))).start()
    if uri == "toy://reconstructed":
        return Player(SquareSource(items, replace(FULL, frames_origin="reconstructed"))).start()
    if uri == "toy://breaks":
        return Player(SquareSource(items[:40], FULL, failure=InputError("the file ends in the middle of packet 7"))
                      ).start()
    if uri == "toy://live":
        return Player(FollowedSource(items, replace(FULL, live=True, start_us=None, duration_us=None,
                                                    events_origin="camera", frames_origin="camera"))).start()
    raise InputError("this is not a recording (it begins with 'GIF89a'); give an .aedat4 or a video file")


def find_cameras() -> dict[str, str]:
    return {"toy camera 7": "toy://live"}


class PicturesSource(FollowedSource):
    """What a browser films, without events."""

    def __init__(self, pictures: Pictures) -> None:
        super().__init__([], replace(FULL, name="webcam", live=True, start_us=None, duration_us=None,
                                     events_origin="simulated", frames_origin="camera"))
        self._pictures = pictures

    def __iter__(self) -> Iterator[Packet]:
        t_us = 0
        while not self._pictures.closed:
            image = self._pictures.take(0.05)
            if image is not None:
                t_us += 40_000
                place = np.arange(90)
                events = events_from_columns(t_us - 90 + place, place, place, place > 40)
                yield from (Frame(t_us, 0, image), events)

    def close(self) -> None:
        self._pictures.close()
        super().close()


def open_webcam(pictures: Pictures) -> Player:
    return Player(PicturesSource(pictures)).start()


# The answers


@dataclass(frozen=True)
class Script:
    """What the verifier says, token by token, and where the drafter guesses something else."""

    tokens: list[str]
    wrong: dict[int, str]
    tree: bool = False


HOSTILE = " <img src=x onerror='window.hurt=1'> ${Reflect.set(window,'hurt',1)} {{x}} *star* `tick`"
DETAILS = " A red square moves slowly to the right before a grey wall , then it turns round and comes back ."


def words(text: str) -> list[str]:
    """Tokens as models write them: each with the space before it."""
    return [f" {word}" for word in text.split()]


SCRIPTS = {
    "What is happening?": Script([*words(" A red square moves to the right"), "."], {1: " blue"}),
    TREE: Script(words(DETAILS), {1: " blue", 4: " quickly", 10: " white"}, tree=True),
    "How many objects are there?": Script([*words(" There are two objects"), "."], {2: " three"}),
    "What color is the car?": Script([*words(" There is no car"), "."], {}),
    MARKUP: Script(words(HOSTILE), {1: " <b>wrong</b>"}),
    LONG: Script([f" word{i}" for i in range(1000)], dict.fromkeys(range(3, 1000, 11), " wrong")),
}


def said(question: str) -> str:
    """The whole answer to a question of SCRIPTS."""
    return "".join(SCRIPTS[question].tokens)


class ToyModels:
    """Scripted answers with the times of a small pair. pace: seconds of waiting per second of model time."""

    def __init__(self, pace: float = 0.1) -> None:
        self.pace = pace
        self.asked: list[tuple[str, Window, AskSettings]] = []
        self.cancelled = 0
        self.judged_at: list[float] = []
        self._turn = threading.Lock()

    def answer(self, window: Window, question: str, settings: AskSettings,
               cancel: threading.Event) -> Iterator[Record]:
        """Drafted and Cycle records, then a Caption; see ui.services."""
        while not self._turn.acquire(timeout=0.02):
            if cancel.is_set():
                return
        try:
            self.asked.append((question, window, settings))
            yield from self._rounds(window, question, settings, cancel)
        finally:
            self._turn.release()

    def _rounds(self, window: Window, question: str, settings: AskSettings,
                cancel: threading.Event) -> Iterator[Record]:
        script = SCRIPTS.get(question, SCRIPTS["What is happening?"])
        now, place, number, text = 0.12, 0, 0, ""
        self.judged_at = []
        words = accepted = depth = 0
        first_word_s = None
        extra = [Span("prefill", 0.0, 0.12), Span("draft_prefill", 0.0, 0.05)]
        cancel.wait(0.12 * self.pace)
        while place < len(script.tokens) and not cancel.is_set():
            nodes = draft_of(script, place, 0 if place >= len(script.tokens) - 1 else 4)
            if nodes:
                cancel.wait(0.03 * self.pace)
                yield Drafted(number, nodes, now + 0.03)
            cancel.wait(0.09 * self.pace)
            if question == BROKEN and number:
                raise RuntimeError("The models broke.")
            spans = [*extra, *([Span("draft", now, now + 0.03)] if nodes else []),
                     Span("verify", now + 0.03, now + 0.12)]
            cycle = judge(script, place, number, nodes, spans)
            self.judged_at.append(time.time())
            yield cycle
            now, number, extra = now + 0.12, number + 1, []
            first_word_s = first_word_s or now
            kept = sum(token.kind == "accepted" for token in cycle.emitted)
            accepted, depth = accepted + kept, depth + max((node.depth for node in nodes), default=0)
            words, place = words + len(cycle.emitted), place + len(cycle.emitted)
            text += "".join(token.text for token in cycle.emitted)
            if question == SLOW and place >= len(script.tokens):
                place = 0
        self.cancelled += cancel.is_set()
        yield Caption(window.start_us, window.end_us, question, text, settings.drafter, "greedy", True, number, words,
                      depth, accepted, accepted / depth if depth else None, 0.15, first_word_s or now, now, "L4",
                      window.frames_origin, window.events_origin,
                      stopped="cancelled" if cancel.is_set() else "eos")


def draft_of(script: Script, place: int, size: int) -> list[Node]:
    """Pending guesses for the next tokens: a chain, and for tree scripts a second guess beside each wrong one."""
    nodes: list[Node] = []
    parent = -1
    for depth, i in enumerate(range(place, min(place + size, len(script.tokens) - 1)), start=1):
        guess = script.wrong.get(i, script.tokens[i])
        nodes.append(Node(guess, hash(guess) % 999, parent, depth, "vlm", "pending", None, 0.62))
        if script.tree and i in script.wrong:
            nodes.append(Node(script.tokens[i], 3, parent, depth, "recall", "pending", None, 0.3))
            parent = len(nodes) - 1 if depth > 1 else len(nodes) - 2
        else:
            parent = len(nodes) - 1
    return nodes


def judge(script: Script, place: int, number: int, nodes: list[Node], spans: list[Span]) -> Cycle:
    """Verdicts by comparison with the script, cos_sim high where the guess was right."""
    path = -1
    judged, emitted = [], []
    for i, node in enumerate(nodes):
        reached = node.parent == -1 or judged[node.parent].verdict == "accepted"
        right = reached and node.text == script.tokens[place + node.depth - 1]
        verdict = "accepted" if right else "rejected" if reached else "unreached"
        cos = 0.86 + 0.02 * (i % 5) if right else 0.41 + 0.05 * (i % 4)
        judged.append(replace(node, verdict=verdict, cos_sim=cos if reached and node.origin == "vlm" else None,
                              p_verify=0.93 if right else 0.04 if reached else None))
        if right:
            path = i
            emitted.append(Emitted(node.text, node.token, "accepted"))
    own = script.tokens[place + len(emitted)]
    wrong = next((node.text for node in judged if node.parent == path and node.verdict == "rejected"), None)
    kind = "plain" if not nodes else "recovered" if wrong is not None else "bonus"
    return Cycle(number, judged, [*emitted, Emitted(own, 5, kind, wrong)], spans)


def toy_services(pace: float = 0.1, models: ToyModels | None = None, first_uri: str = "toy://square") -> Services:
    """Everything that the page may do, with toys behind it; all visitors share the toy models."""
    models = models or ToyModels(pace)
    recordings = {"square": "toy://square", "events only": "toy://events", "frames only": "toy://frames",
                  "reconstructed": "toy://reconstructed", "damaged": "toy://damaged", "breaks": "toy://breaks",
                  "live": "toy://live"}
    about = "A scripted stand-in for the event model and the RGB model."
    return Services(recordings, first_uri, ["vlm", "recall", "none"], about, "L4", open_player, lambda: models.answer,
                    lambda window: window, find_cameras=find_cameras, network="toy", open_webcam=open_webcam)


