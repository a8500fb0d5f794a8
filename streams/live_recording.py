"""What a live player hands over, into an AEDAT4 file, without ever making the player wait.

    recording = LiveRecording(player.info, Path("walk.aedat4"))
    release = player.tap(recording.put)
    ...
    release(); recording.close()                # the file is in place; recording.n_dropped says what it lacks

It ends by itself when it is large or long enough, or when the disk fails; `ended` says why.
"""

from __future__ import annotations

import threading
from pathlib import Path

from streams.recorder import PACKET_EVENTS, QUEUE_PACKETS, Recorder
from streams.timeline import begins_us
from streams.types import Frame, InputError, Packet, SourceInfo

MOST_BYTES, MOST_S = 1 << 30, 600.0


class LiveRecording:
    """Events and frames of one live source. Raises InputError when the file cannot be written.

    n_dropped: events, and n_frames_dropped: frames, that came faster than the disk takes them. seconds: of the source.
    """

    def __init__(self, info: SourceInfo, path: Path, most_bytes: int = MOST_BYTES, most_s: float = MOST_S) -> None:
        self.path, self.ended = path, ""
        self.n_events = self.n_frames = self.n_dropped = self.n_frames_dropped = 0
        self.seconds = 0.0
        self._most_bytes, self._most_s = most_bytes, most_s
        # Frames that a reader makes of the events need not be stored: it makes them again.
        self._with_frames = info.frames_origin != "reconstructed" and info.frame_resolution is not None
        self._recorder = Recorder(
            path, info.event_resolution, info.frame_resolution if self._with_frames else None, info.events_origin,
            info.frames_origin if self._with_frames else None, info.sensor or info.name, "lz4",
            filters=info.filters)
        self._lock = threading.Lock()
        self._start_us: int | None = None

    @property
    def n_bytes(self) -> int:
        """Size of the file so far."""
        return self._recorder.n_bytes

    @property
    def empty(self) -> bool:
        """Whether nothing has reached the file yet."""
        return self._recorder.recorded_us is None

    def put(self, item: Packet) -> None:
        """The next item of the source; returns at once and never raises."""
        with self._lock:
            begin_us = begins_us(item)
            if self.ended or begin_us is None or (isinstance(item, Frame) and not self._with_frames):
                return
            self._start_us = begin_us if self._start_us is None else self._start_us
            self.seconds = max(self.seconds, (begin_us - self._start_us) / 1e6)
            if self.n_bytes >= self._most_bytes:
                self.ended = f"it has {self.n_bytes / 1e9:.1f} GB, more is not recorded"
            elif self.seconds >= self._most_s:
                self.ended = f"it lasts {self._most_s / 60:.0f} minutes, more is not recorded"
            else:
                self._write(item)

    def _write(self, item: Packet) -> None:
        is_frame = isinstance(item, Frame)
        room = QUEUE_PACKETS - self._recorder.waiting
        if (1 if is_frame else -(-len(item) // PACKET_EVENTS)) > room:  # type: ignore[arg-type]
            self.n_frames_dropped += is_frame
            self.n_dropped += 0 if is_frame else len(item)  # type: ignore[arg-type]
            return
        try:
            self._recorder.write(item)
        except InputError as error:
            self.ended = str(error)
        except ValueError:
            # Not of this stream: a camera that came back in another mode.
            self.n_frames_dropped += is_frame
            self.n_dropped += 0 if is_frame else len(item)  # type: ignore[arg-type]
        else:
            self.n_frames += is_frame
            self.n_events += 0 if is_frame else len(item)  # type: ignore[arg-type]

    def end(self, reason: str) -> None:
        """Take no more; the file is still to be closed."""
        with self._lock:
            self.ended = self.ended or reason

    def close(self) -> None:
        """Finish the file; may be called any number of times. Raises InputError when the disk failed."""
        self.end("it was stopped")
        self._recorder.close()

    def discard(self) -> None:
        """End without a file."""
        self.end("it was given up")
        self._recorder.abort()
        self.path.unlink(missing_ok=True)
