"""What drafters learn from on somebody's own recordings: answers of the verifier about windows, kept in chunks.

    data = Data.begin(Path("runs/drive"), models, Asked(["What is happening?"], 1_000_000, 1_000_000))
    number = data.add(source.info)
    for progress in data.extract(number, models, windows): ...       # windows(first) -> windows from that one on
    learn, held_out, said = split(data)

Both models read the verifier's own words, as in traces.py. A folder belongs to the weights and the questions it was
begun with. Whole recordings are held out, never windows of one that is also learnt from: neighbours say nearly the
same. FOLDER/data.json says what was read, FOLDER/NUMBER-NAME/traces-NNNN.pt hold the answers.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.captioner import Captioner
from pipeline.checkpoints import fingerprint
from pipeline.models import Models
from pipeline.training.loop import Progress
from pipeline.training.traces import HELD_OUT_EVERY, PART, Trace, load_part, save_part, window_traces
from streams.types import InputError, SourceInfo, Window

LATER_SHARE = 5
"""One part of so many, the last, is held out of a recording that is alone."""


@dataclass(frozen=True)
class Asked:
    """What the verifier is asked, about windows of which length and how far apart, in µs; rows: whether what stands in
    front of the text is kept, which adapter:L6 and specvlm learn from."""

    questions: list[str]
    window_us: int
    stride_us: int
    rows: bool = True


def weights_of(models: Models) -> dict[str, str | None]:
    """Which verifier and which event VLM: their names and fingerprints."""
    sides = {"verifier": models.rgb, "event": models.event}
    names = {side: None if vlm is None else vlm.name for side, vlm in sides.items()}
    return names | {f"{side}_weights": None if vlm is None or vlm.decoder is None else fingerprint(vlm.decoder)
                    for side, vlm in sides.items()}


@dataclass
class Data:
    """A folder of answers about recordings."""

    folder: Path
    asked: Asked
    weights: dict[str, str | None]
    recordings: list[dict[str, Any]]

    @classmethod
    def begin(cls, folder: Path, models: Models, asked: Asked) -> Data:
        """Make the folder, or go on with it. Raises InputError where it belongs to other weights or questions, and for
        a verifier whose states cannot be seen."""
        if models.rgb.decoder is None:
            raise InputError(f"drafters learn from the verifier's states, and {models.rgb.name} shows none; choose "
                             "another --model")
        if not (folder / "data.json").exists():
            data = cls(folder, asked, weights_of(models), [])
            data.write()
            return data
        data = cls.read(folder)
        if data.asked != asked:
            raise InputError(f"{folder} was begun with other questions or windows ({_words(data.asked)}); ask the "
                             "same, or give another folder with --out")
        data.check(models, ("verifier", "event"))
        return data

    @classmethod
    def read(cls, folder: Path) -> Data:
        """What a folder holds. Raises InputError where nothing was extracted or data.json is damaged."""
        try:
            plain = json.loads((folder / "data.json").read_text())
            return cls(folder, Asked(**plain["asked"]), plain["weights"], plain["recordings"])
        except FileNotFoundError as error:
            raise InputError(f"{folder} holds no data.json; make it with: parafovea extract RECORDING --out {folder}"
                             ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder / 'data.json'} is damaged ({error}); extract again into another folder"
                             ) from error

    def check(self, models: Models, sides: Sequence[str]) -> None:
        """Raises InputError where these are other models than those that answered: a drafter fits only its own.

        sides: "verifier", and "event" where the event VLM matters too.
        """
        now = weights_of(models)
        for side in sides:
            option = {"verifier": "--model", "event": "--drafter-model"}[side]
            if any(self.weights[key] != now[key] for key in (side, f"{side}_weights")):
                raise InputError(f"the answers in {self.folder} are from {self.weights[side]} with other weights or in "
                                 f"another precision than {now[side]}; choose the same with {option}, or extract again")

    def write(self) -> None:
        """Write data.json, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        plain = {"asked": asdict(self.asked), "weights": self.weights, "recordings": self.recordings}
        unfinished = self.folder / "data.tmp"
        unfinished.write_text(json.dumps(plain, indent=1) + "\n")
        os.replace(unfinished, self.folder / "data.json")

    def add(self, info: SourceInfo) -> int:
        """The number of a recording; the same recording has the same."""
        known = {"name": info.name, "start_us": info.start_us, "duration_us": info.duration_us}
        for number, recording in enumerate(self.recordings):
            if known.items() <= recording.items():
                return number
        self.recordings.append(known | {"events_origin": info.events_origin, "frames_origin": info.frames_origin,
                                        "windows": 0, "answers": 0, "without_frames": 0, "finished": False})
        self.write()
        return len(self.recordings) - 1

    def place(self, number: int) -> Path:
        """Folder of a recording's answers."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", self.recordings[number]["name"])
        return self.folder / f"{number:04}-{name}"

    def finished(self, number: int) -> bool:
        """Whether a recording has been read to its end."""
        return bool(self.recordings[number]["finished"])

    def extract(self, number: int, models: Models, windows: Callable[[int], Iterator[Window]], expected: int,
                ) -> Iterator[Progress]:
        """Ask about every window of a recording that was not asked about yet, in chunks.

        windows(first): those from number `first` on, the grid beginning with the recording. expected: about how many
        windows there are.
        """
        if self.finished(number):
            return
        state, place, look = self.recordings[number], self.place(number), Captioner(models).look
        place.mkdir(parents=True, exist_ok=True)
        first, said = state["windows"], dict[str, list[int]]()
        stream = windows(max(0, first - 1))
        # questions about changes compare with the window before
        if first and (before := next(stream, None)) is not None and before.frames:
            look(before)
        while not state["finished"]:
            part, read, blind = list[tuple[dict[str, int], Trace]](), 0, 0
            for read, window in zip(range(1, PART + 1), stream):  # noqa: B905 (the stream may be longer, or end first)
                index = state["windows"] + read - 1
                if window.frames or models.rgb.reads != "frames":
                    part += [({"window": index}, one) for one in self._answers(models, look(window), said)]
                else:
                    blind += 1
                yield Progress(state["name"], index + 1, max(expected, index + 1), {}, 0.0)
            save_part(part, place / f"traces-{state['windows'] // PART:04}.pt")
            state |= {"windows": state["windows"] + read, "answers": state["answers"] + len(part),
                      "without_frames": state["without_frames"] + blind, "finished": read < PART}
            self.write()

    def _answers(self, models: Models, window: Window, said: dict[str, list[int]]) -> list[Trace]:
        """Answers about a window; what was said about the one before is a good guess, and guesses save passes."""
        asked = [(question, said.get(question, [])) for question in self.asked.questions]
        found = window_traces(models.rgb, models.event, window, asked, self.asked.rows)
        said |= {question: one.tokens[one.prompt:] for (question, _), one in zip(asked, found, strict=True)}
        return found


def _words(asked: Asked) -> str:
    questions = ", ".join(f'"{question}"' for question in asked.questions)
    return f"{questions}, {asked.window_us / 1e6:g} s every {asked.stride_us / 1e6:g} s" + (
        "" if asked.rows else ", --no-rows")


def split(data: Data) -> tuple[list[Trace], list[Trace], str]:
    """Answers to learn from, held-out ones, and a sentence that says which these are.

    Of the recordings that hold answers the first, the eleventh and so on are held out. A recording that is alone gives
    its last fifth, and no window that overlaps with that one is learnt from.
    """
    by_recording = {number: found for number in range(len(data.recordings)) if (found := _all(data.place(number)))}
    if len(by_recording) > 1:
        held = list(by_recording)[::HELD_OUT_EVERY]
        parts = [[one for number, found in by_recording.items() if (number in held) == wanted for _, one in found]
                 for wanted in (False, True)]
        names = ", ".join(data.recordings[number]["name"] for number in held)
        return parts[0], parts[1], f"{len(held)} of {len(by_recording)} recordings held out: {names}"
    only = next(iter(by_recording.values()), [])
    indices = sorted({window for window, _ in only})
    later = set(indices[len(indices) - max(1, len(indices) // LATER_SHARE):])
    overlap = -(-data.asked.window_us // data.asked.stride_us) - 1
    learn = [one for window, one in only if window < min(later, default=0) - overlap]
    return learn, [one for window, one in only if window in later], (
        f"there is one recording only, of which the last {len(later)} of {len(indices)} windows are held out: what "
        "that measures is this recording; extract more of them")


def _all(place: Path) -> list[tuple[int, Trace]]:
    return [(facts["window"], one) for path in sorted(place.glob("traces-*.pt")) for facts, one in load_part(path)]
