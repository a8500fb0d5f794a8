"""What the tests of recordings share: known events, and reading back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from written import HEIGHT, WIDTH

from streams.sources import open_source
from streams.types import EVENT_DTYPE, Events, Frame, Packet, Resolution, Source, events_from_columns

SENSOR = Resolution(WIDTH, HEIGHT)


def random_events(count: int = 3000, start_us: int = 1000, span_us: int = 1_500_000, seed: int = 0) -> Events:
    """Sorted random events over the whole sensor."""
    rng = np.random.default_rng(seed)
    return events_from_columns(start_us + np.sort(rng.integers(0, span_us, count)), rng.integers(0, WIDTH, count),
                               rng.integers(0, HEIGHT, count), rng.random(count) < 0.5)


def split(source: Source | list[Packet]) -> tuple[Events, list[Frame]]:
    packets, frames = [], []
    for item in source:
        (frames if isinstance(item, Frame) else packets).append(item)
    return np.concatenate(packets) if packets else np.empty(0, EVENT_DTYPE), frames


def read(path: Path | str, **options: object) -> Events:
    with open_source(str(path), reconstruct_frames=False, **options) as source:
        return split(source)[0]


def put(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def colour_frames(times_us: list[int], exposure_us: int = 0) -> list[Frame]:
    rng = np.random.default_rng(2)
    return [Frame(t_us, exposure_us, rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)) for t_us in times_us]


def check_frames(path: Path, events: Events, frames: list[Frame]) -> None:
    """Events and frames come back, in order of their begin, also after seeking."""
    with open_source(str(path)) as source:
        items = list(source)
        begins = [item.t_us - item.exposure_us // 2 if isinstance(item, Frame) else int(item["t"][0]) for item in items]
        assert begins == sorted(begins)
        found, pictures = split(items)
        np.testing.assert_array_equal(found, events)
        assert [(f.t_us, f.exposure_us) for f in pictures] == [(f.t_us, f.exposure_us) for f in frames]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(pictures, frames, strict=True))
        assert source.info.frames_origin == "camera"
        source.seek(frames[-1].t_us - 100_000)
        found, pictures = split(source)
        assert [picture.t_us for picture in pictures] == [frames[-1].t_us]
        np.testing.assert_array_equal(found, events[events["t"] >= frames[-1].t_us - 100_000])
