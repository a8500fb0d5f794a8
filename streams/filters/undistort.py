"""Without the distortion of the lens, by a calibration file as DV and dv-processing write it (XML or JSON).

    undistort:calibration-DAVIS346_00000001.xml
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streams.filtering import OUTSIDE, Geometry
from streams.types import InputError, Resolution

USAGE = "undistort:FILE", "without the lens's distortion, by a calibration file of DV (XML or JSON)"

LARGEST_BYTES = 1 << 20
FISHEYE = "equidistant"


@dataclass(frozen=True, eq=False)
class Lens:
    """One camera of a calibration file: matrix [3, 3], distortion [n] as OpenCV orders it; size None = not stated."""

    name: str
    size: Resolution | None
    matrix: np.ndarray
    distortion: np.ndarray
    fisheye: bool


def create(value: str) -> Undistort:
    """The filter for the path of a calibration file; InputError when that is none."""
    if not value:
        raise InputError("undistort needs a calibration file; write undistort:calibration.xml")
    return Undistort(value, read_calibration(Path(value).expanduser()))


def read_calibration(path: Path) -> list[Lens]:
    """The cameras of a calibration file, told by its content. Raises InputError when there is none."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InputError(f"{path} is too large for a calibration file; give the XML or JSON that DV wrote")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"the calibration {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no calibration; give the XML or JSON that DV wrote") from error
    try:
        lenses = _from_xml(text) if text.lstrip().startswith("<") else _from_json(text)
    except (ET.ParseError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is no calibration as DV writes it ({type(error).__name__}: {error})") from error
    if not lenses:
        raise InputError(f"{path} holds no calibrated camera; give the XML or JSON that DV wrote")
    return lenses


def _from_json(text: str) -> list[Lens]:
    """dv-processing's format: cameras by designation, numbers as numbers or as text."""
    def lens(camera: dict[str, Any]) -> Lens:
        (fx, fy), (cx, cy) = (map(float, camera[pair]) for pair in ("focalLength", "principalPoint"))
        return _lens(camera["name"], camera["resolution"], [fx, 0, cx, 0, fy, cy, 0, 0, 1],
                     camera.get("distortionCoefficients", camera.get("distortion", [])),
                     camera.get("distortionModel", "") == FISHEYE)
    return [lens(camera) for camera in json.loads(text)["cameras"].values()]


def _from_xml(text: str) -> list[Lens]:
    """OpenCV's storage as DV used it: one element per camera, named like it."""
    root = ET.fromstring(text)
    fisheye = (root.findtext("use_fisheye_model") or "0").strip() not in ("0", "false")
    lenses = []
    for camera in root:
        matrix, distortion = camera.findtext("camera_matrix/data"), camera.findtext("distortion_coefficients/data")
        if matrix is not None and distortion is not None:
            size = [camera.findtext(side) or root.findtext(side) for side in ("image_width", "image_height")]
            lenses.append(_lens(camera.tag, size if all(size) else None, matrix.split(), distortion.split(), fisheye))
    return lenses


def _lens(name: str, size: Any, matrix: Any, distortion: Any, fisheye: bool) -> Lens:
    camera = np.array([float(value) for value in matrix]).reshape(3, 3)
    bend = np.array([float(value) for value in distortion])
    allowed = (4,) if fisheye else (0, 4, 5, 8, 12, 14)
    if len(bend) not in allowed or not (np.isfinite(camera).all() and np.isfinite(bend).all()):
        raise ValueError(f"{len(bend)} finite coefficients instead of {' or '.join(map(str, allowed))}")
    if camera[0, 0] <= 0 or camera[1, 1] <= 0:
        raise ValueError("a focal length that is not positive")
    return Lens(name, None if size is None else Resolution(*(int(float(side)) for side in size)), camera, bend, fisheye)


@dataclass
class Undistort(Geometry):
    """Moves events and pictures to where a lens without distortion would show them.

    A pixel's events go to the nearest pixel there; those that leave the picture are held back. Pictures of another
    size come through another lens and stay as they are.
    """

    path: str
    lenses: list[Lens]

    def prepare(self, resolution: Resolution, sensor: str) -> Resolution:
        """Begin on events of this resolution. Raises InputError where no lens of the file fits."""
        named = [lens for lens in self.lenses if lens.name == sensor]
        fitting = [lens for lens in named or self.lenses if lens.size in (None, resolution)]
        if not fitting:
            have = ", ".join(f"{lens.name} ({lens.size})" for lens in self.lenses)
            raise InputError(f"{self.path} is for {have}, the events are {resolution}; give the calibration of this "
                             "camera, and undistort before roi and rotate")
        if len(fitting) > 1:
            raise InputError(f"{self.path} has several cameras ({', '.join(lens.name for lens in fitting)}), none is "
                             f"named like this one, {sensor or 'which tells no name'}; leave only its own in the file")
        self._lens, self._size, self._width = fitting[0], resolution, resolution.width
        rows, columns = np.indices(resolution.hw)
        place = _straight(self._lens, np.stack([columns.ravel(), rows.ravel()], -1).astype(float))
        with np.errstate(invalid="ignore"):
            inside = ((place > -0.5) & (place < (resolution.width - 0.5, resolution.height - 0.5))).all(axis=1)
        target = np.full((2, len(place)), OUTSIDE, np.uint16)
        target[:, inside] = np.rint(place[inside]).T.astype(np.uint16)
        self._x, self._y = target
        return resolution

    def image(self, image: np.ndarray) -> np.ndarray:
        """The undistorted picture."""
        if image.shape[:2] != self._size.hw:
            return image
        matrix, bend = self._lens.matrix, self._lens.distortion
        if self._lens.fisheye:
            return cv2.fisheye.undistortImage(image, matrix, bend, Knew=matrix)
        return cv2.undistort(image, matrix, bend)


def _straight(lens: Lens, pixels: np.ndarray) -> np.ndarray:
    """Where pixels [n, 2] (x, y) would be without distortion, float64 [n, 2]."""
    undistort = cv2.fisheye.undistortPoints if lens.fisheye else cv2.undistortPoints
    place: np.ndarray = undistort(pixels[:, None], lens.matrix, lens.distortion, P=lens.matrix)
    return place[:, 0]
