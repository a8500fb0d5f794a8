"""Files and folders that appear under their name only when they are whole.

    with placed(Path("walk.csv"), overwrite=False) as temporary:
        temporary.write_bytes(...)              # beside the target, of the same suffix; renamed at the end of the block

An error leaves nothing behind, and what stood under the name before stays as it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.types import InputError


def check_place(path: Path, overwrite: bool) -> None:
    """Raise InputError when nothing may be written at this path."""
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: the folder {path.parent} does not exist")
    if path.is_dir() and (not overwrite or path.is_mount() or any(not _is_ours(entry) for entry in path.iterdir())):
        raise InputError(f"{path} is a folder with files in it; choose another name")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; choose another name or replace it with --overwrite")


def _is_ours(entry: Path) -> bool:
    """Whether an entry of a folder may be replaced: a picture, or the list of pictures."""
    return entry.suffix == ".png" or entry.name == "timestamps.txt"


@contextmanager
def placed(path: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends. Raises InputError.

    What is made there may be a file or a folder of pictures.
    """
    check_place(path, overwrite)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}-partial{path.suffix}")
    try:
        yield temporary
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}): make room or choose another "
                         "folder") from None
    except InputError as error:
        raise InputError(str(error).replace(str(temporary), str(path))) from None
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
