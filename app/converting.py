"""`convert`: recordings in other formats, and parts of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from app import terminal
from app.compose import quiet_libraries
from streams.cutting import span_of
from streams.filtering import filtered
from streams.sources import open_stored
from streams.types import InputError, Samples

Part = tuple[float | None, float | None]
"""Start and end in seconds from the recording's start, None = where it begins or ends."""
COMPRESSED = (".aedat4", ".h5", ".hdf5")


def convert(uri: str, out: Path, part: Part, name: str | None, compression: str | None, overwrite: bool,
            filters: Sequence[str] = ()) -> None:
    """Write a part of a recording in the format that the suffix of `out` chooses, and say what is not in it."""
    quiet_libraries()
    from streams.conversion import convert as write
    from streams.placing import check_place
    from streams.targets import format_for

    format_for(out, name)
    check_place(out, overwrite)
    if compression is not None and out.suffix.lower() not in COMPRESSED:
        raise InputError(f"{out.suffix} is never compressed; leave out --compression or use one of "
                         f"{', '.join(COMPRESSED)}")
    if out.exists() and Path(uri).exists() and out.samefile(uri):
        raise InputError(f"{out} cannot be read and replaced at once; choose another name")
    samples: deque[Samples] = deque()
    with filtered(terminal.opened(uri, lambda uri: open_stored(uri, samples.append)), filters) as source:
        samples.clear()  # a filter that learned has read the first part, which comes once more
        span = span_of(source, *part)
        with terminal.reading(source.info, "converting", span.start_us, span.end_us) as tell:
            done = write(source, out, span, name, compression=compression,  # type: ignore[arg-type]
                         overwrite=overwrite, samples=samples, tell=tell)
    terminal.people.print(f"{out}: {done.format}, " + ", ".join([
        f"{done.n_events:,} events", f"{done.n_frames:,} frames",
        *([f"{done.n_samples:,} samples of the IMU and triggers"] if done.n_samples else []),
        f"{done.n_bytes / 1e6:.1f} MB", *terminal.lost(source.losses)]))
    terminal.say_filtered(source)
    for sentence in done.left_out:
        terminal.people.print(f"parafovea: {sentence}", style="yellow")
    if source.losses.damage:
        terminal.people.print(f"parafovea: {source.losses.damage}", style="yellow")
