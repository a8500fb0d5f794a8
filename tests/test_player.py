"""The player against a fake clock: pacing, waiting, seeking, looping, live following, errors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from toy_sources import FeedSource, ListSource, events_at, frame_at, toy_info

from streams.player import Player
from streams.types import InputError, Packet, empty_packet

SECOND = 1_000_000
TICK = SECOND // 10


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def recording(seconds: float = 12, begin_us: int = 0, frames: bool = True, **info: int | None) -> ListSource:
    """Ten packets of ten events and, at their begin, one frame per 0.1 s."""
    items: list[Packet] = []
    for t_us in range(begin_us, begin_us + round(seconds * SECOND), TICK):
        items += [events_at(list(range(t_us, t_us + TICK, TICK // 10)))]
        items += [frame_at(t_us)] if frames else []
    stated = {"start_us": begin_us, "duration_us": round(seconds * SECOND)} | info
    return ListSource(items, toy_info(frames=frames, **stated))


def settled(player: Player) -> Player:
    """Wait until the reader has nothing to do."""
    assert player.wait_until(lambda state: player._seek_us is None
                             and not player._buffer.wants_more(state.position_us))
    return player


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened() -> Iterator[list[Player]]:
    players: list[Player] = []
    yield players
    for player in players:
        player.close()


@pytest.fixture
def player(clock: Clock, opened: list[Player]) -> Player:
    opened.append(Player(recording(), clock=clock).start())
    return settled(opened[0])


def test_a_file_begins_paused_at_its_start(player: Player, clock: Clock) -> None:
    clock.now_s += 5
    state = player.state()
    assert (state.position_us, state.start_us, state.duration_us) == (0, 0, 12 * SECOND)
    assert (state.playing, state.live, state.ended, state.loading) == (False, False, False, False)
    assert state.error is None


def test_position_follows_the_clock_times_speed(player: Player, clock: Clock) -> None:
    player.play()
    clock.now_s += 0.5
    assert player.state().position_us == SECOND // 2
    player.speed = 0.25
    clock.now_s += 1
    assert player.state().position_us == 3 * SECOND // 4
    player.speed = 2
    clock.now_s += 0.25
    assert player.state().position_us == 5 * SECOND // 4


def test_pause_holds_and_play_goes_on(player: Player, clock: Clock) -> None:
    player.play()
    clock.now_s += 0.3
    player.pause()
    clock.now_s += 60
    assert player.state().position_us == 3 * TICK
    assert not player.state().playing
    player.play()
    clock.now_s += 0.1
    assert player.state().position_us == 4 * TICK


def test_many_looks_do_not_slow_the_clock_down(player: Player, clock: Clock) -> None:
    player.speed = 0.03
    player.play()
    for _ in range(10_000):
        clock.now_s += 1e-4
        player.state()
    assert player.state().position_us == pytest.approx(30_000, abs=2)


def test_the_clock_waits_for_data_and_does_not_catch_up(clock: Clock, opened: list[Player]) -> None:
    source = FeedSource(toy_info(duration_us=10 * SECOND))
    opened.append(player := Player(source, clock=clock).start())
    assert player.state().loading
    source.feed(events_at([0, SECOND]))
    player.play()
    assert player.wait_until(lambda state: not state.loading)
    clock.now_s += 5
    assert player.state().position_us == SECOND - 1
    assert player.state().loading
    clock.now_s += 5
    source.feed(events_at([3 * SECOND]))
    with player._changed:
        assert player._changed.wait_for(lambda: player._buffer.last_us == 3 * SECOND, 5)
    assert player.state().position_us == SECOND - 1
    clock.now_s += 0.5
    assert player.state().position_us == 3 * SECOND // 2 - 1


def test_events_frames_and_windows_come_from_the_buffer(player: Player) -> None:
    np.testing.assert_array_equal(player.events(SECOND, SECOND + 2 * TICK)["t"],
                                  np.arange(SECOND, SECOND + 2 * TICK, TICK // 10))
    frame = player.frame_at(SECOND + TICK // 2)
    assert frame is not None
    assert frame.t_us == SECOND
    assert player.frame_at(-1) is None
    window = player.window(2 * SECOND, SECOND)
    assert (window.start_us, window.end_us) == (SECOND, 2 * SECOND)
    assert (len(window.events), len(window.frames)) == (100, 10)


def test_a_window_at_the_start_is_moved_into_the_recording(player: Player) -> None:
    window = player.window(0, SECOND)
    assert (window.start_us, window.end_us, len(window.events)) == (0, SECOND, 100)
    with pytest.raises(InputError, match="at least 1"):
        player.window(0, 0)


def test_reading_stays_just_ahead_and_memory_is_bounded(player: Player, clock: Clock) -> None:
    assert player.source.n_read <= 2 * 21 + 1
    player.play()
    for _ in range(20):
        clock.now_s += 0.5
        settled(player)
    assert player.state().position_us == pytest.approx(10 * SECOND, abs=10)
    assert len(player.events(0, 12 * SECOND)) <= 100 * (6 * 1.25 + 2.2)
    assert player.window(10 * SECOND, 6 * SECOND).start_us == 4 * SECOND
    assert len(player.events(4 * SECOND, 10 * SECOND)) == 600


def test_dense_data_shortens_the_history(clock: Clock, opened: list[Player]) -> None:
    limit = 16 * 250
    opened.append(player := Player(recording(frames=False), clock=clock, max_bytes=limit).start())
    player.play()
    for _ in range(16):
        clock.now_s += 0.5
        settled(player)
        assert player._buffer.timeline.n_bytes <= limit + 16 * 10
    assert player.state().position_us == pytest.approx(8 * SECOND, abs=SECOND)


def test_seek_reads_the_history_before_its_target(player: Player) -> None:
    player.seek(9 * SECOND)
    assert player.state().position_us == 9 * SECOND
    assert settled(player).source.seeks == [3 * SECOND]
    window = player.window(9 * SECOND, 6 * SECOND)
    assert (window.start_us, len(window.events), len(window.frames)) == (3 * SECOND, 600, 60)
    assert not player.state().loading


def test_seek_inside_the_buffer_does_not_read_again(player: Player) -> None:
    player.seek(SECOND)
    settled(player).seek(0)
    assert settled(player).source.seeks == []


def test_seek_keeps_playing_and_is_clamped(player: Player, clock: Clock) -> None:
    player.play()
    player.seek(5 * SECOND)
    settled(player)
    clock.now_s += 0.5
    assert player.state().position_us == 11 * SECOND // 2
    player.seek(-50)
    assert settled(player).state().position_us == 0
    player.pause()
    player.seek(500 * SECOND)
    state = settled(player).state()
    assert state.position_us == 12 * SECOND
    assert state.ended


def test_seeks_in_quick_succession_end_at_the_last(player: Player) -> None:
    for target_s in (11, 2, 9, 4, 10):
        player.seek(target_s * SECOND)
    settled(player)
    assert player.state().position_us == 10 * SECOND
    events = player.events(4 * SECOND, 10 * SECOND)
    assert len(events) == 600
    assert (np.diff(events["t"]) > 0).all()


def test_what_was_read_before_a_seek_is_not_mixed_in(clock: Clock, opened: list[Player]) -> None:
    class SlowFile(FeedSource):
        def seek(self, t_us: int) -> None:
            self.seeks.append(t_us)

    source = SlowFile(toy_info(duration_us=10 * SECOND))
    opened.append(player := Player(source, history_us=SECOND, clock=clock).start())
    assert player.wait_until(lambda _: source.n_asked == 1)
    player.seek(5 * SECOND)
    source.feed(events_at([0, 9 * SECOND]), events_at([4 * SECOND, 6 * SECOND]))
    assert player.wait_until(lambda state: not state.loading)
    assert source.seeks == [4 * SECOND]
    assert player.events(0, 10 * SECOND)["t"].tolist() == [4 * SECOND, 6 * SECOND]


def test_step_pauses_and_moves_both_ways(player: Player) -> None:
    player.play()
    player.step(TICK)
    player.step(TICK)
    assert player.state().position_us == 2 * TICK
    assert not player.state().playing
    player.step(-TICK)
    assert player.state().position_us == TICK


def test_at_the_end_playing_stops_and_play_begins_again(player: Player, clock: Clock) -> None:
    player.seek(11 * SECOND)
    settled(player).play()
    clock.now_s += 30
    state = player.state()
    assert (state.position_us, state.ended, state.playing) == (12 * SECOND, True, False)
    player.play()
    settled(player)
    clock.now_s += 0.5
    state = player.state()
    assert (state.position_us, state.ended, state.playing) == (SECOND // 2, False, True)


@pytest.mark.parametrize("seconds", [1, 12])
def test_loop_begins_again_at_the_end(seconds: int, clock: Clock, opened: list[Player]) -> None:
    opened.append(player := Player(recording(seconds), clock=clock, loop=True).start())
    player.seek(seconds * SECOND - TICK)
    settled(player).play()
    clock.now_s += 0.2
    assert player.state().position_us == 0
    settled(player)
    clock.now_s += 0.2
    assert player.state().position_us == 2 * TICK
    assert player.state().playing


def test_a_recording_of_unknown_span_learns_it(clock: Clock, opened: list[Player]) -> None:
    begin_us = 1_700_000_000 * SECOND
    source = recording(3, begin_us, start_us=None, duration_us=None)
    opened.append(player := Player(source, clock=clock).start())
    player.seek(begin_us + SECOND)
    state = settled(player).state()
    assert (state.start_us, state.position_us) == (begin_us, begin_us + SECOND)
    player.play()
    clock.now_s += 60
    assert player.wait_until(lambda state: not state.loading)
    clock.now_s += 60
    state = player.state()
    assert state.ended
    assert state.duration_us == 2_990_001
    assert state.position_us == begin_us + 2_990_001


def test_a_damaged_recording_ends_where_its_data_ends(clock: Clock, opened: list[Player]) -> None:
    source = recording(2, duration_us=10 * SECOND)
    source.losses.damage = "cut off."
    opened.append(player := Player(source, clock=clock).start())
    settled(player).seek(9 * SECOND)
    state = settled(player).state()
    assert (state.position_us, state.ended, state.damage) == (1_990_001, True, "cut off.")


@pytest.mark.parametrize(("failure", "sentence"), [
    (InputError("the cable fell out; plug it in."), "the cable fell out; plug it in."),
    (RuntimeError("bad block\nstack trace"), "reading toy stopped: bad block"),
    (KeyError(), "reading toy stopped: KeyError")])
def test_an_error_of_the_source_is_a_sentence(failure: Exception, sentence: str, clock: Clock,
                                              opened: list[Player]) -> None:
    source = ListSource([events_at([0, SECOND])], toy_info(duration_us=9 * SECOND), failure)
    opened.append(player := Player(source, clock=clock).start())
    player.play()
    assert player.wait_until(lambda state: state.error is not None)
    clock.now_s += 60
    state = player.state()
    assert (state.error, state.position_us, state.ended) == (sentence, SECOND + 1, True)


def test_an_empty_recording_ends_at_once(clock: Clock, opened: list[Player]) -> None:
    opened.append(player := Player(ListSource([], toy_info(start_us=None)), clock=clock, loop=True).start())
    player.play()
    assert player.wait_until(lambda state: state.ended)
    with pytest.raises(InputError, match="no data"):
        player.seek(5)
    with pytest.raises(InputError, match="no data"):
        player.window(5, 5)


def test_live_follows_the_newest_data(clock: Clock, opened: list[Player]) -> None:
    source = FeedSource()
    opened.append(player := Player(source, clock=clock).start())
    assert player.state().loading
    source.feed(events_at([5000]))
    assert player.wait_until(lambda state: state.position_us == 5000)
    source.feed(events_at([5100, 9000]))
    assert player.wait_until(lambda state: state.position_us == 9000)
    state = player.state()
    assert (state.live, state.playing, state.start_us, state.duration_us) == (True, True, 5000, None)
    window = player.window(10**9, 3000)
    assert (window.start_us, window.end_us, len(window.events)) == (6000, 9000, 0)
    assert len(player.window(9000, 10**9).events) == 2


def test_live_pause_freezes_while_the_source_is_drained(clock: Clock, opened: list[Player]) -> None:
    source = FeedSource()
    opened.append(player := Player(source, history_us=10_000, clock=clock).start())
    source.feed(events_at([0, 5000]))
    assert player.wait_until(lambda state: state.position_us == 5000)
    player.pause()
    source.feed(*(events_at([t_us]) for t_us in range(6000, 90_000, 1000)))
    assert player.wait_until(lambda _: source.n_read == 85)
    assert player.wait_until(lambda _: player._buffer.last_us == 89_000)
    assert player.state().position_us == 5000
    assert player.events(0, 100_000)["t"].tolist() == [0, 5000]
    assert len(player.window(5000, 5000).events) == 1
    player.play()
    assert player.state().position_us == 89_000
    assert player.events(0, 100_000)["t"][0] >= 89_000 - 12_500


def test_live_cannot_be_sought_or_sped_up(clock: Clock, opened: list[Player]) -> None:
    opened.append(player := Player(FeedSource(), clock=clock).start())
    for action in (lambda: player.seek(0), lambda: player.step(5), lambda: player.rate_histogram(5)):
        with pytest.raises(InputError, match="is live"):
            action()
    with pytest.raises(InputError, match="is live"):
        player.speed = 2


def test_live_that_ends_is_ended(clock: Clock, opened: list[Player]) -> None:
    source = FeedSource()
    opened.append(player := Player(source, clock=clock).start())
    source.feed(events_at([0, 70]))
    source.fail(InputError("camera unplugged; plug it in."))
    assert player.wait_until(lambda state: state.ended)
    assert player.state().error == "camera unplugged; plug it in."
    assert player.state().position_us == 70


def test_drops_are_shown_and_counted_in_windows(clock: Clock, opened: list[Player]) -> None:
    source = FeedSource()
    opened.append(player := Player(source, clock=clock).start())
    source.feed(events_at([0]))
    assert player.wait_until(lambda state: not state.loading)
    source.losses.n_dropped, source.losses.n_rejected = 40, 2
    source.feed(events_at([1500]), events_at([3000]))
    assert player.wait_until(lambda state: state.position_us == 3000)
    assert (player.state().n_dropped, player.state().n_rejected) == (40, 2)
    assert player.window(2000, 1000).n_dropped == 40
    assert player.window(1000, 1000).n_dropped == 0


def test_a_live_source_says_how_late_it_is_and_that_it_was_away(clock: Clock, opened: list[Player]) -> None:
    source = FeedSource()
    opened.append(player := Player(source, clock=clock).start())
    assert player.state().delay_s is None
    source.losses.arrived_s, source.losses.n_gaps = clock.now_s - 0.04, 2
    source.losses.outage = "toy is away: waiting for it to come back."
    source.feed(events_at([0]), empty_packet())
    assert player.wait_until(lambda state: state.position_us == 0 and not state.loading)
    state = player.state()
    assert state.delay_s == pytest.approx(0.04)
    assert (state.n_gaps, state.outage, state.arrived_s) == (2, source.losses.outage, source.losses.arrived_s)


def test_event_rate_is_that_of_the_last_200_ms(player: Player) -> None:
    assert player.state().event_rate_hz == 0
    player.seek(TICK)
    assert player.state().event_rate_hz == pytest.approx(100)
    player.seek(SECOND)
    assert player.state().event_rate_hz == pytest.approx(100)


@pytest.mark.parametrize("speed", [0, -1, 0.001, 9, float("nan")])
def test_speeds_out_of_range_are_refused(player: Player, speed: float) -> None:
    with pytest.raises(InputError, match=r"between 0\.01 and 8"):
        player.speed = speed
    assert player.speed == 1


def test_the_histogram_is_counted_once_and_playback_goes_on(player: Player, clock: Clock) -> None:
    assert player.rate_histogram(4).tolist() == [0, 1, 2, 3]
    assert player.rate_histogram(2).tolist() == [0, 1]
    player.play()
    clock.now_s += 1
    assert player.state().position_us == SECOND


def test_close_any_number_of_times_also_while_the_source_blocks(clock: Clock) -> None:
    source = FeedSource()
    player = Player(source, clock=clock).start()
    player.close()
    player.close()
    assert source.n_closed >= 1
    assert player._thread is not None
    assert not player._thread.is_alive()
    Player(unstarted := ListSource([])).close()
    assert unstarted.n_closed == 1


# A part that plays again and again


def test_a_part_plays_again_and_again_without_reading_again(player: Player, clock: Clock) -> None:
    player.loop_us = (SECOND, 2 * SECOND)
    player.seek(SECOND)
    player.play()
    clock.now_s += 0.6
    assert player.state().position_us == SECOND + 6 * TICK
    clock.now_s += 0.4
    assert player.state().position_us == SECOND
    assert player.state().playing
    for _ in range(3):
        clock.now_s += 0.7
        player.state()
    assert SECOND <= player.state().position_us < 2 * SECOND
    assert player.source.seeks == []


def test_a_part_at_the_end_begins_again_too(player: Player, clock: Clock) -> None:
    player.loop_us = (11 * SECOND, 12 * SECOND)
    player.seek(11 * SECOND)
    settled(player)
    player.play()
    clock.now_s += 1.2
    assert player.state().position_us == 11 * SECOND
    player.loop_us = None
    clock.now_s += 1.2
    assert player.state().ended


def test_a_part_needs_some_length(player: Player) -> None:
    with pytest.raises(InputError, match="lasts at least 10 ms, got 5 ms"):
        player.loop_us = (1000, 6000)
