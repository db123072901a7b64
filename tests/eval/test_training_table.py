"""Training runs side by side at equal rate."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgcodec.eval.training_table import epochs


def _run(folder: Path, psnr: float) -> Path:
    folder.mkdir()
    (folder / "validation.csv").write_text(
        "step,quality,bpp,psnr_db,lpips\n"
        f"100,10,0.04,{psnr},0.4\n100,90,0.16,{psnr + 2},0.2\n200,10,0.04,{psnr + 1},0.3\n"
    )
    (folder / "log.csv").write_text(
        "step,used_1,used_2,perplexity_1,perplexity_2\n90,0.5,0.7,10,30\n210,1.0,0.8,50,70\n"
    )
    return folder


def test_rates_are_made_equal_and_steps_matched(tmp_path):
    runs = [_run(tmp_path / "vq", 20.0), _run(tmp_path / "cv", 18.0)]
    lines = epochs({run.name: str(run) for run in runs}, 0.08, 50)
    assert lines[0][2] == "vq PSNR dB"
    cells = lines[1]
    assert cells[:2] == ["2.0", "100"]
    assert float(cells[2]) == pytest.approx(21.0)  # half way on the logarithm of the rate
    assert float(cells[3]) == pytest.approx(0.3)
    assert cells[4:6] == ["60.0 %", "20"]
    assert float(cells[6]) == pytest.approx(19.0)
    assert len(lines) == 3
