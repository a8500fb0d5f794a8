"""`serve` and `record` as commands: looping, Ctrl-C, and what goes wrong, in one sentence each."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from reading import split
from toy_sources import SENSOR, ListSource, events_at, frame_at, imu_at, triggers_at

from app.cli import main
from app.livestreams import LOOP_GAP_US, paced
from streams.recorder import Recorder
from streams.sources import open_source
from streams.types import Frame, Packet, Samples

ROOT = Path(__file__).parent.parent
ENDS_S = 3.0
"""Ctrl-C ends a command within this."""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "short.aedat4"
    with Recorder(path, SENSOR, None, "camera", None, compression="lz4", sensors=True) as recorder:
        recorder.write(events_at(list(range(1_000_000, 1_050_000, 100))))
        recorder.write(imu_at(range(1_000_000, 1_050_000, 1000)))
        recorder.write(triggers_at([1_020_000]))
    return path


def test_a_looped_recording_goes_on_in_time() -> None:
    source = ListSource([events_at([100, 200]), frame_at(250), events_at([300])])
    items = list(islice(paced(source, None, loop=True), 9))
    begins = [item.t_us if isinstance(item, Frame) else int(item["t"][0]) for item in items]
    length_us = 300 + LOOP_GAP_US - 100
    assert begins == [first_us + turn * length_us for turn in range(3) for first_us in (100, 250, 300)]
    assert source.seeks == [100, 100]


def test_samples_of_a_looped_recording_go_on_in_time_between_its_items() -> None:
    samples = deque[Samples]()

    class Sensing(ListSource):
        def __iter__(self) -> Iterator[Packet]:
            for item in super().__iter__():
                yield item
                if not isinstance(item, Frame):
                    samples.append(imu_at([int(item["t"][0]) - 10, int(item["t"][-1]) + 10]))

    source = Sensing([events_at([100, 200]), events_at([300])])
    items = list(islice(paced(source, None, True, samples), 8))
    assert [isinstance(item, Samples) for item in items] == [False, True] * 4
    times = [(item.data if isinstance(item, Samples) else item)["t"].tolist()  # type: ignore[union-attr]
             for item in items]
    once = [[100, 200], [90, 210], [300], [290, 310]]
    length_us = 310 + LOOP_GAP_US - 90
    assert times == once + [[t_us + length_us for t_us in each] for each in once]
    assert source.seeks == [90]


def test_serve_loops_until_ctrl_c(recording: Path) -> None:
    """A process of its own, since Ctrl-C is what is tested."""
    command = [sys.executable, "-c", "from app.cli import main; main()", "serve", str(recording), "--port", "0",
               "--loop", "--speed", "5"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    address = next(line for line in process.stderr if "is served at" in line).split()[4]
    times: dict[str, list[np.ndarray]] = {"events": [], "imu": [], "triggers": []}
    with open_source(address, give_up_s=0, sensors=lambda batch: times[batch.kind].append(batch.data["t"])) as source:
        for packet in source:
            if not isinstance(packet, Frame):
                times["events"].append(packet["t"])
            # More than twice what the recording holds.
            if all(sum(map(len, times[kind])) > many for kind, many in (("events", 1000), ("imu", 100),
                                                                       ("triggers", 2))):
                break
    read = {kind: np.concatenate(found) for kind, found in times.items()}
    assert all((np.diff(found) >= 0).all() for found in read.values())
    for kind in ("imu", "triggers"):  # all lie where an event is, in each round
        both = read[kind][(read[kind] >= read["events"][0]) & (read[kind] <= read["events"][-1])]
        assert len(both) > 0
        assert np.isin(both, read["events"]).all()
    process.send_signal(signal.SIGINT)
    began_s = time.monotonic()
    rest = process.stderr.read()
    assert process.wait(20) == 0
    assert time.monotonic() - began_s < ENDS_S + 5  # 5 more: readers get what waits for them, machines are busy
    assert "events lost by slow readers" in rest
    assert "Traceback" not in rest


def test_serving_where_it_cannot_is_one_sentence(recording: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = CliRunner().invoke(main, ["serve", str(recording), "--port", port, "--frames-port", "0"])
    assert said.exit_code == 2
    assert "cannot be served (Address already in use); choose another place" in said.output
    said = CliRunner().invoke(main, ["serve", str(recording), "--socket", str(tmp_path / "no" / "such.sock")])
    assert (said.exit_code, "cannot be served (No such file or directory)" in said.output) == (2, True)
    said = CliRunner().invoke(main, ["serve", str(recording), *(["--socket", str(tmp_path / "a")] * 5)])
    assert (said.exit_code, "5 sockets are given; at most 4 are used: for events" in said.output) == (2, True)
    said = CliRunner().invoke(main, ["serve", str(recording), "--socket", str(tmp_path / "e.sock")])
    assert (said.exit_code, "imu and triggers not served: give a --socket" in said.output) == (0, True)
    said = CliRunner().invoke(main, ["serve", str(recording), "--speed", "0"])
    assert (said.exit_code, "--speed must be positive" in said.output) == (2, True)


def test_recording_onto_a_full_disk_is_one_sentence_and_what_was_recorded_is_there(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    out = tmp_path / "out.aedat4"
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, before[1]))
        said = CliRunner().invoke(main, ["record", "synthetic://7", str(out), "--seconds", "1",
                                         "--compression", "none"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert said.exit_code == 2
    assert "cannot be written (File too large): make room" in said.output
    assert "Traceback" not in said.output
    with open_source(str(out)) as kept, open_source("synthetic://7") as source:
        found, frames = split(kept)
        first, _ = split(islice(source, 40))
    assert len(found) > 0
    assert len(frames) > 0
    np.testing.assert_array_equal(found, first[:len(found)])


@pytest.mark.skipif(os.name != "posix", reason="folders without permission")
def test_recording_where_it_is_not_allowed_is_one_sentence(recording: Path) -> None:
    said = CliRunner().invoke(main, ["record", str(recording), "/proc/no.aedat4"])
    assert (said.exit_code, "/proc/no.aedat4 cannot be written" in said.output) == (2, True)
