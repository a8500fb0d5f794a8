"""The event simulator: thresholds, order, dead time, noise rates, bad input."""

import numpy as np
import pytest

from streams.simulation import SHOT_NOISE_IN_LIGHT, EventSimulator, SimulatorParameters, log_response
from streams.types import Resolution

QUIET = SimulatorParameters(mismatch=0.0, leak_hz=0.0, shot_noise_hz=0.0, refractory_us=0)
SMALL = Resolution(32, 24)


def grey(level: int) -> np.ndarray:
    return np.full(SMALL.hw, level, np.uint8)


def run(simulator: EventSimulator, levels: list[int], dt_us: int = 10_000) -> list[np.ndarray]:
    return [simulator.step(grey(level), i * dt_us) for i, level in enumerate(levels)]


def test_the_first_picture_and_a_still_one_give_no_events() -> None:
    assert all(len(events) == 0 for events in run(EventSimulator(SMALL, QUIET), [100, 100, 100]))


@pytest.mark.parametrize(("levels", "on"), [([50, 150], True), ([150, 50], False)])
def test_each_pixel_fires_once_per_threshold(levels: list[int], on: bool) -> None:
    events = run(EventSimulator(SMALL, QUIET), levels)[1]
    crossings = abs(np.log(150 / 50)) / 0.2
    counts = np.bincount(events["y"].astype(int) * 32 + events["x"], minlength=32 * 24)
    assert np.all(events["p"] == on)
    # where a pixel starts between two thresholds is random: it loses half a crossing on average
    assert set(np.unique(counts)) == {4, 5}
    assert counts.mean() == pytest.approx(crossings - 0.5, abs=0.1)


def test_what_goes_up_comes_down() -> None:
    up, down = run(EventSimulator(SMALL, QUIET), [40, 160, 40])[1:]
    assert abs(len(up) - len(down)) <= SMALL.width * SMALL.height
    assert up["p"].all()
    assert not down["p"].any()


def test_events_are_sorted_and_inside_the_interval() -> None:
    simulator = EventSimulator(SMALL, SimulatorParameters(shot_noise_hz=50))
    rng = np.random.default_rng(0)
    for i in range(5):
        events = simulator.step(rng.integers(20, 200, SMALL.hw).astype(np.uint8), 1000 + i * 20_000)
        assert np.all(np.diff(events["t"]) >= 0)
        assert SMALL.contains(events)
        if len(events):
            assert events["t"].min() >= 1000 + (i - 1) * 20_000
            assert events["t"].max() <= 1000 + i * 20_000


def test_times_are_interpolated_between_pictures() -> None:
    events = run(EventSimulator(SMALL, QUIET), [50, 200], dt_us=70_000)[1]
    assert len(np.unique(events["t"])) > 100
    assert events["t"].min() < 15_000


def test_refractory_period_spaces_the_events_of_a_pixel() -> None:
    simulator = EventSimulator(SMALL, SimulatorParameters(0.05, 0.05, 0.0, 3000, 0.0, 0.0))
    events = np.concatenate(run(simulator, [20, 200, 20, 200]))
    order = np.lexsort((events["t"], events["y"].astype(int) * 32 + events["x"]))
    pixel = (events["y"].astype(int) * 32 + events["x"])[order]
    gap_us = np.diff(events["t"][order])[np.diff(pixel) == 0]
    assert gap_us.min() >= 3000
    assert gap_us.max() < 3600


def test_noise_rates() -> None:
    for grey, rate_hz in ((0, 20.0), (255, 20 * SHOT_NOISE_IN_LIGHT)):
        shot = EventSimulator(SMALL, SimulatorParameters(mismatch=0.0, leak_hz=0.0, shot_noise_hz=20.0), seed=1)
        count = sum(len(events) for events in run(shot, [grey] * 51, dt_us=20_000))
        assert count == pytest.approx(rate_hz * SMALL.width * SMALL.height, rel=0.05)
    leak = EventSimulator(SMALL, SimulatorParameters(mismatch=0.0, leak_hz=3.0, shot_noise_hz=0.0), seed=1)
    events = np.concatenate(run(leak, [100] * 101, dt_us=20_000))
    assert events["p"].all()
    assert len(events) == pytest.approx(2 * 3 * SMALL.width * SMALL.height, rel=0.1)


def test_same_seed_same_events_and_colour_equals_its_grey() -> None:
    pictures = np.random.default_rng(3).integers(0, 255, (3, *SMALL.hw), dtype=np.uint8)
    one, two, three = (EventSimulator(SMALL, seed=s) for s in (5, 5, 6))
    results = [np.concatenate([sim.step(p, i * 1000) for i, p in enumerate(pictures)]) for sim in (one, two, three)]
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    colour = EventSimulator(SMALL, seed=5)
    again = np.concatenate([colour.step(np.repeat(p[..., None], 3, -1), i * 1000) for i, p in enumerate(pictures)])
    assert np.array_equal(results[0], again)


def test_bad_input_is_refused() -> None:
    simulator = EventSimulator(SMALL)
    with pytest.raises(ValueError, match="expected a picture of 32x24, got 24x32"):
        simulator.step(np.zeros((32, 24), np.uint8), 0)
    simulator.step(grey(1), 5)
    with pytest.raises(ValueError, match="in order of time"):
        simulator.step(grey(1), 5)
    with pytest.raises(ValueError, match="thresholds"):
        SimulatorParameters(threshold_on=0.0)


def test_response_is_linear_in_the_dark_and_logarithmic_above() -> None:
    table = log_response(20.0)
    assert np.all(np.diff(table) > 0)
    assert table[10] == pytest.approx(np.log(20) / 2, rel=1e-5)
    assert table[200] - table[100] == pytest.approx(np.log(2), rel=1e-4)
