"""Damaged recordings of every format, made by a seed, and what reading one may do: for the fuzz and for the suite.

    bases = bases_of("evt3", folder)                        # written by the tests, and real ones where they are
    path = damaged_copy(bases[0], 17, folder)
    outcome = outcome_of(path, truth_of(bases[0].path), 17)    # outcome.defect is None, or says what must not be
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import written
from reading import SENSOR, random_events, split
from toy_sources import cut, frame_at

from streams.recorder import Recorder
from streams.sources import open_leniently, open_source
from streams.types import EVENT_DTYPE, Events, Frame, InputError, Packet, Resolution, Samples, Source

KINDS = ("flipped bits", "cut off", "spliced", "zeros", "foreign bytes")
"""What is done to variant n: KINDS[n % 5]."""
HEAD_BYTES = 512
"""A third of the damage lies here: headers are short and decide everything."""
ENOUGH_S = 15.0
"""No variant is read for longer."""
REAL = Path(__file__).resolve().parents[2] / "shared" / "recordings"
REAL_FILES = {"aedat4": ["evlibrary_sample.aedat4", "tonic_sample.aedat4"], "evt2": ["expelliarmus_evt2_sample.raw"],
              "dat": ["tonic_sample_ncars.dat"], "nmnist": ["tonic_sample_nmnist.bin"], "es": ["faery_dvs.es"],
              "aedat2": ["pyaedattools_TranslatingSquare.aedat"], "npy": ["eventgpt_sample1.npy"],
              "bag": ["ros1_test_events_1.bag"]}
RECORD_BYTES = {"evt2": 4, "evt21": 8, "evt3": 2, "dat": 8, "nmnist": 5, "aedat2": 8}
"""Formats without lengths: who cuts them between two records leaves no trace."""
FORMATS = sorted([*written.FORMATS, "aedat4", "folder", "video"])


@dataclass(frozen=True)
class Base:
    """An undamaged recording, or folder, of a format."""

    format: str
    path: Path


@dataclass(frozen=True)
class Truth:
    """What an undamaged recording gives: sorted keys of its events, times of its frames in µs."""

    events: np.ndarray
    frames_us: frozenset[int]
    start_us: int

    @property
    def n(self) -> int:
        """Events, or for a video frames: its events are simulated from what can be decoded."""
        return len(self.events) or len(self.frames_us)


@dataclass(frozen=True)
class Outcome:
    """What reading a variant gave: refused in a sentence, or items of which n_exact are those of the undamaged one.

    told: a refusal, a sentence on damage, or a counter. seconds: the longest wait for one item. defect: None, or what
    must never happen.
    """

    refused: bool
    n_delivered: int
    n_exact: int
    told: bool
    seconds: float
    defect: str | None = None


def bases_of(name: str, folder: Path, real: bool = True) -> list[Base]:
    """Undamaged recordings of a format, made in `folder`, and the real ones that are here."""
    events = random_events(2000)
    if name == "aedat4":
        path = folder / "written.aedat4"
        with Recorder(path, SENSOR, Resolution(8, 6), "camera", "camera", compression="lz4") as recorder:
            for item in cut(events, [frame_at(t_us) for t_us in range(100_000, 1_500_000, 100_000)],
                            list(range(0, 2000, 100))):
                recorder.write(item)
    elif name == "video":
        path = video(folder / "written.mp4")
    elif name == "folder":
        frames = [Frame(t_us, 0, np.full((*SENSOR.hw, 3), t_us // 10_000, np.uint8))
                  for t_us in range(100_000, 1_500_000, 100_000)]
        path = written.folder(folder / "written", events, frames, "rpg")
    else:
        path = written.write(name, folder, events)
    found = [path, *(REAL / file for file in REAL_FILES.get(name, []) if real and (REAL / file).exists())]
    return [Base(name, path) for path in found]


def video(path: Path) -> Path:
    """A bar that moves through 15 pictures of 64x48 px."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (64, 48))
    for index in range(15):
        image = np.full((48, 64, 3), 30, np.uint8)
        image[:, 3 * index:3 * index + 9] = 220
        writer.write(image)
    writer.release()
    return path


def damaged(content: bytes, seed: int) -> bytes:
    """Bytes with the damage of a seed."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    reach = min(len(data), HEAD_BYTES) if seed // 5 % 3 == 0 else len(data)
    at, length = int(rng.integers(0, reach)), int(rng.integers(1, min(len(data), 4000)))
    kind = KINDS[seed % 5]
    if kind == "flipped bits":
        for place in rng.integers(0, reach, rng.integers(1, 20)):
            data[place] ^= 1 << int(rng.integers(0, 8))
    elif kind == "cut off":
        del data[at:]
    elif kind == "spliced":
        other = int(rng.integers(0, len(data)))
        # Repeated, moved over something else, or taken out.
        data[at:at + int(rng.choice([0, length, 2 * length]))] = content[other:other + length]
    elif kind == "zeros":
        data[at:at + length] = bytes(len(data[at:at + length]))
    elif rng.random() < 0.5:
        data[at:at + length] = rng.bytes(len(data[at:at + length]))
    else:
        data[at:] = rng.bytes(length)
    return bytes(data)


def damaged_copy(base: Base, seed: int, folder: Path) -> Path:
    """A copy with the damage of a seed; of a folder one file has it."""
    target = folder / f"damaged{base.path.suffix}"
    if not base.path.is_dir():
        target.write_bytes(damaged(base.path.read_bytes(), seed))
        return target
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(base.path, target)
    files = sorted(file for file in target.rglob("*") if file.is_file())
    # Pictures are many and alike.
    listings = [file for file in files if file.suffix != ".png"]
    file = [*listings, files[seed % len(files)]][seed // 5 % (len(listings) + 1)]
    file.write_bytes(damaged(file.read_bytes(), seed))
    return target


def silent_is_fine(base: Base, path: Path, seed: int) -> bool:
    """Whether nobody can see that this variant is damaged: records or lines that are missing or are other ones."""
    # Lines of a text and records of an Event Stream have no fixed length.
    if KINDS[seed % 5] != "cut off" or base.format in ("csv", "es", "folder"):
        return True
    missing = base.path.stat().st_size - path.stat().st_size
    record = RECORD_BYTES.get(base.format)
    return record is not None and missing % record == 0


def truth_of(path: Path) -> Truth:
    """What an undamaged recording gives."""
    with open_source(str(path)) as source:
        events, pictures = split(source)
        simulated = source.info.events_origin == "simulated"
        made = source.info.frames_origin == "reconstructed"
    start_us = int(events["t"][0]) if len(events) else 0
    frames = frozenset(picture.t_us for picture in pictures if not made)
    return Truth(np.empty(0, np.int64) if simulated else np.sort(keys(events, start_us)), frames, start_us)


def keys(events: Events, start_us: int) -> np.ndarray:
    """Events as numbers, int64 [n]; -1 for a time that is further from the start than any of ours."""
    since_us = events["t"] - start_us
    key = since_us << 33 | events["x"].astype(np.int64) << 17 | events["y"].astype(np.int64) << 1 | events["p"]
    return np.where((since_us >= 0) & (since_us < 1 << 30), key, -1)


def valid_items(source: Source) -> Iterator[Packet]:
    """What a source gives; AssertionError for an event outside the sensor, time that goes back, a wrong size."""
    last_us, info = None, source.info
    for item in source:
        yield item
        if isinstance(item, Frame):
            assert item.resolution == info.frame_resolution, f"a frame of {item.resolution}"
            continue
        assert len(item) > 0, "an empty packet"
        assert info.event_resolution is not None, "events without a resolution"
        assert info.event_resolution.contains(item), "an event outside the sensor"
        assert np.all(np.diff(item["t"]) >= 0), "time goes back within a packet"
        assert last_us is None or item["t"][0] >= last_us, "time goes back between packets"
        last_us = item["t"][-1]


def check_samples(samples: Samples) -> None:
    """AssertionError for a batch of the IMU or triggers that is empty or whose time goes back."""
    assert len(samples.data) > 0, "an empty batch"
    assert np.all(np.diff(samples.data["t"]) >= 0), "time goes back within a batch"


class _Patience:
    """The longest wait for one answer; wild times may make so many frames that reading them all takes hours."""

    def __init__(self) -> None:
        self._begun_s = self._last_s = time.monotonic()
        self.longest_s = 0.0

    def answered(self) -> None:
        now_s = time.monotonic()
        self.longest_s, self._last_s = max(self.longest_s, now_s - self._last_s), now_s

    def taken(self, items: Iterator[Packet]) -> Iterator[Packet]:
        for item in items:
            self.answered()
            yield item
            if time.monotonic() - self._begun_s > ENOUGH_S:
                return
        self.answered()


def outcome_of(path: Path, truth: Truth, seed: int) -> Outcome:
    """Read a variant; for each fourth seed also its rates, and from the middle on."""
    patience, packets, times_us = _Patience(), [np.empty(0, EVENT_DTYPE)], list[int]()
    try:
        with open_leniently(str(path), sensors=check_samples) as source:
            for item in patience.taken(valid_items(source)):
                if isinstance(item, Frame):
                    times_us.append(item.t_us)
                else:
                    packets.append(item)
            losses = source.losses
            told = bool(losses.damage or losses.n_rejected or losses.n_clamped or losses.n_restarts)
            if seed % 4 == 0 and source.info.start_us is not None:
                assert len(source.rate_histogram(10)) == 10
                patience.answered()
                source.seek(source.info.start_us + (source.info.duration_us or 0) // 2)
                for _ in patience.taken(valid_items(source)):
                    pass
    except InputError as error:
        patience.answered()
        return Outcome(True, 0, 0, True, patience.longest_s,
                       "a refusal of several lines" if "\n" in str(error) else None)
    except Exception as error:
        return Outcome(False, 0, 0, False, patience.longest_s, f"{type(error).__name__}: {error}")
    if not len(truth.events):
        return Outcome(False, len(times_us), len(truth.frames_us & set(times_us)), told, patience.longest_s)
    events = np.concatenate(packets)
    exact = np.isin(truth.events, keys(events, truth.start_us))
    return Outcome(False, len(events), int(exact.sum()), told, patience.longest_s)
