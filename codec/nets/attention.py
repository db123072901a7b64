"""Self-attention within windows: wide context at the coarse levels in bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.nets.blocks import pointwise


class WindowAttention(nn.Module):
    """Multi-head self-attention among the positions of each window, added to its input.

    Windows are squares of `window` positions that start at the top left corner; those that reach
    over the right or bottom edge attend to what is inside. Queries and keys meet with a learned
    bias for every offset (Swin transformer, arXiv 2103.14030, section 3.2). It starts as the
    identity.

    Args:
        channels: C, a multiple of `num_heads`.
        window: side of a window in positions.
        num_heads: number of heads.
    """

    def __init__(self, channels: int, window: int, num_heads: int) -> None:
        super().__init__()
        self.window, self.num_heads = window, num_heads
        self.queries_keys_values = pointwise(channels, 3 * channels)
        self.bias = nn.Parameter(torch.zeros(num_heads, (2 * window - 1) ** 2))
        self.out = pointwise(channels, channels, zero=True)
        position = torch.arange(window)
        offset = position[:, None] - position + window - 1
        pairs = offset[:, None, :, None] * (2 * window - 1) + offset[None, :, None, :]
        self.register_buffer("pairs", pairs.reshape(window**2, window**2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        height, width = x.shape[2:]
        normalised = F.layer_norm(x.permute(0, 2, 3, 1), (self.out.in_channels,)).permute(
            0, 3, 1, 2
        )
        # No negative numbers: traced graphs divide towards zero.
        missing = tuple(
            (self.window - side % self.window) % self.window for side in (height, width)
        )
        padded = F.pad(self.queries_keys_values(normalised), (0, missing[1], 0, missing[0]))
        queries, keys, values = self._to_windows(padded)
        scores = (
            queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5 + self.bias[:, self.pairs]
        )
        if any(missing):
            rows, columns = (torch.arange(side, device=x.device) for side in padded.shape[2:])
            is_outside = (rows >= height)[:, None] | (columns >= width)
            (outside,) = self._to_windows(is_outside[None, None], parts=1, num_heads=1)
            outside = outside.repeat(x.shape[0], 1, 1, 1)
            scores = scores.masked_fill(outside.transpose(-2, -1), float("-inf"))
        mixed = self._to_picture(scores.softmax(dim=-1) @ values, padded.shape)
        return x + self.out(mixed[:, :, :height, :width])

    def _to_windows(
        self, x: Tensor, parts: int = 3, num_heads: int | None = None
    ) -> tuple[Tensor, ...]:
        """Split (B, parts * C, H, W) into `parts` of (B * windows, heads, positions, C / heads)."""
        batch, channels, height, width = x.shape
        side, heads = self.window, num_heads or self.num_heads
        depth = channels // (parts * heads)
        x = x.reshape(batch, parts, heads, depth, height // side, side, width // side, side)
        x = x.permute(1, 0, 4, 6, 2, 5, 7, 3)
        return x.reshape(parts, -1, heads, side * side, depth).unbind(0)

    def _to_picture(self, x: Tensor, shape: torch.Size) -> Tensor:
        """Put (B * windows, heads, positions, depth) together as (B, C, H, W)."""
        batch, _, height, width = shape
        side, (_, heads, _, depth) = self.window, x.shape
        x = x.reshape(batch, height // side, width // side, heads, side, side, depth)
        return x.permute(0, 3, 6, 1, 4, 2, 5).reshape(batch, heads * depth, height, width)
