"""The codes of a discrete model as pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from imgcodec.codec.errors import UnknownModelError
from imgcodec.codec.models.base import CodecModel
from imgcodec.codec.models.discrete import DiscreteModel
from imgcodec.codec.nets.codebook import perplexity, used_share

FIELD = 3
"""Side of the field of equal codes that is decoded for a patch, in latent positions."""
BATCH = 64


@dataclass(frozen=True)
class CodebookDrawing:
    """A codebook as a picture.

    Attributes:
        image: patches of one latent position each, row by row, the most used code first.
        num_codes: number of codes.
        used_share: share of codes used at least a tenth as often as on average.
        perplexity: exp of the entropy of their use: `num_codes` if all are used alike.
    """

    image: Image.Image
    num_codes: int
    used_share: float
    perplexity: float


@torch.inference_mode()
def draw_codebook(model: CodecModel, stage: int) -> CodebookDrawing:
    """Decode every code of a stage (from 1) on its own.

    Raises:
        UnknownModelError: the model has no codes, or fewer stages.
    """
    if not isinstance(model, DiscreteModel):
        raise UnknownModelError(f"models of family {model.family} have no codebook")
    if not 1 <= stage <= model.num_stages:
        raise UnknownModelError(f"the model has stages 1 to {model.num_stages}, not {stage}")
    before = torch.zeros(model.latent_channels)
    for earlier in range(stage - 1):
        most_used = int(model.quantisers[earlier].usage.argmax())
        before = before + model.quantisers[earlier].table()[most_used].float()
    usage = model.quantisers[stage - 1].usage
    order = torch.argsort(usage, descending=True, stable=True)
    vectors = before + model.quantisers[stage - 1].table()[order].float()
    quality = model.quality_ladder[stage - 1]
    side = model.stride_px
    patches = []
    for part in vectors.split(BATCH):
        fields = part[:, :, None, None].expand(-1, -1, FIELD, FIELD)
        pictures = torch.cat([model.synthesis(field[None], quality) for field in fields])
        first = FIELD // 2 * side
        patches.append(pictures[:, :, first : first + side, first : first + side])
    pixels = torch.cat(patches).mul(255.0).round().clamp(0, 255).to(torch.uint8)
    columns = math.ceil(math.sqrt(len(pixels)))
    rows = math.ceil(len(pixels) / columns)
    canvas = np.zeros((rows * side, columns * side, 3), np.uint8)
    for index, patch in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        top, left = index // columns * side, index % columns * side
        canvas[top : top + side, left : left + side] = patch
    return CodebookDrawing(
        Image.fromarray(canvas), len(order), float(used_share(usage)), float(perplexity(usage))
    )
