"""Random crops from pictures that live on the GPU or in a temporary file, and of graphics."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from imgcodec.codec.errors import OptionError
from imgcodec.codec.training.graphics import draw_graphics


class _OnDevice:
    """Uint8 pictures in the memory of a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pictures: list[Tensor] = []
        self.sizes: list[tuple[int, int]] = []

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Keep a picture (H, W, 3)."""
        array = np.ascontiguousarray(picture.transpose(2, 0, 1))
        self._pictures.append(torch.from_numpy(array).to(self._device))
        self.sizes.append(picture.shape[:2])

    def cut(self, index: int, top: int, left: int, side: int) -> Tensor:
        """Return a square (3, side, side) of a picture."""
        return self._pictures[index][:, top : top + side, left : left + side]


class _InFile:
    """The same in a temporary file: a thousand photographs would fill the memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="imgcodec-crops-")  # noqa: SIM115
        self._starts: list[int] = []
        self.sizes: list[tuple[int, int]] = []

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Keep a picture (H, W, 3)."""
        self._starts.append(self._file.seek(0, 2))
        self._file.write(np.ascontiguousarray(picture))
        self.sizes.append(picture.shape[:2])

    def cut(self, index: int, top: int, left: int, side: int) -> Tensor:
        """Return a square (3, side, side) of a picture."""
        width = self.sizes[index][1]
        self._file.seek(self._starts[index] + 3 * top * width)
        rows = np.frombuffer(bytearray(self._file.read(3 * side * width)), np.uint8)
        square = rows.reshape(side, width, 3)[:, left : left + side]
        return torch.from_numpy(square.transpose(2, 0, 1).copy())


class CropBank:
    """Uint8 pictures, sampled as randomly scaled, cropped and flipped batches on a device."""

    def __init__(
        self, pictures: Iterable[NDArray[np.uint8]], crop_px: int, device: torch.device
    ) -> None:
        self.crop_px = crop_px
        self.device = device
        self._store = _InFile() if device.type == "cpu" else _OnDevice(device)
        for picture in pictures:
            if min(picture.shape[:2]) >= crop_px:
                self._store.add(picture)
        if not len(self):
            raise OptionError(f"no picture is as large as the crops ({crop_px} px)")

    def __len__(self) -> int:
        return len(self._store.sizes)

    def sample(
        self,
        count: int,
        rng: random.Random,
        scale_min: float,
        scale_probability: float,
        flip_probability: float,
        graphics_share: float = 0.0,
    ) -> Tensor:
        """Return (count, 3, crop, crop) float32 in [0, 1].

        With `scale_probability` a larger region, up to crop / scale_min, is reduced to the crop
        (bicubic with antialiasing), as if the picture had been taken from further away. A
        `graphics_share` of the crops is drawn, now and then on a photograph.
        """
        crops = []
        for _ in range(count):
            crop = self._crop(rng, scale_min, scale_probability, flip_probability)
            if graphics_share and rng.random() < graphics_share:
                crop = self._drawing(rng, crop)
            crops.append(crop)
        return torch.stack(crops)

    def _drawing(self, rng: random.Random, crop: Tensor) -> Tensor:
        photograph = Image.fromarray((crop * 255).round().byte().permute(1, 2, 0).cpu().numpy())
        drawing = np.array(draw_graphics(rng, self.crop_px, photograph))
        return torch.from_numpy(drawing).to(self.device).permute(2, 0, 1).float() / 255.0

    def _crop(
        self,
        rng: random.Random,
        scale_min: float,
        scale_probability: float,
        flip_probability: float,
    ) -> Tensor:
        index = rng.randrange(len(self))
        height, width = self._store.sizes[index]
        side = self.crop_px
        if rng.random() < scale_probability:
            side = min(round(self.crop_px / rng.uniform(scale_min, 1.0)), height, width)
        top, left = rng.randint(0, height - side), rng.randint(0, width - side)
        crop = self._store.cut(index, top, left, side).float() / 255.0
        if side != self.crop_px:
            size = (self.crop_px, self.crop_px)
            crop = F.interpolate(crop[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)
        if rng.random() < flip_probability:
            crop = crop.flip(2)
        return crop.contiguous()

    def patches(self, count: int, side: int, rng: random.Random) -> Tensor:
        """Return (count, 3 * side^2) pixel-unshuffled patches minus 0.5, for the KLT."""
        per_crop = (self.crop_px // side) ** 2
        patches = torch.empty(count, 3 * side**2)
        for rows in patches.split(per_crop):
            crop = self._crop(rng, 0.5, 0.5, 0.5)[None] - 0.5
            rows.copy_(F.pixel_unshuffle(crop, side)[0].flatten(1).T[: len(rows)])
        return patches
