"""Registry of model families; the only place that names them all."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from imgcodec.codec.errors import OptionError
from imgcodec.codec.models.base import CodecModel, NoTerms
from imgcodec.codec.models.beta import BetaConfig, BetaModel
from imgcodec.codec.models.convvae import ConvVaeConfig, ConvVaeModel, ConvVaeTerms
from imgcodec.codec.models.cv import CvConfig, CvModel, CvTerms
from imgcodec.codec.models.discrete import DiscreteTerms
from imgcodec.codec.models.hier import HierConfig, HierModel, HierTerms
from imgcodec.codec.models.vq import VqConfig, VqModel
from imgcodec.codec.strict import build


@dataclass(frozen=True)
class Family:
    """What makes a model: its class, its sizes, and what only its training needs to know."""

    model: type[CodecModel]
    config: type
    terms: type = NoTerms


FAMILIES = {
    "beta": Family(BetaModel, BetaConfig),
    "hier": Family(HierModel, HierConfig, HierTerms),
    "vq": Family(VqModel, VqConfig, DiscreteTerms),
    "cv": Family(CvModel, CvConfig, CvTerms),
    "convvae": Family(ConvVaeModel, ConvVaeConfig, ConvVaeTerms),
}


def build_model(
    family: str, sizes: dict[str, Any], terms: dict[str, Any] | None = None
) -> CodecModel:
    """Return an untrained model of a family.

    Raises:
        OptionError: unknown family, name of a size or term, or type.
    """
    found = _find(family)
    config = build(found.config, _only_sizes(found, sizes), f"model of family {family}")
    return found.model(config, build(found.terms, terms or {}, f"terms of family {family}"))


def resolve(
    family: str, sizes: dict[str, Any], terms: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all sizes and terms of a family, those that were left out at their defaults.

    Raises:
        OptionError: as `build_model`.
    """
    found = _find(family)
    return (
        dataclasses.asdict(build(found.config, sizes, f"model of family {family}")),
        dataclasses.asdict(build(found.terms, terms, f"terms of family {family}")),
    )


def _find(family: str) -> Family:
    if family not in FAMILIES:
        raise OptionError(f"unknown model family '{family}'; known: {', '.join(FAMILIES)}")
    return FAMILIES[family]


def _only_sizes(family: Family, sizes: dict[str, Any]) -> dict[str, Any]:
    """Return sizes without the terms that the first weights keep among them."""
    terms = {field.name for field in dataclasses.fields(family.terms)}
    return {name: value for name, value in sizes.items() if name not in terms}
