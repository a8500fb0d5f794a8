"""Events and frames over real sockets on this machine: published by streams/server.py, read through dv-processing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from reading import split
from toy_sources import events_at, frame_at

from streams.server import PACKET_EVENTS, Place, Server
from streams.sources import open_source
from streams.types import Frame, InputError, Packet, Resolution, SourceInfo

SENSOR = Resolution(8, 6)
INFO = SourceInfo("toy", SENSOR, SENSOR, events_origin="rendered", frames_origin="rendered", sensor="TOY_1")
LAST_US = 9_000_000
DEADLINE_S = 20.0


def until(condition: object) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.002)


def uri_of(server: Server) -> str:
    first, *more = server.places
    if first.startswith("/"):
        return f"unix://{first}" + (f"?frames={more[0]}" if more else "")
    return f"tcp://{first}?frames=" + (more[0].rpartition(":")[2] if more else "none")


def places(kind: str, folder: Path) -> list[Place]:
    if kind == "tcp":
        return [("127.0.0.1", 0), ("127.0.0.1", 0)]
    return [folder / "events.sock", folder / "frames.sock"]


def to_the_mark(source: Iterator[Packet]) -> list[Packet]:
    """Everything until the event that says that nothing more comes."""
    return list(takewhile(lambda item: isinstance(item, Frame) or not len(item) or item["t"][-1] < LAST_US, source))


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_what_is_published_arrives_identical(kind: str, compression: str, tmp_path: Path) -> None:
    events = events_at(list(range(1_000_000, 1_400_000, 10)))
    frame = frame_at(1_200_000)
    with Server(INFO, places(kind, tmp_path), compression) as server, \
            open_source(uri_of(server), give_up_s=0) as source:
        info = source.info
        assert (info.live, info.sensor, info.event_resolution, info.frame_resolution) == (True, "TOY_1", SENSOR, SENSOR)
        assert (info.events_origin, info.frames_origin) == ("rendered", "rendered")
        items = iter(source)
        assert len(next(items)) == 0
        until(lambda: server.n_clients == 1)
        server.publish(frame)
        received = list(takewhile(lambda item: not isinstance(item, Frame), items))
        assert not sum(map(len, received))
        server.publish(events)
        server.publish(events_at([LAST_US]))
        found, _ = split(to_the_mark(items))
        np.testing.assert_array_equal(found, events)
        assert server.n_dropped == source.losses.n_dropped == 0


def test_a_reader_that_pauses_loses_the_oldest_and_the_server_counts_it() -> None:
    with Server(INFO, [("127.0.0.1", 0)], "none") as server:
        host, _, port = server.places[0].rpartition(":")
        with socket.create_connection((host, int(port)), DEADLINE_S) as connection, \
                connection.makefile("rb") as reader:
            until(lambda: server.n_clients == 1)
            packet = events_at(list(range(PACKET_EVENTS)))
            n_packets = 600
            for number in range(n_packets):
                packet["t"] += number and PACKET_EVENTS
                server.publish(packet)
            assert server.n_dropped > 0
            reader.read(int.from_bytes(reader.read(4), "little"))
            firsts = []
            for _ in range(n_packets - server.n_dropped // PACKET_EVENTS):
                length = int.from_bytes(reader.read(8)[4:], "little")
                content = reader.read(length)
                firsts.append(int.from_bytes(content[32:40], "little") // PACKET_EVENTS)
            assert firsts[-1] == n_packets - 1
            assert firsts == sorted(set(firsts))
            assert len(firsts) * PACKET_EVENTS + server.n_dropped == n_packets * PACKET_EVENTS
            newest = firsts[-100:]
            assert newest == list(range(n_packets - 100, n_packets))


def test_a_peer_that_goes_is_waited_for_and_the_gap_is_marked(tmp_path: Path) -> None:
    place = tmp_path / "e.sock"
    with Server(INFO, [place]) as server, open_source(f"unix://{place}") as source:
        items = iter(source)
        next(items)
        until(lambda: server.n_clients == 1)
        server.publish(events_at([1_000_000]))
        assert [len(next(item for item in items if len(item)))] == [1]
        server.close()
        assert all(not len(item) for item in takewhile(lambda item: source.losses.outage is None, items))
        assert "the other side ended the connection" in source.losses.outage
        with Server(INFO, [place]) as again:
            assert not any(len(item) for item in takewhile(lambda item: again.n_clients == 0, items))
            again.publish(events_at([5]))
            packet = next(item for item in items if len(item))
        assert source.losses.outage is None
        assert packet["t"][0] > 1_000_000
        assert source.losses.n_gaps == 1
        assert source.losses.gaps == [(1_000_000, int(packet["t"][0]))]


@pytest.mark.parametrize(("uri", "sentence"), [
    ("tcp://127.0.0.1:1", r"cannot be opened \(.*refused"),
    ("tcp://127.0.0.1", "is no address; write tcp://HOST:PORT"),
    ("tcp://127.0.0.1:7777?frames=abc", "is no address"),
    ("tcp://127.0.0.1:7777?colour=1", "is no address"),
    ("unix:///no/such.sock", r"cannot be opened"),
    ("unix://relative.sock", "is no socket; write unix:///PATH"),
])
def test_wrong_addresses_are_one_sentence(uri: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        open_source(uri)
    assert "\n" not in str(caught.value)


def test_a_peer_that_says_nothing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from streams import supervised

    monkeypatch.setattr(supervised, "OPEN_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(InputError, match="did not answer"):
        open_source(f"tcp://127.0.0.1:{mute.getsockname()[1]}?frames=none")


def test_a_place_that_is_taken_and_a_source_without_events_are_one_sentence() -> None:
    with Server(INFO, [("127.0.0.1", 0)]) as server:
        port = int(server.places[0].rpartition(":")[2])
        with pytest.raises(InputError, match=r"127.0.0.1:\d+ cannot be served \(Address already in use\)"):
            Server(INFO, [("127.0.0.1", port)])
    with pytest.raises(InputError, match="has no events to serve"):
        Server(SourceInfo("film", None, SENSOR), [("127.0.0.1", 0)])
