"""Recordings that have frames beside events: DAVIS, bags, folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import written
from reading import SENSOR, check_frames, colour_frames, put, random_events, read, split
from written import HEIGHT, WIDTH

from streams.sources import open_source
from streams.types import InputError, Resolution


def test_dvs128_and_unnamed_davis(tmp_path: Path) -> None:
    events = random_events()
    small = events[(events["x"] < 128) & (events["y"] < 128)]
    path = put(tmp_path, "d.aedat", written.aedat2(small, "ch.unizh.ini.jaer.chip.retina.DVS128"))
    with open_source(str(path), reconstruct_frames=False) as source:
        assert source.info.event_resolution == Resolution(128, 128)
        assert source.info.sensor == "DVS128"
        np.testing.assert_array_equal(split(source)[0], small)
    np.testing.assert_array_equal(read(put(tmp_path, "u.aedat", written.aedat2(events, ""))), events)


def test_davis_frames_of_aedat2(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    events = random_events(3000, span_us=60_000)
    pictures = rng.integers(0, 256, (2, HEIGHT, WIDTH))
    content = written.aedat2(events)
    n_header = content.index(b"Header\r\n") + 8
    records = [content[n_header:]]
    for number, picture in enumerate(pictures):
        records.append(written.aedat2_frame(np.full_like(picture, 1023), 1023 - 4 * picture, 10_000 + 25_000 * number))
    table = np.frombuffer(b"".join(records), ">u4").reshape(-1, 2)
    table = table[np.argsort(table[:, 1], kind="stable")]
    path = put(tmp_path, "f.aedat", content[:n_header] + table.tobytes())
    with open_source(str(path)) as source:
        assert (source.info.frames_origin, source.info.frame_resolution) == ("camera", SENSOR)
        found, frames = split(source)
        np.testing.assert_array_equal(found, events)
        assert [frame.t_us - frame.exposure_us // 2 for frame in frames] == [10_000, 35_000]
        for frame, picture in zip(frames, pictures, strict=True):
            np.testing.assert_array_equal(frame.image[..., 1], picture)
        source.seek(30_000)
        assert [frame.t_us for frame in split(source)[1]] == [frames[1].t_us]


def test_frames_of_aedat3_come_before_the_events_of_their_exposure(tmp_path: Path) -> None:
    events, frames = random_events(), colour_frames([300_000, 900_000], 20_000)
    blocks = [written.aedat3(events[:600])] + [written.aedat3(part)[len(written.AEDAT3_HEADER):]
                                               for part in (events[600:1900], events[1900:])]
    times = events["t"]
    assert times[600] < 310_000 < 910_000 < times[1900]
    path = put(tmp_path, "f.aedat", written.aedat3(events[:700]) + written.aedat3_frame(frames[0])
               + written.aedat3(events[700:1900])[len(written.AEDAT3_HEADER):] + written.aedat3_frame(frames[1])
               + blocks[2])
    check_frames(path, events, frames)


@pytest.mark.parametrize("kind", ["dvs_msgs/EventArray", "event_camera_msgs/EventPacket"])
@pytest.mark.parametrize("compression", ["none", "bz2"])
def test_bags_with_images(kind: str, compression: str, tmp_path: Path) -> None:
    events, frames = random_events(), colour_frames([200_000, 700_000, 1_200_000])
    check_frames(put(tmp_path, "f.bag", written.bag(events, frames, kind, compression)), events, frames)


@pytest.mark.parametrize("layout", ["dsec", "rpg"])
def test_folders_of_pictures_with_events(layout: str, tmp_path: Path) -> None:
    events, frames = random_events(), colour_frames([200_000, 700_000, 1_200_000])
    path = written.folder(tmp_path / layout, events, frames, layout)
    check_frames(path, events, frames)
    next(path.rglob("000001.png")).write_bytes(b"no picture")
    with open_source(str(path)) as source:
        assert "000001.png" in (source.losses.damage or "")
        assert len(split(source)[1]) == 2


def test_folders_with_wrong_times_are_one_sentence(tmp_path: Path) -> None:
    path = written.folder(tmp_path / "f", random_events(), colour_frames([200_000]), "dsec")
    (path / "images" / "timestamps.txt").write_text("1\n2\n")
    with pytest.raises(InputError, match="has 1 pictures but 2 times"):
        open_source(str(path))
    (path / "images" / "timestamps.txt").write_text("yesterday\n")
    with pytest.raises(InputError, match="not a list of times"):
        open_source(str(path))
