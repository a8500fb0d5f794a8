"""Laws of the representations: conservation, no writing, edge cases, order of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from toy_sources import SENSOR, events_at, random_events

from pipeline import native
from pipeline import representations as tensors
from streams.reconstruction import reconstructed_frames
from streams.representations import (
    CONFLICTS,
    NO_EVENT,
    OFF,
    ON,
    decayed_sum,
    event_counts,
    polarity_image,
    signed_sum,
    space_time_points,
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
LATER = random_events(3000, SPAN_US, seed=3)
LATER["t"] += 1_700_000_000_000_000


@pytest.fixture(params=[False, True], ids=["", "compiled"])
def compiled(request: pytest.FixtureRequest) -> Iterator[bool]:
    if native.switch(request.param) != request.param:
        pytest.skip("no C compiler")
    yield request.param
    native.switch(False)


FUNCTIONS: dict[str, Callable[[Events, Resolution], np.ndarray]] = {
    "event_counts": event_counts,
    "signed_sum": signed_sum,
    "voxel_grid": lambda events, resolution: voxel_grid(events, resolution, 5, 0, SPAN_US),
    "time_surface": lambda events, resolution: time_surface(events, resolution, SPAN_US, 100.0),
    "decayed_sum": lambda events, resolution: decayed_sum(events, resolution, SPAN_US, 100.0),
    "polarity_image": polarity_image,
    "ON wins": lambda events, resolution: polarity_image(events, resolution, "positive"),
    "OFF wins": lambda events, resolution: polarity_image(events, resolution, "negative"),
}
TENSOR_FUNCTIONS: dict[str, Callable[[torch.Tensor, Resolution], torch.Tensor]] = {
    "event_counts": tensors.event_counts,
    "signed_sum": tensors.signed_sum,
    "voxel_grid": lambda events, resolution: tensors.voxel_grid(events, resolution, 5, 0, SPAN_US),
    "time_surface": lambda events, resolution: tensors.time_surface(events, resolution, SPAN_US, 100.0),
    "decayed_sum": lambda events, resolution: tensors.decayed_sum(events, resolution, SPAN_US, 100.0),
    "polarity_image": tensors.polarity_image,
    "ON wins": lambda events, resolution: tensors.polarity_image(events, resolution, "positive"),
    "OFF wins": lambda events, resolution: tensors.polarity_image(events, resolution, "negative"),
}
CLOSE = ("time_surface", "decayed_sum")
"""Exponentials of numpy and torch may differ in the last bit."""


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
    assert image[1, 4] == OFF
    assert image[1, 5] == ON
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


def drawn_one_by_one(events: Events, conflict: str) -> np.ndarray:
    """The definition of polarity_image, event by event."""
    image = np.zeros(SENSOR.hw, np.uint8)
    for event in events:
        value, x, y = ON if event["p"] else OFF, event["x"], event["y"]
        stays = {"last": False, "positive": image[y, x] == ON, "negative": image[y, x] == OFF}[conflict]
        image[y, x] = image[y, x] if stays else value
    return image


@pytest.mark.parametrize("conflict", CONFLICTS)
@pytest.mark.parametrize("events", [*PACKETS.values(), random_events(60, SPAN_US, seed=7)], ids=[*PACKETS, "few"])
def test_each_conflict_rule_draws_what_it_says(events: Events, conflict: str) -> None:
    np.testing.assert_array_equal(polarity_image(events, SENSOR, conflict), drawn_one_by_one(events, conflict))


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("events", [*PACKETS.values(), random_events(70, SPAN_US, seed=5)], ids=[*PACKETS, "few"])
def test_tensors_give_the_same(name: str, events: Events) -> None:
    guarded = events.copy()
    guarded.setflags(write=False)
    expected, got = FUNCTIONS[name](events, SENSOR), TENSOR_FUNCTIONS[name](tensors.event_tensor(guarded), SENSOR)
    assert got.shape == expected.shape
    if name in CLOSE:
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6)
    else:
        np.testing.assert_array_equal(got.numpy(), expected)
    np.testing.assert_array_equal(guarded, events)


@pytest.mark.usefixtures("compiled")
def test_large_packets_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    events = random_events(1000, SPAN_US)
    whole = [polarity_image(events, SENSOR, conflict) for conflict in CONFLICTS]
    monkeypatch.setattr("streams.representations.PART", 7)
    monkeypatch.setattr(tensors, "PART", 9)
    for conflict, image in zip(CONFLICTS, whole, strict=True):
        np.testing.assert_array_equal(polarity_image(events, SENSOR, conflict), image)
        np.testing.assert_array_equal(tensors.polarity_image(tensors.event_tensor(events), SENSOR, conflict), image)


def test_tensors_take_absolute_times() -> None:
    begin_us, events = 1_700_000_000_000_000, tensors.event_tensor(LATER)
    np.testing.assert_array_equal(tensors.times_us(events), LATER["t"])
    np.testing.assert_array_equal(tensors.voxel_grid(events, SENSOR, 4, begin_us, begin_us + SPAN_US),
                                  voxel_grid(LATER, SENSOR, 4, begin_us, begin_us + SPAN_US))
    np.testing.assert_allclose(tensors.time_surface(events, SENSOR, begin_us + 500, 100.0),
                               time_surface(LATER, SENSOR, begin_us + 500, 100.0), rtol=1e-6)


@pytest.mark.parametrize("events", PACKETS.values(), ids=PACKETS)
def test_reconstructed_intensity_is_that_of_the_frames(events: Events) -> None:
    times_us = [0, 250, 500, 1000, 400_000]
    frames = reconstructed_frames(events, SENSOR, np.array(times_us))
    pictures = tensors.reconstructed_intensity(tensors.event_tensor(events), SENSOR, times_us)
    np.testing.assert_array_equal(pictures, np.stack([frame.image[..., 0] for frame in frames]))


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(("x", "y"), [(SENSOR.width, 0), (0, SENSOR.height), (65535, 65535)])
@pytest.mark.parametrize("n_before", [0, 300])
@pytest.mark.parametrize("name", TENSOR_FUNCTIONS)
def test_tensors_outside_the_sensor_are_refused(name: str, n_before: int, x: int, y: int) -> None:
    event = events_from_columns(np.array([5]), np.array([x]), np.array([y]), np.array([True]))
    events = np.concatenate([events_from_columns(*np.zeros((3, n_before), int), np.ones(n_before, bool)), event])
    with pytest.raises(ValueError, match=f"x={x}, y={y}, which is outside 8x6"):
        TENSOR_FUNCTIONS[name](tensors.event_tensor(events), SENSOR)


def test_what_numpy_refuses_tensors_refuse() -> None:
    event = tensors.event_tensor(events_at([300]))
    for refused in (lambda: tensors.voxel_grid(event, SENSOR, 0, 0, 1000),
                    lambda: tensors.voxel_grid(event, SENSOR, 3, 0, 200),
                    lambda: tensors.time_surface(event, SENSOR, 500, 0.0),
                    lambda: tensors.decayed_sum(event, SENSOR, 500, 0.0),
                    lambda: tensors.space_time_points(event, SENSOR, 5, 5)):
        with pytest.raises(ValueError, match=r"at least one bin|cut them first|positive|span of time"):
            refused()


@pytest.mark.parametrize("events", PACKETS.values(), ids=PACKETS)
@pytest.mark.parametrize("most", [1, 10, 100_000])
def test_points_lie_in_the_span_and_keep_polarity(events: Events, most: int) -> None:
    points, on = space_time_points(events, SENSOR, 200, 800, most)
    inside = events[(events["t"] >= 200) & (events["t"] < 800)]
    assert points.dtype == np.float32
    assert len(points) == len(on) <= most
    assert len(points) > 0 or not len(inside)
    np.testing.assert_array_equal(*((part.numpy() if isinstance(part, torch.Tensor) else part) for part in (
        tensors.space_time_points(tensors.event_tensor(events), SENSOR, 200, 800, most)[0], points)))
    assert ((points >= 0) & (points <= 1)).all()
    if most > len(inside):
        np.testing.assert_array_equal(on, inside["p"])
        np.testing.assert_allclose(points[:, 0] * SENSOR.width - 0.5, inside["x"], atol=1e-5)
        np.testing.assert_allclose(points[:, 1] * SENSOR.width - 0.5, inside["y"], atol=1e-5)
        np.testing.assert_allclose(200 + 600 * points[:, 2], inside["t"], atol=1e-3)


def test_points_need_a_span_and_room() -> None:
    for span in ((5, 5, 10), (0, 5, 0)):
        with pytest.raises(ValueError, match="a span of time"):
            space_time_points(events_at([1]), SENSOR, *span)
