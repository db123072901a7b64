"""BD-rate against an independent integral, known answers, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imgcodec.eval.bdrate import BdRateError, bd_rate

pytest.importorskip("bjontegaard")
pchip_interpolate = pytest.importorskip("scipy.interpolate").pchip_interpolate

JPEG = (
    [0.245, 0.376, 0.589, 1.043, 1.777, 2.591],
    [23.18, 25.90, 28.27, 31.32, 34.78, 37.69],
)
AVIF = (
    [0.092, 0.203, 0.464, 1.050, 1.877, 2.797],
    [25.14, 27.44, 30.63, 35.12, 39.22, 42.12],
)


def percent(*curves: Any, **options: Any) -> float:
    return bd_rate(*curves, **options).percent


@pytest.mark.parametrize("method", ["pchip", "cubic"])
def test_the_mean_of_an_independent_integral(method) -> None:
    grid = np.linspace(25.14, 37.69, 20001)
    logs = [_log_rate(grid, *curve, method) for curve in (JPEG, AVIF)]
    expected = 100 * (10 ** np.mean(logs[1] - logs[0]) - 1)
    assert percent(*JPEG, *AVIF, method=method) == pytest.approx(expected, abs=0.01)


def _log_rate(grid: np.ndarray, rates: list[float], quality: list[float], method: str) -> Any:
    if method == "cubic":
        fit = np.polynomial.Polynomial.fit(quality, np.log10(rates), 3)
        return fit(grid)
    return pchip_interpolate(quality, np.log10(rates), grid)


@pytest.mark.parametrize("method", ["pchip", "cubic"])
def test_half_the_rate_is_minus_fifty_percent(method) -> None:
    half = [rate / 2 for rate in JPEG[0]]
    assert percent(*JPEG, half, JPEG[1], method=method) == pytest.approx(-50.0, abs=1e-6)
    assert percent(half, JPEG[1], *JPEG, method=method) == pytest.approx(100.0, abs=1e-6)


def test_order_of_points_does_not_matter() -> None:
    backwards = [values[::-1] for values in AVIF]
    assert percent(*JPEG, *backwards) == percent(*JPEG, *AVIF)


def test_a_distance_gives_the_same_rate_as_its_negative() -> None:
    lpips_a, lpips_b = [0.5, 0.3, 0.2, 0.1, 0.05, 0.02], [0.45, 0.28, 0.15, 0.06, 0.03, 0.01]
    found = bd_rate(JPEG[0], lpips_a, AVIF[0], lpips_b, higher_is_better=False)
    mirrored = percent(JPEG[0], [-v for v in lpips_a], AVIF[0], [-v for v in lpips_b])
    assert found.percent == pytest.approx(mirrored)
    assert found.percent < 0
    assert (found.low, found.high) == pytest.approx((0.02, 0.45))


def test_details_state_interval_and_overlap() -> None:
    found = bd_rate(*JPEG, *AVIF)
    assert (found.low, found.high) == (25.14, 37.69)
    assert found.overlap == pytest.approx((37.69 - 25.14) / (37.69 - 23.18))
    assert found.overlap_anchor == pytest.approx(found.overlap)
    assert found.overlap_test == pytest.approx((37.69 - 25.14) / (42.12 - 25.14))


def test_curves_that_barely_overlap_are_refused() -> None:
    far = [value + 12.0 for value in JPEG[1]]
    with pytest.raises(BdRateError, match="overlap over 17 %"):
        percent(JPEG[0], far, *JPEG)
    with pytest.raises(BdRateError, match="overlap over 0 %"):
        percent(JPEG[0], [value + 30 for value in JPEG[1]], *JPEG, min_overlap=0.0)


def test_dominated_and_infinite_points_are_left_out() -> None:
    rates, quality = [*JPEG[0], 0.7, 9.0], [*JPEG[1], 28.0, np.inf]
    found = bd_rate(rates, quality, *AVIF)
    assert found.percent == pytest.approx(percent(*JPEG, *AVIF))
    assert found.dropped == 1


def test_too_few_points_are_refused() -> None:
    with pytest.raises(BdRateError, match="cubic needs 4"):
        percent(JPEG[0][:3], JPEG[1][:3], *AVIF, method="cubic")
    with pytest.raises(BdRateError, match="1 usable points"):
        percent([1.0], [30.0], *AVIF)
    with pytest.raises(BdRateError, match="rates but"):
        percent([1.0, 2.0], [30.0], *AVIF)


def test_unknown_method_is_an_error() -> None:
    with pytest.raises(ValueError, match="akima"):
        percent(*JPEG, *AVIF, method="akima")  # type: ignore[arg-type]
