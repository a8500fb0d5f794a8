"""Weights of a published checkpoint, whatever files they are in, read one by one when asked for.

    state = Shards.of(folder)                      # model.safetensors, pytorch_model.bin, or either in shards
    state["model.embed_tokens.weight"]             # read now; nothing else is in memory
    mine = state.renamed(lambda name: name.removeprefix("model."))

Pickled files are opened with weights_only: they can hold tensors and nothing that runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from streams.types import InputError

SINGLE = ("model.safetensors", "pytorch_model.bin")
"""Names of a checkpoint in one file; in shards, the same with .index.json behind."""


class Shards(Mapping[str, Tensor]):
    """Names of tensors, each with the open file that it is in and its name there."""

    def __init__(self, places: Mapping[str, tuple[Any, str]]) -> None:
        self._places = dict(places)

    @classmethod
    def of(cls, folder: Path, also: Sequence[str] = ()) -> Shards:
        """The checkpoint in a folder; also: further files, read where they exist, whose tensors replace.

        Raises InputError when there is none, when a shard is missing and when a file cannot be read.
        """
        files = [*weight_files(folder), *(folder / name for name in also if (folder / name).exists())]
        return cls({name: (opened, name) for file in files for opened, names in [_open(file)] for name in names})

    def renamed(self, rename: Callable[[str], str | None]) -> Shards:
        """The same tensors under other names; those renamed to None are left out.

        Raises InputError where two get the same name.
        """
        places: dict[str, tuple[Any, str]] = {}
        for name, place in self._places.items():
            new = rename(name)
            if new is not None and new in places:
                raise InputError(f"two tensors of the checkpoint are both {new}, one of them {name}; copy it again")
            if new is not None:
                places[new] = place
        return Shards(places)

    def under(self, prefix: str) -> Shards:
        """The tensors whose names begin with a prefix, without it."""
        return self.renamed(lambda name: name.removeprefix(prefix) if name.startswith(prefix) else None)

    def __getitem__(self, name: str) -> Tensor:
        opened, there = self._places[name]
        found: Tensor = opened[there] if isinstance(opened, dict) else opened.get_tensor(there)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights. Raises InputError when there are none or a shard is missing."""
    for name in SINGLE:
        index = folder / f"{name}.index.json"
        if index.exists():
            shards = sorted(set(read_json(index)["weight_map"].values()))
            if missing := [shard for shard in shards if not (folder / shard).exists()]:
                raise InputError(f"the checkpoint in {folder} lacks {len(missing)} of {len(shards)} files, first "
                                 f"{missing[0]}; copy it completely")
            return [folder / shard for shard in shards]
        if (folder / name).exists():
            return [folder / name]
    raise InputError(f"no weights in {folder}: expected {' or '.join(SINGLE)}, or either with .index.json and shards")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError where the file is missing or holds something else."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({_reason(error)}); copy it again") from error
    if not isinstance(found, dict):
        raise InputError(f"{file} holds {type(found).__name__}, expected a JSON object; copy it again")
    return found


def _open(file: Path) -> tuple[Any, list[str]]:
    """An open file and the names of its tensors."""
    try:
        if file.suffix == ".safetensors":
            opened = safe_open(str(file), "pt")
            return opened, list(opened.keys())
        state = torch.load(file, "cpu", weights_only=True, mmap=_is_zip(file))
    except Exception as error:  # the readers of safetensors and pickles each have errors of their own
        raise InputError(f"{file} cannot be read ({_reason(error)}); copy it again") from error
    return state, list(state)


def _is_zip(file: Path) -> bool:
    """Whether torch wrote it since version 1.6: only such a file can be mapped into memory."""
    with file.open("rb") as opened:
        return opened.read(2) == b"PK"


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
