"""The shared memory between the program and a supervised child: slots that bulk data lies in (streams/isolation.py).

    ring = Ring(slot_bytes=1 << 20)
    packet = ring.array(slot, EVENT_DTYPE, n).copy()
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from multiprocessing import shared_memory

import numpy as np

RING_BYTES = 32 << 20
"""Size of the shared block; half of the 64 MiB of /dev/shm that containers get by default."""


class Ring:
    """Shared-memory slots of slot_bytes each; the name is gone after unlink(), the memory after close()."""

    def __init__(self, slot_bytes: int) -> None:
        self.slots = max(4, RING_BYTES // slot_bytes)
        self.slot_bytes = slot_bytes
        self._memory = shared_memory.SharedMemory(create=True, size=self.slots * slot_bytes)
        self.name = self._memory.name
        self._closing = threading.Lock()
        self.unlink = weakref.finalize(self, self._memory.unlink)

    def array(self, slot: int, dtype: np.dtype, count: int) -> np.ndarray:
        """View [count] of dtype on one slot. Raises ValueError when it does not fit (a lying child)."""
        if not 0 <= slot < self.slots or not 0 <= count * dtype.itemsize <= self.slot_bytes:
            raise ValueError(f"slot {slot} of {self.slots} cannot hold {count} x {dtype.itemsize} bytes")
        if self._memory.buf is None:
            raise ValueError("the slots are released")
        return np.frombuffer(self._memory.buf, dtype, count, slot * self.slot_bytes)

    def close(self) -> None:
        """Release; a view that somebody still reads keeps the mapping until it is gone. From any thread."""
        self.unlink()
        # Two at once would close its file twice, which may be another one's by then.
        with self._closing, contextlib.suppress(BufferError):
            self._memory.close()
