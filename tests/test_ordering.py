"""Event packets and frames of two connections in order of their begin, by a clock that only the tests move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from toy_sources import events_at, frame_at

from streams import ordering
from streams.ordering import LONGEST_LOOK_S, PATIENCE_S, InOrder
from streams.sources import open_source
from streams.timeline import begins_us
from streams.types import Frame, Packet

PACKETS = [events_at([t_us, t_us + 4_000]) for t_us in range(0, 400_000, 5_000)]
FRAMES = [frame_at(t_us + 3_000, 6_000) for t_us in range(0, 400_000, 40_000)]
SILENT_LOOKS = round(PATIENCE_S / LONGEST_LOOK_S) + 2


class Clock:
    """Seconds that pass by `step_s` at each look."""

    def __init__(self) -> None:
        self.now_s, self.step_s = 100.0, 0.0

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


def begins(items: Sequence[Packet]) -> list[int | None]:
    return [begins_us(item) for item in items]


def looked(order: InOrder, looks: int = 1) -> list[Packet]:
    return [item for _ in range(looks) for item in order.ready()]


@pytest.mark.parametrize("seed", range(20))
def test_whichever_connection_is_slower_everything_comes_in_order(seed: int) -> None:
    """Each stream arrives in its own order, one ahead of the other by as much as it likes."""
    rng = np.random.default_rng(seed)
    order, found = InOrder(with_frames=True, clock=Clock()), list[Packet]()
    waiting = [list(PACKETS), list(FRAMES)]
    while any(waiting):
        place = int(rng.random() < rng.choice([0.02, 0.5, 0.98]))
        if waiting[place]:
            order.add(waiting[place].pop(0))
        found += looked(order, int(rng.integers(0, 3)))
    found += order.rest()
    assert begins(found) == sorted(begins([*PACKETS, *FRAMES]))
    assert order.n_late == 0


def test_events_wait_for_no_frame_that_is_not_due() -> None:
    order = InOrder(with_frames=True, clock=Clock())
    for frame in FRAMES[:2]:  # 40 ms apart: the next one is due at 80 ms
        order.add(frame)
    for packet in PACKETS:
        order.add(packet)
    assert begins(looked(order))[-1] == 80_000
    order.add(FRAMES[2])
    assert begins(looked(order))[-1] == 120_000


def test_who_has_no_frames_waits_for_none() -> None:
    order = InOrder(with_frames=False, clock=Clock())
    for packet in PACKETS:
        order.add(packet)
        assert looked(order) == [packet]


@pytest.mark.parametrize("frames_are_silent", [False, True])
def test_a_silent_stream_is_waited_for_once_and_what_it_brings_late_is_counted(frames_are_silent: bool) -> None:
    speaking, silent = (PACKETS, FRAMES) if frames_are_silent else (FRAMES, PACKETS)
    clock = Clock()
    order = InOrder(with_frames=True, clock=clock)
    order.add(speaking[0])
    clock.step_s = LONGEST_LOOK_S
    assert looked(order, SILENT_LOOKS - 4) == []
    assert looked(order, 4) == [speaking[0]]
    clock.step_s = 0.0
    for item in speaking[1:6]:
        order.add(item)
        assert looked(order) == [item]
    assert order.n_late == 0
    order.add(silent[0])
    assert looked(order) == [silent[0]]
    assert order.n_late == int(begins_us(silent[0]) < begins_us(speaking[5]))  # type: ignore[operator]
    # It was heard: it is waited for again.
    order.add(speaking[-1])
    assert looked(order) == []


def test_a_stream_that_lags_by_more_than_can_be_waited_does_not_hold_up_the_other() -> None:
    order = InOrder(with_frames=True, clock=Clock())
    order.add(events_at([0]))
    order.no_more_frames()
    order.add(events_at([5_000_000]))
    assert len(looked(order)) == 2
    order.add(frame_at(10))
    order.add(events_at([5_010_000]))
    assert [isinstance(item, Frame) for item in looked(order)] == [True, False]
    assert order.n_late == 1
    # A little late is made good: the next one comes in order.
    order.add(frame_at(5_000_000))
    order.add(events_at([5_040_000]))
    order.add(frame_at(5_030_000))
    assert begins(looked(order)) == [5_000_000, 5_030_000, 5_040_000]
    assert order.n_late == 2


def test_a_process_that_stood_still_has_heard_no_silence() -> None:
    clock = Clock()
    order = InOrder(with_frames=True, clock=clock)
    order.add(FRAMES[2])
    clock.now_s += 60.0
    assert looked(order) == []
    for packet in PACKETS[:20]:
        order.add(packet)
    assert begins(looked(order))[-1] == begins_us(FRAMES[2])
    assert order.n_late == 0


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "MOST_BYTES", 10 * PACKETS[0].nbytes)
    order = InOrder(with_frames=True, clock=Clock())
    for packet in PACKETS[:40]:
        order.add(packet)
    assert len(looked(order)) == 30
    assert len(list(order.rest())) == 10


FAKE_SDK = """
import datetime, types
import numpy as np
from streams.types import EVENT_DTYPE

def picture(t_us):
    return types.SimpleNamespace(timestamp=t_us, exposure=datetime.timedelta(0), image=np.zeros((4, 5, 3), np.uint8))

def store(*times):
    events = np.zeros(len(times), EVENT_DTYPE)
    events["t"] = times
    return types.SimpleNamespace(isEmpty=lambda: False, numpy=lambda: events)

class NetworkReader:
    def __init__(self, address, port):
        self.kind = {1: "events", 2: "frames"}[port]
        # The frames are there at once, the events of their time some looks later.
        self.items = {"events": [None] * 20 + [store(100, 150), None, store(200), store(300)],
                      "frames": [picture(150), picture(250)]}[self.kind]
    def isRunning(self): return bool(self.items) or self.kind == "frames"
    def isEventStreamAvailable(self): return self.kind == "events"
    def isFrameStreamAvailable(self): return self.kind == "frames"
    def getStreamDefinition(self): return types.SimpleNamespace(getMetadataValue=lambda key: None)
    def getCameraName(self): return "FAKE_1"
    def getEventResolution(self): return (5, 4)
    def getFrameResolution(self): return (5, 4)
    def getNextEventBatch(self): return self.items.pop(0) if self.items else None
    def getNextFrame(self): return self.items.pop(0) if self.items else None

io = types.SimpleNamespace(NetworkReader=NetworkReader)
"""


def test_the_child_puts_two_connections_in_order(tmp_path, monkeypatch):
    (tmp_path / "dv_processing.py").write_text(FAKE_SDK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with open_source("tcp://127.0.0.1:1?frames=2", give_up_s=0) as source:
        items = [item for item in source if isinstance(item, Frame) or len(item)]
        assert begins(items) == [100, 150, 200, 250, 300]
        assert source.losses.n_late == 0
