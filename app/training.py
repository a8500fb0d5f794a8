"""`train mini`: runs the stages, both sides at once when asked, with a bar per side; `train DRAFTER`."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from app import terminal
from app.compose import ModelOptions, choose_device, load, quiet_libraries
from streams.types import InputError

if TYPE_CHECKING:
    from pipeline.models import Models
    from pipeline.training.fitting import Run
    from pipeline.training.traces import Trace

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
    with progress_bars() as show:
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


@dataclass(frozen=True)
class DrafterOptions:
    """What `train DRAFTER` was told: the folder, the models it is for, how long to train, whether stages are kept, and
    what it learns from: so many scenes, or a folder of `extract`."""

    out: Path
    models: ModelOptions
    steps: int
    stages: bool
    scenes: int
    data: Path | None = None


def train_drafters(what: str, options: DrafterOptions) -> None:
    """Train one drafter, or with "all" every one that leaves the verifier as it is, one after another; says which of
    these cannot learn from what is there, and raises InputError where none can."""
    from pipeline.adapters import LEVELS
    from pipeline.training import heads
    from pipeline.training.recorded import Data

    if what != "all":
        train_drafter(what, options)
        return
    if options.data is not None:
        Data.read(options.data)  # what all of them lack is said once
    reasons, names = list[str](), [*heads.TRAINABLE, "recall", *(f"adapter:{level}" for level in LEVELS)]
    for name in names:
        try:
            train_drafter(name, options)
        except InputError as error:
            reasons.append(str(error))
            terminal.people.print(f"parafovea: {name} is skipped: {error}", style="yellow")
    if len(reasons) == len(names):
        raise InputError(f"no drafter could be trained: {reasons[0]}")


def train_drafter(name: str, options: DrafterOptions) -> None:
    """Train a drafter on what the verifier said, about scenes of the bundled pair's world or about recordings; goes on
    where an interrupted run stopped. Leaves out/NAME, a checkpoint, and where they are wanted the stages before it in
    out/NAME-stages. Launched in several processes it trains on all their GPUs."""
    from pipeline.adapters import LEVELS
    from pipeline.training import heads, joint
    from pipeline.training.adapters import low_rank_library, train_adapter
    from pipeline.training.fitting import Run, Words, stages_of
    from pipeline.training.workers import launched

    stem, _, level = name.partition(":")
    known = (*heads.TRAINABLE, "recall", joint.NAME, *(f"adapter:{level}" for level in LEVELS))
    if name not in known:
        raise InputError(f"there is nothing to train for {name!r}; use mini, all or one of {', '.join(known)}")
    if options.scenes < 1 or options.steps < 1:
        raise InputError(f"--scenes {options.scenes} and --steps {options.steps} must both be at least 1")
    quiet_libraries()
    if name in ("adapter:L6", joint.NAME):
        low_rank_library()
    workers = launched(choose_device(options.models.device))
    models = load(replace(options.models, device=str(workers.device)))
    if models.rgb.decoder is None:
        raise InputError(f"drafters learn from the verifier's states, and {models.rgb.name} shows none; choose another "
                         "--model")
    place = options.out / name.replace(":", "-")
    run = Run(options.steps, place, options.stages, workers)
    with progress_bars() as show:
        learn, held_out = (_recorded(options.data, models, run) if options.data
                           else _about_scenes(options, models, run, show))
        if name == joint.NAME:
            _train_jointly(models, learn, held_out, run, show)
            return
        if name == "recall":
            _remember(models, learn, run)
            return
        words, event = Words(models.rgb.decoder, workers.device), None if models.event is None else models.event.decoder
        del models  # the verifier's layers are not needed any more, and may be large
        for progress in (train_adapter(level, event, words, learn, held_out, run) if stem == "adapter"
                         else heads.train_drafter(name, words, learn, run)):
            if workers.first:
                show(name, progress)
    if not workers.first:
        return
    terminal.people.print(f"the drafter is in {place}; use it with: --drafter {stem}:{place}")
    if options.stages:
        said = {"--model": options.models.model, "--drafter-model": options.models.drafter_model}
        chosen = " ".join(f"{option} {value}" for option, value in said.items() if value)
        terminal.people.print("what it learned, from not trained at all on: parafovea bench --drafters "
                              f"{stem} --checkpoints {stages_of(place)} {chosen}")


def _remember(models: Models, learn: list[Trace], run: Run) -> None:
    """What `recall` begins with: the answers themselves, for there is nothing to train."""
    from pipeline.drafters.recall import keep

    if run.workers.first:
        keep([(one.tokens, one.prompt) for one in learn], models.tokenizer.size, run.folder)
        terminal.people.print(f"{len(learn)} answers are in {run.folder}; use them with: --drafter recall:{run.folder}")


def _train_jointly(models: Models, learn: list[Trace], held_out: list[Trace], run: Run, show: _Display) -> None:
    """Medusa-2. Raises InputError for a verifier that cannot be written back."""
    import json

    from pipeline.training.joint import NAME, train_joint
    from pipeline.vlms.mini import MiniVLM

    if not isinstance(models.rgb, MiniVLM):
        raise InputError(f"{NAME} changes the verifier and writes it back, which is done for pairs of the bundled kind "
                         f"only; train medusa for {models.rgb.name}")
    for progress in train_joint(models.rgb, models.heads, learn, held_out, run):
        if run.workers.first:
            show(NAME, progress)
    if run.workers.first:
        facts = json.loads((run.folder / "medusa" / "config.json").read_text())
        terminal.people.print(
            f"{run.folder} holds another verifier, with its heads: after the original's words it says the same next "
            f"word in {facts['held_out_same_word']:.2%} of held-out places. It has a baseline of its own: parafovea "
            f"bench --model mini:{run.folder} --drafters none,medusa")


def _about_scenes(options: DrafterOptions, models: Models, run: Run, show: _Display) -> tuple[list[Trace], list[Trace]]:
    """Answers of the bundled pair, or one like it, about scenes of its world."""
    from pipeline.training.traces import collect_traces, load_traces
    from pipeline.vlms.mini import MiniVLM

    if not (isinstance(models.rgb, MiniVLM) and isinstance(models.event, MiniVLM)):
        raise InputError("only pairs of the bundled kind know about rendered scenes; let these models speak about your "
                         "recordings with `parafovea extract` and give the folder with --data")
    if run.workers.first:
        for progress in collect_traces(models.rgb, models.event, options.scenes, options.out / "traces"):
            show("traces", progress)
    run.workers.wait()
    return load_traces(options.out / "traces")


def _recorded(folder: Path, models: Models, run: Run) -> tuple[list[Trace], list[Trace]]:
    """Answers about recordings. Raises InputError where other models gave them."""
    from pipeline.training.recorded import Data, split

    data = Data.read(folder)
    # only what adapter:L6 changes is read again; of an event VLM that is not loaded there are the states
    data.check(models, ("verifier",) if models.event is None else ("verifier", "event"))
    learn, held_out, said = split(data)
    if run.workers.first:
        terminal.people.print(f"{len(learn)} answers to learn from; {said}")
    return learn, held_out


@contextmanager
def progress_bars() -> Iterator[_Display]:
    """Bars for what is in progress, on stderr."""
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=terminal.people) as bars:
        yield _Display(bars)


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
