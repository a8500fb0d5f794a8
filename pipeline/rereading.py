"""What a decoder read lately, so that a second question about a window reads only its words.

    known = find(decoder, cache, x, taps)            # before a pass over rows x [1, T, D] into an empty cache
    keep(decoder, cache, x, taps, hidden, cosines)   # after it

A row's keys and values depend on that row and those before it alone, so rows that begin like those of an earlier
reading need no pass (prompt caching: Gim et al. 2024). Rows are compared by their numbers, never by where they come
from. On a processor with compiled passes what is taken over equals what a pass would give bit for bit, otherwise but
for rounding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import Tensor

from pipeline.decoder import Decoder, KVCache

RECENT = 2
"""Readings kept per decoder: the one that a caption is about, and the one that questions are about."""

MOST_BYTES = 1 << 30
"""Memory for the keys and values of one decoder's readings; what alone needs more is not kept."""

LEAST = 0.5
"""Share of the rows that must be known: a pass that begins in the middle needs a mask."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Rows x [T, D] as they were read with weights that `stamp` identifies: keys and values [layers, 1, kv_heads, T or
    more, head_size], tapped states hidden [1, T, taps, D], and per layer the mean cosine before and after attention."""

    stamp: object
    taps: tuple[int, ...]
    x: Tensor
    keys: Tensor
    values: Tensor
    hidden: Tensor
    cosines: list[Tensor]


_readings: WeakKeyDictionary[Decoder, deque[Reading]] = WeakKeyDictionary()


def find(decoder: Decoder, cache: KVCache, x: Tensor, taps: Sequence[int]) -> tuple[Reading, int] | None:
    """The reading that begins most like rows x [1, T, D] and how many rows they have in common, at most T - 1; None
    where too few."""
    if not (readings := list(_readings.get(decoder, ()))):
        return None
    best, most = None, max(1, int(LEAST * x.shape[1])) - 1
    stamp = _stamp(decoder, cache)
    for reading in readings:
        count = min(len(reading.x), x.shape[1] - 1)
        if count > most and reading.taps == tuple(taps) and reading.stamp == stamp:
            alike = (reading.x[:count] == x[0, :count]).all(1)
            common = count if bool(alike.all()) else int(alike.int().argmin())
            if common > most:
                best, most = reading, common
    return None if best is None else (best, most)


def keep(decoder: Decoder, cache: KVCache, x: Tensor, taps: Sequence[int], hidden: Tensor,
         cosines: list[Tensor]) -> None:
    """Remember what was just read, but for its last row, which the answer's first pass writes again: rows x [1, T, D],
    which lie in the cache, and their tapped states [1, T, taps, D]."""
    keys, values, rows = cache.keys, cache.values, x.shape[1] - 1
    if cache.compiled is None:
        # a large model's cache has room for a long answer, or is lent to the next one; a small one may as well stay:
        # an answer never changes what lies before it
        keys, values = (store[:, :, :, :rows].clone() for store in (keys, values))
    reading = Reading(_stamp(decoder, cache), tuple(taps), x[0, :rows], keys, values, hidden[:, :rows], cosines)
    kept = _readings.setdefault(decoder, deque(maxlen=RECENT))
    kept.append(reading)
    while sum(one.keys.nbytes + one.values.nbytes for one in list(kept)) > MOST_BYTES:
        kept.popleft()


def forget() -> None:
    """Read everything anew from now on: for measurements."""
    _readings.clear()


def take_over(reading: Reading, rows: int, cache: KVCache) -> None:
    """Begin an empty cache with the first rows of a reading."""
    cache.keys[:, :, :, :rows] = reading.keys[:, :, :, :rows]
    cache.values[:, :, :, :rows] = reading.values[:, :, :, :rows]
    cache.keep(range(rows))


def _stamp(decoder: Decoder, cache: KVCache) -> object:
    """Equal only where the weights are the same: training changes them in place."""
    if cache.compiled is not None:
        return cache.compiled  # made anew when they change
    return [(weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in decoder.parameters()]
