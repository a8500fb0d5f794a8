"""Recordings that are cut off or damaged, in every format."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import standin_child
from reading import check_valid, put, random_events, split
from test_dv_camera import STANDIN, children, wait_until
from written import FORMATS, write

from streams.sources import hdf5, open_source
from streams.summary import summarize
from streams.types import InputError


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("hdf5", "npy", "csv")])
def test_a_recording_that_is_cut_off_gives_what_is_there_and_says_so(name: str, tmp_path: Path) -> None:
    events = random_events()
    path = write(name, tmp_path, events)
    content = path.read_bytes()
    # Never at the end of a record: their lengths are 2, 4, 5 and 8 bytes.
    cut = len(content) * 2 // 3
    cut += 1 if name != "nmnist" else 3 - cut % 5
    while (cut - len(content)) % 2 == 0 or (cut - len(content)) % 5 == 0:
        cut += 1
    path.write_bytes(content[:cut])
    with open_source(str(path), reconstruct_frames=False) as source:
        found, _ = split(source)
        assert "cut off" in (source.losses.damage or "")
        summary = summarize(source)
    assert summary.damage
    assert len(events) // 2 < len(found) < len(events)
    np.testing.assert_array_equal(found, events[:len(found)])


def damaged(content: bytes, seed: int) -> bytes:
    """A few flipped bits, no end, zeros in the middle, foreign bytes in the middle, or a foreign end: by the seed."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    at, length = int(rng.integers(0, len(data))), int(rng.integers(1, 3000))
    if seed % 5 == 0:
        for place in rng.integers(0, len(data), 20):
            data[place] ^= 1 << int(rng.integers(0, 8))
    elif seed % 5 == 1:
        del data[at:]
    elif seed % 5 == 2:
        data[at:at + length] = bytes(len(data[at:at + length]))
    elif seed % 5 == 3:
        data[at:at + length] = rng.bytes(len(data[at:at + length]))
    else:
        data[at:] = rng.bytes(length)
    return bytes(data)


@pytest.mark.parametrize("name", FORMATS)
def test_damage_gives_one_sentence_or_valid_packets(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path, random_events(2000))
    content = path.read_bytes()
    n_opened = 0
    for seed in range(30):
        path.write_bytes(damaged(content, seed))
        started_s = time.monotonic()
        refusal = refusal_of(path)
        n_opened += refusal is None
        assert "\n" not in (refusal or "")
        assert time.monotonic() - started_s < 10
    assert n_opened >= 8


def refusal_of(path: Path) -> str | None:
    """Why a recording is refused, None when it gives nothing but valid packets."""
    try:
        with open_source(str(path)) as source:
            check_valid(source)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("mode", ["hang", "crash", "lie"])
def test_an_hdf5_library_that_fails_takes_nothing_down(mode: str, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "PROGRAM", [sys.executable, STANDIN, mode])
    with open_source(str(put(tmp_path, "a.h5", hdf5.MAGIC))) as source:
        found, _ = split(source)
        assert len(found) == 3 * standin_child.EVENTS_PER_PACKET
        assert "a.h5 is damaged" in (source.losses.damage or "")
    wait_until(lambda: not children())


@pytest.mark.parametrize("mode", ["babble", "hang-open"])
def test_an_hdf5_library_that_cannot_open_is_one_sentence(mode: str, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "PROGRAM", [sys.executable, STANDIN, mode])
    with pytest.raises(InputError, match="cannot be read as events") as caught:
        open_source(str(put(tmp_path, "a.h5", hdf5.MAGIC)))
    assert "\n" not in str(caught.value)
    wait_until(lambda: not children())
