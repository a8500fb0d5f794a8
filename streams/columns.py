"""Tables of events whose columns and unit of time nobody states: which column is what, and how long a tick is.

    columns = sniffed(rows)                      # [n, 4] numbers: 'txyp' for t, x, y, polarity
    tick_us = tick_of(t)                         # 1e6 for seconds, 1 for µs, ...
    packet = packet_of(t, x, y, p, tick_us, losses)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streams.types import Events, InputError, Losses, empty_packet, events_from_columns

ORDERS = ("txyp", "xypt", "xytp", "tpxy", "ptxy", "pxyt", "tyxp")
"""In use, most frequent first."""
NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs", "x_coord", "col", "column"),
    "y": ("y", "ys", "y_coord", "row"),
    "p": ("p", "ps", "pol", "polarity", "on", "polarities"),
}
UNITS_US = {"s": 1e6, "sec": 1e6, "seconds": 1e6, "ms": 1e3, "us": 1.0, "µs": 1.0, "ns": 1e-3}
FEWEST_HZ, MOST_HZ = 200.0, 1e9
"""Rates in events per second that a recording can have on the average."""
ENOUGH_EVENTS = 50
LARGEST_SIDE = 4096
EPOCH_NS, EPOCH_US = 1e17, 1e14
"""Times above these are nanoseconds or microseconds since 1970."""


def column_of(name: str) -> tuple[str, float | None]:
    """('t' | 'x' | 'y' | 'p' | '', tick in µs or None) for a column's name such as "Timestamp [us]" or "time_ns"."""
    words = name.strip().strip('"').lower().replace("[", "_").replace("(", "_").rstrip(")]").split("_")
    words = [word.strip() for word in words if word.strip()]
    unit = UNITS_US.get(words[-1]) if len(words) > 1 else None
    bare = "_".join(words[:-1] if unit else words)
    column = next((column for column, names in NAMES.items() if bare in names), "")
    return column, unit if column == "t" else None


def sniffed(rows: np.ndarray) -> str:
    """The order of the columns of rows [n, 4 or more], one of ORDERS with '-' for further ones. Raises InputError."""
    for order in ORDERS:
        columns = {letter: rows[:, place] for place, letter in enumerate(order)}
        if _fits(**columns):
            return order + "-" * (rows.shape[1] - len(order))
    raise InputError("its columns are not time, x, y and polarity in any usual order; name them in a first line "
                     "such as t,x,y,p")


def _fits(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> bool:
    whole = all(np.array_equal(column, np.floor(column)) for column in (x, y, p))
    inside = whole and min(x.min(), y.min()) >= 0 and max(x.max(), y.max()) < LARGEST_SIDE
    polar = set(np.unique(p)) <= {-1, 0, 1}
    # Not a difference: that of unsigned numbers is never negative.
    forward = len(t) < 2 or np.mean(t[1:] >= t[:-1]) > 0.9
    return bool(inside and polar and forward)


def tick_of(t: np.ndarray) -> float:
    """Length in µs of the unit of times [n], numbers in s, ms, µs or ns, by their size and the rate they imply."""
    finite = t[np.isfinite(t)].astype(np.float64)
    if len(finite) == 0:
        return 1.0
    fractions = bool(np.any(finite != np.floor(finite)))
    largest = float(np.abs(finite).max())
    if largest >= EPOCH_US:
        return 1e-3 if largest >= EPOCH_NS else 1.0
    ticks = (1e6, 1e3, 1.0, 1e-3) if fractions else (1.0, 1e-3, 1e3, 1e6)
    span = float(finite.max() - finite.min())
    if len(finite) < ENOUGH_EVENTS or span == 0:
        return ticks[0]
    plausible = [tick for tick in ticks if FEWEST_HZ <= len(finite) / (span * tick * 1e-6) <= MOST_HZ]
    return plausible[0] if plausible else ticks[0]


def packet_of(columns: Sequence[np.ndarray], tick_us: float, losses: Losses) -> Events:
    """Raw events from columns t, x, y, p, each [n] of numbers; those that are no pixel or no time are rejected."""
    t, x, y, p = columns
    if len(t) == 0:
        return empty_packet()
    good = np.ones(len(t), bool)
    for values, highest in ((x, 0xFFFF), (y, 0xFFFF), (t, float(1 << 62) / max(tick_us, 1.0))):
        lowest = -highest if values is t else 0
        good &= (values >= lowest) & (values <= highest)
        if values is not t and values.dtype.kind == "f":
            good &= values == np.floor(values)
    losses.n_rejected += len(t) - int(np.count_nonzero(good))
    t = t[good]
    # Times since 1970 in ns do not fit a float64.
    t_us = t.astype(np.int64) if tick_us == 1 and t.dtype.kind != "f" else (
        t.astype(np.int64) // 1000 if tick_us == 1e-3 and t.dtype.kind != "f" else
        np.round(t.astype(np.float64) * tick_us).astype(np.int64))
    return events_from_columns(t_us, x[good], y[good], p[good] > 0)
