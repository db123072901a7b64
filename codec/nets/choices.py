"""Binary choices under integer tables: the alphabet of the discrete families.

A code of B bits is sent as B choices, root to leaf of a binary tree, each under the table row
that stands for the nearest logit. Any distribution over the codes is a product of such choices
(hierarchical softmax, Morin and Bengio 2005), so the entropy coder needs no table per symbol and
no softmax is ever computed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

NUM_ROWS = 64
ROWS_PER_LOGIT = 4.0
CENTRE = (NUM_ROWS - 1) / 2
"""Row r stands for the logit (r - CENTRE) / ROWS_PER_LOGIT of the choice 1: -7.9 to 7.9."""


def rows_of_logits(logits: Tensor) -> Tensor:
    """Return the table rows (int64) of logits; exact for float64 on a dyadic grid."""
    rows = torch.floor(logits * ROWS_PER_LOGIT + (CENTRE + 0.5))
    return rows.clamp(0, NUM_ROWS - 1).long()


def path_of_codes(codes: Tensor, num_bits: int) -> tuple[Tensor, Tensor]:
    """Return the nodes on the way to each code, and the choices made there.

    Nodes are numbered as in a heap: the root is 1, below n are 2 n and 2 n + 1.

    Args:
        codes: int64 of any shape, in [0, 2^num_bits).
        num_bits: depth of the tree.

    Returns:
        nodes and choices, both int64 with a last axis of num_bits, root first.
    """
    shifts = torch.arange(num_bits, -1, -1, device=codes.device)
    prefixes = (codes + (1 << num_bits))[..., None] >> shifts
    return prefixes[..., :-1], prefixes[..., 1:] & 1


def bits_of_choices(logits: Tensor, choices: Tensor) -> Tensor:
    """Return the bits of choices under real-valued logits of the same shape (training)."""
    loss = F.binary_cross_entropy_with_logits(logits.float(), choices.float(), reduction="none")
    return loss * (1.0 / np.log(2.0))
