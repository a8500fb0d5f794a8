"""Streams over UNIX sockets, as `parafovea serve --socket` and dv-processing publish them.

    with open_source("unix:///tmp/events.sock?frames=/tmp/frames.sock&imu=/tmp/imu.sock") as source: ...
"""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from streams.reconnection import GIVE_UP_S, Reconnecting, reconnecting
from streams.sources.tcp import ADVICE
from streams.supervised import SupervisedSource
from streams.types import InputError, Losses, SensorSink


def open_source(uri: str, give_up_s: float = GIVE_UP_S, sensors: SensorSink | None = None) -> Reconnecting:
    """Connect to "unix:///PATH", with ?frames=PATH&imu=PATH&triggers=PATH for more. Raises InputError when nobody
    serves there.

    give_up_s: how long to wait for a peer that went, 0 = not at all. sensors: gets IMU and triggers.
    """
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query))
    wanted = ("frames", "imu", "triggers") if sensors else ("frames",)
    task = {"task": "network", "events": [unquote(parts.path)],
            **{kind: [options[kind]] for kind in wanted if kind in options}}
    if parts.netloc or not parts.path or not options.keys() <= {"frames", "imu", "triggers"}:
        raise InputError(f"{uri} is no socket; write unix:///PATH or unix:///PATH?frames=PATH&imu=PATH&triggers=PATH")

    def connect(losses: Losses, sink: SensorSink | None) -> SupervisedSource:
        return SupervisedSource(task, uri, losses, advice=ADVICE, sensors=sink)

    return reconnecting(connect, give_up_s, sensors)
