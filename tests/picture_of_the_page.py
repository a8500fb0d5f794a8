"""Makes README's picture: the real page, the bundled pair, a question answered while it is watched.

    python tests/picture_of_the_page.py .github/page.gif

The models answer as fast as they do, the words reach the page SLOWER times slower, so that they can be followed.
"""

from __future__ import annotations

import argparse
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from test_page_browser import FLAGS, Running, chromium

from app.compose import ModelOptions, bundled_recording, load
from app.demo import services
from pipeline.types import Records
from streams.types import Window
from ui.services import Answer, AskSettings
from ui.trace import at_s

SLOWER = 9.0
SIZE, SHOWN_WIDTH, COLOURS = (1340, 1120), 1000, 255
QUESTION = "Describe the scene in detail."
AT_S = 13.0
LARGEST = 3_000_000


def slowly(converse: Callable[[], Answer]) -> Callable[[], Answer]:
    """Conversations whose records come later than they were made."""
    def begin() -> Answer:
        answer = converse()

        def slowed(window: Window, question: str, settings: AskSettings, cancel: threading.Event) -> Records:
            with closing(answer(window, question, settings, cancel)) as records:
                made = list(records)
            began = time.monotonic()
            for record in made:
                cancel.wait(max(0.0, began + at_s(record) * SLOWER - time.monotonic()))
                yield record

        return slowed

    return begin


class Film:
    """Pictures of a page and how long each is shown."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.pictures: list[Image.Image] = []
        self.lengths_s: list[float] = []

    def shoot(self, seconds: float) -> None:
        """Add what the page shows now."""
        picture = Image.open(io.BytesIO(self._page.screenshot())).convert("RGB")
        height = round(picture.height * SHOWN_WIDTH / picture.width)
        self.pictures.append(picture.resize((SHOWN_WIDTH, height), Image.Resampling.LANCZOS))
        self.lengths_s.append(seconds)

    def shoot_until(self, condition: str, seconds: float) -> None:
        """Add picture after picture until a condition holds in the page."""
        while not self._page.evaluate(condition):
            self.shoot(seconds)

    def save(self, path: Path) -> None:
        """Write an animated GIF with one palette for all pictures, so that only what changes is stored."""
        all_views = Image.new("RGB", (SHOWN_WIDTH, 4 * self.pictures[0].height))
        for i in range(4):
            all_views.paste(self.pictures[i * (len(self.pictures) - 1) // 3], (0, i * self.pictures[0].height))
        palette = all_views.quantize(COLOURS)
        frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in self.pictures]
        frames[0].save(path, save_all=True, append_images=frames[1:], loop=0, optimize=True,
                       duration=[round(seconds * 1000) for seconds in self.lengths_s])


def measure_steadily(page: Page) -> None:
    """Compare, again where the page itself says that the machine was busy: the picture should show usual numbers."""
    for _ in range(8):
        page.locator(".race .compare").click()
        page.wait_for_function("document.querySelector('.result').textContent.includes('run 1 of 4')")
        page.wait_for_function("document.querySelector('.result').textContent.includes('Measured')")
        if "busy" not in page.locator(".result").inner_text():
            return


def scenes(page: Page, film: Film) -> Iterator[str]:
    """What the picture shows; yields what has been shown."""
    line = page.locator("#ask textarea, #ask input").first
    for end in (9, 18, len(QUESTION)):
        line.fill(QUESTION[:end])
        film.shoot(0.3)
    line.press("Enter")
    page.wait_for_function("pf.answers.whose() === 'question'")
    film.shoot_until("Boolean(pf.answers.shown().done)", 0.2)
    film.shoot(1.2)
    yield "the answer"
    page.locator(".words .tk.recovered").first.hover()
    film.shoot(2.2)
    yield "a corrected word and its object"
    page.locator(".how").get_by_role("button", name="round by round").click()
    film.shoot(2.2)
    yield "the rounds"
    page.locator("[data-how=race]").click()
    measure_steadily(page)
    page.locator(".race .again").click()
    film.shoot_until("[...document.querySelectorAll('.clock')].every(n => n.textContent.includes('complete'))", 0.3)
    film.shoot(3.0)
    yield "the measured comparison"


def main() -> None:
    """Make the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    real = services(load(ModelOptions("cpu")), str(bundled_recording()), "Bundled story")
    running = Running(replace(real, converse=slowly(real.converse)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(driver), args=FLAGS)
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(f"{running.address}/?source=Bundled+story&t={AT_S}")
        page.wait_for_function(f"document.querySelector('.view')?.dataset.painted === '{AT_S:g}'")
        film = Film(page)
        for shown in scenes(page, film):
            print(f"{len(film.pictures)} pictures: {shown}")
        browser.close()
    running.end()
    film.save(out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB, {sum(film.lengths_s):.0f} s")
    if out.stat().st_size > LARGEST:
        raise SystemExit(f"larger than {LARGEST / 1e6:.0f} MB: use fewer pictures or colours")


if __name__ == "__main__":
    main()
