"""Events and frames over TCP, as `parafovea serve`, dv-processing and DV publish them.

    with open_source("tcp://192.168.1.5:7777") as source: ...              # events; frames if port 7778 has some
    with open_source("tcp://192.168.1.5:7777?frames=9000") as source: ...  # frames on port 9000; frames=none: without

A peer that goes is waited for, and the gap is marked (streams/reconnection.py). What a reader that is too slow does not
get, `parafovea serve` counts.
"""

from __future__ import annotations

import contextlib
import socket
from urllib.parse import parse_qsl, urlsplit

from streams.reconnection import GIVE_UP_S, Reconnecting
from streams.supervised import SupervisedSource
from streams.types import InputError, Losses

PROBE_S = 0.5
ADVICE = "check that the program on the other side runs and serves this stream"


def open_source(uri: str, give_up_s: float = GIVE_UP_S) -> Reconnecting:
    """Connect to "tcp://HOST:PORT" or "tcp://HOST:PORT?frames=PORT|none". Raises InputError when nobody serves there.

    give_up_s: how long to wait for a peer that went, 0 = not at all.
    """
    host, port, frames_port = _parsed(uri)

    def connect(losses: Losses) -> SupervisedSource:
        try:
            # dv-processing resolves no names.
            address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
        except OSError as error:
            raise InputError(f"{host} cannot be found ({error.strerror}); check the name or give its number") from None
        frames = frames_port
        if frames is None and _serves(address, port + 1):
            frames = port + 1
        task = {"task": "network", "events": [address, port], "frames": [address, frames] if frames else None}
        return SupervisedSource(task, uri, losses, advice=ADVICE)

    return Reconnecting(connect, give_up_s)


def _parsed(uri: str) -> tuple[str, int, int | None]:
    """Host, port and port of the frames: 0 = none, None = not said. Raises InputError."""
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    frames = options.pop("frames", None)
    try:
        host, port = parts.hostname, parts.port
        frames_port = None if frames is None else 0 if frames == "none" else int(frames)
    except ValueError:
        host = port = frames_port = None
    if not host or not port or options or (frames not in (None, "none") and frames_port not in range(1, 65536)):
        raise InputError(f"{uri} is no address; write tcp://HOST:PORT or tcp://HOST:PORT?frames=PORT")
    return host, port, frames_port


def _serves(address: str, port: int) -> bool:
    """Whether AEDAT4 is served there; asked before dv-processing, which would wait for a mute peer for ever."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), PROBE_S) as probe:
        probe.settimeout(PROBE_S)
        return probe.recv(12, socket.MSG_WAITALL)[8:] == b"IOHE"
    return False
