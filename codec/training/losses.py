"""What training minimises: rate, distortion, and what a model or an adversary adds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.models.base import TrainOutput
from imgcodec.codec.nets.objective import LAMBDA_REFERENCE, MS_SSIM_POWER, SSIMULACRA2_POWER
from imgcodec.codec.nets.similarity import ms_ssim, ssimulacra2_score, ssimulacra2_sum
from imgcodec.codec.training.adversarial import Adversary

BLOCK_PX, WINDOW_BLOCKS = 8, 12
COLOUR_SQUARES_PX = (4, 8, 16)
STEP_FLOOR = (0.3 / 255.0) ** 2
"""Mean squares of steps below it are none that anyone sees."""


@dataclass(frozen=True)
class LossRecipe:
    """Weights of the loss: mean of w * (rate * bpp + lambda * distortion) over a batch.

    The distortion is ``mse * 255^2 * MSE + 255 * (l1 * L1 + colours * C) + lpips * LPIPS + 255^2 *
    (grid * G + edges * E)`` with C from `colour_error`, G from `periodic_error` and E from
    `edge_error`; lambda belongs to the level
    of each crop and w is ``(0.013 / lambda) ** lambda_weight_power``. Besides it the loss has
    ``ssimulacra2 * (lambda / 0.013) ** 0.75 * S`` and ``ms_ssim * (lambda / 0.013) ** 0.95 *
    (1 - MS-SSIM)``, S being the sum behind SSIMULACRA2, and ``(lambda / 0.013) ** 0.75 *
    (texture * W + weave * P)``, W being Wasserstein distortion and P from `weave_error`.

    Attributes:
        rate: weight of the bits per pixel; 0 where the entropy model is frozen.
        mse: weight of the squared error in grey levels.
        l1: weight of the absolute error in grey levels.
        colours: weight of the same of the picture made coarse: blotches are low frequencies.
        lpips: weight of LPIPS; a few hundred balance the squared error.
        ssimulacra2: weight of S in bits per pixel at lambda 0.013.
        ms_ssim: weight of 1 - MS-SSIM in bits per pixel at lambda 0.013.
        texture: weight of Wasserstein distortion in bits per pixel at lambda 0.013.
        weave: weight of textures that depend on the place in a block, at lambda 0.013.
        grid: weight of errors that repeat from block to block, which LPIPS and discriminators
            like to put into smooth areas.
        edges: weight of steps of the error between blocks.
        limit: crops of a larger loss count as if they had this one, 0 for no limit: hard graphics
            at high rates would drown photographs.
        lpips_network: backbone, squeeze, alex or vgg.
        lambda_weight_power: evens out the losses of low and high rates.
    """

    rate: float = 1.0
    mse: float = 1.0
    l1: float = 0.0
    colours: float = 0.0
    lpips: float = 0.0
    ssimulacra2: float = 0.0
    ms_ssim: float = 0.0
    texture: float = 0.0
    weave: float = 0.0
    grid: float = 0.0
    edges: float = 0.0
    limit: float = 0.0
    lpips_network: str = "squeeze"
    lambda_weight_power: float = 0.35


def periodic_error(error: Tensor) -> Tensor:
    """Return (B,) mean squares of the part of an error that is the same in neighbouring blocks.

    The decoders paint blocks of `BLOCK_PX`, and equal features give equal blocks: what they add
    to a smooth area is a pattern of that period. Here the error (B, 3, H, W) is folded into blocks
    and averaged over windows of `WINDOW_BLOCKS` squared; other errors average out.
    """
    local = _means_by_place(error).unflatten(1, (error.shape[1], BLOCK_PX**2))
    return (local - local.mean(dim=2, keepdim=True)).square().mean(dim=(1, 2, 3, 4))


def _means_by_place(x: Tensor) -> Tensor:
    """Return means of each place of a block over windows, (B, C * BLOCK_PX^2, rows, columns)."""
    folded = F.pixel_unshuffle(x, BLOCK_PX)
    window = min(WINDOW_BLOCKS, *folded.shape[2:])
    return F.avg_pool2d(folded, window, stride=max(1, window // 2))


def weave_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return (B,) mean squares of what steps between pixels owe to their place in a block.

    The decoders paint blocks of `BLOCK_PX`, and textures that they make up may be smoother in the
    middle of each than at its sides: a weave, where all else is smooth. Here the steps to the next
    pixel, to the right and below, are averaged (root of the mean square) in windows of
    `WINDOW_BLOCKS` squared for each column and each row of blocks. What they should be is their
    mean, shared out as x does; differences count in units of the mean step of x.

    Args:
        x, x_hat: (B, 3, H, W) in [0, 1], sides multiples of `BLOCK_PX`.
    """
    with torch.no_grad():
        wanted = _steps_by_place(x)
        usual = wanted.mean(dim=2, keepdim=True)
    steps = _steps_by_place(x_hat)
    error = steps / usual - steps.mean(dim=2, keepdim=True) * wanted / usual.square()
    return error.square().mean(dim=(1, 2, 3))


def _steps_by_place(x: Tensor) -> Tensor:
    """Return steps to the right and below, in columns and in rows, (B, 4, BLOCK_PX, windows)."""
    right = F.pad(x.diff(dim=3), (0, 1)).square().mean(dim=1)
    below = F.pad(x.diff(dim=2), (0, 0, 0, 1)).square().mean(dim=1)
    local = _means_by_place(torch.stack([right, below], dim=1)).flatten(2)
    local = local.unflatten(1, (2, BLOCK_PX, BLOCK_PX))
    steps = torch.cat([local.mean(dim=2), local.mean(dim=3)], dim=1)
    return (steps + STEP_FLOOR).sqrt()


def colour_error(error: Tensor) -> Tensor:
    """Return (B,) absolute values of the means of an error (B, 3, H, W) over squares.

    Those of squares of 4, 8 and 16 px are added; each is a mean over places and channels.
    """
    coarse = [F.avg_pool2d(error, side) for side in COLOUR_SQUARES_PX]
    return torch.stack([part.abs().mean(dim=(1, 2, 3)) for part in coarse]).sum(dim=0)


def edge_error(error: Tensor) -> Tensor:
    """Return (B,) mean squares of the steps of an error (B, 3, H, W) between blocks.

    LPIPS hardly sees the borders of blocks in smooth areas; people do.
    """
    rows = error[:, :, BLOCK_PX::BLOCK_PX] - error[:, :, BLOCK_PX - 1 : -1 : BLOCK_PX]
    columns = error[..., BLOCK_PX::BLOCK_PX] - error[..., BLOCK_PX - 1 : -1 : BLOCK_PX]
    return 0.5 * (rows.square().mean(dim=(1, 2, 3)) + columns.square().mean(dim=(1, 2, 3)))


class Criterion:
    """Loss of a batch and the numbers to log.

    Args:
        recipe: weights.
        perceptual: maps x and x_hat (B, 3, H, W) to (B,); needed when `recipe.lpips` is not 0.
        texture: the same for Wasserstein distortion; needed when `recipe.texture` is not 0.
        adversary: discriminator with its optimiser, or None.
        bfloat16: autocast of these modules.

    Raises:
        ValueError: one of them is weighted but missing.
    """

    def __init__(
        self,
        recipe: LossRecipe,
        perceptual: nn.Module | None,
        adversary: Adversary | None,
        *,
        texture: nn.Module | None = None,
        bfloat16: bool = False,
    ) -> None:
        if (recipe.lpips and perceptual is None) or (recipe.texture and texture is None):
            raise ValueError("the recipe weights deep features, but no backbone was given")
        self.recipe, self.perceptual, self.adversary = recipe, perceptual, adversary
        self.texture = texture
        self.bfloat16 = bfloat16

    def __call__(
        self, x: Tensor, output: TrainOutput, lambdas: Tensor, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scalar loss and detached scalars by name.

        Args:
            x: (B, 3, H, W) in [0, 1].
            output: of the model's forward pass.
            lambdas: (B,) of the crops' levels.
            progress: share of the training done, for the adversary.
        """
        bpp = output.bits / (x.shape[2] * x.shape[3])
        losses, stats = self.reconstruction(x, output.x_hat, lambdas)
        weight = self.weights(lambdas)
        if self.recipe.limit:
            total = (weight * (self.recipe.rate * bpp + losses)).detach()
            weight = weight * (self.recipe.limit / total).clamp(max=1.0)
        reconstruction = (weight * losses).mean()
        loss = reconstruction + output.auxiliary
        if self.recipe.rate:
            loss = loss + (weight * self.recipe.rate * bpp).mean()
        stats |= {"bpp": bpp.mean()} | output.stats
        if self.adversary is not None:
            term, terms = self.adversary.generator_terms(x, output.x_hat, reconstruction, progress)
            loss = loss + term
            stats |= terms
        stats["loss"] = loss
        return loss, {name: torch.as_tensor(value).detach() for name, value in stats.items()}

    def compile(self) -> None:
        """Let torch compile the reconstruction loss."""
        self.reconstruction = torch.compile(self.reconstruction, dynamic=False)  # type: ignore[method-assign]

    def weights(self, lambdas: Tensor) -> Tensor:
        """Return the weights (B,) in the loss of crops at rates of the given lambdas (B,)."""
        return (LAMBDA_REFERENCE / lambdas) ** self.recipe.lambda_weight_power

    def reconstruction(
        self, x: Tensor, x_hat: Tensor, lambdas: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what errors cost in bits per pixel, (B,), and means for the log.

        Args:
            x: (B, 3, H, W) in [0, 1].
            x_hat: the same shape, reconstructions.
            lambdas: (B,) of the crops' levels.
        """
        recipe = self.recipe
        error = x_hat.float() - x
        mse = error.square().mean(dim=(1, 2, 3)) * 255.0**2
        distortion = recipe.mse * mse
        stats = {"log10_mse": mse.log10().mean()}
        if recipe.l1:
            distortion = distortion + recipe.l1 * 255.0 * error.abs().mean(dim=(1, 2, 3))
        if recipe.colours:
            colours = colour_error(error) * 255.0
            distortion = distortion + recipe.colours * colours
            stats["colours"] = colours.mean()
        if recipe.grid:
            periodic = periodic_error(error) * 255.0**2
            distortion = distortion + recipe.grid * periodic
            stats["grid"] = periodic.mean()
        if recipe.edges:
            steps = edge_error(error) * 255.0**2
            distortion = distortion + recipe.edges * steps
            stats["edges"] = steps.mean()
        if self.perceptual is not None and recipe.lpips:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16):
                lpips = self.perceptual(x, x_hat)
            distortion = distortion + recipe.lpips * lpips
            stats["lpips"] = lpips.mean()
        losses = lambdas * distortion
        relative = lambdas / LAMBDA_REFERENCE
        if recipe.ssimulacra2:
            weighted = ssimulacra2_sum(x, x_hat.float())
            losses = losses + recipe.ssimulacra2 * relative**SSIMULACRA2_POWER * weighted
            stats["ssimulacra2"] = ssimulacra2_score(weighted).mean()
        if recipe.ms_ssim:
            similarity = ms_ssim(x, x_hat.float().clamp(0, 1))
            losses = losses + recipe.ms_ssim * relative**MS_SSIM_POWER * (1 - similarity)
            stats["ms_ssim"] = similarity.mean()
        if recipe.weave:
            weave = weave_error(x, x_hat.float())
            losses = losses + recipe.weave * relative**SSIMULACRA2_POWER * weave
            stats["weave"] = weave.mean()
        if self.texture is not None and recipe.texture:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16):
                texture = self.texture(x, x_hat)
            losses = losses + recipe.texture * relative**SSIMULACRA2_POWER * texture
            stats["texture"] = texture.mean()
        return losses, stats
