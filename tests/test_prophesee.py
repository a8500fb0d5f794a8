"""Prophesee's formats: vectors, orders of bytes, chunks, old versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import written
from reading import put, random_events, read


def test_evt3_vectors(tmp_path: Path) -> None:
    words = [0x8001, 0x6002, 0x0007, 0x3805, 0x4000 | 0b100000000001, 0x4000 | 0b11, 0x5081, 0x2003, 0x300A, 0x5001]
    found = read(put(tmp_path, "v.raw", written.PROPHESEE_HEADER.format("EVT3").encode()
                     + np.array(words, "<u2").tobytes()))
    assert found["x"].tolist() == [5, 16, 17, 18, 29, 36, 3, 10]
    assert found["p"].tolist() == [True] * 6 + [False] * 2
    assert set(found["t"].tolist()) == {0x1002}
    assert set(found["y"].tolist()) == {7}


def test_evt3_does_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    kinds = rng.choice([0, 2, 3, 4, 5, 6, 8], 4000, p=[.1, .2, .1, .2, .2, .18, .02])
    content = np.where(kinds == 8, np.arange(4000) // 500, rng.integers(0, 128, 4000))
    content = np.where(kinds == 6, np.arange(4000) % 500, content)
    path = put(tmp_path, "v.raw", written.PROPHESEE_HEADER.format("EVT3").encode()
               + (kinds << 12 | content).astype("<u2").tobytes())
    whole = read(path)
    assert len(whole) > 2000
    for size in (1, 7, 100):
        monkeypatch.setattr("streams.recording.CHUNK_RECORDS", size)
        np.testing.assert_array_equal(read(path), whole)


def test_evt21_vectors_and_both_orders_of_halves(tmp_path: Path) -> None:
    events = random_events()
    np.testing.assert_array_equal(read(put(tmp_path, "l.raw", written.evt21(events, legacy=True))), events)
    unnamed = written.evt21(events, legacy=True).replace(b";endianness=legacy", b"")
    np.testing.assert_array_equal(read(put(tmp_path, "u.raw", unnamed)), events)
    words = np.array([0, 0x80000001, 0x80000001, 1 << 28 | 3 << 22 | 64 << 11 | 9], "<u4")
    found = read(put(tmp_path, "v.raw", written.PROPHESEE_HEADER.format("EVT21").encode() + words.tobytes()))
    assert found.tolist() == [(67, 64, 9, True), (67, 95, 9, True)]


def test_old_dat_files_have_other_bits(tmp_path: Path) -> None:
    words = np.array([[10, 1 << 17 | 100 << 9 | 300], [20, 7]], "<u4")
    header = b"% Data file\n% Version 1\n% Width 304\n% Height 240\n\0\x08"
    found = read(put(tmp_path, "o.dat", header + words.tobytes()))
    assert found.tolist() == [(10, 300, 100, True), (20, 7, 0, False)]
