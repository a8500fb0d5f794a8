"""Icon pictures: cropped, centred, kept; what is missing is said in one sentence. No network: npm is played."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.training import icon_sets, icons
from pipeline.training.icon_sets import TEST_STYLE, TRAIN_STYLES
from pipeline.training.icons import SIDE, filled, fit, load_icons, svg_of
from streams.scenes.world import CLASSES, DRAWINGS
from streams.types import InputError

ICON_SET = {
    "prefix": "noto", "width": 96, "height": 96,
    "icons": {
        "wide-red": {"body": '<rect x="10" y="70" width="40" height="20" fill="#f00"/>'},
        "hammer": {"body": '<rect x="0" y="0" width="20" height="80" fill="#00f" fill-opacity="0.5"/>'},
        "key": {"body": "<rect", "width": 50},
        "kite": {"body": ""},
        "unwanted": {"body": '<rect width="9" height="9"/>'},
    },
    "aliases": {"automobile": {"parent": "red-thing"}, "red-thing": {"parent": "wide-red"},
                "round": {"parent": "robin"}, "robin": {"parent": "round"}},
}


def pack(folder: Path, content: bytes) -> Path:
    path = folder / "iconify-json-noto.tgz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("package/icons.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Packages asked of a played npm, which always delivers ICON_SET."""
    asked: list[str] = []

    def played(package: str, folder: Path) -> Path:
        asked.append(package)
        return pack(folder, json.dumps(ICON_SET).encode())

    monkeypatch.setattr(icons, "npm_pack", played)
    return asked


def test_pictures_are_cropped_centred_and_straight_rgba(tmp_path: Path, packed: list[str]) -> None:
    got = load_icons(tmp_path, ["noto"])
    assert set(got) == {("noto", "car"), ("noto", "hammer")}, "broken, empty and unwanted pictures stay out"
    car, hammer = got["noto", "car"], got["noto", "hammer"]
    assert car.dtype == hammer.dtype == np.uint8
    assert car.shape == hammer.shape == (SIDE, SIDE, 4)
    assert (car[SIDE // 4:-SIDE // 4, :] == (255, 0, 0, 255)).all(), "twice as wide as high, over the full width"
    assert not car[:SIDE // 4, :, 3].any()
    assert not car[-SIDE // 4:, :, 3].any()
    columns = np.flatnonzero(hammer[..., 3].any(0))
    assert (columns[0], columns[-1]) == (36, 59), "a quarter as wide as high, in the middle"
    assert abs(hammer[SIDE // 2, SIDE // 2].astype(int) - (0, 0, 255, 128)).max() <= 1, "not premultiplied"


def test_pictures_are_kept(tmp_path: Path, packed: list[str]) -> None:
    first = load_icons(tmp_path / "new" / "folder", ["noto"])
    again = load_icons(tmp_path / "new" / "folder", ["noto"])
    assert packed == [f"@iconify-json/noto@{icon_sets.PACKAGES['noto']}"]
    assert first.keys() == again.keys()
    assert all((first[key] == again[key]).all() for key in first)
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["noto.npz"]


def test_aliases_lead_to_their_parent_and_circles_to_nothing() -> None:
    assert svg_of(ICON_SET, "automobile") == svg_of(ICON_SET, "wide-red")
    assert 'viewBox="0 0 50 96"' in str(svg_of(ICON_SET, "key"))
    assert svg_of(ICON_SET, "round") is None
    assert svg_of(ICON_SET, "absent") is None


def test_small_content_is_enlarged_and_nothing_is_nothing() -> None:
    image = np.zeros((40, 30, 4), np.uint8)
    assert fit(image) is None
    image[5:9, 20:24] = (9, 8, 7, 255)
    assert (fit(image) == (9, 8, 7, 255)).all()


def test_missing_npm_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"icon set @iconify-json/noto@.* needs npm, .*: install Node\.js"):
        load_icons(tmp_path, ["noto"])
    assert not list(tmp_path.iterdir())


def test_missing_resvg_is_said_before_anything_is_fetched(
        tmp_path: Path, packed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(InputError, match=r"needs resvg_py.*pip install 'parafovea\[train\]'"):
        load_icons(tmp_path, ["noto"])
    assert not packed


def test_a_failing_or_hanging_npm_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icons.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(icons.subprocess, "run",
                        lambda command, **_: subprocess.CompletedProcess(command, 1, "", "noise\nno such package\n"))
    with pytest.raises(InputError, match=r"exit 1: no such package.*check the network"):
        load_icons(tmp_path, ["noto"])

    def hang(command: list[str], timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(icons.subprocess, "run", hang)
    with pytest.raises(InputError, match=r"within 120 s; check the network"):
        load_icons(tmp_path, ["noto"])


@pytest.mark.parametrize("content", [b"", b"[]", b'{"icons": 3}', b'{"icons": {}}'])
def test_a_wrong_package_is_said_and_not_kept(
        content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icons, "npm_pack", lambda package, folder: pack(folder, content))
    with pytest.raises(InputError, match=r"@iconify-json/noto@.* holds no"):
        load_icons(tmp_path, ["noto"])
    assert not list(tmp_path.iterdir())


def test_damaged_pictures_and_unknown_styles_are_said(tmp_path: Path) -> None:
    (tmp_path / "noto.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="delete the file"):
        load_icons(tmp_path, ["noto"])
    with pytest.raises(InputError, match="no icon style 'cubist'; choose from noto,"):
        load_icons(tmp_path, ["cubist"])


def test_names_and_styles_fit_the_world() -> None:
    assert set(icon_sets.NAMES) <= set(CLASSES)
    assert set(DRAWINGS) <= set(icon_sets.NAMES)
    assert TEST_STYLE not in TRAIN_STYLES
    assert set(icon_sets.PACKAGES) == set(icon_sets.LICENCES) == {*TRAIN_STYLES, TEST_STYLE}
    assert {style for style, _ in icon_sets.STYLE_NAMES} <= set(TRAIN_STYLES), "the test takes the usual pictures"
    assert {cls for _, cls in icon_sets.STYLE_NAMES} <= set(icon_sets.NAMES)


def test_an_ink_drawing_gets_paper_inside_its_outline_only() -> None:
    ring = np.zeros((SIDE, SIDE, 4), np.uint8)
    ring[20:60, 20:60, 3] = 255
    ring[30:50, 30:50, 3] = 0
    got = filled(ring)
    assert got[40, 40].tolist() == [240, 240, 240, 255]
    assert got[25, 40].tolist() == [0, 0, 0, 255]
    assert got[5, 5, 3] == 0
