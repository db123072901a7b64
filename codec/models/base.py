"""What every family is in torch: modules of a `families.base.CodecModel`, and their training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from imgcodec.codec.errors import OptionError
from imgcodec.codec.families.coders import thresholds_of
from imgcodec.codec.models.relaxed import Train
from imgcodec.codec.nets.exact import snap_

GRAIN = "g_s.grain."
"""Beginning of the names of the noise of a synthesis."""


@dataclass(frozen=True)
class TrainOutput:
    """What a model returns for a training batch of B crops.

    Attributes:
        x_hat: (B, 3, H, W) reconstructions of the integers that would be sent.
        bits: (B,) bits of these integers, differentiable where the rate shapes the latents.
        auxiliary: scalar to add to the loss as it is (commitment and the like).
        stats: scalars for the log.
    """

    x_hat: Tensor
    bits: Tensor
    auxiliary: Tensor
    stats: dict[str, Tensor] = field(default_factory=dict)


class TorchModel(nn.Module, ABC):
    """The side of a family that trains, to be mixed with its walk.

    A class of a model, `class BetaModel(BetaFamily, TorchModel)`, has the modules whose names its
    walk knows, the float networks that it lists, and `forward`.
    """

    family: str
    max_level: float
    stride_px: int
    thresholds: Tensor
    is_capturable: ClassVar[bool] = False
    """Whether nothing in `forward` waits for the device, so that a GPU can replay it."""

    @property
    def nets(self) -> Any:
        """Float networks by name: this model's own."""
        return self

    def add_training_coder(self) -> None:
        """Keep on the device what `training_coder` needs there."""
        thresholds = torch.from_numpy(thresholds_of(self.default_tables()))
        self.register_buffer("thresholds", thresholds, persistent=False)
        self._places: dict[Any, Tensor] = {}

    def training_coder(self) -> Train:
        """Return the coder of a training batch, which waits for the device in the first alone."""
        return Train(self.thresholds, self._places)

    @abstractmethod
    def init_from_patches(self, patches: Tensor) -> None:
        """Start from the statistics of patches (N, 3 * stride^2), pixel-unshuffled x - 0.5."""

    def adopt(self, tensors: Mapping[str, Tensor], crops: Tensor) -> None:
        """Start from the parameters of a model of another family, and from crops.

        Raises:
            OptionError: this family has no use for them.
        """
        raise OptionError(f"a {self.family} model cannot start from another family")

    def upgrade(self, tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the tensors of this model that compute what smaller sizes of it computed.

        A run that continues another one may add parts that start without effect, and rates; in all
        families with `Grain` its noise.

        Args:
            tensors: state of a model of this family.
            sizes: its sizes, the model section of its recipe.
        """
        own = self.state_dict()
        return {name: own[name] for name in own if name.startswith(GRAIN)} | dict(tensors)

    @abstractmethod
    def forward(self, x: Tensor, level: Tensor) -> TrainOutput:
        """Run a training batch: x (B, 3, H, W) in [0, 1], level (B,) on the rate axis."""

    def prepare(self) -> TorchModel:
        """Freeze for coding: eval mode, exact tensors on their grids; return the model."""
        self.eval().requires_grad_(False)
        snap_(self)
        return self
