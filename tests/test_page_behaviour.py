"""How the page behaves: accessible, on a slow line, four at once, when the program ends and comes back."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from test_page_browser import Running, Visit, browser, chromium, visit  # noqa: F401
from toy_services import SLOW, toy_services

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
pytestmark = pytest.mark.browser

DRAWN = """selector => {
    const canvas = document.querySelector(selector), colours = canvas.getContext('2d');
    const data = new Uint32Array(colours.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    const counts = {};
    for (const colour of data) counts[colour] = (counts[colour] || 0) + 1;
    return data.length - Math.max(...Object.values(counts));
}"""
"""Pixels in another colour than most."""


@pytest.fixture(scope="module")
def running(browser: playwright.Browser) -> Iterator[Running]:  # noqa: F811
    server = Running(toy_services(pace=0.3))
    yield server
    server.end()


# Accessibility


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_wcag_2_aa_by_axe(browser: playwright.Browser, running: Running, theme: str, width: int) -> None:  # noqa: F811
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    opened = visit(browser, running, width, 900, f"/?__theme={theme}")
    page = opened.page
    opened.ask("What is happening?")
    expect(page.locator("#stop")).to_be_hidden()
    page.get_by_role("button", name="select a part").click()
    page.get_by_text("Your file", exact=True).click()
    page.locator(".filters summary").click()
    page.get_by_label("only a region").check()
    page.get_by_label("Region as").fill("1,2")
    page.get_by_label("Region as").press("Enter")
    expect(page.locator("[data-filter=roi] .told")).to_contain_text("roi takes X,Y,WIDTH,HEIGHT")
    page.locator("#settings").get_by_role("button", name="Settings").click()
    expect(page.locator("#drafter input")).to_be_visible()
    # the fade of Gradio's accordion changes contrast while it runs
    page.wait_for_function("document.getAnimations().every(animation => animation.playState !== 'running')")
    options = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
    found = axe.Axe().run(page, options=options).response["violations"]
    told = [f"{rule['id']}: {node['html'][:160]} {node['failureSummary']}" for rule in found for node in rule["nodes"]]
    assert not told, "\n".join(told)
    page.close()


def test_everything_of_the_stage_is_reached_with_the_keyboard(browser: playwright.Browser,  # noqa: F811
                                                              running: Running) -> None:
    opened = visit(browser, running)
    page = opened.page
    page.get_by_role("button", name="select a part").click()
    expect(page.locator(".parted")).to_be_visible()
    page.locator("[name='pf-kind']:checked").focus()
    reached = set()
    for _ in range(32):
        reached.add(page.evaluate("""() => {
            const now = document.activeElement;
            return now.getAttribute('aria-label') || now.textContent.trim() || now.className;
        }"""))
        page.keyboard.press("Tab")
    wanted = {"Pause", "One step back", "One step forward", "Position in the recording", "Start of the selected part",
              "End of the selected part", "Speed", "select a part", "back to the whole recording", "loop",
              "How events are drawn", "Milliseconds of events in the picture", "Event colours", "layout",
              "captions", "Filters none: every event passes"}
    assert wanted <= reached
    page.locator("h1").click()
    page.keyboard.press("o")
    opened.until(lambda session: session.range_s is not None)
    page.close()


def test_motion_is_reduced_on_request(browser: playwright.Browser, running: Running) -> None:  # noqa: F811
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(running.address)
    page.wait_for_function("document.querySelector('.view')?.dataset.painted !== undefined")
    moving = page.evaluate("""() => [...document.querySelectorAll('.pf, .pf *')].filter(node =>
        getComputedStyle(node, '::before').animationName !== 'none'
        || getComputedStyle(node).animationName !== 'none').map(node => node.className)""")
    assert moving == []
    context.close()


# A slow line


class SlowLine:
    """A proxy that carries bytes_per_s from the server to the page, and everything in the other direction."""

    def __init__(self, port: int, bytes_per_s: int) -> None:
        self._to, self._pace = port, bytes_per_s
        self._loop = asyncio.new_event_loop()
        self.fast = threading.Event()
        self.fast.set()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_server(self._carry, "127.0.0.1", 0, limit=4096))
        self.port = self._server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _carry(self, page_in: asyncio.StreamReader, page_out: asyncio.StreamWriter) -> None:
        server_in, server_out = await asyncio.open_connection("127.0.0.1", self._to, limit=4096)
        await asyncio.gather(self._pump(page_in, server_out, None), self._pump(server_in, page_out, self._pace))

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, pace: int | None) -> None:
        try:
            while data := await source.read(3000):
                target.write(data)
                await target.drain()
                if pace and not self.fast.is_set():
                    await asyncio.sleep(len(data) / pace)
        except OSError:
            pass
        finally:
            target.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


def test_a_slow_line_shows_fewer_pictures_and_stays_in_real_time(browser: playwright.Browser,  # noqa: F811
                                                                running: Running) -> None:
    line = SlowLine(int(running.address.rsplit(":", 1)[1]), 20_000)
    before = set(running.app.state.sessions.tokens())
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(f"http://127.0.0.1:{line.port}/")
    page.wait_for_function("document.querySelector('.view')?.dataset.painted !== undefined")
    (token,) = set(running.app.state.sessions.tokens()) - before
    session = running.app.state.sessions.by_token(token)
    line.fast.clear()
    page.evaluate("""() => {
        window.shown = [];
        pf.on('picture', ({kind, at}) => { if (kind === 1) window.shown.push([performance.now() / 1000, at]); });
    }""")
    page.wait_for_function("window.shown.length > 1 && window.shown.at(-1)[0] - window.shown[0][0] > 4")
    at_s = session.player.state().position_us / 1e6
    shown = page.evaluate("window.shown")
    first, last = shown[0], shown[-1]
    per_s = len(shown) / (last[0] - first[0])
    assert 1 < per_s < 20, per_s
    assert (last[1] - first[1]) / (last[0] - first[0]) == pytest.approx(1, abs=0.15)
    assert at_s - last[1] < 1.0
    page.close()
    line.close()


# Several visitors


def test_four_visitors_each_with_their_own(browser: playwright.Browser, running: Running) -> None:  # noqa: F811
    before = len(running.app.state.sessions)
    visits = [visit(browser, running) for _ in range(4)]
    for opened, name in zip(visits, ("square", "events only", "reconstructed", "live"), strict=True):
        opened.page.get_by_label("Recording", exact=True).select_option(name)
        opened.page.wait_for_function(f"document.querySelector('.chip.source').textContent.startsWith('{name} ')")
    visits[0].page.get_by_label("Event colours").select_option("grey")
    visits[0].until(lambda session: session.view.palette == "grey")
    visits[0].ask(SLOW)
    expect(visits[0].page.locator(".words .box .tk.recovered").first).to_be_visible()
    visits[2].ask("How many objects are there?")
    visits[2].page.get_by_role("button", name="Stop", exact=True).click()
    expect(visits[2].page.locator("#stop")).to_be_hidden()
    expect(visits[0].page.locator("#stop")).to_be_visible()
    assert [opened.session.source_name for opened in visits] == ["square", "events only", "reconstructed", "live"]
    assert [opened.session.view.palette for opened in visits] == ["grey", "dark", "dark", "dark"]
    expect(visits[1].page.locator("#chat")).not_to_contain_text(SLOW)
    visits[0].page.get_by_role("button", name="Stop", exact=True).click()
    expect(visits[0].page.locator("#stop")).to_be_hidden()
    players = [opened.session.player for opened in visits]
    for opened in visits:
        assert opened.faults == []
        opened.page.close()
    began = time.monotonic()
    tick = threading.Event()
    while len(running.app.state.sessions) > before or any(opened.session.player for opened in visits):
        assert time.monotonic() - began < 10, "closing the tabs did not free their sessions within 10 s"
        tick.wait(0.05)
    assert all(player.source.n_closed for player in players[:3])


def test_filters_act_where_one_is_for_one_visitor_and_are_counted(browser: playwright.Browser,  # noqa: F811
                                                                  running: Running) -> None:
    one, other = visit(browser, running), visit(browser, running)
    page, drawn = one.page, f"({DRAWN})(\".view[data-kind='1'] canvas\")"
    one.session.player.pause()
    one.session.player.seek(10_000_000)
    one.until(lambda session: not session.player.state().loading)
    untouched = other.session.player

    def pixels() -> int:
        return len(np.unique(one.session.player.events(10_000_000 - 33_000, 10_000_000)[["x", "y"]]))

    loud = pixels()
    page.wait_for_function(f"{drawn} === {loud}")
    page.locator(".filters summary").click()
    page.get_by_label("no background activity").check()
    one.until(lambda session: session.filters == ("noise:5",) and not session.player.state().loading)
    assert 0 < pixels() < loud
    page.wait_for_function(f"{drawn} === {pixels()}")
    row = page.locator("[data-filter=noise] .told")
    expect(row).to_have_text(re.compile(r"held back [1-9]\d* k? ?of \d+ k events \(\d+\.\d %\)"))
    expect(page.locator(".health")).to_contain_text("events held back by filters")
    page.get_by_label("Region as").fill("10, 20, 500, 30")
    page.get_by_label("Region as").press("Enter")
    wrong = page.locator("[data-filter=roi]")
    expect(wrong.locator(".told")).to_have_text(
        "the region 10,20,500,30 sticks out of 240x180 pixels; choose a smaller one")
    assert one.session.filters == ("noise:5",)
    page.get_by_label("Milliseconds in which").fill("")
    page.get_by_label("Milliseconds in which").press("Enter")
    expect(row).to_have_text("noise takes 0.1 to 1000 milliseconds, got 'nothing'")
    page.get_by_label("Milliseconds in which").fill("5")
    page.get_by_label("Region as").fill("10,20,100,30")
    page.get_by_label("Region as").press("Enter")
    page.get_by_label("turned clockwise").check()
    expect(page.locator(".chip.source")).to_contain_text("30x100")
    expect(wrong).not_to_have_class("wrong")
    shapes = page.evaluate("[...document.querySelectorAll('.view')].map(view => view.style.aspectRatio)")
    assert shapes == ["30 / 100"] * 2
    assert one.session.playing().at_s == 10
    assert (other.session.player, other.session.filters) == (untouched, ())
    for name in ("no background activity", "only a region", "turned clockwise"):
        page.get_by_label(name).uncheck()
    expect(page.locator(".filters .on")).to_have_text("none: every event passes")
    page.wait_for_function(f"{drawn} === {loud}")
    expect(page.locator(".health")).not_to_contain_text("held back")
    assert one.faults == []
    page.close()
    other.page.close()


def test_a_page_that_was_forgotten_goes_on_where_it_was(browser: playwright.Browser,  # noqa: F811
                                                        running: Running) -> None:
    opened, sessions = visit(browser, running, path="/?filter=polarity:on"), running.app.state.sessions
    page = opened.page
    expect(page.locator(".filters .on")).to_have_text("polarity:on")
    opened.ask("What is happening?")
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator("#chat")).to_contain_text("A red square moves")
    page.get_by_label("Recording", exact=True).select_option("reconstructed")
    page.wait_for_function("document.querySelector('.chip.source').textContent.startsWith('reconstructed ')")
    page.locator(".filters summary").click()
    page.get_by_label("no background activity").check()
    page.get_by_label("one polarity").uncheck()
    expect(page.locator(".filters .on")).to_have_text("noise:5")
    sessions.drop(next(key for key, session in sessions._by_hash.items() if session is opened.session))
    expect(page.locator(".conn")).to_have_text("reconnected: this page had been forgotten")
    page.wait_for_function("document.querySelector('.chip.source').textContent.startsWith('reconstructed ')")
    opened.ask("How many objects are there?")
    expect(page.locator("#chat")).to_contain_text("There are two objects")
    expect(page.locator("#chat")).to_contain_text("A red square moves")
    expect(page.locator(".filters .on")).to_have_text("noise:5")
    page.close()


# The program ends and comes back


SERVE = """
import sys
sys.path.insert(0, sys.argv[2])
import ui
from toy_services import toy_services
ui.serve(ui.build_app(toy_services(pace=0.3)), port=int(sys.argv[1]))
"""


@contextmanager
def program(port: int) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(port), str(Path(__file__).parent)],
                               cwd=Path(__file__).parent.parent, stderr=subprocess.PIPE, text=True)
    tick = threading.Event()
    try:
        while True:
            assert process.poll() is None, process.stderr.read()
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                tick.wait(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def test_ctrl_c_ends_it_while_it_plays_and_answers_and_the_page_comes_back(
        browser: playwright.Browser) -> None:  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    page = browser.new_page()
    with program(port) as process:
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_function("document.querySelector('.view')?.dataset.painted !== undefined")
        page.get_by_label("Recording", exact=True).select_option("reconstructed")
        page.wait_for_function("document.querySelector('.chip.source').textContent.startsWith('reconstructed ')")
        page.wait_for_function("+document.querySelector('.view').dataset.painted > 1")
        line = page.locator("#ask textarea, #ask input").first
        line.fill(SLOW)
        line.press("Enter")
        expect(page.locator(".words .box .tk.recovered").first).to_be_visible()
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        ended_s = time.monotonic() - began
        assert "Traceback" not in process.stderr.read()
        expect(page.locator(".conn")).to_have_text("reconnecting…")
    with program(port):
        expect(page.locator(".conn")).to_have_text("reconnected: the program was started again", timeout=30_000)
        page.wait_for_function("document.querySelector('.chip.source').textContent.startsWith('reconstructed ')")
        page.wait_for_function("+document.querySelector('.view').dataset.painted > 0.5")
        line.fill("How many objects are there?")
        line.press("Enter")
        expect(page.locator("#chat")).to_contain_text("There are two objects")
    page.close()
    assert ended_s < 3
