"""Effort: the integers of this very picture, refined by what they cost together.

The encoder's transform is right on average; `refine` lowers bits + error for one
tile, the error that the weights were trained for, in two stages, and the decoder does not know.

1. Descent. Latents follow the gradient of bits and error, divided by the curvature of the error.
   The error is that of rounded latents, each seen as if it were not rounded itself but all others
   were; the bits are those of noisy latents, as in training.
2. Decisions, where the error is lambda * squared error. Single integers go up or down by one where
   that should pay by gradient, curvature and the code lengths of both. Where the picture and the
   bits around them did get cheaper they stay, elsewhere they come back and have to promise more
   next time.

What was tried instead and was worse here: stochastic Gumbel annealing (Yang et al. arXiv
2006.04240), whose noise reaches all later means through the masked passes.
"""

# Long because both stages of the search share their state.

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from imgcodec.codec.families.coders import Count
from imgcodec.codec.models.base import TorchModel
from imgcodec.codec.models.relaxed import Given, Relax
from imgcodec.codec.nets.exact import FLOAT
from imgcodec.codec.nets.objective import Objective
from imgcodec.codec.numeric.rate import rows_to_indexes
from imgcodec.codec.session.allocation import rate_weight
from imgcodec.codec.session.tiling import analyse_tile, region_of
from imgcodec.codec.session.timing import Progress
from imgcodec.codec.stream.tiles import Tile
from imgcodec.codec.weights.store import LoadedModel

STEPS_OF_EFFORT = {
    1: (0, 0),
    2: (3, 0),
    3: (6, 0),
    4: (12, 0),
    5: (20, 0),
    6: (20, 5),
    7: (20, 10),
    8: (20, 20),
    9: (20, 40),
}
"""Steps of descent and of decisions."""
STEP_SIZE = 0.08
BITS_SHARE = 0.7
"""Share of the gradient of the bits in the descent: rounding by cost heeds them as well."""
EYE_BITS_SHARE = 1.3
"""The same where errors are judged by windows: with it all judges gain, even those not asked."""
EYE_REACH = 8.0
"""Latents move at most by so many rounding errors of their channel, times the step size."""
EYE_STEPS_PER_DECISION = 0.5
"""Steps of descent in place of a step of decisions, which such errors do not allow."""
ROUNDING = 0.6
"""Rounding of the descent, relative to that of an encoder that does not refine."""
NUM_PROBES = 12
"""Random directions in which the curvature of single integers is measured."""
CAUTION = 1.25
"""Curvatures count at least as much as their mean over the picture times this."""
TRIED_SHARE = 0.15
"""Share of the promising decisions that are tried at once: neighbours disturb each other."""
GAIN_MIN_BITS = 0.1
NEIGHBOURHOOD = 3
"""Side, in latents, of the square in which a decision has to pay."""


def refine(
    loaded: LoadedModel,
    pixels: NDArray[np.uint8],
    tile: Tile,
    y: NDArray[np.float32],
    quality: int,
    effort: int,
    *,
    rounding: float = 1.0,
    progress: Progress = lambda _: None,
) -> dict[str, NDArray[np.int32]]:
    """Return integers of each pass of a tile, none where those of plain coding are no worse.

    Args:
        loaded: model and tables.
        pixels: the picture (H, W, 3).
        tile: which part of it.
        y: (1, M, h, w) latents of the tile.
        quality: 1 to 100.
        effort: 2 to 9, a key of `STEPS_OF_EFFORT`.
        rounding: as in `thresholds_of`.
        progress: called with the share of the steps that are done.
    """
    descent_steps, decision_steps = STEPS_OF_EFFORT[effort]
    if not objective_of(loaded).is_squared_error:
        descent_steps += round(EYE_STEPS_PER_DECISION * decision_steps)
        decision_steps = 0
    num_steps = descent_steps + decision_steps
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a file depends on its input alone
        task = _Task(loaded, pixels, tile, y, quality)
        task.descend(descent_steps, rounding, lambda k: progress(k / num_steps))
        if decision_steps:
            task.decide(decision_steps, lambda k: progress((descent_steps + k) / num_steps))
    plain = _cost(loaded, task, y, rounding=rounding)
    return task.sent if _cost(loaded, task, y, task.sent) < plain else {}


def objective_of(loaded: LoadedModel) -> Objective:
    """Return what effort works for: the errors that a model was trained for.

    Where they are none that an `Objective` knows, squared errors.
    """
    losses = loaded.losses
    if not losses.get("ssimulacra2") and not losses.get("ms_ssim"):
        return Objective()
    return Objective(
        **{term.name: losses.get(term.name, term.default) for term in fields(Objective)}
    )


class _Task:
    """A tile in its surroundings, with the best integers found so far.

    Attributes:
        integers: (1, C, h, w) by part.
        sent: the same by block, as an encoder takes them.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        pixels: NDArray[np.uint8],
        tile: Tile,
        y: NDArray[np.float32],
        quality: int,
    ) -> None:
        self.model, self.tables, self.quality = loaded.model, loaded.tables, quality
        self.twin = _single_precision(loaded)
        self.transforms = loaded.torch_model
        self.y = torch.from_numpy(y.copy())
        height, width = pixels.shape[:2]
        region = region_of(self.model, tile, height, width)
        around = analyse_tile(self.model, pixels, region, quality)
        self.surroundings = torch.from_numpy(around.copy())
        stride = self.model.stride_px
        top, left = (tile.top - region.top) // stride, (tile.left - region.left) // stride
        self.place = (slice(top, top + y.shape[2]), slice(left, left + y.shape[3]))
        shown = pixels[region.top :, region.left :][: region.height, : region.width]
        self.x = torch.from_numpy(shown.copy()).permute(2, 0, 1)[None] / 255.0
        # lambda weighs the mean over the three channels of the squared error in grey levels.
        self.lmbda = rate_weight(self.model, quality)
        self.objective = objective_of(loaded)
        self.bits_share = BITS_SHARE if self.objective.is_squared_error else EYE_BITS_SHARE
        self.weight = self.lmbda * 255.0**2 / self.x.shape[1]
        self.integers: dict[str, Tensor] = {}
        self.sent: dict[str, NDArray[np.int32]] = {}

    def show(self, y_hat: Tensor) -> Tensor:
        """Return the picture (1, 3, H, W) of the region with these latents in the tile."""
        rows, columns = self.place
        latents = self.surroundings.clone()
        latents[:, :, rows, columns] = y_hat
        x_hat = self.transforms.synthesis(latents, self.quality)
        return x_hat[:, :, : self.x.shape[2], : self.x.shape[3]]

    def error(self, x_hat: Tensor) -> Tensor:
        """Return what the errors of the region are worth in bits."""
        if self.objective.is_squared_error:
            return self.weight * (x_hat - self.x).square().sum()
        worth = self.objective.bits_per_pixel(self.x, x_hat, self.lmbda).sum()
        return worth * (self.x.shape[2] * self.x.shape[3])

    # ---- descent -----------------------------------------------------------------------

    def descend(self, num_steps: int, rounding: float, progress: Callable[[int], None]) -> None:
        """Find latents; keep the best integers on the way."""
        y, curvature, least = self.y, None, float("inf")
        for step in range(num_steps + 1):
            y = y.detach().requires_grad_()
            coder = Relax(self.tables, ROUNDING * rounding)
            y_hat = self._walk(coder, y)
            bits, error = coder.total_bits.sum(), self.error(self.show(y_hat))
            y_hat = y_hat.detach()
            cost = float((bits + error).detach())
            if not math.isfinite(cost):
                break
            if cost < least:
                least = cost
                self.integers, self.sent = coder.integers, coder.sent
            if step == num_steps:
                break
            (slope,) = torch.autograd.grad(self.bits_share * bits + error, y)
            if curvature is None:
                rounded_off = y.detach() - y_hat
                reach = rounded_off.square().mean(dim=(0, 2, 3), keepdim=True).sqrt()
                curvature = self._curvature_of_channels(y_hat, rounded_off)
            push = slope / curvature
            if not self.objective.is_squared_error:
                # Such errors are not quadratic: where they are flat their curvature says nothing.
                push = push.clamp(-EYE_REACH * reach, EYE_REACH * reach)
            size = STEP_SIZE * (1 - step / num_steps) ** 2
            y = y.detach() - size * (push + (y.detach() - y_hat))
            progress(step + 1)

    def _walk(self, coder: Relax, y: Tensor) -> Tensor:
        """Return y_hat of the tile, differentiable as the coder makes it."""
        shape = (y.shape[2], y.shape[3])
        return self.twin.code(shape, self.quality, coder, y, arithmetic=FLOAT)

    def _curvature_of_channels(self, y_hat: Tensor, error: Tensor) -> Tensor:
        """Return d2(error)/dy2 of each channel, (1, M, 1, 1), by a random direction.

        The direction is as long as the rounding errors, (1, M, h, w), of the channels.
        """
        size = error.square().mean(dim=(0, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)
        signs = _random_signs(y_hat)
        slopes = []
        for side in (-0.5, 0.5):
            latents = (y_hat + side * size * signs).requires_grad_()
            slopes += torch.autograd.grad(self.error(self.show(latents)), latents)
        change = signs * (slopes[1] - slopes[0])
        curvature = change.mean(dim=(0, 2, 3), keepdim=True) / size
        return curvature.clamp_min(0.3 * float(curvature.abs().median().clamp_min(1e-9)))

    # ---- decisions ---------------------------------------------------------------------

    def decide(self, num_steps: int, progress: Callable[[int], None]) -> None:
        """Change single integers of the finest part as long as that pays."""
        curvature = self._curvature_of_integers()
        finest = self._finest
        demanded = torch.zeros_like(self.integers[finest])
        costs, slope, lengths = self._survey(self.integers[finest])
        for step in range(num_steps):
            q = self.integers[finest]
            change, gain = torch.zeros_like(q), torch.zeros_like(q)
            for side in (-1, 1):
                costs_of_side = lengths[side] - lengths[0] + side * slope + 0.5 * curvature
                is_better = costs_of_side + demanded < gain
                change = torch.where(is_better, float(side), change)
                gain = torch.where(is_better, costs_of_side + demanded, gain)
            tried = (gain < -GAIN_MIN_BITS) & (torch.rand_like(q) < TRIED_SHARE)
            if tried.any():
                saved = costs - self._survey(q + change * tried, costs_only=True)[0]
                around = F.avg_pool2d(saved, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2)
                kept = tried & (around > 0)
                demanded += (tried & ~kept) * (0.5 - gain)
                found = self._survey(q + change * kept)
                if kept.any() and found[0].sum() < costs.sum():
                    costs, slope, lengths = found
                    self.integers[finest] = q + change * kept
            progress(step + 1)
        self.sent = self._relax(self.integers[finest])[1].sent

    @property
    def _finest(self) -> str:
        return list(self.integers)[-1]

    def _relax(self, q: Tensor) -> tuple[Tensor, Given]:
        """Return the picture of integers of the finest part, and who counted its bits."""
        coder = Given(self.tables, self.integers | {self._finest: q})
        return self.show(self._walk(coder, self.y)), coder

    def _survey(self, q: Tensor, costs_only: bool = False) -> tuple[Tensor, Tensor, dict]:
        """Return what integers cost, and what others would.

        Returns:
            costs: (1, 1, h, w) bits + error at each place.
            slope: of the error and of all other bits in each integer.
            lengths: bits (1, M, h, w) of the integers and, by side, of their neighbours.
        """
        q = q.detach().requires_grad_(not costs_only)
        with torch.set_grad_enabled(not costs_only):
            x_hat, coder = self._relax(q)
            cost = self.error(x_hat) + coder.total_bits.sum()
            slope = q if costs_only else torch.autograd.grad(cost, q)[0]
        indexes = rows_to_indexes(coder.rows[self._finest]).numpy()
        integers = q.detach().numpy().astype(np.int64)
        lengths = {
            side: torch.from_numpy(self.tables.code_lengths(integers + side, indexes)).float()
            for side in ((0,) if costs_only else (-1, 0, 1))
        }
        shown = x_hat.detach().mul(255.0).round().clamp(0, 255) / 255.0
        squared = self.weight * (shown - self.x).square().sum(dim=1, keepdim=True)
        costs = lengths[0].sum(dim=1, keepdim=True) + self._by_place(squared, q.shape[2:])
        return costs, slope.detach(), lengths

    def _by_place(self, squared: Tensor, size: torch.Size) -> Tensor:
        """Sum (1, 1, H, W) of the region over the squares of the latents of the tile."""
        rows, columns = self.place
        stride = self.model.stride_px
        cell = stride * (rows.stop - rows.start) // size[0]
        inner = squared[:, :, rows.start * stride :, columns.start * stride :]
        inner = inner[:, :, : size[0] * cell, : size[1] * cell]
        below, right = size[0] * cell - inner.shape[2], size[1] * cell - inner.shape[3]
        return F.avg_pool2d(F.pad(inner, (0, right, 0, below)), cell) * cell**2

    def _curvature_of_integers(self) -> Tensor:
        """Return d2(error)/dq2 of the finest integers, (1, M, h, w), at least about the mean.

        Integers act through the means of later passes as well, differently in each phase of the
        masks: means are taken over the positions of a channel and phase.
        """
        q = self.integers[self._finest]
        total = torch.zeros_like(q)
        for _ in range(NUM_PROBES):
            signs = _random_signs(q)
            probe = q.detach().requires_grad_()
            shown = self._relax(probe)[0]
            with torch.no_grad():
                change = self._relax(q + 0.1 * signs)[0] - shown
            (slope,) = torch.autograd.grad(shown, probe, change / 0.1)
            total += signs * slope
        curvature = 2 * self.weight * total / NUM_PROBES
        mean = torch.zeros_like(q)
        for row in range(2):
            for column in range(2):
                phase = curvature[:, :, row::2, column::2]
                if phase.numel():
                    mean[:, :, row::2, column::2] = phase.mean(dim=(2, 3), keepdim=True)
        return torch.maximum(curvature, CAUTION * mean)


def _cost(
    loaded: LoadedModel,
    task: _Task,
    y: NDArray[np.float32],
    integers: dict[str, NDArray[np.int32]] | None = None,
    rounding: float = 1.0,
) -> float:
    """Return bits + error of a tile as it is coded, of rounded latents or of given integers."""
    shape = (task.y.shape[2], task.y.shape[3])
    coder = Count(loaded.tables, rounding=rounding, integers=integers)
    y_hat = torch.from_numpy(task.model.code(shape, task.quality, coder, y))
    with torch.no_grad():
        shown = task.show(y_hat).mul(255.0).round().clamp(0, 255) / 255.0
    return coder.bits + float(task.error(shown))


def _random_signs(like: Tensor) -> Tensor:
    return torch.randint(0, 2, like.shape).to(like.dtype) * 2 - 1


@lru_cache(maxsize=2)
def _single_precision(loaded: LoadedModel) -> TorchModel:
    """Return the model with its exact networks in single precision, differentiable."""
    with torch.inference_mode(False):
        return copy.deepcopy(loaded.torch_model).float()
