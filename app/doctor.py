"""`doctor`: what is installed and attached, whether models load and answer; one line of advice per problem."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from app import terminal
from app.compose import ModelOptions, bundled_recording, load, quiet_libraries
from streams.types import InputError

if TYPE_CHECKING:
    from pipeline.captioner import Captioner
    from pipeline.models import Models
    from streams.types import Window

CORE = ("torch", "transformers", "tokenizers", "dv-processing", "aedat", "opencv-python", "numpy", "gradio")
EXTRAS = {"models": ("accelerate", "sentencepiece", "protobuf"), "quantised": ("bitsandbytes",), "gguf": ("gguf",),
          "hdf5": ("h5py", "hdf5plugin"), "train": ("peft", "resvg_py"), "report": ("scipy", "matplotlib")}
"""Packages of the optional extras in pyproject.toml."""

LITTLE_BYTES = 4 * 2**30
"""Free memory below which models other than the bundled pair will hardly fit."""

QUESTIONS = ("What is happening?", "Describe the scene in detail.", "How many objects are there?")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its subject, what was found, and what to do where it is a problem (None = fine).

    broken: whether nothing can work before this is mended.
    """

    subject: str
    found: str
    advice: str | None = None
    broken: bool = False


def doctor(seconds: float, as_json: bool, options: ModelOptions) -> bool:
    """Look at everything and print it, one line each. Returns whether the program can work here."""
    quiet_libraries()
    findings = list[Finding]()
    for finding in examine(seconds, options):
        findings.append(finding)
        if not as_json:
            _show(finding)
    problems = sum(finding.advice is not None for finding in findings)
    if as_json:
        terminal.print_json({"type": "doctor", "problems": problems, "findings": [asdict(f) for f in findings]})
    else:
        terminal.page.print("nothing to mend" if not problems else f"{problems} line{'s' * (problems > 1)} of advice",
                            style="bold")
    return not any(finding.broken for finding in findings)


def examine(seconds: float, options: ModelOptions) -> Iterator[Finding]:
    """All findings, in the order in which they matter; the last ones are a self-test of so many seconds."""
    yield _system()
    yield _installed()
    yield from map(_extra, EXTRAS)
    yield from _devices()
    yield _events_cameras()
    yield _webcams()
    yield from _answers(seconds, options)


def _show(finding: Finding) -> None:
    mark, style = ("ok  ", "green") if finding.advice is None else ("!!  ", "bold red" if finding.broken else "yellow")
    terminal.page.print(mark, end="", style=style)
    terminal.page.print(f"{finding.subject}: {finding.found}", markup=False)
    if finding.advice:
        terminal.page.print(f"    {finding.advice}", style="yellow", markup=False)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _system() -> Finding:
    return Finding("system", f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
                             f"parafovea {_version('parafovea') or 'not installed, run from its folder'}")


def _installed() -> Finding:
    found = {package: _version(package) for package in CORE}
    if missing := [package for package, number in found.items() if number is None]:
        return Finding("packages", f"{', '.join(missing)} missing", "pip install -e . in the project's folder", True)
    return Finding("packages", ", ".join(f"{package} {number}" for package, number in found.items()))


def _extra(extra: str) -> Finding:
    packages = EXTRAS[extra]
    there = [package for package in packages if _version(package)]
    if len(there) == len(packages):
        return Finding(f"extra {extra}", "installed")
    # not a problem: who does not use it does not need it
    return Finding(f"extra {extra}", f"not installed; where it is needed: pip install 'parafovea[{extra}]'")


def _devices() -> Iterator[Finding]:
    import torch

    from pipeline.placement import CPU, GIB, free_bytes

    free = free_bytes(CPU)
    advice = ("close other programs, or use the bundled pair only: published models need more memory"
              if free < LITTLE_BYTES else None)
    yield Finding("processor", f"{os.cpu_count()} cores, {free / GIB:.1f} GiB of memory free", advice)
    if not torch.cuda.is_available():
        advice = None
        if shutil.which("nvidia-smi"):
            advice = ("there is a driver, but this torch cannot use it: install a CUDA build, "
                      "https://pytorch.org/get-started/locally")
        yield Finding("GPU", "none: models run on the processor", advice)
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16, fp16 is used"
        yield Finding(f"GPU cuda:{number}", f"{torch.cuda.get_device_name(device)}, "
                                            f"{free_bytes(device) / GIB:.1f} GiB free, {bf16}")


def _events_cameras() -> Finding:
    from streams.sources.dv import discover

    try:
        found = discover()
    except InputError as error:
        return Finding("event cameras", "cannot be listed", str(error))
    return Finding("event cameras", ", ".join(camera["uri"] for camera in found) or "none attached")


def _webcams() -> Finding:
    found = sorted(Path("/dev").glob("video*"))
    if unreadable := [str(path) for path in found if not os.access(path, os.R_OK | os.W_OK)]:
        return Finding("webcams", f"{', '.join(unreadable)} may not be opened",
                       "let your user open it: sudo usermod -aG video $USER, then log in again")
    if platform.system() != "Linux":
        return Finding("webcams", "not listed on this system; try parafovea demo --source webcam://0")
    return Finding("webcams", ", ".join(str(path) for path in found) or "none attached")


def _answers(seconds: float, options: ModelOptions) -> Iterator[Finding]:
    """Whether the models load, and a self-test: is every answer the same with and without guesses?"""
    try:
        start = time.perf_counter()
        models = load(options)
    except InputError as error:
        yield Finding("models", "do not load", str(error), True)
        return
    yield Finding("models", f"{models.summary}; loaded in {time.perf_counter() - start:.1f} s")
    yield _passes(models)
    from pipeline.captioner import Captioner
    from streams.sources import open_source
    from streams.windows import window_at

    with open_source(str(bundled_recording())) as source:
        length_us = source.info.duration_us
        assert length_us is not None
        assert source.info.start_us is not None
        starts = [source.info.start_us + share * length_us // 5 for share in range(2, 6)]
        windows = [window_at(source, end_us, 1_000_000) for end_us in starts]
    yield _self_test(Captioner(models), windows, seconds)


def _passes(models: Models) -> Finding:
    """How passes over few rows are computed, as --compile and --no-compile say."""
    from pipeline import native

    decoders = [vlm.decoder for vlm in (models.rgb, models.event) if vlm is not None and vlm.decoder is not None]
    where = {decoder.embed.weight.device.type for decoder in decoders}
    said = list[str]()
    if "cpu" in where:
        said.append("compiled C where it fits" if native.switched_on() else "not compiled")
    if "cuda" in where:
        said.append("CUDA graphs" if any(decoder.graphs is not None for decoder in decoders)
                    else "no CUDA graphs; --compile makes them (never run on a GPU by their authors)")
    said += [f"no CUDA graphs of {name}: {reason}" for name, reason in models.ordinary.items() if reason]
    return Finding("passes over few rows", "; ".join(said) or "those of transformers")


def _self_test(captioner: Captioner, windows: list[Window], seconds: float,
               now: Callable[[], float] = time.perf_counter) -> Finding:
    end, count, spent, alone = now() + seconds, 0, 0.0, 0.0
    different, tokens = 0, 0
    for number, window in enumerate(cycle(windows)):
        if count and now() >= end:
            break
        # in turns, so that what else the machine does falls on both
        names = (None, "none") if number % 2 else ("none", None)
        said = {name: list(captioner.ask(window, QUESTIONS[number % 3], name))[-1] for name in names}
        guessed, plain = said[None], said["none"]
        different += guessed.text != plain.text
        count, tokens = count + 1, tokens + plain.tokens
        spent, alone = spent + guessed.total_s, alone + plain.total_s
    found = f"{count} answers, {tokens} tokens, {tokens / max(spent, 1e-9):.0f} per second, "
    found += f"{alone / max(spent, 1e-9):.2f} times as fast as without guesses"
    if different:
        return Finding("self-test", f"{different} of {count} answers differ with guesses",
                       "the numbers of this device depend on how many rows are computed at once: use --dtype fp32, or "
                       "--drafter none for exactly what the model says alone", True)
    return Finding("self-test", found + "; all the same as without guesses")
