"""The child's end of streams/isolation.py: pipes, shared slots, and serving a stream. Knows no SDK.

    parent = Parent()
    task = parent.receive()                                      # {"type":"task","task":"recording", ...}
    serve(parent, {"event_resolution": [346, 260], ...}, read)   # read(start_us, frames): packets and Frames
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker, shared_memory
from typing import Any

import numpy as np

from streams.types import EVENT_DTYPE, OPAQUE, Events, Frame, Samples

HEARTBEAT_S = 0.2
"""Longest silence while working; a tenth of the parent's patience."""
GIVE_UP_S = 30
"""The kernel ends this process when one call takes longer: nobody else could, were the parent gone."""
LARGEST_SIDE = 16384
"""Pixels; a sensor that claims more has a damaged header."""

Message = dict[str, Any]


class Restart(Exception):
    """The parent wants to read from start_us, with or without frames, samples of some kinds from elsewhere; not a
    failure."""

    def __init__(self, start_us: int | None, frames: bool, samples_us: dict[str, int | None]) -> None:
        super().__init__()
        self.start_us, self.frames, self.samples_us = start_us, frames, samples_us


class Refused(Exception):
    """The task cannot be done; kind as in the protocol."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Damaged(Exception):
    """Nothing more can be decoded; what came before is good."""


class Parent:
    """The child's end of the pipes and of the shared slots."""

    def __init__(self) -> None:
        # The SDK may print: what it prints must not end up between our messages.
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        self._inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.free: list[int] = []
        self._memory: shared_memory.SharedMemory | None = None
        self._slot_bytes = 0
        self._said_s = 0.0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            self._inbox.put(json.loads(line))
        self._inbox.put(None)

    def send(self, kind: str, /, **fields: object) -> None:
        """Send one message; a parent that is gone ends this process."""
        self._said_s = time.monotonic()
        try:
            self._out.write(json.dumps({"type": kind, **fields}) + "\n")
        except OSError:
            os._exit(0)

    def beat(self) -> None:
        """Say that we are alive, unless something was said just now."""
        _alarm(GIVE_UP_S)
        if time.monotonic() - self._said_s > HEARTBEAT_S:
            self.send("heartbeat")

    def receive(self, wait: bool = True) -> Message | None:
        """Return the next message; without wait None when there is none. Raises SystemExit without a parent."""
        # A paused replay may let us wait for hours.
        _alarm(0)
        with contextlib.suppress(queue.Empty):
            message = self._inbox.get(wait)
            _alarm(GIVE_UP_S)
            if message is None:
                raise SystemExit
            return message
        _alarm(GIVE_UP_S)
        return None

    def handle(self, message: Message) -> None:
        """Act on what any reading task may be told. Raises Restart for "read"."""
        if message["type"] == "free":
            self.free.append(message["slot"])
        elif message["type"] == "read":
            raise Restart(message["start_us"], message["frames"], message.get("samples_us", {}))
        elif message["type"] == "ring":
            # Python < 3.13 has no track=False: a tracker of ours would unlink the parent's memory once more.
            resource_tracker.register = lambda name, rtype: None
            self._memory = shared_memory.SharedMemory(message["shm"])
            self._slot_bytes, self.free = message["slot_bytes"], list(range(message["slots"]))
            self.send("attached")

    def await_read(self) -> Restart:
        """Wait until the parent says from where to read."""
        try:
            while message := self.receive():
                self.handle(message)
        except Restart as restart:
            return restart
        raise SystemExit

    def slot(self, wait: bool = True) -> int | None:
        """Return a free slot, without wait None when there is none. Raises Restart."""
        while message := self.receive(wait and not self.free):
            self.handle(message)
        # Last freed, first used: it is still in the processor's cache.
        return self.free.pop() if self.free else None

    def array(self, slot: int, dtype: np.dtype, count: int) -> np.ndarray:
        """View [count] of dtype on one slot."""
        assert self._memory is not None
        assert self._memory.buf is not None
        return np.frombuffer(self._memory.buf, dtype, count, slot * self._slot_bytes)

    def deliver(self, packet: Events | Frame | Samples, wait: bool = True) -> int:
        """Hand a packet, Frame or Samples over; return how many events, frames or samples found no slot (0 with wait).

        Raises Restart.
        """
        at_s = time.monotonic()
        if isinstance(packet, Frame):
            size = packet.image.size
            slot = self.slot(wait) if size <= self._slot_bytes else None
            if slot is not None:
                self.array(slot, np.dtype(np.uint8), size).reshape(packet.image.shape)[:] = packet.image
                height, width, _ = packet.image.shape
                times = {"t_us": packet.t_us, "exposure_us": packet.exposure_us, "at_s": at_s}
                self.send("frame", slot=slot, height=height, width=width, **times)
            return 0 if slot is not None else 1
        if isinstance(packet, Samples):
            return self._deliver_samples(packet, wait)
        room = self._slot_bytes // EVENT_DTYPE.itemsize
        for begin in range(0, len(packet), room):
            part = packet[begin : begin + room]
            slot = self.slot(wait)
            if slot is None:
                return len(packet) - begin
            # What SDKs and decoders hand over is contiguous: a copy would only be made of anything else.
            self.array(slot, OPAQUE, len(part))[:] = np.ascontiguousarray(part).view(OPAQUE)
            self.send("events", slot=slot, n=len(part), at_s=at_s)
        return 0

    def _deliver_samples(self, samples: Samples, wait: bool) -> int:
        room = self._slot_bytes // samples.data.itemsize
        for begin in range(0, len(samples.data), room):
            part = samples.data[begin:begin + room]
            slot = self.slot(wait)
            if slot is None:
                return len(samples.data) - begin
            self.array(slot, part.dtype, len(part))[:] = part
            self.send("samples", slot=slot, n=len(part), kind=samples.kind)
        return 0


def _alarm(seconds: int) -> None:
    """Re-arm the last resort: the default action of SIGALRM ends even a process stuck in foreign code."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


Read = Callable[[int | None, bool], Iterator[Events | Frame | Samples]]


def serve(parent: Parent, opened: Message, read: Read, live: bool = False) -> None:
    """Announce what was opened, then answer every "read"; a new one abandons the last. Raises Refused."""
    resolutions = [size for size in (opened["event_resolution"], opened["frame_resolution"]) if size]
    if not resolutions:
        raise Refused("empty", "it has neither an event stream nor a frame stream")
    if any(not 0 < side <= LARGEST_SIDE for size in resolutions for side in size):
        raise Refused("refused", "it claims an impossible resolution")
    parent.send("open", **opened)
    wanted = parent.await_read()
    while True:
        parent.send("reading")
        damaged = False
        try:
            try:
                for packet in _from(wanted, read(wanted.start_us, wanted.frames)):
                    parent.beat()
                    # A live parent frees slots by dropping its oldest: none is left only when it stands still.
                    if lost := parent.deliver(packet, wait=not live):
                        parent.send("dropped", n=lost, kind=_kind_of(packet))
            except Damaged:
                damaged = True
            parent.send("end", damaged=damaged)
            wanted = parent.await_read()
        except Restart as restart:
            wanted = restart


def _kind_of(packet: Events | Frame | Samples) -> str:
    return "frames" if isinstance(packet, Frame) else "samples" if isinstance(packet, Samples) else "events"


def _from(wanted: Restart, packets: Iterator[Events | Frame | Samples]) -> Iterator[Events | Frame | Samples]:
    """Leave out what lies before the wanted times, also inside a packet."""
    for packet in packets:
        kind = packet.kind if isinstance(packet, Samples) else ""
        start_us = wanted.samples_us.get(kind, wanted.start_us)
        if start_us is None or (isinstance(packet, Frame) and packet.t_us >= start_us):
            yield packet
        elif isinstance(packet, Samples):
            yield Samples(packet.kind, packet.data[packet.data["t"] >= start_us])
        elif not isinstance(packet, Frame):
            yield packet[np.searchsorted(packet["t"], start_us) :]
