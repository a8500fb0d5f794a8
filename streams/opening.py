"""Opening reads a recording once, which takes a while when it is large: whoever waits may watch.

    with watched(lambda share: print(share)):          # 0 to 1 of the file, None while nobody knows
        source = open_source("drive.raw")

A context variable, and no argument of every source: one that knows how far it is tells it, whoever asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

Tell = Callable[[float | None], None]
_watcher: ContextVar[Tell | None] = ContextVar("opening", default=None)


@contextmanager
def watched(tell: Tell) -> Iterator[None]:
    """Within the block, in this thread, tell(share) hears how much of a file was read to open it."""
    token = _watcher.set(tell)
    try:
        yield
    finally:
        _watcher.reset(token)


def tell_opening(path: Path | None = None, offset: int = 0) -> None:
    """Say that a file was read up to this byte; without a path, that nobody knows how far it is."""
    tell = _watcher.get()
    if tell is not None:
        tell(None if path is None else offset / max(1, path.stat().st_size))
