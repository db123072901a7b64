"""Pretrained backbone weights from local folders or torch's cache; never random ones.

Files looked for, in this order, in `--weights-dir`, then in `weights/` of the data root:
`<network>_features.safetensors` (names as in torchvision's state dict) and the file of torchvision
itself (`alexnet-owt-7be5be79.pth`, ...). After that torch's own cache is used, which downloads the
file when there is a network. VGG-19 with normalised activations has one file and no address.
"""

from __future__ import annotations

import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgcodec.eval._torchvision import import_torchvision
from imgcodec.eval.metrics.base import MetricError, MetricOptions

_URL_ROOT = "https://download.pytorch.org/models/"
# name: (torchvision constructor, its weights file)
NETWORKS = {
    "alex": ("alexnet", "alexnet-owt-7be5be79.pth"),
    "squeeze": ("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth"),
    "vgg": ("vgg16", "vgg16-397923af.pth"),
}
NORMALISED_VGG_FILE = "vgg19_normalised_relu3_1.safetensors"
# Its layers in order, a ReLU after each convolution.
_VGG_LAYERS = ("conv1_1", "conv1_2", "pool", "conv2_1", "conv2_2", "pool", "conv3_1")


def torchvision_module(purpose: str) -> Any:
    """Return torchvision.

    Raises:
        MetricError: it cannot be imported.
    """
    try:
        return import_torchvision()
    except ImportError as error:
        raise MetricError(f"{purpose} needs torchvision: pip install 'imgcodec[eval]'") from error


def weights_folders(options: MetricOptions) -> list[Path]:
    """Return the folders that backbone weights are looked for in, before any cache."""
    folders = [options.weights_dir] if options.weights_dir else []
    return [*folders, options.data_root / "weights"] if options.data_root else folders


def find_local(network: str, options: MetricOptions) -> Path | None:
    """Return the weights file of a network without using the net, or None.

    Args:
        network: `alex`, `squeeze` or `vgg`.
        options: folders to look in.
    """
    import torch

    constructor, file_name = NETWORKS[network]
    candidates = [
        folder / name
        for folder in weights_folders(options)
        for name in (f"{constructor}_features.safetensors", file_name)
    ]
    candidates.append(Path(torch.hub.get_dir()) / "checkpoints" / file_name)
    return next((path for path in candidates if path.is_file()), None)


def load_features(network: str, options: MetricOptions) -> dict[str, Any]:
    """Return the convolutional parameters (`features.*`, float32) of an ImageNet network.

    Args:
        network: `alex`, `squeeze` or `vgg`.
        options: folders to look in before torch's cache.

    Raises:
        MetricError: the weights are neither here nor can they be downloaded.
    """
    import torch

    path = find_local(network, options)
    if path is None:
        state = _download(network)
    elif path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    return {
        name: tensor.to(torch.float32)
        for name, tensor in state.items()
        if name.startswith("features.")
    }


def _download(network: str) -> Mapping[str, Any]:
    import torch

    constructor, file_name = NETWORKS[network]
    try:
        state: Mapping[str, Any] = torch.hub.load_state_dict_from_url(
            _URL_ROOT + file_name,
            map_location="cpu",
            check_hash=True,
            weights_only=True,
            progress=False,
        )
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise MetricError(
            f"no weights of the {constructor} backbone, and {_URL_ROOT + file_name} cannot be "
            f"fetched ({error}): put {file_name} or {constructor}_features.safetensors into a "
            f"folder and name it with --weights-dir, or into weights/ of IMGCODEC_DATA"
        ) from error
    return state


def squeezenet_trunk(options: MetricOptions) -> Any:
    """Return SqueezeNet 1.1's convolutional part (torch module, eval) with ImageNet weights."""
    torchvision = torchvision_module("SqueezeNet features")
    features = torchvision.models.squeezenet1_1(weights=None).features
    state = load_features("squeeze", options)
    features.load_state_dict(
        {name.removeprefix("features."): tensor for name, tensor in state.items()}
    )
    return features.eval().requires_grad_(False).to(options.device)


def normalised_vgg_trunk(options: MetricOptions) -> Any:
    """Return VGG-19 up to relu3_1 with normalised activations (torch module, eval).

    It maps RGB in [0, 1], (B, 3, H, W), to (B, 256, H/4, W/4). Every channel was scaled so that its
    mean activation over ImageNet is 1, which changes no decision of the network, and padding
    reflects the picture.

    Raises:
        MetricError: the weights file is in none of the folders; nothing is downloaded.

    Source: Gatys et al., arXiv 1508.06576 (the scaling); the layers of Simonyan and Zisserman,
        arXiv 1409.1556.
    """
    from safetensors.torch import load_file
    from torch import nn

    paths = [folder / NORMALISED_VGG_FILE for folder in weights_folders(options)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise MetricError(
            f"no VGG-19 weights: put {NORMALISED_VGG_FILE} into a folder and name it with "
            "--weights-dir, or into weights/ of IMGCODEC_DATA"
        )
    state = load_file(path)
    trunk = nn.Sequential()

    def add(name: str, **padding: Any) -> None:
        weight = state[f"{name}.weight"]
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], **padding)
        layer.load_state_dict({"weight": weight, "bias": state[f"{name}.bias"]})
        trunk.add_module(name, layer)

    add("preprocess")
    for number, name in enumerate(_VGG_LAYERS):
        if name == "pool":
            trunk.add_module(f"{name}{number}", nn.MaxPool2d(2, ceil_mode=True))
        else:
            add(name, padding=1, padding_mode="reflect")
            trunk.add_module(f"relu{number}", nn.ReLU())
    return trunk.eval().requires_grad_(False).to(options.device)
