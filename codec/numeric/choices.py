"""Binary choices under integer tables: the alphabet of the discrete families.

A code of B bits is sent as B choices, root to leaf of a binary tree, each under the table row
that stands for the nearest logit. Any distribution over the codes is a product of such choices
(hierarchical softmax, Morin and Bengio 2005), so the entropy coder needs no table per symbol and
no softmax is ever computed.
"""

from __future__ import annotations

from imgcodec.codec.numeric.arrays import Array

NUM_ROWS = 64
ROWS_PER_LOGIT = 4.0
CENTRE = (NUM_ROWS - 1) / 2
"""Row r stands for the logit (r - CENTRE) / ROWS_PER_LOGIT of the choice 1: -7.9 to 7.9."""


def rows_of_logits(logits: Array) -> Array:
    """Return real-valued table rows of logits; exact for float64 on a dyadic grid."""
    return logits * ROWS_PER_LOGIT + CENTRE
