"""Adversarial training: the generator's extra loss terms and the discriminator's own steps.

One `Adversary` serves every family: it knows pictures and reconstructions, not what made them. Per
training step the loop adds `generator_terms` to its loss, steps its optimisers, and then calls
`discriminator_step` with the same pictures.
"""

# Long because the discriminators, their losses and schedule only make sense together.

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F

from imgcodec.codec.nets.discriminators import DISCRIMINATORS, build_discriminator
from imgcodec.codec.training.augment import diff_augment, parse_policy

RATIO_EPS = 1e-8


@dataclass(frozen=True)
class AdversarialRecipe:
    """How the discriminator is built and trained, and what it contributes to the loss.

    Attributes:
        discriminator: `patch` (one head) or `multiscale` (heads at 1, 1/2 and 1/4).
        channels: width of the discriminator's first layer.
        num_layers: its layers of stride 2 (3 for photographs, 2 for 32x32 digits).
        loss: `hinge` or `nonsaturating` (logistic).
        weight: of the adversarial term; with `adaptive` the share of the reconstruction's gradient.
        start: fraction of the training after which the generator sees the adversarial term.
        discriminator_start: fraction after which the discriminator trains; it should have a head
            start over the generator.
        ramp: fraction of the training over which the term then grows to its full weight.
        adaptive: multiply `weight` by the ratio of the two gradients (see `Adversary`).
        max_adaptive: limit of that ratio.
        feature_matching: weight of the L1 distance between the discriminator's features of picture
            and reconstruction, from the beginning; 0 is off (Larsen et al., arXiv 1512.09300).
        augment: DiffAugment policy such as "color,translation,cutout"; empty is off.
        lr: peak learning rate of the discriminator's Adam.
        beta1, beta2: its decay rates.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    discriminator: str = "patch"
    channels: int = 32
    num_layers: int = 3
    loss: str = "hinge"
    weight: float = 0.1
    start: float = 0.3
    discriminator_start: float = 0.0
    ramp: float = 0.1
    adaptive: bool = True
    max_adaptive: float = 1e4
    feature_matching: float = 0.0
    augment: str = ""
    lr: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.9

    def __post_init__(self) -> None:
        for name, known in (("discriminator", DISCRIMINATORS), ("loss", LOSSES)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name} is {value!r}: use {', '.join(known)}")
        for name in ("channels", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: must be at least 1")
        for name in ("start", "discriminator_start", "ramp"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}: must lie in [0, 1]")
        for name in ("beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}: must lie in [0, 1)")
        for name in ("weight", "feature_matching"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}: must not be negative")
        for name in ("max_adaptive", "lr"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}: must be positive")
        parse_policy(self.augment)


def hinge(logits: Tensor, *, is_real: bool) -> Tensor:
    """Return the discriminator's hinge loss (arXiv 1705.02894); 1 where it cannot tell."""
    return F.relu(1.0 - logits if is_real else 1.0 + logits).mean()


def hinge_generator(logits: Tensor) -> Tensor:
    """Return the generator's term of the hinge loss, without limit on either side."""
    return -logits.mean()


def logistic(logits: Tensor, *, is_real: bool) -> Tensor:
    """Return the discriminator's cross entropy (arXiv 1406.2661); ln 2 where it cannot tell."""
    return F.softplus(-logits if is_real else logits).mean()


def logistic_generator(logits: Tensor) -> Tensor:
    """Return the non-saturating term: steep where the discriminator is sure of a fake."""
    return F.softplus(-logits).mean()


LOSSES: dict[str, tuple[Callable[..., Tensor], Callable[[Tensor], Tensor]]] = {
    "hinge": (hinge, hinge_generator),
    "nonsaturating": (logistic, logistic_generator),
}


class Adversary:
    """A discriminator with its optimiser, opposed to any model that reconstructs pictures.

    Adaptive weight: as in VQGAN (arXiv 2012.09841, equation 7) the adversarial term is scaled so
    that its gradient is `weight` times as strong as that of the reconstruction loss. There both are
    taken at the last layer of the decoder; here at its output x_hat, which every family has, and
    where no pass through the model is needed. It costs one more backward pass through the
    reconstruction loss and one through the discriminator, both down to x_hat only. Under several
    processes each scales by its own batch.

    Several processes start from the discriminator of the first one and average gradients, so all
    must call the same methods in the same order.

    Args:
        recipe: see `AdversarialRecipe`.
        device: where the discriminator lives.
        in_channels: channels of the pictures.
        bfloat16: autocast of the discriminator.
    """

    def __init__(
        self,
        recipe: AdversarialRecipe,
        device: torch.device,
        *,
        in_channels: int = 3,
        bfloat16: bool = False,
    ) -> None:
        self.recipe = recipe
        self.device = torch.device(device)
        self.bfloat16 = bfloat16
        self.discriminator = build_discriminator(
            recipe.discriminator, in_channels, recipe.channels, recipe.num_layers
        )
        self.discriminator.to(self.device, memory_format=torch.channels_last)
        self.discriminator.eval().requires_grad_(False)
        self._share_first_weights()
        self.optimiser = torch.optim.Adam(
            self.discriminator.parameters(), recipe.lr, (recipe.beta1, recipe.beta2)
        )
        self._discriminator_loss, self._generator_loss = LOSSES[recipe.loss]

    def generator_terms(
        self, x: Tensor, x_hat: Tensor, reconstruction: Tensor, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what to add to the generator's loss; its gradient reaches x_hat alone.

        Before the start of the adversarial term, and without feature matching, the term is zero and
        the discriminator does not run.

        Args:
            x: (B, C, H, W) in [0, 1], the originals.
            x_hat: reconstructions, on the way from the model to `reconstruction`.
            reconstruction: scalar loss that was computed from `x_hat`; its graph is kept.
            progress: fraction of the training that is done.

        Returns:
            The weighted scalar term, and detached scalars for the log: `gan_g` (unweighted),
            `gan_weight` (its factor in the loss), `feature_matching` (unweighted).
        """
        weight = self.recipe.weight * self._ramp(progress)
        matching_weight = self.recipe.feature_matching
        nothing = torch.zeros((), device=x_hat.device)
        stats = {"gan_g": nothing, "gan_weight": nothing, "feature_matching": nothing}
        if weight == 0.0 and matching_weight == 0.0:
            return nothing, stats
        term = nothing
        real, fake = diff_augment([x, x_hat.float()], self.recipe.augment)
        logits, features = self._discriminate(fake)
        if weight > 0.0:
            gan = torch.stack([self._generator_loss(values) for values in logits]).mean()
            factor = torch.tensor(weight, device=x_hat.device)
            if self.recipe.adaptive:
                factor = weight * self._gradient_ratio(reconstruction, gan, x_hat)
            term = term + factor * gan
            stats |= {"gan_g": gan.detach(), "gan_weight": factor}
        if matching_weight > 0.0:
            with torch.no_grad():
                _, references = self._discriminate(real)
            matching = feature_matching(references, features)
            term = term + matching_weight * matching
            stats["feature_matching"] = matching.detach()
        return term, stats

    def discriminator_step(
        self, x: Tensor, x_hat: Tensor, progress: float, lr_scale: float = 1.0
    ) -> dict[str, Tensor]:
        """Take one optimiser step, or none where the gradient is not finite, or before the start.

        Args:
            x: (B, C, H, W) in [0, 1], the originals.
            x_hat: reconstructions; no gradient flows into them.
            progress: fraction of the training that is done.
            lr_scale: factor of the recipe's learning rate.

        Returns:
            Detached scalars for the log: `gan_d`, the mean of the losses on originals and on
            reconstructions, and the mean `logits_real`, `logits_fake`; zeros before the start.
        """
        if progress < self.recipe.discriminator_start:
            nothing = torch.zeros((), device=x.device)
            return dict.fromkeys(("gan_d", "logits_real", "logits_fake"), nothing)
        real, fake = diff_augment([x, x_hat.detach().float()], self.recipe.augment)
        with self._training():
            logits, _ = self._discriminate(torch.cat([real, fake]))
            pairs = [values.chunk(2) for values in logits]
            losses = [
                0.5 * self._discriminator_loss(on_real, is_real=True)
                + 0.5 * self._discriminator_loss(on_fake, is_real=False)
                for on_real, on_fake in pairs
            ]
            loss = torch.stack(losses).mean()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
        if self._average_gradients_and_check():
            for group in self.optimiser.param_groups:
                group["lr"] = self.recipe.lr * lr_scale
            self.optimiser.step()
        return {
            "gan_d": loss.detach(),
            "logits_real": torch.stack([on_real.mean() for on_real, _ in pairs]).mean().detach(),
            "logits_fake": torch.stack([on_fake.mean() for _, on_fake in pairs]).mean().detach(),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return discriminator and optimiser, loadable with ``torch.load(weights_only=True)``."""
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, from any device."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _ramp(self, progress: float) -> float:
        since_start = progress - self.recipe.start
        if since_start < 0.0:
            return 0.0
        return min(1.0, since_start / self.recipe.ramp) if self.recipe.ramp > 0.0 else 1.0

    def _discriminate(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return float32 logits by head and features (bfloat16 under autocast) by layer."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits, features = self.discriminator(x.contiguous(memory_format=torch.channels_last))
        return [values.float() for values in logits], features

    def _gradient_ratio(self, reconstruction: Tensor, gan: Tensor, x_hat: Tensor) -> Tensor:
        """Return |d reconstruction / d x_hat| / |d gan / d x_hat|, at most `max_adaptive`."""
        norms = [
            torch.autograd.grad(loss, x_hat, retain_graph=True)[0].float().norm()
            for loss in (reconstruction, gan)
        ]
        return (norms[0] / (norms[1] + RATIO_EPS)).clamp(max=self.recipe.max_adaptive)

    @contextmanager
    def _training(self) -> Iterator[None]:
        """Let the discriminator have gradients and iterate its spectral norms, for one pass.

        At all other times it is frozen, so that nothing leaks into it from the generator's loss.
        """
        self.discriminator.train().requires_grad_(True)
        try:
            yield
        finally:
            self.discriminator.eval().requires_grad_(False)

    def _average_gradients_and_check(self) -> bool:
        """Average gradients over the processes; return whether all are finite, in all processes."""
        gradients = [p.grad for p in self.discriminator.parameters() if p.grad is not None]
        if dist.is_initialized():
            for gradient in gradients:
                dist.all_reduce(gradient)
                gradient /= dist.get_world_size()
        return bool(torch.isfinite(torch.stack([g.norm() for g in gradients])).all())

    def _share_first_weights(self) -> None:
        if dist.is_initialized():
            for tensor in self.discriminator.state_dict().values():
                dist.broadcast(tensor, 0)


def feature_matching(references: list[Tensor], features: list[Tensor]) -> Tensor:
    """Return the mean over layers of the L1 distance of features, float32.

    Source: Larsen et al., arXiv 1512.09300 (reconstruction measured in the discriminator), with
    L1 over all layers and heads as in pix2pixHD, arXiv 1711.11585.
    """
    layers = zip(references, features, strict=True)
    return torch.stack([F.l1_loss(b.float(), a.float()) for a, b in layers]).mean()
