"""Masked passes over the latents of one resolution: what beta and hier share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from imgcodec.codec.models.coders import Block, Coder
from imgcodec.codec.nets import rate
from imgcodec.codec.nets.context import MeanNet, RowNet, tile_cell
from imgcodec.codec.nets.exact import Arithmetic, compand


@dataclass(frozen=True)
class MaskedLatent:
    """Latents coded in passes, each of which knows the ones before it.

    In a pass ``q = round((latent - mean) * gain)``; means see the decoded latents of earlier
    passes, rows see their integers.

    Attributes:
        name: of the latents; passes are called by it and their number.
        masks: bool (K, M, 2, 2), what each pass codes in a 2x2 cell.
        means, rows: networks of each pass.
        log_scale: (A, M), of the residuals in quantisation steps over the scale of table row 0.
        unit: (M,), by which networks see latents divided.
    """

    name: str
    masks: Tensor
    means: Sequence[MeanNet]
    rows: Sequence[RowNet]
    log_scale: Tensor
    unit: Tensor

    def walk(
        self,
        target: Tensor | None,
        features: Tensor,
        row_features: Tensor,
        gain: Tensor,
        weights: Tensor,
        coder: Coder,
        arithmetic: Arithmetic,
        *,
        known: tuple[Tensor, Tensor | None] | None = None,
        is_over: bool = False,
        size: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return decoded latents (B, M, h, w), and their integers, None if some are missing.

        Where the coder has no more, latents are their means.

        Args:
            target: (B, M, h, w) latents, None when decoding.
            features: (B, C, h, w) of the means.
            row_features: (B, E, h, w) of the rows.
            gain: (B, M, h, w) or (B, M, 1, 1), integers for a latent of 1.
            weights: (B, A) of the rate anchors, in the type of the arithmetic.
            coder: who answers for the integers.
            arithmetic: of the rows.
            known: of the first channels, which the masks leave out: what their walk returned.
            is_over: the coder had no more already.
            size: (height, width) of what is coded, from the corner on; beyond are zeros.
        """
        shape = (len(features), len(self.unit), *features.shape[2:])
        height, width = size or features.shape[2:]
        decoded = features.new_zeros(shape, dtype=torch.float32)
        integers = decoded
        if known is not None:
            rest = decoded[:, known[0].shape[1] :]
            decoded = torch.cat([known[0], rest], dim=1)
            is_over = is_over or known[1] is None
            integers = integers if known[1] is None else torch.cat([known[1], rest], dim=1)
        context = compand(coder.context(integers)).to(arithmetic.dtype)
        base = (weights @ self.log_scale)[:, :, None, None]
        for number, cell in enumerate(self.masks, 1):
            mask = tile_cell(cell, decoded.shape)
            mean = self._mean(number - 1, features, decoded)
            q = None
            if not is_over:
                offsets = self.rows[number - 1](row_features, context, arithmetic)
                rows = (base + offsets) * rate.ROWS_PER_NEPER
                error = None if target is None else ((target - mean) * gain)[..., :height, :width]
                block = Block(f"{self.name}{number}", self.name, mask[:, :height, :width])
                q = coder.code(block, error, rows[..., :height, :width])
            if q is None:
                is_over = True
                decoded = torch.where(mask, mean, decoded)
                continue
            q = F.pad(q, (0, shape[3] - width, 0, shape[2] - height))
            decoded = torch.where(mask, mean + q / gain, decoded)
            integers = integers + q
            context = context + compand(coder.context(q)).to(arithmetic.dtype)
        return decoded, None if is_over else integers

    def _mean(self, index: int, features: Tensor, decoded: Tensor) -> Tensor:
        """Return the mean of a pass, given what is decoded and else zero."""
        unit = self.unit[:, None, None]
        return self.means[index](features, decoded / unit).float() * unit
