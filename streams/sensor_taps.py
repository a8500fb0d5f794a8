"""Samples of a source's IMU and triggers for whoever wants them later, and for as long as he does.

    sensors = SensorTaps()
    player = Player(open_leniently("dv://", sensors=sensors), sensors=sensors)
    release = player.sensors.tap(recording.put)

A source has to be told when it is opened who gets its Samples; who records them on the page comes and goes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from streams.types import Samples, SensorSink


class SensorTaps:
    """A SensorSink that passes everything on to those who are there now, in the thread that reads the source."""

    def __init__(self) -> None:
        self._taps: tuple[SensorSink, ...] = ()
        self._changing = threading.Lock()

    def __call__(self, samples: Samples) -> None:
        """Pass samples on."""
        for hear in self._taps:
            hear(samples)

    def tap(self, hear: SensorSink) -> Callable[[], None]:
        """Let hear(samples) have everything from now on; call what you get to end that. It must be quick and never
        raise, and may get one more batch while it is being released."""
        with self._changing:
            self._taps = (*self._taps, hear)

        def release() -> None:
            with self._changing:
                self._taps = tuple(other for other in self._taps if other is not hear)

        return release
