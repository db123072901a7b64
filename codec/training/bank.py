"""Random crops from pictures that live on the GPU or in a temporary file, and of graphics."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from imgcodec.codec.errors import OptionError
from imgcodec.codec.training.graphics import draw_graphics
from imgcodec.pool import run_in_processes
from imgcodec.processors import num_processors

DRAWINGS_OF_A_JOB, PHOTOGRAPHS_OF_A_JOB = 50, 8
LARGEST_REDUCTION = 2
"""Of the crops of a `DeviceBank`."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to crops at random, as in `TrainRecipe`."""

    scale_min: float = 1.0
    scale_probability: float = 0.0
    flip_probability: float = 0.0
    graphics_share: float = 0.0


PLAIN = Augmentation()


class _InFile:
    """Uint8 pictures in a temporary file: a thousand photographs would fill the memory."""

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


class _OnDevice:
    """The same in one tensor in the memory of a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._parts: list[Tensor] = []
        self._starts: list[int] = []
        self._end = 0
        self.sizes: list[tuple[int, int]] = []

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Keep a picture (H, W, 3)."""
        values = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)).reshape(-1))
        self._parts.append(values)
        self._starts.append(self._end)
        self._end += len(values)
        self.sizes.append(picture.shape[:2])

    @property
    def values(self) -> Tensor:
        """All pictures one after another, each as (3, H, W)."""
        if len(self._parts) != 1 or self._parts[0].device != self._device:
            self._parts = [torch.cat([part.cpu() for part in self._parts]).to(self._device)]
        return self._parts[0]

    def start(self, index: int) -> int:
        """Return where the values of a picture begin."""
        return self._starts[index]

    def cut(self, index: int, top: int, left: int, side: int) -> Tensor:
        """Return a square (3, side, side) of a picture."""
        height, width = self.sizes[index]
        start = self._starts[index]
        picture = self.values[start : start + 3 * height * width].view(3, height, width)
        return picture[:, top : top + side, left : left + side]


class CropBank:
    """Uint8 pictures, sampled as randomly scaled, cropped and flipped batches."""

    def __init__(
        self, pictures: Iterable[NDArray[np.uint8]], crop_px: int, device: torch.device
    ) -> None:
        self.crop_px = crop_px
        self.device = device
        self._store = self._make_store()
        for picture in pictures:
            if min(picture.shape[:2]) >= crop_px:
                self._store.add(picture)
        if not len(self):
            raise OptionError(f"no picture is as large as the crops ({crop_px} px)")

    def _make_store(self) -> _InFile | _OnDevice:
        return _InFile()

    def __len__(self) -> int:
        return len(self._store.sizes)

    def sample(self, count: int, rng: random.Random, augmentation: Augmentation = PLAIN) -> Tensor:
        """Return (count, 3, crop, crop) float32 in [0, 1].

        With `scale_probability` a larger region, up to crop / scale_min, is reduced to the crop
        (bicubic with antialiasing), as if the picture had been taken from further away. A
        `graphics_share` of the crops is drawn, now and then on a photograph.
        """
        crops = []
        for _ in range(count):
            crop = self._crop(rng, augmentation)
            if augmentation.graphics_share and rng.random() < augmentation.graphics_share:
                crop = self._drawing(rng, crop)
            crops.append(crop)
        return torch.stack(crops)

    def _drawing(self, rng: random.Random, crop: Tensor) -> Tensor:
        photograph = Image.fromarray((crop * 255).round().byte().permute(1, 2, 0).cpu().numpy())
        drawing = np.array(draw_graphics(rng, self.crop_px, photograph))
        return torch.from_numpy(drawing).to(self.device).permute(2, 0, 1).float() / 255.0

    def _crop(self, rng: random.Random, augmentation: Augmentation) -> Tensor:
        index = rng.randrange(len(self))
        height, width = self._store.sizes[index]
        side = self.crop_px
        if rng.random() < augmentation.scale_probability:
            side = min(
                round(self.crop_px / rng.uniform(augmentation.scale_min, 1.0)), height, width
            )
        top, left = rng.randint(0, height - side), rng.randint(0, width - side)
        crop = self._store.cut(index, top, left, side).float() / 255.0
        if side != self.crop_px:
            size = (self.crop_px, self.crop_px)
            crop = F.interpolate(crop[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)
        if rng.random() < augmentation.flip_probability:
            crop = crop.flip(2)
        return crop.contiguous()

    def patches(self, count: int, side: int, rng: random.Random) -> Tensor:
        """Return (count, 3 * side^2) pixel-unshuffled patches minus 0.5, for the KLT."""
        per_crop = (self.crop_px // side) ** 2
        patches = torch.empty(count, 3 * side**2)
        for rows in patches.split(per_crop):
            crop = self._crop(rng, Augmentation(0.5, 0.5, 0.5))[None] - 0.5
            rows.copy_(F.pixel_unshuffle(crop, side)[0].flatten(1).T[: len(rows)])
        return patches


class DeviceBank(CropBank):
    """The same in the memory of a GPU, which cuts and reduces whole batches.

    Drawings are made once (`draw_all`), not anew for every crop: a GPU would wait for them.
    """

    NUM_COLUMNS = 7
    """Of a drawn square: start, height and width of its picture, top, left, side, is mirrored."""

    _store: _OnDevice
    _num_photographs = 0

    def _make_store(self) -> _OnDevice:
        return _OnDevice(self.device)

    def __len__(self) -> int:
        return self._num_photographs or len(self._store.sizes)

    def draw_all(self, count: int, seed: int) -> None:
        """Add `count` drawings of the size of crops, by all processors."""
        self._num_photographs = len(self)
        rng = random.Random(seed)
        jobs = []
        for number in range(-(-count // DRAWINGS_OF_A_JOB)):
            crops = [self._crop(rng, PLAIN) for _ in range(PHOTOGRAPHS_OF_A_JOB)]
            pixels = torch.stack(crops).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            jobs.append((seed * 10000 + number, min(DRAWINGS_OF_A_JOB, count), pixels))
        for _, drawings in run_in_processes(_draw, jobs, num_processors(), threads=1):
            for drawing in () if drawings is None else drawings:
                self._store.add(drawing)

    def sample(self, count: int, rng: random.Random, augmentation: Augmentation = PLAIN) -> Tensor:
        """Return (count, 3, crop, crop) float32 in [0, 1]; see `CropBank.sample`."""
        return self.cut(torch.from_numpy(self.draw(count, rng, augmentation)).to(self.device))

    def draw(
        self, count: int, rng: random.Random, augmentation: Augmentation = PLAIN
    ) -> NDArray[np.float64]:
        """Return squares (count, `NUM_COLUMNS`) as `sample` draws them, for `cut`."""
        squares = np.empty((count, self.NUM_COLUMNS))
        num_drawings = len(self._store.sizes) - len(self)
        for row in squares:
            is_drawing = bool(num_drawings) and rng.random() < augmentation.graphics_share
            first, of = (len(self), num_drawings) if is_drawing else (0, len(self))
            index = first + rng.randrange(of)
            height, width = self._store.sizes[index]
            side = self.crop_px
            if not is_drawing and rng.random() < augmentation.scale_probability:
                side = round(self.crop_px / rng.uniform(augmentation.scale_min, 1.0))
                side = min(side, LARGEST_REDUCTION * self.crop_px, height, width)
            top, left = rng.randint(0, height - side), rng.randint(0, width - side)
            is_mirrored = rng.random() < augmentation.flip_probability
            row[:] = self._store.start(index), height, width, top, left, side, is_mirrored
        return squares

    def cut(self, squares: Tensor) -> Tensor:
        """Return the crops (B, 3, crop, crop) of drawn squares: no word to the host.

        Reductions are products with matrices of the same bicubic kernel that `interpolate` takes
        with antialiasing.
        """
        start, height, width, top, left, side = squares.long()[:, :6, None, None, None].unbind(1)
        along = torch.arange(LARGEST_REDUCTION * self.crop_px, device=squares.device)
        inside = torch.minimum(along, side - 1)
        rows, columns = inside.mT + top, inside + left
        planes = torch.arange(3, device=squares.device)[:, None, None] * (height * width)
        region = self._store.values[start + planes + rows * width + columns].float() / 255.0
        factor = (squares[:, 5] / self.crop_px).float()[:, None, None]
        centres = (torch.arange(self.crop_px, device=squares.device) + 0.5)[:, None] * factor
        weights = _bicubic((along + 0.5 - centres).abs() / factor)
        weights = weights * (along < side[:, 0])
        weights = (weights / weights.sum(dim=2, keepdim=True))[:, None]
        crops = (weights @ region @ weights.mT).clamp(0, 1)
        return torch.where(squares[:, 6, None, None, None] > 0, crops.flip(3), crops)


def _bicubic(distance: Tensor) -> Tensor:
    """Return the kernel of Keys with a = -0.5 at distances in pixels."""
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


def _draw(job: tuple[int, int, NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Return drawings of a seed, so many, on photographs (N, side, side, 3)."""
    seed, count, photographs = job
    rng = random.Random(seed)
    drawings = []
    for _ in range(count):
        photograph = Image.fromarray(rng.choice(photographs))
        drawings.append(np.asarray(draw_graphics(rng, photograph.width, photograph)))
    return drawings
