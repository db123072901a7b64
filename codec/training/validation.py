"""Validation on real integers: rounded latents, snapped exact networks, integer tables."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from imgcodec.codec.entropy.tables import Tables
from imgcodec.codec.models.base import CodecModel, Pass, drive

QUALITIES = (10, 40, 70, 100)
SIDE_PX = 256


@torch.no_grad()
def evaluate(
    model: CodecModel, picture: np.ndarray, quality: int, tables: Tables
) -> tuple[float, float, np.ndarray]:
    """Return bpp, PSNR in dB and the decoded picture (uint8) of one picture.

    The bits are code lengths of the integers under the integer tables; a file is larger by its
    header and the last word of the coder.
    """
    height, width = (side - side % model.stride_px for side in picture.shape[:2])
    picture = picture[:height, :width]
    device = next(model.parameters()).device
    x = torch.from_numpy(picture.copy()).to(device)
    x = x.permute(2, 0, 1)[None].float() / 255.0
    y = model.analysis(x, quality)
    bits = 0.0

    def measure(item: Pass) -> np.ndarray:
        nonlocal bits
        bits += float(tables.code_lengths(item.q, item.indexes).sum())
        return item.q

    y_hat = drive(model.passes(tuple(y.shape[2:]), quality, y), measure)
    x_hat = (model.synthesis(y_hat, quality)[0] * 255.0).round().clamp(0, 255)
    decoded = x_hat.permute(1, 2, 0).byte().cpu().numpy()
    mse = float(np.mean((decoded.astype(np.float64) - picture) ** 2))
    return bits / (height * width), 10 * np.log10(255.0**2 / max(mse, 1e-6)), decoded


def validate(
    ema: CodecModel, pictures: list[np.ndarray], perceptual: nn.Module | None = None
) -> tuple[list[dict[str, Any]], list[tuple[np.ndarray, np.ndarray]]]:
    """Return a row of mean bpp, PSNR and LPIPS per quality, and (original, decoded) pairs.

    LPIPS is there if the `perceptual` module is.
    """
    tables = ema.default_tables()
    model = copy.deepcopy(ema).prepare(tables.bits(), tables.half_widths)
    rows, pairs = [], []
    for quality in QUALITIES:
        results = []
        for picture in pictures:
            crop = picture[:SIDE_PX, :SIDE_PX]
            bpp, psnr, decoded = evaluate(model, crop, quality, tables)
            crop = crop[: decoded.shape[0], : decoded.shape[1]]
            values = {"bpp": bpp, "psnr_db": psnr}
            if perceptual is not None:
                values["lpips"] = _lpips(perceptual, crop, decoded)
            results.append(values)
            if quality == QUALITIES[1]:
                pairs.append((crop, decoded))
        means = {name: float(np.mean([r[name] for r in results])) for name in results[0]}
        rows.append({"quality": quality, **{k: round(v, 4) for k, v in means.items()}})
    return rows, pairs


def _lpips(perceptual: nn.Module, original: np.ndarray, decoded: np.ndarray) -> float:
    was_training, device = perceptual.training, next(perceptual.parameters()).device
    x, x_hat = (
        torch.from_numpy(p.copy()).to(device).permute(2, 0, 1)[None] / 255.0
        for p in (original, decoded)
    )
    with torch.no_grad():
        value = float(perceptual.eval()(x, x_hat))
    perceptual.train(was_training)
    return value


def save_grid(pairs: list[tuple[np.ndarray, np.ndarray]], path: Path, columns: int = 4) -> None:
    """Write originals above their reconstructions as one PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = -(-len(pairs) // columns)
    side = max(max(original.shape[:2]) for original, _ in pairs)
    canvas = np.zeros((rows * 2 * side, columns * side, 3), np.uint8)
    for index, pair in enumerate(pairs):
        top, left = index // columns * 2 * side, index % columns * side
        for offset, picture in enumerate(pair):
            height, width = picture.shape[:2]
            canvas[top + offset * side :, left:][:height, :width] = picture
    Image.fromarray(canvas).save(path)
