"""Pretrained backbone weights from local folders or torch's cache; never random ones.

Files looked for, in this order, in `--weights-dir`, then in `weights/` of the data root:
`<network>_features.safetensors` (names as in torchvision's state dict) and the file of torchvision
itself (`alexnet-owt-7be5be79.pth`, ...). After that torch's own cache is used, which downloads the
file when there is a network.
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


def torchvision_module(purpose: str) -> Any:
    """Return torchvision.

    Raises:
        MetricError: it cannot be imported.
    """
    try:
        return import_torchvision()
    except ImportError as error:
        raise MetricError(f"{purpose} needs torchvision: pip install 'imgcodec[eval]'") from error


def find_local(network: str, options: MetricOptions) -> Path | None:
    """Return the weights file of a network without using the net, or None.

    Args:
        network: `alex`, `squeeze` or `vgg`.
        options: folders to look in.
    """
    import torch

    constructor, file_name = NETWORKS[network]
    folders = [options.weights_dir] if options.weights_dir else []
    if options.data_root:
        folders.append(options.data_root / "weights")
    candidates = [
        folder / name
        for folder in folders
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
