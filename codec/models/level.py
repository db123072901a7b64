"""One level of a latent pyramid: its scales, and the masked passes that code it."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor, nn

from imgcodec.codec.models.base import Pass
from imgcodec.codec.nets import rate
from imgcodec.codec.nets.context import MeanNet, RowNet, pass_masks, tile_cell
from imgcodec.codec.nets.exact import BIAS_BITS, compand, on_grid, snap_
from imgcodec.codec.nets.rounding import Rounding, round_by_cost, to_integers


class Level(nn.Module):
    """What a level codes is its target: latents minus their prediction from the level above.

    Args:
        channels: M.
        width: of the features of the means.
        exact_width: of the features of the rows.
        num_passes: two or four.
        num_anchors: A.

    Attributes:
        deviation: (M,) of the latents.
        spread: (M,) of the targets.
        log_gain: (A, M).
        log_scale: (A, M), of the residuals in quantisation steps over the scale of table row 0.
    """

    def __init__(
        self, channels: int, width: int, exact_width: int, num_passes: int, num_anchors: int
    ) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("deviation", torch.ones(channels))
        self.register_buffer("spread", torch.ones(channels))
        self.log_gain = nn.Parameter(torch.zeros(num_anchors, channels))
        self.log_scale = nn.Parameter(torch.zeros(num_anchors, channels))
        passes = range(num_passes)
        self.means = nn.ModuleList(MeanNet(channels, width, first=i == 0) for i in passes)
        self.rows = nn.ModuleList(RowNet(channels, exact_width, first=i == 0) for i in passes)
        self.register_buffer("masks", pass_masks(num_passes, channels), persistent=False)

    def normalise(self, latents: Tensor) -> Tensor:
        """Divide latents (B, M, h, w) by their deviations."""
        return latents / self.deviation[:, None, None]

    def gain(self, weights: Tensor) -> Tensor:
        """Return the gain (B, M, 1, 1) of anchor weights (B, A)."""
        return (weights @ self.log_gain).exp()[:, :, None, None]

    def fill(self, features: Tensor, decoded: Tensor, first_pass: int = 0) -> Tensor:
        """Return targets (B, M, h, w) with the passes from `first_pass` on at their means."""
        for index in range(first_pass, len(self.means)):
            mask = tile_cell(self.masks[index], decoded.shape)
            decoded = torch.where(mask, self._mean(index, features, decoded), decoded)
        return decoded

    def forward(
        self,
        target: Tensor,
        features: Tensor,
        row_features: Tensor,
        gain: Tensor,
        weights: Tensor,
        rounding: Rounding,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return decoded targets, their integers, and bits (B,), for training.

        Args:
            target: (B, M, h, w).
            features: (B, C, h, w) of the means.
            row_features: (B, E, h, w) of the rows.
            gain: (B, M, 1, 1).
            weights: (B, A) of the rate anchors.
            rounding: what makes integers of the targets; see `nets.rounding`.
        """
        base = (weights @ self.log_scale)[:, :, None, None]
        decoded, seen = torch.zeros_like(target), torch.zeros_like(target)
        rows, error = torch.zeros_like(target), torch.zeros_like(target)
        integers = torch.zeros_like(target)
        for index, row_net in enumerate(self.rows):
            mask = tile_cell(self.masks[index], target.shape)
            mean = self._mean(index, features, decoded)
            own_rows = (base + row_net(row_features, seen).float()) * rate.ROWS_PER_NEPER
            own_error = (target - mean) * gain
            q = rounding(own_error, own_rows, 0)
            decoded = torch.where(mask, mean + q / gain, decoded)
            seen = torch.where(mask, compand(rounding.seen(q)), seen)
            rows = torch.where(mask, own_rows, rows)
            error = torch.where(mask, own_error, error)
            integers = torch.where(mask, q, integers)
        bits = rounding.bits(integers, error, rows)
        return decoded, integers, bits.sum(dim=(1, 2, 3))

    def passes(
        self,
        number: int,
        target: Tensor | None,
        features: Tensor,
        row_features: Tensor,
        weights: Tensor,
        thresholds: Tensor,
    ) -> Generator[Pass, np.ndarray, tuple[Tensor, Tensor | None]]:
        """Generate the passes; return decoded targets and integers (M, h, w) in float64.

        None instead of integers ends the level: what is left of it is filled with its means, and
        None is returned for the integers.

        Args:
            number: of the level, 0 for the coarsest.
            target: (1, M, h, w) when encoding.
            features: (1, C, h, w) of the means.
            row_features: float64 (E, h, w) of the rows, exact.
            weights: float64 (A,) of the rate anchors.
            thresholds: of `round_by_cost`.
        """
        size, device = row_features.shape[1:], row_features.device
        gain = self.gain(weights.float()[None])
        base = (weights @ self.log_scale)[:, None, None]
        decoded = torch.zeros(1, self.channels, *size, device=device)
        integers = torch.zeros(self.channels, *size, dtype=torch.float64, device=device)
        positions = _positions(integers.shape, number)
        for index, row_net in enumerate(self.rows):
            mask = tile_cell(self.masks[index], integers.shape)
            mean = self._mean(index, features, decoded)
            rows = base + row_net.exact(row_features, compand(integers))
            indexes = rate.rows_to_indexes((rows * rate.ROWS_PER_NEPER)[mask])
            q = None
            if target is not None:
                error = ((target - mean) * gain)[0][mask]
                q = to_integers(round_by_cost(error, indexes, thresholds))
            name, where = f"l{number + 1}.{index + 1}", positions[mask.cpu().numpy()]
            received = yield Pass(name, number, to_integers(indexes), q, where)
            if received is None:
                return self.fill(features, decoded, index), None
            integers[mask] = torch.from_numpy(received).to(device).double()
            decoded = torch.where(mask, mean + integers.float() / gain, decoded)
        return decoded, integers

    def snap_(self) -> None:
        """Move what the table rows depend on to float64 and its grids, in place."""
        self.rows.double()
        for parameter in (self.log_scale, *(net.phase for net in self.rows)):
            parameter.data = on_grid(parameter.data, BIAS_BITS)
        snap_(self.rows)

    @property
    def exact_names(self) -> set[str]:
        """Names of the parameters that table rows depend on."""
        return {"log_scale", *(f"rows.{name}" for name, _ in self.rows.named_parameters())}

    def _mean(self, index: int, features: Tensor, decoded: Tensor) -> Tensor:
        """Return the mean of a pass, given what is decoded of the targets and else zero."""
        spread = self.spread[:, None, None]
        return self.means[index](features, decoded / spread).float() * spread


def _positions(shape: tuple[int, ...], number: int) -> np.ndarray:
    """Return the flat position at the coarsest level of each element of (M, h, w)."""
    rows, columns = (np.arange(side) >> number for side in shape[1:])
    flat = rows[:, None] * (shape[2] >> number) + columns
    return np.broadcast_to(flat, tuple(shape))
