"""The beta family in torch: modules, their start, and training; see `families.beta`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.families.beta import STRIDE, BetaConfig, BetaFamily
from imgcodec.codec.families.registry import NoTerms
from imgcodec.codec.models.base import TorchModel, TrainOutput
from imgcodec.codec.nets.blocks import Block as ResidualBlock
from imgcodec.codec.nets.blocks import anchor_weights, pointwise, widening_of
from imgcodec.codec.nets.context import MeanNet, RowFeatures, RowNet
from imgcodec.codec.nets.exact import BIASES, FLOAT
from imgcodec.codec.nets.klt import klt_of_patches
from imgcodec.codec.nets.transforms import (
    Analysis,
    HyperAnalysis,
    HyperSynthesis,
    Synthesis,
    random_places,
)
from imgcodec.codec.numeric import rate

DEVIATION_MIN = 0.1
"""Networks see y divided by its KLT deviations, those below half a mid-rate step by this."""
ANCHORED = ("log_gain", "y_log_scale", "z_log_scale", ".affine.log_scale", ".shift", ".level")
"""Ends of the names of parameters with one row for each anchor."""


class BetaModel(BetaFamily, TorchModel):
    """Transform, hyperprior and context of the beta family."""

    exact_grids: ClassVar = {"y_log_scale": BIASES, "z_log_scale": BIASES}
    is_capturable = True

    def __init__(self, cfg: BetaConfig, terms: NoTerms) -> None:
        super().__init__(cfg)
        m, anchors = cfg.latent_channels, cfg.num_anchors
        self.klt_analysis = nn.Conv2d(3 * STRIDE**2, m, 1)
        self.klt_synthesis = nn.Conv2d(m, 3 * STRIDE**2, 1)
        self.register_buffer("y_deviation", torch.ones(m))
        self.g_a = Analysis(cfg.encoder_channels, cfg.encoder_blocks, m, anchors)
        self.g_s = Synthesis(
            cfg.decoder_channels, cfg.decoder_blocks, m, anchors, cfg.noise_channels
        )
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
        masks, lead_masks = map(torch.tensor, super().masks_of_passes())
        if lead:
            self.lead_means = nn.ModuleList(
                MeanNet(lead, cfg.context_width, first=i == 0) for i in passes
            )
            self.exact["lead_rows"] = nn.ModuleList(
                RowNet(lead, cfg.exact_width, first=i == 0) for i in passes
            )
            self.register_buffer("lead_masks", lead_masks, persistent=False)
        self.y_log_scale = nn.Parameter(torch.zeros(anchors, m))
        self.z_log_scale = nn.Parameter(torch.full((anchors, cfg.hyper_channels), 2.7))
        self.register_buffer("masks", masks, persistent=False)
        self.add_training_coder()

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
        step = torch.from_numpy(self.axis.steps())
        self.log_gain.copy_(-torch.log(step)[:, None].float().expand_as(self.log_gain))
        scale = deviations[None, :] / step[:, None]
        self.y_log_scale.copy_(torch.log(scale.clamp_min(rate.SCALE_MIN) / rate.SCALE_MIN))

    def upgrade(self, tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, Tensor]:
        """Add widths, blocks and noise without effect, and anchors between or beyond the old ones.

        Beyond the ends the gains follow the uniform quantiser of lambda; all else stays.
        """
        upgraded = super().upgrade(tensors, sizes)
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
        y = self.analyse(x, weights)
        coder = self.training_coder()
        y_hat = self.walk(y, y.shape[2:], weights, coder, FLOAT)
        return TrainOutput(
            x_hat=self.synthesise(y_hat, weights, random_places(self.g_s, len(x))),
            bits=coder.total_bits,
            auxiliary=x.new_zeros(()),
            stats={"bpp_z": coder.bits["z"].mean() / (x.shape[2] * x.shape[3])},
        )

    # ---- networks of the walk ----------------------------------------------------------

    def analyse(self, x: Tensor, weights: Tensor) -> Tensor:
        """Map pictures to y; see `BetaFamily`."""
        centred = x - 0.5
        linear = self.klt_analysis(F.pixel_unshuffle(centred, STRIDE))
        return linear.float() + self.g_a(centred, weights).float()

    def synthesise(self, y_hat: Tensor, weights: Tensor, place: Tensor | None = None) -> Tensor:
        """Map y_hat to pictures; see `BetaFamily`."""
        linear = F.pixel_shuffle(self.klt_synthesis(y_hat), STRIDE)
        own = self.g_s(y_hat / self.y_deviation[:, None, None], weights, place=place)
        return linear.float() + own.float() + 0.5

    def hyper_analysis(self, y: Tensor) -> Tensor:
        """Map y to what z is made of; see `BetaFamily`."""
        return self.h_a(y / self.y_deviation[:, None, None]).float()

    def features(self, z_hat: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map z_hat to features of the means, and what multiplies gains; see `BetaFamily`.

        Features say where the eye forgives: there the step is wider.
        """
        features = self.h_s(z_hat)
        if self.widths is None:
            return features, None
        return features, widening_of(self.widths, features)

    def mean(self, k: int, features: Tensor, decoded: Tensor) -> Tensor:
        """Return the means of a pass; see `BetaFamily`."""
        unit = self.y_deviation[:, None, None]
        return self.means[k](features, decoded / unit).float() * unit

    def lead_mean(self, k: int, features: Tensor, decoded: Tensor) -> Tensor:
        """Return the means of a pass of the channels that lead; see `BetaFamily`."""
        unit = self.y_deviation[: self.leading_channels, None, None]
        return self.lead_means[k](features, decoded / unit).float() * unit

    def masks_of_passes(self) -> tuple[Tensor, Tensor | None]:
        """Return the masks where the model is; see `BetaFamily`."""
        return self.masks, self.lead_masks if self.leading_channels else None
