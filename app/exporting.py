"""`export`: a part of a recording as a film or as a folder of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from app import terminal
from app.compose import quiet_libraries
from app.converting import Part
from streams.cutting import Span, span_of
from streams.filtering import filtered
from streams.placing import check_place, placed
from streams.sources import open_source, open_stored
from streams.types import InputError, Source
from ui.film import Film, check_film
from ui.filming import Look, look_of, picture_size, pictures


def export(uri: str, out: Path, part: Part, look: Look, fps: float, speed: float, overwrite: bool,
           filters: Sequence[str] = ()) -> None:
    """Draw a part of a recording and write it where and as `out` says; view "" = both where there are frames."""
    quiet_libraries()
    check_film(out)
    check_place(out, overwrite)
    for name, value, highest in (("fps", fps, 1000), ("speed", speed, 100)):
        if not 0 < value <= highest or not math.isfinite(value):
            raise InputError(f"--{name} must be more than 0 and at most {highest}, got {value:g}")
    # Frames that would be made of the events are drawn only for who asks for frames.
    made = look.view in ("rgb", "both")
    with filtered(terminal.opened(uri, open_source if made else open_stored), filters) as source:
        span = span_of(source, *part)
        look = look_of(source.info, Look("both", look.style, look.palette, look.accumulation_ms)
                       if look.view == "" else look)
        n_pictures, size = write_film(source, span, out, look, fps, speed, overwrite)
    what = ", ".join([f"{n_pictures:,} pictures of {size[0]}x{size[1]} px, {n_pictures / fps:.1f} s",
                      *terminal.lost(source.losses)])
    terminal.people.print(f"{out}: {what}")
    said = note_of(source, look)
    if said:
        terminal.people.print(f"parafovea: {said}", style="yellow")
    terminal.say_filtered(source)
    if source.losses.damage:
        terminal.people.print(f"parafovea: {source.losses.damage}", style="yellow")


def write_film(source: Source, span: Span, out: Path, look: Look, fps: float, speed: float,
               overwrite: bool) -> tuple[int, tuple[int, int]]:
    """Number and size (width, height) of the pictures that were written."""
    size, n_pictures = picture_size(source.info, look), 0
    with (placed(out, overwrite) as temporary, Film(temporary, size, fps, note_of(source, look)) as film,
          terminal.reading(source.info, "drawing", span.start_us, span.end_us) as tell):
        for t_us, picture in pictures(source, span, 1e6 * speed / fps, look):
            film.show(picture, 1 / fps)
            tell(t_us)
            n_pictures += 1
    return n_pictures, size


def note_of(source: Source, look: Look) -> str:
    """What is not a camera's in the pictures."""
    info = source.info
    return terminal.origins(None if look.view == "rgb" else info.events_origin,
                            None if look.view == "events" else info.frames_origin)
