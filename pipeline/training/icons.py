"""Pictures of everyday things from public icon sets, for training and testing on shapes nobody drew for us.

    icons = load_icons(Path("iconset"), TRAIN_STYLES)     # fetches what is not there yet
    icons["noto", "horse"].shape                          # (96, 96, 4): red, green, blue, alpha

Each set is one npm package of the Iconify collection, fetched with npm and rasterised with resvg_py (both only needed
the first time; `pip install 'parafovea[train]'`). The pictures are kept in folder/STYLE.npz, one array per class:
delete that file after changing NAMES or PACKAGES. A set that lacks a class, or whose picture of it cannot be rendered,
simply has no entry for it. Which way a thing faces is not normalised: most face left, but not all (rockets and most
planes point to the top right; OpenMoji's snail, snake, bee, bird and helicopter face right).
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np

from pipeline.training.icon_sets import MONOTONE, NAMES, PACKAGES, STYLE_NAMES
from streams.types import InputError

SIDE = 96
"""Side of a picture in pixels."""

OVERSAMPLING = 4
NPM_TIMEOUT_S = 120.0

Icons: TypeAlias = dict[tuple[str, str], np.ndarray]
"""(style, class) -> uint8 [96, 96, 4] RGBA, not premultiplied."""


def load_icons(folder: Path, styles: Sequence[str]) -> Icons:
    """All pictures of the styles, from folder/STYLE.npz; what is missing there is fetched and written first.

    Raises InputError when a style is unknown, npm or resvg_py is missing, or fetching fails.
    """
    icons: Icons = {}
    for style in styles:
        if style not in PACKAGES:
            raise InputError(f"there is no icon style {style!r}; choose from {', '.join(PACKAGES)}")
        path = folder / f"{style}.npz"
        pictures = _read(path) if path.exists() else _fetch(style, path)
        icons.update({(style, name): picture for name, picture in pictures.items()})
    return icons


def npm_pack(package: str, folder: Path) -> Path:
    """Have npm download a package (name@version) into an empty folder; returns the .tgz. Raises InputError."""
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(f"fetching the icon set {package} needs npm, which is not installed: install Node.js with npm")
    command = [npm, "pack", "-s", package, "--pack-destination", str(folder)]
    advice = f"check the network, and that `npm pack {package}` works"
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=folder,
                              timeout=NPM_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"npm did not deliver the icon set {package} within {NPM_TIMEOUT_S:g} s; {advice}") from error
    except OSError as error:
        raise InputError(f"npm could not be started for the icon set {package} ({error}); {advice}") from error
    found = sorted(folder.glob("*.tgz"))
    if done.returncode or not found:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"npm could not fetch the icon set {package} (exit {done.returncode}: {reason}); {advice}")
    return found[0]


def rasterise(svg: str, render: Callable[..., bytes]) -> np.ndarray | None:
    """Draw an SVG with resvg_py's svg_to_bytes as uint8 RGBA [96, 96, 4]; None when it cannot be drawn or is empty."""
    try:
        png = render(svg_string=svg, width=SIDE * OVERSAMPLING, skip_system_fonts=True)
    except ValueError:
        return None
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4:
        return None
    return fit(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))


def fit(image: np.ndarray) -> np.ndarray | None:
    """Crop RGBA [H, W, 4] to its content and centre that, longest side 96, in [96, 96, 4]; None when empty."""
    rows, columns = (np.flatnonzero((image[..., 3] > 16).any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    content = image[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1].astype(np.float32)
    content[..., :3] *= content[..., 3:] / 255
    scale = SIDE / max(content.shape[:2])
    height, width = (max(1, round(side * scale)) for side in content.shape[:2])
    small = cv2.resize(content, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    small[..., :3] *= 255 / np.maximum(small[..., 3:], 1)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    picture = np.zeros((SIDE, SIDE, 4), np.uint8)
    picture[top:top + height, left:left + width] = np.clip(np.rint(small), 0, 255)
    return picture


def filled(picture: np.ndarray) -> np.ndarray:
    """An ink drawing RGBA [S, S, 4] with white paper inside its outline, so that it is a thing and not a net."""
    ink = picture[..., 3].astype(np.float32)[..., None] / 255
    outside = cv2.copyMakeBorder((picture[..., 3] < 100).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(outside, None, (0, 0), 2)
    covered = np.maximum((outside[1:-1, 1:-1] != 2) * 255, picture[..., 3])
    paper = np.full(3, 240, np.float32)
    colours = picture[..., :3] * ink + paper * (1 - ink)
    return np.dstack([np.rint(colours), covered]).astype(np.uint8)


def svg_of(icon_set: Mapping[str, Any], name: str) -> str | None:
    """SVG of an icon (or alias) in an Iconify set; None when the set lacks it."""
    for _ in range(5):
        if name in icon_set["icons"]:
            break
        name = icon_set.get("aliases", {}).get(name, {}).get("parent", "")
    else:
        return None
    icon = {"left": 0, "top": 0, "width": 16, "height": 16,
            **{k: icon_set[k] for k in ("left", "top", "width", "height") if k in icon_set}, **icon_set["icons"][name]}
    box = f'{icon["left"]} {icon["top"]} {icon["width"]} {icon["height"]}'
    return ('<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{box}" width="{icon["width"]}" height="{icon["height"]}">{icon["body"]}</svg>')


def _fetch(style: str, path: Path) -> dict[str, np.ndarray]:
    """Fetch a style, rasterise its pictures of our classes and write them to path."""
    render = _renderer(style)
    package = f"@iconify-json/{style}@{PACKAGES[style]}"
    with tempfile.TemporaryDirectory() as scratch:
        icon_set = _icon_set(npm_pack(package, Path(scratch)), package)
    pictures = {}
    for cls, usual in NAMES.items():
        names = (STYLE_NAMES[style, cls],) if (style, cls) in STYLE_NAMES else usual
        svg = next((svg for name in names if name and (svg := svg_of(icon_set, name))), None)
        picture = None if svg is None else rasterise(svg, render)
        if picture is not None and style in MONOTONE:
            picture = filled(picture)
        if picture is not None:
            pictures[cls] = picture
    if not pictures:
        raise InputError(f"the package {package} holds none of the pictures wanted; check PACKAGES and NAMES in "
                         "pipeline/training/icon_sets.py")
    _write(path, pictures)
    return pictures


def _renderer(style: str) -> Callable[..., bytes]:
    """svg_to_bytes of resvg_py."""
    try:
        render: Callable[..., bytes] = importlib.import_module("resvg_py").svg_to_bytes
    except ImportError as error:
        raise InputError(f"drawing the icon set {style} needs resvg_py, which cannot be imported; install it with "
                         "`pip install 'parafovea[train]'`") from error
    return render


def _icon_set(tgz: Path, package: str) -> dict[str, Any]:
    """icons.json out of a package."""
    try:
        with tarfile.open(tgz) as archive:
            member = archive.extractfile("package/icons.json")
            icon_set: dict[str, Any] = json.loads(member.read() if member else b"")
        return {**icon_set, "icons": dict(icon_set["icons"])}
    except (OSError, EOFError, tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"the package {package} holds no readable package/icons.json ({error}); check that npm is set "
                         "up to fetch the real package") from error


def _read(path: Path) -> dict[str, np.ndarray]:
    """Pictures by class from an .npz."""
    try:
        with np.load(path) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"the icons in {path} cannot be read ({error}); delete the file, then they are fetched "
                         "again") from error


def _write(path: Path, pictures: dict[str, np.ndarray]) -> None:
    """Write an .npz so that it is there either whole or not at all."""
    scratch = path.with_name(f".{path.stem}-{os.getpid()}.tmp")
    arrays: dict[str, Any] = pictures
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            np.savez_compressed(file, **arrays)
        scratch.replace(path)
    except OSError as error:
        raise InputError(f"the icons cannot be written to {path} ({error}); choose a folder that can be "
                         "written") from error
    finally:
        scratch.unlink(missing_ok=True)
