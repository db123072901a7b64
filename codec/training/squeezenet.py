"""SqueezeNet 1.1 as the backbone of losses: its convolutions, and where their weights are found.

Source: Iandola et al., SqueezeNet, arXiv 1602.07360.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

BACKBONE_FILE = "squeezenet1_1_features.safetensors"


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

    def forward(self, x: Tensor, count: int = len(TAPS)) -> list[Tensor]:
        """Map (B, 3, H, W) to the first feature maps at 1/2, 1/4, 1/8 and four times 1/16."""
        taps: list[Tensor] = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.TAPS:
                taps.append(x)
            if len(taps) == count:
                break
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


def squeeze_trunk(tensors: Mapping[str, Tensor]) -> SqueezeTrunk:
    """Return the trunk with tensors named as in torchvision."""
    trunk = SqueezeTrunk()
    trunk.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return trunk


def read_backbone(folders: Sequence[Path]) -> dict[str, Tensor]:
    """Return tensors named as in torchvision from the first folder that has them.

    Raises:
        FileNotFoundError: none has them; the message says what to put where.
    """
    path = find_file(folders, [BACKBONE_FILE])
    if path is None:
        raise FileNotFoundError(
            f"no {BACKBONE_FILE} {where_told(folders)}: put the parameters 'features.*' of "
            "torchvision's squeezenet1_1 there, as safetensors"
        )
    return load_tensors(path)


def find_file(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """Return the first file of some names in some folders, None if there is none."""
    candidates = (folder / name for folder in folders for name in names)
    return next((path for path in candidates if path.is_file()), None)


def where_told(folders: Sequence[Path]) -> str:
    """Return for a message where weights were looked for."""
    return f"in {', '.join(map(str, folders))}" if folders else "(no folder of weights is given)"


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, of safetensors or of torch."""
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
