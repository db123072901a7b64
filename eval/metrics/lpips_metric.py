"""LPIPS 0.1 through the lpips package, with backbone weights that must be real.

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric,
arXiv 1801.03924.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from imgcodec.eval.metrics.backbones import load_features, torchvision_module
from imgcodec.eval.metrics.base import MetricError, MetricOptions, RgbArray
from imgcodec.eval.metrics.tensors import to_tensor

# The backbones pool their input away below this.
MIN_SIDE_PX = 32


class Lpips:
    """LPIPS distance: 0 for equal pictures, lower is better.

    Papers report the AlexNet backbone; values of different backbones are not comparable.

    Args:
        options: device and folders of weights.
        network: `alex`, `squeeze` or `vgg`.

    Raises:
        MetricError: package or weights are missing.
    """

    columns = ("lpips",)

    def __init__(self, options: MetricOptions, network: str) -> None:
        self._network = network
        self._device = options.device
        self._package, self._model = _load(network, options)

    def prepare(self, reference: RgbArray) -> Any:
        """Return the normalised features of the original by layer, None if it is too small."""
        return None if min(reference.shape[:2]) < MIN_SIDE_PX else self._features(reference)

    def measure(self, prepared: Any, image: RgbArray) -> dict[str, float]:
        """Return `lpips`, NaN where a side is shorter than 32 pixels."""
        import torch

        if prepared is None:
            return {"lpips": math.nan}

        total = 0.0
        with torch.inference_mode():
            for linear, reference, other in zip(
                self._model.lins, prepared, self._features(image), strict=True
            ):
                total += float(linear((reference - other) ** 2).mean(dim=(2, 3)))
        return {"lpips": total}

    def describe(self) -> str:
        """Return package and backbone."""
        return f"LPIPS 0.1, {self._network} backbone, lpips package"

    def _features(self, rgb: RgbArray) -> list[Any]:
        import torch

        with torch.inference_mode():
            scaled = to_tensor(rgb, self._device) / 127.5 - 1.0  # (1, 3, H, W) in -1..1
            layers = self._model.net(self._model.scaling_layer(scaled))
            return [self._package.normalize_tensor(layer) for layer in layers]


def differentiable_lpips(network: str, options: MetricOptions) -> Any:
    """Return LPIPS as a loss for training: a torch module, ``loss(x, x_hat) -> (B,)``.

    Its value in evaluation mode is that of `Lpips` on unrounded pictures.

    Args:
        network: `alex`, `squeeze` or `vgg`.
        options: device and folders of weights.

    Raises:
        MetricError: package or weights are missing.
    """
    from imgcodec.codec.training.perceptual import LpipsLoss

    _, model = _load(network, options)
    heads = [linear.model[-1].weight for linear in model.lins]
    return LpipsLoss(model.net, heads).to(options.device)


def _load(network: str, options: MetricOptions) -> tuple[Any, Any]:
    """Return the lpips package and its frozen model with real weights, on the device."""
    torchvision_module("LPIPS")
    try:
        import lpips
    except ImportError as error:
        raise MetricError("LPIPS needs the package lpips: pip install 'imgcodec[eval]'") from error
    state = load_features(network, options)
    # pnet_rand only keeps the package from downloading; every parameter is replaced below.
    with warnings.catch_warnings():
        # The package still uses torchvision's old keyword.
        warnings.simplefilter("ignore", UserWarning)
        model = lpips.LPIPS(net=network, pnet_rand=True, verbose=False)
    trunk = model.net.state_dict()
    missing = [name for name in trunk if _feature_name(name) not in state]
    if missing:
        raise MetricError(f"LPIPS {network}: weights lack {_feature_name(missing[0])}")
    model.net.load_state_dict({name: state[_feature_name(name)] for name in trunk})
    return lpips, model.eval().requires_grad_(False).to(options.device)


def _feature_name(trunk_name: str) -> str:
    """Return torchvision's name of a parameter of the package's sliced trunk."""
    return "features." + trunk_name.split(".", 1)[1]
