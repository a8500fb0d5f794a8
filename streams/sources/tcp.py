"""Streams over TCP, as `parafovea serve`, dv-processing and DV publish them: each on a port of its own.

    with open_source("tcp://192.168.1.5:7777") as source: ...              # events; frames if port 7778 has some
    with open_source("tcp://192.168.1.5:7777?frames=9000") as source: ...  # frames on port 9000; frames=none: without
    open_source("tcp://192.168.1.5:7777", sensors=hear)                    # and IMU and triggers, from 7779 and 7780

A peer that goes is waited for, and the gap is marked (streams/reconnection.py). What a reader that is too slow does not
get, `parafovea serve` counts.
"""

from __future__ import annotations

import contextlib
import socket
from urllib.parse import parse_qsl, urlsplit

from streams.aedat4 import kind_served
from streams.reconnection import GIVE_UP_S, Reconnecting, reconnecting
from streams.supervised import SupervisedSource
from streams.types import InputError, Losses, SensorSink

PROBE_S = 0.5
MOST_HEADER_BYTES = 1 << 16
NEXT_PORTS = {"frames": 1, "imu": 2, "triggers": 3}
"""Where streams are looked for when nothing is said: so much above the port of the events."""
ADVICE = "check that the program on the other side runs and serves this stream"


def open_source(uri: str, give_up_s: float = GIVE_UP_S, sensors: SensorSink | None = None) -> Reconnecting:
    """Connect to "tcp://HOST:PORT", with ?frames=PORT&imu=PORT&triggers=PORT (or none) where they are not on the next
    three ports. Raises InputError when nobody serves there.

    give_up_s: how long to wait for a peer that went, 0 = not at all. sensors: gets IMU and triggers.
    """
    host, port, said = _parsed(uri)

    def connect(losses: Losses, sink: SensorSink | None) -> SupervisedSource:
        try:
            # dv-processing resolves no names.
            address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
        except OSError as error:
            raise InputError(f"{host} cannot be found ({error.strerror}); check the name or give its number") from None
        task: dict[str, object] = {"task": "network", "events": [address, port]}
        for kind in NEXT_PORTS if sink else ("frames",):
            place = said.get(kind, port + NEXT_PORTS[kind])
            if place and (kind in said or _serves(kind, address, place)):
                task[kind] = [address, place]
        return SupervisedSource(task, uri, losses, advice=ADVICE, sensors=sink)

    return reconnecting(connect, give_up_s, sensors)


def _parsed(uri: str) -> tuple[str, int, dict[str, int]]:
    """Host, port of the events, and ports of others that are said, 0 = none. Raises InputError."""
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    try:
        host, port = parts.hostname, parts.port
        said = {kind: 0 if place == "none" else int(place) for kind, place in options.items()}
    except ValueError:
        host, port, said = None, None, {}
    wrong = [kind for kind, place in said.items()
             if kind not in NEXT_PORTS or place not in range(options[kind] != "none", 65536)]
    if not host or not port or wrong:
        raise InputError(f"{uri} is no address; write tcp://HOST:PORT or tcp://HOST:PORT?frames=PORT&imu=PORT&"
                         "triggers=PORT")
    return host, port, said


def _serves(kind: str, address: str, port: int) -> bool:
    """Whether this kind of stream is served there as AEDAT4; asked before dv-processing, which would wait for a mute
    peer for ever."""
    with contextlib.suppress(OSError, OverflowError), socket.create_connection((address, port), PROBE_S) as probe:
        probe.settimeout(PROBE_S)
        head = probe.recv(12, socket.MSG_WAITALL)
        if head[8:] == b"IOHE":
            size = min(max(0, int.from_bytes(head[:4], "little") + 4 - len(head)), MOST_HEADER_BYTES)
            return kind_served(probe.recv(size, socket.MSG_WAITALL)) == kind
    return False
