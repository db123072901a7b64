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

# Long because a family is one file.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.models.base import CodecModel, NoTerms, TrainOutput, normal_tables
from imgcodec.codec.models.coders import Block, Coder
from imgcodec.codec.models.masked import MaskedLatent
from imgcodec.codec.models.relaxed import Train
from imgcodec.codec.nets import rate
from imgcodec.codec.nets.blocks import Block as ResidualBlock
from imgcodec.codec.nets.blocks import anchor_weights, pointwise
from imgcodec.codec.nets.context import MeanNet, RowFeatures, RowNet, pass_masks
from imgcodec.codec.nets.exact import BIASES, EXACT, FLOAT, Arithmetic
from imgcodec.codec.nets.klt import klt_of_patches
from imgcodec.codec.nets.transforms import (
    Analysis,
    HyperAnalysis,
    HyperSynthesis,
    Synthesis,
)
from imgcodec.codec.stream.tables import Tables

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
    lead_channels: int = 0
    """Of the latents, those of the largest variance, that have passes before all others."""


class BetaModel(CodecModel):
    """Transform, hyperprior and context of the beta family; see the module docstring."""

    family = "beta"
    stride_px = STRIDE
    can_price_errors = True
    exact_grids: ClassVar = {"y_log_scale": BIASES, "z_log_scale": BIASES}
    decoder_prefixes = ("g_s.", "klt_synthesis.")

    def __init__(self, cfg: BetaConfig, terms: NoTerms) -> None:
        super().__init__(cfg, terms)
        self.cfg = cfg
        m, anchors = cfg.latent_channels, cfg.num_anchors
        self.axis = rate.RateAxis(anchors, cfg.lambda_min, cfg.lambda_max)
        self.latent_channels, self.leading_channels = m, cfg.lead_channels
        self.max_level = anchors - 1
        self.klt_analysis = nn.Conv2d(3 * STRIDE**2, m, 1)
        self.klt_synthesis = nn.Conv2d(m, 3 * STRIDE**2, 1)
        self.register_buffer("y_deviation", torch.ones(m))
        self.g_a = Analysis(cfg.encoder_channels, cfg.encoder_blocks, m, anchors)
        self.g_s = Synthesis(cfg.decoder_channels, cfg.decoder_blocks, m, anchors)
        self.h_a = HyperAnalysis(m, cfg.hyper_width, cfg.hyper_channels)
        self.h_s = HyperSynthesis(cfg.hyper_channels, cfg.hyper_width, cfg.context_width)
        passes = range(cfg.num_passes)
        lead = cfg.lead_channels
        self.means = nn.ModuleList(
            MeanNet(m, cfg.context_width, first=i + lead == 0, blocks=cfg.context_blocks)
            for i in passes
        )
        self.widths = pointwise(cfg.context_width, m, zero=True) if cfg.learned_width else None
        self.log_gain = nn.Parameter(torch.zeros(anchors, m))
        self.z_log_gain = nn.Parameter(torch.full((anchors, cfg.hyper_channels), 1.6))
        rows = nn.ModuleList(RowNet(m, cfg.exact_width, first=i + lead == 0) for i in passes)
        features = RowFeatures(cfg.hyper_channels, cfg.exact_width, anchors)
        self.exact = nn.ModuleDict({"features": features, "rows": rows})
        masks = pass_masks(cfg.num_passes, m)
        if lead:
            self.lead_means = nn.ModuleList(
                MeanNet(lead, cfg.context_width, first=i == 0) for i in passes
            )
            self.exact["lead_rows"] = nn.ModuleList(
                RowNet(lead, cfg.exact_width, first=i == 0) for i in passes
            )
            self.register_buffer("lead_masks", masks[:, :lead].clone(), persistent=False)
            masks[:, :lead] = False
        self.y_log_scale = nn.Parameter(torch.zeros(anchors, m))
        self.z_log_scale = nn.Parameter(torch.full((anchors, cfg.hyper_channels), 2.7))
        self.register_buffer("masks", masks, persistent=False)
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
        if self.cfg.lead_channels and "lead_means.0.features.weight" not in tensors:
            upgraded |= self._lead_from(tensors)
        for name, module in self.named_modules():
            if isinstance(module, ResidualBlock) and f"{name}.depthwise.weight" not in upgraded:
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
        y = self._analyse(x, weights)
        coder = Train(self.default_tables())
        y_hat = self.walk(y, y.shape[2:], weights, coder, FLOAT)
        return TrainOutput(
            x_hat=self._synthesise(y_hat, weights),
            bits=coder.total_bits,
            auxiliary=x.new_zeros(()),
            stats={"bpp_z": coder.bits["z"].mean() / (x.shape[2] * x.shape[3])},
        )

    # ---- the walk ----------------------------------------------------------------------

    def walk(
        self,
        y: Tensor | None,
        shape: tuple[int, int],
        point: Tensor,
        coder: Coder,
        arithmetic: Arithmetic,
        *,
        leading_alone: bool = False,
    ) -> Tensor:
        """Code z, then y in masked passes, and return y_hat; see `CodecModel.walk`.

        The operating point is that of anchor weights (B, A). The latents that lead may be asked
        for alone.
        """
        height, width = shape
        cells = (_up(height, HYPER_STRIDE), _up(width, HYPER_STRIDE))
        z_shape = (cells[0] // HYPER_STRIDE, cells[1] // HYPER_STRIDE)
        own, exact = point.to(self.log_gain.dtype), point.to(arithmetic.dtype)
        z_gain = (own @ self.z_log_gain).exp()[:, :, None, None]
        error = None
        if y is not None:
            y = F.pad(y, (0, cells[1] - width, 0, cells[0] - height), mode="replicate")
            error = self.h_a(self._normalise(y)).float() * z_gain
        z_rows = (exact @ self.z_log_scale)[:, :, None, None]
        z_rows = (z_rows * rate.ROWS_PER_NEPER).expand(-1, -1, *z_shape)
        everywhere = torch.ones(z_rows.shape[1:], dtype=torch.bool, device=z_rows.device)
        z = coder.code(Block("z", "z", everywhere, is_plain=True), error, z_rows)
        is_over = z is None
        if z is None:
            z = z_rows.new_zeros(z_rows.shape, dtype=own.dtype)
        features = self.h_s(z / z_gain)
        row_features = self.exact["features"](z, exact, arithmetic)
        gain = (own @ self.log_gain).exp()[:, :, None, None]
        known = None
        for latent in self._latents()[: 1 if leading_alone else None]:
            count = len(latent.unit)
            known = latent.walk(
                None if y is None else y[:, :count],
                features,
                row_features,
                self._local_gain(gain[:, :count], features),
                exact,
                coder,
                arithmetic,
                known=known,
                is_over=is_over,
                size=shape,
            )
        return known[0][:, :, :height, :width]

    def _latents(self) -> list[MaskedLatent]:
        """Return the latents in the order of their passes: those that lead, and the others."""
        lead = self.cfg.lead_channels
        latents = [
            MaskedLatent(
                name="y",
                masks=self.masks,
                means=self.means,
                rows=self.exact["rows"],
                log_scale=self.y_log_scale,
                unit=self.y_deviation,
            )
        ]
        if lead:
            first = MaskedLatent(
                name="lead",
                masks=self.lead_masks,
                means=self.lead_means,
                rows=self.exact["lead_rows"],
                log_scale=self.y_log_scale[:, :lead],
                unit=self.y_deviation[:lead],
            )
            latents.insert(0, first)
        return latents

    def _lead_from(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the networks of the channels that lead from those of all channels."""
        parts = {}
        for name, own in self.state_dict().items():
            if name.startswith(("lead_means.", "exact.lead_rows.")):
                all_channels = tensors[name.replace("lead_", "")]
                parts[name] = all_channels[tuple(map(slice, own.shape))].clone()
        for prefix in ("means.0.decoded", "exact.rows.0.decoded"):
            for kind in ("weight", "bias"):
                own = self.state_dict()[f"{prefix}.{kind}"]
                parts[f"{prefix}.{kind}"] = torch.zeros_like(own)
        return parts

    def code_leading(self, shape: tuple[int, int], quality: int, coder: Coder) -> Tensor:
        """Walk through z and the latents that lead; see `CodecModel.code_leading`."""
        point = self.operating_point(quality)
        return self.walk(None, shape, point, coder, EXACT, leading_alone=True)

    # ---- coding ------------------------------------------------------------------------

    @staticmethod
    def default_tables() -> Tables:
        """Return normal tables."""
        return normal_tables()

    def passes(self, quality: int) -> tuple[tuple[str, ...], ...]:
        """Return one level: z, and the latents."""
        names = [latent.name for latent in self._latents()]
        passes = [f"{name}{k + 1}" for name in names for k in range(self.cfg.num_passes)]
        return (("z", *passes),)

    def analysis(self, x: Tensor, quality: int) -> Tensor:
        """Map a picture (1, 3, H, W) in [0, 1], sides multiples of 16, to y (1, M, H/16, W/16)."""
        return self._analyse(x, self.operating_point(quality).float())

    def synthesis(self, y_hat: Tensor, quality: int) -> Tensor:
        """Map y_hat (1, M, h, w) to a picture (1, 3, 16 h, 16 w), not clamped."""
        return self._synthesise(y_hat, self.operating_point(quality).float())

    def operating_point(self, quality: int) -> Tensor:
        """Return the float64 (1, A) weights of the rate anchors, multiples of 1/64."""
        return self.axis.weights(self.axis.position(quality))[None].to(self.log_gain.device)

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
        """Return the gains (B, N, h, w) of the first latents, from those of the rate (B, N, 1, 1).

        Features say where the eye forgives: there the step is wider.
        """
        if self.widths is None:
            return gain
        count = gain.shape[1]
        widths = F.conv2d(features, self.widths.weight[:count], self.widths.bias[:count])
        log_width = widths.float().clamp(-WIDTH_LIMIT, WIDTH_LIMIT)
        return gain * torch.exp(-log_width)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
