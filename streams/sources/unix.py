"""Events and frames over UNIX sockets, as `parafovea serve --socket` and dv-processing publish them.

    with open_source("unix:///tmp/events.sock?frames=/tmp/frames.sock") as source: ...
"""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from streams.reconnection import GIVE_UP_S, Reconnecting
from streams.sources.tcp import ADVICE
from streams.supervised import SupervisedSource
from streams.types import InputError


def open_source(uri: str, give_up_s: float = GIVE_UP_S) -> Reconnecting:
    """Connect to "unix:///PATH" or "unix:///PATH?frames=PATH". Raises InputError when nobody serves there.

    give_up_s: how long to wait for a peer that went, 0 = not at all.
    """
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query))
    frames = options.pop("frames", None)
    if parts.netloc or not parts.path or options:
        raise InputError(f"{uri} is no socket; write unix:///PATH or unix:///PATH?frames=PATH")
    task = {"task": "network", "events": [unquote(parts.path)], "frames": None if frames is None else [frames]}
    return Reconnecting(lambda losses: SupervisedSource(task, uri, losses, advice=ADVICE), give_up_s)
