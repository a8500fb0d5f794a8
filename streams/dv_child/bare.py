"""Reads an .aedat4 with one library and nothing around it, for `parafovea bench --ingest`: how fast, and which events.

    python -P -m streams.dv_child.bare dv_processing|aedat|faery PATH ROUNDS        # prints one JSON line
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import numpy as np

Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""t, x, y and p of a packet."""


def dv_processing_events(path: str) -> Iterator[Columns]:
    """Packets as dv-processing decodes them, as arrays."""
    import dv_processing as dv

    for store in iter(dv.io.MonoCameraRecording(path).getNextEventBatch, None):
        events = store.numpy()
        yield events["timestamp"], events["x"], events["y"], events["polarity"]


def aedat_events(path: str) -> Iterator[Columns]:
    """Packets as the aedat package decodes them."""
    import aedat

    for packet in aedat.Decoder(path):
        if "events" in packet:
            events = packet["events"]
            yield events["t"], events["x"], events["y"], events["on"]


def faery_events(path: str) -> Iterator[Columns]:
    """Packets as faery decodes them."""
    import faery

    for events in faery.events_stream_from_file(path):
        yield events["t"], events["x"], events["y"], events["on"]


READERS = {"dv_processing": dv_processing_events, "aedat": aedat_events, "faery": faery_events}


def digest(packets: Iterator[Columns]) -> list[int]:
    """Count of events, and sums over them that change with any event and with the order of any two."""
    n = total = 0
    for columns in packets:
        t, x, y, p = (np.asarray(column).astype(np.uint64) for column in columns)
        place = np.arange(n + 1, n + len(t) + 1, dtype=np.uint64)
        # Unsigned sums wrap without a word, and equally for everybody.
        total += int(((t << np.uint64(20) ^ x << np.uint64(11) ^ y << np.uint64(1) ^ p) * place).sum())
        n += len(t)
    return [n, total % (1 << 64)]


def main() -> None:
    """Time whole readings, then read once more for the digest."""
    name, path, rounds = sys.argv[1:]
    read = READERS[name]
    seconds = []
    for _ in range(int(rounds)):
        started_s = time.perf_counter()
        for _ in read(path):
            pass
        seconds.append(time.perf_counter() - started_s)
    print(json.dumps({"seconds": min(seconds), "digest": digest(read(path))}))


if __name__ == "__main__":
    main()
