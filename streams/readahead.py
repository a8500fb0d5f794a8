"""What playback has read around its playhead: a bounded stretch of the recording and how far it is whole.

    buffer = ReadAhead(source, history_us=6_000_000, ahead_us=2_000_000, max_bytes=512 << 20)
    while buffer.wants_more(playhead_us): buffer.add(next(items))
    buffer.forget(playhead_us)

No threads, no clock and no reading: streams.player adds them.
"""

from __future__ import annotations

from streams.timeline import Timeline, begins_us, settled_us
from streams.types import Packet, Source

HISTORY_SLACK = 1.25
"""So much more than the history is kept that single steps back need no reading."""

FORGET_STEP_US = 200_000


class ReadAhead:
    """The items around a playhead.

    history_us, ahead_us: how much to keep behind and to read ahead. max_bytes: when data is denser than this
    allows, history gets shorter first, then less is read ahead.
    """

    def __init__(self, source: Source, history_us: int, ahead_us: int, max_bytes: int) -> None:
        self.source, self.info = source, source.info
        self.history_us, self.ahead_us, self.max_bytes = history_us, ahead_us, max_bytes
        self.timeline = Timeline(self.info)
        self.begin_us = self.info.start_us
        """Begin of the recording, None while unknown."""
        self.duration_us = self.info.duration_us
        """Its length: as the source states it, or else as read to the end once."""
        self.last_us: int | None = None
        """Newest time ever read."""
        self.settled_us: int | None = None
        """Everything from the begin of the buffer to this time is there."""
        self.exhausted = False
        """The source has nothing more to read at this place."""
        self.error: str | None = None
        """Why reading ended before the end."""
        self._from_us = self.start_us
        self._dropped_seen = source.losses.n_dropped

    @property
    def start_us(self) -> int:
        """Begin of the recording, 0 while unknown."""
        return self.begin_us or 0

    @property
    def stop_us(self) -> int:
        """End of playback: of the recording, or of what was read when that is unknown or damaged."""
        read_us = self.start_us if self.last_us is None else self.last_us + 1
        if self.duration_us is None:
            return read_us
        stated_us = self.start_us + self.duration_us
        if self.last_us is None or not self.exhausted:
            return stated_us
        return read_us if self.error or self.source.losses.damage else max(stated_us, read_us)

    @property
    def limit_us(self) -> int:
        """How far a playhead may go with what is here; far in the past when there is nothing."""
        if self.exhausted:
            return self.stop_us
        # Strictly before the settled time, so that a frame at the playhead itself is there too.
        return -(1 << 62) if self.settled_us is None else self.settled_us - 1

    def add(self, item: Packet) -> None:
        """Append the next item of the source."""
        item_us, until_us = begins_us(item), settled_us(item, self.info)
        if item_us is None or until_us is None:
            return
        if self.begin_us is None:
            self.begin_us = self._from_us = item_us
        n_dropped = self.source.losses.n_dropped
        self.timeline.add_dropped(item_us, n_dropped - self._dropped_seen)
        self._dropped_seen = n_dropped
        self.timeline.add(item)
        newest_us = self.timeline.last_us or until_us
        self.last_us = newest_us if self.last_us is None else max(self.last_us, newest_us)
        self.settled_us = until_us if self.settled_us is None else max(self.settled_us, until_us)

    def finish(self, error: str | None) -> None:
        """The source has ended, or failed for the reason given."""
        self.exhausted, self.error = True, error
        if self.timeline.last_us is not None:
            self.settled_us = self.timeline.last_us + 1
        if self.duration_us is None and self.last_us is not None and not self.info.live:
            self.duration_us = self.last_us + 1 - self.start_us

    def wants_more(self, playhead_us: int) -> bool:
        """Whether to read on: a live source always, a file until enough is there."""
        if self.exhausted or self.info.live or self.limit_us <= playhead_us:
            return not self.exhausted
        return self.limit_us < playhead_us + self.ahead_us and self.timeline.n_bytes < self.max_bytes

    @property
    def from_us(self) -> int:
        """Begin of what is here."""
        return self._from_us

    def restart_for(self, target_us: int, history_us: int | None = None) -> int | None:
        """Prepare for a playhead at target_us.

        None when the target and history_us before it (by default all that is usually kept) are here; otherwise
        everything is forgotten and the result is the place from which the source has to be read again.
        """
        needed_us = max(self.start_us, target_us - (self.history_us if history_us is None else history_us))
        if self._from_us <= needed_us and (self.exhausted or self.limit_us >= target_us):
            return None
        self.timeline, self._from_us = Timeline(self.info), max(self.start_us, target_us - self.history_us)
        self.settled_us, self.exhausted, self.error = None, False, None
        return self._from_us

    def continue_(self, other: ReadAhead) -> None:
        """Know of the recording what another buffer of it does, before anything is read."""
        self.begin_us, self.duration_us, self.last_us = other.begin_us, other.duration_us, other.last_us
        self._from_us = self.start_us

    def forget(self, playhead_us: int) -> None:
        """Release what lies too far behind the playhead."""
        from_us = playhead_us - int(self.history_us * HISTORY_SLACK)
        while True:
            if from_us > self._from_us:
                self.timeline.forget_before(from_us)
                self._from_us = from_us
            if self.timeline.n_bytes < self.max_bytes or from_us >= playhead_us:
                return
            from_us = min(playhead_us, max(from_us, self._from_us) + FORGET_STEP_US)
