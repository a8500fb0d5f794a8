"""Moving pictures as a file that browsers and players show, or as a folder of PNG.

    with Film(Path("walk.mp4"), (640, 480), fps=30) as film:   # .mp4 H.264, .webm VP9, .gif, no suffix: a folder
        film.show(picture, 1 / 30)                         # uint8 [480, 640, 3] RGB, for how many seconds

Pictures are encoded as they come, by FFmpeg through PyAV: nothing piles up in memory. A folder gets timestamps.txt with
the µs at which each picture is shown, and can be opened as a recording again.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from streams.types import InputError

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# VP9 without its fast settings takes a second per picture (measured).
CODECS = {".mp4": ("libx264", "yuv420p", {"crf": "18", "preset": "veryfast"}),
          ".webm": ("libvpx-vp9", "yuv420p", {"crf": "30", "b:v": "0", "deadline": "realtime", "cpu-used": "8"}),
          ".gif": ("gif", "pal8", {})}
"""By suffix: FFmpeg's codec, kind of pixels, settings."""
GIF_TICKS_HZ = 100
SUFFIXES = [*CODECS, ""]
LARGEST_SIDE = 8192
GIF_COLOURS = 255


def check_film(path: Path) -> None:
    """Raise InputError when no film is written to such a name."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} must end in {', '.join(CODECS)}, or have no suffix for a folder of PNG")


class Film:
    """One film of pictures of one size (width, height) px. note: what players show as its comment.

    fps: pictures per second of the film; one that is shown longer is repeated, in a GIF it only stays. Sides must be
    even in most films: one more row or column repeats the last. Raises InputError, or OSError when the file cannot
    be written.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float, note: str = "") -> None:
        check_film(path)
        if max(size) > LARGEST_SIDE:
            raise InputError(f"pictures of {size[0]}x{size[1]} px do not fit a film; {LARGEST_SIDE} px a side do")
        self._path, self._fps, self._now_s, self._shown = path, Fraction(fps).limit_denominator(1000), 0.0, 0
        self._last: np.ndarray | None = None
        self._times_us: list[int] = []
        self._container: OutputContainer | None = None
        if path.suffix:
            self._open(size, note)
        else:
            path.mkdir()

    def _open(self, size: tuple[int, int], note: str) -> None:
        import av

        av.logging.set_level(av.logging.PANIC)
        codec, self._pixels, options = CODECS[self._path.suffix.lower()]
        self._container = av.open(str(self._path), "w", container_options={"movflags": "+faststart"}
                                  if codec == "libx264" else {})
        self._container.metadata["comment"] = note
        stream: VideoStream = self._container.add_stream(codec, rate=self._fps, options=options)
        stream.width, stream.height = (side + side % 2 for side in size)
        stream.pix_fmt = self._pixels
        self._is_gif = codec == "gif"
        self._tick_s = Fraction(1, GIF_TICKS_HZ) if self._is_gif else 1 / self._fps
        stream.codec_context.time_base = self._tick_s
        self._stream = stream

    def show(self, picture: np.ndarray, seconds: float) -> None:
        """The next picture, uint8 [H, W, 3] RGB, and how long it is shown."""
        until_s = self._now_s + seconds
        if self._container is None:
            Image.fromarray(picture).save(self._path / f"{self._shown:06d}.png", compress_level=1)
            self._times_us.append(round(self._now_s * 1e6))
            self._shown += 1
        elif self._is_gif:
            self._encode(picture, round(self._now_s * GIF_TICKS_HZ), 1)
            self._last = picture
        else:
            # At least once, however short it is.
            count = max(1, round(until_s * self._fps) - self._shown)
            self._encode(picture, self._shown, count)
            self._shown += count
        self._now_s = until_s

    def _encode(self, picture: np.ndarray, at: int, count: int) -> None:
        assert self._container is not None
        frame = self._frame(picture)
        for tick in range(at, at + count):
            frame.pts, frame.time_base = tick, self._tick_s
            self._container.mux(self._stream.encode(frame))

    def _frame(self, picture: np.ndarray) -> VideoFrame:
        from av.video.frame import VideoFrame

        height, width = picture.shape[:2]
        picture = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        if self._pixels != "pal8":
            return VideoFrame.from_ndarray(picture, format="rgb24")
        few = Image.fromarray(picture).quantize(GIF_COLOURS, dither=Image.Dither.NONE)
        table = np.full((256, 4), 255, np.uint8)
        colours = np.frombuffer(bytes(few.getpalette() or []), np.uint8).reshape(-1, 3)
        table[:len(colours), 1:] = colours
        return VideoFrame.from_ndarray((np.asarray(few), table), format="pal8")

    def __enter__(self) -> Film:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if self._container is None:
            if kind is None:
                (self._path / "timestamps.txt").write_text("".join(f"{t_us}\n" for t_us in self._times_us))
            return
        try:
            if kind is None:
                self._finish(self._container)
        finally:
            self._container.close()

    def _finish(self, container: OutputContainer) -> None:
        """What the encoder holds; the last picture of a GIF once more where its time ends, which it has no word for."""
        if self._last is not None:
            self._encode(self._last, round(self._now_s * GIF_TICKS_HZ) - 1, 1)
        container.mux(self._stream.encode())
