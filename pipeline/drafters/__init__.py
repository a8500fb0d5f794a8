"""Drafters, one file each; a name is a module, NAME[:VARIANT] selects one.

    drafter = create("recall", models)
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.decoder import Decoder
from pipeline.hub import IDENTIFIER, located
from pipeline.models import Models
from pipeline.types import Drafter
from streams.types import InputError


def names() -> list[str]:
    """Names of all drafters: the modules of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def every() -> list[str]:
    """NAME of all drafters, each followed by NAME:VARIANT for what its module lists in VARIANTS."""
    found = []
    for name in names():
        variants: tuple[str, ...] = getattr(importlib.import_module(f"pipeline.drafters.{name}"), "VARIANTS", ())
        found += [name, *(f"{name}:{variant}" for variant in variants)]
    return found


def create(name: str, models: Models) -> Drafter:
    """Make a drafter by NAME[:VARIANT]. Raises InputError for a name or variant that does not exist."""
    stem, _, variant = name.partition(":")
    if stem not in names():
        raise InputError(f"unknown drafter {name!r}; choose one of {', '.join(names())}")
    module = importlib.import_module(f"pipeline.drafters.{stem}")
    drafter: Drafter = module.create(models, variant or None)
    return drafter


def refuse_variant(name: str, variant: str | None) -> None:
    """For drafters without variants. Raises InputError when one was given."""
    if variant is not None:
        raise InputError(f"drafter {name!r} has no variants, got {name}:{variant}; use --drafter {name}")


def verifier_of(models: Models, name: str) -> Decoder:
    """The decoder whose states a draft head goes on from. Raises InputError where the verifier does not show them."""
    if models.rgb.decoder is None:
        raise InputError(f"drafter {name!r} needs the states of the verifier, and {models.rgb.name} shows none; "
                         "use --drafter recall or vlm")
    return models.rgb.decoder


def folder_of(models: Models, name: str, variant: str | None, variants: Sequence[str]) -> Path:
    """Where a trained drafter is: beside the pair, or in the folder, or under the id, given instead of a variant.

    Raises InputError for neither a variant nor a folder.
    """
    if variant is None or variant in variants:
        return models.heads / name
    if not Path(variant).is_dir() and not IDENTIFIER.fullmatch(variant):
        raise InputError(f"drafter {name!r} has no variant {variant!r}; use {', '.join(variants)} or the folder of a "
                         "checkpoint")
    return located(variant)
