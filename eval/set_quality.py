"""One record for each distance between sets of pictures, as `quality.py` has them for pictures."""

from __future__ import annotations

from imgcodec.eval.quality import Quality

# name: (end of the metric's name, name of the network, class in `metrics/distribution.py`)
_NETWORKS = {
    "inception": ("", "Inception", "InceptionFeatures"),
    "squeeze": ("-squeeze", "SqueezeNet", "SqueezeFeatures"),
    "vgg": ("-vgg", "VGG-19", "VggFeatures"),
}
_FRECHET = ("fid", "Frechet distance", "https://arxiv.org/abs/1706.08500", 2)
_KERNEL = ("kid", "Kernel distance", "https://arxiv.org/abs/1801.01401", 4)


def _set_quality(kind: str, title: str, source: str, digits: int, network: str) -> Quality:
    suffix, label, maker = _NETWORKS[network]
    return Quality(
        column=f"{kind}{suffix}".replace("-", "_"),
        name=f"{kind}{suffix}",
        label=f"{kind}{suffix}" if suffix else kind.upper(),
        title=f"{title}, patches of 256 px, {label}",
        source=source,
        maker=f"distribution.{maker}",
        digits=digits,
        best=0.0,
        is_better_up=False,
        module="torch_fidelity",
        package="torch-fidelity",
    )


SET_QUALITIES = tuple(
    _set_quality(*kind, network) for network in _NETWORKS for kind in (_FRECHET, _KERNEL)
)
"""What is measured of a whole set of pictures at one setting (`imgcodec.eval.sets`)."""


def set_metric_names() -> list[str]:
    """Return all names of metrics of sets."""
    return [quality.name for quality in SET_QUALITIES]
