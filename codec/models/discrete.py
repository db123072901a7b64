"""The discrete families in torch: modules, their start, and training; see `families.discrete`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.errors import OptionError
from imgcodec.codec.families.discrete import STRIDE, DiscreteFamily, DiscreteTerms
from imgcodec.codec.families.prior import (
    GROUPS,
    context_of,
    prior_features,
    prior_mean,
)
from imgcodec.codec.models.base import TorchModel, TrainOutput
from imgcodec.codec.nets.codebook import Quantised, perplexity, used_share
from imgcodec.codec.nets.exact import FLOAT
from imgcodec.codec.nets.klt import klt_of_patches
from imgcodec.codec.nets.prior import CodePrior
from imgcodec.codec.nets.transforms import Analysis, Synthesis

UNIT = 4.0
"""y is the KLT of pixels divided by this, so that every code vector stays below 8."""
DEVIATION_MIN = 0.02
FIT_STEPS, FIT_BATCH, FIT_LR = 400, 32, 3e-3
"""Of the means from which the codes start."""
ADOPTED = ("klt_analysis.", "klt_synthesis.", "y_deviation", "g_a.", "g_s.")
SCALED = ("klt_analysis.", "y_deviation", "g_a.out.")
"""Of what a beta model can lend, what is in the units of y."""
LENT = (*ADOPTED, "priors.")
"""Of another discrete model."""


class DiscreteModel(DiscreteFamily, TorchModel):
    """Transform and prior around one quantiser per stage.

    Quantisers have `forward`, `encode`, `init_from_vectors`, `exact_grids` and `straight_through`
    as in `nets.codebook`, and what the family's choice of codes asks for.
    """

    is_capturable = True

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
            CodePrior(
                dims,
                cfg.prior_width,
                self.num_bits,
                with_mean=cfg.context_mean,
                short_nodes=cfg.short_nodes,
            )
            for _ in quantisers
        )
        self.add_training_coder()
        self._groups: dict[tuple[int, ...], Tensor] = {}

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
        self._start_codes(((patches - mean) @ basis.T / UNIT)[:, :, None, None])

    @torch.no_grad()
    def adopt(self, tensors: Mapping[str, Tensor], crops: Tensor) -> None:
        """Start from another family: all of a discrete model but its codes, or beta's transforms.

        Of beta: its leading latents, its lowest rate.

        Args:
            tensors: parameters of a discrete or a beta model with the same blocks.
            crops: (N, 3, H, W) in [0, 1], from whose latents the quantisers start.

        Raises:
            OptionError: the transforms have other sizes.
        """
        is_beta = "priors.0.nodes" not in tensors
        for name, target in self.state_dict().items():
            if name.startswith(ADOPTED if is_beta else LENT):
                if name not in tensors:
                    raise OptionError(f"cannot start from a model without {name}")
                value = tensors[name]
                if is_beta:
                    value = _of_beta(name, value, target.shape)
                if value.shape != target.shape:
                    raise OptionError(f"{name} is {tuple(value.shape)}, not {tuple(target.shape)}")
                target.copy_(value)
        y = torch.cat([self.analyse(part) for part in crops.split(8)])
        if is_beta and self.cfg.context_mean:
            self._fit_mean(y)
        self._start_codes(y)

    def _start_codes(self, y: Tensor) -> None:
        """Start the quantisers, one after another, from latents (N, D, h, w)."""
        before = torch.zeros_like(y)
        for stage, quantiser in enumerate(self.quantisers):
            left = self._left_by_means(y, stage, before) if self.cfg.context_mean else y - before
            vectors = left.permute(0, 2, 3, 1).flatten(0, 2)
            codes = quantiser.init_from_vectors(vectors)
            self.priors[stage].start_from(codes)
            rest = vectors - self.table(stage).float()[codes]
            before = y - rest.reshape(len(y), *y.shape[2:], -1).permute(0, 3, 1, 2)

    @torch.enable_grad()
    def _fit_mean(self, y: Tensor) -> None:
        """Teach the first prior the means of latents (N, D, h, w)."""
        optimiser = torch.optim.Adam(self.priors[0].parameters(), FIT_LR)
        for step in range(FIT_STEPS):
            optimiser.param_groups[0]["lr"] = FIT_LR * (1 - step / FIT_STEPS)
            optimiser.zero_grad()
            batch = y[torch.randperm(len(y))[:FIT_BATCH]]
            left = self._left_by_means(batch, 0, torch.zeros_like(batch))
            left.square().mean().backward()
            optimiser.step()
        optimiser.zero_grad()

    def _left_by_means(self, y: Tensor, stage: int, before: Tensor) -> Tensor:
        """Return what a stage is to code: latents (N, D, h, w) less earlier stages and its means.

        Means see earlier groups as they are, not as codes will give them.
        """
        groups = self.groups_of_positions((y.shape[2], y.shape[3]))
        target, prior = y - before, self.priors[stage]
        left = target
        for number in range(len(GROUPS)):
            context = context_of(before, target, groups < number)
            mean = prior_mean(prior, prior_features(prior, context, FLOAT), FLOAT)
            left = torch.where(groups == number, target - mean, left)
        return left

    def lambdas(self, level: Tensor) -> Tensor:
        """Return the weight of the distortion, the same at every level (B,)."""
        return torch.full_like(level, self.terms.lmbda)

    def forward(self, x: Tensor, level: Tensor) -> TrainOutput:
        """Run a training batch; level (B,) in [0, stages) chooses the number of stages."""
        pixels = x.shape[2] * x.shape[3]
        used = level.long().clamp(0, self.num_stages - 1) + 1
        y = self.analyse(x)
        y_hat = torch.zeros_like(y)
        distance, auxiliary = y.new_zeros(len(x)), y.new_zeros(())
        found: list[list[tuple[Tensor, ...]]] = [[] for _ in self.quantisers]

        def quantise(stage: int, target: Tensor, mean: Tensor | None, features: Tensor) -> Tensor:
            mean = torch.zeros_like(target) if mean is None else mean
            with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
                codes = self.encode(stage, target.float(), mean, features)
            found[stage].append((target, mean, codes, features.detach().permute(0, 3, 1, 2)))
            return codes

        coder = self.training_coder()
        self.walk(y, y.shape[2:], self.num_stages, coder, FLOAT, quantise)
        stage_bits = torch.stack(list(coder.bits.values()), dim=1)  # (B, stages)
        is_used = (torch.arange(self.num_stages, device=x.device) < used[:, None]).to(y.dtype)
        stats = {}
        spread = y.new_zeros(())
        for stage, quantiser in enumerate(self.quantisers):
            whole = (_whole(parts, y) for parts in zip(*found[stage], strict=True))
            target, mean, codes, features = whole
            with torch.autocast(x.device.type, enabled=False):
                result = self.quantise(stage, target - mean.detach(), codes, features)
            vectors = result.vectors + mean.detach()
            y_hat = y_hat + vectors * is_used[:, stage, None, None, None]
            distance = distance + result.distance * is_used[:, stage]
            auxiliary = auxiliary + result.auxiliary
            spread = spread + (target.detach() - mean).square().sum(dim=1).mean()
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
            auxiliary=scale * (distance.mean() + spread) + auxiliary + unused,
            stats=stats,
        )

    def quantise(self, stage: int, residual: Tensor, codes: Tensor, features: Tensor) -> Quantised:
        """Train the quantiser of a stage.

        Args:
            stage: its number.
            residual: (B, D, h, w), what it is to stand for.
            codes: (B, h, w), what was chosen.
            features: (B, E, h, w) that its prior saw.
        """
        return self.quantisers[stage](residual, codes)

    # ---- networks of the walk ----------------------------------------------------------

    def groups_of_positions(self, shape: tuple[int, int]) -> Tensor:
        """Return the groups where the model is; see `DiscreteFamily`."""
        groups = self._groups.get(shape)
        if groups is None or groups.device != self.thresholds.device:
            groups = torch.from_numpy(super().groups_of_positions(shape))
            self._groups[shape] = groups = groups.to(self.thresholds.device)
        return groups

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


def _of_beta(name: str, value: Tensor, shape: torch.Size) -> Tensor:
    """Return what of a parameter of a beta model fits a discrete one of a shape."""
    if ".affine." in name:
        value = value[:1].expand(shape[0], -1)
    scale = {"klt_synthesis.weight": UNIT}.get(name, 1 / UNIT if name.startswith(SCALED) else 1.0)
    return scale * value[tuple(slice(0, side) for side in shape)]


def _whole(parts: tuple[Tensor, ...], y: Tensor) -> Tensor:
    """Return the array over all positions of what there is of each group, in their order."""
    shape = (*parts[0].shape[:-2], *y.shape[2:])
    whole = parts[0].new_zeros(shape)
    for (row, column), part in zip(GROUPS, parts, strict=True):
        whole[..., row::2, column::2] = part
    return whole
