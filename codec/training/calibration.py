"""Calibration of the quality scale: the same number should mean the same look."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from imgcodec.codec.families.base import CodecModel
from imgcodec.codec.nets.similarity import ssimulacra2_score, ssimulacra2_sum
from imgcodec.codec.stream.tables import Tables
from imgcodec.codec.training.validation import evaluate

LOOKS = ((30, 40.0), (50, 60.0), (70, 74.0), (90, 87.0))
"""Quality and the SSIMULACRA2 that it should have on the average photograph."""
MEASURED = (1, 9, 18, 27, 36, 45, 54, 63, 72, 81, 91, 100)
"""Qualities of the uncalibrated scale."""
MAX_PICTURES = 24
SIDE_PX = 512


@torch.no_grad()
def calibrate_quality(
    model: CodecModel, tables: Tables, pictures: list[NDArray[np.uint8]]
) -> tuple[tuple[int, ...], list[float]]:
    """Return the position on the rate axis for each quality from 1 to 100, and what was measured.

    Between the points of `LOOKS`, and down to the look of the lowest rate and up to that of the
    highest, the score is linear in the quality.

    Args:
        model: with a `RateAxis` that is not calibrated yet.
        tables: of the model.
        pictures: RGB uint8 arrays (H, W, 3); up to 24 of them are used, evenly spaced.

    Returns:
        Positions in units of 1/64 of an anchor, ascending, and the mean SSIMULACRA2 of each of
        `MEASURED`.
    """
    assert model.axis is not None
    step = max(1, len(pictures) // MAX_PICTURES)
    sample = [picture[:SIDE_PX, :SIDE_PX] for picture in pictures[::step][:MAX_PICTURES]]
    scores = [
        float(np.mean([_score(model, picture, quality, tables) for picture in sample]))
        for quality in MEASURED
    ]
    rising = np.maximum.accumulate(scores)
    positions = [model.axis.position(quality) for quality in MEASURED]
    inner = [(quality, score) for quality, score in LOOKS if rising[0] < score < rising[-1]]
    points = [(1, rising[0]), *inner, (100, rising[-1])]
    wanted = np.interp(np.arange(1, 101), *zip(*points, strict=True))
    found = np.interp(wanted, rising, positions).round().astype(int)
    found[0], found[-1] = positions[0], positions[-1]
    return tuple(int(p) for p in np.maximum.accumulate(found)), scores


def _score(model: CodecModel, picture: NDArray[np.uint8], quality: int, tables: Tables) -> float:
    _, _, decoded = evaluate(model, picture, quality, tables)
    original = picture[: decoded.shape[0], : decoded.shape[1]]
    x, x_hat = (
        torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255.0
        for pixels in (original, decoded)
    )
    return float(ssimulacra2_score(ssimulacra2_sum(x, x_hat)))
