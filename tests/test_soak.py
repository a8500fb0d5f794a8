"""A few seconds of tests/soak.py, by counts and not by the clock."""

from __future__ import annotations

import time

import soak
from soak import PACKET_EVENTS

from streams.types import Losses

N_PACKETS, LOST_PACKETS = 200, 50
DEADLINE_S = 60.0


def test_a_consumer_that_stands_still_loses_the_oldest_and_every_event_is_accounted_for() -> None:
    def pause(number: int, losses: Losses) -> bool:
        """Stand still after one window until much was dropped."""
        deadline_s = time.monotonic() + DEADLINE_S
        while number == 3 and losses.n_dropped < LOST_PACKETS * PACKET_EVENTS and time.monotonic() < deadline_s:
            time.sleep(0.001)
        return number == 3

    found = soak.soak(N_PACKETS, 0, pause)
    assert found.exact(), found
    assert found.produced == N_PACKETS * PACKET_EVENTS
    assert found.dropped >= LOST_PACKETS * PACKET_EVENTS
    assert (found.pauses, found.rejected) == (1, 0)


def test_a_consumer_that_keeps_up_loses_nothing() -> None:
    found = soak.soak(20, 1e6, lambda number, losses: False)
    assert found.exact()
    assert found.dropped == 0
    assert found.delivered == 20 * PACKET_EVENTS


def test_memory_that_grows_is_seen() -> None:
    assert soak.Soak(0, bytes=[100] * 50).spread() == 0
    assert soak.Soak(0, bytes=[10] * 5 + [100] * 44 + [900]).spread() == 0
    assert soak.Soak(0, bytes=list(range(100, 150))).spread() > soak.FLAT
