"""`demo`: the page on a recording or a camera."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import webbrowser
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from app import terminal
from app.compose import ModelOptions, bundled_recording, load, quiet_libraries
from app.saving import save_part
from pipeline import drafters
from pipeline.acceptance import rule_for
from pipeline.captioner import Captioner
from pipeline.decoding import Limits
from pipeline.measure import unread
from pipeline.models import Models
from pipeline.types import Records
from streams.filtering import filtered
from streams.player import Player
from streams.sensor_taps import SensorTaps
from streams.sources import open_leniently
from streams.types import InputError, Window
from ui.pictures import Pictures
from ui.services import Answer, AskSettings, Curve, Services

BUNDLED = "mini"
SMALL_WORLD = "demonstration models of a small rendered world"
LIVE_HISTORY_US = 15_000_000
"""How far back one may look in a live source."""
BROWSER_PAUSE_S, BROWSER_PATIENCE_S = 0.05, 10.0
"""How long to wait for the next picture of a browser at a time, and altogether; a hidden tab sends one per second."""
TURN_POLL_S = 0.1
"""How often a waiting visitor looks whether he still wants his answer."""


def run(uri: str | None, host: str, port: int, browser: bool, models: ModelOptions, login: str | None = None,
        filters: Sequence[str] = (), keep_in: Path | None = None) -> None:
    """Serve the page until Ctrl-C. login: "user:password" that everybody needs; filters: of the first source; keep_in:
    a folder for what is recorded on the page.

    Raises InputError.
    """
    from ui.guard import LOOPBACK, is_loopback

    quiet_libraries()
    if login is not None and not all(login.partition(":")):
        raise InputError("--auth needs a name and a password with a colon between them, as in --auth ada:lovelace1843")
    private = is_loopback(host)
    if not private and login is None:
        terminal.people.print(f"parafovea: everybody who reaches {host}:{port} can use this page and your cameras; "
                              "protect it with --auth user:password", style="yellow")
    _require_free_port(host, port)
    if keep_in is not None:
        _require_folder(keep_in)
    first = uri or str(bundled_recording())
    with filtered(terminal.opened(first), filters) as source:
        name = source.info.name
    with terminal.people.status("loading the page and the models"):
        from ui import build_app, serve

        offered = services(load(models), first, name, *pairs_of(models), filters, keep_in)
        app = build_app(offered, login, LOOPBACK if private and login is None else None)
    address = f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{port}"
    terminal.people.print(f"Parafovea is at {address} (Ctrl-C ends)")
    if browser:
        threading.Timer(1.0, webbrowser.open, [address]).start()
    serve(app, host, port)


Loading = Callable[[], Models]
"""Loads a model pair when somebody chooses it."""


def pairs_of(given: ModelOptions) -> tuple[str, dict[str, Loading]]:
    """Name of the pair that was given, and what can be chosen beside it: the bundled pair, if that is another."""
    if given.model == BUNDLED and given.drafter_model in (None, BUNDLED):
        return BUNDLED, {}
    guesser = "" if given.drafter_model is None else f" + {given.drafter_model}"
    bundled = replace(given, model=BUNDLED, drafter_model=None, adapter=None)
    return f"{given.model}{guesser}", {BUNDLED: lambda: load(bundled)}


def services(models: Models, first: str, first_name: str, pair: str = BUNDLED,
             others: dict[str, Loading] | None = None, filters: Sequence[str] = (),
             keep_in: Path | None = None) -> Services:
    """Everything the page may do, on these models and on others that are loaded when they are chosen.

    filters: of the first source. keep_in: see Services.
    """
    adapter, pairs = models.adapter, Pairs(pair, models, others or {})
    recordings = {"Bundled story": str(bundled_recording())}
    if first not in recordings.values():
        recordings[first_name] = first
    return Services(recordings, first, _offered(models), models.summary, "none" if adapter is None else adapter.name,
                    Players({first: filters}).open, conversations(pairs), unread, pairs.names,
                    SMALL_WORLD if models.rgb.name.startswith(BUNDLED) else "", measured_curves(models.heads),
                    find_cameras, network="tcp", open_webcam=open_webcam,
                    save_part=lambda uri, part, out, view, chosen: save_part(
                        uri, part, out, view, [*(filters if uri == first else ()), *chosen]),
                    keep_in=keep_in)


def measured_curves(folder: Path) -> dict[str, Curve]:
    """P(accepted | cos_sim) by drafter, where `parafovea calibrate --json` was kept beside the pair's draft heads."""
    path = folder / "calibration.json"
    if not path.is_file():
        return {}
    line = json.loads(path.read_text(encoding="utf-8"))
    return {name: Curve([list(point) for point in zip(row["curves"]["all"]["cos_sim"],
                                                      row["curves"]["all"]["acceptance"], strict=True)],
                        f"rising fit to {row['guesses']} guesses on {line['clips']} scenes "
                        "(parafovea calibrate, greedy)")
            for name, row in line["drafters"].items()}


def _offered(models: Models) -> list[str]:
    """Drafters for the settings, the default one first, nobody last."""
    names = sorted(drafters.every(), key=lambda name: (name.partition(":")[0] != models.default_drafter,
                                                       name == "none", name))
    events = ("vlm", "adapter") if models.event is None else ()
    return [name for name in names if name.partition(":")[0] not in events]


class Pairs:
    """Model pairs by name: the given one, and others that are loaded when somebody chooses them."""

    def __init__(self, name: str, models: Models, others: dict[str, Loading]) -> None:
        self.names = [name, *others]
        self._loaded, self._others = {name: models}, others

    def models(self, name: str) -> Models:
        """The models of a pair, the given one for no name. Raises InputError for an unknown one."""
        name = name or self.names[0]
        if name not in self.names:
            raise InputError(f"there is no model pair {name!r}; choose one of {', '.join(self.names)}")
        if name not in self._loaded:
            self._loaded[name] = self._others[name]()
        return self._loaded[name]


def conversations(pairs: Pairs) -> Callable[[], Answer]:
    """Makes one conversation per visitor and pair; all of them take turns on the models."""
    turn = threading.Lock()

    def begin() -> Answer:
        captioners: dict[str, Captioner] = {}

        def answer(window: Window, question: str, settings: AskSettings, cancel: threading.Event) -> Records:
            rule = rule_for(settings.rule, settings.temperature, settings.seed, settings.top_k, settings.top_p)
            while not turn.acquire(timeout=TURN_POLL_S):
                if cancel.is_set():
                    return
            try:
                models = pairs.models(settings.pair)
                captioner = captioners.setdefault(settings.pair, Captioner(models))
                yield from captioner.ask(window, question, settings.drafter, rule, Limits(budget=settings.budget),
                                         cancel)
            finally:
                turn.release()

        return answer

    return begin


def find_cameras() -> dict[str, str]:
    """URIs of the event cameras that are plugged in, by name. Raises InputError when they cannot be listed."""
    from streams.sources.dv import discover

    return {f"{camera['model']} {camera['serial']}": camera["uri"] for camera in discover()}


class BrowserCamera:
    """Pictures from a browser as the camera of a WebcamSource."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def isOpened(self) -> bool:
        """There is one, it is at the other end of the line."""
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        """(True, BGR picture) or (False, None) when none came for a moment."""
        image = self._pictures.take(BROWSER_PAUSE_S)
        return image is not None, None if image is None else image[..., ::-1]

    def release(self) -> None:
        """Tell the browser that no more are wanted."""
        self._pictures.close()


def open_webcam(pictures: Pictures) -> Player:
    """A started player of a browser's webcam. Raises InputError when no picture comes."""
    from streams.sources.webcam import WebcamSource

    source = WebcamSource(0, opener=lambda _: BrowserCamera(pictures), patience_s=BROWSER_PATIENCE_S,
                          name="the browser's webcam")
    return Player(source, history_us=LIVE_HISTORY_US).start()


class Players:
    """Opens a player per visitor for files; visitors of a live source share one. filters: of sources, by URI."""

    def __init__(self, filters: Mapping[str, Sequence[str]] | None = None) -> None:
        self._filters = filters or {}
        self._live: dict[str, Player] = {}
        self._opening: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def open(self, uri: str) -> Player:
        """A started player. Raises InputError when the source cannot be opened."""
        with self._opening[uri]:
            shared = self._live.get(uri)
            if shared is not None and not shared.closed and shared.state().error is None:
                return shared
            sensors = SensorTaps()
            # What is recorded here is live: of files nobody needs them.
            wished = {"sensors": sensors} if "://" in uri else {}
            source = filtered(open_leniently(uri, **wished), self._filters.get(uri, ()))
            kept_us = {"history_us": LIVE_HISTORY_US} if source.info.live else {}
            player = Player(source, loop=not source.info.live, sensors=sensors, **kept_us).start()
            player.play()
            if source.info.live:
                self._live[uri] = player
            return player


def _require_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"nothing can be recorded into {folder} ({error.strerror or error}); give another folder with "
                         "--recordings") from None


def _require_free_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(f"cannot listen on {host}:{port} ({error}); choose another with --port") from error
