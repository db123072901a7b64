"""One level of a latent pyramid: its scales and networks."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from imgcodec.codec.families.masked import pass_masks
from imgcodec.codec.nets.context import MeanNet, RowNet
from imgcodec.codec.nets.exact import BIASES


class Level(nn.Module):
    """What a level codes is its target: latents minus their prediction from the level above.

    Args:
        channels: M.
        width: of the features of the means.
        exact_width: of the features of the rows.
        num_passes: two or four.
        num_anchors: A.
        blocks: of the means.

    Attributes:
        deviation: (M,) of the latents.
        spread: (M,) of the targets.
        log_gain: (A, M).
        log_scale: (A, M), of the residuals in quantisation steps over the scale of table row 0.
    """

    exact_grids: ClassVar = {"log_scale": BIASES}

    def __init__(
        self,
        channels: int,
        width: int,
        exact_width: int,
        num_passes: int,
        num_anchors: int,
        blocks: int = 1,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("deviation", torch.ones(channels))
        self.register_buffer("spread", torch.ones(channels))
        self.log_gain = nn.Parameter(torch.zeros(num_anchors, channels))
        self.log_scale = nn.Parameter(torch.zeros(num_anchors, channels))
        passes = range(num_passes)
        self.means = nn.ModuleList(
            MeanNet(channels, width, first=i == 0, blocks=blocks) for i in passes
        )
        self.rows = nn.ModuleList(RowNet(channels, exact_width, first=i == 0) for i in passes)
        masks = torch.from_numpy(pass_masks(num_passes, channels).copy())
        self.register_buffer("masks", masks, persistent=False)

    def normalise(self, latents: Tensor) -> Tensor:
        """Divide latents (B, M, h, w) by their deviations."""
        return latents / self.deviation[:, None, None]
