"""Arrays out of NumPy's pickles without running anything that is in them.

    content, is_whole = load_npy(path)           # an array, or the dictionary of arrays that EventGPT saves

np.load(allow_pickle=True) runs whatever code a file names. This reader knows three names, and each of them is a
harmless stand-in: nothing of NumPy or of the file is ever called. Formats: numpy.lib.format, and pickle protocols
0 to 5 as numpy.ndarray.__reduce__ writes them.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from pathlib import Path
from tokenize import TokenError
from typing import Any, ClassVar

import numpy as np

from streams.types import InputError

MAGIC = b"\x93NUMPY"
PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
"""Numbers of fixed size: the only types that are read."""
REFUSALS = (pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError,
            OverflowError, ZeroDivisionError, MemoryError, AssertionError, SyntaxError, TokenError, struct.error)
"""What pickle and NumPy raise on content that is not what it claims to be."""


class _Type:
    """Stands in for numpy.dtype: remembers kind and byte order."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype:
        """The type, when it is one of plain numbers. Raises ValueError."""
        code = self.code.lstrip("<>|=")
        if not PLAIN.fullmatch(code):
            raise ValueError(f"values of type {self.code!r}")
        return np.dtype(self.order.replace("|", "=") + code)


class _Array:
    """Stands in for numpy.ndarray and what makes one: remembers its state (version, shape, type, order, content)."""

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """The array of numbers. Raises ValueError, TypeError, IndexError or AttributeError."""
        _, shape, kind, columns_first, content = self.state
        data = content if isinstance(content, bytes) else content.encode("latin-1")
        return np.frombuffer(data, kind.dtype()).reshape(shape, order="F" if columns_first else "C")


class _Buffered(_Array):
    """An array as protocol 5 stores it."""

    def __init__(self, data: bytes, kind: _Type, shape: tuple[int, ...], order: str) -> None:
        super().__init__()
        self.state = (1, shape, kind, order == "F", bytes(data))


class _Encoded(bytes):
    """Bytes as protocol 2 stores them: text and its encoding."""

    def __new__(cls, text: str, encoding: str) -> _Encoded:
        return super().__new__(cls, text, "latin-1")

    def __setstate__(self, state: object) -> None:
        raise ValueError("bytes with a state")


STAND_INS = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Encoded,
} | {(f"{root}.{module}", name): stand_in for root in ("numpy.core", "numpy._core")
     for module, name, stand_in in (("multiarray", "_reconstruct", _Array), ("numeric", "_frombuffer", _Buffered))}


def _load_bytes(unpickler: Any) -> None:
    """A byte array as bytes, no longer than what is there."""
    unpickler.append(unpickler.read(int.from_bytes(unpickler.read(8), "little")))


# Not pickle.Unpickler: written in C, it reserves as much memory as a damaged file asks for.
class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: _load_bytes}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return STAND_INS[module, name]


def _contents(outer: Any) -> Any:
    """What is inside the object array that every .npy with a pickle holds."""
    content = outer.state[4]
    if not isinstance(content, list) or len(content) != 1:
        raise ValueError(f"{len(content)} objects")
    inner = content[0]
    if isinstance(inner, dict):
        return {str(key): value.array() for key, value in inner.items()}
    return inner.array()


def load_npy(path: Path) -> tuple[Any, bool]:
    """(the array in an .npy file or the dictionary of arrays in it, whether it is whole).

    An array that is cut off has fewer rows. Raises InputError for anything else.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version}")
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, columns_first, dtype = reader(file)
            content = file.read()
        if dtype.hasobject:
            return _contents(_Unpickler(io.BytesIO(content), encoding="latin1").load()), True
        row = dtype.itemsize * math.prod(shape[1:])
        n_rows = shape[0] if columns_first or not shape else min(shape[0], len(content) // row)
        array = np.frombuffer(content, dtype, count=math.prod(shape[1:]) * n_rows)
        return array.reshape((n_rows, *shape[1:]), order="F" if columns_first else "C"), n_rows == shape[0]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check its permissions") from None
    except REFUSALS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(f"{path} holds no plain arrays ({reason}); it may be damaged or want to run code, save "
                         "t, x, y and p as arrays of numbers") from None
