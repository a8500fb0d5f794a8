"""`bench --listening`: what records of an answer, a page that listens and a recording read meanwhile cost an answer."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from app import report, throughput
from app.benching import BenchOptions, check, hand_over, say_skipped, show, usable, wanted
from app.compose import ModelOptions, load, quiet_libraries
from app.measuring import provenance, show_progress
from streams.sources import open_source
from streams.types import Frame, Window
from streams.windows import WindowAssembler

if TYPE_CHECKING:
    from pipeline.captioner import Captioner
    from pipeline.models import Models

BARE, TRACED, LISTENED, READ = "bare", "traced", "listened", "read"
WAYS = {BARE: "tokens alone, no records", TRACED: "records of every round, boxes, cosines, text",
        LISTENED: "and a page that is told everything", READ: "and a recording of 1 M events/s read meanwhile"}
BUDGET, RATE_HZ, RECORDED_S, WINDOW_US = 6, 1e6, 4, 33_333
"""Guesses per check, so that all ways make the same rounds; events per second and length of the recording."""

CLIENT = """\
import sys
from websockets.sync.client import connect
with connect(sys.argv[1], max_size=None) as line:
    print("ready", flush=True)
    for message in line: pass
"""


def bench_listening(options: BenchOptions, model_options: ModelOptions) -> None:
    """Detailed answers in all ways, forwards and backwards for every clip; process CPU time."""
    quiet_libraries()
    from pipeline.clips import clips
    from pipeline.measure import QUESTIONS

    check(options)
    models = load(model_options)
    chosen, skipped = usable(wanted(options), models)
    windows, question, found = list(clips(options.clips)), QUESTIONS["detailed"], dict[str, Any]()
    budget = options.limits.budget or BUDGET
    with tempfile.TemporaryDirectory(prefix="parafovea-") as folder, _Page() as page, _Recording(Path(folder)) as read:
        for name in chosen:
            seconds: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
            show_progress(name, _measured(models, name, windows, question, budget, page, read, seconds))
            found[name] = _row(seconds)
    line = {"type": "listening", "clips": options.clips, "budget": budget, "rate_hz": RATE_HZ, "drafters": found,
            "child_cpu_share": read.child_share, "models": models.summary, "skipped": skipped, **provenance()}
    tables = [_table(name, row) for name, row in found.items()]
    show(tables, options.as_json)
    say_skipped(skipped)
    hand_over(options, line, tables, report.write_listening, "listening")


def _measured(models: Models, name: str, windows: Sequence[Window], question: str, budget: int, page: _Page,
              read: _Recording, seconds: dict[str, dict[int, float]]) -> Iterator[tuple[int, int]]:
    from pipeline.captioner import Captioner
    from pipeline.measure import unread

    captioner = Captioner(models)
    # the first only warms up
    for number, window in enumerate([windows[0], *windows]):
        for order in (list(WAYS), list(WAYS)[::-1]):
            for way in order:
                fresh = unread(window)
                with read.going() if way == READ else contextlib.nullcontext():
                    start_s = time.process_time()
                    if way == BARE:
                        bare(models, name, fresh, question, budget)
                    else:
                        told(captioner, name, fresh, question, budget, page.put if way != TRACED else None)
                    took_s = time.process_time() - start_s
                if number:
                    seconds[way][number - 1] += took_s
        if number:
            yield number, len(windows)


def bare(models: Models, name: str, window: Window, question: str, budget: int) -> list[int]:
    """The tokens of an answer by the rounds of pipeline.decoding, without a record of them."""
    from pipeline import drafters
    from pipeline.acceptance import Greedy, walk
    from pipeline.decoding import MOST, Limits
    from pipeline.types import Draft, Prefix

    session, drafter = models.rgb.open(window, question), drafters.create(name, models)
    rule, tokens = Greedy(), list[int]()
    most = Limits().max_new_tokens
    with ThreadPoolExecutor(1, "prefill") as pool:
        reading = pool.submit(session.prefill)

        def prefix() -> Prefix:
            reading.result()
            return session.prefix

        drafter.start(window, question, rule, prefix)
        while len(tokens) < most and not models.tokenizer.ends.intersection(tokens):
            room = min(MOST, most - len(tokens) - 1, budget)
            draft = drafter.propose(room) if room > 0 else Draft.none()
            reading.result()
            scores = session.score(draft)
            verdict = walk(draft, scores, rule, len(tokens))
            session.commit(draft, verdict)
            drafter.observe(draft, scores, verdict)
            tokens += [*(draft.tokens[node] for node in verdict.path), verdict.token]
    drafter.finish(tokens)
    return tokens


def told(captioner: Captioner, name: str, window: Window, question: str, budget: int,
         put: Callable[[list[Any]], None] | None) -> None:
    """The same answer with its records, kept as a trace and, where somebody listens, told to the page as it is made."""
    from pipeline.decoding import Limits
    from ui.answer_messages import AnswerStarted
    from ui.transcript import Transcript

    transcript, records = Transcript(AnswerStarted("a", "question", question, 0.0, 1.0, name)), list[Any]()
    for record in captioner.ask(window, question, name, limits=Limits(budget=budget)):
        records.append(record)
        if put is not None:
            put(transcript.messages(record))


class _Page:
    """The live channel of the page with one that listens, in a process of its own; pictures, which are drawn whether
    or not somebody answers, are left out."""

    def __enter__(self) -> _Page:
        import uvicorn
        from starlette.applications import Starlette
        from starlette.routing import WebSocketRoute
        from starlette.websockets import WebSocket

        from ui.live import Connection

        class Words(Connection):
            async def _show(self) -> None:
                await self._over.wait()

        async def live(ws: WebSocket) -> None:
            await ws.accept()
            # it is told only when a connection begins and ends
            await Words(ws, self).run()  # type: ignore[arg-type]

        listening = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(Starlette(routes=[WebSocketRoute("/live", live)]),
                                                     log_level="error", ws_per_message_deflate=False,
                                                     timeout_graceful_shutdown=1))
        self._attached, self._outbox = threading.Event(), list[Connection]()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve([listening])), daemon=True)
        self._thread.start()
        address = f"ws://127.0.0.1:{listening.getsockname()[1]}/live"
        self._client = subprocess.Popen([sys.executable, "-c", CLIENT, address], stdout=subprocess.PIPE)
        if not self._attached.wait(30):
            raise RuntimeError("the one that listens did not come")
        return self

    def attach(self, outbox: Any) -> None:
        """A connection begins."""
        self._outbox.append(outbox)
        self._attached.set()

    def detach(self, outbox: Any) -> None:
        """A connection ends: nothing to do."""

    def put(self, messages: list[Any]) -> None:
        """Tell the page."""
        self._outbox[0].put(messages)

    def __exit__(self, *error: object) -> None:
        self._client.terminate()
        self._client.wait()
        self._server.should_exit = True
        self._thread.join(10)


class _Recording:
    """A recording that is read over and over, at its own pace and into windows of a picture each, while going()."""

    def __init__(self, folder: Path) -> None:
        self._path, self.child_share = folder / "events.aedat4", 0.0
        self._go, self._over = threading.Event(), threading.Event()

    def __enter__(self) -> _Recording:
        throughput.write_recording(self._path, throughput.moving_edges(int(RATE_HZ * RECORDED_S), throughput.SENSOR,
                                                                       RATE_HZ))
        self._before_s, self._went_s = _children_s(), 0.0
        self._thread = threading.Thread(target=self._read, name="recording", daemon=True)
        self._thread.start()
        return self

    @contextlib.contextmanager
    def going(self) -> Iterator[None]:
        """Read meanwhile."""
        began_s = time.perf_counter()
        self._go.set()
        try:
            yield
        finally:
            self._go.clear()
            self._went_s += time.perf_counter() - began_s

    def _read(self) -> None:
        while not self._over.is_set():
            with open_source(str(self._path), reconstruct_frames=False) as source:
                assembler, due_s = WindowAssembler(source.info, WINDOW_US, WINDOW_US), 0.0
                for item in source:
                    if not self._go.is_set():
                        self._go.wait()
                        due_s = time.perf_counter()
                    if self._over.is_set():
                        return
                    assembler.push(item)
                    if not isinstance(item, Frame):
                        due_s += len(item) / RATE_HZ
                        time.sleep(max(0.0, due_s - time.perf_counter()))

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._go.set()
        self._thread.join(30)
        self.child_share = round((_children_s() - self._before_s) / max(1e-9, self._went_s), 4)


def _children_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _row(seconds: dict[str, dict[int, float]]) -> dict[str, Any]:
    from pipeline.statistics import ratio_of_sums

    row: dict[str, Any] = {f"{way}_cpu_s": round(sum(clips.values()) / (2 * len(clips)), 5)
                           for way, clips in seconds.items()}
    for way, before in ((TRACED, BARE), (LISTENED, TRACED), (READ, LISTENED)):
        pairs = np.array([[seconds[way][clip], seconds[before][clip]] for clip in seconds[way]])
        middle, low, high = ratio_of_sums(pairs)
        row |= {f"{way}_cost": round(middle - 1, 4), f"{way}_cost_ci": [round(low - 1, 4), round(high - 1, 4)]}
    return row


def _table(name: str, row: dict[str, Any]) -> Table:
    made = Table("way", "CPU ms per answer", "costs, 95 %", title=f"what listening costs a detailed answer, {name}")
    for way, words in WAYS.items():
        low, high = row.get(f"{way}_cost_ci", (None, None))
        cost = "" if low is None else f"{row[f'{way}_cost']:+.1%} ({low:+.1%} to {high:+.1%})"
        made.add_row(words, f"{row[f'{way}_cpu_s'] * 1e3:.1f}", cost)
    return made
