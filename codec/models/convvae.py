"""The convvae family in torch: modules, their start, and training; see `families.convvae`."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.families.convvae import BLOCK_PX, ConvVaeConfig, ConvVaeFamily, ConvVaeTerms
from imgcodec.codec.models.base import TorchModel, TrainOutput
from imgcodec.codec.nets.blocks import pointwise
from imgcodec.codec.nets.exact import Grid
from imgcodec.codec.numeric import rate

DIGIT_PX = 28
"""The figures in nats count the pixels of this corner of a block."""
COARSE_PX = 4
"""Side of the features between the convolutions and the matrices."""
LAMBDA = 0.013
"""Weight of a squared error that a recipe may add: the criterion's reference."""
SCALE_ROWS = Grid(8, float(rate.NUM_ROWS))
STATISTICS_DECAY = 0.99
LOG_VARIANCE_LIMIT = 12.0
FIRST_LOG_VARIANCE = -6.0
MAX_FIRST_BLOCKS = 1024


class ConvVaeModel(ConvVaeFamily, TorchModel):
    """Encoder, decoder and rates of the convvae family.

    With ``rate: beta``, ``mse: 0`` and ``lambda_weight_power: 0`` training minimises the negative
    ELBO (beta = 1) or that of a beta-VAE. The black border of a padded digit takes part in the
    loss, so that every pixel of a block is defined; the figures in nats leave it out.
    """

    exact_grids: ClassVar = {"scale_row": SCALE_ROWS}

    def __init__(self, cfg: ConvVaeConfig, terms: ConvVaeTerms) -> None:
        super().__init__(cfg)
        self.terms = terms
        c, m = cfg.channels, cfg.latent_channels
        features = 4 * c * COARSE_PX**2
        self.g_a = nn.Sequential(
            nn.Conv2d(1, c, 4, stride=2, padding=1),  # (B, c, 16, 16)
            nn.LeakyReLU(0.1),
            nn.Conv2d(c, 2 * c, 4, stride=2, padding=1),  # (B, 2c, 8, 8)
            nn.LeakyReLU(0.1),
            nn.Conv2d(2 * c, 4 * c, 4, stride=2, padding=1),  # (B, 4c, 4, 4)
            nn.LeakyReLU(0.1),
            nn.PixelUnshuffle(COARSE_PX),  # (B, 64c, 1, 1)
            pointwise(features, 2 * m),  # mean and log-variance
        )
        self.g_s = nn.Sequential(
            pointwise(m, features),
            nn.PixelShuffle(COARSE_PX),  # (B, 4c, 4, 4)
            nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(4 * c, 2 * c, 4, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(2 * c, c, 4, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(c, 1, 4, stride=2, padding=1),  # (B, 1, 32, 32)
        )
        self.pixel_bias = nn.Parameter(torch.zeros(BLOCK_PX, BLOCK_PX))
        with torch.no_grad():  # start with the same narrow posterior everywhere
            self.g_a[-1].weight[m:].zero_()
            self.g_a[-1].bias[m:] = FIRST_LOG_VARIANCE
        # At POSTERIOR_QUALITY; they follow the training batches.
        self.register_buffer("log_gain", torch.zeros(m))
        self.register_buffer("scale_row", torch.zeros(m))

    # ---- training ----------------------------------------------------------------------

    @torch.no_grad()
    def init_from_patches(self, patches: Tensor) -> None:
        """Start from the mean picture and the statistics of patches (N, 3072)."""
        grey = patches.reshape(-1, 3, BLOCK_PX, BLOCK_PX).mean(dim=1, keepdim=True) + 0.5
        self.pixel_bias.copy_(torch.logit(grey.mean(dim=(0, 1)), eps=1e-3))
        self._follow(*self._posterior(grey[:MAX_FIRST_BLOCKS]), weight=1.0)

    def lambdas(self, level: Tensor) -> Tensor:
        """Return the same lambda for every level (B,): training has one rate."""
        return torch.full_like(level, LAMBDA)

    def forward(self, x: Tensor, level: Tensor) -> TrainOutput:
        """Return reconstructions of a posterior sample, KL bits and the negative log-likelihood.

        In train mode the statistics for coding follow the batch.

        Args:
            x: (B, 3, H, W) in [0, 1], sides multiples of 32.
            level: (B,), without effect.

        Returns:
            `auxiliary` is the negative log-likelihood in bits per pixel. Means over blocks in
            nats, of the upper left 28x28 pixels: `kl_nats`, `recon_nats` (the negative
            log-likelihood) and `elbo_nats`, minus their sum.
        """
        grid = (x.shape[0], x.shape[2] // BLOCK_PX, x.shape[3] // BLOCK_PX)
        grey = _to_blocks(x.mean(dim=1, keepdim=True), BLOCK_PX)
        mean, log_variance = self._posterior(grey)
        deviation = (0.5 * log_variance).exp()
        logits = self._decode(mean + deviation * torch.randn_like(mean))
        divergence = kl_nats(mean, log_variance).sum(dim=(1, 2, 3))
        cost = self._cost_nats(logits, grey)
        if self.training:
            self._follow(mean.detach(), log_variance.detach(), 1.0 - STATISTICS_DECAY)
        recon = cost[:, :, :DIGIT_PX, :DIGIT_PX].sum(dim=(1, 2, 3)).mean()
        kl = divergence.mean()
        return TrainOutput(
            x_hat=_from_blocks(torch.sigmoid(logits), grid).expand(-1, 3, -1, -1),
            bits=divergence.reshape(x.shape[0], -1).sum(dim=1) / math.log(2),
            auxiliary=cost.mean() / math.log(2),
            stats={"elbo_nats": -(kl + recon), "kl_nats": kl, "recon_nats": recon},
        )

    # ---- networks of the walk ----------------------------------------------------------

    def analyse(self, x: Tensor) -> Tensor:
        """Map pictures to posterior means; see `ConvVaeFamily`."""
        grid = (x.shape[0], x.shape[2] // BLOCK_PX, x.shape[3] // BLOCK_PX)
        grey = _to_blocks(x.mean(dim=1, keepdim=True), BLOCK_PX)
        return _from_blocks(self._posterior(grey)[0], grid)

    def synthesise(self, y_hat: Tensor) -> Tensor:
        """Map y_hat to the means of pixels; see `ConvVaeFamily`."""
        grid = (y_hat.shape[0], y_hat.shape[2], y_hat.shape[3])
        blocks = torch.sigmoid(self._decode(_to_blocks(y_hat, 1)))
        return _from_blocks(blocks, grid).expand(-1, 3, -1, -1)

    def _posterior(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """Map blocks (N, 1, 32, 32) to mean and log-variance, each (N, M, 1, 1)."""
        mean, log_variance = self.g_a(2.0 * grey - 1.0).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)

    def _decode(self, z: Tensor) -> Tensor:
        """Map latent vectors (N, M, 1, 1) to logits (N, 1, 32, 32)."""
        return self.g_s(z).float() + self.pixel_bias.float()

    def _cost_nats(self, logits: Tensor, grey: Tensor) -> Tensor:
        """Return the negative log-likelihood of every pixel (N, 1, 32, 32) in nats."""
        if self.terms.likelihood == "bernoulli":
            return F.binary_cross_entropy_with_logits(logits, grey, reduction="none")
        error = (grey - torch.sigmoid(logits)) / self.terms.deviation
        return 0.5 * error.square() + math.log(self.terms.deviation * math.sqrt(2 * math.pi))

    @torch.no_grad()
    def _follow(self, mean: Tensor, log_variance: Tensor, weight: float) -> None:
        """Move the statistics for coding towards those of a batch, by a share of the way.

        At the gain, rounding errs as much as the posterior: its step squared is 12 variances.
        """
        log_gain = -0.5 * (log_variance.mean(dim=(0, 2, 3)) + math.log(12.0))
        self.log_gain.lerp_(log_gain, weight)
        log_scale = 0.5 * mean.square().mean(dim=(0, 2, 3)).clamp_min(1e-8).log() + self.log_gain
        row = (log_scale - math.log(rate.SCALE_MIN)) * rate.ROWS_PER_NEPER
        self.scale_row.lerp_(row, weight)


def kl_nats(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the divergence of N(mean, exp(log_variance)) from N(0, 1) per element, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)


def _to_blocks(x: Tensor, side: int) -> Tensor:
    """Cut (B, C, h * side, w * side) into blocks (B * h * w, C, side, side), row-major."""
    blocks = x.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # (B, C, h, side, w, side)
    return blocks.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def _from_blocks(blocks: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Undo `_to_blocks` for a grid (B, h, w)."""
    x = blocks.unflatten(0, grid).permute(0, 3, 1, 4, 2, 5)  # (B, C, h, side, w, side)
    return x.flatten(4, 5).flatten(2, 3)
