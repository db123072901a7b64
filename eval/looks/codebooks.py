"""The codes of a discrete model as pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from imgcodec.codec.errors import OptionError
from imgcodec.codec.families.prior import context_of, prior_features, prior_mean
from imgcodec.codec.models.base import TorchModel
from imgcodec.codec.models.discrete import DiscreteModel
from imgcodec.codec.nets.codebook import perplexity, used_share
from imgcodec.codec.nets.exact import FLOAT
from imgcodec.codec.picture.sheet import Panel, draw_sheet, enlarged, wrap

FIELD = 3
"""Side of the field of equal codes that is decoded for a patch, in latent positions."""
BATCH = 64
SMALLEST_PX = 32
COLUMNS = 32


@dataclass(frozen=True)
class CodebookDrawing:
    """A codebook as pictures.

    Attributes:
        patches: uint8 (num_codes, side, side, 3), one latent position each, the most used code
            first, on what is expected where none is known; of later stages the difference that a
            code makes, around grey, stretched.
        contrast: how many times the differences of a later stage are stretched; 1 for stage 1.
        used_share: share of codes used at least a tenth as often as on average.
        perplexity: exp of the entropy of their use: `num_codes` if all are used alike.
    """

    patches: NDArray[np.uint8]
    contrast: float
    used_share: float
    perplexity: float

    @property
    def num_codes(self) -> int:
        """Number of codes."""
        return len(self.patches)


@torch.inference_mode()
def draw_codebook(model: TorchModel, stage: int) -> CodebookDrawing:
    """Decode every code of a stage (from 1) on its own.

    Raises:
        OptionError: the model has no codes, or fewer stages.
    """
    if not isinstance(model, DiscreteModel):
        raise OptionError(f"models of family {model.family} have no codebook")
    if not 1 <= stage <= model.num_stages:
        raise OptionError(f"the model has stages 1 to {model.num_stages}, not {stage}")
    before = _expected(model, 0, torch.zeros(model.latent_channels))
    for earlier in range(stage - 1):
        most_used = int(model.quantisers[earlier].usage.argmax())
        before = before + model.table(earlier)[most_used].float()
        before = before + _expected(model, earlier + 1, before)
    usage = model.quantisers[stage - 1].usage
    order = torch.argsort(usage, descending=True, stable=True)
    vectors = before + model.table(stage - 1)[order].float()
    quality = model.stage_qualities[stage - 1]
    patches, contrast = _decode(model, vectors, quality), 1.0
    if stage > 1:
        differences = patches - _decode(model, before[None], quality)
        contrast = max(1.0, 0.5 / float(differences.abs().quantile(0.98)))
        patches = 0.5 + contrast * differences
    pixels = patches.mul(255.0).round().clamp(0, 255).to(torch.uint8)
    return CodebookDrawing(
        pixels.permute(0, 2, 3, 1).numpy(),
        contrast,
        float(used_share(usage)),
        float(perplexity(usage)),
    )


def codebook_sheet(drawing: CodebookDrawing, title: str) -> Image.Image:
    """Return all patches row by row on a sheet; labels tell the rank of the first code of a row."""
    panels = [Panel(enlarged(Image.fromarray(p), SMALLEST_PX)) for p in drawing.patches]
    rows = list(wrap(panels, COLUMNS))
    labels = [str(1 + COLUMNS * number) for number in range(len(rows))]
    return draw_sheet(rows, title=title, labels=labels, gap_px=2)


def _expected(model: DiscreteModel, stage: int, before: Tensor) -> Tensor:
    """Return the mean (M,) that codes of a stage (from 0) are added to where none is known.

    Earlier stages are `before`. Zeros where a model has no means.
    """
    prior = model.priors[stage]
    known = torch.zeros(FIELD, FIELD, dtype=torch.bool)
    earlier = before[None, :, None, None].expand(1, -1, FIELD, FIELD).to(prior.node_bias.dtype)
    context = context_of(earlier, torch.zeros_like(earlier), known)
    mean = prior_mean(prior, prior_features(prior, context, FLOAT), FLOAT)
    centre = FIELD // 2
    return torch.zeros_like(before) if mean is None else mean[0, :, centre, centre].float()


def _decode(model: DiscreteModel, vectors: Tensor, quality: int) -> Tensor:
    """Return patches (N, 3, side, side) of vectors (N, M), decoded in fields of their own."""
    side = model.stride_px
    first = FIELD // 2 * side
    patches = []
    for part in vectors.split(BATCH):
        fields = part[:, :, None, None].expand(-1, -1, FIELD, FIELD)
        pictures = model.synthesis(fields, quality)
        patches.append(pictures[:, :, first : first + side, first : first + side])
    return torch.cat(patches)
