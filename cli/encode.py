"""``imgcodec encode``: pictures to .cvb files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from imgcodec.cli.batch import BatchOptions, Work, batch_options, find_items, run_batch
from imgcodec.cli.console import Console, console_options
from imgcodec.cli.files import DASH, choose_output, input_and_output, read_source, write_bytes
from imgcodec.cli.goals import Goal, goal_options, target_of
from imgcodec.cli.values import METADATA, MODEL
from imgcodec.codec.options import EXACT_CHOICES, MAX_EFFORT, parse_level_bits

SUFFIX = ".cvb"

EXAMPLES = """\b
Examples:
  imgcodec encode photo.png                        photo.cvb beside it
  imgcodec encode photo.png small.cvb -q 30
  imgcodec encode photo.png --target-bytes 40k
  imgcodec encode screenshot.png --lossless
  imgcodec encode photo.png -q 40 --effort 9       smaller, two minutes a megapixel
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
    type=click.Choice(["eye", "psnr"]),
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
@click.option("--strip-metadata", is_flag=True, hidden=True)
@click.option("--frame", metavar="N", type=click.IntRange(min=0), help="Which of several, from 0.")
@click.option(
    "--max-pixels", metavar="N", type=click.IntRange(min=1), help="Refuse larger pictures (2^28)."
)
@click.option("--strict", is_flag=True, help="Refuse more than 8 bits a sample, and HDR.")
@batch_options
@click.option("-f", "--force", is_flag=True, help="Overwrite outputs.")
@console_options
def command(
    arguments: tuple[str, ...],
    batch: BatchOptions,
    force: bool,
    strip_metadata: bool,
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
    if strip_metadata:
        options["metadata"] = "none"
    if lossless:
        options["exact"] = "all"
    if options["tune"] is not None and options["model"] is not None:
        raise click.UsageError("-m names weights, and so does --tune: give one of them.")
    work: Work = functools.partial(encode_file, **options)
    if batch.folder is not None:
        found = find_items(arguments, batch, SUFFIX, _is_picture)
        run_batch(found, work, batch, force=force, console=console, describe=_describe)
        return
    source, target = input_and_output(arguments, lambda path: path.suffix.lower() == SUFFIX)
    target = choose_output(source, target, SUFFIX, force=force)
    if target == DASH and console.is_json:
        raise click.UsageError("--json and the file cannot both go to stdout.")
    if options["effort"] > 1:
        with console.progress(f"effort {options['effort']}") as progress:
            record = encode_file(source, target, progress=progress, **options)
    else:
        record = work(source, target)
    if console.is_json:
        console.record({"input": source, "output": target, **record})
    console.note(f"{source} -> {target}: {_describe(record)}")


def encode_file(
    source: str, target: str, *, goal: Goal | None, max_pixels: int | None, **options: Any
) -> dict[str, Any]:
    """Encode one picture and return what to tell of the file.

    Args:
        source: path or ``-``.
        target: path or ``-``.
        goal: name and value of a target, or None.
        max_pixels: limit, None for the default.
        options: further keywords of `imgcodec.encode`.
    """
    from imgcodec.codec import api
    from imgcodec.codec.inspection import exact_share_of

    if max_pixels is not None:
        options["max_pixels"] = max_pixels
    extra: dict[str, Any] = {}
    if goal is None:
        data = api.encode(read_source(source), **options)
    else:
        del options["quality"]
        found = api.encode_to_target(read_source(source), target_of(goal), **options)
        data = found.data
        extra["target"] = {"name": goal[0], "value": goal[1], "reached": found.value}
    write_bytes(target, data)
    header, exact_share = exact_share_of(data)
    return {
        "bytes": len(data),
        "bpp": 8 * len(data) / (header.height * header.width),
        "height": header.height,
        "width": header.width,
        "quality": header.quality,
        "exact_share": exact_share,
        **extra,
    }


def _describe(record: dict[str, Any]) -> str:
    text = f"{record['width']}x{record['height']}, {record['bytes']} bytes, {record['bpp']:.3f} bpp"
    if record["exact_share"] > 0:
        text += f", {record['exact_share']:.1%} exact"
    if "target" in record:
        target = record["target"]
        text += f", quality {record['quality']} for {target['name']} {target['value']:g}"
        if target["name"] not in ("bytes", "bpp"):
            text += f": {target['reached']:.4g}"
    return text


@functools.cache
def _picture_suffixes() -> frozenset[str]:
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(suffix for suffix, name in known.items() if name in Image.OPEN) - {SUFFIX}


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _picture_suffixes()
