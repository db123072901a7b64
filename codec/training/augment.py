"""DiffAugment: what the discriminator sees is changed at random, differentiably.

On small data a discriminator remembers the real pictures; it cannot if it only ever sees them
recoloured, moved and with holes. Since the reconstructions pass through the same changes, the
generator does not learn them. Source: Zhao et al., arXiv 2006.10738; the strengths are theirs, with
mid-grey in place of the zero of a [-1, 1] range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_BRIGHTNESS = 0.25
MAX_SHIFT = 1 / 8
HOLE_SIDE = 1 / 2
GREY = 0.5


def parse_policy(policy: str) -> tuple[str, ...]:
    """Return the names in a policy such as ``"color,translation,cutout"``; empty means none.

    Raises:
        ValueError: a name is unknown.
    """
    names = tuple(name.strip() for name in policy.split(",") if name.strip())
    for name in names:
        if name not in AUGMENTATIONS:
            raise ValueError(f"unknown augmentation {name!r}: use {', '.join(AUGMENTATIONS)}")
    return names


def diff_augment(batches: Sequence[Tensor], policy: str) -> list[Tensor]:
    """Change pictures at random, picture i of every batch in the same way.

    The numbers come from torch's CPU generator, so a resumed run draws the same ones.

    Args:
        batches: tensors of equal shape (B, C, H, W) in [0, 1].
        policy: see `parse_policy`.

    Returns:
        Tensors of the same shapes; colours may leave [0, 1].

    Raises:
        ValueError: a name in the policy is unknown.
    """
    changed = list(batches)
    for name in parse_policy(policy):
        change = AUGMENTATIONS[name](changed[0])
        changed = [change(batch) for batch in changed]
    return changed


def _color(like: Tensor) -> Callable[[Tensor], Tensor]:
    """Brightness, then saturation, then contrast."""
    draws = torch.rand(3, like.shape[0], 1, 1, 1).to(like.device)
    brightness = (2 * draws[0] - 1) * MAX_BRIGHTNESS
    saturation, contrast = 2 * draws[1], 0.5 + draws[2]

    def change(x: Tensor) -> Tensor:
        x = x + brightness
        x = torch.lerp(x.mean(dim=1, keepdim=True), x, saturation)
        return torch.lerp(x.mean(dim=(1, 2, 3), keepdim=True), x, contrast)

    return change


def _translation(like: Tensor) -> Callable[[Tensor], Tensor]:
    """Move by up to an eighth of each side; what comes in is grey."""
    count, _, height, width = like.shape
    reach_y, reach_x = (round(side * MAX_SHIFT) for side in (height, width))
    tops = torch.randint(0, 2 * reach_y + 1, (count,)).tolist()
    lefts = torch.randint(0, 2 * reach_x + 1, (count,)).tolist()

    def change(x: Tensor) -> Tensor:
        padded = F.pad(x, (reach_x, reach_x, reach_y, reach_y), value=GREY)
        moved = [
            picture[:, top : top + height, left : left + width]
            for picture, top, left in zip(padded.unbind(), tops, lefts, strict=True)
        ]
        return torch.stack(moved)

    return change


def _cutout(like: Tensor) -> Callable[[Tensor], Tensor]:
    """Cover a rectangle of half of each side, anywhere, with grey."""
    count, _, height, width = like.shape
    rows = _is_covered(count, height).view(count, 1, height, 1)
    columns = _is_covered(count, width).view(count, 1, 1, width)
    hole = (rows & columns).to(like.device)
    return lambda x: x.masked_fill(hole, GREY)


def _is_covered(count: int, side: int) -> Tensor:
    """Return (count, side) bool: an interval with a random centre, cut off at the ends."""
    centres = torch.randint(0, side + 1, (count, 1))
    starts = centres - round(side * HOLE_SIDE) // 2
    positions = torch.arange(side)
    return (positions >= starts) & (positions < starts + round(side * HOLE_SIDE))


AUGMENTATIONS: dict[str, Callable[[Tensor], Callable[[Tensor], Tensor]]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
