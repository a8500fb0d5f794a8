"""The command line as a person or a script meets it: exit codes, one sentence, JSON lines, identical text."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from app import measuring
from app.cli import main
from app.compose import bundled_recording
from pipeline import drafters
from pipeline.decoding import MOST
from streams.sources import open_source
from streams.summary import summarize

STORY = str(bundled_recording())
QUESTION = "What is happening?"


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def lines(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def write_video(path: Path, frames: int = 12) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (96, 64))
    for i in range(frames):
        image = np.full((64, 96, 3), 40, np.uint8)
        image[20:40, 4 + 5 * i:24 + 5 * i] = (30, 60, 220)
        writer.write(image)
    writer.release()
    return path


@pytest.mark.parametrize("temperature", ["0", "0.8"])
def test_ask_gives_cycles_a_caption_and_the_same_text_for_every_drafter(temperature: str) -> None:
    texts = set()
    for drafter in ("none", "vlm", "recall"):
        result = call("ask", STORY, QUESTION, "--at", "4", "--json", "--drafter", drafter, "--seed", "5",
                      "--temperature", temperature)
        assert result.exit_code == 0, result.output
        *cycles, caption = lines(result)
        assert cycles
        assert {line["type"] for line in cycles} == {"cycle"}
        assert caption["type"] == "caption"
        assert caption["text"] == "".join(t["text"] for line in cycles for t in line["emitted"])
        assert caption["drafter"] == drafter
        assert caption["rule"] == ("greedy" if temperature == "0" else "sampling")
        assert (caption["lossless"], caption["damaged"], caption["n_dropped"]) == (True, False, 0)
        assert (caption["events_origin"], caption["frames_origin"]) == ("rendered", "rendered")
        assert caption["start_us"] == 3_000_000
        assert caption["end_us"] == 4_000_000
        cosines = [node["cos_sim"] for line in cycles for node in line["drafted"] if node["verdict"] != "unreached"]
        if drafter == "vlm":
            assert cosines
            assert all(-1 <= value <= 1 for value in cosines)
            assert caption["cos_adapter"] == "L1"
        else:
            assert all(value is None for value in cosines)
        texts.add(caption["text"])
    assert len(texts) == 1


def test_ask_speaks_of_what_is_there() -> None:
    caption = lines(call("ask", STORY, QUESTION, "--at", "4", "--json"))[-1]
    assert "red car" in caption["text"].lower()


def test_ask_prints_the_answer_for_people() -> None:
    result = call("ask", STORY, "How many objects are there?", "--at", "9")
    assert result.exit_code == 0
    assert "object" in result.stdout
    assert "checks" in result.stderr


def test_replay_captions_every_window() -> None:
    result = call("replay", STORY, "--json", "--drafter", "recall", "--start", "14", "--stride", "2")
    assert result.exit_code == 0
    captions = [line for line in lines(result) if line["type"] == "caption"]
    assert [c["start_us"] for c in captions] == [14_000_000, 16_000_000, 18_000_000]
    assert len({c["text"] for c in captions}) > 1


def test_replay_begins_where_it_is_told_with_a_full_window() -> None:
    result = call("replay", STORY, "--json", "--start", "14.6")
    first = next(line for line in lines(result) if line["type"] == "caption")
    asked = lines(call("ask", STORY, QUESTION, "--at", "15.6", "--json"))[-1]
    assert (first["start_us"], first["text"]) == (14_600_000, asked["text"])
    assert "no frame" not in result.stderr


def test_provenance_needs_no_git_and_names_no_foreign_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert measuring.provenance()["commit"] == version("parafovea")
    monkeypatch.setattr(measuring, "_git", lambda root, *arguments: "/somewhere/else")
    assert measuring.provenance()["commit"] == version("parafovea")


@pytest.mark.parametrize("command", ["info", "replay"])
def test_real_recordings(command: str, real_recordings: list[Path]) -> None:
    for path in real_recordings:
        result = call(command, str(path), "--json")
        assert result.exit_code == 0, result.output
        last = lines(result)[-1]
        if command == "info":
            assert last["n_events"] > 1000
            assert (last["n_frames"] > 0) == (last["frame_resolution"] is not None)
        else:
            assert last["type"] == "caption"
            assert last["frames_origin"] in ("camera", "reconstructed")


def test_info_of_the_bundled_recording() -> None:
    line = lines(call("info", STORY, "--json"))[0]
    assert line["type"] == "info"
    assert line["format"] == "aedat4"
    assert line["event_resolution"] == line["frame_resolution"] == [346, 260]
    assert line["n_frames"] == 200
    assert line["end_us"] - line["start_us"] > 19_000_000
    assert "frames" in call("info", STORY).stdout


def test_simulate_writes_a_recording_that_says_so(tmp_path: Path) -> None:
    out = tmp_path / "out.aedat4"
    assert call("simulate", str(write_video(tmp_path / "a.mp4")), str(out)).exit_code == 0
    with open_source(str(out)) as source:
        summary = summarize(source)
    assert summary.n_frames == 12
    assert summary.n_events > 500
    assert (summary.events_origin, summary.frames_origin) == ("simulated", "video")
    assert lines(call("ask", str(out), QUESTION, "--json"))[-1]["events_origin"] == "simulated"


def test_an_endless_source_can_be_asked_about() -> None:
    for at_s, start_us in (("2.5", 1_500_000), ("1", 0)):
        caption = lines(call("ask", "synthetic://3", QUESTION, "--at", at_s, "--json"))[-1]
        assert caption["start_us"] == start_us
    assert lines(call("ask", "synthetic://3", QUESTION, "--json"))[-1]["start_us"] == 0


def test_a_video_can_be_asked_about(tmp_path: Path) -> None:
    caption = lines(call("ask", str(write_video(tmp_path / "a.mp4")), QUESTION, "--json"))[-1]
    assert (caption["events_origin"], caption["frames_origin"]) == ("simulated", "video")


def broken_checkpoint(folder: Path) -> Path:
    weights = folder / "broken" / "mini-rgb"
    weights.mkdir(parents=True, exist_ok=True)
    (weights / "model.safetensors").write_bytes(b"no tensors")
    return weights.parent


def bad_inputs(folder: Path) -> dict[str, tuple[list[str], str]]:
    (folder / "text.aedat4").write_text("hello, I am a text\n")
    (folder / "empty.aedat4").write_bytes(b"")
    (folder / "noframes.mp4").write_bytes(write_video(folder / "v.mp4").read_bytes()[:200])
    return {
        "missing": (["ask", str(folder / "missing.aedat4"), QUESTION], "does not exist"),
        "text": (["info", str(folder / "text.aedat4")], "content is not AEDAT4"),
        "empty": (["replay", str(folder / "empty.aedat4")], "is empty"),
        "folder": (["info", str(folder)], "is a folder"),
        "video": (["info", str(folder / "noframes.mp4")], "noframes.mp4"),
        "scheme": (["ask", "ftp://x", QUESTION], "names no known source"),
        "drafter": (["ask", STORY, QUESTION, "--drafter", "oracle"], f"choose one of {', '.join(drafters.names())}"),
        "device": (["ask", STORY, QUESTION, "--device", "tpu"], "use auto, cpu, cuda:N or spread"),
        "gpu": (["ask", STORY, QUESTION, "--device", "cuda:99"], "use --device cpu"),
        "model": (["ask", STORY, QUESTION, "--model", "gpt"], "with one of auto"),
        "weights": (["ask", STORY, QUESTION, "--model", f"mini:{folder}"], "no checkpoint in"),
        "broken": (["ask", STORY, QUESTION, "--model", f"mini:{broken_checkpoint(folder)}"], "cannot be read"),
        "outfile": (["train", "mini", "--out", str(folder / "text.aedat4")], "is a file"),
        "digits": (["info", "synthetic://²"], "whole number"),
        "at": (["ask", STORY, QUESTION, "--at", "900"], "outside the recording"),
        "question": (["ask", STORY, "   "], "question is empty"),
        "temperature": (["ask", STORY, QUESTION, "--temperature", "-3"], "temperature -3.0 is not allowed"),
        "seed": (["ask", STORY, QUESTION, "--temperature", "1", "--seed", "-1"], "seed -1"),
        "stride": (["replay", STORY, "--stride", "0"], "must be positive"),
        "start": (["replay", STORY, "--start", "90"], "outside the recording"),
        "at-nan": (["ask", STORY, QUESTION, "--at", "nan"], "outside the recording"),
        "at-inf": (["ask", "synthetic://3", QUESTION, "--at", "inf"], "outside the recording"),
        "start-nan": (["replay", STORY, "--start", "nan"], "outside the recording"),
        "stride-nan": (["replay", STORY, "--stride", "nan"], "must be positive"),
        "endless": (["info", "synthetic://3"], "no end"),
        "suffix": (["simulate", str(folder / "v.mp4"), str(folder / "out.txt")], "must end in .aedat4"),
        "threshold": (["simulate", str(folder / "v.mp4"), str(folder / "o.aedat4"), "--threshold", "0"], "0.02 to 2"),
        "novideo": (["simulate", STORY, str(folder / "o.aedat4")], "is not a video"),
        "scenes": (["eval", "mini", "--scenes", "0"], "not all unseen"),
        "clips": (["bench", "--clips", "0"], "at least 1"),
        "clips-c": (["calibrate", "--clips", "0"], "at least 1"),
        "bench-name": (["bench", "--drafters", "vlm,oracle"], "choose all or some of"),
        "bench-none": (["bench", "--drafters", f"vlm:{folder}"], "has no variant"),
        "bench-out": (["bench", "--out", str(folder / "text.aedat4")], "is a file"),
        "stages": (["bench", "--checkpoints", str(folder)], "no folder such as eagle-stages"),
        "stages-file": (["bench", "--drafters", "eagle", "--checkpoints", str(folder / "x")], "is not a folder"),
        "stages-empty": (["bench", "--drafters", "eagle", "--checkpoints", str(folder)], "holds no checkpoints"),
        "camera": (["ask", "dv://nothing-there", QUESTION], "amera"),
        "jobs": (["train", "mini", "--jobs", "7"], "use 1 or 2"),
        "filter": (["ask", STORY, QUESTION, "--filter", "nose"], "use flip:horizontal|vertical, hot["),
        "filter-value": (["replay", STORY, "--filter", "noise:soon"], "0.1 to 1000 milliseconds"),
        "filter-size": (["info", STORY, "--filter", "roi:300,0,99,9"], "sticks out of 346x260"),
    }


BAD = ("broken", "outfile", "digits", "model", "weights",
       "missing", "text", "empty", "folder", "video", "scheme", "drafter", "device", "gpu", "at",
       "question", "temperature", "seed", "stride", "endless", "suffix", "threshold", "novideo", "scenes", "clips",
       "clips-c", "bench-name", "bench-none", "bench-out", "stages", "stages-file", "stages-empty",
       "camera", "jobs", "filter", "filter-value", "filter-size",
       "start", "at-nan", "at-inf", "start-nan", "stride-nan")


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(case: str, tmp_path: Path) -> None:
    arguments, message = bad_inputs(tmp_path)[case]
    before = sorted(tmp_path.iterdir())
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_all_bad_inputs_are_tested(tmp_path: Path) -> None:
    assert set(BAD) == set(bad_inputs(tmp_path))


def test_a_damaged_recording_is_answered_and_says_so(tmp_path: Path) -> None:
    data = bytearray(bundled_recording().read_bytes())
    path = tmp_path / "damaged.aedat4"
    middle = len(data) // 2
    data[middle:middle + 10_000] = bytes(10_000)
    path.write_bytes(data)
    result = call("ask", str(path), QUESTION, "--at", "3", "--json")
    assert result.exit_code == 0, result.output
    line = lines(call("info", str(path), "--json"))[-1]
    assert line["damaged"]
    assert 0 < line["n_events"] < 1_300_000
    assert len([t for t in call("info", str(path)).stderr.splitlines() if t.startswith("parafovea:")]) >= 1


def test_a_defect_of_ours_has_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken inside")

    monkeypatch.setattr("app.recordings.info", broken)
    result = CliRunner().invoke(main, ["info", STORY])
    assert result.exit_code == 1
    assert "defect of ours: RuntimeError: broken inside" in result.stderr


def test_the_program_runs_as_a_command() -> None:
    done = subprocess.run([sys.executable, "-c", "from app.cli import main; main()", "ask", STORY, QUESTION, "--json"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["type"] == "caption"


def test_every_command_has_help() -> None:
    for name in main.commands:
        result = call(name, "--help")
        assert result.exit_code == 0
        assert "Usage" in result.output


def test_eval_ends_with_its_line() -> None:
    line = lines(call("eval", "mini", "--scenes", "2", "--json"))[-1]
    assert line["type"] == "eval"
    assert set(line["by_kind"]["count"]) == {"n", "rgb", "event", "event_no_colour", "chance"}


def test_the_largest_budget_is_what_decoding_drafts_at_most() -> None:
    (budget,) = (option for option in main.commands["ask"].params if option.name == "budget")
    assert isinstance(budget.type, click.IntRange)
    assert (budget.type.min, budget.type.max) == (0, MOST)
