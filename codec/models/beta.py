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
between `num_anchors` rates: one set of weights for all qualities. With `learned_width` the hyper
features, which are floats, also widen or narrow the step of every latent: rows and integers do not
see the width, so files stay exact. Sources: scale hyperprior,
Balle et al. arXiv 1802.01436; mean and context, Minnen et al. arXiv 1809.02736; checkerboard and
quadtree passes, He et al. arXiv 2103.15306, Li et al. arXiv 2302.14402 (section 3.3); gain
vectors, Cui et al. arXiv 2003.02012; integer networks, Balle et al. ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.entropy.tables import Tables
from imgcodec.codec.models.base import (
    CodecModel,
    Coded,
    Pass,
    PassGenerator,
    TrainOutput,
    normal_tables,
)
from imgcodec.codec.nets import rate
from imgcodec.codec.nets.blocks import Block, anchor_weights, pointwise
from imgcodec.codec.nets.context import MeanNet, RowFeatures, RowNet, pass_masks, tile_cell
from imgcodec.codec.nets.exact import BIAS_BITS, compand, on_grid, snap_
from imgcodec.codec.nets.klt import klt_of_patches
from imgcodec.codec.nets.rounding import (
    CodedRounding,
    Rounding,
    round_by_cost,
    rounding_thresholds,
    scale_thresholds,
    to_integers,
)
from imgcodec.codec.nets.transforms import (
    Analysis,
    HyperAnalysis,
    HyperSynthesis,
    Synthesis,
)

STRIDE = 16
HYPER_STRIDE = 4
LEVEL_STEPS = 64
"""Positions on the rate axis between two anchors: levels are multiples of 1/64, exactly."""
DEVIATION_MIN = 0.1
"""Networks see y divided by its KLT deviations, those below half a mid-rate step by this."""
ANCHORED = ("log_gain", "y_log_scale", "z_log_scale", ".affine.log_scale", ".shift", ".level")
"""Ends of the names of parameters with one row for each anchor."""
WIDTH_LIMIT = 1.5
"""The step width of a latent lies within a factor exp(+-1.5) of that of its channel."""
ROUNDING_STRENGTH = 0.6
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
    context_blocks: int = 1
    exact_width: int = 96
    num_passes: int = 4
    num_anchors: int = 8
    lambda_min: float = 0.0009
    lambda_max: float = 0.18
    learned_width: bool = False


class BetaModel(CodecModel):
    """Transform, hyperprior and context of the beta family; see the module docstring."""

    family = "beta"
    stride_px = STRIDE
    can_price_errors = True
    can_refine = True
    float32_parameters = frozenset({"y_deviation", "log_gain", "z_log_gain"})
    decoder_prefixes = ("g_s.", "klt_synthesis.")

    def __init__(self, cfg: BetaConfig) -> None:
        super().__init__()
        self.cfg = cfg
        m, anchors = cfg.latent_channels, cfg.num_anchors
        self.axis = rate.RateAxis(anchors, cfg.lambda_min, cfg.lambda_max)
        self.latent_channels = m
        self.max_level = anchors - 1
        self.klt_analysis = nn.Conv2d(3 * STRIDE**2, m, 1)
        self.klt_synthesis = nn.Conv2d(m, 3 * STRIDE**2, 1)
        self.register_buffer("y_deviation", torch.ones(m))
        self.g_a = Analysis(cfg.encoder_channels, cfg.encoder_blocks, m, anchors)
        self.g_s = Synthesis(cfg.decoder_channels, cfg.decoder_blocks, m, anchors)
        self.h_a = HyperAnalysis(m, cfg.hyper_width, cfg.hyper_channels)
        self.h_s = HyperSynthesis(cfg.hyper_channels, cfg.hyper_width, cfg.context_width)
        passes = range(cfg.num_passes)
        self.means = nn.ModuleList(
            MeanNet(m, cfg.context_width, first=i == 0, blocks=cfg.context_blocks) for i in passes
        )
        self.widths = pointwise(cfg.context_width, m, zero=True) if cfg.learned_width else None
        self.log_gain = nn.Parameter(torch.zeros(anchors, m))
        self.z_log_gain = nn.Parameter(torch.full((anchors, cfg.hyper_channels), 1.6))
        rows = nn.ModuleList(RowNet(m, cfg.exact_width, first=i == 0) for i in passes)
        features = RowFeatures(cfg.hyper_channels, cfg.exact_width, anchors)
        self.exact = nn.ModuleDict({"features": features, "rows": rows})
        self.y_log_scale = nn.Parameter(torch.zeros(anchors, m))
        self.z_log_scale = nn.Parameter(torch.full((anchors, cfg.hyper_channels), 2.7))
        self.register_buffer("masks", pass_masks(cfg.num_passes, m), persistent=False)
        tables = normal_tables()
        thresholds = rounding_thresholds(tables.bits(), tables.half_widths, ROUNDING_STRENGTH)
        self.register_buffer("thresholds", torch.from_numpy(thresholds), persistent=False)
        blocks = cfg.encoder_blocks
        self.analysis_halo_px = _up(8 * blocks[0] + 16 * blocks[1], STRIDE)
        blocks = cfg.decoder_blocks
        self.synthesis_halo_px = _up(8 * blocks[0] + 16 * blocks[1], STRIDE)

    # ---- start -------------------------------------------------------------------------

    @torch.no_grad()
    def init_from_patches(self, patches: Tensor) -> None:
        """Start from the linear codec that is optimal for the patches (N, 768)."""
        mean, basis, deviations = klt_of_patches(patches, self.cfg.latent_channels)
        self.klt_analysis.weight.copy_(basis[:, :, None, None])
        self.klt_analysis.bias.copy_(-basis @ mean)
        self.klt_synthesis.weight.copy_(basis.T[:, :, None, None])
        self.klt_synthesis.bias.copy_(mean)
        self.y_deviation.copy_(deviations.clamp_min(DEVIATION_MIN))
        step = self.axis.steps()
        self.log_gain.copy_(-torch.log(step)[:, None].float().expand_as(self.log_gain))
        scale = deviations[None, :] / step[:, None]
        self.y_log_scale.copy_(torch.log(scale.clamp_min(rate.SCALE_MIN) / rate.SCALE_MIN))

    def upgrade(self, tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, Tensor]:
        """Add widths and blocks without effect, and anchors between or beyond those of `tensors`.

        Beyond the ends the gains follow the uniform quantiser of lambda; all else stays.
        """
        upgraded = dict(tensors)
        for name, module in self.named_modules():
            if isinstance(module, Block) and f"{name}.depthwise.weight" not in tensors:
                module.init_as_identity_()
                upgraded |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        old = BetaConfig(**sizes)
        axis = rate.RateAxis(old.num_anchors, old.lambda_min, old.lambda_max)
        log_lambdas = self.lambdas(torch.arange(self.cfg.num_anchors, dtype=torch.float64)).log()
        old_lambdas = axis.lambdas(torch.arange(old.num_anchors, dtype=torch.float64)).log()
        span = (old_lambdas[-1] - old_lambdas[0]) / (old.num_anchors - 1)
        level = (log_lambdas - old_lambdas[0]) / span
        inside = level.clamp(0, old.num_anchors - 1)
        weights = anchor_weights(inside, old.num_anchors)
        beyond = ((level - inside) * span / 2).float()[:, None]
        for name, parameter in self.named_parameters():
            if name.startswith("widths.") and name not in tensors:
                upgraded[name] = torch.zeros_like(parameter)
            elif name.endswith(ANCHORED):
                upgraded[name] = (weights @ tensors[name].double()).float()
                if name in ("log_gain", "y_log_scale"):
                    upgraded[name] += beyond
        return upgraded

    def lambdas(self, level: Tensor) -> Tensor:
        """Return lambda (of bpp + lambda * 255^2 * MSE) of rate levels 0..num_anchors-1."""
        return self.axis.lambdas(level)

    # ---- training ----------------------------------------------------------------------

    def forward(self, x: Tensor, level: Tensor) -> TrainOutput:
        """Return reconstructions and bits for training.

        Reconstructions are those of integers rounded as the encoder does (straight-through), and
        so are the bits, but their gradient in the latents is that of noisy ones: table rows learn
        from true integers, transforms from a smooth rate.

        Args:
            x: (B, 3, H, W) in [0, 1], sides multiples of 64.
            level: (B,) position on the rate axis.
        """
        weights = anchor_weights(level, self.cfg.num_anchors)
        coded = self._code(self._analyse(x, weights), weights, CodedRounding(self.thresholds))
        return TrainOutput(
            x_hat=self._synthesise(coded.y_hat, weights),
            bits=coded.bits,
            auxiliary=coded.bits.new_zeros(()),
            stats={"bpp_z": coded.bits_of_parts[0].mean() / (x.shape[2] * x.shape[3])},
        )

    def relax(self, y: Tensor, quality: int, rounding: Rounding) -> Coded:
        """Code latents (1, M, h, w) differentiably; see `CodecModel.relax`."""
        return self._code(y, self._weights(quality).float()[None], rounding)

    def _code(self, y: Tensor, weights: Tensor, rounding: Rounding) -> Coded:
        size = y.shape[2:]
        y = _pad(y, HYPER_STRIDE)
        gain = (weights @ self.log_gain).exp()[:, :, None, None]
        z_gain = (weights @ self.z_log_gain).exp()[:, :, None, None]
        z = self.h_a(self._normalise(y)).float() * z_gain
        z_hat = rounding(z, None, 0)
        z_rows = self._scale_rows(self.z_log_scale, weights).expand_as(z)
        bits_z = rounding.bits(z_hat, z, z_rows).sum(dim=(1, 2, 3))
        features = self.h_s(z_hat / z_gain)
        gain = self._local_gain(gain, features)
        row_features = self.exact["features"](z_hat, weights)
        base = self._scale_rows(self.y_log_scale, weights)
        y_hat = torch.zeros_like(y)
        seen = torch.zeros_like(y)
        rows = torch.zeros_like(y)
        residual = torch.zeros_like(y)
        integers = torch.zeros_like(y)
        for index in range(self.cfg.num_passes):
            mask = tile_cell(self.masks[index], y.shape)
            means = self._means(index, features, y_hat)
            offsets = self.exact["rows"][index](row_features, seen).float()
            rows = torch.where(mask, base + offsets * rate.ROWS_PER_NEPER, rows)
            error = (y - means) * gain
            q = _zero_outside(rounding(error, rows, 1), size, y.shape[2:])
            residual = torch.where(mask, error, residual)
            integers = torch.where(mask, q, integers)
            y_hat = torch.where(mask, means + q / gain, y_hat)
            seen = torch.where(mask, compand(rounding.seen(q)), seen)
        bits_y = _inside(rounding.bits(integers, residual, rows), size).sum(dim=(1, 2, 3))
        return Coded(
            y_hat=_inside(y_hat, size),
            integers=(z_hat, _inside(integers, size)),
            bits_of_parts=(bits_z, bits_y),
        )

    def integers_by_pass(self, integers: Sequence[Tensor]) -> dict[str, np.ndarray]:
        """Return what each pass codes of integers z and y; see `CodecModel.integers_by_pass`."""
        z, q = (part[0] for part in integers)
        by_pass = {f"y{k + 1}": q[tile_cell(mask, q.shape)] for k, mask in enumerate(self.masks)}
        return {name: to_integers(part) for name, part in {"z": z, **by_pass}.items()}

    # ---- coding ------------------------------------------------------------------------

    @staticmethod
    def default_tables() -> Tables:
        """Return normal tables."""
        return normal_tables()

    def num_segments(self, quality: int) -> int:
        """Return 1: z and y share a stream."""
        return 1

    def prepare(self, code_lengths: np.ndarray, half_widths: np.ndarray) -> BetaModel:
        """Freeze for coding: eval mode, exact parameters on their grids, in float64.

        Args:
            code_lengths: (R, S) bits of each symbol of the tables, for the encoder's rounding.
            half_widths: (R,) of the tables.
        """
        self.eval().requires_grad_(False)
        snap_parameters_(self)
        thresholds = rounding_thresholds(code_lengths, half_widths, ROUNDING_STRENGTH)
        self.thresholds.copy_(torch.from_numpy(thresholds))
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
        self,
        shape: tuple[int, int],
        quality: int,
        y: Tensor | None = None,
        *,
        rounding: float = 1.0,
        allocation: Sequence[int] = (),
    ) -> PassGenerator:
        """Generate z and the masked passes of y for one tile; see `CodecModel.passes`."""
        height, width = shape
        padded = (_up(height, HYPER_STRIDE), _up(width, HYPER_STRIDE))
        weights = self._weights(quality)
        float_weights = weights.float()[None]
        device = self.log_gain.device
        z_gain = (float_weights @ self.z_log_gain.float()).exp()[:, :, None, None]
        z_shape = (self.cfg.hyper_channels, padded[0] // HYPER_STRIDE, padded[1] // HYPER_STRIDE)
        thresholds = scale_thresholds(self.thresholds, rounding)
        z = None
        if y is not None:
            y = _pad(y, HYPER_STRIDE)
            z = to_integers(torch.round(self.h_a(self._normalise(y)) * z_gain))[0]
        z_rows = self._exact_rows(self.z_log_scale, weights).expand(z_shape)
        where = _positions(z_shape, HYPER_STRIDE, shape)
        received = yield Pass("z", 0, to_integers(rate.rows_to_indexes(z_rows)), z, where)
        y_hat = torch.zeros(1, self.cfg.latent_channels, *padded, device=device)
        if received is None:
            return _inside(y_hat, shape)
        z_int = torch.from_numpy(received).to(device)
        features = self.h_s(z_int.float()[None] / z_gain)
        row_features = self.exact["features"].exact(z_int.double().clamp(-64, 64), weights)
        base = self._exact_rows(self.y_log_scale, weights)
        gain = self._local_gain((float_weights @ self.log_gain).exp()[:, :, None, None], features)
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
            rows = offsets.mul_(rate.ROWS_PER_NEPER).add_(base)
            q = None
            indexes = rate.rows_to_indexes(rows[coded])
            if y is not None:
                error = ((y - means) * gain)[0][coded]
                q = to_integers(round_by_cost(error, indexes, thresholds))
            where = grid[coded.cpu().numpy()]
            received = yield Pass(f"y{index + 1}", 0, to_integers(indexes), q, where)
            if received is None:
                filling = True
                y_hat = torch.where(mask, means, y_hat)
                continue
            integers = torch.from_numpy(received).to(device)
            q_hat = torch.zeros_like(y_hat[0]).masked_scatter_(coded, integers.float())
            y_hat = torch.where(mask, means + q_hat / gain, y_hat)
            seen.masked_scatter_(coded, compand(integers.double()))
        return _inside(y_hat, shape)

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

    def _local_gain(self, gain: Tensor, features: Tensor) -> Tensor:
        """Return the gains (B, M, h, w) of a picture, from those of its rate (B, M, 1, 1).

        Features say where the eye forgives: there the step is wider.
        """
        if self.widths is None:
            return gain
        log_width = self.widths(features).float().clamp(-WIDTH_LIMIT, WIDTH_LIMIT)
        return gain * torch.exp(-log_width)

    def _means(self, index: int, features: Tensor, y_hat: Tensor) -> Tensor:
        means = self.means[index](features, self._normalise(y_hat)).float()
        return means * self.y_deviation[:, None, None]

    def _scale_rows(self, log_scale: Tensor, weights: Tensor) -> Tensor:
        return (weights @ log_scale)[:, :, None, None] * rate.ROWS_PER_NEPER

    def _exact_rows(self, log_scale: Tensor, weights: Tensor) -> Tensor:
        return (weights @ log_scale)[:, None, None] * rate.ROWS_PER_NEPER

    def _weights(self, quality: int) -> Tensor:
        """Return the float64 (A,) weights of the rate anchors, multiples of 1/64."""
        return self.axis.weights(self.axis.position(quality)).to(self.log_gain.device)


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


def _pad(y: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of (B, M, h, w) up to multiples."""
    height, width = y.shape[2:]
    below, right = _up(height, multiple) - height, _up(width, multiple) - width
    return F.pad(y, (0, right, 0, below), mode="replicate") if below or right else y


def _inside(y: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut what `_pad` added off again."""
    return y[..., : size[0], : size[1]]


def _zero_outside(q: Tensor, size: tuple[int, int], padded: tuple[int, int]) -> Tensor:
    """Return integers that are zero where `_pad` added something."""
    return F.pad(_inside(q, size), (0, padded[1] - size[1], 0, padded[0] - size[0]))


def _positions(shape: torch.Size | tuple[int, ...], cell: int, grid: tuple[int, int]) -> np.ndarray:
    """Return the flat latent position of each element of a (C, h, w) array."""
    rows = np.minimum(np.arange(shape[1]) * cell, grid[0] - 1)
    columns = np.minimum(np.arange(shape[2]) * cell, grid[1] - 1)
    flat = rows[:, None] * grid[1] + columns[None, :]
    return np.broadcast_to(flat, tuple(shape))


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
