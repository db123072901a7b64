"""Find the setting at which a codec's file comes closest to a number of bytes."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping

from imgcodec.eval.anchors.base import ImageCodec, RgbArray, Setting


@dataclasses.dataclass(frozen=True)
class Match:
    """A file near the target; `data` is complete and `setting` is what made it."""

    setting: Setting
    data: bytes


def match_bytes(
    codec: ImageCodec,
    rgb: RgbArray,
    target_bytes: float,
    *,
    known: Mapping[Setting, int] | None = None,
    tolerance: float = 0.02,
    max_encodes: int = 8,
) -> Match:
    """Encode at a few settings and return the file nearest to `target_bytes` (by ratio).

    Numeric settings are interpolated between the ones of the codec's ladder, on the logarithm
    of the size; text settings are only chosen from the ladder. The result may be far from the
    target where the codec cannot reach it.

    Args:
        codec: codec with at least one setting.
        rgb: uint8 HxWx3.
        target_bytes: wanted size of the whole file.
        known: sizes in bytes already measured for this image; saves encoding.
        tolerance: stop when the size is within this share of the target.
        max_encodes: most files to encode (at least 1).

    Raises:
        CodecError: whatever `codec.encode` raises.
    """
    ladder = _Ladder(list(codec.settings), known or {})
    best: Match | None = None
    for _ in range(max(1, max_encodes)):
        setting = ladder.next_setting(target_bytes)
        if setting is None:
            break
        data = codec.encode(rgb, setting)
        ladder.sizes[setting] = len(data)
        if best is None or _error(len(data), target_bytes) < _error(len(best.data), target_bytes):
            best = Match(setting, data)
        if _error(len(data), target_bytes) <= math.log1p(tolerance):
            break
    nearest = min(ladder.sizes, key=lambda key: _error(ladder.sizes[key], target_bytes))
    if best is None or _error(ladder.sizes[nearest], target_bytes) < _error(
        len(best.data), target_bytes
    ):
        # A file measured before is nearer than every one encoded here.
        best = Match(nearest, codec.encode(rgb, nearest))
    return best


def known_sizes(codec: ImageCodec, measured: Iterable[tuple[str, int]]) -> dict[Setting, int]:
    """Return sizes by setting from (setting as text, bytes) pairs of a rows table.

    Texts that cannot be traced back to a setting of this codec are left out.
    """
    by_text: dict[str, Setting] = {codec.describe(value): value for value in codec.settings}
    is_integer = all(isinstance(value, int) for value in codec.settings)
    found: dict[Setting, int] = {}
    for text, size in measured:
        number = re.search(r"-?\d+(?:\.\d+)?$", text)
        setting: Setting | None = by_text.get(text)
        if setting is None and number is not None:
            guess = float(number.group())
            value: Setting = int(guess) if is_integer else guess
            setting = value if codec.describe(value) == text else None
        if setting is not None:
            found[setting] = int(size)
    return found


class _Ladder:
    """The sizes measured so far and the most promising setting not yet tried."""

    def __init__(self, settings: list[Setting], known: Mapping[Setting, int]) -> None:
        self.sizes: dict[Setting, int] = dict(known)
        self._settings = settings
        self._is_numeric = all(isinstance(value, int | float) for value in settings)
        self._is_integer = all(isinstance(value, int) for value in settings)

    def next_setting(self, target_bytes: float) -> Setting | None:
        """Return the next setting to try, None when nothing better can lie between."""
        below = [s for s, size in self.sizes.items() if size <= target_bytes]
        above = [s for s, size in self.sizes.items() if size > target_bytes]
        low = max(below, key=self.sizes.__getitem__) if below else None
        high = min(above, key=self.sizes.__getitem__) if above else None
        untried = self._between(low, high)
        if untried:
            return untried[len(untried) // 2]
        if low is None or high is None or not self._is_numeric:
            return None
        return self._interpolate(low, high, target_bytes)

    def _between(self, low: Setting | None, high: Setting | None) -> list[Setting]:
        """Return the untried rungs of the ladder between two tried settings."""
        rungs = self._settings
        if not self._is_numeric:
            start = rungs.index(low) + 1 if low is not None else 0
            stop = rungs.index(high) if high is not None else len(rungs)
            return rungs[start:stop]
        rising = float(rungs[-1]) >= float(rungs[0])
        sign = 1.0 if rising else -1.0
        least = -math.inf if low is None else sign * float(low)
        most = math.inf if high is None else sign * float(high)
        return [rung for rung in rungs if least < sign * float(rung) < most]

    def _interpolate(self, low: Setting, high: Setting, target_bytes: float) -> Setting | None:
        start, stop = float(low), float(high)
        size_low, size_high = math.log(self.sizes[low]), math.log(self.sizes[high])
        share = (math.log(target_bytes) - size_low) / max(size_high - size_low, 1e-9)
        value = start + min(max(share, 0.05), 0.95) * (stop - start)
        if self._is_integer:
            least, most = sorted((int(low), int(high)))
            if most - least < 2:
                return None
            guess: Setting = min(max(round(value), least + 1), most - 1)
        else:
            guess = float(f"{value:.4g}")
        return None if guess in self.sizes else guess


def _error(size: float, target: float) -> float:
    return abs(math.log(max(size, 1) / max(target, 1)))
