"""Training computes in what the machine multiplies in."""

from __future__ import annotations

import pytest
import torch

from imgcodec.codec.training import precision
from imgcodec.codec.training.optim import orthogonalise
from imgcodec.codec.training.precision import choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("has_it", [True, False])
def test_auto_follows_the_processor_and_others_are_obeyed(monkeypatch, has_it):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_it)
    assert precision.has_bfloat16(CPU) is has_it
    assert choose_precision("auto", CPU) is (torch.bfloat16 if has_it else torch.float32)
    assert choose_precision("bfloat16", CPU) is torch.bfloat16
    assert choose_precision("float32", CPU) is torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_muons_iterations_run_in_it(dtype):
    assert orthogonalise(torch.randn(2, 8, 5), dtype).dtype is dtype
