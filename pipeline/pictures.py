"""Pictures as published vision towers want them, with Pillow and numpy alone.

    prepare = Preparation.of(folder)               # its preprocessor_config.json
    pixels = prepare([frame.image, ...])           # float32 [N, 3, side, side]

Equal to transformers' Pillow-backed CLIP and LLaVA processors; those backed by torchvision resample tensors instead
of pictures and differ by about a grey value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.shards import read_json
from streams.types import InputError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
BICUBIC = 3
"""Number of the filter in config files, Pillow's own."""

FILES = ("preprocessor_config.json", "processor_config.json")
"""Where a folder says how pictures are prepared; transformers 5 writes one file for the whole processor."""


@dataclass(frozen=True)
class Preparation:
    """Resize the shorter side to `shortest` (or the picture to `crop`, where None), cut `crop` (height, width) out of
    the middle where `cut`, scale to 0..1, normalise. pad: first make it square with bars in the mean colour."""

    shortest: int | None
    crop: tuple[int, int]
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    resample: int = BICUBIC
    cut: bool = True
    pad: bool = False

    @classmethod
    def of(cls, folder: Path, side: int) -> Preparation:
        """What a checkpoint's folder asks for; side: of the tower's pictures, for what the folder does not say.

        Raises InputError for a preparation that this class does not know.
        """
        file = next((folder / name for name in FILES if (folder / name).exists()), None)
        said: dict[str, Any] = read_json(file) if file else {}
        said = said.get("image_processor") or said
        size, crop = said.get("size") or {"shortest_edge": side}, said.get("crop_size") or {}
        size = {"shortest_edge": size} if isinstance(size, int) else size
        crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
        edge = size.get("shortest_edge")
        if edge is None and not {"height", "width"} <= size.keys():
            raise InputError(f"{file} asks for pictures of size {size}; this program knows shortest_edge, or height "
                             "and width")
        whole = (edge, edge) if edge is not None else (size["height"], size["width"])
        return cls(edge, (crop.get("height", whole[0]), crop.get("width", whole[1])),
                   tuple(said.get("image_mean") or CLIP_MEAN), tuple(said.get("image_std") or CLIP_STD),
                   said.get("resample", BICUBIC), said.get("do_center_crop", True), bool(said.get("do_pad", False)))

    def __call__(self, images: Sequence[np.ndarray]) -> Tensor:
        """uint8 RGB [H, W, 3], of any sizes, as float32 [N, 3, height, width]."""
        return torch.from_numpy(np.stack([self._one(image) for image in images]))

    def resized(self, image: np.ndarray) -> np.ndarray:
        """A picture as it is before cutting, uint8 [H, W, 3]."""
        if self.pad:
            image = squared(image, self.mean)
        height, width = image.shape[:2]
        if self.shortest is None:
            wanted = self.crop
        else:
            long = int(self.shortest * max(height, width) / min(height, width))
            wanted = (self.shortest, long) if height <= width else (long, self.shortest)
        return np.asarray(Image.fromarray(image).resize(wanted[::-1], Image.Resampling(self.resample)))

    def _one(self, image: np.ndarray) -> np.ndarray:
        picture = self.resized(image)
        if self.cut:
            picture = centre(picture, self.crop)
        scaled = picture.astype(np.float32) * np.float32(1 / 255)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return np.ascontiguousarray(((scaled - mean) / std).transpose(2, 0, 1))


def centre(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle `size` (height, width) of a picture, black bars where it is smaller."""
    missing = [max(0, want - have) for want, have in zip(size, image.shape, strict=False)]
    bars = [(-(-m // 2), m // 2) for m in missing]
    image = np.pad(image, (*bars, (0, 0)))
    top, left = (image.shape[0] - size[0]) // 2, (image.shape[1] - size[1]) // 2
    return image[top:top + size[0], left:left + size[1]]


def squared(image: np.ndarray, colour: Sequence[float]) -> np.ndarray:
    """A picture in the middle of a square of one colour (0..1)."""
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = [int(value * 255) for value in colour]
    top, left = (side - height) // 2, (side - width) // 2
    square[top:top + height, left:left + width] = image
    return square
