"""What the discrete families share: residual codes on a grid at 1/16 under an exact prior.

              x (3, H, W) in [0, 1]
              |------ unshuffle 16 -- P ------+
              +- blocks 1/8 - blocks 1/16 ----+--> y (D, H/16, W/16)
                                              |
        stage 1: code = quantiser(y)               -> vector
        stage s: code = quantiser(y - vectors)     -> vector          (s <= stages of the quality)
                                              |
        x_hat <- P^T y_hat + blocks(y_hat) <--+  y_hat = sum of vectors

A stage is a segment of the file, coded in four groups of positions, each code as the choices on
its way down a binary tree; the exact prior (`nets.prior`) sees the vectors of earlier stages and
groups. Families differ in their quantisers only. Residual stages: Zeghidour et al. arXiv
2107.03312; discrete latents under a learned prior: van den Oord et al. arXiv 1711.00937.
"""

# Long because two families share their whole walk and training here.

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.errors import OptionError
from imgcodec.codec.models.base import CodecModel, TrainOutput
from imgcodec.codec.models.coders import Block, Coder
from imgcodec.codec.models.relaxed import Train
from imgcodec.codec.nets.choices import CENTRE, NUM_ROWS, ROWS_PER_LOGIT, rows_of_logits
from imgcodec.codec.nets.codebook import perplexity, used_share
from imgcodec.codec.nets.exact import FLOAT, Arithmetic
from imgcodec.codec.nets.klt import klt_of_patches
from imgcodec.codec.nets.prior import GROUPS, CodePrior, context_of, group_of_positions
from imgcodec.codec.nets.transforms import Analysis, Synthesis
from imgcodec.codec.stream.tables import TOTAL, Tables

STRIDE = 16
UNIT = 4.0
"""y is the KLT of pixels divided by this, so that every code vector stays below 8."""
DEVIATION_MIN = 0.02
ADOPTED = ("klt_analysis.", "klt_synthesis.", "y_deviation", "g_a.", "g_s.")
SCALED = ("klt_analysis.", "y_deviation", "g_a.out.")
"""Of what a beta model can lend, what is in the units of y."""


def choice_tables() -> Tables:
    """Return a row for every logit: choices 0 and 1, everything else at frequency 1."""
    logits = (np.arange(NUM_ROWS) - CENTRE) / ROWS_PER_LOGIT
    ones = np.round(TOTAL / (1 + np.exp(-logits))).astype(np.int64).clip(1, TOTAL - 3)
    frequencies = np.ones((NUM_ROWS, 4), np.int64)  # of -1, 0, 1 and the escape
    frequencies[:, 2] = ones
    frequencies[:, 1] = TOTAL - 2 - ones
    return Tables(frequencies, np.ones(NUM_ROWS, np.int64))


@dataclass(frozen=True)
class DiscreteTerms:
    """What the training of a discrete model needs to know.

    Attributes:
        commitment: weight of the distance of y to its codes.
        lmbda: weight of the distortion against the bits.
    """

    commitment: float = 0.25
    lmbda: float = 0.01


class DiscreteModel(CodecModel):
    """Transform and prior around one quantiser per stage.

    Args:
        cfg, terms: of the family.
        quantisers: one per stage, with `forward`, `encode`, `table`, `init_from_vectors`,
            `exact_grids` and `straight_through` as in `nets.codebook`.
        num_bits: bits of a code, the same in all stages.
        dims: D.
        encoder_channels, encoder_blocks, decoder_channels, decoder_blocks: at 1/8 and at 1/16.
        prior_width: channels of the prior.
    """

    stride_px = STRIDE
    decoder_prefixes = ("g_s.", "klt_synthesis.")

    def __init__(
        self,
        cfg: Any,
        terms: DiscreteTerms,
        quantisers: list[nn.Module],
        *,
        num_bits: int,
        dims: int,
        encoder_channels: tuple[int, int],
        encoder_blocks: tuple[int, int],
        decoder_channels: tuple[int, int],
        decoder_blocks: tuple[int, int],
        prior_width: int,
    ) -> None:
        super().__init__(cfg, terms)
        self.cfg, self.terms = cfg, terms
        self.num_stages = len(quantisers)
        self.num_bits = num_bits
        self.latent_channels = dims
        self.max_level = float(self.num_stages)
        self.klt_analysis = nn.Conv2d(3 * STRIDE**2, dims, 1)
        self.klt_synthesis = nn.Conv2d(dims, 3 * STRIDE**2, 1)
        self.register_buffer("y_deviation", torch.ones(dims))
        self.g_a = Analysis(encoder_channels, encoder_blocks, dims, 1)
        self.g_s = Synthesis(decoder_channels, decoder_blocks, dims, self.num_stages)
        self.quantisers = nn.ModuleList(quantisers)
        self.priors = nn.ModuleList(CodePrior(dims, prior_width, num_bits) for _ in quantisers)
        self.analysis_halo_px = _halo(encoder_blocks)
        self.synthesis_halo_px = _halo(decoder_blocks)

    @property
    def quality_ladder(self) -> tuple[int, ...]:
        """The middle of the qualities of each number of stages."""
        return tuple((2 * stage + 1) * 50 // self.num_stages for stage in range(self.num_stages))

    # ---- training ----------------------------------------------------------------------

    @torch.no_grad()
    def init_from_patches(self, patches: Tensor) -> None:
        """Start from the KLT of patches (N, 768), and the quantisers from its coefficients."""
        mean, basis, deviations = klt_of_patches(patches, self.latent_channels)
        self.klt_analysis.weight.copy_(basis[:, :, None, None] / UNIT)
        self.klt_analysis.bias.copy_(-basis @ mean / UNIT)
        self.klt_synthesis.weight.copy_(basis.T[:, :, None, None] * UNIT)
        self.klt_synthesis.bias.copy_(mean)
        self.y_deviation.copy_((deviations / UNIT).clamp_min(DEVIATION_MIN))
        self._init_codes((patches - mean) @ basis.T / UNIT)

    @torch.no_grad()
    def adopt(self, tensors: Mapping[str, Tensor], crops: Tensor) -> None:
        """Start from the transforms of a beta model: its leading latents, its lowest rate.

        Args:
            tensors: parameters of a beta model with the same blocks.
            crops: (N, 3, H, W) in [0, 1], from whose latents the quantisers start.

        Raises:
            OptionError: the transforms have other sizes.
        """
        own = {n: t for n, t in self.state_dict().items() if n.startswith(ADOPTED)}
        for name, target in own.items():
            if name not in tensors:
                raise OptionError(f"cannot start from a model without {name}")
            value = tensors[name]
            if ".affine." in name:
                value = value[:1].expand(target.shape[0], -1)
            value = value[tuple(slice(0, side) for side in target.shape)]
            if value.shape != target.shape:
                raise OptionError(f"{name} is {tuple(value.shape)}, not {tuple(target.shape)}")
            scale = {"klt_synthesis.weight": UNIT}.get(name, 1.0)
            target.copy_(value * (1 / UNIT if name.startswith(SCALED) else scale))
        vectors = [self._analyse(part).permute(0, 2, 3, 1).flatten(0, 2) for part in crops.split(8)]
        self._init_codes(torch.cat(vectors))

    def _init_codes(self, residual: Tensor) -> None:
        for quantiser in self.quantisers:
            quantiser.init_from_vectors(residual)
            codes = quantiser.encode(residual.T[:, :, None]).flatten()
            residual = residual - quantiser.table().float()[codes]

    def lambdas(self, level: Tensor) -> Tensor:
        """Return the weight of the distortion, the same at every level (B,)."""
        return torch.full_like(level, self.terms.lmbda)

    def forward(self, x: Tensor, level: Tensor) -> TrainOutput:
        """Run a training batch; level (B,) in [0, stages) chooses the number of stages."""
        pixels = x.shape[2] * x.shape[3]
        used = level.long().clamp(0, self.num_stages - 1) + 1
        y = self._analyse(x)
        y_hat, results = torch.zeros_like(y), []
        distance, auxiliary = y.new_zeros(len(x)), y.new_zeros(())

        def quantise(stage: int, residual: Tensor) -> Tensor:
            with torch.autocast(x.device.type, enabled=False):
                results.append(self.quantisers[stage](residual))
            return results[-1].codes

        coder = Train(self.default_tables())
        self.walk(y, y.shape[2:], self.num_stages, coder, FLOAT, quantise)
        stage_bits = torch.stack(list(coder.bits.values()), dim=1)  # (B, stages)
        is_used = (torch.arange(self.num_stages, device=x.device) < used[:, None]).to(y.dtype)
        stats = {}
        for stage, (quantiser, result) in enumerate(zip(self.quantisers, results, strict=True)):
            y_hat = y_hat + result.vectors * is_used[:, stage, None, None, None]
            distance = distance + result.distance * is_used[:, stage]
            auxiliary = auxiliary + result.auxiliary
            stats[f"used_{stage + 1}"] = used_share(quantiser.usage)
            stats[f"perplexity_{stage + 1}"] = perplexity(quantiser.usage)
        if self.quantisers[0].straight_through:
            y_hat = y_hat + y - y.detach()
        scale = self.terms.commitment * self.terms.lmbda * 255.0**2 * UNIT**2 / (3 * STRIDE**2)
        # The priors of stages that a crop does not use learn from it all the same.
        unused = (stage_bits * (1 - is_used)).sum(dim=1).mean() / pixels
        return TrainOutput(
            x_hat=self._synthesise(y_hat, F.one_hot(used - 1, self.num_stages)),
            bits=(stage_bits * is_used).sum(dim=1),
            auxiliary=scale * distance.mean() + auxiliary + unused,
            stats=stats,
        )

    # ---- the walk ----------------------------------------------------------------------

    def walk(
        self,
        y: Tensor | None,
        shape: tuple[int, int],
        point: int,
        coder: Coder,
        arithmetic: Arithmetic,
        quantise: Callable[[int, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Code stage by stage and group by group, and return y_hat; see `CodecModel.walk`.

        Args:
            y: (B, D, h, w), None when decoding.
            shape: (h, w).
            point: number of stages.
            coder: who answers for the choices.
            arithmetic: of the priors.
            quantise: from a stage and a residual (B, D, h, w) to codes (B, h, w), None for the
                quantisers of the codec.
        """
        quantise = quantise or self._encode
        device = self.y_deviation.device
        groups = group_of_positions(*shape, device=device)
        size = (1 if y is None else len(y), self.latent_channels, *shape)
        before = torch.zeros(size, dtype=arithmetic.dtype, device=device)
        for stage, prior in enumerate(self.priors[:point]):
            codes = None if y is None else quantise(stage, y - before.to(y.dtype))
            table = self.quantisers[stage].table().detach().to(before.dtype)
            own = torch.zeros_like(before)
            for number in range(len(GROUPS)):
                mask = groups == number
                if not mask.any():
                    continue
                features = prior(context_of(before, own, groups < number), arithmetic)
                name = f"code{stage + 1}"
                block = Block(name, name, mask[None], is_choice=True)
                nodes = torch.ones(len(before), *shape, dtype=torch.long, device=device)
                for bit in reversed(range(self.num_bits)):
                    rows = rows_of_logits(prior.logits(features, nodes))[:, None]
                    choice = None if codes is None else ((codes >> bit) & 1).float()[:, None]
                    chosen = coder.code(block, choice, rows)
                    if chosen is None:
                        return (before + own).float()
                    nodes = 2 * nodes + chosen[:, 0].long()
                vectors = table[nodes - (1 << self.num_bits)].permute(0, 3, 1, 2)
                own = torch.where(mask, vectors, own)
            before = before + own
        return before.float()

    def _encode(self, stage: int, residual: Tensor) -> Tensor:
        return torch.stack([self.quantisers[stage].encode(part) for part in residual])

    def operating_point(self, quality: int) -> int:
        """Return the number of stages."""
        return len(self.passes(quality))

    # ---- coding ------------------------------------------------------------------------

    @staticmethod
    def default_tables() -> Tables:
        """Return tables of binary choices."""
        return choice_tables()

    def passes(self, quality: int) -> tuple[tuple[str, ...], ...]:
        """Return a level for each stage: their number grows in equal steps of quality."""
        num_stages = 1 + (quality - 1) * self.num_stages // 100
        return tuple((f"code{stage + 1}",) for stage in range(num_stages))

    def analysis(self, x: Tensor, quality: int) -> Tensor:
        """Map a picture (1, 3, H, W) to y (1, D, H/16, W/16), the same at every quality."""
        return self._analyse(x)

    def synthesis(self, y_hat: Tensor, quality: int) -> Tensor:
        """Map y_hat (1, D, h, w) to a picture (1, 3, 16 h, 16 w), not clamped."""
        stage = torch.tensor([self.operating_point(quality) - 1], device=y_hat.device)
        return self._synthesise(y_hat, F.one_hot(stage, self.num_stages))

    # ---- shared ------------------------------------------------------------------------

    def _analyse(self, x: Tensor) -> Tensor:
        centred = x - 0.5
        linear = self.klt_analysis(F.pixel_unshuffle(centred, STRIDE))
        ones = x.new_ones(x.shape[0], 1)
        return linear.float() + self.g_a(centred, ones).float()

    def _synthesise(self, y_hat: Tensor, weights: Tensor) -> Tensor:
        linear = F.pixel_shuffle(self.klt_synthesis(y_hat), STRIDE)
        normalised = y_hat / self.y_deviation[:, None, None]
        return linear.float() + self.g_s(normalised, weights.float()).float() + 0.5


def _halo(blocks: tuple[int, int]) -> int:
    return -(-(8 * blocks[0] + 16 * blocks[1]) // STRIDE) * STRIDE
