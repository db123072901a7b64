"""Registry of model families; the only place that names them all."""

from __future__ import annotations

from typing import Any

from imgcodec.codec.errors import OptionError
from imgcodec.codec.models.base import CodecModel
from imgcodec.codec.models.beta import BetaConfig, BetaModel
from imgcodec.codec.models.convvae import ConvVaeConfig, ConvVaeModel
from imgcodec.codec.models.cv import CvConfig, CvModel
from imgcodec.codec.models.hier import HierConfig, HierModel
from imgcodec.codec.models.vq import VqConfig, VqModel
from imgcodec.codec.strict import build

FAMILIES = {
    "beta": (BetaModel, BetaConfig),
    "hier": (HierModel, HierConfig),
    "vq": (VqModel, VqConfig),
    "cv": (CvModel, CvConfig),
    "convvae": (ConvVaeModel, ConvVaeConfig),
}


def build_model(family: str, sizes: dict[str, Any]) -> CodecModel:
    """Return an untrained model of a family.

    Raises:
        OptionError: unknown family, size name or type.
    """
    if family not in FAMILIES:
        raise OptionError(f"unknown model family '{family}'; known: {', '.join(FAMILIES)}")
    model_class, config_class = FAMILIES[family]
    return model_class(build(config_class, sizes, f"model of family {family}"))
