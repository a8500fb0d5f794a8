"""Tokenizers of published models behind the interface of pipeline.text.Tokenizer.

    tokenizer = HubTokenizer.of(folder)            # tokenizer.json, or SentencePiece's tokenizer.model
    tokenizer.bytes_of(token)                      # what the token adds to the text

Every token stands for known bytes: byte-level BPE (GPT-2, Qwen, SmolLM) and SentencePiece BPE with byte fallback
(Llama, Vicuna, Gemma) are understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.text import Tokenizer, byte_alphabet
from streams.types import InputError

FILES = ("tokenizer.json", "tokenizer.model")
"""Where a folder keeps its tokenizer: everything in one, or SentencePiece's."""

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class HubTokenizer(Tokenizer):
    """A transformers tokenizer; after: text of the prompt behind the question, for drafters that begin there."""

    def __init__(self, inner: Any, ends: Iterable[int] = (), after: str = "") -> None:
        self.hub, self._after = inner, after
        backend = inner.backend_tokenizer
        self._inner = backend
        self.vocabulary = dict(inner.get_vocab())
        self.size = max(self.vocabulary.values()) + 1
        added = dict(backend.get_added_tokens_decoder())
        self.specials = {token.content: i for i, token in added.items() if token.special}
        if inner.eos_token_id is None and not ends:
            raise InputError("the tokenizer names no token that ends an answer; copy generation_config.json too")
        self.ends = frozenset(ends) | ({inner.eos_token_id} if inner.eos_token_id is not None else frozenset())
        self.eos = inner.eos_token_id if inner.eos_token_id is not None else min(self.ends)
        self.bos: int | None = inner.bos_token_id
        self._bytes = [b""] * self.size
        written = _reader(backend)
        for name, i in self.vocabulary.items():
            if i not in added:
                self._bytes[i] = written(name)
            elif not added[i].special and i not in self.ends:
                self._bytes[i] = name.encode()

    @classmethod
    def of(cls, folder: Path, after: str = "") -> HubTokenizer:
        """From a checkpoint's folder, with all tokens that end an answer. Raises InputError where it has none."""
        from transformers import LlamaTokenizer, PreTrainedTokenizerFast

        if not any((folder / name).exists() for name in FILES):
            raise InputError(f"no tokenizer in {folder}; copy {' or '.join(FILES)} from where the model comes from")
        try:
            if (folder / FILES[0]).exists():
                # the file says everything; what classes for single models make of it is not needed
                inner = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
            else:
                inner = LlamaTokenizer.from_pretrained(str(folder), local_files_only=True, **_begins(folder))
        except Exception as error:  # several libraries, each with errors of its own
            need = "copy it again" if (folder / FILES[0]).exists() else (
                "tokenizer.model needs: pip install 'parafovea[models]'")
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise InputError(f"the tokenizer in {folder} cannot be read ({reason[:160]}); {need}") from error
        return cls(inner, endings(folder), after)

    def prompt(self, question: str) -> list[int]:
        """The question and what follows it before the answer."""
        return self.encode(question.strip() + self._after)

    def pieces(self, text: str) -> list[int]:
        """Tokens of a text with the model's first token, as transformers' processors make them."""
        return list(self.hub(text)["input_ids"])


def _begins(folder: Path) -> dict[str, bool]:
    """Whether a SentencePiece tokenizer puts its first token in front, which Llama's does unless told not to."""
    file = folder / "tokenizer_config.json"
    return {} if file.exists() and "add_bos_token" in json.loads(file.read_text()) else {"add_bos_token": True}


def endings(folder: Path) -> set[int]:
    """Tokens that end an answer by generation_config.json and config.json; several models have more than one."""
    found: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        if (folder / name).exists():
            said = json.loads((folder / name).read_text()).get("eos_token_id")
            found |= set(said) if isinstance(said, list) else set() if said is None else {said}
    return found


def _reader(backend: Any) -> Any:
    """How names of tokens become bytes."""
    parts = json.loads(backend.to_str())
    if "ByteLevel" in json.dumps([parts["decoder"], parts["pre_tokenizer"]]):
        to_byte = {char: byte for byte, char in byte_alphabet().items()}
        return lambda name: bytes(to_byte[c] for c in name) if all(c in to_byte for c in name) else name.encode()

    def sentencepiece(name: str) -> bytes:
        byte = BYTE.fullmatch(name)
        return bytes([int(byte[1], 16)]) if byte else name.replace("▁", " ").encode()

    return sentencepiece
