"""Settings for all tests: one thread (toy models gain nothing from two), places of files."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import cv2
import pytest
import torch

torch.set_num_threads(1)
cv2.setNumThreads(1)

SHARED_RECORDINGS = Path(__file__).parent.parent.parent / "shared" / "recordings"


@pytest.fixture(scope="session")
def real_recordings() -> list[Path]:
    """AEDAT4 files of real cameras, where they are at hand."""
    found = sorted(SHARED_RECORDINGS.glob("*.aedat4"))
    if not found:
        pytest.skip("no real recordings beside the repository")
    return found
