"""Checkpoints by folder or by their id on the Hugging Face hub.

    folder = located("llava-hf/llava-1.5-7b-hf")   # from the local cache; else downloaded, where there is a network
"""

from __future__ import annotations

import re
from pathlib import Path

from streams.types import InputError

IDENTIFIER = re.compile(r"[\w.-]+/[\w.-]+")
WANTED = ["*.json", "*.jinja", "*.model", "*.txt", "*.safetensors"]
PICKLED = ["*.bin", "*.pt"]
"""Files that are downloaded; pickled ones only where a repository has no safetensors."""


def located(spec: str) -> Path:
    """The folder of a checkpoint. Raises InputError where there is none and it cannot be downloaded either."""
    if Path(spec).is_dir():
        return Path(spec)
    if not IDENTIFIER.fullmatch(spec):
        raise InputError(f"{spec!r} is not a folder with a checkpoint, nor an id like llava-hf/llava-1.5-7b-hf")
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(spec, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        files = HfApi().list_repo_files(spec)
        kinds = WANTED + ([] if any(name.endswith(".safetensors") for name in files) else PICKLED)
        return Path(snapshot_download(spec, allow_patterns=kinds))
    except Exception as error:  # no network, no such id, no permission: all have errors of their own
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise InputError(f"{spec} is neither a folder nor in the local Hugging Face cache, and cannot be downloaded "
                         f"({reason}); give the folder of a checkpoint") from error
