"""The page in a real Chromium: painted, steered, asked, stopped; one server and one page for nearly everything."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from toy_services import MARKUP, SLOW, TREE, said, toy_services

import ui
from ui.render import PALETTE_COLOURS
from ui.services import Services
from ui.session import Session

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
expect.set_options(timeout=20_000)  # others may be at work on this machine
pytestmark = pytest.mark.browser

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
COLOURS = """selector => {
    const canvas = document.querySelector(selector), found = new Set();
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    for (let i = 0; i < data.length; i += 4) found.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
    return [...found];
}"""


def chromium(driver: playwright.Playwright) -> str:
    """A Chromium to run, or a skip; in CI its absence is a failure."""
    found = shutil.which("chromium") or shutil.which("google-chrome") or driver.chromium.executable_path
    if not Path(found).exists():
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up("no Chromium: install one, or run playwright install chromium")
    return found


@dataclass
class Running:
    """A server in a thread."""

    services: Services
    server: uvicorn.Server = field(init=False)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.app = ui.build_app(self.services)
        self.server = ui.make_server(self.app, port=0)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        tick = threading.Event()
        while not self.server.started:
            assert self.thread.is_alive(), "the server did not start"
            tick.wait(0.02)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def end(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)


@dataclass
class Visit:
    """A page that is open, the session behind it, and everything it did that it should not."""

    page: playwright.Page
    session: Session
    faults: list[str]

    def ask(self, question: str) -> None:
        line = self.page.locator("#ask textarea, #ask input").first
        line.fill(question)
        line.press("Enter")

    def until(self, condition: Callable[[Session], bool]) -> None:
        """Wait until something holds on the server."""
        for _ in range(500):
            if condition(self.session):
                return
            self.page.wait_for_timeout(20)
        pytest.fail("it did not happen within 10 s")

    def chat(self) -> str:
        """The newest answer in the chat."""
        return self.page.locator("#chat .bot .message-content, #chat .bot.message").last.inner_text()

    def kept(self) -> str:
        """The words of the panel that belong to the answer."""
        words = self.page.locator(".words .box .tk:is(.accepted, .recovered, .bonus, .plain)")
        return "".join(words.evaluate_all("nodes => nodes.map(node => node.textContent)"))


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium(driver), args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def running(browser: playwright.Browser) -> Iterator[Running]:
    server = Running(toy_services(pace=0.3))
    yield server
    server.end()


def visit(browser: playwright.Browser, running: Running, width: int = 1440, height: int = 900,
          path: str = "/") -> Visit:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(20_000)
    faults: list[str] = []
    address = running.address
    page.on("pageerror", lambda error: faults.append(f"page error: {error}"))
    page.on("request", lambda request: faults.append(f"external request: {request.url}")
            if not request.url.startswith((address, "data:", "blob:")) else None)
    before = set(running.app.state.sessions.tokens())
    page.goto(address + path)
    page.wait_for_function("document.querySelector('.view')?.dataset.painted !== undefined")
    (token,) = set(running.app.state.sessions.tokens()) - before
    return Visit(page, running.app.state.sessions.by_token(token), faults)


@pytest.fixture(scope="module")
def opened(browser: playwright.Browser, running: Running) -> Visit:
    return visit(browser, running)


@pytest.fixture(autouse=True)
def nothing_forbidden(opened: Visit) -> Iterator[None]:
    yield
    assert opened.faults == []


def palette(name: str) -> set[str]:
    colours = PALETTE_COLOURS[name]
    return {",".join(str(part) for part in colours[i:i + 3]) for i in (0, 3, 6)}


def test_live_captions_appear_by_themselves(opened: Visit) -> None:
    expect(opened.page.locator(".stage .said")).to_contain_text(said("What is happening?").strip())
    expect(opened.page.locator(".words .who")).to_have_text("Live caption")
    expect(opened.page.locator(".words .tk.rejected").first).to_be_visible()


def test_event_view_has_exactly_the_palette_colours(opened: Visit) -> None:
    page = opened.page
    canvas = ".view[data-kind='1'] canvas"
    page.wait_for_function(f"() => ({COLOURS})(\"{canvas}\").length === 3")
    assert set(page.evaluate(COLOURS, canvas)) == palette("dark")
    page.get_by_label("Event colours").select_option("orange-blue")
    page.wait_for_function(f"() => ({COLOURS})(\"{canvas}\").includes('230,159,0')")
    assert set(page.evaluate(COLOURS, canvas)) <= palette("orange-blue")
    assert len(page.evaluate(COLOURS, ".view[data-kind='2'] canvas")) > 3


def test_views_say_where_they_come_from(opened: Visit) -> None:
    expect(opened.page.locator(".view[data-kind='1'] .origin")).to_have_text("rendered scene")
    expect(opened.page.locator(".view[data-kind='2'] .origin")).to_have_text("rendered scene")


def test_pause_seek_and_step_with_the_keyboard(opened: Visit) -> None:
    page = opened.page
    slider = page.get_by_role("slider", name="Position in the recording")
    page.locator("h1").click()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    assert not opened.session.player.state().playing
    slider.focus()
    slider.press("Home")
    page.wait_for_function("document.querySelector('.view').dataset.painted === '0'")
    slider.press("PageUp")
    page.wait_for_function("document.querySelector('.view').dataset.painted === '10'")
    expect(slider).to_have_attribute("aria-valuetext", "0:10.0")
    page.locator("h1").click()
    page.keyboard.press("j")
    page.wait_for_function("document.querySelector('.view').dataset.painted === '5'")
    page.keyboard.press(".")
    page.wait_for_function("document.querySelector('.view').dataset.painted === '5.033'")
    expect(slider).to_have_attribute("aria-valuenow", "5.03")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()


def test_events_are_drawn_in_other_styles_and_over_the_frame(opened: Visit) -> None:
    page, canvas = opened.page, ".view[data-kind='1'] canvas"
    page.get_by_label("How events are drawn").select_option("decay")
    page.wait_for_function(f"() => ({COLOURS})(\"{canvas}\").length > 5")
    page.get_by_label("Milliseconds of events").fill("200")
    expect(page.locator("output")).to_have_text("fades over 200 ms")
    opened.until(lambda session: (session.view.style, session.view.accumulation_ms) == ("decay", 200))
    page.get_by_label("events over RGB").check()
    corner = f"document.querySelector(\"{canvas}\").getContext('2d').getImageData(0, 0, 1, 1).data[3]"
    page.wait_for_function(f"{corner} === 0")
    boxes = [page.locator(f".view[data-kind='{kind}']").bounding_box() for kind in (1, 2)]
    assert boxes[0] == boxes[1]
    page.get_by_label("events over RGB").uncheck()
    page.wait_for_function(f"{corner} === 255")
    page.get_by_label("Milliseconds of events").fill("33")
    page.get_by_label("How events are drawn").select_option("points")
    expect(page.locator("output")).to_have_text("last 165 ms")
    opened.until(lambda session: session.view.style == "points")
    # the frame of the sensor's first plane, where no event can be
    page.wait_for_function(f"() => {{ const canvas = document.querySelector(\"{canvas}\");"
                           " const at = canvas.getContext('2d');"
                           " const pixel = x => at.getImageData(x, Math.round(0.02 * (canvas.height - 1)), 1, 1).data;"
                           " return `${pixel(Math.round(0.6 * canvas.width))}` !== `${pixel(0)}`; }")
    page.get_by_label("How events are drawn").select_option("events")


def test_a_part_is_selected_repeated_and_given_back(opened: Visit) -> None:
    page = opened.page
    slider = page.get_by_role("slider", name="Position in the recording")
    slider.focus()
    slider.press("Home")
    page.get_by_label("Speed").select_option("8")
    page.get_by_role("button", name="select a part").click()
    opened.until(lambda session: session.range_s is not None)
    expect(page.locator(".parted")).to_contain_text("questions are about it")
    end = page.get_by_role("slider", name="End of the selected part")
    end.focus()
    end.press("PageDown")
    opened.until(lambda session: session.range_s[1] - session.range_s[0] < 1.1)
    start_s, end_s = opened.session.range_s
    opened.until(lambda session: session.player.state().position_us > (start_s + end_s) / 2 * 1e6)
    opened.until(lambda session: session.player.state().position_us < (start_s + end_s) / 2 * 1e6)
    assert opened.session.player.state().position_us <= end_s * 1e6
    page.get_by_role("button", name="back to the whole recording").click()
    opened.until(lambda session: session.range_s is None and session.player.loop_us is None)
    page.get_by_label("Speed").select_option("1")
    bar = slider.bounding_box()
    page.keyboard.down("Shift")
    page.mouse.move(bar["x"] + bar["width"] * 0.25, bar["y"] + 20)
    page.mouse.down()
    page.mouse.move(bar["x"] + bar["width"] * 0.5, bar["y"] + 20)
    page.mouse.up()
    page.keyboard.up("Shift")
    opened.until(lambda session: session.range_s is not None and abs(session.range_s[1] - 6) < 0.1)
    page.get_by_role("button", name="select a part").click()
    opened.until(lambda session: session.range_s is None)


def test_delay_and_pictures_per_second_are_told(opened: Visit) -> None:
    expect(opened.page.locator(".health")).to_have_text(re.compile(r"delay \d+ ms · \d+ pictures/s"))


def test_a_typed_question_is_answered_word_by_word(opened: Visit) -> None:
    page = opened.page
    page.locator("h1").click()
    page.keyboard.press("/")
    page.keyboard.type(TREE)
    page.keyboard.press("Enter")
    expect(page.locator(".words .who")).to_have_text("Answer to your question")
    expect(page.locator(".words .question")).to_contain_text(TREE)
    expect(page.locator("#chat")).to_contain_text(said(TREE).strip())
    expect(page.locator("#stop")).to_be_hidden()
    assert opened.kept() == said(TREE)
    assert opened.chat().strip() == opened.kept().strip()
    assert page.locator(".words .box .tk.accepted").count() > 3
    rejected = page.locator(".words .box .tk.rejected").first
    expect(rejected).to_be_visible()
    rejected.hover()
    expect(page.locator(".words .details")).to_contain_text("guessed wrong")
    expect(page.locator(".words .details")).to_contain_text("0.62 / 0.04")
    assert int(page.locator(".chart").get_attribute("data-points")) > 5
    expect(page.locator("[data-key='acceptance_rate']")).to_have_text(re.compile(r"\d+"))


def test_the_answer_stays_until_live_captions_are_chosen(opened: Visit) -> None:
    page = opened.page
    page.get_by_role("button", name="round by round").click()
    expect(page.locator(".words .row")).not_to_have_count(0)
    expect(page.locator(".words .fork")).to_have_count(0)
    page.get_by_role("button", name="tree", exact=True).click()
    expect(page.locator(".words .fork").first).to_be_visible()
    page.get_by_role("button", name="sentence").click()
    page.get_by_role("button", name="live captions").click()
    expect(page.locator(".words .who")).to_have_text("Live caption")
    page.get_by_role("button", name="answer", exact=True).click()
    assert opened.kept() == said(TREE)


def test_model_text_is_only_text(opened: Visit) -> None:
    opened.ask(MARKUP)
    expect(opened.page.locator("#chat")).to_contain_text("{{x}} *star* `tick`")
    expect(opened.page.locator("#stop")).to_be_hidden()
    assert opened.kept() == said(MARKUP)
    assert opened.chat().strip() == said(MARKUP).strip()
    assert opened.page.evaluate("window.hurt") is None


def test_stop_keeps_the_words_and_leaves_no_guess(opened: Visit) -> None:
    page = opened.page
    opened.ask(SLOW)
    expect(page.locator(".words .question")).to_contain_text(SLOW)
    expect(page.locator(".words .box .tk.recovered").first).to_be_visible()
    opened.ask("And now?")
    expect(page.get_by_text("The model is still answering")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator(".words .box")).to_contain_text("stopped here")
    expect(page.locator(".words .box .tk.pending")).to_have_count(0)
    assert opened.chat().strip() == opened.kept().strip() != ""


def test_suggested_questions_ask(opened: Visit) -> None:
    opened.page.get_by_role("button", name="How many objects are there?").click()
    expect(opened.page.locator("#chat")).to_contain_text(said("How many objects are there?").strip())


def test_settings_hold_for_the_next_question(opened: Visit) -> None:
    page = opened.page
    page.locator("#settings").get_by_role("button", name="Settings").click()
    for place, choice in (("#rule", "typical words too (LOSSY)"), ("#budget", "4")):
        page.locator(f"{place} input").click()
        page.get_by_role("option", name=choice, exact=True).click()
    opened.until(lambda session: (session.narrator.settings.rule, session.narrator.settings.budget) == ("typical", 4))
    page.locator("#budget input").click()
    page.get_by_role("option", name="automatic").click()
    opened.until(lambda session: session.narrator.settings.budget is None)


def test_captions_can_be_switched_off(opened: Visit) -> None:
    box = opened.page.get_by_label("live captions")
    box.uncheck()
    opened.until(lambda session: not session.narrator.captions)
    expect(box).not_to_be_checked()
    box.check()
    opened.until(lambda session: session.narrator.captions)


def choose(page: playwright.Page, name: str) -> None:
    page.get_by_text("Recordings", exact=True).click()
    page.get_by_label("Recording", exact=True).select_option(name)


def test_a_source_that_fails_keeps_the_last_good_one(opened: Visit) -> None:
    page, player = opened.page, opened.session.player
    choose(page, "damaged")
    expect(page.get_by_role("alert")).to_contain_text("damaged did not open: this is not a recording")
    expect(page.get_by_role("alert")).to_contain_text("square stays open")
    expect(page.get_by_label("Recording", exact=True)).to_have_value("square")
    assert opened.session.player is player
    expect(page.locator(".veil").first).to_be_hidden()


def test_a_source_without_frames_says_so(opened: Visit) -> None:
    choose(opened.page, "events only")
    expect(opened.page.locator(".view[data-kind='2'] .veil")).to_contain_text("No RGB frames")
    expect(opened.page.locator(".stage .said")).to_contain_text("no RGB frames")


def test_a_source_that_breaks_off_says_why_in_the_view(opened: Visit) -> None:
    choose(opened.page, "breaks")
    expect(opened.page.locator(".view[data-kind='1'] .veil")).to_contain_text("in the middle of packet 7")


def test_a_live_source_is_followed(opened: Visit) -> None:
    choose(opened.page, "live")
    page = opened.page
    expect(page.locator(".following")).to_have_text("● live, following")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator(".following")).to_have_text(re.compile(r"\d\.\d s behind: go live"))
    page.get_by_role("button", name="Play", exact=True).click()
    opened.until(lambda session: session.player.state().playing and not session.player.state().following)
    page.locator(".following").click()
    expect(page.locator(".following")).to_have_text("● live, following")
    expect(opened.page.locator(".view[data-kind='2'] .origin")).to_have_text("camera")


def test_an_upload_that_is_no_recording_is_refused(opened: Visit, tmp_path: Path) -> None:
    file = tmp_path / "notes.mp4"
    file.write_bytes(b"GIF89a")
    opened.page.get_by_text("Your file", exact=True).click()
    with opened.page.expect_file_chooser() as chooser:
        opened.page.get_by_role("button", name="Choose a file").click()
    chooser.value.set_files(file)
    expect(opened.page.get_by_role("alert")).to_contain_text("notes.mp4 did not open")
    opened.page.get_by_role("button", name="Close this message").click()
    expect(opened.page.get_by_role("alert")).to_be_hidden()


def test_cameras_are_listed_and_opened(opened: Visit) -> None:
    page = opened.page
    page.get_by_text("Event camera", exact=True).click()
    page.get_by_role("button", name="Connect", exact=True).click()
    opened.until(lambda session: session.source_name == "toy camera 7")
    expect(page.locator(".chip.source")).to_contain_text("toy camera 7 · live · 240x180")


def test_a_network_address_is_checked(opened: Visit) -> None:
    page = opened.page
    page.get_by_text("Network", exact=True).click()
    page.get_by_label("Address of the stream").fill("../etc/passwd")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("is no address; give host:port")


def test_the_webcam_of_the_browser_is_a_live_source(opened: Visit) -> None:
    page = opened.page
    page.get_by_text("Webcam", exact=True).click()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator(".following")).to_have_text("● live, following")
    expect(page.locator(".view[data-kind='1'] .origin")).to_have_text("simulated from video")
    seen = f"() => ({COLOURS})(\".view[data-kind='2'] canvas\").length > 20"
    page.wait_for_function(seen)
    page.get_by_role("button", name="Stop filming").click()
    opened.until(lambda session: not session.player.state().playing)
    page.get_by_text("Recordings", exact=True).click()
    choose(page, "square")
    opened.until(lambda session: session.source_name == "square")


def test_phone_width_server_end_and_leaving(browser: playwright.Browser) -> None:
    running = Running(toy_services(pace=0.3))
    opened = visit(browser, running, 390, 844)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.locator(".stage .time")).to_have_text(re.compile(r"^0:\d\d\.\d / 0:12\.0$"))
    cut = page.evaluate("""() => [...document.querySelectorAll('.stage .controls > *')].filter(node =>
        node.clientWidth && (node.scrollWidth > node.clientWidth + 1 || node.getBoundingClientRect().right > 390)
        ).map(node => node.className)""")
    assert cut == []
    running.end()
    expect(page.locator(".conn")).to_have_text("reconnecting…")
    expect(page.locator(".veil").first).to_contain_text("does not answer")
    assert opened.session.player is None
    assert not [fault for fault in opened.faults if "external" in fault]
    page.close()


def test_closing_the_tab_frees_the_session(browser: playwright.Browser, running: Running) -> None:
    opened = visit(browser, running)
    opened.ask(SLOW)
    expect(opened.page.locator(".words .box .tk.recovered").first).to_be_visible()
    player = opened.session.player
    opened.page.close()
    tick = threading.Event()
    while not player.source.n_closed:
        tick.wait(0.05)
    assert opened.session.player is None
    assert running.app.state.sessions.by_token(opened.session.token) is None
