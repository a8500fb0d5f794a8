"""What a live player hands over, into an AEDAT4 file, without ever making the player wait.

    recording = LiveRecording(player.info, Path("walk.aedat4"))
    releases = player.tap(recording.put), player.sensors.tap(recording.put)
    ...
    recording.close()                           # the file is in place; recording.n_dropped says what it lacks

It ends by itself when it is large or long enough, or when the disk fails; `ended` says why.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from streams.recorder import PACKET_EVENTS, QUEUE_PACKETS, Recorder
from streams.timeline import begins_us
from streams.types import Frame, InputError, Packet, Samples, SourceInfo

MOST_BYTES, MOST_S = 1 << 30, 600.0


class LiveRecording:
    """Events, frames, IMU samples and triggers of one live source. Raises InputError when the file cannot be written.

    n_dropped: events, n_frames_dropped: frames, and n_samples_dropped: IMU samples and triggers, that came faster than
    the disk takes them. seconds: of the source.
    """

    def __init__(self, info: SourceInfo, path: Path, most_bytes: int = MOST_BYTES, most_s: float = MOST_S) -> None:
        self.path, self.ended = path, ""
        self.n_events = self.n_frames = self.n_imu = self.n_triggers = 0
        self.n_dropped = self.n_frames_dropped = self.n_samples_dropped = 0
        self.seconds = 0.0
        self._most_bytes, self._most_s = most_bytes, most_s
        # Frames that a reader makes of the events need not be stored: it makes them again.
        self._with_frames = info.frames_origin != "reconstructed" and info.frame_resolution is not None
        self._with_samples = bool(info.samples)
        self._recorder = Recorder(
            path, info.event_resolution, info.frame_resolution if self._with_frames else None, info.events_origin,
            info.frames_origin if self._with_frames else None, info.sensor or info.name, "lz4",
            sensors=self._with_samples, filters=info.filters)
        self._lock = threading.Lock()
        self._start_us: int | None = None

    @property
    def n_bytes(self) -> int:
        """Size of the file so far."""
        return self._recorder.n_bytes

    @property
    def empty(self) -> bool:
        """Whether no event and no frame has come, or nothing has reached the file yet."""
        return self._start_us is None or self._recorder.recorded_us is None

    def put(self, item: Packet | Samples) -> None:
        """The next item or samples of the source, from any thread; returns at once and never raises."""
        with self._lock:
            if isinstance(item, Samples):
                if not self.ended and len(item.data):
                    self._write(item)
                return
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

    def _write(self, item: Packet | Samples) -> None:
        n_packets = -(-len(item) // PACKET_EVENTS) if isinstance(item, np.ndarray) else 1
        no_place = isinstance(item, Samples) and not self._with_samples
        if no_place or n_packets > QUEUE_PACKETS - self._recorder.waiting:
            self._count_dropped(item)
            return
        try:
            self._recorder.write(item)
        except InputError as error:
            self.ended = str(error)
        except ValueError:
            # Not of this stream: a camera that came back in another mode.
            self._count_dropped(item)
        else:
            self._count(item)

    def _count(self, item: Packet | Samples) -> None:
        if isinstance(item, Frame):
            self.n_frames += 1
        elif not isinstance(item, Samples):
            self.n_events += len(item)
        elif item.kind == "imu":
            self.n_imu += len(item.data)
        else:
            self.n_triggers += len(item.data)

    def _count_dropped(self, item: Packet | Samples) -> None:
        if isinstance(item, Frame):
            self.n_frames_dropped += 1
        elif isinstance(item, Samples):
            self.n_samples_dropped += len(item.data)
        else:
            self.n_dropped += len(item)

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
