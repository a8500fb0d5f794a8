"""A GPU that is not there: tensors of a processor that say they lie on cuda:0, and refuse to meet others.

    with toy_gpu() as recorders: ...      # what runs inside finds one GPU; recorders stand in for CUDA's graphs

Inference only: gradients are made where nobody can mark them. Test double, never shipped.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from test_graphs import Recorder
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

from pipeline import graphs

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
KEEPS = ("__set__", "copy_", "__setitem__", "data_ptr", "_has_compatible_shallow_copy_type")
"""Functions that change no mark, and may see both."""


class ToyGpu(TorchFunctionMode):
    """Marks what is made on the GPU by its storage, so that views share the mark."""

    def __init__(self, marks: dict[int, StorageWeakRef]) -> None:
        """marks: of storages on the GPU; a weak reference keeps the place of one that is gone from being used again."""
        super().__init__()
        self._marks = marks

    def _where(self, tensor: torch.Tensor) -> torch.device:
        if tensor.is_meta:
            return tensor.device
        if tensor.is_mkldnn:  # has no storage
            return CPU
        return GPU if tensor.untyped_storage()._cdata in self._marks else CPU

    def _mark(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        if device == GPU and not tensor.is_meta:
            self._marks[tensor.untyped_storage()._cdata] = StorageWeakRef(tensor.untyped_storage())
        return tensor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, asked = func.__name__, getattr(getattr(func, "__self__", None), "__name__", "")
        kwargs = dict(kwargs or {})
        if name == "__get__" and asked in ("device", "is_cuda", "is_cpu"):
            where = self._where(args[0])
            return where if asked == "device" else where.type == asked.removeprefix("is_")
        if name == "__get__" or name in KEEPS:
            return func(*args, **kwargs)
        if name == "numpy" and self._where(args[0]) == GPU:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if name in ("to", "cpu"):
            return self._moved(func, args, kwargs, name)
        return self._computed(func, args, kwargs, name)

    def _moved(self, func: Any, args: Any, kwargs: dict[str, Any], name: str) -> torch.Tensor:
        here, wanted, rest = self._where(args[0]), None, list(args[1:])
        for i, one in enumerate(rest):
            if isinstance(one, torch.device | str):
                wanted, rest[i] = torch.device(one), "cpu"
            elif isinstance(one, torch.Tensor):
                wanted = self._where(one)
        if kwargs.get("device") is not None:
            wanted, kwargs["device"] = torch.device(kwargs["device"]), "cpu"
        wanted = CPU if name == "cpu" else wanted or here
        assert wanted.type != "meta"
        out = func(args[0], *rest, **kwargs)
        shared = out.untyped_storage()._cdata == args[0].untyped_storage()._cdata
        return self._mark(out.clone() if shared and wanted != here else out, wanted)

    def _computed(self, func: Any, args: Any, kwargs: dict[str, Any], name: str) -> Any:
        given = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
        places = [self._where(one) for one in given]
        wanted = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        if wanted is not None and wanted.type == "cuda":
            kwargs["device"] = "cpu"
        meeting = {place for one, place in zip(given, places, strict=True) if one.dim() and one.numel()}
        # numbers of a processor may be indices, and one of them alone may take part in anything
        indexed = name == "__getitem__" and places[0] == GPU
        if len(meeting) > 1 and not indexed and not name.startswith("new_") and not name.endswith("_like"):
            raise RuntimeError(f"expected all tensors to be on the same device: {name} {places}")
        out = func(*args, **kwargs)
        for made in tree_flatten(out)[0]:
            if isinstance(made, torch.Tensor) and not any(made is one for one in given):
                self._mark(made, wanted or (GPU if GPU in places else CPU))
        return out


class Stream:
    """Nothing waits for anything."""

    def __init__(self, device: torch.device | None = None, priority: int = 0) -> None:
        self.device = device

    def wait_stream(self, other: Stream) -> None:
        """Done already."""

    def synchronize(self) -> None:
        """Done already."""


@contextmanager
def toy_gpu() -> Iterator[list[Recorder]]:
    """One GPU for what runs inside, in all its threads; gives who recorded passes there."""
    marks, recorders, run = dict[int, StorageWeakRef](), list[Recorder](), threading.Thread.run

    def in_threads_too(thread: threading.Thread) -> None:
        with ToyGpu(marks):
            run(thread)

    def recorder(device: torch.device) -> Recorder:
        assert device == GPU
        recorders.append(Recorder())
        return recorders[-1]

    cuda = {"is_available": lambda: True, "device_count": lambda: 1, "mem_get_info": lambda device=None: (2**36, 2**37),
            "get_device_name": lambda device=None: "toy", "is_bf16_supported": lambda including_emulation=True: True,
            "synchronize": lambda device=None: None, "Stream": Stream, "current_stream": lambda device=None: Stream(),
            "stream": lambda stream: nullcontext()}
    with (patch.multiple(torch.cuda, **cuda), patch.object(threading.Thread, "run", in_threads_too),
          patch.object(graphs, "cuda_capture", recorder), ToyGpu(marks)):
        yield recorders
