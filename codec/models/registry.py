"""Registry of the models in torch; `families.registry` has their sizes."""

from __future__ import annotations

from typing import Any

from imgcodec.codec.families.registry import config_of, find_family, terms_of
from imgcodec.codec.models.base import TorchModel
from imgcodec.codec.models.beta import BetaModel
from imgcodec.codec.models.convvae import ConvVaeModel
from imgcodec.codec.models.cv import CvModel
from imgcodec.codec.models.hier import HierModel
from imgcodec.codec.models.vq import VqModel

MODELS = {
    "beta": BetaModel,
    "hier": HierModel,
    "vq": VqModel,
    "cv": CvModel,
    "convvae": ConvVaeModel,
}


def build_model(
    family: str, sizes: dict[str, Any], terms: dict[str, Any] | None = None
) -> TorchModel:
    """Return an untrained model of a family.

    Raises:
        OptionError: unknown family, name of a size or term, or type.
    """
    find_family(family)
    return MODELS[family](config_of(family, sizes), terms_of(family, terms or {}))
