"""The one training loop: deterministic batches by step, cosine schedule, checkpoints that survive a kill.

    for progress in train("rgb-eye", eye, loss_of_step, Schedule(steps=100, rate=2e-3), folder, ("near.", "far.")): ...

Weight matrices of hidden layers are trained with Muon (Jordan et al. 2024), which here gets as far as AdamW in about
half the steps; everything else with AdamW.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from pipeline.training.workers import ALONE, Workers
from streams.types import InputError

CHECKPOINT_EVERY_S = 60.0
CURVE_POINTS = 200
"""Points of a stage's learning curve, as far as it has so many steps."""


@dataclass(frozen=True)
class Schedule:
    """steps: in all. rate: peak learning rate after `warmup` steps, held for the `flat` share, then cosine to 3 %.

    ema: decay of the averaged weights that are kept at the end, 0 = keep the last weights.
    """

    steps: int
    rate: float
    warmup: int = 100
    flat: float = 0.0
    weight_decay: float = 0.05
    clip: float = 2.0
    ema: float = 0.0

    def at(self, step: int) -> float:
        """Learning rate of a step."""
        progress = step / max(1, self.steps)
        fall = 0.0 if progress < self.flat else (progress - self.flat) / (1 - self.flat)
        return self.rate * min(1.0, (step + 1) / self.warmup) * (0.97 * (0.5 + 0.5 * math.cos(math.pi * fall)) + 0.03)


@dataclass(frozen=True)
class Progress:
    """One finished step of a stage; losses are moving averages; cpu_s counts this stage over all its runs."""

    stage: str
    step: int
    steps: int
    losses: dict[str, float]
    cpu_s: float


@dataclass(frozen=True)
class Snapshots:
    """save(step) is called after so many steps, while the model holds the weights it would have if it ended there."""

    steps: Collection[int]
    save: Callable[[int], None]


def train(stage: str, model: nn.Module, loss_of_step: Callable[[int], dict[str, Tensor]], schedule: Schedule,
          folder: Path, hidden: tuple[str, ...] = (), snapshots: Snapshots | None = None,
          workers: Workers = ALONE, scales: Mapping[str, float] = MappingProxyType({})) -> Iterator[Progress]:
    """Minimise the sum of the losses; yields after every step.

    hidden: beginnings of the names of layers whose matrices Muon trains. A resumed run saves the snapshots that lie
    behind its checkpoint again, the same ones. workers: who else trains this model; the first writes the files.
    scales: factors of the learning rate of weights whose names begin so, where Muon does not train them.
    Resumes from folder/STAGE.pt when it is there; appends the curve to folder/STAGE.csv.
    Raises InputError when that checkpoint belongs to a run of another length. Leaves the final
    (averaged, when schedule.ema) weights in the model and marks the checkpoint as done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stage}.pt"
    parameters = [p for p in model.parameters() if p.requires_grad]
    matrices = [(p, nn.Parameter(_matrix(p.data, p))) for name, p in model.named_parameters()
                if p.requires_grad and p.ndim > 1 and name.startswith(hidden)]
    assert all(matrix.data_ptr() == p.data_ptr() for p, matrix in matrices), "a copy would never be trained"
    optimizers = _optimizers(model, matrices, schedule, scales)
    average = [p.detach().clone() for p in parameters] if schedule.ema else []
    first, spent_s, smooth = 0, 0.0, dict[str, float]()
    if path.exists():
        state = torch.load(path, weights_only=True, map_location=parameters[0].device)
        if "optimizers" not in state or {name: value.shape for name, value in state["model"].items()} != {
                name: value.shape for name, value in _learnt(model).items()}:
            raise InputError(f"{path} was written by another version; give another folder with --out")
        if state["steps"] != schedule.steps:
            raise InputError(f"{path} belongs to a run of {state['steps']} steps, this one has {schedule.steps}; give "
                             "another folder with --out")
        model.load_state_dict(state["model"], strict=False)  # what is frozen is not in it
        if state["done"]:
            return
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        average, first, spent_s, smooth = state["average"], state["step"], state["cpu_s"], state["smooth"]
    start_s, saved_s = time.process_time() - spent_s, time.monotonic()
    points: list[dict[str, float]] = []

    def snapshot(step: int) -> None:
        if workers.first and snapshots is not None and step in snapshots.steps:
            with _holding(parameters, average):
                snapshots.save(step)

    def save(step: int, done: bool) -> None:
        if not workers.first:
            return
        state = {"model": _learnt(model), "optimizers": [] if done else [o.state_dict() for o in optimizers],
                 "average": [] if done else average, "step": step, "cpu_s": time.process_time() - start_s,
                 "smooth": smooth, "done": done, "steps": schedule.steps}
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)
        _append_curve(folder / f"{stage}.csv", points)
        points.clear()

    if not first:
        snapshot(0)
    for step in range(first, schedule.steps):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = schedule.at(step) * group.get("scale", 1.0)
        model.train()
        # oracle noise and dropout too: a resumed run draws what a whole one does
        torch.manual_seed(step * workers.count + workers.index)
        losses = loss_of_step(step)
        model.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        workers.average(parameters)
        nn.utils.clip_grad_norm_(parameters, schedule.clip)
        for parameter, matrix in matrices:
            matrix.grad = None if parameter.grad is None else _matrix(parameter.grad, parameter)
        for optimizer in optimizers:
            optimizer.step()
        if average:
            weight = 1 - min(schedule.ema, step / (step + 5))
            torch._foreach_lerp_(average, [p.detach() for p in parameters], weight)
        for name, value in losses.items():
            smooth[name] = 0.97 * smooth.get(name, value.item()) + 0.03 * value.item()
        if (step + 1) % max(1, schedule.steps // CURVE_POINTS) == 0 or step == first + 1:
            points.append({"step": step + 1} | {name: round(value, 5) for name, value in smooth.items()})
        snapshot(step + 1)
        if time.monotonic() - saved_s > CHECKPOINT_EVERY_S:
            save(step + 1, done=False)
            saved_s = time.monotonic()
        yield Progress(stage, step + 1, schedule.steps, dict(smooth), time.process_time() - start_s)
    for parameter, value in zip(parameters, average, strict=False):
        parameter.data.copy_(value)
    save(schedule.steps, done=True)


@contextmanager
def _holding(parameters: list[nn.Parameter], average: list[Tensor]) -> Iterator[None]:
    """The parameters hold their averages for a while, where there are averages."""
    own = [parameter.detach().clone() for parameter in parameters] if average else []
    for parameter, value in zip(parameters, average, strict=False):
        parameter.data.copy_(value)
    yield
    for parameter, value in zip(parameters, own, strict=False):
        parameter.data.copy_(value)


def _learnt(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model without what is frozen."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def _matrix(values: Tensor, weight: Tensor) -> Tensor:
    """A weight (or its gradient), a convolution's too, as a matrix [outputs, inputs]: a view of the weight's memory."""
    rows = values if weight.is_contiguous() else values.permute(0, 2, 3, 1)
    return rows.reshape(len(values), -1)


def _optimizers(model: nn.Module, matrices: list[tuple[nn.Parameter, nn.Parameter]], schedule: Schedule,
                scales: Mapping[str, float]) -> list[torch.optim.Optimizer]:
    taken, groups = {id(parameter) for parameter, _ in matrices}, dict[float, list[nn.Parameter]]()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in taken:
            scale = next((scale for start, scale in scales.items() if name.startswith(start)), 1.0)
            groups.setdefault(scale, []).append(parameter)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW([{"params": some, "scale": scale} for scale, some in groups.items()], schedule.rate,
                          weight_decay=schedule.weight_decay, betas=(0.9, 0.98))]
    if matrices:
        optimizers.append(torch.optim.Muon([matrix for _, matrix in matrices], schedule.rate,
                                           weight_decay=schedule.weight_decay, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def _append_curve(path: Path, points: list[dict[str, float]]) -> None:
    """Append points of a learning curve; the columns are those of the first point."""
    if not points:
        return
    columns = list(points[0])
    if path.exists():
        with path.open(newline="") as file:
            columns = next(csv.reader(file), columns)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        if not file.tell():
            writer.writeheader()
        writer.writerows(points)
