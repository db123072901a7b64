"""Validation on real integers: rounded latents, snapped exact networks, integer tables."""

from __future__ import annotations

import copy
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from imgcodec.codec.families.base import CodecModel
from imgcodec.codec.families.coders import Count
from imgcodec.codec.models.base import TorchModel
from imgcodec.codec.models.coding import as_codec
from imgcodec.codec.picture.sheet import Panel, draw_sheet, enlarged, wrap
from imgcodec.codec.session.tiling import analyse_whole, to_pixels
from imgcodec.codec.stream.tables import Tables
from imgcodec.codec.training.losses import Criterion

QUALITIES = (10, 40, 70, 100)
SIDE_PX = 256
GRID_QUALITY = QUALITIES[1]
GRID_COLUMNS = 4
GRID_SMALLEST_PX = 64


def evaluate(
    model: CodecModel, picture: np.ndarray, quality: int, tables: Tables
) -> tuple[float, float, np.ndarray]:
    """Return bpp, PSNR in dB and the decoded picture (uint8) of one picture.

    The bits are code lengths of the integers under the integer tables; a file is larger by its
    header and the last word of the coder.
    """
    height, width = (side - side % model.stride_px for side in picture.shape[:2])
    picture = picture[:height, :width]
    y = analyse_whole(model, picture, quality)
    coder = Count(tables)
    y_hat = model.code((y.shape[2], y.shape[3]), quality, coder, y)
    decoded = to_pixels(model.synthesis(y_hat, quality))
    mse = float(np.mean((decoded.astype(np.float64) - picture) ** 2))
    return coder.bits / (height * width), 10 * np.log10(255.0**2 / max(mse, 1e-6)), decoded


def validate(
    ema: TorchModel, pictures: list[tuple[str, np.ndarray]], criterion: Criterion
) -> tuple[list[dict[str, Any]], list[tuple[np.ndarray, np.ndarray]]]:
    """Return rows of means by quality and kind of picture, and (original, decoded) pairs.

    A row has bpp, PSNR, the terms of the loss that are no error of pixels, and the weighed loss of
    rate and distortion, all of decoded integers. LPIPS is there if the criterion has its module.

    Args:
        ema: averaged model.
        pictures: kinds and RGB uint8 arrays (H, W, 3).
        criterion: of the training.
    """
    tables = ema.default_tables()
    model = copy.deepcopy(ema).prepare()
    coded = as_codec(model)
    rows, pairs = [], []
    for quality in QUALITIES:
        results = defaultdict(list)
        for kind, picture in pictures:
            crop = picture[:SIDE_PX, :SIDE_PX]
            bpp, psnr, decoded = evaluate(coded, crop, quality, tables)
            crop = crop[: decoded.shape[0], : decoded.shape[1]]
            values = {"bpp": bpp, "psnr_db": psnr}
            values |= _losses(model, criterion, crop, decoded, quality, bpp)
            results[kind].append(values)
            if quality == GRID_QUALITY:
                pairs.append((crop, decoded))
        for kind, found in results.items():
            means = {name: round(float(np.mean([r[name] for r in found])), 4) for name in found[0]}
            rows.append({"quality": quality, "kind": kind, **means})
    return rows, pairs


@torch.no_grad()
def _losses(
    model: TorchModel,
    criterion: Criterion,
    original: np.ndarray,
    decoded: np.ndarray,
    quality: int,
    bpp: float,
) -> dict[str, float]:
    device = next(model.parameters()).device
    x, x_hat = (
        torch.from_numpy(p.copy()).to(device).permute(2, 0, 1)[None] / 255.0
        for p in (original, decoded)
    )
    lambdas = model.lambdas(torch.tensor([model.level_of(quality)], device=device))
    networks = [net for net in (criterion.perceptual, criterion.texture) if net is not None]
    were_training = [net.training for net in networks]
    for net in networks:
        net.eval()
    distortion, stats = criterion.reconstruction(x, x_hat, lambdas)
    for net, was_training in zip(networks, were_training, strict=True):
        net.train(was_training)
    loss = criterion.weights(lambdas) * (criterion.recipe.rate * bpp + distortion)
    stats.pop("log10_mse")
    return {name: float(value) for name, value in stats.items()} | {"loss": float(loss)}


def save_grid(pairs: list[tuple[np.ndarray, np.ndarray]], path: Path, title: str) -> None:
    """Write originals above their reconstructions as one labelled PNG, small ones enlarged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        [Panel(enlarged(Image.fromarray(pair[which]), GRID_SMALLEST_PX)) for pair in part]
        for part in wrap(pairs, GRID_COLUMNS)
        for which in (0, 1)
    ]
    labels = ["original", "decoded"] * (len(rows) // 2)
    draw_sheet(rows, title=title, labels=labels, gap_px=4).save(path)
