"""The hier family in torch: modules, their start, and training; see `families.hier`."""

# Long because three levels have a start of their own each.

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.errors import OptionError
from imgcodec.codec.families.hier import (
    FINE_STRIDE,
    NUM_LEVELS,
    STRIDE,
    HierConfig,
    HierFamily,
    HierTerms,
    pack,
)
from imgcodec.codec.models.base import TorchModel, TrainOutput
from imgcodec.codec.models.level import Level
from imgcodec.codec.models.relaxed import Prefix
from imgcodec.codec.nets.blocks import anchor_weights, pointwise, widening_of
from imgcodec.codec.nets.context import RowContext
from imgcodec.codec.nets.exact import FLOAT
from imgcodec.codec.nets.klt import klt_of_patches
from imgcodec.codec.nets.pyramid import CoarseFeatures, CoarserLatents, KltStep, MeanContext
from imgcodec.codec.nets.transforms import Analysis, Synthesis, random_places
from imgcodec.codec.numeric import rate

STEP_FACTORS = (6.0, 4.0, 1.0)
"""Steps of the levels at the start: finer ones of coarse levels cost more than they save."""
SIDE_GAIN = 2.0
DEVIATION_MIN = 0.1
"""Networks see latents divided by their deviations, those below half a mid-rate step by this."""
JITTERED_SHARE = 0.25
ADOPTED = ("klt_analysis.", "klt_synthesis.", "g_a.", "g_s.")


class HierModel(HierFamily, TorchModel):
    """Pyramid of latents with context from coarse to fine."""

    is_capturable = True

    def __init__(self, cfg: HierConfig, terms: HierTerms) -> None:
        super().__init__(cfg)
        self.terms = terms
        sizes, anchors = cfg.latent_channels, cfg.num_anchors
        self.sides = (0, cfg.side_channels, 0)
        self.klt_analysis = nn.Conv2d(3 * FINE_STRIDE**2, sizes[-1], 1)
        self.klt_synthesis = nn.Conv2d(sizes[-1], 3 * FINE_STRIDE**2, 1)
        self.klt_steps = nn.ModuleList(KltStep(fine, m) for m, fine in pairwise(sizes))
        self.g_a = Analysis(cfg.encoder_channels, cfg.encoder_blocks, sizes[-1], anchors)
        self.g_a_coarse = nn.ModuleList(
            CoarserLatents(width, cfg.coarse_width, m, side)
            for width, m, side in zip(
                (cfg.coarse_width, cfg.encoder_channels[1]),
                sizes[:-1],
                self.sides[:-1],
                strict=True,
            )
        )
        self.g_s = Synthesis(
            cfg.decoder_channels, cfg.decoder_blocks, sizes[-1], anchors, cfg.noise_channels
        )
        self.g_s_coarse = CoarseFeatures(sizes[:-1], cfg.coarse_width // 2, cfg.decoder_channels[1])
        widths = zip(cfg.context_widths, cfg.exact_widths, strict=True)
        self.levels = nn.ModuleList(
            Level(m, *both, cfg.num_passes, anchors, blocks)
            for m, both, blocks in zip(sizes, widths, (1, 1, cfg.context_blocks), strict=True)
        )
        self.mean_context = MeanContext(
            sizes[:-1], cfg.context_widths, cfg.context_windows, anchors
        )
        self.widths = None
        if cfg.learned_width:
            self.widths = nn.ModuleList(
                pointwise(width, m, zero=True)
                for width, m in zip(cfg.context_widths[1:], sizes[1:], strict=True)
            )
        self.row_context = RowContext(sizes[:-1], cfg.exact_widths, anchors)
        self.add_training_coder()

    # ---- start -------------------------------------------------------------------------

    @torch.no_grad()
    def init_from_patches(self, patches: Tensor) -> None:
        """Start from the linear pyramid that is optimal for the patches (N, 3 * 64^2)."""
        x = patches.reshape(-1, 3, STRIDE, STRIDE)
        cells = F.pixel_unshuffle(x, FINE_STRIDE)
        finest = self.levels[-1]
        vectors = cells.permute(0, 2, 3, 1).flatten(0, 2)
        mean, basis, deviations = klt_of_patches(vectors, finest.channels)
        self.klt_analysis.weight.copy_(basis[:, :, None, None])
        self.klt_analysis.bias.copy_(-basis @ mean)
        self.klt_synthesis.weight.copy_(basis.T[:, :, None, None])
        self.klt_synthesis.bias.copy_(mean)
        finest.deviation.copy_(deviations.clamp_min(DEVIATION_MIN))
        finest.log_gain.copy_(
            -torch.from_numpy(self.axis.steps()).log()[:, None].expand_as(finest.log_gain)
        )
        self._init_coarse_levels(torch.cat([self.klt_analysis(part) for part in cells.split(256)]))

    @torch.no_grad()
    def adopt(self, tensors: Mapping[str, Tensor], crops: Tensor) -> None:
        """Start from the transforms of a beta model, and the coarse levels from its latents.

        Args:
            tensors: parameters of a beta model of the same sizes.
            crops: (N, 3, H, W) in [0, 1].

        Raises:
            OptionError: the transforms have other sizes.
        """
        own = {name: t for name, t in self.state_dict().items() if name.startswith(ADOPTED)}
        own["y_deviation"] = self.levels[-1].deviation
        own["log_gain"] = self.levels[-1].log_gain
        for name, target in own.items():
            if name not in tensors or tensors[name].shape != target.shape:
                raise OptionError(f"cannot start from a model without {name} {tuple(target.shape)}")
            target.copy_(tensors[name])
        weights = anchor_weights(torch.full((1,), self.max_level / 2), self.cfg.num_anchors)
        latents = [self._analyse_finest(part, weights)[0] for part in crops.split(8)]
        self._init_coarse_levels(torch.cat(latents))

    def _init_coarse_levels(self, fine: Tensor) -> None:
        """Start reductions, predictions and scales of all levels from the finest latents."""
        steps = torch.from_numpy(self.axis.steps()).float()[:, None]
        for k in reversed(range(NUM_LEVELS - 1)):
            level, own = self.levels[k], self.levels[k].channels - self.sides[k]
            deviations, share = self.klt_steps[k].init_from_latents(fine, own)
            level.deviation[:own] = deviations.clamp_min(DEVIATION_MIN)
            level.log_gain[:, :own] = -torch.log(STEP_FACTORS[k] * steps)
            level.log_gain[:, own:] = math.log(SIDE_GAIN)
            coarse = self.klt_steps[k].down(fine)
            rest = (fine - self.klt_steps[k].up(coarse)).square().mean(dim=(0, 2, 3))
            error = torch.minimum((STEP_FACTORS[k] * steps) ** 2 / 12, deviations**2)
            self._init_spread(k + 1, rest, error @ share)
            fine = coarse
        self._init_spread(0, self.levels[0].deviation ** 2, torch.zeros(()))

    def _init_spread(self, k: int, rest: Tensor, noise: Tensor) -> None:
        """Set the scales of a level of which variances rest (M,) and noise (A, M) are to code."""
        level, own = self.levels[k], self.levels[k].channels - self.sides[k]
        level.spread[:own] = rest[:own].sqrt().clamp_min(DEVIATION_MIN)
        scale = (rest + noise).sqrt() * level.log_gain.exp()
        scale[:, own:] = SIDE_GAIN
        level.log_scale.copy_(torch.log(scale.clamp_min(rate.SCALE_MIN) / rate.SCALE_MIN))

    # ---- training ----------------------------------------------------------------------

    def forward(self, x: Tensor, level: Tensor) -> TrainOutput:
        """Return reconstructions and bits for training, as beta's, and the loss of previews.

        Args:
            x: (B, 3, H, W) in [0, 1], sides multiples of 64.
            level: (B,) position on the rate axis.
        """
        is_jittered = torch.rand(x.shape[0], device=x.device) < JITTERED_SHARE
        weights = self._jittered_weights(level, is_jittered)
        coder = self.training_coder()
        y = self.analyse(x, weights[-1])
        y_hat = self.walk(y, y.shape[2:], weights, coder, FLOAT, fixed_rates=is_jittered)
        means = [bits.mean() / x[0, 0].numel() for bits in coder.bits.values()]
        stats = {f"bpp_{k}": bpp for k, bpp in enumerate(means, 1)}
        auxiliary = x.new_zeros(())
        if self.terms.preview_share:
            count = max(NUM_LEVELS - 1, round(len(x) * self.terms.preview_share))
            chosen = torch.rand(len(x), device=x.device).argsort()[:count]
            shown = self._previews(y[chosen], [w[chosen] for w in weights])
            stats["preview_mse"] = (shown - x[chosen]).square().mean() * 255.0**2
            auxiliary = self.terms.preview_weight * stats["preview_mse"]
        x_hat = self._synthesise_somewhere(y_hat, weights[-1])
        return TrainOutput(x_hat, coder.total_bits, auxiliary, stats)

    def _jittered_weights(self, level: Tensor, is_jittered: Tensor) -> list[Tensor]:
        """Return anchor weights (B, A) of each level, where jittered at rates of their own."""
        weights = []
        for k in range(NUM_LEVELS):
            off = (2 * torch.rand_like(level) - 1) * self.terms.jitter * is_jittered
            at = level if k == NUM_LEVELS - 1 else (level + off).clamp(0, self.max_level)
            weights.append(anchor_weights(at, self.cfg.num_anchors))
        return weights

    def _previews(self, y: Tensor, weights: list[Tensor]) -> Tensor:
        """Return pictures (B, 3, H, W), the first half of the first level alone, and so on."""
        parts = [tensor.chunk(NUM_LEVELS - 1) for tensor in (y, *weights)]
        pictures = [self._preview(n, *part) for n, part in enumerate(zip(*parts, strict=True), 1)]
        return torch.cat(pictures)

    def _preview(self, num_levels: int, y: Tensor, *weights: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W) of the first levels, and of means."""
        kept = self.passes(1)[:num_levels]
        coder = Prefix(self.training_coder(), {name for level in kept for name in level})
        fixed = y.new_ones(len(y), dtype=torch.bool)
        point = list(weights)
        y_hat = self.walk(y.detach(), y.shape[2:], point, coder, FLOAT, fixed_rates=fixed)
        return self._synthesise_somewhere(y_hat, weights[-1])

    def _synthesise_somewhere(self, y_hat: Tensor, weights: Tensor) -> Tensor:
        """Map all levels at 1/64 to pictures, with the noise of random places if there is any."""
        places = random_places(self.g_s, len(y_hat))
        return self.synthesise(*self.unpack(y_hat), weights, *([] if places is None else [places]))

    # ---- networks of the walk ----------------------------------------------------------

    def analyse(self, x: Tensor, weights: Tensor) -> Tensor:
        """Map pictures to all levels at 1/64; see `HierFamily`."""
        finest, features = self._analyse_finest(x, weights)
        latents = [finest]
        for k in reversed(range(NUM_LEVELS - 1)):
            features, own = self.g_a_coarse[k](features)
            latents.insert(0, self.klt_steps[k].down(latents[0]) + own.float())
        return pack(latents)

    def _analyse_finest(self, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents of the finest level, and the features from which coarser ones come."""
        centred = x - 0.5
        linear = self.klt_analysis(F.pixel_unshuffle(centred, FINE_STRIDE))
        features = self.g_a.features(centred, weights)
        return linear.float() + self.g_a.out(features).float(), features

    def synthesise(self, *inputs: Tensor) -> Tensor:
        """Map all levels to pictures; see `HierFamily`."""
        hats, (weights, *place) = inputs[:NUM_LEVELS], inputs[NUM_LEVELS:]
        *coarse, finest = (
            level.normalise(hat) for level, hat in zip(self.levels, hats, strict=True)
        )
        linear = F.pixel_shuffle(self.klt_synthesis(hats[-1]), FINE_STRIDE)
        own = self.g_s(finest, weights, self.g_s_coarse(coarse), *place)
        return linear.float() + own.float() + 0.5

    def context(
        self, k: int, hat: Tensor, features: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the features of a level, its prediction and widening; see `HierFamily`."""
        above = self.levels[k - 1].normalise(hat)
        features = self.mean_context.stages[k - 1](above, features, weights)
        widening = None if self.widths is None else widening_of(self.widths[k - 1], features)
        return features, self.klt_steps[k - 1].up(hat), widening

    def mean(self, k: int, index: int, features: Tensor, decoded: Tensor) -> Tensor:
        """Return the means of a pass of a level; see `HierFamily`."""
        level = self.levels[k]
        unit = level.spread[:, None, None]
        return level.means[index](features, decoded / unit).float() * unit

    def masks_of_level(self, k: int) -> Tensor:
        """Return the masks where the model is; see `HierFamily`."""
        return self.levels[k].masks
