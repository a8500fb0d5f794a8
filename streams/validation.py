"""Which events are credible: inside the sensor, sorted in time, without absurd jumps.

    validator = Validator(Resolution(346, 260), losses)
    packet = validator.events(raw)            # a sorted copy; losses.n_rejected counts what was refused

Damaged recordings decode to wild coordinates and times without any error; algorithms that trust them crash.
"""

from __future__ import annotations

import numpy as np

from streams.types import Events, Losses, Resolution, Samples, copied, empty_packet

ABSURD_JUMP_US = 3600 * 1_000_000
"""A step in time that no recording makes."""

POLARITY_OFFSET = 12
"""Byte of the polarity within an event."""


class Validator:
    """Lets the credible events of one stream through, packet after packet, and counts the others in `losses`.

    last_us: time of the newest event let through, None before the first.
    """

    def __init__(self, resolution: Resolution | None, losses: Losses, last_us: int | None = None) -> None:
        self.last_us = last_us
        self._resolution = resolution
        self._losses = losses

    def events(self, raw: np.ndarray) -> Events:
        """Return a copy [n] of what is credible in raw (EVENT_DTYPE, any content)."""
        if self._resolution is None or len(raw) == 0:
            self._losses.n_rejected += len(raw)
            return empty_packet()
        packet = copied(raw) if raw.flags.c_contiguous else raw.copy()
        # A byte that is neither 0 nor 1 would make a bool that is both.
        packet["p"] = packet.view(np.uint8).reshape(len(packet), -1)[:, POLARITY_OFFSET] != 0
        t = packet["t"]
        floor_us = int(t[0]) if self.last_us is None else self.last_us
        sound = floor_us <= t[0] and int(t[-1]) - floor_us <= ABSURD_JUMP_US and bool(np.all(t[1:] >= t[:-1]))
        if not (sound and self._resolution.contains(packet)):
            packet = self._credible(packet)
        if len(packet):
            self.last_us = int(packet["t"][-1])
        return packet

    def _credible(self, packet: Events) -> Events:
        total = len(packet)
        assert self._resolution is not None
        inside = (packet["x"] < self._resolution.width) & (packet["y"] < self._resolution.height)
        packet = packet[inside]
        t = packet["t"]
        if len(t):
            # The median is credible even when the very first time stamp is not.
            near_us = int(np.median(t)) if self.last_us is None else self.last_us
            # In float64: the difference of two damaged int64 times wraps.
            packet = packet[np.abs(t.astype(np.float64) - near_us) <= ABSURD_JUMP_US]
            packet = _sorted_part(packet, self.last_us)
        self._losses.n_rejected += total - len(packet)
        return packet

    def samples(self, raw: Samples) -> Samples:
        """What is credible in a batch of samples; one refused counts as one rejection."""
        t = raw.data["t"]
        if len(t) == 0:
            return raw
        near_us = float(np.median(t)) if self.last_us is None else self.last_us
        data = raw.data[np.abs(t.astype(np.float64) - near_us) <= ABSURD_JUMP_US]
        data = data[data["t"] >= np.maximum.accumulate(data["t"])]
        self._losses.n_rejected += len(t) - len(data)
        return Samples(raw.kind, data)

    def frame_time(self, t_us: int) -> bool:
        """Whether a frame's time is credible; a refused frame counts as one rejection."""
        credible = self.last_us is None or abs(t_us - self.last_us) <= ABSURD_JUMP_US
        self._losses.n_rejected += not credible
        return credible


def _sorted_part(packet: Events, floor_us: int | None) -> Events:
    """Drop stragglers or runaways, whichever are fewer: one wild time stamp must not cost its neighbours."""
    if floor_us is not None:
        packet = packet[packet["t"] >= floor_us]
    t = packet["t"]
    if len(t) == 0:
        return packet
    no_straggler = t >= np.maximum.accumulate(t)
    no_runaway = t <= np.minimum.accumulate(t[::-1])[::-1]
    return packet[max(no_straggler, no_runaway, key=np.count_nonzero)]
