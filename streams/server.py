"""Publishes a source as AEDAT4 over TCP or UNIX sockets, each of its streams at a place of its own.

    with Server(source.info, [("127.0.0.1", 7777), ("127.0.0.1", 7778)]) as server:
        print(server.uri)                       # what a client opens
        for item in source: server.publish(item)

dv-processing's NetworkReader and DV read it. Nobody who reads slowly holds up the others or the source: what waits for
a client is bounded, the oldest of it is dropped and counted. Why not dv-processing's NetworkWriter: streams/aedat4.py.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from streams.aedat4 import (
    Compression,
    Description,
    Stream,
    events_body,
    frame_body,
    imu_body,
    packet_head,
    triggers_body,
)
from streams.types import Events, Frame, InputError, Packet, Samples, SourceInfo

Place = tuple[str, int] | Path
"""Address and port (0 = any free one), or the path of a UNIX socket."""
KINDS = ("events", "frames", "imu", "triggers")
"""Order of the places of streams."""
PACKET_EVENTS = 8192
"""Events per packet: a slow reader loses so many at a time."""
WAITING_BYTES = 32 << 20
"""Bound of what waits for one client."""


class Server:
    """Serves a source's events at the first place, and at the next ones its frames, IMU and triggers.

    places: in the order of KINDS; that of a stream which the source lacks stays unused, and of streams without a place
    nothing is published. Raises InputError when a place is taken or not allowed.
    """

    def __init__(self, info: SourceInfo, places: Sequence[Place], compression: Compression = "lz4") -> None:
        if info.event_resolution is None:
            raise InputError(f"{info.name} has no events to serve; give a source with events")
        sensor = info.sensor or info.name
        streams = {"events": Stream("events", info.event_resolution, info.events_origin, info.filters)}
        if info.frame_resolution is not None:
            streams["frames"] = Stream("frames", info.frame_resolution, info.frames_origin)
        streams |= {kind: Stream(kind) for kind in info.samples}
        self._channels: dict[str, _Channel] = {}
        try:
            for kind, place in zip(KINDS, places, strict=False):
                if kind in streams:
                    self._channels[kind] = _Channel(place, Description(sensor, compression, (streams[kind],)))
        except OSError as error:
            self.close()
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise InputError(f"{_named(place)} cannot be served ({reason}); choose another place") from None
        self._frames_origin = info.frames_origin
        self.unserved = [kind for kind in streams if kind not in self._channels]
        """Kinds of streams that the source has and no place was given for."""

    @property
    def places(self) -> dict[str, str]:
        """Where it really listens, by kind of stream: HOST:PORT or the path."""
        return {kind: channel.name for kind, channel in self._channels.items()}

    @property
    def uri(self) -> str:
        """The source that a client on this machine opens: streams/sources/tcp.py and unix.py."""
        (_, events), *others = self.places.items()
        tcp = not Path(events).is_absolute()
        more = {kind: name.rpartition(":")[2] if tcp else name for kind, name in others}
        return (f"tcp://{events}" if tcp else f"unix://{quote(events)}") + (
            f"?{urlencode(more, safe='/')}" if more else "")

    @property
    def n_clients(self) -> int:
        """Clients that read events now."""
        return len(self._channels["events"].clients)

    @property
    def n_dropped(self) -> int:
        """Events that clients who read too slowly lost, of all of them together."""
        return self._channels["events"].n_dropped

    @property
    def n_frames_dropped(self) -> int:
        """Frames that clients who read too slowly lost, of all of them together."""
        return self._n_dropped("frames")

    @property
    def n_samples_dropped(self) -> int:
        """Samples of the IMU and triggers that clients who read too slowly lost, of all of them together."""
        return self._n_dropped("imu", "triggers")

    def _n_dropped(self, *kinds: str) -> int:
        return sum(self._channels[kind].n_dropped for kind in kinds if kind in self._channels)

    def publish(self, item: Packet | Samples) -> None:
        """Hand an event packet, Frame or Samples to everybody who reads; never waits for them."""
        kind = "frames" if isinstance(item, Frame) else item.kind if isinstance(item, Samples) else "events"
        channel = self._channels.get(kind)
        if channel is None or not channel.clients:
            return
        if isinstance(item, Frame):
            channel.send(frame_body(item, self._frames_origin), 1)
        elif isinstance(item, Samples):
            channel.send((imu_body if kind == "imu" else triggers_body)(item.data), len(item.data))
        else:
            _send_events(channel, item)

    def drained(self) -> bool:
        """Whether nothing waits for any client."""
        return not any(client.n_bytes for channel in self._channels.values() for client in channel.clients)

    def close(self) -> None:
        """Stop listening and end all connections; may be called any number of times."""
        for channel in self._channels.values():
            channel.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _send_events(channel: _Channel, packet: Events) -> None:
    for begin in range(0, len(packet), PACKET_EVENTS):
        part = packet[begin:begin + PACKET_EVENTS]
        channel.send(events_body(part), len(part))


class _Channel:
    """One stream at one place, and who reads it."""

    def __init__(self, place: Place, description: Description) -> None:
        self._place, self._header = place, description.header()
        self._compress = description.compressor()
        self._lock = threading.Lock()
        self._lost = 0
        self.clients: list[_Client] = []
        self._listener = _listen(place)
        self.name = str(place.absolute()) if isinstance(place, Path) else _host_port(self._listener.getsockname())
        threading.Thread(target=self._accept, name="serve-accept", daemon=True).start()

    @property
    def n_dropped(self) -> int:
        with self._lock:
            return self._lost + sum(client.n_dropped for client in self.clients)

    def send(self, body: bytes, count: int) -> None:
        """Offer a packet of so many events, frames or samples to everybody."""
        content = self._compress(body)
        packet = packet_head(0, content) + content
        for client in [*self.clients]:
            client.offer(packet, count)

    def _accept(self) -> None:
        # A listener that is closed raises here: the thread ends.
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                client = _Client(connection, self._header, self._forget)
                with self._lock:
                    self.clients.append(client)
                client.start()

    def _forget(self, client: _Client) -> None:
        with self._lock:
            if client in self.clients:
                self.clients.remove(client)
                self._lost += client.n_dropped

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in [*self.clients]:
            client.close()
        if isinstance(self._place, Path):
            self._place.unlink(missing_ok=True)


class _Client:
    """One connection with what waits for it; a thread of its own sends."""

    def __init__(self, connection: socket.socket, header: bytes, gone: Callable[[_Client], None]) -> None:
        self._connection, self._header, self._gone = connection, header, gone
        self._queue: deque[tuple[bytes, int]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.n_bytes = self.n_dropped = 0

    def start(self) -> None:
        threading.Thread(target=self._send_all, name="serve-client", daemon=True).start()

    def offer(self, packet: bytes, count: int) -> None:
        with self._changed:
            self._queue.append((packet, count))
            self.n_bytes += len(packet)
            while self.n_bytes > WAITING_BYTES and len(self._queue) > 1:
                old, lost = self._queue.popleft()
                self.n_bytes -= len(old)
                self.n_dropped += lost
            self._changed.notify()

    def _send_all(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.sendall(self._header)
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._queue or self._closed)
                    if self._closed:
                        break
                    packet, _ = self._queue.popleft()
                self._connection.sendall(packet)
                with self._changed:
                    self.n_bytes -= len(packet)
        self.close()
        self._gone(self)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def _listen(place: Place) -> socket.socket:
    if isinstance(place, Path):
        if place.is_socket() and not _answers(place):
            # Left behind by a server that was killed.
            place.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(os.fspath(place))
        except OSError:
            listener.close()
            raise
        listener.listen()
        return listener
    return socket.create_server(place, family=socket.AF_INET6 if ":" in place[0] else socket.AF_INET)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.connect(os.fspath(path))
        return True
    return False


def _host_port(address: tuple[str, int]) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _named(place: Place) -> str:
    return str(place) if isinstance(place, Path) else _host_port(place)
