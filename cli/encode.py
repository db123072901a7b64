"""``imgcodec encode``: pictures to .cvb files."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgcodec.cli.batch import BatchOptions, Work, batch_options, find_items, run_batch
from imgcodec.cli.console import Console, console_options, counted, threads_option
from imgcodec.cli.files import DASH, choose_output, input_and_output, read_source, write_bytes
from imgcodec.cli.goals import Goal, goal_options, target_of
from imgcodec.cli.values import METADATA, MODEL
from imgcodec.codec.options import (
    DEFAULT_QUALITY,
    EXACT_CHOICES,
    MAX_EFFORT,
    TUNES,
    parse_level_bits,
    tune_of,
)
from imgcodec.codec.stream.container import MAX_PIXELS, parse_metadata_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUFFIX = ".cvb"

EXAMPLES = """\b
Examples:
  imgcodec encode photo.png                        photo.cvb beside it
  imgcodec encode photo.png small.cvb -q 30
  imgcodec encode photo.png --target-bytes 40k
  imgcodec encode screenshot.png --lossless
  imgcodec encode photo.png -q 40 --effort 9       smaller, 200 times the time
  imgcodec encode photo.png --target-psnr 34 --metadata icc
  imgcodec encode photo.png -m hier --level-bits auto
  imgcodec encode a.png b.jpg 'more/*.tif' -o out
  imgcodec encode -r photos -o out -j 4 --skip-existing --json > log.jsonl
  convert scan.tif png:- | imgcodec encode - scan.cvb"""


def _check_level_bits(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    parse_level_bits(value)
    return value


@click.command("encode", epilog=EXAMPLES)
@click.argument("arguments", metavar="IN [OUT] | IN... -o DIR", nargs=-1, required=True)
@goal_options
@click.option(
    "-m",
    "--model",
    type=MODEL,
    metavar="MODEL",
    help="A family, a model id of `imgcodec models`, or a .safetensors file.  [default: beta]",
)
@click.option(
    "--tune",
    type=click.Choice(list(TUNES)),
    help="Which weights of beta: trained for what people see, or for squared error.",
)
@click.option(
    "--level-bits",
    metavar="equal|preview|fine|auto|B1,B2",
    callback=_check_level_bits,
    help="Bits per sample more (or fewer) for each coarse level of a model with levels.",
)
@click.option(
    "--metadata",
    metavar="all|none|LIST",
    default="all",
    show_default=True,
    type=METADATA,
    help="What to keep: LIST is some of icc,exif,xmp.",
)
@click.option(
    "--effort",
    type=click.IntRange(1, MAX_EFFORT),
    default=1,
    show_default=True,
    help="Refine the file of this very picture: 9 is slow and smallest. Decoders do not care.",
)
@click.option(
    "--exact",
    type=click.Choice(EXACT_CHOICES),
    default="auto",
    show_default=True,
    help="Store blocks of text and graphics without loss, where that pays; or none, or all.",
)
@click.option("--lossless", is_flag=True, help="Store everything without loss: --exact all.")
@click.option("--frame", metavar="N", type=click.IntRange(min=0), help="Which of several, from 0.")
@click.option(
    "--max-pixels", metavar="N", type=click.IntRange(min=1), help="Refuse larger pictures (2^28)."
)
@click.option("--strict", is_flag=True, help="Refuse more than 8 bits a sample, and HDR.")
@batch_options
@click.option("-f", "--force", is_flag=True, help="Overwrite outputs.")
@threads_option
@console_options
def command(
    arguments: tuple[str, ...],
    batch: BatchOptions,
    force: bool,
    lossless: bool,
    console: Console,
    **options: Any,
) -> None:
    """Encode pictures to .cvb files.

    IN is any picture that Pillow reads, OUT defaults to IN with the suffix .cvb; - is stdin or
    stdout. With -o DIR all arguments are inputs: files, patterns, and with -r folders.

    Pictures come back as they are: grey, transparency (lossless), ICC profile, EXIF (with its
    orientation) and XMP. Palette and CMYK pictures become RGB.
    """
    if lossless:
        options["exact"] = "all"
    if options["tune"] is not None and options["model"] is not None:
        raise click.UsageError("-m names weights, and so does --tune: give one of them.")
    options["is_measured"] = console.is_verbose
    describe = functools.partial(_describe, is_verbose=console.is_verbose)
    if batch.folder is not None:
        work: Work = functools.partial(encode_file, **options)
        found = find_items(arguments, batch, SUFFIX, _is_picture)
        run_batch(found, work, batch, force=force, console=console, describe=describe)
        return
    if len(arguments) == 2 and arguments[1] != DASH and _is_picture(Path(arguments[1])):
        raise click.UsageError(
            f"{arguments[1]} is the name of a picture, but a .cvb file is written: did you mean "
            f"{Path(arguments[1]).with_suffix(SUFFIX)}, or -o DIR for two inputs?"
        )
    source, target = input_and_output(arguments, lambda path: path.suffix.lower() == SUFFIX)
    target = choose_output(source, target, SUFFIX, force=force)
    if target == DASH and console.is_json:
        raise click.UsageError("--json and the file cannot both go to stdout.")
    label = "encoding" if options["effort"] == 1 else f"effort {options['effort']}"
    with console.progress(label) as progress:
        record = encode_file(source, target, progress=progress, **options)
    if console.is_json:
        console.record({"input": source, "output": target, **record})
    console.note(f"{source} -> {target}: {describe(record)}")


def encode_file(
    source: str,
    target: str,
    *,
    goal: Goal | None,
    frame: int | None,
    strict: bool,
    max_pixels: int | None,
    is_measured: bool,
    **options: Any,
) -> dict[str, Any]:
    """Encode one picture and return what to tell of the file.

    Args:
        source: path or ``-``.
        target: path or ``-``.
        goal: name and value of a target, or None.
        frame: which of several.
        strict: refuse pictures that would lose bits.
        max_pixels: limit, None for the default.
        is_measured: decode the file and add PSNR and SSIMULACRA2.
        options: further keywords of `imgcodec.encode`.
    """
    from imgcodec.codec.picture.read import read_picture, without_exif
    from imgcodec.codec.session.timing import Timer

    timer = Timer()
    start = time.perf_counter()
    with timer.stage("reading"):
        limit = MAX_PIXELS if max_pixels is None else max_pixels
        picture = read_picture(read_source(source), frame=frame, strict=strict, max_pixels=limit)
    with timer.stage("starting"):
        from imgcodec.codec import api
        from imgcodec.codec.session.inspection import exact_share_of
        from imgcodec.codec.weights.installed import find_model_of_stream
        from imgcodec.processors import num_threads

    extra: dict[str, Any] = {}
    if goal is None:
        quality = DEFAULT_QUALITY if options["quality"] is None else options["quality"]
        data = api.encode(picture, timer=timer, **options)
    else:
        del options["quality"]
        found = api.encode_to_target(
            picture, target_of(goal), timer=timer, max_pixels=limit, **options
        )
        data, quality = found.data, found.quality
        extra["target"] = {"name": goal[0], "value": goal[1], "reached": _finite(found.value)}
    with timer.stage("writing"):
        write_bytes(target, data)
    seconds = time.perf_counter() - start
    header, exact_share = exact_share_of(data)
    weights = options["model"] if str(options["model"]).endswith(".safetensors") else None
    info = find_model_of_stream(header.model_hash, weights)
    if is_measured:
        if "exif" not in parse_metadata_names(options["metadata"]):
            picture = without_exif(picture)
        extra |= _measure(picture.pixels, data, weights)
    return {
        "bytes": len(data),
        "bpp": 8 * len(data) / (header.height * header.width),
        "seconds": seconds,
        "height": header.height,
        "width": header.width,
        "quality": quality,
        "coded_quality": header.quality,
        "reduction": header.reduction,
        "exact_share": exact_share,
        "model": info.id,
        "tune": tune_of(info.id),
        "tiles": header.num_tiles,
        "tile_px": header.tile_px,
        "threads": num_threads(),
        "stages": timer.seconds,
        **extra,
    }


def _measure(
    original: NDArray[np.uint8], data: bytes, weights: str | None
) -> dict[str, float | None]:
    """Return PSNR and, where it is installed, SSIMULACRA2 of a file; None where not finite."""
    import numpy as np

    from imgcodec.codec import api
    from imgcodec.codec.session.targets import psnr_db
    from imgcodec.eval.metrics.base import MetricError

    limit = original.shape[0] * original.shape[1]
    decoded = np.asarray(api.decode(data, model=weights, max_pixels=limit).convert("RGB"))
    values = {"psnr": psnr_db(original, decoded)}
    with contextlib.suppress(MetricError):
        measure = target_of(("ssimulacra2", 0.0)).measure
        assert measure is not None
        values["ssimulacra2"] = measure(original, decoded)
    return {name: _finite(value) for name, value in values.items()}


def _finite(value: float) -> float | None:
    """Return what JSON can hold: None for a number that is none, or infinite."""
    return value if math.isfinite(value) else None


def _describe(record: dict[str, Any], is_verbose: bool = False) -> str:
    text = f"{record['width']}x{record['height']}, {record['bytes']} bytes, {record['bpp']:.3f} bpp"
    text += f", {record['seconds']:.1f} s"
    if record["exact_share"] > 0:
        text += f", {record['exact_share']:.1%} exact"
    if "target" in record:
        target = record["target"]
        text += f", quality {record['quality']} for {target['name']} {target['value']:g}"
        if target["name"] not in ("bytes", "bpp"):
            reached = target["reached"]
            text += ": infinite" if reached is None else f": {reached:.4g}"
    return "\n  ".join([text, *_details(record)]) if is_verbose else text


def _details(record: dict[str, Any]) -> Iterator[str]:
    """Yield lines: what was chosen, where the time went, how similar the picture is."""
    tune = "" if record["tune"] is None else f" (tune {record['tune']})"
    tiles = f"{counted(record['tiles'], 'tile')} of {record['tile_px']} px"
    half = f" ({record['coded_quality']} at half size)" if record["reduction"] == 2 else ""
    yield (
        f"{record['model']}{tune}, quality {record['quality']}{half}, {tiles}, "
        f"{counted(record['threads'], 'thread')}"
    )
    yield ", ".join(f"{name} {seconds:.2f} s" for name, seconds in record["stages"].items())
    psnr = "infinite" if record["psnr"] is None else f"{record['psnr']:.2f} dB"
    if "ssimulacra2" not in record:
        score = "needs imgcodec[eval]"
    elif record["ssimulacra2"] is None:
        score = "not defined"
    else:
        score = f"{record['ssimulacra2']:.2f}"
    yield f"PSNR {psnr}, SSIMULACRA2 {score}"


@functools.cache
def _picture_suffixes() -> frozenset[str]:
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(suffix for suffix, name in known.items() if name in Image.OPEN)


def _is_picture(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix != SUFFIX and suffix in _picture_suffixes()
