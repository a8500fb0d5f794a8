"""Live sources that go and come back, and leaving them while they are away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice, takewhile

import pytest
from toy_sources import SENSOR, FeedSource, ListSource, events_at, imu_at, toy_info, triggers_at

from app import terminal
from app.answering import _awaited
from streams import reconnection
from streams.reconnection import Reconnecting, reconnecting
from streams.types import InputError, Losses, Packet, Resolution, Samples, SensorSink, Source, SourceInfo
from streams.windows import latest_windows

WAIT_S = 10.0


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnection, "RETRY_S", 0.0)
    monkeypatch.setattr(reconnection, "PULSE_S", 0.001)


def live(*times_us: int, size: Resolution = SENSOR) -> ListSource:
    return ListSource([events_at(list(times_us))], SourceInfo("toy", size, None, live=True))


def test_time_goes_on_through_a_gap_and_the_gap_is_marked() -> None:
    openings: list[Source | InputError] = [live(10, 20), InputError("not yet"), live(5, 6)]

    def opener(losses: Losses) -> Source:
        found = openings.pop(0)
        if isinstance(found, InputError):
            raise found
        return found

    source = Reconnecting(opener)
    packets = []
    for packet in source:
        if len(packet):
            packets.append(packet["t"].tolist())
        if len(packets) == 2:
            source.close()
    assert packets[0] == [10, 20]
    assert packets[1][0] > 20
    assert packets[1][1] == packets[1][0] + 1
    assert source.losses.n_gaps == 1
    assert source.losses.gaps == [(20, packets[1][0])]
    assert source.losses.outage is None
    (said,) = terminal.lost(source.losses)
    assert said.startswith("away and back once, ")


def test_samples_go_through_a_gap_as_events_do_and_what_cannot_be_placed_is_counted() -> None:
    class Sensing(ListSource):
        def __init__(self, sink: SensorSink | None, *script: Packet | Samples) -> None:
            super().__init__([], SourceInfo("toy", SENSOR, None, live=True, samples=("imu",)))
            self._sink, self._script = sink, script

        def __iter__(self) -> Iterator[Packet]:
            for each in self._script:
                if not isinstance(each, Samples):
                    yield each
                elif self._sink is not None:
                    self._sink(each)

    scripts = [(events_at([10, 20]), imu_at([15, 25])),
               (imu_at([3, 4, 5]), events_at([5, 6]), imu_at([6]), triggers_at([6]), events_at([7]))]
    heard = list[Samples]()
    source = reconnecting(lambda losses, sink: Sensing(sink, *scripts.pop(0)), 60, heard.append)
    packets = list(islice((packet for packet in source if len(packet)), 3))
    source.close()
    assert [samples.data["t"].tolist() for samples in heard] == [[15, 25], [int(packets[2]["t"][0]) - 1]]
    assert source.losses.n_others_dropped == 4


def test_leaving_does_not_wait_for_a_device_that_does_not_answer() -> None:
    answers, opening = threading.Event(), threading.Event()
    late = live(1)

    def opener(losses: Losses) -> Source:
        if opening.is_set():
            return live(1)
        opening.set()
        return live(0)

    def slow(losses: Losses) -> Source:
        if not opening.is_set():
            return opener(losses)
        entered.set()
        answers.wait(WAIT_S)
        return late

    entered = threading.Event()
    source = Reconnecting(slow)
    items = iter(source)
    for _ in takewhile(lambda _: not entered.is_set(), items):
        pass
    closer = threading.Thread(target=source.close)
    closer.start()
    closer.join(WAIT_S)
    assert not closer.is_alive()
    assert list(items) == []
    assert late.n_closed == 0
    answers.set()
    while not late.n_closed:  # what opened too late is closed by the thread that opened it
        threading.Event().wait(0.001)


def test_a_defect_while_it_is_opened_again_is_not_hidden() -> None:
    first = [live(0)]

    def opener(losses: Losses) -> Source:
        return first.pop()

    with pytest.raises(IndexError):
        list(Reconnecting(opener))


def test_another_camera_in_its_place_ends_it() -> None:
    openings = [live(0), live(1, size=Resolution(4, 4))]
    source = Reconnecting(lambda losses: openings.pop(0))
    assert sum(map(len, source)) == 1
    assert "came back with 4x4 pixels instead of 8x6" in str(source.losses.damage)


def test_giving_up_says_why() -> None:
    source = Reconnecting(lambda losses: live(0), give_up_s=0)
    assert sum(map(len, source)) == 1
    assert (source.losses.damage, source.losses.outage) == ("toy ended.", None)


def test_a_replay_says_that_its_camera_is_away_and_back(capsys: pytest.CaptureFixture[str],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.answering.TELL_S", 0.001)
    source = FeedSource(toy_info(live=True))
    late_s: list[float] = []
    windows = _awaited(latest_windows(source, 1000), source.losses, late_s)
    told = iter(["toy is away: waiting for it to come back.", None])
    said: list[str | None] = []

    def note(sentence: str, style: str) -> None:
        said.append(sentence)
        source.losses.outage = next(told, None)
        if len(said) == 2:
            source.losses.arrived_s = 0.0
            source.feed(events_at([0]), events_at([1000]))

    monkeypatch.setattr(terminal.people, "print", note)
    source.losses.outage = "toy has sent nothing for 5 s or more."
    assert next(windows).start_us == 0
    assert said[:2] == ["toy has sent nothing for 5 s or more.", "toy is away: waiting for it to come back."]
    assert len(late_s) == 1
    source.close()
