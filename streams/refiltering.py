"""What a player plays, behind filters that are chosen while it plays.

    player = behind(player, ["noise:5"])        # a recording: at the same place; the player before is over
    mine = behind(shared, ["hot"])              # a live source: it plays on unfiltered for everybody else

The filters that somebody chose before are replaced, those that the source was opened with stay.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

import numpy as np

from streams.filtering import FilterCount, filter_counts, filtered
from streams.player import Player
from streams.types import Frame, InputError, Losses, Packet, Source, SourceInfo, empty_packet

PULSE_S = 0.1
"""So often an empty packet says that time passes while the live source gives nothing."""
MOST_WAITING = 4096
"""Items that may wait for slow filters, beside those that were there at the beginning."""


def behind(player: Player, specs: Sequence[str]) -> Player:
    """What a player plays, behind filters NAME[:VALUE] (see filtering.fitting for which do), in a started player.

    A recording is taken over, and goes on where it is and as it plays. A live player plays on; the new one begins with
    what that has kept. Raises InputError, and closes a recording, when the source cannot be read any more.
    """
    live = player.info.live
    bare: Source = Tapped(player) if live else player.hand_over()
    try:
        if not live and bare.info.start_us is not None:
            bare.seek(bare.info.start_us)  # filters that learn do so from the first part
        source = filtered(bare, specs)
    except BaseException:
        bare.close()  # it is nobody else's any more
        raise
    twin = Player(source, player.history_us, loop=player.loop, sensors=player.sensors)
    twin.bare, twin.filters = bare, tuple(specs)
    if not live:
        twin.stand_as(player)
    return twin.start()


class Tapped:
    """What a live player reads, as a source of its own: first what the player has kept, then everything that comes.

    When it is read too slowly the oldest is dropped and counted. Closing it leaves the player alone.
    """

    def __init__(self, player: Player) -> None:
        self._player = player
        made_by = type(player.source).__module__.rpartition(".")[2]
        self._info = replace(player.info, format=player.info.format or made_by)
        self._seen = replace(player.source.losses)
        self.losses = replace(player.source.losses)
        self._waiting: deque[Packet] = deque()
        self._most: float = float("inf")
        self._changed = threading.Condition()
        self._closed = False
        self._release = player.tap(self._hear, kept=True)
        self._most = len(self._waiting) + MOST_WAITING

    @property
    def info(self) -> SourceInfo:
        """What the live source is."""
        return self._info

    @property
    def counts(self) -> list[FilterCount]:
        """What the filters of the live source itself have let through."""
        return filter_counts(self._player.source)

    def _hear(self, item: Packet) -> None:
        with self._changed:
            if len(self._waiting) >= self._most:
                oldest = self._waiting.popleft()
                if isinstance(oldest, Frame):
                    self.losses.n_others_dropped += 1
                else:
                    self.losses.n_dropped += len(oldest)
            self._waiting.append(item)
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Packet]:
        while not self._closed:
            with self._changed:
                if not self._waiting:
                    self._changed.wait(PULSE_S)
                item = self._waiting.popleft() if self._waiting else None
            self._follow()
            if item is not None:
                yield item
                continue
            state = self._player.state()
            if state.error is not None:
                raise InputError(state.error)
            if state.ended or self._player.closed:
                return
            yield empty_packet()

    def _follow(self) -> None:
        """What the live source has lost since, is lost here too."""
        now, seen = replace(self._player.source.losses), self._seen
        self._seen = now
        for name in (of.name for of in fields(Losses)):
            value = getattr(now, name)
            if isinstance(value, int):
                value = getattr(self.losses, name) + value - getattr(seen, name)
            setattr(self.losses, name, value)

    def seek(self, t_us: int) -> None:
        """A live source has no other places. Raises InputError."""
        raise InputError(f"{self._info.name} is live and cannot be sought; record it first")

    def rate_histogram(self, bins: int) -> np.ndarray:
        """A live source has no histogram. Raises InputError."""
        raise InputError(f"{self._info.name} is live and has no histogram; record it first")

    def close(self) -> None:
        """Hear no more. May be called any number of times."""
        self._closed = True
        self._release()

    def __enter__(self) -> Tapped:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
