"""The discrete families in torch: modules, their start, and training; see `families.discrete`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.errors import OptionError
from imgcodec.codec.families.discrete import STRIDE, DiscreteFamily, DiscreteTerms
from imgcodec.codec.models.base import TorchModel, TrainOutput
from imgcodec.codec.models.relaxed import Train
from imgcodec.codec.nets.codebook import perplexity, used_share
from imgcodec.codec.nets.exact import FLOAT
from imgcodec.codec.nets.klt import klt_of_patches
from imgcodec.codec.nets.prior import CodePrior
from imgcodec.codec.nets.transforms import Analysis, Synthesis

UNIT = 4.0
"""y is the KLT of pixels divided by this, so that every code vector stays below 8."""
DEVIATION_MIN = 0.02
ADOPTED = ("klt_analysis.", "klt_synthesis.", "y_deviation", "g_a.", "g_s.")
SCALED = ("klt_analysis.", "y_deviation", "g_a.out.")
"""Of what a beta model can lend, what is in the units of y."""


class DiscreteModel(DiscreteFamily, TorchModel):
    """Transform and prior around one quantiser per stage.

    Quantisers have `forward`, `codes`, `encode`, `init_from_vectors`, `exact_grids` and
    `straight_through` as in `nets.codebook`.
    """

    def add_modules(self, quantisers: list[nn.Module], terms: DiscreteTerms) -> None:
        """Make the modules of an untrained model, with one quantiser per stage."""
        self.terms = terms
        cfg, dims = self.cfg, self.latent_channels
        self.klt_analysis = nn.Conv2d(3 * STRIDE**2, dims, 1)
        self.klt_synthesis = nn.Conv2d(dims, 3 * STRIDE**2, 1)
        self.register_buffer("y_deviation", torch.ones(dims))
        self.g_a = Analysis(cfg.encoder_channels, cfg.encoder_blocks, dims, 1)
        self.g_s = Synthesis(cfg.decoder_channels, cfg.decoder_blocks, dims, self.num_stages)
        self.quantisers = nn.ModuleList(quantisers)
        self.priors = nn.ModuleList(
            CodePrior(dims, cfg.prior_width, self.num_bits) for _ in quantisers
        )

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
        vectors = [self.analyse(part).permute(0, 2, 3, 1).flatten(0, 2) for part in crops.split(8)]
        self._init_codes(torch.cat(vectors))

    def _init_codes(self, residual: Tensor) -> None:
        for stage, quantiser in enumerate(self.quantisers):
            quantiser.init_from_vectors(residual)
            residual = residual - self.table(stage).float()[quantiser.encode(residual)]

    def lambdas(self, level: Tensor) -> Tensor:
        """Return the weight of the distortion, the same at every level (B,)."""
        return torch.full_like(level, self.terms.lmbda)

    def forward(self, x: Tensor, level: Tensor) -> TrainOutput:
        """Run a training batch; level (B,) in [0, stages) chooses the number of stages."""
        pixels = x.shape[2] * x.shape[3]
        used = level.long().clamp(0, self.num_stages - 1) + 1
        y = self.analyse(x)
        y_hat, results = torch.zeros_like(y), []
        distance, auxiliary = y.new_zeros(len(x)), y.new_zeros(())

        def quantise(stage: int, residual: Tensor) -> Tensor:
            with torch.autocast(x.device.type, enabled=False):
                results.append(self.quantisers[stage](residual))
            return results[-1].codes

        coder = Train.under(self.default_tables())
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
            x_hat=self.synthesise(y_hat, F.one_hot(used - 1, self.num_stages).float()),
            bits=(stage_bits * is_used).sum(dim=1),
            auxiliary=scale * distance.mean() + auxiliary + unused,
            stats=stats,
        )

    # ---- networks of the walk ----------------------------------------------------------

    def codes(self, stage: int, vectors: Tensor) -> Tensor:
        """Return the codes of vectors; see `DiscreteFamily`."""
        return self.quantisers[stage].codes(vectors)

    def analyse(self, x: Tensor) -> Tensor:
        """Map pictures to y; see `DiscreteFamily`."""
        centred = x - 0.5
        linear = self.klt_analysis(F.pixel_unshuffle(centred, STRIDE))
        ones = x.new_ones(x.shape[0], 1)
        return linear.float() + self.g_a(centred, ones).float()

    def synthesise(self, y_hat: Tensor, stages: Tensor) -> Tensor:
        """Map y_hat to pictures; see `DiscreteFamily`."""
        linear = F.pixel_shuffle(self.klt_synthesis(y_hat), STRIDE)
        normalised = y_hat / self.y_deviation[:, None, None]
        return linear.float() + self.g_s(normalised, stages).float() + 0.5
