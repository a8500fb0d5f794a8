"""Laws of the representations: conservation, no writing, edge cases, order of time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from toy_sources import SENSOR, events_at, random_events

from streams.representations import (
    LAST_OFF,
    LAST_ON,
    NO_EVENT,
    decayed_sum,
    event_counts,
    polarity_image,
    signed_sum,
    time_surface,
    voxel_grid,
)
from streams.types import Events, Resolution, empty_packet, events_from_columns

SPAN_US = 1000
PACKETS = {
    "many": random_events(5000, SPAN_US),
    "empty": empty_packet(),
    "single": events_at([300]),
    "equal times": events_at([500] * 40),
    "slice with stride": random_events(900, SPAN_US)[::3],
}
FUNCTIONS: dict[str, Callable[[Events, Resolution], np.ndarray]] = {
    "event_counts": event_counts,
    "signed_sum": signed_sum,
    "voxel_grid": lambda events, resolution: voxel_grid(events, resolution, 5, 0, SPAN_US),
    "time_surface": lambda events, resolution: time_surface(events, resolution, SPAN_US, 100.0),
    "decayed_sum": lambda events, resolution: decayed_sum(events, resolution, SPAN_US, 100.0),
    "polarity_image": polarity_image,
}


def slow_counts(events: Events) -> np.ndarray:
    counts = np.zeros((2, *SENSOR.hw), int)
    for event in events:
        counts[int(event["p"]), event["y"], event["x"]] += 1
    return counts


@pytest.mark.parametrize("events", PACKETS.values(), ids=PACKETS)
def test_counts_equal_counting_one_by_one(events: Events) -> None:
    counts = event_counts(events, SENSOR)
    assert counts.dtype == np.uint32
    assert counts.sum() == len(events)
    np.testing.assert_array_equal(counts, slow_counts(events))
    np.testing.assert_array_equal(signed_sum(events, SENSOR), counts[1].astype(int) - counts[0])


@pytest.mark.parametrize("bins", [1, 2, 5, 16])
@pytest.mark.parametrize("events", PACKETS.values(), ids=PACKETS)
def test_voxels_conserve_the_signed_sum_of_every_pixel(events: Events, bins: int) -> None:
    grid = voxel_grid(events, SENSOR, bins, 0, SPAN_US)
    assert grid.shape == (bins, *SENSOR.hw)
    assert grid.dtype == np.float32
    np.testing.assert_allclose(grid.sum(0), signed_sum(events, SENSOR), atol=1e-4)


def test_voxels_share_an_event_between_the_two_nearest_bins() -> None:
    event = events_from_columns(np.array([125]), np.array([2]), np.array([1]), np.array([False]))
    column = voxel_grid(event, SENSOR, 5, 0, 1000)[:, 1, 2]
    np.testing.assert_allclose(column, [-0.5, -0.5, 0, 0, 0])


def test_voxels_take_events_at_both_ends_of_the_span() -> None:
    events = events_at([0, 1000])
    grid = voxel_grid(events, SENSOR, 3, 0, 1000)
    assert grid[0, 0, 0] == 1
    assert grid[2, 1, 1] == -1


def test_voxels_of_a_span_without_length_fill_the_first_bin() -> None:
    grid = voxel_grid(events_at([7, 7, 7]), SENSOR, 4, 7, 7)
    assert np.abs(grid[0]).sum() == 3
    assert not grid[1:].any()


def test_voxels_survive_absolute_times() -> None:
    events = random_events(1000, SPAN_US)
    later = events.copy()
    later["t"] += 1_700_000_000_000_000
    offset = 1_700_000_000_000_000
    np.testing.assert_allclose(voxel_grid(later, SENSOR, 5, offset, offset + SPAN_US),
                               voxel_grid(events, SENSOR, 5, 0, SPAN_US), atol=1e-5)


@pytest.mark.parametrize(("bins", "start_us", "end_us"), [(0, 0, 1000), (5, 400, 1000), (5, 0, 200)])
def test_voxels_refuse_no_bins_and_events_outside_the_span(bins: int, start_us: int, end_us: int) -> None:
    with pytest.raises(ValueError, match=r"at least one bin|cut them first"):
        voxel_grid(events_at([300]), SENSOR, bins, start_us, end_us)


def test_time_surface_decays_from_the_newest_event_of_each_polarity() -> None:
    x, y = np.full(4, 3), np.full(4, 2)
    events = events_from_columns(np.array([0, 100, 200, 900]), x, y, np.array([True, True, False, True]))
    surface = time_surface(events, SENSOR, t_us=300, tau_us=100.0)
    assert surface[1, 2, 3] == pytest.approx(np.exp(-2))
    assert surface[0, 2, 3] == pytest.approx(np.exp(-1))
    assert np.count_nonzero(surface) == 2


def test_time_surface_counts_an_event_at_its_very_time() -> None:
    assert time_surface(events_at([300]), SENSOR, t_us=300, tau_us=100.0).max() == 1
    assert time_surface(events_at([300]), SENSOR, t_us=299, tau_us=100.0).max() == 0


def test_time_surface_needs_a_positive_decay_time() -> None:
    with pytest.raises(ValueError, match="positive"):
        time_surface(events_at([1]), SENSOR, 2, 0.0)


def test_polarity_image_shows_the_last_event() -> None:
    events = events_from_columns(np.array([1, 2, 3]), np.array([4, 4, 5]), np.array([1, 1, 1]),
                                 np.array([True, False, True]))
    image = polarity_image(events, SENSOR)
    assert image.dtype == np.uint8
    assert image[1, 4] == LAST_OFF
    assert image[1, 5] == LAST_ON
    assert np.count_nonzero(image != NO_EVENT) == 2


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("events", PACKETS.values(), ids=PACKETS)
def test_input_is_never_written(function: Callable[[Events, Resolution], np.ndarray], events: Events) -> None:
    guarded = events.copy()
    guarded.setflags(write=False)
    result = function(guarded, SENSOR)
    assert result.shape[-2:] == SENSOR.hw
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(guarded, events)


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize(("x", "y"), [(SENSOR.width, 0), (0, SENSOR.height), (65535, 65535)])
def test_events_outside_the_sensor_are_refused(function: Callable[[Events, Resolution], np.ndarray],
                                               x: int, y: int) -> None:
    event = events_from_columns(np.array([5]), np.array([x]), np.array([y]), np.array([True]))
    with pytest.raises(ValueError, match="outside 8x6"):
        function(event, SENSOR)


@pytest.mark.parametrize("events", PACKETS.values(), ids=PACKETS)
def test_a_sum_that_hardly_decays_is_the_signed_sum(events: Events) -> None:
    np.testing.assert_allclose(decayed_sum(events, SENSOR, SPAN_US, 1e12), signed_sum(events, SENSOR), atol=1e-4)


def test_a_decaying_sum_forgets_with_its_time_constant() -> None:
    events = events_from_columns(np.array([0, 100, 300]), np.array([1, 1, 1]), np.array([0, 0, 0]),
                                 np.array([True, False, True]))
    expected = np.exp(-2.0) - np.exp(-1.0)
    assert decayed_sum(events, SENSOR, 200, 100.0)[0, 1] == pytest.approx(expected)
    with pytest.raises(ValueError, match="decay time must be positive"):
        decayed_sum(events, SENSOR, 200, 0)
