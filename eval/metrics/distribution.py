"""FID and KID between the patches of originals and of decoded images.

Patches of 256 pixels as in HiFiC: a grid from the corner, and the same grid moved by half a patch.
`fid` and `kid` use the Inception network of the original FID. Other networks, both of ImageNet and
averaged over positions, have their name behind: `-squeeze` is SqueezeNet 1.1 before its classifier,
`-vgg` VGG-19 up to relu3_1. Their distances are not comparable with published FID, nor with each
other, and are never called so. Both distances are those of the torch-fidelity package.

Sources: Heusel et al., arXiv 1706.08500; Binkowski et al., arXiv 1801.01401; Mentzer et al.
(HiFiC), arXiv 2006.09965, A.7.
"""

from __future__ import annotations

import importlib
import math
import urllib.error
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from imgcodec.eval.metrics.backbones import (
    normalised_vgg_trunk,
    squeezenet_trunk,
    torchvision_module,
    weights_folders,
)
from imgcodec.eval.metrics.base import MetricError, MetricOptions, RgbArray
from imgcodec.eval.set_quality import set_metric_names

PATCH_PX = 256
Features = npt.NDArray[np.float32]

_BATCH = 16
_KID_SUBSET = 1000
_KID_SUBSETS = 100
_INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
_INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/" + _INCEPTION_FILE
)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class FeatureExtractor(Protocol):
    """Maps patches to feature vectors."""

    def __call__(self, patches: npt.NDArray[np.uint8]) -> Features:
        """Return (N, D) features of uint8 patches (N, 256, 256, 3)."""
        ...


def patches_of(rgb: RgbArray, size_px: int = PATCH_PX) -> npt.NDArray[np.uint8]:
    """Return all whole patches (N, size, size, 3) of both grids; none of a smaller image."""
    found = []
    for offset in (0, size_px // 2):
        height, width = rgb.shape[0] - offset, rgb.shape[1] - offset
        found += [
            rgb[offset + top : offset + top + size_px, offset + left : offset + left + size_px]
            for top in range(0, height - size_px + 1, size_px)
            for left in range(0, width - size_px + 1, size_px)
        ]
    return np.stack(found) if found else np.zeros((0, size_px, size_px, 3), np.uint8)


def frechet_distance(first: Features, second: Features) -> float:
    """Return the Frechet distance of two sets of features (N, D), NaN below two of a set."""
    if min(len(first), len(second)) < 2:
        return math.nan
    import torch

    package = _fidelity()
    statistics = [
        package.metric_fid.fid_features_to_statistics(torch.from_numpy(features))
        for features in (first, second)
    ]
    result = package.metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    return float(result[package.KEY_METRIC_FID])


def kernel_distance(first: Features, second: Features) -> float:
    """Return the kernel distance (cubic kernel, unbiased) of two sets of features (N, D).

    Sets of up to 1000 are taken whole; of larger ones 100 random subsets of 1000 are averaged.
    NaN below two of a set.
    """
    count = min(len(first), len(second))
    if count < 2:
        return math.nan
    import torch

    package = _fidelity()
    result = package.metric_kid.kid_features_to_metric(
        torch.from_numpy(first),
        torch.from_numpy(second),
        kid_subset_size=min(count, _KID_SUBSET),
        kid_subsets=1 if count <= _KID_SUBSET else _KID_SUBSETS,
        verbose=False,
    )
    return float(result[package.KEY_METRIC_KID_MEAN])


def create_extractors(
    names: Sequence[str], options: MetricOptions
) -> dict[str, tuple[FeatureExtractor, list[str]]]:
    """Return extractor and metric names for each backbone that a list of set metrics needs.

    Raises:
        MetricError: unknown metric, or missing package or weights.
    """
    for name in names:
        if name not in set_metric_names():
            raise MetricError(f"unknown set metric {name!r}: use {', '.join(set_metric_names())}")
    wanted: dict[str, list[str]] = {}
    for name in names:
        wanted.setdefault(name.partition("-")[2] or "inception", []).append(name)
    factories: dict[str, Callable[[MetricOptions], FeatureExtractor]] = {
        "inception": InceptionFeatures,
        "squeeze": SqueezeFeatures,
        "vgg": VggFeatures,
    }
    return {backbone: (factories[backbone](options), used) for backbone, used in wanted.items()}


def set_distance(name: str, originals: Features, decoded: Features) -> float:
    """Return the distance that a set metric's name stands for."""
    distance = frechet_distance if name.startswith("fid") else kernel_distance
    return distance(originals, decoded)


class SqueezeFeatures:
    """SqueezeNet 1.1 before its classifier, averaged over positions: 512 numbers a patch."""

    def __init__(self, options: MetricOptions) -> None:
        self._trunk = squeezenet_trunk(options)
        self._device = options.device

    def __call__(self, patches: npt.NDArray[np.uint8]) -> Features:
        """Return (N, 512) features of uint8 patches."""
        import torch

        mean = torch.tensor(_IMAGENET_MEAN, device=self._device).view(1, 3, 1, 1)
        std = torch.tensor(_IMAGENET_STD, device=self._device).view(1, 3, 1, 1)

        def forward(batch: Any) -> Any:
            return self._trunk((batch.float() / 255.0 - mean) / std).mean(dim=(2, 3))

        return _in_batches(forward, patches, self._device)


class VggFeatures:
    """VGG-19 up to relu3_1, averaged over positions: 256 numbers a patch.

    So early in a network they see texture, blur and blocks rather than what is shown.
    """

    def __init__(self, options: MetricOptions) -> None:
        self._trunk = normalised_vgg_trunk(options)
        self._device = options.device

    def __call__(self, patches: npt.NDArray[np.uint8]) -> Features:
        """Return (N, 256) features of uint8 patches."""
        return _in_batches(
            lambda batch: self._trunk(batch.float() / 255.0).mean(dim=(2, 3)),
            patches,
            self._device,
        )


class InceptionFeatures:
    """The Inception network of the original FID (torch-fidelity's port): 2048 numbers a patch."""

    def __init__(self, options: MetricOptions) -> None:
        import torch

        package = _fidelity()
        path = _inception_weights(options)
        # The package unpickles freely; this refuses a file that is more than tensors.
        torch.load(path, map_location="cpu", weights_only=True)
        self._model = package.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
        ).to(options.device)
        self._device = options.device

    def __call__(self, patches: npt.NDArray[np.uint8]) -> Features:
        """Return (N, 2048) features of uint8 patches."""
        return _in_batches(lambda batch: self._model(batch)[0], patches, self._device)


def _in_batches(forward: Any, patches: npt.NDArray[np.uint8], device: str) -> Features:
    import torch

    found = []
    with torch.inference_mode():
        for start in range(0, len(patches), _BATCH):
            planes = np.ascontiguousarray(patches[start : start + _BATCH].transpose(0, 3, 1, 2))
            found.append(forward(torch.from_numpy(planes).to(device)).float().cpu().numpy())
    return np.concatenate(found) if found else np.zeros((0, 1), np.float32)


def _inception_weights(options: MetricOptions) -> Path:
    import torch

    cached = Path(torch.hub.get_dir()) / "checkpoints" / _INCEPTION_FILE
    for path in (*(folder / _INCEPTION_FILE for folder in weights_folders(options)), cached):
        if path.is_file():
            return path
    try:
        torch.hub.load_state_dict_from_url(
            _INCEPTION_URL, map_location="cpu", check_hash=True, weights_only=True, progress=False
        )
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise MetricError(
            f"no Inception weights for FID, and {_INCEPTION_URL} cannot be fetched ({error}): "
            f"put {_INCEPTION_FILE} into a folder and name it with --weights-dir, or use "
            "fid-squeeze or fid-vgg, which are other numbers"
        ) from error
    return cached


def _fidelity() -> Any:
    torchvision_module("FID and KID")
    try:
        package = importlib.import_module("torch_fidelity")
        for part in ("metric_fid", "metric_kid"):
            importlib.import_module(f"torch_fidelity.{part}")
    except ImportError as error:
        raise MetricError(
            "FID and KID need the package torch-fidelity: pip install torch-fidelity"
        ) from error
    return package
