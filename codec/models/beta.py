"""The beta family: KLT-initialised transform codec with a hyperprior and masked passes.

              x (3, H, W) in [0, 1]
              |---------------- unshuffle 16 -- P ----------+
              +- unshuffle 8 - blocks 1/8 - blocks 1/16 ----+--> y (M, H/16, W/16)
                                                            |
        z (Nz, H/64, W/64) <-- round * gain <-- h_a <-------+
        |       |                                           |
        |       +-- exact net --> table rows                |
        +-- h_s --> features --> means of each pass         |
                                                            v
        passes 1..K: q = round(y * gain - mean), coded under zero-mean tables;
        means see y_hat of earlier passes, rows see the integers of earlier passes.
                                                            |
              x_hat <- P^T y_hat + shuffle(blocks(y_hat)) <-+

y is multiplied before rounding and divided afterwards by gain vectors that are interpolated
between `num_anchors` rates: one set of weights for all qualities. Sources: scale hyperprior,
Balle et al. arXiv 1802.01436; mean and context, Minnen et al. arXiv 1809.02736; checkerboard and
quadtree passes, He et al. arXiv 2103.15306, Li et al. arXiv 2302.14402 (section 3.3); gain
vectors, Cui et al. arXiv 2003.02012; integer networks, Balle et al. ICLR 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.models.base import CodecModel, Pass, PassGenerator
from imgcodec.codec.nets import rate
from imgcodec.codec.nets.blocks import Block, Down, LevelAffine, Up, anchor_weights, pointwise
from imgcodec.codec.nets.exact import (
    BIAS_BITS,
    MAGNITUDE_MAX,
    ExactDepthwise,
    ExactPointwise,
    activate,
    activate_exact,
    compand,
    on_grid,
    snap_,
)

STRIDE = 16
HYPER_STRIDE = 4
LEVEL_STEPS = 64
"""Positions on the rate axis between two anchors: levels are multiples of 1/64, exactly."""
DEVIATION_MIN = 0.1
"""Networks see y divided by its KLT deviations, those below half a mid-rate step by this."""
ROUNDING_STRENGTH = 1.0
"""How far the encoder's rounding heeds the bits of the larger integer (0: plain rounding)."""


@dataclass(frozen=True)
class BetaConfig:
    """Sizes of a beta model; every field is stored with the weights."""

    latent_channels: int = 320
    hyper_channels: int = 64
    encoder_channels: tuple[int, int] = (128, 192)
    encoder_blocks: tuple[int, int] = (2, 2)
    decoder_channels: tuple[int, int] = (128, 192)
    decoder_blocks: tuple[int, int] = (4, 3)
    hyper_width: int = 128
    context_width: int = 128
    exact_width: int = 96
    num_passes: int = 4
    num_anchors: int = 8
    lambda_min: float = 0.0009
    lambda_max: float = 0.18


def pass_masks(num_passes: int, channels: int) -> Tensor:
    """Return bool (num_passes, channels, 2, 2): what each pass codes in a 2x2 cell.

    Channels fall into `num_passes` interleaved groups. With four passes group g of phase f is
    coded in pass ``g ^ f``: every pass codes a quarter of the channels at every position and a
    different quarter at each neighbour. With two, the halves have opposite checkerboard phases.
    """
    group = torch.arange(channels) % num_passes
    masks = torch.zeros(num_passes, channels, 2, 2, dtype=torch.bool)
    for row in range(2):
        for column in range(2):
            phase = 2 * row + column if num_passes == 4 else (row + column) % 2
            for index in range(num_passes):
                masks[index, :, row, column] = (group ^ phase) == index
    return masks


class MeanNet(nn.Module):
    """Means of one pass from the hyper features and the y_hat decoded so far (float)."""

    def __init__(self, cfg: BetaConfig, *, first: bool) -> None:
        super().__init__()
        width = cfg.context_width
        self.features = pointwise(width, width)
        self.decoded = None if first else pointwise(cfg.latent_channels, width)
        self.phase = nn.Parameter(torch.zeros(width, 2, 2))
        self.block = Block(width)
        self.out = pointwise(width, cfg.latent_channels, zero=True)

    def forward(self, features: Tensor, decoded: Tensor) -> Tensor:
        """Map features (B, C, h, w) and normalised y_hat (B, M, h, w) to (B, M, h, w)."""
        x = self.features(features) + tile_cell(self.phase, features.shape)
        if self.decoded is not None:
            x = x + self.decoded(decoded)
        return self.out(self.block(F.leaky_relu(x, 0.1)))


class RowNet(nn.Module):
    """Log-scale offsets of one pass from exact hyper features and integers decoded so far."""

    def __init__(self, cfg: BetaConfig, *, first: bool) -> None:
        super().__init__()
        width = cfg.exact_width
        self.features = ExactPointwise(width, width)
        self.decoded = None if first else ExactPointwise(cfg.latent_channels, width)
        self.phase = nn.Parameter(torch.zeros(width, 2, 2))
        self.depthwise = ExactDepthwise(width)
        self.mix = ExactPointwise(width, width)
        self.out = ExactPointwise(width, cfg.latent_channels, zero=True)

    def forward(self, features: Tensor, decoded: Tensor) -> Tensor:
        """Map (B, E, h, w) and companded integers (B, M, h, w) to (B, M, h, w), in float."""
        x = self.features(features) + tile_cell(self.phase, features.shape)
        if self.decoded is not None:
            x = x + self.decoded(decoded)
        x = activate(self.depthwise(activate(x)))
        return self.out(activate(self.mix(x)))

    def exact(self, features: Tensor, decoded: Tensor) -> Tensor:
        """Do the same on grids: (E, h, w) and (M, h, w) float64 to (M, h, w) float64."""
        x = self.features.exact(features) + tile_cell(self.phase, features.shape)
        if self.decoded is not None:
            x = x + self.decoded.exact(decoded)
        x = activate_exact(self.depthwise.exact(activate_exact(x)))
        return self.out.exact(activate_exact(self.mix.exact(x)))


class RowFeatures(nn.Module):
    """Hyper features of the rows: from z at 1/64 to 1/16."""

    def __init__(self, cfg: BetaConfig) -> None:
        super().__init__()
        width = cfg.exact_width
        self.level = nn.Parameter(torch.zeros(cfg.num_anchors, width))
        self.first = ExactPointwise(cfg.hyper_channels, width)
        self.depthwise = ExactDepthwise(width)
        self.up1 = ExactPointwise(width, 4 * width)
        self.up2 = ExactPointwise(width, 4 * width)

    def forward(self, z: Tensor, weights: Tensor) -> Tensor:
        """Map integers z (B, Nz, h/4, w/4) to (B, E, h, w), in float."""
        level = weights @ self.level
        x = activate(self.first(z) + level[:, :, None, None])
        x = activate(self.depthwise(x))
        x = F.pixel_shuffle(activate(self.up1(x)), 2)
        return F.pixel_shuffle(activate(self.up2(x)), 2)

    def exact(self, z: Tensor, weights: Tensor) -> Tensor:
        """Do the same on grids: (Nz, h/4, w/4) float64 to (E, h, w) float64."""
        level = weights @ self.level
        x = activate_exact(self.first.exact(z) + level[:, None, None])
        x = activate_exact(self.depthwise.exact(x))
        x = F.pixel_shuffle(activate_exact(self.up1.exact(x)), 2)
        return F.pixel_shuffle(activate_exact(self.up2.exact(x)), 2)


def tile_cell(cell: Tensor, shape: torch.Size) -> Tensor:
    """Repeat a (C, 2, 2) cell over the last two (even) sides of `shape`."""
    height, width = shape[-2:]
    return cell.repeat(1, height // 2, width // 2)


class BetaModel(CodecModel):
    """Transform, hyperprior and context of the beta family; see the module docstring."""

    family = "beta"
    num_segments = 1
    stride_px = STRIDE

    def __init__(self, cfg: BetaConfig) -> None:
        super().__init__()
        self.cfg = cfg
        m, anchors = cfg.latent_channels, cfg.num_anchors
        self.latent_channels = m
        self.klt_analysis = nn.Conv2d(3 * STRIDE**2, m, 1)
        self.klt_synthesis = nn.Conv2d(m, 3 * STRIDE**2, 1)
        self.register_buffer("y_deviation", torch.ones(m))
        self.g_a = Analysis(cfg)
        self.g_s = Synthesis(cfg)
        self.h_a = HyperAnalysis(cfg)
        self.h_s = HyperSynthesis(cfg)
        self.means = nn.ModuleList(MeanNet(cfg, first=i == 0) for i in range(cfg.num_passes))
        self.log_gain = nn.Parameter(torch.zeros(anchors, m))
        self.z_log_gain = nn.Parameter(torch.full((anchors, cfg.hyper_channels), 1.6))
        self.exact = nn.ModuleDict(
            {
                "features": RowFeatures(cfg),
                "rows": nn.ModuleList(RowNet(cfg, first=i == 0) for i in range(cfg.num_passes)),
            }
        )
        self.y_log_scale = nn.Parameter(torch.zeros(anchors, m))
        self.z_log_scale = nn.Parameter(torch.full((anchors, cfg.hyper_channels), 2.7))
        self.register_buffer("masks", pass_masks(cfg.num_passes, m), persistent=False)
        blocks = cfg.encoder_blocks
        self.analysis_halo_px = _up(8 * blocks[0] + 16 * blocks[1], STRIDE)
        blocks = cfg.decoder_blocks
        self.synthesis_halo_px = _up(8 * blocks[0] + 16 * blocks[1], STRIDE)

    # ---- start -------------------------------------------------------------------------

    @torch.no_grad()
    def init_from_klt(self, mean: Tensor, basis: Tensor, deviations: Tensor) -> None:
        """Start from the linear codec that is optimal for the given patch statistics.

        Args:
            mean: (768,) mean of pixel-unshuffled patches of x - 0.5.
            basis: (M, 768) orthonormal rows.
            deviations: (M,) standard deviations of the coefficients.
        """
        self.klt_analysis.weight.copy_(basis[:, :, None, None])
        self.klt_analysis.bias.copy_(-basis @ mean)
        self.klt_synthesis.weight.copy_(basis.T[:, :, None, None])
        self.klt_synthesis.bias.copy_(mean)
        self.y_deviation.copy_(deviations.clamp_min(DEVIATION_MIN))
        lambdas = self.lambdas(torch.arange(self.cfg.num_anchors, dtype=torch.float64))
        # The uniform quantiser of lambda: d(bits)/d(step) balances lambda * 255^2 * d(MSE).
        step = torch.sqrt(12 * 3 / (2 * math.log(2) * lambdas)) / 255.0
        self.log_gain.copy_(-torch.log(step)[:, None].float().expand_as(self.log_gain))
        scale = deviations[None, :] / step[:, None]
        self.y_log_scale.copy_(torch.log(scale.clamp_min(rate.SCALE_MIN) / rate.SCALE_MIN))

    def lambdas(self, level: Tensor) -> Tensor:
        """Return lambda (of bpp + lambda * 255^2 * MSE) of rate levels 0..num_anchors-1."""
        cfg = self.cfg
        span = math.log(cfg.lambda_max / cfg.lambda_min)
        return cfg.lambda_min * torch.exp(level * (span / (cfg.num_anchors - 1)))

    # ---- training ----------------------------------------------------------------------

    def forward(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x_hat, bits of y and bits of z for training.

        Rates are those of noisy latents, reconstructions those of rounded ones (straight-through).

        Args:
            x: (B, 3, H, W) in [0, 1], sides multiples of 64.
            level: (B,) position on the rate axis.

        Returns:
            x_hat (B, 3, H, W), bits of y (B,), bits of z (B,).
        """
        weights = anchor_weights(level, self.cfg.num_anchors)
        gain = (weights @ self.log_gain).exp()[:, :, None, None]
        y = self._analyse(x, weights)
        z_gain = (weights @ self.z_log_gain).exp()[:, :, None, None]
        z = self.h_a(self._normalise(y)).float() * z_gain
        z_rows = self._scale_rows(self.z_log_scale, weights)
        bits_z = rate.bits_of_residual(_add_noise(z), z_rows.expand_as(z)).sum(dim=(1, 2, 3))
        z_hat = rate.round_ste(z)
        features = self.h_s(z_hat / z_gain)
        row_features = self.exact["features"](z_hat, weights)
        base = self._scale_rows(self.y_log_scale, weights)
        y_hat = torch.zeros_like(y)
        seen = torch.zeros_like(y)
        rows = torch.zeros_like(y)
        residual = torch.zeros_like(y)
        for index in range(self.cfg.num_passes):
            mask = tile_cell(self.masks[index], y.shape)
            means = self._means(index, features, y_hat)
            offsets = self.exact["rows"][index](row_features, seen).float()
            rows = torch.where(mask, base + offsets * rate.ROWS_PER_NEPER, rows)
            error = (y - means) * gain
            q = rate.round_ste(error)
            residual = torch.where(mask, error, residual)
            y_hat = torch.where(mask, means + q / gain, y_hat)
            seen = torch.where(mask, compand(q.detach()), seen)
        bits_y = rate.bits_of_residual(_add_noise(residual), rows).sum(dim=(1, 2, 3))
        return self._synthesise(y_hat, weights), bits_y, bits_z

    # ---- coding ------------------------------------------------------------------------

    def prepare(self, code_lengths: np.ndarray, half_widths: np.ndarray) -> BetaModel:
        """Freeze for coding: eval mode, exact parameters on their grids, in float64.

        Args:
            code_lengths: (R, S) bits of each symbol of the tables, for the encoder's rounding.
            half_widths: (R,) of the tables.
        """
        self.eval().requires_grad_(False)
        snap_parameters_(self)
        thresholds = rounding_thresholds(code_lengths, half_widths, ROUNDING_STRENGTH)
        self.thresholds = torch.from_numpy(thresholds).to(self.log_gain.device)
        return self

    def exact_parameters(self) -> set[str]:
        """Return the names of the parameters that table rows depend on: stored as integers."""
        names = {f"exact.{name}" for name, _ in self.exact.named_parameters()}
        return names | {"y_log_scale", "z_log_scale"}

    def analysis(self, x: Tensor, quality: int) -> Tensor:
        """Map a picture (1, 3, H, W) in [0, 1], sides multiples of 16, to y (1, M, H/16, W/16)."""
        return self._analyse(x, self._weights(quality).float()[None])

    def synthesis(self, y_hat: Tensor, quality: int) -> Tensor:
        """Map y_hat (1, M, h, w) to a picture (1, 3, 16 h, 16 w), not clamped."""
        return self._synthesise(y_hat, self._weights(quality).float()[None])

    def passes(
        self, shape: tuple[int, int], quality: int, y: Tensor | None = None
    ) -> PassGenerator:
        """Generate z and the masked passes of y for one tile; see `CodecModel.passes`."""
        height, width = shape
        padded = (_up(height, HYPER_STRIDE), _up(width, HYPER_STRIDE))
        weights = self._weights(quality)
        float_weights = weights.float()[None]
        device = self.log_gain.device
        z_gain = (float_weights @ self.z_log_gain.float()).exp()[:, :, None, None]
        z_shape = (self.cfg.hyper_channels, padded[0] // HYPER_STRIDE, padded[1] // HYPER_STRIDE)
        z = None
        if y is not None:
            y = F.pad(y, (0, padded[1] - width, 0, padded[0] - height), mode="replicate")
            z = _to_numpy(torch.round(self.h_a(self._normalise(y)) * z_gain))[0]
        z_rows = self._exact_rows(self.z_log_scale, weights).expand(z_shape)
        where = _positions(z_shape, HYPER_STRIDE, shape)
        received = yield Pass("z", 0, _to_numpy(_rows_to_indexes(z_rows)), z, where)
        y_hat = torch.zeros(1, self.cfg.latent_channels, *padded, device=device)
        if received is None:
            return y_hat[..., :height, :width]
        z_int = torch.from_numpy(received).to(device)
        features = self.h_s(z_int.float()[None] / z_gain)
        row_features = self.exact["features"].exact(z_int.double().clamp(-64, 64), weights)
        base = self._exact_rows(self.y_log_scale, weights)
        gain = (float_weights @ self.log_gain).exp()[:, :, None, None]
        seen = torch.zeros(y_hat.shape[1:], dtype=torch.float64, device=device)
        inside = torch.zeros(padded, dtype=torch.bool, device=device)
        inside[:height, :width] = True
        grid = _positions(y_hat.shape[1:], 1, shape)
        filling = False
        for index in range(self.cfg.num_passes):
            mask = tile_cell(self.masks[index], y_hat.shape)
            means = self._means(index, features, y_hat)
            if filling:
                y_hat = torch.where(mask, means, y_hat)
                continue
            coded = mask & inside
            offsets = self.exact["rows"][index].exact(row_features, seen)
            rows = base + offsets * rate.ROWS_PER_NEPER
            q = None
            indexes = _rows_to_indexes(rows[coded])
            if y is not None:
                q = _to_numpy(self._round(((y - means) * gain)[0][coded], indexes))
            where = grid[coded.cpu().numpy()]
            received = yield Pass(f"y{index + 1}", 0, _to_numpy(indexes), q, where)
            if received is None:
                filling = True
                y_hat = torch.where(mask, means, y_hat)
                continue
            q_int = torch.zeros(y_hat.shape[1:], dtype=torch.float64, device=device)
            q_int[coded] = torch.from_numpy(received).to(device).double()
            y_hat = torch.where(mask, means + q_int.float() / gain, y_hat)
            seen = torch.where(coded, compand(q_int), seen)
        return y_hat[..., :height, :width]

    # ---- shared ------------------------------------------------------------------------

    def _analyse(self, x: Tensor, weights: Tensor) -> Tensor:
        centred = x - 0.5
        linear = self.klt_analysis(F.pixel_unshuffle(centred, STRIDE))
        return linear.float() + self.g_a(centred, weights).float()

    def _synthesise(self, y_hat: Tensor, weights: Tensor) -> Tensor:
        linear = F.pixel_shuffle(self.klt_synthesis(y_hat), STRIDE)
        return linear.float() + self.g_s(self._normalise(y_hat), weights).float() + 0.5

    def _normalise(self, y: Tensor) -> Tensor:
        return y / self.y_deviation[:, None, None]

    def _means(self, index: int, features: Tensor, y_hat: Tensor) -> Tensor:
        means = self.means[index](features, self._normalise(y_hat)).float()
        return means * self.y_deviation[:, None, None]

    def _round(self, x: Tensor, indexes: Tensor) -> Tensor:
        """Round to the integers that cost least in bits and squared error together."""
        magnitude = x.abs()
        lower = torch.floor(magnitude)
        cell = lower.long().clamp(max=self.thresholds.shape[1] - 1)
        return torch.copysign(lower + (magnitude - lower > self.thresholds[indexes, cell]), x)

    def _scale_rows(self, log_scale: Tensor, weights: Tensor) -> Tensor:
        return (weights @ log_scale)[:, :, None, None] * rate.ROWS_PER_NEPER

    def _exact_rows(self, log_scale: Tensor, weights: Tensor) -> Tensor:
        return (weights @ log_scale)[:, None, None] * rate.ROWS_PER_NEPER

    def _weights(self, quality: int) -> Tensor:
        """Return float64 (num_anchors,) interpolation weights, multiples of 1/64, by integers."""
        last = self.cfg.num_anchors - 1
        position = (quality - 1) * last * LEVEL_STEPS // 99
        anchor, step = divmod(position, LEVEL_STEPS)
        weights = torch.zeros(last + 1, dtype=torch.float64)
        weights[anchor] = (LEVEL_STEPS - step) / LEVEL_STEPS
        if step:
            weights[anchor + 1] = step / LEVEL_STEPS
        return weights.to(self.log_gain.device)


class Analysis(nn.Module):
    """Non-linear part of the analysis transform."""

    def __init__(self, cfg: BetaConfig) -> None:
        super().__init__()
        wide, deep = cfg.encoder_channels
        self.first = pointwise(3 * 64, wide)
        self.affine = LevelAffine(wide, cfg.num_anchors)
        self.blocks8 = nn.Sequential(*(Block(wide) for _ in range(cfg.encoder_blocks[0])))
        self.down = Down(wide, deep)
        self.blocks16 = nn.Sequential(*(Block(deep) for _ in range(cfg.encoder_blocks[1])))
        self.out = pointwise(deep, cfg.latent_channels, zero=True)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, M, H/16, W/16)."""
        x = self.affine(self.first(F.pixel_unshuffle(x, 8)), weights)
        return self.out(self.blocks16(self.down(self.blocks8(x))))


class Synthesis(nn.Module):
    """Non-linear part of the synthesis transform."""

    def __init__(self, cfg: BetaConfig) -> None:
        super().__init__()
        wide, deep = cfg.decoder_channels
        self.first = pointwise(cfg.latent_channels, deep)
        self.affine = LevelAffine(deep, cfg.num_anchors)
        self.blocks16 = nn.Sequential(*(Block(deep) for _ in range(cfg.decoder_blocks[1])))
        self.up = Up(deep, wide)
        self.blocks8 = nn.Sequential(*(Block(wide) for _ in range(cfg.decoder_blocks[0])))
        self.out = pointwise(wide, 3 * 64, zero=True)

    def forward(self, y_hat: Tensor, weights: Tensor) -> Tensor:
        """Map normalised (B, M, h, w) to (B, 3, 16 h, 16 w)."""
        x = self.affine(self.first(y_hat), weights)
        x = self.blocks8(self.up(self.blocks16(x)))
        return F.pixel_shuffle(self.out(x), 8)


class HyperAnalysis(nn.Module):
    """From y at 1/16 to z at 1/64."""

    def __init__(self, cfg: BetaConfig) -> None:
        super().__init__()
        width = cfg.hyper_width
        self.first = pointwise(cfg.latent_channels, width)
        self.block = Block(width)
        self.down1 = Down(width, width)
        self.down2 = Down(width, width)
        self.out = pointwise(width, cfg.hyper_channels)

    def forward(self, y: Tensor) -> Tensor:
        """Map normalised (B, M, h, w) to (B, Nz, h/4, w/4)."""
        x = self.down1(self.block(F.leaky_relu(self.first(y), 0.1)))
        return self.out(F.leaky_relu(self.down2(F.leaky_relu(x, 0.1)), 0.1))


class HyperSynthesis(nn.Module):
    """From z_hat at 1/64 to the features of the mean networks at 1/16."""

    def __init__(self, cfg: BetaConfig) -> None:
        super().__init__()
        width = cfg.hyper_width
        self.first = pointwise(cfg.hyper_channels, width)
        self.block = Block(width)
        self.up1 = Up(width, width)
        self.up2 = Up(width, cfg.context_width)

    def forward(self, z_hat: Tensor) -> Tensor:
        """Map (B, Nz, h/4, w/4) to (B, C, h, w)."""
        x = self.up1(self.block(F.leaky_relu(self.first(z_hat), 0.1)))
        return self.up2(F.leaky_relu(x, 0.1))


def snap_parameters_(model: BetaModel) -> None:
    """Move everything that the table rows depend on to float64 and onto its grid, in place."""
    model.exact.double()
    for name in ("y_log_scale", "z_log_scale"):
        parameter = getattr(model, name)
        parameter.data = on_grid(parameter.data, BIAS_BITS)
    for layer in model.exact.modules():
        if isinstance(layer, RowNet):
            layer.phase.data = on_grid(layer.phase.data, BIAS_BITS)
        elif isinstance(layer, RowFeatures):
            layer.level.data = on_grid(layer.level.data, BIAS_BITS)
    snap_(model.exact)


def _add_noise(x: Tensor) -> Tensor:
    return x + torch.rand_like(x) - 0.5


def rounding_thresholds(
    code_lengths: np.ndarray, half_widths: np.ndarray, strength: float
) -> np.ndarray:
    """Return the fractions above which the encoder rounds away from zero.

    With gains at the uniform quantiser of lambda, a squared error of e steps costs as much as
    6 / ln(2) * e**2 bits. Rounding n + f up rather than down is worth its extra bits d when
    ``6 / ln(2) * (2 f - 1) > d``.

    Args:
        code_lengths: (R, S) bits of each symbol.
        half_widths: (R,) half widths h; symbol n + h is the integer n.
        strength: share of d to heed, 0 for plain rounding.

    Returns:
        float32 (R, K): fractions in [0.5, 1) by row and integer n < K - 1; 0.5 for larger n.
    """
    num_rows, width = len(half_widths), int(half_widths.max()) + 1
    thresholds = np.full((num_rows, width + 1), 0.5, np.float32)
    for row, half in enumerate(half_widths):
        upper = code_lengths[row, half : 2 * half + 1]
        extra = np.maximum(upper[1:] - upper[:-1], 0)
        thresholds[row, :half] = np.minimum(0.5 + strength * extra * (math.log(2) / 12), 0.99)
    return thresholds


def _to_numpy(x: Tensor) -> np.ndarray:
    limit = float(MAGNITUDE_MAX - 1)
    return x.clamp(-limit, limit).to(torch.int32).cpu().numpy()


def _rows_to_indexes(rows: Tensor) -> Tensor:
    """Round real-valued rows (exact float64) to table indexes."""
    return torch.floor(rows + 0.5).clamp(0, rate.NUM_ROWS - 1).long()


def _positions(shape: torch.Size | tuple[int, ...], cell: int, grid: tuple[int, int]) -> np.ndarray:
    """Return the flat latent position of each element of a (C, h, w) array."""
    rows = np.minimum(np.arange(shape[1]) * cell, grid[0] - 1)
    columns = np.minimum(np.arange(shape[2]) * cell, grid[1] - 1)
    flat = rows[:, None] * grid[1] + columns[None, :]
    return np.broadcast_to(flat, tuple(shape))


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
