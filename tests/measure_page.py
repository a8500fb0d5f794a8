"""Measures the page in a real Chromium, server and browser on this machine: prints one JSON line.

    python tests/measure_page.py                    # pictures per second, seeking, words; 640x480 at 1 M events/s
    python tests/measure_page.py --minutes 60       # memory of both sides over an hour of captions and questions
    python tests/measure_page.py --link 60          # the same page over 60 kB/s with 150 ms of latency

The server runs in a process of its own with the bundled pair; it notes when each verdict was there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--enable-precise-memory-info"]
QUESTION = "Describe the scene in detail."
ALLOWED = 1.1
"""What memory may be in the last third of a measurement, as a multiple of the second."""
WATCH = """() => {
    window.pictures = []; window.words = {}; window.spans = [];
    const begun = {};
    pf.on('start', message => { if (message.who === 'question') begun[message.id] = performance.now(); });
    pf.on('done', message => { if (begun[message.id]) window.spans.push([begun[message.id], performance.now()]); });
    pf.on('picture', ({kind, at}) => { if (kind === 1) window.pictures.push([performance.now(), at]); });
    const now = () => performance.timeOrigin + performance.now();
    pf.on('judged', message => {
        const told = window.words[`${message.id} ${message.round}`] = [now(), 0];
        requestAnimationFrame(() => { told[1] = now(); });
    });
}"""
SEEK = """target => new Promise(done => {
    const began = performance.now();
    const seen = ({kind, at}) => {
        if (kind === 1 && !over && Math.abs(at - target) < 0.02) { over = true; done(performance.now() - began); }
    };
    let over = false;
    pf.on('picture', seen);
    pf.send('seek', target);
})"""


def busy_recording(path: Path, seconds: int = 8, rate_hz: int = 1_000_000) -> None:
    """640x480, bars that move over a street of frames, rate_hz events per second, 30 frames/s."""
    from streams.recorder import Recorder
    from streams.types import Frame, Resolution, events_from_columns

    rng, sensor = np.random.default_rng(0), Resolution(640, 480)
    with Recorder(path, sensor, sensor, "rendered", "rendered") as recorder:
        for i in range(seconds * 30):
            start_us, end_us = i * 1_000_000 // 30, (i + 1) * 1_000_000 // 30
            image = np.full((480, 640, 3), 90, np.uint8)
            edge = (i * 7) % 560
            image[120:360, edge:edge + 80] = (200, 60, 50)
            recorder.write(Frame(start_us, 0, image))
            n = rate_hz // 30
            t = np.sort(rng.integers(start_us, end_us, n))
            side = rng.random(n) < 0.5
            x = np.clip(edge + side * 80 + rng.normal(0, 6, n), 0, 639).astype(int)
            recorder.write(events_from_columns(t, x, rng.integers(100, 380, n), side))


def serve(port: int, source: str, log: Path) -> None:
    """The page on a source, with a note of every verdict's time."""
    import ui
    from app.compose import ModelOptions, load
    from app.demo import services
    from ui.answer_messages import RoundJudged
    from ui.session import Session

    publish, file = Session.publish, log.open("w")

    def noted(session: Session, messages: list[Any]) -> None:
        for message in messages:
            if isinstance(message, RoundJudged):
                file.write(f"{message.id} {message.round} {time.time() * 1000}\n")
                file.flush()
        publish(session, messages)

    Session.publish = noted
    ui.serve(ui.build_app(services(load(ModelOptions()), source, "busy")), port=port)


def spread(values: Any) -> dict[str, float]:
    """Median and 95th percentile."""
    return {"n": len(values), "median": round(float(np.median(values)), 1),
            "p95": round(float(np.percentile(values, 95)), 1)}


def rate(page: Any, seconds: float) -> float:
    """Pictures of the event view per second from now on."""
    page.evaluate("window.pictures = []")
    page.wait_for_timeout(seconds * 1000)
    shown = page.evaluate("window.pictures")
    return round((len(shown) - 1) / (shown[-1][0] - shown[0][0]) * 1000, 1) if len(shown) > 1 else 0.0


def ask(page: Any) -> None:
    """Ask the question and wait for the end of its answer."""
    answered = page.evaluate("window.spans.length")
    line = page.locator("#ask textarea, #ask input").first
    line.fill(QUESTION)
    line.press("Enter")
    page.wait_for_function("before => window.spans.length > before", arg=answered)


def words(page: Any, log: Path) -> np.ndarray:
    """ms from every verdict until its message was there and until it was painted, [N, 2]."""
    told = page.evaluate("window.words")
    noted = {f"{a} {b}": float(c) for a, b, c in (line.split() for line in log.read_text().splitlines())}
    return np.array([[at - noted[key] for at in times] for key, times in told.items() if key in noted and times[1]])


def behaviour(page: Any, log: Path) -> dict[str, Any]:
    """Pictures per second playing and answering, seeking, words."""
    page.get_by_label("live captions").uncheck()
    playing = rate(page, 8)
    page.get_by_label("live captions").check()
    for _ in range(30):
        ask(page)
    pictures, spans = page.evaluate("[window.pictures, window.spans]")
    shown = sum(begin <= at <= end for begin, end in spans for at, _ in pictures)
    answering_s = sum(end - begin for begin, end in spans) / 1000
    late = words(page, log)
    page.get_by_label("live captions").uncheck()
    page.locator(".play").click()
    seeks = [page.evaluate(SEEK, round(float(t), 3)) for t in np.random.default_rng(1).uniform(0.5, 7.5, 40)]
    return {"pictures_per_s_playing": playing, "pictures_per_s_answering": round(shown / answering_s, 1),
            "seek_ms": spread(seeks), "word_received_ms": spread(late[:, 0]), "word_on_page_ms": spread(late[:, 1])}


def memory(page: Any, server: int, minutes: float) -> dict[str, Any]:
    """MB of both sides, sampled 60 times after a tenth of the time; questions go on all the while. It begins when the
    chat shows as much as it ever does."""
    from ui.chat import SHOWN

    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")
    for _ in range(SHOWN // 2 + 1):
        ask(page)
    samples, began = [], time.monotonic()
    while time.monotonic() - began < minutes * 60:
        ask(page)
        page.wait_for_timeout(minutes * 1000)
        if time.monotonic() - began > minutes * 6:
            # what was noted for other measurements, 30 pictures a second, is not the page's
            page.evaluate("window.pictures = []; window.words = {}")
            devtools.send("HeapProfiler.collectGarbage")
            found = {row["name"]: row["value"] for row in devtools.send("Performance.getMetrics")["metrics"]}
            resident = int(Path(f"/proc/{server}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            samples.append(((time.monotonic() - began) / 60, resident / 1e6, found["JSHeapUsedSize"] / 1e6,
                            found["Nodes"]))
    at, *columns = np.array(samples).T
    names = ("server_mb", "browser_heap_mb", "browser_nodes")
    thirds = {name: [round(float(part.mean()), 1) for part in np.array_split(column, 3)]
              for name, column in zip(names, columns, strict=True)}
    slopes = {name: round(float(np.polyfit(at, column, 1)[0] * 60), 1) for name, column in
              zip(names, columns, strict=True)}
    return {"minutes": minutes, "samples": len(at), "means_of_thirds": thirds, "growth_per_hour": slopes}


def slow(page: Any, log: Path, kb_per_s: float) -> dict[str, Any]:
    """Over a slow line: pictures of both kinds per second, seconds of the recording per second, how late words are."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Network.enable")
    line = {"offline": False, "latency": 150, "uploadThroughput": 1e3 * kb_per_s, "downloadThroughput": 1e3 * kb_per_s}
    devtools.send("Network.emulateNetworkConditions", line)
    page.reload()  # an open connection is not slowed down
    page.wait_for_function("document.querySelector('.view')?.dataset.painted !== undefined")
    page.evaluate(WATCH)
    page.get_by_label("live captions").uncheck()
    page.wait_for_timeout(3000)
    page.evaluate("""() => {
        window.seen = [];
        pf.on('picture', ({kind, at}) => window.seen.push([kind, performance.now() / 1000, at]));
    }""")
    page.wait_for_timeout(20_000)
    seen = np.array(page.evaluate("window.seen"))
    for _ in range(6):
        ask(page)
    events = seen[seen[:, 0] == 1]
    steps = np.diff(events[:, 2])
    played_s = steps[steps > 0].sum() / (1 - np.mean(steps < 0))  # the step back to the beginning counts too
    return {"kb_per_s": kb_per_s, "event_pictures_per_s": round(len(steps) / np.ptp(events[:, 1]), 1),
            "rgb_pictures_per_s": round((len(seen) - len(events) - 1) / np.ptp(seen[seen[:, 0] == 2, 1]), 1),
            "recording_s_per_s": round(played_s / np.ptp(events[:, 1]), 3),
            "word_on_page_ms": spread(words(page, log)[:, 1])}


def measure(minutes: float | None, kb_per_s: float | None) -> dict[str, Any]:
    """Start server and browser, measure, end both."""
    from playwright.sync_api import sync_playwright

    folder = Path(tempfile.mkdtemp())
    source, log = folder / "busy.aedat4", folder / "verdicts"
    busy_recording(source)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, __file__, "--serve", str(port), str(source), str(log)], cwd=ROOT)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.2)
        with sync_playwright() as driver:
            found = shutil.which("chromium") or shutil.which("google-chrome")
            browser = driver.chromium.launch(executable_path=found, args=FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(60_000)
            page.goto(f"http://127.0.0.1:{port}/")
            page.wait_for_function("document.querySelector('.view')?.dataset.painted !== undefined")
            page.evaluate(WATCH)
            if kb_per_s is not None:
                return slow(page, log, kb_per_s)
            return behaviour(page, log) if minutes is None else memory(page, server.pid, minutes)
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Measure, or serve for a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--link", type=float, metavar="KB_PER_S")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(int(arguments.serve[0]), arguments.serve[1], Path(arguments.serve[2]))
    else:
        result = {"type": "page", "cores": os.cpu_count(), **measure(arguments.minutes, arguments.link)}
        print(json.dumps(result))
        for name, (_, middle, last) in result.get("means_of_thirds", {}).items():
            if last > ALLOWED * middle:
                sys.exit(f"{name} grew from {middle} to {last} between the second and the last third")


if __name__ == "__main__":
    main()
