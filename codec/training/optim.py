"""Optimiser of the training loop: Muon for pointwise convolutions, AdamW for everything else.

Muon orthogonalises the momentum of a matrix by Newton-Schulz iterations (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon; scaling to AdamW's update size from arXiv 2502.16982).
`torch.optim.Muon` treats one matrix at a time and only 2-D parameters; here matrices of one shape
are orthogonalised together, which costs a third of the time on a small CPU.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from imgcodec.codec.training.recipe import TrainRecipe

POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
)
"""Coefficients of four Newton-Schulz steps, each optimal after the last (arXiv 2505.16932)."""
SAFETY = 1.02
"""Without it rounding in bfloat16 pushes singular values out of the polynomials' basin."""
KLT_LR_SCALE = 0.05
WARMUP_SHARE = 0.1
"""Part of a run in which the rate has risen at the latest: short runs have few steps."""


@torch.no_grad()
def orthogonalise(matrices: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Return matrices (N, rows, columns) with all singular values near one, in `dtype`."""
    x = matrices.to(dtype)
    transposed = x.shape[1] > x.shape[2]
    if transposed:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) * 1.02 + 1e-7)
    for a, b, c in POLAR_EXPRESS:
        a, b, c = a / SAFETY, b / SAFETY**3, c / SAFETY**5
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if transposed else x


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates for 1x1 convolution weights (out, in, 1, 1)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.dtype = dtype
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update every parameter from its gradient."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    rows, columns = parameter.shape[:2]
                    by_shape[rows, columns].append(parameter)
            for (rows, columns), parameters in by_shape.items():
                updates = self._momenta(parameters, group["momentum"])
                stacked = torch.stack([u.reshape(rows, columns) for u in updates])
                directions = orthogonalise(stacked, self.dtype).to(parameters[0].dtype)
                directions = directions * (-0.2 * max(rows, columns) ** 0.5 * group["lr"])
                if group["weight_decay"]:
                    torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                own = [d.reshape(p.shape) for d, p in zip(directions, parameters, strict=True)]
                torch._foreach_add_(parameters, own)

    def _momenta(self, parameters: list[Tensor], momentum: float) -> Sequence[Tensor]:
        """Return the Nesterov momentum of each gradient."""
        for parameter in parameters:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        buffers = [self.state[parameter]["momentum"] for parameter in parameters]
        gradients = [parameter.grad for parameter in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        averages: Sequence[Tensor] = torch._foreach_lerp(gradients, buffers, momentum)
        return averages


def build_optimisers(
    model: nn.Module,
    lr: float,
    weight_decay: float = 0.0,
    dtype: torch.dtype = torch.bfloat16,
) -> list[torch.optim.Optimizer]:
    """Return [Muon, AdamW] that share the parameters of `model` between them.

    The KLT matrices start where they should end and carry the mean brightness, whose gain must
    hold to a thousandth: Muon's equal steps in all directions make it oscillate, and training
    diverges within 200 steps. They take AdamW steps, `KLT_LR_SCALE` times smaller. The loop
    multiplies the learning rate by each group's "lr_scale". Muon's iterations run in `dtype`.
    """
    linear, matrices, others = [], [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_matrix = parameter.ndim == 4 and parameter.shape[2:] == (1, 1)
        if name.startswith("klt_"):
            linear.append(parameter)
        else:
            (matrices if is_matrix else others).append(parameter)
    groups = [
        {"params": others, "lr_scale": 1.0},
        {"params": linear, "lr_scale": KLT_LR_SCALE},
    ]
    return [
        Muon([{"params": matrices, "lr_scale": 1.0}], lr, weight_decay=weight_decay, dtype=dtype),
        torch.optim.AdamW(groups, lr, betas=(0.9, 0.99), weight_decay=0.0),
    ]


def make_capturable(optimisers: Iterable[torch.optim.Optimizer], device: torch.device) -> None:
    """Let a graph of a GPU replay optimisers: what changes from step to step becomes tensors."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = torch.tensor(float(group["lr"]), device=device)
            if "capturable" in group:
                group["capturable"] = True
        for values in optimiser.state.values():
            if "step" in values:
                values["step"] = torch.as_tensor(values["step"]).float().to(device)


def set_rates(optimisers: Iterable[torch.optim.Optimizer], lr: float) -> None:
    """Set the learning rate of every group, times its "lr_scale"."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr * group["lr_scale"])
            else:
                group["lr"] = lr * group["lr_scale"]


def rate_factor(step: int, progress: float, recipe: TrainRecipe) -> float:
    """Return the share of the learning rate at a step.

    It rises for `warmup_steps`, or a tenth of the run where that is less, and falls along a cosine
    in the last `decay_share`.

    Args:
        step: from 0.
        progress: share of the run that is done.
        recipe: of the training.
    """
    warmup = max((step + 1) / max(1, recipe.warmup_steps), progress / WARMUP_SHARE)
    share = recipe.decay_share
    decayed = max(0.0, 1 - (1 - progress) / share) if share else 0.0
    cosine = 0.5 * (1 + math.cos(math.pi * decayed))
    return min(1.0, warmup) * (recipe.lr_end + (1 - recipe.lr_end) * cosine)
