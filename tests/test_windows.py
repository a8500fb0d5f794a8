"""Laws of the windows: independent of packetisation, half-open, complete, bounded, counted."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from toy_sources import (
    SENSOR,
    TIME_PASSED,
    FeedSource,
    ListSource,
    cut,
    events_at,
    frame_at,
    random_events,
    toy_info,
)

from streams.types import InputError, Packet, Window
from streams.windows import LatestWindows, WindowAssembler, clamped_span, latest_windows, window_at, windows

SPAN_US = 10_000
SECOND = 1_000_000
EVENTS = random_events(2000, SPAN_US)
FRAMES = [frame_at(t_us, exposure_us=700) for t_us in range(400, SPAN_US, 900)]


def content(window: Window) -> tuple[int, int, list[int], list[tuple[int, ...]]]:
    return (window.start_us, window.end_us, [frame.t_us for frame in window.frames],
            [tuple(event) for event in window.events.tolist()])


def expected(length_us: int, stride_us: int) -> list[tuple[int, int, list[int], list[tuple[int, ...]]]]:
    """Windows by definition, straight from the whole recording."""
    last_us = max(int(EVENTS["t"][-1]), FRAMES[-1].t_us)
    result, start_us, covered_us = [], 0, 0
    while True:
        end_us = start_us + length_us
        fresh = [t for t in (*EVENTS["t"].tolist(), *(frame.t_us for frame in FRAMES))
                 if max(start_us, covered_us) <= t < end_us]
        if end_us > last_us and not fresh:
            return result
        inside = EVENTS[(EVENTS["t"] >= start_us) & (EVENTS["t"] < end_us)]
        result.append((start_us, end_us, [f.t_us for f in FRAMES if start_us <= f.t_us < end_us],
                       [tuple(event) for event in inside.tolist()]))
        if end_us > last_us:
            return result
        start_us, covered_us = start_us + stride_us, end_us


@pytest.mark.parametrize(("length_us", "stride_us"),
                         [(1000, 1000), (1000, 300), (700, 1100), (333, 7), (20_000, 5_000), (1, 997)])
def test_windows_do_not_depend_on_packets(length_us: int, stride_us: int) -> None:
    rng = np.random.default_rng(length_us)
    wanted = expected(length_us, stride_us)
    for n_cuts in (0, 1, 5, 60, 1500):
        cuts = rng.integers(0, len(EVENTS), n_cuts).tolist()
        source = ListSource(cut(EVENTS, FRAMES, cuts))
        assert [content(window) for window in windows(source, length_us, stride_us)] == wanted


def test_windows_are_half_open() -> None:
    first, second = windows(ListSource([events_at([0, 999, 1000, 1999])]), 1000)
    assert first.events["t"].tolist() == [0, 999]
    assert second.events["t"].tolist() == [1000, 1999]


def test_a_window_comes_as_soon_as_its_end_is_reached() -> None:
    assembler = WindowAssembler(toy_info(), 1000, 1000)
    assert assembler.push(events_at([0, 999])) == []
    assert [window.end_us for window in assembler.push(events_at([1000]))] == [1000]


def test_with_frames_a_window_waits_for_a_frame_inside_a_packet_already_seen() -> None:
    items: list[Packet] = [events_at([0, 1500]), frame_at(800), events_at([1600])]
    first, second = windows(ListSource(items), 1000)
    assert [frame.t_us for frame in first.frames] == [800]
    assert second.frames == []


def test_live_windows_wait_for_the_readout_of_a_frame() -> None:
    assembler = WindowAssembler(toy_info(frames=True, live=True), SECOND, SECOND)
    assert assembler.push(events_at([0])) == []
    assert assembler.push(events_at([SECOND + 1])) == []
    assert assembler.push(frame_at(SECOND - 20_000, exposure_us=10_000)) == []
    (window,) = assembler.push(events_at([SECOND + 50_000]))
    assert [frame.t_us for frame in window.frames] == [SECOND - 20_000]


def test_quiet_windows_are_emitted() -> None:
    counts = [len(window.events) for window in windows(ListSource([events_at([100]), events_at([5100])]), 1000)]
    assert counts == [1, 0, 0, 0, 0, 1]


def test_a_short_recording_gives_exactly_one_window() -> None:
    (window,) = windows(ListSource([events_at([5, 170_000])]), 1_000_000, 500_000)
    assert (window.start_us, window.end_us, len(window.events)) == (0, 1_000_000, 2)


def test_empty_sources_and_empty_packets_give_no_window() -> None:
    assert list(windows(ListSource([]), 1000)) == []
    assert list(windows(ListSource([TIME_PASSED, TIME_PASSED]), 1000)) == []


def test_a_last_window_never_repeats_what_was_emitted() -> None:
    assert len(list(windows(ListSource([events_at([0, 999, 1000])]), 1000, 500))) == 2
    assert len(list(windows(ListSource([events_at([0, 1500])]), 1000, 2000))) == 1


def test_the_grid_begins_with_the_recording_or_the_first_item() -> None:
    items: list[Packet] = [events_at([1250, 1300])]
    known = next(windows(ListSource(items, toy_info(start_us=1000)), 500))
    unknown = next(windows(ListSource(items, toy_info(start_us=None)), 500))
    assert (known.start_us, known.clock_start_us) == (1000, 1000)
    assert (unknown.start_us, unknown.clock_start_us) == (1250, 1250)


def test_frames_alone_give_their_resolution() -> None:
    info = toy_info(frames=True)
    bare = type(info)("frames", None, None, events_origin=None, frames_origin="video")
    (window,) = windows(ListSource([frame_at(0), frame_at(400)], bare), 1000)
    assert window.resolution == SENSOR
    assert (window.events_origin, window.frames_origin) == (None, "video")
    assert len(window.frames) == 2


def test_memory_is_bounded() -> None:
    assembler = WindowAssembler(toy_info(), 1000, 400)
    largest = 0
    for start_us in range(0, 200_000, 100):
        assembler.push(events_at([start_us + i for i in range(50)]))
        largest = max(largest, assembler._timeline.n_bytes)
    assert largest <= 16 * 50 * 16


def test_dropped_events_belong_to_the_window_in_which_the_counter_grew() -> None:
    class Lossy(ListSource):
        def __iter__(self):
            for item in super().__iter__():
                self.losses.n_dropped += 7 if item["t"][0] in (1500, 2500) else 0
                yield item

    source = Lossy([events_at([t_us]) for t_us in range(0, 4000, 500)])
    assert [window.n_dropped for window in windows(source, 1000)] == [0, 7, 7, 0]


def test_an_absurd_jump_in_time_is_an_error_and_not_an_endless_loop() -> None:
    with pytest.raises(InputError, match="jumps to"):
        list(windows(ListSource([events_at([0]), events_at([2**60])]), 1000))


@pytest.mark.parametrize(("length_us", "stride_us"), [(0, 1), (-5, 1), (1, 0)])
def test_lengths_below_a_microsecond_are_refused_at_once(length_us: int, stride_us: int) -> None:
    with pytest.raises(InputError, match="at least 1"):
        windows(ListSource([]), length_us, stride_us)


@pytest.mark.parametrize(("end_us", "start_us"), [(6000, 4000), (2000, 0), (500, 0), (99_000, 8_000)])
@pytest.mark.parametrize("duration_us", [9_999, None])
def test_window_at_lies_inside_the_recording(end_us: int, start_us: int, duration_us: int | None) -> None:
    events = events_at(list(range(0, 10_000, 9)))
    source = ListSource(cut(events, [], [100, 300, 800]), toy_info(duration_us=duration_us))
    window = window_at(source, end_us, 2000)
    assert (window.start_us, window.end_us) == (start_us, start_us + 2000)
    inside = (events["t"] >= start_us) & (events["t"] < start_us + 2000)
    np.testing.assert_array_equal(window.events, events[inside])
    assert source.seeks == ([] if duration_us is None else [start_us])


def test_window_at_is_shortened_to_a_short_recording() -> None:
    window = window_at(ListSource([events_at([3, 170])], toy_info(duration_us=170)), 1000, 1000)
    assert (window.start_us, window.end_us, len(window.events)) == (0, 171, 2)


def test_window_at_does_not_read_beyond_its_end() -> None:
    source = ListSource([events_at([t_us]) for t_us in range(0, 10_000, 100)], toy_info(duration_us=10_000))
    window_at(source, 3000, 1000)
    assert source.n_read == 31


def test_window_at_without_data_is_an_error() -> None:
    with pytest.raises(InputError, match="no data"):
        window_at(ListSource([]), 1000, 1000)
    damaged = ListSource([events_at([1])], toy_info(duration_us=9_999))
    damaged.losses.damage = "cut off."
    with pytest.raises(InputError, match="nothing is readable at 9000"):
        window_at(damaged, 9000, 1000)


def test_clamped_spans_are_never_empty() -> None:
    for end_us in range(-5, 30):
        for stop_us in range(12):
            start, end = clamped_span(end_us, 4, 3, stop_us)
            assert 3 <= start < end <= max(stop_us, 4)


def test_latest_windows_gives_the_newest_and_counts_the_skipped() -> None:
    source = FeedSource(toy_info(live=True))
    source.feed(*(events_at([t_us]) for t_us in (0, 1000, 2000, 3000)))
    source.end()
    latest = latest_windows(source, 1000)
    with latest._changed:
        assert latest._changed.wait_for(lambda: latest._done, 5)
    seen = list(latest)
    assert [window.start_us for window in seen] == [3000]
    assert latest.n_skipped == 3


def test_latest_windows_misses_nothing_when_the_consumer_is_fast() -> None:
    source = FeedSource(toy_info(live=True))
    latest = latest_windows(source, 1000)
    for t_us in range(0, 5000, 1000):
        source.feed(events_at([t_us]), events_at([t_us + 1000]))
        assert next(latest).start_us == t_us
    assert latest.n_skipped == 0
    latest.close()
    assert list(latest) == []
    source.close()


def test_latest_windows_hands_over_the_error_of_the_source() -> None:
    source = FeedSource(toy_info(live=True))
    source.fail(InputError("camera unplugged."))
    with pytest.raises(InputError, match="unplugged"):
        next(latest_windows(source, 1000))


def test_latest_windows_ends_its_thread_with_the_source() -> None:
    source = FeedSource(toy_info(live=True))
    latest = latest_windows(source, 1000)
    source.close()
    assert list(latest) == []
    for thread in threading.enumerate():
        if thread.name == "latest-windows":
            thread.join(5)
            assert not thread.is_alive()


def test_latest_windows_says_how_late_a_window_was_taken() -> None:
    source = FeedSource(toy_info(live=True))
    latest = LatestWindows(source, 1000, clock=lambda: 12.5)
    source.losses.arrived_s = 12.25
    source.feed(events_at([0]), events_at([1000]))
    assert latest.within(None).start_us == 0  # type: ignore[union-attr]
    assert latest.delay_s == 0.25
    assert latest.within(0.0) is None
    source.close()
