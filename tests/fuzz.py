"""Damages recordings of every format in hundreds of ways and reads them: nothing may crash, hang, lie or keep silent.

    python tests/fuzz.py --variants 500                     # a line per format; exit code 1 when there was a defect
    python tests/fuzz.py --format evt3 --seed 321 --variants 1    # one variant again

A variant is its number, from --seed on. A process of its own reads them, so that its crash, too, is only a defect.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

# Before OpenCV is loaded: its decoders tell of every damage.
os.environ |= {"OPENCV_FFMPEG_LOGLEVEL": "-8", "OPENCV_LOG_LEVEL": "SILENT"}

from damages import FORMATS, KINDS, Outcome, bases_of, damaged_copy, outcome_of, silent_is_fine, truth_of

HANG_S = 5.0
"""Longest wait for opening a variant or for its next item; read again when longer: a busy machine is slow too."""
PATIENCE_S = 60.0
LARGEST_BYTES = 2 << 30
"""Memory that reading may take: the recordings have a few MB."""


def read_variants(pipe: Connection, name: str, folder: str) -> None:
    """The reading process: numbers of variants in, (outcome, peak memory in bytes) out."""
    place = Path(folder)
    bases = bases_of(name, place)
    truths = [truth_of(base.path) for base in bases]
    pipe.send(None)
    while (seed := pipe.recv()) is not None:
        number = seed // 5 % len(bases)
        path = damaged_copy(bases[number], seed, place)
        outcome = outcome_of(path, truths[number], seed)
        whole = outcome.n_exact == truths[number].n
        if outcome.defect is None and not (outcome.told or whole or silent_is_fine(bases[number], path, seed)):
            outcome = replace(outcome, defect="something is missing and nothing said so")
        pipe.send((outcome, truths[number].n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10))


class Reader:
    """A reading process, started again when it died or hung."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._folder = tempfile.TemporaryDirectory()
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=read_variants, args=(theirs, self._name, self._folder.name))
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def outcome(self, seed: int) -> tuple[Outcome, int, int]:
        """Outcome of a variant, items of the undamaged one, peak memory in bytes."""
        self._pipe.send(seed)
        try:
            if self._pipe.poll(PATIENCE_S):
                found: tuple[Outcome, int, int] = self._pipe.recv()
                return found
            defect = f"no answer within {PATIENCE_S:g} s"
        except EOFError:
            self._process.join()
            defect = f"the process died (exit code {self._process.exitcode})"
        self._process.kill()
        self._process.join()
        self._start()
        return Outcome(False, 0, 0, False, PATIENCE_S, defect), 0, 0

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join()
        self._folder.cleanup()


def outcomes(name: str, seeds: range) -> Iterator[tuple[int, Outcome, int, int]]:
    """(variant, outcome, items of the undamaged one, peak memory in bytes) of each."""
    reader = Reader(name)
    for seed in seeds:
        outcome, n, peak = reader.outcome(seed)
        for _ in range(2):
            if outcome.defect is None and outcome.seconds > HANG_S:
                outcome, n, peak = reader.outcome(seed)
        if outcome.defect is None and outcome.seconds > HANG_S:
            outcome = replace(outcome, defect=f"took {outcome.seconds:.1f} s")
        if outcome.defect is None and peak > LARGEST_BYTES:
            outcome = replace(outcome, defect=f"took {peak >> 20} MB of memory")
        yield seed, outcome, n, peak
    reader.close()


HEADER = ("format", "variants", "opened", "refused", "salvaged", "exact", "silent", "slowest", "memory", "defects")


def fuzz(name: str, seeds: range) -> int:
    """Print the line of a format; the number of its defects."""
    found, defects = Counter[str](), list[str]()
    slowest_s, peak_bytes = 0.0, 0
    for seed, outcome, n, peak in outcomes(name, seeds):
        found.update({"opened": not outcome.refused, "refused": outcome.refused, "of": n,
                      "delivered": min(outcome.n_delivered, n), "exact": outcome.n_exact,
                      "silent": not outcome.told and outcome.n_exact < n})
        slowest_s, peak_bytes = max(slowest_s, outcome.seconds), max(peak_bytes, peak)
        if outcome.defect:
            defects.append(f"  {name}, variant {seed} ({KINDS[seed % 5]}): {outcome.defect}")
    cells = [name, len(seeds), found["opened"], found["refused"], f"{found['delivered'] / max(1, found['of']):.1%}",
             f"{found['exact'] / max(1, found['of']):.1%}", found["silent"], f"{slowest_s:.1f} s",
             f"{peak_bytes >> 20} MB", len(defects)]
    print(row(cells), *defects, sep="\n", flush=True)
    return len(defects)


def row(cells: object) -> str:
    """A line of the table."""
    return "".join(f"{cell!s:>10}" for cell in cells)  # type: ignore[attr-defined]


def main() -> None:
    """Fuzz the formats that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", type=int, default=500, help="of each format")
    parser.add_argument("--seed", type=int, default=0, help="the first variant")
    parser.add_argument("--format", action="append", choices=FORMATS, help="may be given several times; default: all")
    options = parser.parse_args()
    print(row(HEADER))
    seeds = range(options.seed, options.seed + options.variants)
    defects = sum(fuzz(name, seeds) for name in options.format or FORMATS)
    print("salvaged: events (of a video: pictures) delivered, of all that were there before the damage; exact: those "
          "that are as they were;\nsilent: variants that lack something without a word, because the format cannot show "
          "it")
    sys.exit(min(defects, 1))


if __name__ == "__main__":
    main()
