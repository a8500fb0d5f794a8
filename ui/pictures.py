"""Pictures that come from a browser, the newest wins.

    pictures = Pictures()
    pictures.put(jpeg)                 # one thread; False for what is no picture
    image = pictures.take(0.05)        # another; RGB uint8 [H, W, 3], None when none came in time
"""

from __future__ import annotations

import io
import threading

import cv2
import numpy as np
from PIL import Image

MAX_JPEG_BYTES = 2 << 20
MAX_SIDE = 2048
"""A tiny file may claim a huge picture; larger ones are not decoded."""


class Pictures:
    """One place for the newest picture. closed: nobody wants any more."""

    def __init__(self) -> None:
        self.closed = False
        self._changed = threading.Condition()
        self._newest: np.ndarray | None = None

    def put(self, jpeg: bytes) -> bool:
        """Decode a JPEG and keep it in place of an older one; False when it is none or larger than MAX_SIDE."""
        image = _decoded(jpeg)
        if image is None:
            return False
        with self._changed:
            self._newest = image
            self._changed.notify_all()
        return True

    def take(self, timeout_s: float) -> np.ndarray | None:
        """The newest picture, once; None when none came within timeout_s."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self.closed, timeout_s)
            image, self._newest = self._newest, None
            return image

    def close(self) -> None:
        """No more pictures are wanted, or come; may be called any number of times."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()


def _decoded(jpeg: bytes) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
            if max(picture.size) > MAX_SIDE:
                return None
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return None if bgr is None else np.ascontiguousarray(bgr[..., ::-1])
