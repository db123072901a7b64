"""What the eye misses, as losses: MS-SSIM and the sum behind SSIMULACRA2, in plain torch.

Sources: MS-SSIM, Wang et al. 2003, with the constants of `pytorch_msssim`; SSIMULACRA2,
https://github.com/cloudinary/ssimulacra2 (BSD) in the form of the Python package `ssimulacra2`,
whose borders are kept: its Gaussian sees zeros to the left and right of a picture and the picture
reflected above and below. Both blur with 11 taps of a Gaussian with sigma 1.5, here as products
with banded matrices: on a CPU a third of the time of depthwise convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA, RADIUS = 1.5, 5

MS_SSIM_POWERS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the contrast of each scale, and of the whole structural similarity of the last."""
MS_SSIM_MIN_SIDE = 2 * RADIUS * 2 ** (len(MS_SSIM_POWERS) - 1)
"""Sides must be longer, for the coarsest scale to have a pixel that knows its neighbours."""
MS_SSIM_C1, MS_SSIM_C2 = 0.01**2, 0.03**2

X, Y, B = 0, 1, 2
STRUCTURE, ARTEFACT, LOST = 0, 1, 2
MEAN, FOURTH = 0, 1
TERMS = (
    (0, Y, STRUCTURE, FOURTH, 7.466890328078848),
    (0, Y, LOST, FOURTH, 17.445833984131262),
    (1, X, STRUCTURE, FOURTH, 1.1041726426657346),
    (1, Y, STRUCTURE, FOURTH, 6.683678146179332),
    (1, Y, LOST, FOURTH, 1.027889937768264),
    (2, X, STRUCTURE, FOURTH, 1.8422455520539298),
    (2, X, ARTEFACT, FOURTH, 11.441172603757666),
    (2, Y, STRUCTURE, MEAN, 225.20515300849274),
    (2, Y, STRUCTURE, FOURTH, 19.213238186143016),
    (3, X, STRUCTURE, FOURTH, 1.8787594979546387),
    (3, X, ARTEFACT, FOURTH, 10.94906990605142),
    (3, Y, STRUCTURE, MEAN, 176.39317598450694),
    (3, Y, STRUCTURE, FOURTH, 24.43300999870476),
    (3, Y, ARTEFACT, FOURTH, 0.28520802612117757),
    (3, B, STRUCTURE, FOURTH, 8.826982764996862),
    (3, B, ARTEFACT, FOURTH, 23.19243343998926),
    (4, X, ARTEFACT, MEAN, 0.9677937080626833),
    (4, X, ARTEFACT, FOURTH, 0.9981766977854967),
    (4, Y, STRUCTURE, FOURTH, 34.77906344483772),
    (4, Y, ARTEFACT, FOURTH, 44.835625328877896),
    (4, B, STRUCTURE, MEAN, 95.1080498811086),
    (4, B, ARTEFACT, MEAN, 0.9863978034400682),
    (4, B, LOST, MEAN, 0.9834382792465353),
    (4, B, ARTEFACT, FOURTH, 171.2667255897307),
    (4, B, LOST, FOURTH, 0.9807858872435379),
)
"""Scale, channel, error map, norm and weight: all weights of SSIMULACRA2 above 0.01."""
OPSIN = ((0.30, 0.622, 0.078), (0.23, 0.692, 0.078), (0.24342268924547819, 0.20476744424496821))
OPSIN_BIAS = 0.0037930732552754493
SSIMULACRA2_C2 = 0.0009
SMALLEST_SIDE = 8
MAX_BANDS = 64
"""Matrices that are kept."""
ROOT_FLOOR = 1e-12
"""Keeps the gradients of fourth roots finite."""


def ms_ssim(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the multi-scale structural similarity of pictures, (B,).

    Args:
        x, x_hat: (B, 3, H, W) in [0, 1]; gradients reach x_hat only. Sides above 160.

    Raises:
        ValueError: a side is 160 or less.
    """
    last = len(MS_SSIM_POWERS) - 1
    if min(x.shape[2:]) <= MS_SSIM_MIN_SIDE:
        raise ValueError(f"MS-SSIM needs sides above {MS_SSIM_MIN_SIDE}")
    product = torch.ones((), device=x.device)
    for scale, power in enumerate(MS_SSIM_POWERS):
        mean, mean_hat, variances, of_difference = _moments(x, x_hat, "valid", "valid")
        contrast = 1 - of_difference / (variances + MS_SSIM_C2)
        if scale == last:
            squares = mean.square() + mean_hat.square()
            contrast = contrast * (1 - (mean - mean_hat).square() / (squares + MS_SSIM_C1))
        product = product * contrast.mean(dim=(2, 3)).clamp_min(1e-4) ** power
        if scale < last:
            padding = [side % 2 for side in x.shape[2:]]
            x, x_hat = (F.avg_pool2d(p, 2, padding=padding) for p in (x, x_hat))
    return product.mean(dim=1)


def ssimulacra2_sum(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the weighted errors S of SSIMULACRA2 before its root, (B,); about 0 for equal ones.

    Of crops under 128 px the coarse scales are left out, which weigh most.

    Args:
        x, x_hat: (B, 3, H, W) in [0, 1]; gradients reach x_hat only.
    """
    with torch.no_grad():
        light = _linear_light(x)
    light_hat = _linear_light(x_hat)
    total = torch.zeros(len(x), device=x.device)
    for scale in range(1 + max(term[0] for term in TERMS)):
        if scale:
            light, light_hat = (
                F.avg_pool2d(p, 2, ceil_mode=True, count_include_pad=False)
                for p in (light, light_hat)
            )
        if min(light.shape[2:]) < SMALLEST_SIDE:
            break
        total = total + _scale_sum(light, light_hat, [t[1:] for t in TERMS if t[0] == scale])
    total = total * 0.9562382616834844
    return (
        2.326765642916932 * total
        - 0.020884521182843837 * total.square()
        + 6.248496625763138e-05 * total**3
    )


def ssimulacra2_score(weighted: Tensor) -> Tensor:
    """Return SSIMULACRA2, at most 100, of the sums of `ssimulacra2_sum`."""
    return 100 - 10 * weighted.clamp_min(0) ** 0.6276336467831387


def _scale_sum(
    light: Tensor, light_hat: Tensor, terms: list[tuple[int, int, int, float]]
) -> Tensor:
    channels = sorted({channel for channel, _, _, _ in terms})
    with torch.no_grad():
        a = _positive_xyb(light, channels)
    b = _positive_xyb(light_hat, channels)
    mean, mean_hat, variances, of_difference = _moments(a, b, "reflect", "zero")
    luminance = 1 - (mean - mean_hat).square()
    structure = 1 - luminance * (1 - of_difference / (variances + SSIMULACRA2_C2))
    edges = (1 + (b - mean_hat).abs()) / (1 + (a - mean).abs()) - 1
    total = torch.zeros(len(light), device=light.device)
    for channel, kind, norm, weight in terms:
        index = channels.index(channel)
        if kind == STRUCTURE:
            error = structure[:, index].clamp_min(0)
        else:
            error = (edges if kind == ARTEFACT else -edges)[:, index].clamp_min(0)
        if norm == MEAN:
            value = error.mean(dim=(1, 2))
        else:
            value = (error.square().square().mean(dim=(1, 2)) + ROOT_FLOOR) ** 0.25
        total = total + weight * value
    return total


def _linear_light(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    # The inner clamp keeps the gradient of the branch that is not taken finite.
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp_min(0.04) + 0.055) / 1.055) ** 2.4)


def _positive_xyb(light: Tensor, channels: list[int]) -> Tensor:
    """Return channels of XYB (B, C, H, W), scaled and shifted as SSIMULACRA2 does."""
    rows = _opsin(3 if B in channels else 2, light.device)
    absorbed = torch.einsum("ij,bjhw->bihw", rows, light) + OPSIN_BIAS
    lms = absorbed.clamp_min(1e-5) ** (1 / 3) - OPSIN_BIAS ** (1 / 3)
    luma = 0.5 * (lms[:, 0] + lms[:, 1])
    planes = []
    for channel in channels:
        if channel == X:
            planes.append(7.0 * (lms[:, 0] - lms[:, 1]) + 0.42)
        elif channel == Y:
            planes.append(luma + 0.01)
        else:
            planes.append(lms[:, 2] - luma + 0.55)
    return torch.stack(planes, dim=1)


def _moments(
    a: Tensor, b: Tensor, vertical: str, horizontal: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return local means of a and b, the sum of their variances and that of their difference.

    The variance of the difference, and not the covariance: nothing is lost where both are close.
    """
    rows = _bands(a.shape[2], vertical, a.device)
    columns = _bands(a.shape[3], horizontal, a.device)

    def blur(x: Tensor) -> Tensor:
        return rows @ (x @ columns.T)

    with torch.no_grad():
        mean = blur(a)
    mean_hat = blur(b)
    squares, of_difference = blur(a.square() + b.square()), blur((a - b).square())
    variances = squares - mean.square() - mean_hat.square()
    return mean, mean_hat, variances, of_difference - (mean - mean_hat).square()


def _opsin(count: int, device: torch.device) -> Tensor:
    """Return the first rows (count, 3) of what cones absorb."""
    if device not in _OPSINS:
        rows = (*OPSIN[:2], (*OPSIN[2], 1 - sum(OPSIN[2])))
        _OPSINS[device] = torch.tensor(rows, device=device)
    return _OPSINS[device][:count]


def _bands(side: int, border: str, device: torch.device) -> Tensor:
    """Return the matrix that blurs lines of `side` pixels; see `_band_matrix`."""
    key = (side, border, device)
    if key not in _BANDS:
        if len(_BANDS) >= MAX_BANDS:
            _BANDS.clear()
        _BANDS[key] = _band_matrix(side, border).to(device)
    return _BANDS[key]


# Plain dictionaries: compilers look through caches of functions, into what is computed once.
_OPSINS: dict[torch.device, Tensor] = {}
_BANDS: dict[tuple[int, str, torch.device], Tensor] = {}


def _band_matrix(side: int, border: str) -> Tensor:
    """Return the matrix that blurs lines of `side` pixels.

    Args:
        side: number of its columns, and of its rows but for `valid`.
        border: what lies outside: "zero", "reflect" (the last pixel twice), or "valid" for
            a result without the pixels that would need to know.
    """
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    taps = torch.exp(-offsets.square() / (2 * SIGMA**2))
    taps = taps / taps.sum()
    matrix = torch.zeros(side, side, dtype=torch.float64)
    for offset, tap in zip(range(-RADIUS, RADIUS + 1), taps, strict=True):
        for row in range(side):
            column = row + offset
            if border == "reflect":
                column %= 2 * side
                column = min(column, 2 * side - 1 - column)
            if 0 <= column < side:
                matrix[row, column] += tap
    if border == "valid":
        matrix = matrix[RADIUS : side - RADIUS]
    return matrix.float()
