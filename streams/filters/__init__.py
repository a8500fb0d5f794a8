"""What can be done to a stream between its source and everything else; a name is a module in this folder.

    create("noise:5").prepare(Resolution(346, 260), "")    # background activity without company within 5 ms

A module offers USAGE, how it is written and what it does, and create(value) -> Filter (streams/filtering.py).
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from streams.filtering import Filter
from streams.types import InputError


def names() -> list[str]:
    """Names of all filters."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def usages() -> dict[str, str]:
    """What each filter does, by how it is written on the command line."""
    return dict(_module(name).USAGE for name in names())


def create(spec: str) -> Filter:
    """The filter that NAME[:VALUE] names, fresh. Raises InputError saying what is allowed."""
    name, _, value = spec.partition(":")
    if name not in names():
        raise InputError(f"there is no filter {name!r}; use {', '.join(usages())}")
    made: Filter = _module(name).create(value)
    return made


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
