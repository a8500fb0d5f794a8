"""Every way of getting events and frames into the program; a name is a module in this folder.

    with open_source("recording.aedat4") as source: ...     # the content decides: aedat4, evt3, video, ...
    with open_source("webcam://0") as source: ...           # the scheme is the module

A module offers open_source(uri, **options) -> Source. One that reads files also offers
matches(path, head) -> bool, where head is the first 4096 bytes, empty for a folder.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

from streams.types import InputError, SensorSink, Source

HEAD_BYTES = 4096


def schemes() -> list[str]:
    """Names that may stand before "://": the modules that do not read files."""
    return [name for name in _names() if not hasattr(_module(name), "matches")]


def file_formats() -> list[str]:
    """Names of the modules that read files."""
    return [name for name in _names() if hasattr(_module(name), "matches")]


def open_source(uri: str, **options: object) -> Source:
    """Open "SCHEME://..." or a path to a file, whatever the file is called: its content selects the module.

    options go to the module. Raises InputError for an unknown scheme, a path that is missing, a folder or
    empty, content that no module reads, and options that the module does not know.
    """
    return _open(*_named(uri), options)


def open_stored(uri: str, sensors: SensorSink | None = None) -> Source:
    """Open a source as it is, without frames that would be made of a recording's events. Raises InputError.

    sensors: gets IMU and triggers where this kind of source has them.
    """
    return open_leniently(uri, reconstruct_frames=False, sensors=sensors)


def open_leniently(uri: str, **wishes: object) -> Source:
    """Open a source with those options that its kind knows. Raises InputError."""
    name, uri = _named(uri)
    known = inspect.signature(_module(name).open_source).parameters
    return _open(name, uri, {option: value for option, value in wishes.items() if option in known})


def _named(uri: str) -> tuple[str, str]:
    """The module that opens a source, and how it calls it. Raises InputError."""
    scheme, separator, _ = uri.partition("://")
    if not separator:
        path = Path(uri).expanduser()
        return _format_of(path), str(path)
    if scheme not in schemes():
        raise InputError(f"{uri} names no known source; give one of {_choices()} or the path of a recording")
    return scheme, uri


def _names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


def _open(name: str, uri: str, options: dict[str, object]) -> Source:
    opener = _module(name).open_source
    known = [option for option in inspect.signature(opener).parameters if option != "uri"]
    for option in options:
        if option not in known:
            allowed = f"it takes {', '.join(known)}" if known else "it takes none"
            raise InputError(f"{option} is not an option of {name}; {allowed}")
    source: Source = opener(uri, **options)
    return source


def _format_of(path: Path) -> str:
    if not path.exists():
        raise InputError(f"{path} does not exist; give the path of a recording or one of {_choices()}")
    head = b"" if path.is_dir() else _head(path)
    for name in file_formats():
        if _module(name).matches(path, head):
            return name
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the path of one recording in it, or a folder of pictures with a "
                         "timestamps.txt or images.txt")
    suffix = path.suffix.lower().lstrip(".")
    if suffix in file_formats():
        raise InputError(f"{path} is named .{suffix} but its content is not {suffix.upper()}; check that "
                         "it is the right file and was copied completely")
    raise InputError(f"the content of {path} is none of the readable formats ({', '.join(file_formats())}); "
                     "convert it to AEDAT4 or give another recording")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    if not head:
        raise InputError(f"{path} is empty; give a recording that has data")
    return head


def _choices() -> str:
    return ", ".join(f"{name}://" for name in schemes())
