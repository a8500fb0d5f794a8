"""`train mini`: runs the stages, both sides at once when asked, with a bar per side."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from app import terminal
from app.compose import choose_device
from streams.types import InputError

SIDES = ("rgb", "event")


def train_mini(folder: Path, smoke: bool, jobs: int, device_name: str) -> None:
    """Train the pair into a folder; goes on where an interrupted run stopped. Scenes are always made on the CPU."""
    if jobs not in (1, 2):
        raise InputError(f"--jobs {jobs} is not allowed; use 1 or 2, one per side of the pair")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; give a folder")
    import torch

    from pipeline.training.curves import draw_curves, falls
    from pipeline.training.mini import FULL, SMOKE, drawings, ensure_tokenizer, train_side
    from pipeline.training.pair import finish_pair

    device = choose_device(device_name)
    torch.set_num_threads(1)
    sizes = SMOKE if smoke else FULL
    ensure_tokenizer(folder, drawings(sizes, folder))
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=terminal.people) as bars:
        show = _Display(bars)
        if jobs == 1:
            for side in SIDES:
                for progress in train_side(side, sizes, folder, device):
                    show(side, progress)
        else:
            _train_both(folder, smoke, device, show)
        for progress in finish_pair(sizes, folder, device):
            show("pair", progress)
    for stage, before, after in falls(folder):
        terminal.people.print(f"{stage}: loss {before:.2f} at first, {after:.2f} at last")
    terminal.people.print(f"learning curves: {draw_curves(folder)}")
    terminal.people.print(f"the pair is in {folder}; measure it with: parafovea eval mini --model mini:{folder} "
                          f"--drafter-model mini:{folder}")


def train_drafter(name: str, target: str, folder: Path, scenes: int, steps: int, stages: bool = True) -> None:
    """Let the verifier of a pair speak about scenes and train a drafter on that; goes on where an interrupted run
    stopped. Leaves folder/NAME, a checkpoint, and where they are wanted the stages before it in folder/NAME-stages."""
    import torch

    from pipeline.adapters import LEVELS
    from pipeline.models import load_models
    from pipeline.training import heads
    from pipeline.training.adapters import low_rank_library, train_adapter
    from pipeline.training.fitting import Run, Words, stages_of
    from pipeline.training.traces import collect_traces, load_traces
    from pipeline.vlms.mini import MiniVLM

    stem, _, level = name.partition(":")
    known = (*heads.TRAINABLE, *(f"adapter:{level}" for level in LEVELS))
    if name not in known:
        raise InputError(f"there is nothing to train for {name!r}; use mini or one of {', '.join(known)}")
    if scenes < 1 or steps < 1:
        raise InputError(f"--scenes {scenes} and --steps {steps} must both be at least 1")
    if name == "adapter:L6":
        low_rank_library()
    torch.set_num_threads(1)
    models = load_models(torch.device("cpu"), target, target)
    if not (isinstance(models.rgb, MiniVLM) and isinstance(models.event, MiniVLM)):
        raise InputError(f"drafters are trained for pairs of the bundled kind; got --target {target}")
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=terminal.people) as bars:
        show = _Display(bars)
        for progress in collect_traces(models.rgb, models.event, scenes, folder / "traces"):
            show(name, progress)
        traces, held_out = load_traces(folder / "traces")
        place = folder / name.replace(":", "-")
        words, run = Words(models.rgb.model.decoder, torch.device("cpu")), Run(steps, place, stages)
        for progress in (train_adapter(level, models.event.model.decoder, words, traces, held_out, run)
                         if stem == "adapter" else heads.train_drafter(name, words, traces, run)):
            show(name, progress)
    terminal.people.print(f"the drafter is in {place}; use it with: --drafter {stem}:{place}")
    if stages:
        terminal.people.print("what it learned, from not trained at all on: parafovea bench --drafters "
                              f"{stem} --checkpoints {stages_of(place)} --model {target} --drafter-model {target}")


class _Display:
    """One bar per side, named after its present stage."""

    def __init__(self, bars: Bars) -> None:
        self._bars, self._tasks = bars, dict[str, Any]()
        self._stages = dict[str, str]()

    def __call__(self, side: str, progress: Any) -> None:
        if self._stages.get(side) != progress.stage:
            self._stages[side] = progress.stage
            if side in self._tasks:
                self._bars.remove_task(self._tasks[side])
            self._tasks[side] = self._bars.add_task(progress.stage, total=progress.steps)
        loss = f" loss {sum(progress.losses.values()):.3f}" if progress.losses else ""
        self._bars.update(self._tasks[side], completed=progress.step, description=progress.stage + loss)


def _train_both(folder: Path, smoke: bool, device: Any, show: Callable[[str, Any], None]) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_work, args=(side, folder, smoke, device, results), daemon=True)
               for side in SIDES]
    for worker in workers:
        worker.start()
    for side, progress in _received(results, workers):
        show(side, progress)
    for side, worker in zip(SIDES, workers, strict=True):
        worker.join()
        if worker.exitcode:
            raise RuntimeError(f"training of the {side} side ended with exit code {worker.exitcode}; run the command "
                               "again to go on from the last checkpoint")


def _received(results: Any, workers: list[Any]) -> Iterator[tuple[str, Any]]:
    while True:
        try:
            yield results.get(timeout=1.0)
        except queue.Empty:
            if not any(worker.is_alive() for worker in workers):
                return


def _work(side: str, folder: Path, smoke: bool, device: Any, results: Any) -> None:
    import cv2
    import torch

    from pipeline.training.mini import FULL, SMOKE, train_side

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for progress in train_side(side, SMOKE if smoke else FULL, folder, device):
        results.put((side, progress))
