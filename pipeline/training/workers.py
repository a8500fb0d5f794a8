"""Several processes that train one model, usually one per GPU: each reads its share of every batch, gradients are
averaged, so all hold the same weights after every step.

    accelerate launch --num_processes 4 $(which parafovea) train adapter:L4 --data runs/drive ...     # four GPUs
    torchrun --nproc-per-node 2 $(which parafovea) train eagle --device cpu ...
    workers = launched(torch.device("cuda:0"))          # ALONE unless a launcher started this process

`accelerate` finds the other processes and their GPUs; drafters are not wrapped in anything, because they are read layer
by layer. What is alone needs no accelerate.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import nn

from streams.types import InputError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Workers:
    """This process among `count`; device: where it trains; accelerator: accelerate's, None when it is alone."""

    index: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    accelerator: Any = None

    def share(self, batch: Sequence[Item]) -> list[Item]:
        """What this process reads of a batch. Raises InputError for a batch that is too small for all."""
        if len(batch) < self.count:
            raise InputError(f"{self.count} processes cannot share a batch of {len(batch)} answers; launch fewer, or "
                             "give more recordings")
        return list(batch[self.index::self.count])

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over all processes."""
        if self.accelerator is not None:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad = self.accelerator.reduce(parameter.grad, "mean")

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.index == 0

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


ALONE = Workers()


def launched(device: torch.device) -> Workers:
    """The processes that a launcher (accelerate launch, torchrun) started this one among; alone on `device` without
    one. Raises InputError where accelerate is missing."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return Workers(device=device)
    try:
        accelerate = importlib.import_module("accelerate")
    except ImportError as error:
        raise InputError("training with several processes needs accelerate; install it with "
                         "`pip install 'parafovea[train]'`") from error
    accelerator = accelerate.Accelerator(cpu=device.type == "cpu")
    return Workers(accelerator.process_index, accelerator.num_processes, accelerator.device, accelerator)
