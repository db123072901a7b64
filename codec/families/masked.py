"""Masked passes over the latents of one resolution: what beta and hier share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.errors import OptionError
from imgcodec.codec.families.coders import Block, Coder
from imgcodec.codec.families.rows import row_net, tile_cell
from imgcodec.codec.numeric import rate
from imgcodec.codec.numeric.arrays import Array, beside, cast, concat, namespace, pad, zeros
from imgcodec.codec.numeric.exact import Arithmetic, compand


@lru_cache(maxsize=16)
def pass_masks(num_passes: int, channels: int) -> NDArray[np.bool_]:
    """Return bool (num_passes, channels, 2, 2): what each pass codes in a 2x2 cell.

    Channels fall into `num_passes` interleaved groups. With four passes group g of phase f is
    coded in pass ``g ^ f``: every pass codes a quarter of the channels at every position and a
    different quarter at each neighbour. With two, the halves have opposite checkerboard phases.

    Raises:
        OptionError: another number of passes, which would leave latents out.
    """
    if num_passes not in (2, 4):
        raise OptionError(f"num_passes is 2 or 4, not {num_passes}")
    group = np.arange(channels) % num_passes
    masks = np.zeros((num_passes, channels, 2, 2), np.bool_)
    for row in range(2):
        for column in range(2):
            phase = 2 * row + column if num_passes == 4 else (row + column) % 2
            for index in range(num_passes):
                masks[index, :, row, column] = (group ^ phase) == index
    return masks


@dataclass(frozen=True)
class MaskedLatent:
    """Latents coded in passes, each of which knows the ones before it.

    In a pass ``q = round((latent - mean) * gain)``; means see the decoded latents of earlier
    passes, rows see their integers.

    Attributes:
        name: of the latents; passes are called by it and their number.
        masks: bool (K, M, 2, 2), what each pass codes in a 2x2 cell.
        mean: from the number of a pass, features and what is decoded, else 0, to (B, M, h, w).
        rows: parameters of the `row_net` of each pass.
        log_scale: (A, M), of the residuals in quantisation steps over the scale of table row 0.
    """

    name: str
    masks: Array
    mean: Callable[[int, Array, Array], Array]
    rows: Sequence[Any]
    log_scale: Array

    @property
    def channels(self) -> int:
        """M."""
        return self.masks.shape[1]

    def walk(
        self,
        target: Array | None,
        features: Array,
        row_features: Array,
        gain: Array,
        weights: Array,
        coder: Coder,
        arithmetic: Arithmetic,
        *,
        known: tuple[Array, Array | None] | None = None,
        is_over: bool = False,
        size: tuple[int, int] | None = None,
    ) -> tuple[Array, Array | None]:
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
        xp = namespace(features)
        shape = (len(features), self.channels, *features.shape[2:])
        height, width = size or features.shape[2:]
        decoded = integers = zeros(shape, "float32", features)
        context = zeros(shape, arithmetic.dtype, features)
        if known is not None:
            rest = decoded[:, known[0].shape[1] :]
            decoded = concat([known[0], rest], 1)
            is_over = is_over or known[1] is None
            integers = integers if known[1] is None else concat([known[1], rest], 1)
            context = cast(compand(coder.context(integers)), arithmetic.dtype)
        base = (weights @ self.log_scale)[:, :, None, None]
        for number, cell in enumerate(self.masks, 1):
            mask = tile_cell(cell, shape[2:])
            mean = beside(self.mean, number - 1, features, decoded)
            q = None
            if not is_over:
                offsets = row_net(self.rows[number - 1], row_features, context, arithmetic)
                rows = (base + offsets) * rate.ROWS_PER_NEPER
                error = None if target is None else ((target - mean()) * gain)[..., :height, :width]
                block = Block(f"{self.name}{number}", self.name, mask[:, :height, :width])
                q = coder.code(block, error, rows[..., :height, :width])
            if q is None:
                is_over = True
                decoded = xp.where(mask, mean(), decoded)
                continue
            q = pad(q, shape[2] - height, shape[3] - width)
            decoded = xp.where(mask, mean() + q / gain, decoded)
            integers = integers + q
            if number < len(self.masks):
                context = context + cast(compand(coder.context(q)), arithmetic.dtype)
        return decoded, None if is_over else integers
