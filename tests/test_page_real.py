"""The demo as shipped: bundled recording, bundled pair, real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from test_page_browser import COLOURS, FLAGS, Running, Visit, chromium, palette, visit

from app.compose import ModelOptions, bundled_recording, load
from app.demo import services
from pipeline.captioner import Captioner
from pipeline.inputs import WINDOW_US
from pipeline.types import Caption
from streams.sources import open_source
from streams.windows import window_at

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
pytestmark = pytest.mark.browser

DETAIL = "Describe the scene in detail."


@pytest.fixture(scope="module")
def page_of_demo() -> Iterator[Visit]:
    running = Running(services(load(ModelOptions("cpu")), str(bundled_recording()), "Bundled story"))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(driver), args=FLAGS)
        yield visit(browser, running)
        browser.close()
    running.end()


def test_the_bundled_recording_is_described_and_a_question_answered(page_of_demo: Visit) -> None:
    page = page_of_demo.page
    expect(page.locator(".stage .said")).to_contain_text("street", timeout=60_000)
    canvas = ".view[data-kind='1'] canvas"
    page.wait_for_function(f"() => ({COLOURS})(\"{canvas}\").length === 3")
    assert set(page.evaluate(COLOURS, canvas)) == palette("dark")

    page.locator("h1").click()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    slider = page.get_by_role("slider", name="Position in the recording")
    slider.focus()
    slider.press("Home")
    page.wait_for_function("document.querySelector('.view').dataset.painted === '0'")
    slider.press("PageUp")
    page.wait_for_function("document.querySelector('.view').dataset.painted === '10'")
    for second in ("11", "12", "13"):
        slider.press("ArrowRight")
        page.wait_for_function(f"document.querySelector('.view').dataset.painted === '{second}'")

    # an automatic budget follows measured times, so which guesses are made would depend on who else is at work here
    narrator = page_of_demo.session.narrator
    narrator.set_up(replace(narrator.settings, budget=8))
    page_of_demo.ask(DETAIL)
    expect(page.locator(".words .who")).to_have_text("Answer to your question")
    expect(page.locator("#chat")).to_contain_text("This is a street scene")
    expect(page.locator("#stop")).to_be_hidden()
    assert page_of_demo.chat().strip() == page_of_demo.kept().strip() == plain_answer(13_000_000)
    assert page.locator(".words .box .tk.accepted").count() > 5
    assert page.locator(".words .box .tk.rejected").count() >= 1
    assert page.locator(".words .box .tk.recovered").count() >= 1
    outlines_the_object_of_a_word(page_of_demo)
    assert page_of_demo.faults == []


def outlines_the_object_of_a_word(opened: Visit) -> None:
    """Pointing at a word about the drone outlines it, near the top, in both views."""
    page = opened.page
    expect(page.locator(".stage .outline").first).to_be_hidden()
    page.locator(".words .box .tk.accepted", has_text="drone").first.hover()
    for kind in (1, 2):
        view, frame = page.locator(f".view[data-kind='{kind}']"), page.locator(f".view[data-kind='{kind}'] .outline")
        expect(frame).to_be_visible()
        outer, inner = view.bounding_box(), frame.bounding_box()
        assert (inner["y"] + inner["height"] / 2 - outer["y"]) / outer["height"] < 0.34
        assert inner["width"] < 0.4 * outer["width"]
    page.locator("h1").hover()
    expect(page.locator(".stage .outline").first).to_be_hidden()


def plain_answer(end_us: int) -> str:
    """What the RGB VLM says without any guessing about the second before end_us."""
    with open_source(str(bundled_recording())) as source:
        window = window_at(source, (source.info.start_us or 0) + end_us, WINDOW_US)
    *_, caption = Captioner(load(ModelOptions("cpu"))).ask(window, DETAIL, drafter="none")
    assert isinstance(caption, Caption)
    return caption.text
