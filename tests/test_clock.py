"""Time made monotonic, sensors found from their events, frames between packets."""

from __future__ import annotations

import numpy as np
import pytest
from written import HEIGHT, WIDTH

from streams.clock import Clock, held, unwrapped
from streams.columns import column_of, sniffed, tick_of
from streams.geometry import Extent
from streams.reconstruction import PERIOD_US, reconstructed_frames, with_reconstructed_frames
from streams.types import Events, Frame, InputError, Losses, Resolution, events_from_columns


def at(*times_us: int) -> Events:
    return events_from_columns(np.array(times_us, np.int64), 1, 1, True)


@pytest.mark.parametrize(("raw", "before", "expected"), [
    ([250, 255, 0, 3], None, [250, 255, 256, 259]),
    ([1, 2], 255 + 256, [513, 514]),
    ([10, 5, 20], None, [10, 5, 20]),
    ([200, 10, 200, 10], None, [200, 266, 200, 266]),
    ([], 7, []),
])
def test_counters_go_on_where_they_wrap(raw: list[int], before: int | None, expected: list[int]) -> None:
    assert unwrapped(np.array(raw, np.uint8), 8, before).tolist() == expected


def test_held_values() -> None:
    known = np.array([False, True, False, True, False])
    assert held(np.arange(5), known, -1).tolist() == [-1, 1, 1, 3, 3]
    assert held(np.arange(5), known, -1, np.array([0, 4])).tolist() == [-1, 3]


@pytest.mark.parametrize(("times_us", "after_us", "expected", "n_clamped", "n_restarts"), [
    ([5, 4, 6], None, [5, 5, 6], 1, 0),
    ([1, 2], 3, [3, 3], 2, 0),
    # Too late to be moved: left to validation.
    ([50_000, 5, 50_001], None, [50_000, 5, 50_001], 0, 0),
    ([9_000_000, 10, 11], None, [9_000_000, 9_000_000, 9_000_001], 0, 1),
    ([10, 11], 9_000_000, [9_000_000, 9_000_001], 0, 1),
    # One wild time is no restart.
    ([10, 11, 9_000_000, 12, 13], None, [10, 11, 9_000_000, 12, 13], 0, 0),
    ([10, 11, 9_000_000_000, 9_000_000_001], None, [10, 11, 11, 12], 0, 1),
])
def test_restarts_are_joined_and_late_events_moved(times_us: list[int], after_us: int | None, expected: list[int],
                                                   n_clamped: int, n_restarts: int) -> None:
    losses = Losses()
    assert Clock(losses).straightened(at(*times_us), after_us)["t"].tolist() == expected
    assert (losses.n_clamped, losses.n_restarts) == (n_clamped, n_restarts)


@pytest.mark.parametrize(("sides", "expected"), [
    ((600, 476), (640, 480)), ((78, 42), (78, 42)), ((34, 34), (34, 34)), ((1280, 700), (1280, 720)),
    ((346, 250), (346, 260)),
])
def test_sensors_are_found_from_their_events(sides: tuple[int, int], expected: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    extent = Extent()
    extent.add_coordinates(*(np.append(rng.integers(0, side, 20_000), side - 1) for side in sides))
    extent.add_coordinates(np.array([60_000, 4000]), np.array([60_000, 4000]))
    assert extent.resolution() == Resolution(*expected)
    assert Extent().resolution() is None


@pytest.mark.parametrize(("name", "expected"), [
    ("t", ("t", None)), ("Timestamp [us]", ("t", 1.0)), ("time_ns", ("t", 1e-3)), ("t (s)", ("t", 1e6)),
    ('"x"', ("x", None)), ("y_coord", ("y", None)), ("polarity", ("p", None)), ("temperature", ("", None)),
    ("xs", ("x", None)),
])
def test_names_of_columns(name: str, expected: tuple[str, float | None]) -> None:
    assert column_of(name) == expected


@pytest.mark.parametrize("order", ["txyp", "xypt", "xytp", "tpxy"])
def test_columns_are_told_by_their_values(order: str) -> None:
    rng = np.random.default_rng(0)
    columns = {"t": np.sort(rng.integers(0, 10**6, 500)), "x": rng.integers(0, 346, 500),
               "y": rng.integers(0, 260, 500), "p": rng.integers(0, 2, 500)}
    rows = np.stack([columns[letter] for letter in order], 1).astype(float)
    assert sniffed(rows) == order
    with pytest.raises(InputError, match="name them"):
        sniffed(rows + 0.5)


@pytest.mark.parametrize("tick_us", [1e6, 1e3, 1.0, 1e-3])
def test_units_of_time_are_told_by_the_rate(tick_us: float) -> None:
    t_us = np.sort(np.random.default_rng(0).integers(0, 10**6, 20_000))
    assert tick_of(t_us / tick_us) == tick_us


def test_frames_between_packets_show_what_was_before() -> None:
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 400_000, 4000))
    events = events_from_columns(t, rng.integers(0, WIDTH, 4000), rng.integers(0, HEIGHT, 4000), rng.random(4000) < 0.5)
    size = Resolution(WIDTH, HEIGHT)
    times_us = np.append(np.arange(PERIOD_US, t[-1], PERIOD_US), t[-1] + 1)
    expected = reconstructed_frames(events, size, times_us)
    for cuts in ([], [10, 11, 2000], list(range(1, 4000, 7))):
        items = list(with_reconstructed_frames(np.split(events, cuts), size))
        frames = [item for item in items if isinstance(item, Frame)]
        assert [frame.t_us for frame in frames] == [*times_us[:-1], t[-1]]
        assert all(np.abs(a.image.astype(int) - b.image).max() <= 1 for a, b in zip(frames, expected, strict=True))
        begins = [item.t_us if isinstance(item, Frame) else item["t"][0] for item in items]
        assert begins == sorted(begins)


def test_silence_gets_one_frame_however_long_it_is() -> None:
    items = with_reconstructed_frames([at(10, 3_600_000_000, 7_200_000_000)], Resolution(4, 4))
    assert [item.t_us for item in items if isinstance(item, Frame)] == [50_000, 3_600_050_000, 7_200_000_000]
