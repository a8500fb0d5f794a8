"""A child that speaks the protocol at the top of streams/isolation.py without any SDK, and misbehaves on demand.

    python tests/standin_child.py MODE

Written from the protocol alone (it imports nothing of ours), so that it proves the live-camera path without a camera.
"""

import json
import os
import signal
import sys
from multiprocessing import resource_tracker, shared_memory

import numpy as np

EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")], align=True)
IMU = np.dtype([("t", "<i8"), ("values", "<f4", 10)])
WIDTH, HEIGHT = 32, 24
EVENTS_PER_PACKET = 10
FLOOD_PACKETS = 2000
ALBUM_FRAMES = 400


def say(kind, /, **fields):
    sys.stdout.write(json.dumps({"type": kind, **fields}) + "\n")
    sys.stdout.flush()


def hear():
    line = sys.stdin.readline()
    if not line:
        sys.exit()
    return json.loads(line)


class Slots:
    def __init__(self, ring):
        # The parent owns the memory: this process's tracker must not unlink it a second time.
        resource_tracker.register = lambda name, rtype: None
        self.memory = shared_memory.SharedMemory(ring["shm"])
        self.slot_bytes = ring["slot_bytes"]
        self.free = list(range(ring["slots"]))

    def take(self):
        while not self.free:
            message = hear()
            if message["type"] == "free":
                self.free.append(message["slot"])
        return self.free.pop()

    def view(self, dtype, count, slot):
        return np.frombuffer(self.memory.buf, dtype, count, slot * self.slot_bytes)

    def send_events(self, t, x=0, y=0, p=True):
        slot = self.take()
        view = self.view(EVENT, len(t), slot)
        view["t"], view["x"], view["y"], view["p"] = t, x, y, p
        say("events", slot=slot, n=len(t))

    def send_frame(self, t_us):
        slot = self.take()
        self.view(np.uint8, WIDTH * HEIGHT * 3, slot)[:] = 7
        say("frame", slot=slot, t_us=t_us, exposure_us=10, height=HEIGHT, width=WIDTH)


    def send_imu(self, t):
        slot = self.take()
        view = self.view(IMU, len(t), slot)
        view["t"], view["values"] = t, 1.5
        say("samples", slot=slot, n=len(t), kind="imu")


def packet_times(number):
    return 1_000_000 + number * 100 + np.arange(EVENTS_PER_PACKET)


def camera(slots):
    """One packet, one frame, a moment without anything, five events and three others lost, one packet; unplugged."""
    slots.send_events(packet_times(0))
    slots.send_frame(1_000_050)
    say("heartbeat")
    say("dropped", n=5)
    say("dropped", n=2, kind="frames")
    say("dropped", n=1, kind="samples")
    say("late", n=2)
    slots.send_events(packet_times(1))


def flood(slots):
    """Faster than any consumer that waits until all is sent; packet number in x and y."""
    for number in range(FLOOD_PACKETS):
        slots.send_events(packet_times(number), number % WIDTH, number // WIDTH % HEIGHT)


def album(slots):
    """Frames alone, faster than any consumer that waits until all are sent."""
    slots.send_events(packet_times(0))
    for number in range(ALBUM_FRAMES):
        slots.send_frame(2_000_000 + number)


def wild(slots):
    """Damaged events of every kind among ten good ones."""
    slots.send_events(packet_times(0))
    slots.send_events([1_000_200, 1_000_100, 1_000_201], x=[0, 0, WIDTH])
    slots.send_events([1_000_300, 1 << 60, -(1 << 62)], y=[HEIGHT, 0, 0])


def few(slots):
    for number in range(3):
        slots.send_events(packet_times(number))


def main(mode):
    task = hear()
    if mode == "missing":
        say("error", kind="missing", message="dv-processing is not installed: run `pip install dv-processing`")
        return
    if mode == "babble":
        sys.stdout.write("Segmentation fault (core dumped)\n")
        return
    say("started")
    if task["task"] == "salvage":
        say("error", kind="refused", message="nothing to salvage")
        return
    if task["task"] == "discover":
        say("cameras", cameras=[{"model": "DAVIS", "serial": "00000391", "firmware": "1", "usb": "1:2"}])
        return
    if mode == "hang-open":
        signal.pause()
    size = [WIDTH, HEIGHT]
    origins = {"events_origin": "camera", "frames_origin": "camera"}
    say("open", sensor="STANDIN_1", event_resolution=size, frame_resolution=size, start_us=1, end_us=2, **origins,
        samples=["imu"] if task.get("sensors") else [])
    slots = Slots(hear())
    say("attached")
    hear()
    say("reading")
    if task.get("sensors"):
        slots.send_imu(packet_times(0))
    {"camera": camera, "flood": flood, "album": album, "wild": wild}.get(mode, few)(slots)
    if mode == "hang":
        signal.pause()
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "lie":
        say("events", slot=999_999, n=10)
        hear()
    say("error", kind="failed", message="the camera was disconnected")


if __name__ == "__main__":
    main(sys.argv[1])
