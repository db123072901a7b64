"""Losses on deep features, in pure torch: what they have in common, and LPIPS.

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric,
arXiv 1801.03924 (LPIPS, version 0.1).
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from imgcodec.codec.errors import OptionError
from imgcodec.codec.training.squeezenet import (
    find_file,
    load_tensors,
    read_backbone,
    squeeze_trunk,
    where_told,
)

MIN_SIDE_PX = 32
"""The backbones pool their input away below this."""
RANDOM_SHIFT_PX = 7
HEADS_FILES = ("lpips_squeeze_heads.safetensors", "squeeze.pth")
NORM_EPS = 1e-10
"""Under the root, so that a position without any activation has a gradient (of zero)."""


class DeepLoss(nn.Module, ABC):
    """Distance of the features of two pictures, differentiable in the second.

    Backbones pool by a stride (2 to 16 here), and a loss through one leaves errors of that period
    in what is trained with it. In training mode both pictures are therefore cropped at an offset
    that is drawn anew at every call.

    Frozen: it has buffers and parameters, but none of them is trained or belongs in a checkpoint.

    Args:
        backbone: maps pictures, normalised as LPIPS does, to feature maps (B, C_i, H_i, W_i).
        random_shift_px: largest offset; 0 turns the cropping off.
    """

    def __init__(self, backbone: nn.Module, random_shift_px: int = RANDOM_SHIFT_PX) -> None:
        super().__init__()
        self.backbone = backbone
        self.random_shift_px = random_shift_px
        shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]])
        self.register_buffer("gain", (2 / scale).view(1, 3, 1, 1))
        self.register_buffer("offset", ((-1 - shift) / scale).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, x: Tensor, x_hat: Tensor) -> Tensor:
        """Return (B,) float32 distances: 0 for equal pictures, lower is better.

        The backbone runs in the precision of the caller's autocast, the distance in float32. On one
        CPU core forward and backward of 8 crops of 192 px take 0.14 s in bfloat16 (SqueezeNet), and
        0.23 s in float32.

        Args:
            x: (B, 3, H, W) in [0, 1], the original: no gradient flows into it.
            x_hat: the same shape, the reconstruction.

        Raises:
            ValueError: a side is shorter than 32 px.
        """
        if min(x.shape[2:]) < MIN_SIDE_PX:
            sides = tuple(x.shape[2:])
            raise ValueError(f"features need sides of at least {MIN_SIDE_PX} px, got {sides}")
        if self.training:
            x, x_hat = self._shifted(x, x_hat)
        with torch.no_grad():
            references = self._features(x)
        features = self._features(x_hat)
        with torch.autocast(x.device.type, enabled=False):
            pairs = zip(references, features, strict=True)
            distances = [self.distance(i, a.float(), b.float()) for i, (a, b) in enumerate(pairs)]
        return torch.stack(distances).sum(dim=0)

    @abstractmethod
    def distance(self, index: int, reference: Tensor, other: Tensor) -> Tensor:
        """Return (B,) distances in a layer, of its features (B, C, H, W)."""

    def _features(self, x: Tensor) -> Sequence[Tensor]:
        return self.backbone(x * self.gain + self.offset)

    def _shifted(self, *pictures: Tensor) -> list[Tensor]:
        """Crop all pictures at one random offset, always to the same size."""
        places = []
        for side in pictures[0].shape[2:]:
            shift = min(self.random_shift_px, side - MIN_SIDE_PX)
            # Drawn on the device: a step that a GPU repeats by itself draws anew every time.
            start = torch.randint(0, shift + 1, (1,), device=pictures[0].device)
            places.append(start + torch.arange(side - shift, device=start.device))
        rows, columns = places
        return [x.index_select(2, rows).index_select(3, columns) for x in pictures]


class LpipsLoss(DeepLoss):
    """Learned distance of two pictures; in evaluation mode that of the lpips package.

    Args:
        backbone, random_shift_px: see `DeepLoss`.
        heads: non-negative weight of each channel, (C_i,) per feature map.
    """

    def __init__(
        self,
        backbone: nn.Module,
        heads: Iterable[Tensor],
        random_shift_px: int = RANDOM_SHIFT_PX,
    ) -> None:
        super().__init__(backbone, random_shift_px)
        self.heads = nn.ParameterList(nn.Parameter(head.detach().flatten()) for head in heads)
        self.requires_grad_(False)

    def distance(self, index: int, reference: Tensor, other: Tensor) -> Tensor:
        """Return (B,) distances in a layer."""
        return layer_distance(self.heads[index].float(), reference, other)


def layer_distance(head: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Return (B,) mean over positions of the weighted squared difference of unit features.

    Args:
        head: (C,) weight of each channel.
        reference, other: (B, C, H, W) features.
    """
    difference = (_unit(reference.float()) - _unit(other.float())).square()
    return torch.einsum("bchw,c->b", difference, head) / (reference.shape[2] * reference.shape[3])


def _unit(features: Tensor) -> Tensor:
    return features * (features.square().sum(dim=1, keepdim=True) + NORM_EPS).rsqrt()


class SqueezeLpips(LpipsLoss):
    """LPIPS 0.1 with the SqueezeNet 1.1 backbone: 0.7 M parameters, cheap enough for a CPU.

    Args:
        backbone: tensors named as in torchvision (``features.0.weight``, ...).
        heads: tensors named as in the lpips package (``lin0.model.1.weight``, ...).
        random_shift_px: see `LpipsLoss`.
    """

    def __init__(
        self,
        backbone: Mapping[str, Tensor],
        heads: Mapping[str, Tensor],
        random_shift_px: int = RANDOM_SHIFT_PX,
    ) -> None:
        trunk = squeeze_trunk(backbone)
        names = [f"lin{index}.model.1.weight" for index in range(len(trunk.TAPS))]
        super().__init__(trunk, [heads[name].float() for name in names], random_shift_px)

    @classmethod
    def from_folders(
        cls, folders: Sequence[Path], random_shift_px: int = RANDOM_SHIFT_PX
    ) -> SqueezeLpips:
        """Load backbone and heads from the first folders that hold them.

        The heads are taken from an installed lpips package where no folder has them; the package
        itself is not imported.

        Args:
            folders: where squeezenet1_1_features.safetensors and, optionally,
                lpips_squeeze_heads.safetensors or squeeze.pth lie.
            random_shift_px: see `LpipsLoss`.

        Raises:
            FileNotFoundError: a file is missing; the message says what to put where.
        """
        backbone = read_backbone(folders)
        heads = find_file(folders, HEADS_FILES) or _heads_of_package()
        if heads is None:
            raise FileNotFoundError(
                f"no {' or '.join(HEADS_FILES)} {where_told(folders)}, and lpips is not installed: "
                "put lpips/weights/v0.1/squeeze.pth of the package lpips there, or install lpips"
            )
        return cls(backbone, load_tensors(heads), random_shift_px)


def load_perceptual(network: str, folders: Sequence[Path], device: torch.device) -> nn.Module:
    """Return a perceptual loss, ``loss(x, x_hat) -> (B,)``, on a device.

    Raises:
        OptionError: `network` needs more than torch.
        FileNotFoundError: weights are missing.
    """
    if network != "squeeze":
        raise OptionError(
            f"perceptual network {network!r} cannot be loaded here: use 'squeeze', or pass a "
            "module for 'alex' and 'vgg', which need the package lpips"
        )
    return SqueezeLpips.from_folders(folders).to(device, memory_format=torch.channels_last)


def _heads_of_package() -> Path | None:
    spec = importlib.util.find_spec("lpips")
    locations = spec.submodule_search_locations if spec else None
    return find_file(
        [Path(place) / "weights" / "v0.1" for place in locations or ()], ["squeeze.pth"]
    )
