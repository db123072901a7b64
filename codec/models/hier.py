"""The hier family: a pyramid of latents at 1/64, 1/32 and 1/16, coded coarse to fine.

        x (3, H, W) in [0, 1]
        |---------- unshuffle 16 -- P3 ---------+
        +- unshuffle 8 - blocks 1/8 - 1/16 -----+--> w3 (M3, H/16, W/16)
                                        |       |
                                        v       +-- unshuffle 2 -- P2 --+
                                  features 1/32 ------------------------+--> w2 (M2, H/32, W/32)
                                        |                               |
                                        v                               +-- unshuffle 2 -- P1 -+
                                  features 1/64 -----------------------------------------------+
        w1 (M1, H/64, W/64) <------------------------------------------------------------------+

        level k = 1, 2, 3: prediction = P_(k-1)^T of the decoded level above (0 at level 1)
            passes lk.1..K: q = round((w_k - prediction - mean) * gain), under zero-mean tables;
            means see the levels above (float, attention at 1/64 and 1/32) and earlier passes,
            rows see their integers (exact)

        x_hat <- P3^T w3_hat + blocks(w3_hat, w2_hat, w1_hat)

P are KLTs, P2 and P1 of 2x2 neighbours of the finer level, so that the prediction is there from the
start. The loop is closed: a level corrects what the level above left, which may therefore be as
coarse as pays. A level is a segment of the file; without the finer ones their means take their
place. One set of weights codes all rates, and the coarse levels at other rates than the finest:
by how much, the first pass says (l0).
Sources: Laplacian pyramid, Burt and Adelson 1983; hierarchical VAE as a codec, Duan et al. arXiv
2208.13056; otherwise as beta.
"""

# Long because a family is one file: three levels, their start, walk, previews and training.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.errors import OptionError
from imgcodec.codec.models.base import (
    ALLOCATION_UNIT,
    CodecModel,
    TrainOutput,
    normal_tables,
)
from imgcodec.codec.models.coders import Block, Coder
from imgcodec.codec.models.level import Level
from imgcodec.codec.models.relaxed import Prefix, Train
from imgcodec.codec.nets import rate
from imgcodec.codec.nets.blocks import anchor_weights
from imgcodec.codec.nets.context import RowContext
from imgcodec.codec.nets.exact import EXACT, FLOAT, Arithmetic
from imgcodec.codec.nets.klt import klt_of_patches
from imgcodec.codec.nets.pyramid import CoarseFeatures, CoarserLatents, KltStep, MeanContext
from imgcodec.codec.nets.transforms import Analysis, Synthesis
from imgcodec.codec.stream.tables import Tables

FINE_STRIDE = 16
NUM_LEVELS = 3
STRIDE = FINE_STRIDE << (NUM_LEVELS - 1)
WINDOWS = (4, 8)
"""Sides of the attention windows at 1/64 and 1/32: 256 px both."""
STEP_FACTORS = (6.0, 4.0, 1.0)
"""Steps of the levels at the start: finer ones of coarse levels cost more than they save."""
SIDE_GAIN = 2.0
DEVIATION_MIN = 0.1
"""Networks see latents divided by their deviations, those below half a mid-rate step by this."""
ALLOCATION_ROW = 23
"""Table row of the allocation: the normal with deviation 1.95."""
JITTERED_SHARE = 0.25
ADOPTED = ("klt_analysis.", "klt_synthesis.", "g_a.", "g_s.")


@dataclass(frozen=True)
class HierConfig:
    """Sizes of a hier model, levels coarse to fine; every field is stored with the weights.

    Attributes:
        side_channels: the last of level 2, without a linear part; see `CoarserLatents`.
    """

    latent_channels: tuple[int, int, int] = (48, 112, 320)
    side_channels: int = 16
    encoder_channels: tuple[int, int] = (128, 192)
    encoder_blocks: tuple[int, int] = (2, 2)
    coarse_width: int = 128
    decoder_channels: tuple[int, int] = (128, 192)
    decoder_blocks: tuple[int, int] = (4, 3)
    context_widths: tuple[int, int, int] = (64, 96, 128)
    exact_widths: tuple[int, int, int] = (32, 64, 96)
    num_passes: int = 4
    num_anchors: int = 8
    lambda_min: float = 0.0009
    lambda_max: float = 0.18


@dataclass(frozen=True)
class HierTerms:
    """What the training of a hier model needs to know.

    Attributes:
        preview_share: share of the crops of a batch that are also decoded from a prefix.
        preview_weight: weight of the squared error of these previews in grey levels.
        jitter: a quarter of the crops codes the coarse levels at rates up to this many anchors off.
    """

    preview_share: float = 0.125
    preview_weight: float = 0.0005
    jitter: float = 2.0


class HierModel(CodecModel):
    """Pyramid of latents with context from coarse to fine; see the module docstring."""

    family = "hier"
    stride_px = STRIDE
    can_price_errors = True
    allocation_size = NUM_LEVELS - 1
    decoder_prefixes = ("g_s.", "g_s_coarse.", "klt_synthesis.")

    def __init__(self, cfg: HierConfig, terms: HierTerms) -> None:
        super().__init__(cfg, terms)
        self.cfg, self.terms = cfg, terms
        sizes, anchors = cfg.latent_channels, cfg.num_anchors
        self.axis = rate.RateAxis(anchors, cfg.lambda_min, cfg.lambda_max)
        self.max_level = anchors - 1
        self.latent_channels = sum(m << 2 * k for k, m in enumerate(sizes))
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
        self.g_s = Synthesis(cfg.decoder_channels, cfg.decoder_blocks, sizes[-1], anchors)
        self.g_s_coarse = CoarseFeatures(sizes[:-1], cfg.coarse_width // 2, cfg.decoder_channels[1])
        widths = zip(cfg.context_widths, cfg.exact_widths, strict=True)
        self.levels = nn.ModuleList(
            Level(m, *both, cfg.num_passes, anchors) for m, both in zip(sizes, widths, strict=True)
        )
        self.mean_context = MeanContext(sizes[:-1], cfg.context_widths, WINDOWS, anchors)
        self.row_context = RowContext(sizes[:-1], cfg.exact_widths, anchors)
        self.analysis_halo_px = _halo(cfg.encoder_blocks)
        self.synthesis_halo_px = _halo(cfg.decoder_blocks)

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
        finest.log_gain.copy_(-self.axis.steps().log()[:, None].expand_as(finest.log_gain))
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
        steps = self.axis.steps().float()[:, None]
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

    def lambdas(self, level: Tensor) -> Tensor:
        """Return lambda (of bpp + lambda * 255^2 * MSE) of rate levels 0..num_anchors-1."""
        return self.axis.lambdas(level)

    # ---- training ----------------------------------------------------------------------

    def forward(self, x: Tensor, level: Tensor) -> TrainOutput:
        """Return reconstructions and bits for training, as beta's, and the loss of previews.

        Args:
            x: (B, 3, H, W) in [0, 1], sides multiples of 64.
            level: (B,) position on the rate axis.
        """
        is_jittered = torch.rand(x.shape[0], device=x.device) < JITTERED_SHARE
        weights = self._jittered_weights(level, is_jittered)
        coder = Train(self.default_tables())
        y = _pack(self._analyse(x, weights[-1]))
        y_hat = self.walk(y, y.shape[2:], weights, coder, FLOAT, fixed_rates=is_jittered)
        means = [bits.mean() / x[0, 0].numel() for bits in coder.bits.values()]
        stats = {f"bpp_{k}": bpp for k, bpp in enumerate(means, 1)}
        auxiliary = x.new_zeros(())
        if self.terms.preview_share:
            count = max(1, round(len(x) * self.terms.preview_share))
            chosen = torch.randperm(len(x), device=x.device)[:count]
            shown = self._preview(y[chosen], [w[chosen] for w in weights])
            stats["preview_mse"] = (shown - x[chosen]).square().mean() * 255.0**2
            auxiliary = self.terms.preview_weight * stats["preview_mse"]
        x_hat = self._synthesise(self._unpack(y_hat), weights[-1])
        return TrainOutput(x_hat, coder.total_bits, auxiliary, stats)

    def _jittered_weights(self, level: Tensor, is_jittered: Tensor) -> list[Tensor]:
        """Return anchor weights (B, A) of each level, where jittered at rates of their own."""
        weights = []
        for k in range(NUM_LEVELS):
            off = (2 * torch.rand_like(level) - 1) * self.terms.jitter * is_jittered
            at = level if k == NUM_LEVELS - 1 else (level + off).clamp(0, self.max_level)
            weights.append(anchor_weights(at, self.cfg.num_anchors))
        return weights

    def _preview(self, y: Tensor, weights: list[Tensor]) -> Tensor:
        """Return pictures (B, 3, H, W) of the first or the first two levels, and of means."""
        kept = self.passes(1)[: int(torch.randint(1, NUM_LEVELS, ()))]
        coder = Prefix(Train(self.default_tables()), {name for level in kept for name in level})
        fixed = y.new_ones(len(y), dtype=torch.bool)
        y_hat = self.walk(y.detach(), y.shape[2:], weights, coder, FLOAT, fixed_rates=fixed)
        return self._synthesise(self._unpack(y_hat), weights[-1])

    # ---- the walk ----------------------------------------------------------------------

    def walk(
        self,
        y: Tensor | None,
        shape: tuple[int, int],
        point: list[Tensor],
        coder: Coder,
        arithmetic: Arithmetic,
        *,
        is_over: bool = False,
        fixed_rates: Tensor | None = None,
    ) -> Tensor:
        """Code level by level and return all levels at 1/64; see `CodecModel.walk`.

        Args:
            y: all levels at 1/64 (B, M, h, w), None when decoding.
            shape: (h, w).
            point: anchor weights (B, A) of each level, coarsest first.
            coder: who answers for the integers.
            arithmetic: of the exact networks.
            is_over: the coder had no more already.
            fixed_rates: bool (B,), of whose gains nothing is to be learned.
        """
        latents = None if y is None else self._unpack(y)
        exact = [weights.to(arithmetic.dtype) for weights in point]
        own = [weights.to(self.levels[0].log_gain.dtype) for weights in point]
        hats: list[Tensor] = []
        q = features = row_features = None
        for k, level in enumerate(self.levels):
            size = (shape[0] << k, shape[1] << k)
            prediction, features = self._context(k, hats, features, own, size)
            if not is_over:
                row_features = self._row_features(k, q, row_features, exact, size, arithmetic)
            gain = level.gain(own[k])
            if fixed_rates is not None:
                gain = torch.where(fixed_rates[:, None, None, None], gain.detach(), gain)
            delta, q = level.latent(k).walk(
                None if latents is None else latents[k] - prediction,
                features,
                row_features,
                gain,
                exact[k],
                coder,
                arithmetic,
                is_over=is_over,
            )
            hats.append(prediction + delta)
            is_over = q is None
        return _pack(hats)

    def operating_point(self, quality: int, allocation: Sequence[int] = ()) -> list[Tensor]:
        """Return the weights (1, A) of each level; rates beyond the axis count as its ends."""
        position = self.axis.position(quality)
        shifts = allocation or (0,) * self.allocation_size
        unit, device = int(ALLOCATION_UNIT * rate.LEVEL_STEPS), self.klt_analysis.weight.device
        positions = (*(position + unit * shift for shift in shifts), position)
        return [self.axis.weights(at)[None].to(device) for at in positions]

    def code(
        self,
        shape: tuple[int, int],
        quality: int,
        coder: Coder,
        y: Tensor | None = None,
        *,
        allocation: Sequence[int] = (),
        arithmetic: Arithmetic = EXACT,
    ) -> Tensor:
        """Code the allocation, then walk at its rates; see `CodecModel.code`."""
        device = self.klt_analysis.weight.device
        wanted = None
        if y is not None:
            wanted = torch.tensor(allocation or (0,) * self.allocation_size, dtype=torch.float32)
            wanted = wanted.to(device)[None, :, None, None]
        rows = torch.full((1, self.allocation_size, 1, 1), float(ALLOCATION_ROW), device=device)
        everywhere = torch.ones(rows.shape[1:], dtype=torch.bool, device=device)
        sent = coder.code(Block("l0", "l0", everywhere, is_plain=True), wanted, rows)
        chosen = [0] * self.allocation_size if sent is None else sent.flatten().int().tolist()
        point = self.operating_point(quality, chosen)
        return self.walk(y, shape, point, coder, arithmetic, is_over=sent is None)

    # ---- coding ------------------------------------------------------------------------

    @staticmethod
    def default_tables() -> Tables:
        """Return tables of normals."""
        return normal_tables()

    def passes(self, quality: int) -> tuple[tuple[str, ...], ...]:
        """Return three levels, the first with the allocation."""
        of_levels = [
            tuple(f"l{level + 1}.{k + 1}" for k in range(self.cfg.num_passes))
            for level in range(NUM_LEVELS)
        ]
        return (("l0", *of_levels[0]), *of_levels[1:])

    def analysis(self, x: Tensor, quality: int) -> Tensor:
        """Map a picture (1, 3, H, W), sides multiples of 64, to all levels at 1/64."""
        weights = self.operating_point(quality)[-1].float()
        return _pack(self._analyse(x, weights))

    def fine_latents(self, y_hat: Tensor) -> Tensor:
        """Return the finest level."""
        return self._unpack(y_hat)[-1]

    def synthesis(self, y_hat: Tensor, quality: int) -> Tensor:
        """Map all levels at 1/64 to a picture (1, 3, 64 h, 64 w), not clamped."""
        weights = self.operating_point(quality)[-1].float()
        return self._synthesise(self._unpack(y_hat), weights)

    # ---- shared ------------------------------------------------------------------------

    def _analyse(self, x: Tensor, weights: Tensor) -> list[Tensor]:
        """Return the latents of all levels, coarsest first."""
        finest, features = self._analyse_finest(x, weights)
        latents = [finest]
        for k in reversed(range(NUM_LEVELS - 1)):
            features, own = self.g_a_coarse[k](features)
            latents.insert(0, self.klt_steps[k].down(latents[0]) + own.float())
        return latents

    def _analyse_finest(self, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents of the finest level, and the features from which coarser ones come."""
        centred = x - 0.5
        linear = self.klt_analysis(F.pixel_unshuffle(centred, FINE_STRIDE))
        features = self.g_a.features(centred, weights)
        return linear.float() + self.g_a.out(features).float(), features

    def _synthesise(self, hats: list[Tensor], weights: Tensor) -> Tensor:
        *coarse, finest = (
            level.normalise(hat) for level, hat in zip(self.levels, hats, strict=True)
        )
        linear = F.pixel_shuffle(self.klt_synthesis(hats[-1]), FINE_STRIDE)
        own = self.g_s(finest, weights, self.g_s_coarse(coarse))
        return linear.float() + own.float() + 0.5

    def _context(
        self,
        k: int,
        hats: list[Tensor],
        features: Tensor | None,
        weights: list[Tensor],
        size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Return the prediction of level k and the features of its means, of levels above."""
        if k == 0:
            features = self.mean_context.start(weights[0], size)
            return features.new_zeros(len(features), self.levels[0].channels, *size), features
        above = self.levels[k - 1].normalise(hats[-1])
        features = self.mean_context.stages[k - 1](above, features, weights[k - 1])
        return self.klt_steps[k - 1].up(hats[-1]), features

    def _row_features(
        self,
        k: int,
        q: Tensor | None,
        features: Tensor | None,
        weights: list[Tensor],
        size: tuple[int, int],
        arithmetic: Arithmetic,
    ) -> Tensor:
        """Return the features of the rows of level k from the integers of the level above."""
        if k == 0:
            return self.row_context.start(weights[0], size, arithmetic)
        both = torch.cat(weights[k - 1 : k + 1], dim=1)
        return self.row_context.stages[k - 1](q, features, both, arithmetic)

    def _unpack(self, y: Tensor) -> list[Tensor]:
        """Return the levels of (B, M, h, w) at 1/64."""
        sizes = [level.channels << 2 * k for k, level in enumerate(self.levels)]
        return [F.pixel_shuffle(part, 1 << k) for k, part in enumerate(y.split(sizes, dim=1))]


def _pack(latents: list[Tensor]) -> Tensor:
    """Return levels as one tensor (B, M, h, w) at 1/64."""
    return torch.cat([F.pixel_unshuffle(part, 1 << k) for k, part in enumerate(latents)], dim=1)


def _halo(blocks: tuple[int, int]) -> int:
    """Return the receptive field of blocks at 1/8 and 1/16 in whole positions of the grid."""
    return -(-(8 * blocks[0] + 16 * blocks[1]) // STRIDE) * STRIDE
