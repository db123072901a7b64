"""In which numbers a machine trains fastest."""

from __future__ import annotations

import torch

AUTO, BFLOAT16, FLOAT32 = PRECISIONS = ("auto", "bfloat16", "float32")


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type that a recipe's precision stands for on a device.

    On processors without bfloat16 it is emulated: a step took ten times as long as in float32 on
    one with AVX2 alone. GPUs have TF32, which multiplies as fast as most of a step needs and keeps
    three more bits of the means: they are as fine as the smallest steps ask for.

    Args:
        name: one of `PRECISIONS`; "auto" is bfloat16 on processors that multiply in it.
        device: that trains.
    """
    if name == AUTO:
        is_wanted = device.type == "cpu" and has_bfloat16(device)
        return torch.bfloat16 if is_wanted else torch.float32
    return torch.bfloat16 if name == BFLOAT16 else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware multiplies in bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported()
    return True
