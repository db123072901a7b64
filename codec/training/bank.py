"""Random crops from pictures that live in memory, on the CPU or on the GPU, and of graphics."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from imgcodec.codec.errors import OptionError
from imgcodec.codec.training.graphics import draw_graphics


class CropBank:
    """Uint8 pictures on a device, sampled as randomly scaled, cropped and flipped batches."""

    def __init__(self, pictures: Iterable[np.ndarray], crop_px: int, device: torch.device) -> None:
        self.crop_px = crop_px
        self.device = device
        self.pictures: list[Tensor] = []
        for picture in pictures:
            if min(picture.shape[:2]) >= crop_px:
                array = np.ascontiguousarray(picture.transpose(2, 0, 1))
                self.pictures.append(torch.from_numpy(array).to(device))
        if not self.pictures:
            raise OptionError(f"no picture is as large as the crops ({crop_px} px)")

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
        picture = self.pictures[rng.randrange(len(self.pictures))]
        height, width = picture.shape[1:]
        side = self.crop_px
        if rng.random() < scale_probability:
            side = min(round(self.crop_px / rng.uniform(scale_min, 1.0)), height, width)
        top, left = rng.randint(0, height - side), rng.randint(0, width - side)
        crop = picture[:, top : top + side, left : left + side].float() / 255.0
        if side != self.crop_px:
            size = (self.crop_px, self.crop_px)
            crop = F.interpolate(crop[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)
        if rng.random() < flip_probability:
            crop = crop.flip(2)
        return crop.contiguous()

    def patches(self, count: int, side: int, rng: random.Random) -> Tensor:
        """Return (count, 3 * side^2) pixel-unshuffled patches minus 0.5, for the KLT."""
        per_crop = (self.crop_px // side) ** 2
        rows = []
        for _ in range(-(-count // per_crop)):
            crop = self._crop(rng, 0.5, 0.5, 0.5)[None] - 0.5
            rows.append(F.pixel_unshuffle(crop, side)[0].flatten(1).T)
        return torch.cat(rows)[:count]
