"""Tokens and text: the tokenizer, whole characters only, stop strings.

    stream = TextStream(tokenizer)
    "".join(stream.push(token) for token in tokens) + stream.flush()
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path

import tokenizers

PAD, EOS, QUESTION, ANSWER = "<pad>", "<eos>", "<q>", "<a>"
SPECIALS = (PAD, EOS, QUESTION, ANSWER)


class Tokenizer:
    """A byte-level BPE tokenizer.json: any text can be encoded, every token stands for known bytes."""

    def __init__(self, path: Path) -> None:
        self._inner = tokenizers.Tokenizer.from_file(str(path))
        self.size = self._inner.get_vocab_size()
        self.vocabulary: dict[str, int] = self._inner.get_vocab()
        vocabulary = self.vocabulary
        self.specials: dict[str, int] = {name: vocabulary[name] for name in SPECIALS}
        self.eos = self.specials[EOS]
        self.ends = frozenset({self.eos})
        to_byte = {char: byte for byte, char in byte_alphabet().items()}
        names = sorted(vocabulary, key=lambda name: vocabulary[name])
        special = set(self.specials.values())
        self._bytes = [b"" if i in special else bytes(to_byte[c] for c in name) for i, name in enumerate(names)]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without specials."""
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def prompt(self, question: str) -> list[int]:
        """The prompt of the bundled pair: <q> question <a>."""
        return [self.specials[QUESTION], *self.encode(" " + question.strip()), self.specials[ANSWER]]

    def bytes_of(self, token: int) -> bytes:
        """Bytes that a token stands for; empty for specials."""
        return self._bytes[token]

    def piece(self, token: int) -> str:
        """A token as text for people; broken characters are shown as a replacement sign."""
        return self._bytes[token].decode("utf-8", "replace")


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte (Radford et al. 2019)."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in visible]
    return {b: chr(b) for b in visible} | {b: chr(256 + i) for i, b in enumerate(rest)}


class TextStream:
    """Turns tokens into text pieces that never end inside a character or inside a possible stop string."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, [s for s in stop if s]
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held, self._started = "", False
        self.stopped = False

    def push(self, token: int) -> str:
        """Text that is certain after this token; sets `stopped` when a stop string is complete."""
        text = self._decoder.decode(self._tokenizer.bytes_of(token))
        if not self._started:
            text = text.lstrip()
            self._started = bool(text)
        text = self._held + text
        cut = min((at for s in self._stop if (at := text.find(s)) >= 0), default=None)
        if cut is not None:
            self._held, self.stopped = "", True
            return text[:cut]
        keep = max((n for s in self._stop for n in range(1, len(s)) if text.endswith(s[:n])), default=0)
        self._held = text[len(text) - keep:]
        return text[:len(text) - keep]

    def flush(self) -> str:
        """What was held back when the answer ends otherwise."""
        rest, self._held = self._held + self._decoder.decode(b"", final=True), ""
        return "" if self.stopped else rest
