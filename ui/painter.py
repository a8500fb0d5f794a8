"""The pictures of one page: paints what changed since the last call, nothing else.

    painter = Painter(session)
    for kind, message in painter.paint({EVENT_PICTURE, RGB_PICTURE}): send(message)

Runs in a worker thread, one call at a time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ui.protocol import EVENT_PICTURE, RGB_PICTURE, picture_message
from ui.render import SHADES, event_image, event_png, frame_jpeg, look_back_us, with_palette

if TYPE_CHECKING:
    from streams.player import PlayerState
    from streams.types import Frame
    from ui.session import Session
    from ui.sharing import Watched


class Painter:
    """Remembers what a page shows and paints the difference."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._scene: tuple[object, ...] | None = None
        self._png = b""
        self._palette = ""
        self._frame: Frame | None = None
        self._player: Watched | None = None
        self.arrived_s: float | None = None
        """Of a live source that is followed: time.monotonic() when the newest of what was painted last had arrived."""

    def paint(self, wanted: Collection[int]) -> list[tuple[int, bytes]]:
        """Binary messages for the kinds of pictures that are wanted and have changed."""
        player = self._session.player
        if player is None:
            return []
        state = player.state()
        if player is not self._player:
            if state.loading:
                return []  # what is shown stays until there is something else to show
            self._player, self._scene, self._frame, self._png = player, None, None, b""
        self.arrived_s = state.arrived_s if state.following else None
        painted = []
        if EVENT_PICTURE in wanted and (picture := self._events(player, state)):
            painted.append((EVENT_PICTURE, picture_message(EVENT_PICTURE, self._at_us(state), picture)))
        if RGB_PICTURE in wanted and (picture := self._rgb(player, state)):
            painted.append((RGB_PICTURE, picture_message(RGB_PICTURE, self._at_us(state), picture)))
        return painted

    @staticmethod
    def _at_us(state: PlayerState) -> int:
        return state.position_us - state.start_us

    def _events(self, player: Watched, state: PlayerState) -> bytes | None:
        resolution, view = player.info.event_resolution, self._session.view
        if resolution is None:
            return None
        scene = (state.position_us, view.style, view.accumulation_ms, state.loading)
        if scene == self._scene and view.palette == self._palette:
            return None
        if scene == self._scene and self._png:
            self._png = with_palette(self._png, view.palette)
        else:
            end_us, span_us = state.position_us, view.accumulation_ms * 1000
            start_us = max(state.start_us, end_us - look_back_us(view.style, span_us))
            events = player.events(start_us, end_us)
            indices = event_image(events, resolution, view.style, end_us, span_us)
            self._png = event_png(indices, view.palette, 1 if view.style == "events" else SHADES)
        self._scene, self._palette = scene, view.palette
        return self._png

    def _rgb(self, player: Watched, state: PlayerState) -> bytes | None:
        if player.info.frame_resolution is None:
            return None
        frame = player.frame_at(state.position_us)
        if frame is None or frame is self._frame:
            return None
        self._frame = frame
        return frame_jpeg(frame.image)
