"""``imgcodec doctor``: is this installation whole?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from imgcodec import __version__
from imgcodec.cli.console import Console, console_options
from imgcodec.cli.errors import Failure
from imgcodec.eval.quality import QUALITIES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from imgcodec.codec.weights.installed import ModelInfo

NEEDED = ("numpy", "pillow", "safetensors", "onnxruntime", "click")
OPTIONAL = (
    "constriction",  # a plain Python coder stands in where it has no wheel
    *("torch", "pyyaml", "onnx"),
    *("torchvision", "pandas", "matplotlib", "imagecodecs"),
    *dict.fromkeys(quality.package for quality in QUALITIES if quality.package),
)

# Measured: python -m tests.codec.stream.speed. A picture of 768 x 512 has half a million symbols.
PYTHON_CODER_COST = "symbols take 5 to 6 times as long (0.3 s more a megapixel)"

SELF_TEST_QUALITY = 60
SELF_TEST_SIDE_PX = 64


@dataclass(frozen=True)
class Check:
    """Something that was looked at: its name, what was found, and whether that is good."""

    name: str
    found: str
    is_good: bool = True


@click.command("doctor")
@console_options
def command(console: Console) -> None:
    """Check this installation: versions, threads, weights, a round trip with every model.

    The exit code is 1 if something is wrong.
    """
    checks = list(run_checks())
    if console.is_json:
        console.record([asdict(check) for check in checks])
    else:
        for check in checks:
            click.echo(f"{'ok' if check.is_good else 'BAD':4} {check.name:16} {check.found}")
    bad = [check.name for check in checks if not check.is_good]
    if bad:
        raise Failure(f"something is wrong with: {', '.join(bad)}")


def run_checks() -> Iterator[Check]:
    """Yield the checks in the order in which they make sense."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    yield Check("imgcodec", __version__)
    yield Check("Python", f"{platform.python_version()}, {platform.machine()}, {platform.system()}")
    missing = False
    for package in NEEDED:
        try:
            yield Check(package, version(package))
        except PackageNotFoundError:
            missing = True
            yield Check(package, "not installed", is_good=False)
    for package in OPTIONAL:
        try:
            yield Check(package, version(package))
        except PackageNotFoundError:
            yield Check(package, "not installed (optional)")
    if not missing:
        yield from _check_coding()


def _check_coding() -> Iterator[Check]:
    try:
        from imgcodec.codec import api  # noqa: F401  # imports everything that coding needs
        from imgcodec.codec.weights.installed import list_models
        from imgcodec.processors import num_threads
    except Exception as error:  # a broken installation fails in any way
        yield Check("import", _message(error), is_good=False)
        return
    yield Check("threads", f"{num_threads()} of {os.cpu_count()} cores")
    if find_spec("torch"):
        yield from _check_torch()
    yield _check_coder()
    try:
        models = list_models()
    except Exception as error:
        yield Check("models", _message(error), is_good=False)
        return
    if not models:
        yield Check("models", "none installed", is_good=False)
    for model in models:
        yield _check_model(model)


def _check_torch() -> Iterator[Check]:
    try:
        import torch
    except Exception as error:
        yield Check("torch", _message(error), is_good=False)
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    yield Check("GPU", f"{device} (encoding and decoding run on the CPU)")
    yield Check("precision", _precision())


def _check_coder() -> Check:
    """Say what codes symbols, and where that is plain Python, why, and what it costs."""
    from imgcodec.codec.errors import CodecError
    from imgcodec.codec.stream.backends import VARIABLE, backend_named, chosen

    name = "range coder"
    try:
        coder = chosen().name
    except CodecError as error:
        return Check(name, str(error), is_good=False)
    if coder == "constriction":
        return Check(name, coder)
    try:
        backend_named("constriction")
        reason = f"{VARIABLE} says so"
    except CodecError as error:
        reason = (
            f"{error}; `pip install constriction` where it has a wheel: "
            "Linux and Windows on x86-64, macOS"
        )
    return Check(name, f"plain Python: same files, {PYTHON_CODER_COST}. {reason}")


def _check_model(model: ModelInfo) -> Check:
    """Load the weights, which checks their hash, and encode and decode a synthetic picture."""
    import numpy as np

    from imgcodec.codec import api
    from imgcodec.codec.session.targets import psnr_db
    from imgcodec.codec.weights.backends import backend_of
    from imgcodec.codec.weights.store import load_model

    try:
        backend = backend_of(model)
        picture = _synthetic_picture()
        start = time.perf_counter()
        if load_model(model).model.is_gray_only:
            picture = picture[..., :1].repeat(3, axis=2)
        data = api.encode(picture, model=model.path, quality=SELF_TEST_QUALITY)
        back = np.asarray(api.decode(data, model=model.path).convert("RGB"))
        seconds = time.perf_counter() - start
        if back.shape != picture.shape:
            return Check(model.id, f"wrong size after a round trip: {back.shape}", is_good=False)
        psnr = psnr_db(picture, back)
    except Exception as error:  # whatever it is, the other models are still to be checked
        return Check(model.id, _message(error), is_good=False)
    return Check(
        model.id,
        f"hash {model.hash[:8]} matches, round trip {len(data)} bytes, {psnr:.1f} dB, "
        f"{seconds:.1f} s with loading, by {backend.name} ({backend.reason})",
    )


def _synthetic_picture() -> npt.NDArray[np.uint8]:
    import numpy as np

    rows, columns = np.mgrid[0:SELF_TEST_SIDE_PX, 0:SELF_TEST_SIDE_PX]
    waves = 128 + 90 * np.sin(rows / 9) * np.cos(columns / 7)
    return np.stack([waves, rows * 3.0, columns * 2.0], axis=-1).astype(np.uint8)


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _precision() -> str:
    """Return in which numbers `train` computes here, and why."""
    import torch

    from imgcodec.codec.training.precision import has_bfloat16

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = "GPU" if device.type == "cuda" else "processor"
    if has_bfloat16(device):
        return f"bfloat16 for training: the {where} multiplies in it"
    return f"float32 for training: the {where} has no bfloat16"
