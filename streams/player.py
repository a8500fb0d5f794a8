"""Playback: a clock and a bounded buffer between a source and whoever looks at it.

    player = Player(open_source("drive.aedat4")).start()
    player.play()
    player.state().position_us ; player.frame_at(player.state().position_us) ; player.close()

A thread reads ahead of the playhead; the playhead follows the recording's own time, and waits when the data
for it is not there yet. A live source is drained always and its playhead is the newest data. All methods may
be called from any thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from streams.filtering import FilterCount, filter_counts
from streams.readahead import ReadAhead
from streams.sensor_taps import SensorTaps
from streams.timeline import Timeline
from streams.types import Events, Frame, InputError, Packet, Source, Window
from streams.windows import clamped_span

SLOWEST, FASTEST = 0.01, 8.0
RATE_SPAN_US = 200_000
POLL_S = 0.05
LOOP_HISTORY_US = 1_000_000
"""What must be there before the start of a range that plays again and again, so that going back reads nothing."""
SHORTEST_LOOP_US = 10_000
HAND_OVER_S = 60.0
"""Patience with a source that is being read, or counted from its start to its end."""
DELAYS = 200
"""So many newest items of a live source say how late it is."""


@dataclass(frozen=True)
class PlayerState:
    """What the player is doing; times in µs of the recording's clock.

    read_us: everything before it is here; far in the past when nothing is. duration_us: None when not known.
    oldest_us, newest_us: what can be shown at all: the recording, or what is kept of a live source. following: a
    live source shows its newest data. ended: the last of the recording is shown. loading: the data for the
    playhead is not here yet. error: why reading stopped, one sentence. event_rate_hz: over the last 200 ms of
    recording. n_dropped, n_others_dropped, n_late, n_rejected, damage, n_gaps, outage, arrived_s, skew: see
    streams.types.Losses. filters: what each filter of the source has let through so far. delay_s: how long at most
    95 % of the newest items of a live source took from their arrival here until they could be shown.
    """

    position_us: int
    start_us: int
    read_us: int
    duration_us: int | None
    playing: bool
    speed: float
    live: bool
    ended: bool
    loading: bool
    error: str | None
    n_dropped: int
    n_rejected: int
    event_rate_hz: float
    damage: str | None
    oldest_us: int
    newest_us: int
    following: bool
    n_gaps: int = 0
    outage: str | None = None
    arrived_s: float | None = None
    delay_s: float | None = None
    skew: str | None = None
    n_others_dropped: int = 0
    n_late: int = 0
    filters: tuple[FilterCount, ...] = ()


class Player:
    """Plays one source, which it owns.

    history_us, ahead_us: how much is kept behind and read ahead of the playhead. clock: seconds, monotonic.
    loop: begin again at the end. max_bytes: size of the buffer; dense data shortens the history first.
    A file begins paused at its start, a live source plays from the beginning and always at speed 1.
    filters: what somebody who looks here chose to look through, see streams.refiltering; bare: the source before them.
    sensors: what the source was opened with, if it was, so that its IMU and triggers can be tapped.
    """

    def __init__(self, source: Source, history_us: int = 6_000_000, ahead_us: int = 2_000_000,
                 clock: Callable[[], float] = time.monotonic, *, loop: bool = False,
                 max_bytes: int = 512 << 20, sensors: SensorTaps | None = None) -> None:
        self.source, self.info, self.loop = source, source.info, loop
        self.sensors = sensors or SensorTaps()
        self.bare, self.filters = source, tuple[str, ...]()
        self._clock = clock
        self._buffer = ReadAhead(source, history_us, ahead_us, max_bytes)
        self._frozen: Timeline | None = None
        self._taps: list[Callable[[Packet], None]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = self._handed_over = False
        self._seek_us: int | None = None
        self._bins_wanted: set[int] = set()
        self._histograms: dict[int, np.ndarray] = {}
        self._delays_s: deque[float] = deque(maxlen=DELAYS)
        self._playing, self._waiting, self._speed = self.info.live, False, 1.0
        self._loop_us: tuple[int, int] | None = None
        self._anchor(self._buffer.start_us)

    def start(self) -> Player:
        """Begin to read; returns the player."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="player", daemon=True)
                self._thread.start()
        return self

    def close(self) -> None:
        """Stop reading and close the source. May be called any number of times."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._handed_over:
            return
        if self._thread is not None:
            # The source is closed under a reading thread only when that does not come back by itself.
            self._thread.join(0.2 if self.info.live else 1.0)
        self.source.close()
        if self._thread is not None:
            self._thread.join(5.0)

    def hand_over(self) -> Source:
        """Stop reading for good and give away the source before the filters, open; what was read is still shown.

        Raises InputError, and closes everything, when reading does not stop.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(HAND_OVER_S)
            if self._thread.is_alive():
                self.source.close()
                raise InputError(f"{self.info.name} does not answer; open it again")
        self._handed_over = True
        return self.bare

    def stand_as(self, other: Player) -> None:
        """Before start(): go on in a recording where another player of it stands, as that one plays."""
        with other._changed, self._changed:
            other._advance()
            self._clock = other._clock
            self._buffer.continue_(other._buffer)
            self._histograms = dict(other._histograms)
            self._playing, self._speed, self._loop_us = other._playing, other._speed, other._loop_us
            if self._buffer.begin_us is not None:
                self._jump(other._position_us)

    @property
    def history_us(self) -> int:
        """How much is kept behind the playhead."""
        return self._buffer.history_us

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def play(self) -> None:
        """Let the playhead run; from the start when the recording has ended. Live: follow the newest data."""
        with self._changed:
            self._advance()
            if self._at_end() and not self.info.live:
                self._jump(self._buffer.start_us)
            self._playing, self._frozen = not (self.info.live and self._buffer.exhausted), None
            self._anchor(self._position_us)
            self._changed.notify_all()

    def pause(self) -> None:
        """Stop the playhead. Live: freeze the picture while the source is still drained."""
        with self._changed:
            self._advance()
            if self.info.live and self._playing:
                self._frozen = self._buffer.timeline.copy()
            self._playing = False
            self._changed.notify_all()

    def seek(self, t_us: int) -> None:
        """Move the playhead to t_us, clamped to the recording, with history before it.

        Raises InputError for a live source and for a source that gave no data within 5 s.
        """
        if self.info.live:
            raise InputError(f"{self.info.name} is live and cannot be sought; record it first")
        self.wait_until(lambda _: self._buffer.begin_us is not None or self._buffer.exhausted)
        with self._changed:
            if self._buffer.begin_us is None:
                raise InputError(f"{self.info.name} has no data to seek in; give a recording with data")
            self._advance()
            self._jump(t_us)

    def step(self, dt_us: int) -> None:
        """Pause and move the playhead by dt_us, either way. Raises InputError for a live source."""
        self.pause()
        self.seek(self.state().position_us + dt_us)

    @property
    def speed(self) -> float:
        """Seconds of recording per second, 0.01 to 8; other values and changes to a live one: InputError."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        if not SLOWEST <= speed <= FASTEST:
            raise InputError(f"the speed must lie between {SLOWEST} and {FASTEST:g}, got {speed:g}")
        if self.info.live and speed != 1:
            raise InputError(f"{self.info.name} is live and plays at speed 1 only, got {speed:g}")
        with self._changed:
            self._advance()
            self._anchor(self._position_us)
            self._speed = float(speed)
            self._changed.notify_all()

    @property
    def loop_us(self) -> tuple[int, int] | None:
        """Start and end of the part that plays again and again, None = everything; shorter than 10 ms: InputError."""
        return self._loop_us

    @loop_us.setter
    def loop_us(self, span_us: tuple[int, int] | None) -> None:
        if span_us is not None and span_us[1] - span_us[0] < SHORTEST_LOOP_US:
            raise InputError(f"a part to repeat lasts at least {SHORTEST_LOOP_US / 1000:g} ms, got "
                             f"{(span_us[1] - span_us[0]) / 1000:g} ms; choose a longer one")
        with self._changed:
            self._advance()
            self._loop_us = span_us
            self._changed.notify_all()

    def tap(self, hear: Callable[[Packet], None], kept: bool = False) -> Callable[[], None]:
        """Let hear(item) have everything that is read from now on, at once in the reading thread; call what you get to
        end that. It must be quick and never raise. kept: first what is in the buffer, from this thread."""
        with self._changed:
            for item in self._buffer.timeline.items() if kept else ():
                hear(item)
            self._taps.append(hear)

        def release() -> None:
            with self._changed:
                self._taps = [other for other in self._taps if other is not hear]

        return release

    def kept(self) -> Timeline:
        """What is in the buffer now, unaffected by what comes later or is forgotten."""
        with self._changed:
            return self._shown().copy()

    def state(self) -> PlayerState:
        """Where playback stands now."""
        with self._changed:
            self._advance()
            losses, buffer = self.source.losses, self._buffer
            return PlayerState(
                self._position_us, buffer.start_us, buffer.limit_us, buffer.duration_us, self._playing, self._speed,
                self.info.live, ended=self._at_end() and not self._playing, loading=self._waiting,
                error=buffer.error, n_dropped=losses.n_dropped, n_rejected=losses.n_rejected,
                event_rate_hz=self._event_rate_hz(), damage=losses.damage,
                oldest_us=buffer.from_us if self.info.live else buffer.start_us,
                newest_us=buffer.stop_us, following=self.info.live and self._playing, n_gaps=losses.n_gaps,
                outage=losses.outage, arrived_s=losses.arrived_s, delay_s=self._delay_s(), skew=losses.skew,
                n_others_dropped=losses.n_others_dropped, n_late=losses.n_late,
                filters=tuple(replace(count) for count in filter_counts(self.source)))

    def events(self, start_us: int, end_us: int) -> Events:
        """Events in [start_us, end_us) that are in the buffer, sorted, a copy."""
        with self._changed:
            return self._shown().events(start_us, end_us)

    def frame_at(self, t_us: int) -> Frame | None:
        """Latest frame at or before t_us that is in the buffer."""
        with self._changed:
            return self._shown().frame_at(t_us)

    def window(self, end_us: int, length_us: int) -> Window:
        """The window that ends at end_us, moved into the recording when it would stick out; from the buffer.

        While state().loading it may lack data. Raises InputError before the first data and for a length
        below 1 µs.
        """
        if length_us < 1:
            raise InputError(f"a window needs a length of at least 1 µs, got {length_us}; give more")
        with self._changed:
            self._advance()
            if self._buffer.begin_us is None:
                raise InputError(f"{self.info.name} has given no data yet; try again when it plays")
            stop_us = self._position_us if self.info.live else self._buffer.stop_us
            span = clamped_span(end_us, length_us, self._buffer.start_us, stop_us)
            return self._shown().window(*span, self._buffer.start_us)

    def rate_histogram(self, bins: int, timeout_s: float = 30.0) -> np.ndarray:
        """The source's rate_histogram, float64 [bins], computed once by the reading thread.

        Raises InputError for a live source and when it took longer than timeout_s.
        """
        if self.info.live:
            raise InputError(f"{self.info.name} is live and has no histogram; record it first")
        with self._changed:
            if bins not in self._histograms:
                self._bins_wanted.add(bins)
                self._changed.notify_all()
            if not self._changed.wait_for(lambda: bins in self._histograms or self._closed, timeout_s):
                raise InputError(f"counting events of {self.info.name} took longer than {timeout_s:.0f} s")
            return self._histograms.get(bins, np.zeros(bins))

    def wait_until(self, predicate: Callable[[PlayerState], bool], timeout_s: float = 5.0) -> bool:
        """Wait until the predicate holds for the state, False after timeout_s of real time."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not predicate(self.state()):
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or self._closed:
                    return False
                self._changed.wait(min(POLL_S, left_s))
        return True

    # The playhead; everything below except _run runs with the lock held.

    def _at_end(self) -> bool:
        return self._buffer.exhausted and (self.info.live or self._position_us >= self._buffer.limit_us)

    def _shown(self) -> Timeline:
        return self._frozen or self._buffer.timeline

    def _anchor(self, position_us: int) -> None:
        self._position_us = self._anchor_us = position_us
        self._anchor_s = self._clock()

    def _advance(self) -> None:
        """Move the playhead to where the clock says, at most to where data is."""
        if self.info.live:
            self._waiting = self._buffer.last_us is None and not self._buffer.exhausted
            if self._playing and self._buffer.last_us is not None:
                self._position_us = self._buffer.last_us
            return
        limit_us, wanted_us = self._buffer.limit_us, self._position_us
        if self._playing:
            wanted_us = self._anchor_us + round((self._clock() - self._anchor_s) * 1e6 * self._speed)
            if self._loop_us is not None and wanted_us >= min(self._loop_us[1], self._buffer.stop_us):
                self._jump(self._loop_us[0], LOOP_HISTORY_US)
                limit_us, wanted_us = self._buffer.limit_us, self._position_us
        ahead = limit_us > wanted_us or (limit_us == wanted_us and not self._playing)
        self._waiting = not (ahead or self._buffer.exhausted)
        if not self._playing or limit_us > wanted_us:
            self._position_us = wanted_us
        elif not self._buffer.exhausted:
            self._anchor(max(self._position_us, limit_us))
        elif self.loop and self._buffer.error is None and self._buffer.stop_us > self._buffer.start_us:
            self._jump(self._buffer.start_us)
        else:
            self._anchor(limit_us)
            self._playing = False
            self._changed.notify_all()

    def _jump(self, t_us: int, history_us: int | None = None) -> None:
        target_us = max(self._buffer.start_us, min(t_us, self._buffer.stop_us))
        again_us = self._buffer.restart_for(target_us, history_us)
        if again_us is not None:
            self._seek_us = again_us
        self._anchor(target_us)
        self._changed.notify_all()

    def _event_rate_hz(self) -> float:
        from_us = max(self._buffer.start_us, self._position_us - RATE_SPAN_US)
        span_us = self._position_us - from_us
        return self._shown().count(from_us, self._position_us) / (span_us * 1e-6) if span_us > 0 else 0.0

    def _delay_s(self) -> float | None:
        return sorted(self._delays_s)[len(self._delays_s) * 19 // 20] if self._delays_s else None

    # Reading.

    def _run(self) -> None:
        items: Iterator[Packet] | None = None
        while self._wait_for_work():
            with self._changed:
                bins = self._bins_wanted.pop() if self._bins_wanted else None
                seek_us = None
                if bins is None:
                    seek_us, self._seek_us = self._seek_us, None
            if bins is not None:
                self._count_rates(bins)
                continue
            try:
                if seek_us is not None:
                    self.source.seek(seek_us)
                if items is None or seek_us is not None:
                    items = iter(self.source)
                item = next(items, None)
            except Exception as raised:  # a source may fail in any way; the state carries the sentence
                items = None
                self._take(None, _sentence(self.info.name, raised))
            else:
                self._take(item, None)

    def _wait_for_work(self) -> bool:
        """Block until there is something to read, to seek or to count; False when closed."""
        with self._changed:
            while not self._closed:
                self._advance()
                newest_us = self._buffer.timeline.last_us or 0
                self._buffer.forget(newest_us if self.info.live else min(newest_us, self._position_us))
                more = self._buffer.wants_more(self._position_us)
                if more or self._bins_wanted or self._seek_us is not None:
                    return True
                self._changed.wait(POLL_S if self._playing else None)
            return False

    def _take(self, item: Packet | None, error: str | None) -> None:
        with self._changed:
            if self._seek_us is not None:
                return  # read at a place that the playhead has left
            # The clock first uses up the data it had: it does not run on while it waits.
            self._advance()
            unknown = self._buffer.begin_us is None
            if item is None:
                self._buffer.finish(error)
            else:
                self._buffer.add(item)
                for hear in self._taps:
                    hear(item)
                arrived_s = self.source.losses.arrived_s
                if arrived_s is not None and (isinstance(item, Frame) or len(item)):
                    self._delays_s.append(self._clock() - arrived_s)
            if unknown or (not self.info.live and self._buffer.exhausted):
                self._anchor(max(self._buffer.start_us, min(self._position_us, self._buffer.stop_us)))
            self._advance()
            if self.info.live and self._buffer.exhausted:
                self._playing = False
            self._changed.notify_all()

    def _count_rates(self, bins: int) -> None:
        try:
            histogram = self.source.rate_histogram(bins)
        except Exception:  # a recording that cannot be counted has a flat curve; reading reports the reason
            histogram = np.zeros(bins)
        with self._changed:
            self._histograms[bins] = histogram
            self._changed.notify_all()


def _sentence(name: str, error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"reading {name} stopped: {first_line}"
