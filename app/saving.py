"""What the page writes of a recording: the part that a visitor selected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.exporting import note_of
from streams.conversion import convert
from streams.cutting import span_of
from streams.filtering import filtered
from streams.sources import open_source, open_stored
from ui.film import Film
from ui.filming import Look, look_of, picture_size, pictures
from ui.protocol import View

FPS = 30


def save_part(uri: str, part: tuple[float, float], out: Path, view: View, filters: Sequence[str] = ()) -> None:
    """Write a part, in seconds from the start, as the recording it is (.aedat4) or as it is seen on the page (a film).

    Reads the recording anew: what plays is not disturbed. Raises InputError.
    """
    is_film = out.suffix != ".aedat4"
    with filtered((open_source if is_film else open_stored)(uri), filters) as source:
        span = span_of(source, *part)
        if not is_film:
            convert(source, out, span)
            return
        look = look_of(source.info, Look("both", view.style, view.palette, view.accumulation_ms))
        with Film(out, picture_size(source.info, look), FPS, note_of(source, look)) as film:
            for _, picture in pictures(source, span, 1e6 / FPS, look):
                film.show(picture, 1 / FPS)
