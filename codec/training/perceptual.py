"""LPIPS as a loss, in pure torch: the SqueezeNet 1.1 backbone, or any other that is passed in.

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric,
arXiv 1801.03924 (LPIPS, version 0.1); Iandola et al., SqueezeNet, arXiv 1602.07360.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from imgcodec.codec.errors import OptionError

MIN_SIDE_PX = 32
"""The backbones pool their input away below this."""
RANDOM_SHIFT_PX = 7
BACKBONE_FILE = "squeezenet1_1_features.safetensors"
HEADS_FILES = ("lpips_squeeze_heads.safetensors", "squeeze.pth")
NORM_EPS = 1e-10
"""Under the root, so that a position without any activation has a gradient (of zero)."""


class LpipsLoss(nn.Module):
    """Learned distance of two pictures, differentiable in the second.

    Backbones pool by a stride (2 to 16 here), and a loss through one leaves errors of that period
    in what is trained with it. In training mode both pictures are therefore cropped at an offset
    that is drawn anew at every call; in evaluation mode the value is that of the lpips package.

    Frozen: it has buffers and parameters, but none of them is trained or belongs in a checkpoint.

    Args:
        backbone: maps pictures, normalised as LPIPS does, to feature maps (B, C_i, H_i, W_i).
        heads: non-negative weight of each channel, (C_i,) per feature map.
        random_shift_px: largest offset; 0 turns the cropping off.
    """

    def __init__(
        self,
        backbone: nn.Module,
        heads: Iterable[Tensor],
        random_shift_px: int = RANDOM_SHIFT_PX,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.random_shift_px = random_shift_px
        self.heads = nn.ParameterList(nn.Parameter(head.detach().flatten()) for head in heads)
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
            OptionError: a side is shorter than 32 px.
        """
        if min(x.shape[2:]) < MIN_SIDE_PX:
            raise ValueError(f"LPIPS needs sides of at least {MIN_SIDE_PX} px, got {x.shape[2:]}")
        if self.training:
            x, x_hat = self._shifted(x, x_hat)
        with torch.no_grad():
            references = self._features(x)
        features = self._features(x_hat)
        with torch.autocast(x.device.type, enabled=False):
            layers = zip(self.heads, references, features, strict=True)
            distances = [layer_distance(head.float(), a, b) for head, a, b in layers]
        return torch.stack(distances).sum(dim=0)

    def _features(self, x: Tensor) -> Sequence[Tensor]:
        return self.backbone(x * self.gain + self.offset)

    def _shifted(self, *pictures: Tensor) -> list[Tensor]:
        """Crop all pictures at one random offset, always to the same size."""
        sides = pictures[0].shape[2:]
        shifts = [min(self.random_shift_px, side - MIN_SIDE_PX) for side in sides]
        top, left = (int(torch.randint(0, shift + 1, ())) for shift in shifts)
        height, width = (side - shift for side, shift in zip(sides, shifts, strict=True))
        return [x[:, :, top : top + height, left : left + width] for x in pictures]


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
        trunk = SqueezeTrunk()
        trunk.load_state_dict({name: tensor.float() for name, tensor in backbone.items()})
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
        backbone = _find(folders, [BACKBONE_FILE])
        if backbone is None:
            raise FileNotFoundError(
                f"no {BACKBONE_FILE} {_where(folders)}: put the parameters 'features.*' of "
                "torchvision's squeezenet1_1 there, as safetensors"
            )
        heads = _find(folders, HEADS_FILES) or _heads_of_package()
        if heads is None:
            raise FileNotFoundError(
                f"no {' or '.join(HEADS_FILES)} {_where(folders)}, and lpips is not installed: "
                "put lpips/weights/v0.1/squeeze.pth of the package lpips there, or install lpips"
            )
        return cls(_load(backbone), _load(heads), random_shift_px)


class SqueezeTrunk(nn.Module):
    """The convolutional part of SqueezeNet 1.1, with torchvision's names of the parameters."""

    TAPS = (1, 4, 7, 9, 10, 11, 12)
    """Layers whose outputs LPIPS compares: 64, 128, 256, 384, 384, 512, 512 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _Fire(64, 16, 64),
            _Fire(128, 16, 64),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _Fire(128, 32, 128),
            _Fire(256, 32, 128),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _Fire(256, 48, 192),
            _Fire(384, 48, 192),
            _Fire(384, 64, 256),
            _Fire(512, 64, 256),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to seven feature maps at 1/2, 1/4, 1/8 and four times 1/16."""
        taps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.TAPS:
                taps.append(x)
        return taps


class _Fire(nn.Module):
    """Squeeze by a 1x1 convolution, expand by a 1x1 and a 3x3 one side by side."""

    def __init__(self, in_channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu_()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu_()


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


def _find(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    candidates = (folder / name for folder in folders for name in names)
    return next((path for path in candidates if path.is_file()), None)


def _where(folders: Sequence[Path]) -> str:
    return f"in {', '.join(map(str, folders))}" if folders else "(no folder of weights is given)"


def _heads_of_package() -> Path | None:
    spec = importlib.util.find_spec("lpips")
    locations = spec.submodule_search_locations if spec else None
    return _find([Path(place) / "weights" / "v0.1" for place in locations or ()], ["squeeze.pth"])


def _load(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
