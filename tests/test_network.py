"""Streams over real sockets on this machine: published by streams/server.py, read through dv-processing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from reading import split
from toy_sources import events_at, frame_at, imu_at, triggers_at

from app.demo import Players
from streams.live_recording import LiveRecording
from streams.server import PACKET_EVENTS, Place, Server
from streams.sources import open_source, tcp
from streams.timeline import begins_us
from streams.types import Frame, InputError, Packet, Resolution, Samples, SourceInfo

SENSOR = Resolution(8, 6)
INFO = SourceInfo("toy", SENSOR, SENSOR, events_origin="rendered", frames_origin="rendered", sensor="TOY_1",
                  samples=("imu", "triggers"))
LAST_US = 9_000_000
DEADLINE_S = 20.0


def until(condition: object) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.002)


def uri_of(server: Server) -> str:
    return server.uri if "?" in server.uri or server.uri.startswith("unix") else f"{server.uri}?frames=none"


def places(kind: str, folder: Path) -> list[Place]:
    if kind == "tcp":
        return [("127.0.0.1", 0)] * 4
    return [folder / f"{kind}.sock" for kind in ("eve? nts", "frames", "im u", "triggers")]


def served_in_a_row() -> Server:
    """On four ports one after the other."""
    for base in range(20_000, 60_000, 7):
        try:
            return Server(INFO, [("127.0.0.1", base + number) for number in range(4)])
        except InputError:
            continue
    raise AssertionError("there are no four free ports in a row")


def to_the_mark(source: Iterator[Packet]) -> list[Packet]:
    """Everything until the event that says that nothing more comes."""
    return list(takewhile(lambda item: isinstance(item, Frame) or not len(item) or item["t"][-1] < LAST_US, source))


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_what_is_published_arrives_identical(kind: str, compression: str, tmp_path: Path) -> None:
    events = events_at(list(range(1_000_000, 1_400_000, 10)))
    frame = frame_at(1_200_000)
    imu, triggers = imu_at(range(1_000_000, 1_400_000, 1000)), triggers_at(range(1_000_000, 1_400_000, 50_000))
    heard: dict[str, list[np.ndarray]] = {"imu": [], "triggers": []}

    def hear(samples: Samples) -> None:
        heard[samples.kind].append(samples.data)

    with Server(INFO, places(kind, tmp_path), compression) as server, \
            open_source(server.uri, give_up_s=0, sensors=hear) as source:
        info = source.info
        assert (info.live, info.sensor, info.event_resolution, info.frame_resolution) == (True, "TOY_1", SENSOR, SENSOR)
        assert (info.events_origin, info.frames_origin) == ("rendered", "rendered")
        assert info.samples == ("imu", "triggers")
        items = iter(source)
        assert len(next(items)) == 0
        until(lambda: server.n_clients == 1)
        for samples in (imu, triggers):
            server.publish(samples)
        until(lambda: next(items) is not None and all(heard.values()))
        for samples in (imu, triggers):
            np.testing.assert_array_equal(np.concatenate(heard[samples.kind]), samples.data)
        until(lambda: len(server._channels["frames"].clients) == 1)
        for item in (events[:20_000], frame, events[20_000:], events_at([LAST_US])):
            server.publish(item)
        received = to_the_mark(items)
        found, pictures = split(received)
        np.testing.assert_array_equal(found, events)
        assert [picture.t_us for picture in pictures] == [frame.t_us]
        begins = [begins_us(item) for item in received if begins_us(item) is not None]
        assert begins == sorted(begins)  # type: ignore[type-var]
        assert source.losses.n_late == 0
        assert server.n_dropped == server.n_samples_dropped == server.n_frames_dropped == 0
        assert source.losses.n_dropped == source.losses.n_others_dropped == 0


def test_what_the_page_records_of_a_published_stream_has_its_imu_and_triggers(tmp_path: Path) -> None:
    imu, triggers = imu_at(range(1_000_000, 1_100_000, 1000)), triggers_at([1_050_000])
    with Server(INFO, places("tcp", tmp_path)) as server:
        player = Players().open(server.uri)
        until(lambda: server.n_clients == 1)
        recording = LiveRecording(player.info, tmp_path / "page.aedat4")
        releases = player.tap(recording.put), player.sensors.tap(recording.put)
        for item in (imu, triggers, events_at([1_000_000, 1_100_000])):
            server.publish(item)
        until(lambda: recording.n_imu == len(imu.data) and recording.n_triggers == 1 and recording.n_events == 2)
        for release in releases:
            release()
        recording.close()
        player.close()
    assert recording.n_samples_dropped == 0
    heard: dict[str, list[np.ndarray]] = {"imu": [], "triggers": []}
    with open_source(str(recording.path), sensors=lambda batch: heard[batch.kind].append(batch.data)) as source:
        assert len(split(source)[0]) == 2
    for samples in (imu, triggers):
        np.testing.assert_array_equal(np.concatenate(heard[samples.kind]), samples.data)


def test_a_frame_of_a_scene_without_events_arrives() -> None:
    with Server(INFO, [("127.0.0.1", 0)] * 2) as server, open_source(server.uri, give_up_s=0) as source:
        items = iter(source)
        next(items)
        until(lambda: len(server._channels["frames"].clients) == 1)
        server.publish(frame_at(1_200_000))
        received = list(takewhile(lambda item: not isinstance(item, Frame), items))
        assert not sum(map(len, received))


def test_the_address_of_the_events_is_enough() -> None:
    heard = list[Samples]()
    with served_in_a_row() as server:
        uri = f"tcp://{server.places['events']}"
        assert [name.rpartition(":")[2] for name in server.places.values()] == [
            str(int(uri.rpartition(":")[2]) + number) for number in range(4)]
        with open_source(uri, give_up_s=0) as source:
            assert (source.info.frame_resolution, source.info.samples) == (SENSOR, ())
        with open_source(uri, give_up_s=0, sensors=heard.append) as source:
            assert (source.info.frame_resolution, source.info.samples) == (SENSOR, ("imu", "triggers"))
        with open_source(f"{uri}?imu=none&frames=none", give_up_s=0, sensors=heard.append) as source:
            assert (source.info.frame_resolution, source.info.samples) == (None, ("triggers",))
        # The next ports hold other streams than are looked for there.
        port = int(uri.rpartition(":")[2])
        with pytest.raises(InputError, match="it serves no frames there"):
            open_source(f"{uri}?frames={port + 2}", give_up_s=0)
        with Server(INFO, [("127.0.0.1", 0)]) as other, pytest.raises(InputError, match="serves no imu there"):
            open_source(f"{uri}?imu={other.places['events'].rpartition(':')[2]}", give_up_s=0, sensors=heard.append)


def test_another_events_stream_on_the_next_port_is_not_taken_for_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    with served_in_a_row() as server:
        monkeypatch.setitem(tcp.NEXT_PORTS, "frames", 0)
        with open_source(f"tcp://{server.places['events']}", give_up_s=0) as source:
            assert source.info.frame_resolution is None


def test_a_header_that_claims_to_be_shorter_than_it_is_means_no_stream() -> None:
    with socket.create_server(("127.0.0.1", 0)) as peer, ThreadPoolExecutor(1) as pool:
        found = pool.submit(tcp._serves, "frames", *peer.getsockname())
        client, _ = peer.accept()
        with client:
            client.sendall(bytes([1, 0, 0, 0, 0, 0, 0, 0]) + b"IOHE")
            assert found.result(DEADLINE_S) is False


def test_samples_that_a_reader_does_not_take_are_counted_apart() -> None:
    with Server(INFO, [("127.0.0.1", 0)] * 4, "none") as server:
        host, _, port = server.places["imu"].rpartition(":")
        batch, n_batches = imu_at(range(100_000)), 12
        server.publish(batch)
        assert server.n_samples_dropped == 0  # nobody reads
        with socket.create_connection((host, int(port)), DEADLINE_S), \
                socket.create_connection((host, int(port)), DEADLINE_S) as reading, reading.makefile("rb") as reader:
            reader.read(1)
            until(lambda: len(server._channels["imu"].clients) == 2)
            for _ in range(n_batches):
                server.publish(batch)
            lost = server.n_samples_dropped
        assert lost > 0
        assert lost % len(batch.data) == 0
        assert lost < 2 * n_batches * len(batch.data)
        assert server.n_dropped == server.n_frames_dropped == 0


def test_streams_without_a_place_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(INFO, [tmp_path / "e", tmp_path / "f"]) as server:
        assert (list(server.places), server.unserved) == (["events", "frames"], ["imu", "triggers"])
        server.publish(imu_at([1, 2]))
    silent = SourceInfo("toy", SENSOR, None, samples=("triggers",))
    with Server(silent, [tmp_path / kind for kind in "efit"]) as server:
        assert server.uri == f"unix://{tmp_path}/e?triggers={tmp_path}/t"
        server.publish(frame_at(1))
    monkeypatch.chdir(tmp_path)
    with Server(silent, [Path("e.sock")]) as server:
        assert server.uri == f"unix://{tmp_path}/e.sock"


def test_a_reader_that_pauses_loses_the_oldest_and_the_server_counts_it() -> None:
    with Server(INFO, [("127.0.0.1", 0)], "none") as server:
        host, _, port = server.places["events"].rpartition(":")
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
    ("tcp://127.0.0.1:7777?imu=0", "is no address"),
    ("tcp://127.0.0.1:7777?triggers=65536", "is no address"),
    ("tcp://127.0.0.1:7777?colour=1", "is no address"),
    ("unix:///no/such.sock", r"cannot be opened"),
    ("unix://relative.sock", "is no socket; write unix:///PATH"),
    ("unix:///a.sock?sound=/b.sock", "is no socket; write unix:///PATH"),
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
        port = int(server.places["events"].rpartition(":")[2])
        with pytest.raises(InputError, match=r"127.0.0.1:\d+ cannot be served \(Address already in use\)"):
            Server(INFO, [("127.0.0.1", port)])
    with pytest.raises(InputError, match="has no events to serve"):
        Server(SourceInfo("film", None, SENSOR), [("127.0.0.1", 0)])
