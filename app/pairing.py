"""`--frames`: a second device or file beside the event camera, on every command that opens a source."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click


def frames_option(source: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds --frames and --frames-offset-ms to a command; its parameter `source` becomes the URI of the pair."""
    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_frames(frames: str | None, offset_ms: float | None, **others: Any) -> None:
            from streams.sources.pair import pair_uri
            from streams.types import InputError

            if frames is not None:
                if others[source] is None:
                    raise InputError("--frames belongs to an event camera; name it with --source")
                others[source] = pair_uri(others[source], frames, offset_ms)
            elif offset_ms is not None:
                raise InputError("--frames-offset-ms moves the frames of --frames; name them too")
            command(**others)

        for option in (
                click.option("--frames-offset-ms", "offset_ms", type=float, default=None, metavar="MS",
                             help="later by so much than their own clock says; default: estimated for recordings"),
                click.option("--frames", default=None, metavar="SOURCE",
                             help="take the frames from this second source: camera, video, folder, recording")):
            with_frames = option(with_frames)
        return with_frames

    return decorate
