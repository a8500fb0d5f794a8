"""Pictures of the page: exactly the palette's colours, whichever way they got there."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from streams.representations import polarity_image
from streams.types import Resolution, empty_packet, events_from_columns
from ui.protocol import STYLES
from ui.render import (
    PALETTE_COLOURS,
    SHADES,
    colours,
    event_image,
    event_png,
    frame_jpeg,
    look_back_us,
    with_palette,
)


def seen(png: bytes) -> set[tuple[int, int, int]]:
    image = np.array(Image.open(io.BytesIO(png)).convert("RGB"))
    return set(map(tuple, image.reshape(-1, 3).tolist()))


def palette(name: str) -> list[tuple[int, int, int]]:
    return [tuple(PALETTE_COLOURS[name][i:i + 3]) for i in (0, 3, 6)]


def image(width: int = 7, height: int = 5) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 3, (height, width)).astype(np.uint8)


@pytest.mark.parametrize("name", PALETTE_COLOURS)
def test_png_has_exactly_the_palette_colours_where_they_belong(name: str) -> None:
    indices = image()
    png = event_png(indices, name)
    assert seen(png) == set(palette(name))
    decoded = np.array(Image.open(io.BytesIO(png)).convert("RGB"))
    assert np.array_equal(decoded, np.array(palette(name), np.uint8)[indices])
    assert Image.open(io.BytesIO(png)).size == (7, 5)


@pytest.mark.parametrize("first", PALETTE_COLOURS)
@pytest.mark.parametrize("second", PALETTE_COLOURS)
def test_swapping_the_palette_equals_encoding_again(first: str, second: str) -> None:
    assert with_palette(event_png(image(), first), second) == event_png(image(), second)


def test_swapping_when_only_the_background_is_there() -> None:
    empty = polarity_image(empty_packet(), Resolution(9, 4))
    assert seen(with_palette(event_png(empty, "dark"), "light")) == {palette("light")[0]}


def test_on_and_off_events_have_their_own_colours() -> None:
    events = events_from_columns(np.array([1, 2]), np.array([0, 3]), np.array([0, 1]), np.array([True, False]))
    decoded = Image.open(io.BytesIO(event_png(polarity_image(events, Resolution(4, 2)), "orange-blue"))).convert("RGB")
    background, on, off = palette("orange-blue")
    assert (decoded.getpixel((0, 0)), decoded.getpixel((3, 1)), decoded.getpixel((1, 1))) == (on, off, background)


def test_two_bits_per_pixel() -> None:
    assert len(event_png(image(640, 480), "dark")) < 640 * 480 // 4 + 1000


def test_jpeg_keeps_colour_order_and_limits_size() -> None:
    red = np.zeros((300, 1200, 3), np.uint8)
    red[..., 0] = 250
    decoded = Image.open(io.BytesIO(frame_jpeg(red, max_side=600)))
    assert decoded.size == (600, 150)
    r, g, b = decoded.getpixel((300, 75))
    assert r > 230
    assert max(g, b) < 25


# Styles

SENSOR = Resolution(4, 2)
FADING = events_from_columns(np.array([0, 60_000, 100_000, 100_000, 100_000]), np.array([0, 1, 2, 2, 3]),
                             np.array([0, 0, 0, 0, 1]), np.array([True, True, True, True, False]))


def drawn(style: str, span_us: int = 50_000) -> np.ndarray:
    return event_image(FADING, SENSOR, style, 100_000, span_us)


def test_histogram_has_one_shade_per_event_in_the_majoritys_colour() -> None:
    np.testing.assert_array_equal(drawn("histogram"), [[1, 1, 2, 0], [0, 0, 0, SHADES + 1]])
    many = np.repeat(FADING[4:], 50)
    assert event_image(many, SENSOR, "histogram", 100_000, 50_000)[1, 3] == 2 * SHADES


@pytest.mark.parametrize("style", ["decay", "surface"])
def test_fading_styles_fade_and_keep_polarity(style: str) -> None:
    image = drawn(style)
    assert 0 < image[0, 0] < image[0, 1] < image[0, 2] == SHADES
    assert image[1, 3] == 2 * SHADES
    assert image[1, 0] == 0


@pytest.mark.parametrize("style", STYLES)
def test_every_style_accepts_no_event_and_stays_in_its_palette(style: str) -> None:
    assert not event_image(empty_packet(), SENSOR, style, 0, 1000).any()
    assert drawn(style).dtype == np.uint8
    assert drawn(style).max() <= (2 if style == "events" else 2 * SHADES)
    assert look_back_us(style, 1000) == {"decay": 3000, "surface": 3000, "points": 5000}.get(style, 1000)


def test_older_points_lie_further_behind_and_are_fainter() -> None:
    t, sensor = np.array([0, 250_000, 500_000]), Resolution(200, 100)
    events = events_from_columns(t, np.full(3, 100), np.full(3, 50), np.array([True, True, False]))
    image = event_image(events, sensor, "points", 500_000, 100_000)
    rows, columns = np.nonzero(np.isin(image, [4, 2 * SHADES]))  # halfway, and now
    assert image[rows, columns].tolist() == [4, 2 * SHADES]
    # up and to the right is behind
    assert rows.tolist() == [int(100 * (0.18 + 0.62 * 0.505)), int(100 * (0.34 + 0.62 * 0.505))]
    assert columns.tolist() == [int(200 * (0.19 + 0.62 * 0.5025)), int(200 * (0.02 + 0.62 * 0.5025))]
    corners = (np.tile([0, 199, 0, 199], 2), np.tile([0, 0, 99, 99], 2))
    everywhere = events_from_columns(np.repeat([0, 500_000], 4), *corners, np.ones(8, bool))
    assert event_image(everywhere, sensor, "points", 500_000, 100_000).shape == (100, 200)


@pytest.mark.parametrize("name", PALETTE_COLOURS)
def test_shades_go_from_near_the_background_to_the_palettes_colours(name: str) -> None:
    entries = np.frombuffer(colours(name, SHADES), np.uint8).reshape(-1, 3)
    assert [tuple(entries[i]) for i in (0, SHADES, 2 * SHADES)] == palette(name)
    assert len({tuple(entry) for entry in entries}) == 2 * SHADES + 1
    png = event_png(drawn("decay"), "dark", SHADES)
    assert with_palette(png, name) == event_png(drawn("decay"), name, SHADES)


def test_only_the_background_is_transparent() -> None:
    alpha = np.array(Image.open(io.BytesIO(event_png(drawn("events"), "dark"))).convert("RGBA"))[..., 3]
    np.testing.assert_array_equal(alpha == 0, drawn("events") == 0)
