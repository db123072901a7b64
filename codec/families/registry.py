"""Registry of model families; the only place but `models.registry` that names them all."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from imgcodec.codec.errors import OptionError
from imgcodec.codec.families.base import CodecModel
from imgcodec.codec.families.beta import BetaConfig, BetaFamily
from imgcodec.codec.families.convvae import ConvVaeConfig, ConvVaeFamily, ConvVaeTerms
from imgcodec.codec.families.cv import CvConfig, CvFamily, CvTerms
from imgcodec.codec.families.discrete import DiscreteTerms
from imgcodec.codec.families.hier import HierConfig, HierFamily, HierTerms
from imgcodec.codec.families.vq import VqConfig, VqFamily
from imgcodec.codec.strict import build


@dataclass(frozen=True)
class NoTerms:
    """Of families whose training is told everything by the loss."""


@dataclass(frozen=True)
class Family:
    """What makes a model: its class, its sizes, and what only its training needs to know."""

    model: type[CodecModel]
    config: type
    terms: type = NoTerms


FAMILIES = {
    "beta": Family(BetaFamily, BetaConfig),
    "hier": Family(HierFamily, HierConfig, HierTerms),
    "vq": Family(VqFamily, VqConfig, DiscreteTerms),
    "cv": Family(CvFamily, CvConfig, CvTerms),
    "convvae": Family(ConvVaeFamily, ConvVaeConfig, ConvVaeTerms),
}


def find_family(family: str) -> Family:
    """Return what makes a model of a family.

    Raises:
        OptionError: there is no such family.
    """
    if family not in FAMILIES:
        raise OptionError(f"unknown model family '{family}'; known: {', '.join(FAMILIES)}")
    return FAMILIES[family]


def config_of(family: str, sizes: dict[str, Any]) -> Any:
    """Return the sizes of a family, without the terms that the first weights keep among them.

    Raises:
        OptionError: unknown family, name of a size, or type.
    """
    found = find_family(family)
    terms = {field.name for field in dataclasses.fields(found.terms)}
    own = {name: value for name, value in sizes.items() if name not in terms}
    return build(found.config, own, f"model of family {family}")


def terms_of(family: str, terms: dict[str, Any]) -> Any:
    """Return what only the training of a family needs to know.

    Raises:
        OptionError: unknown family, name of a term, or type.
    """
    return build(find_family(family).terms, terms, f"terms of family {family}")


def resolve(
    family: str, sizes: dict[str, Any], terms: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all sizes and terms of a family, those that were left out at their defaults.

    Raises:
        OptionError: as `config_of` and `terms_of`.
    """
    config = build(find_family(family).config, sizes, f"model of family {family}")
    return dataclasses.asdict(config), dataclasses.asdict(terms_of(family, terms))
