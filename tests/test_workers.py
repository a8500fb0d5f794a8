"""Several processes train one model: what they learn together is what one learns from whole batches."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.training.loop import Schedule, train
from pipeline.training.workers import Workers, launched
from streams.types import InputError

CPU = torch.device("cpu")


def learnt(folder: Path, workers: Workers) -> list[float]:
    """The weights of a small model after a few steps on shared batches."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))

    def loss_of_step(step: int) -> dict[str, torch.Tensor]:
        return {"loss": (model(torch.stack(workers.share(list(rows)))) - step).square().mean()}

    list(train("toy", model, loss_of_step, Schedule(6, 1e-2, warmup=2, ema=0.5), folder, workers=workers))
    return [value for parameter in model.parameters() for value in parameter.flatten().tolist()]


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    places = {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parent.parent}"}
    subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__,
                    str(tmp_path / "shared")], env=os.environ | places, check=True, capture_output=True)
    both = [torch.load(tmp_path / f"shared-{index}.pt") for index in range(2)]
    assert both[0] == both[1]
    assert both[0] == pytest.approx(learnt(tmp_path / "alone", Workers()), abs=1e-5)
    assert (tmp_path / "shared" / "toy.pt").exists()


def test_who_is_not_launched_with_others_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = launched(CPU)
    assert (alone.index, alone.count, alone.first, alone.accelerator) == (0, 1, True, None)
    monkeypatch.setenv("WORLD_SIZE", "2")

    def nothing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", nothing)
    with pytest.raises(InputError, match="needs accelerate; install it"):
        launched(CPU)


def test_a_batch_is_shared_completely() -> None:
    batch = list(range(7))
    assert sorted(item for index in range(3) for item in Workers(index, 3).share(batch)) == batch
    with pytest.raises(InputError, match="3 processes cannot share a batch of 2"):
        Workers(0, 3).share([1, 2])


if __name__ == "__main__":
    place, together = Path(sys.argv[1]), launched(CPU)
    torch.save(learnt(place, together), f"{place}-{together.index}.pt")
