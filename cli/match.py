"""``imgcodec match``: codecs in the same bytes, or of the same quality, over a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imgcodec.cli.console import Console, console_options, format_table
from imgcodec.cli.errors import Failure
from imgcodec.cli.values import CODEC, CODECS, DATASET
from imgcodec.eval.quality import QUALITIES, TAUGHT_NOTE, find_quality, metric_names

BYTES = "bytes"

EXAMPLES = """\b
Examples:
  imgcodec match --codec imgcodec-vq
  imgcodec match --codec imgcodec-beta@10,30,50 --against imgcodec-beta-natural,avif
  imgcodec match --dataset photos/ --codec imgcodec-vq --metrics psnr,lpips-alex --json
  imgcodec match --codec imgcodec-beta@30,50,70 --by ssimulacra2 --against avif,avif-psnr,jxl"""


@click.command("match", epilog=EXAMPLES)
@click.option(
    "--dataset",
    type=DATASET,
    metavar="DATASET",
    default="kodak",
    show_default=True,
    help="Name, folder or pattern.",
)
@click.option(
    "--codec",
    "reference",
    type=CODEC,
    metavar="CODEC",
    required=True,
    help="Codec whose ladder sets the bytes (or the quality, see --by) of each image.",
)
@click.option(
    "--against",
    type=CODECS,
    metavar="LIST",
    default="avif,webp,jpeg",
    show_default=True,
    help="Codecs that get at most these bytes, at the best setting within them.",
)
@click.option(
    "--by",
    type=click.Choice([BYTES, *metric_names()]),
    default=BYTES,
    show_default=True,
    help="What to make equal: the bytes, or a quality that the others must reach at least.",
)
@click.option(
    "--metrics",
    default="psnr,lpips-squeeze",
    show_default=True,
    help=f"What to measure: {', '.join(metric_names())}, separated by commas.",
)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a CSV file with a line per image, setting and codec.",
)
@click.option("--data-root", type=click.Path(file_okay=False), help="[default: $IMGCODEC_DATA]")
@click.option(
    "--weights-dir", type=click.Path(file_okay=False), help="Folder of the metrics' backbones."
)
@console_options
def command(
    dataset: str,
    reference: str,
    against: str,
    by: str,
    metrics: str,
    out: Path | None,
    data_root: str | None,
    weights_dir: str | None,
    console: Console,
) -> None:
    """Compare codecs in the same bytes, or of the same quality, and print means per rate.

    For every image and every setting of --codec the other codecs are searched for their best
    setting that does not exceed its bytes. Where even the smallest file of a codec is larger,
    that file is measured all the same and the column "fits" counts one image less. With --by METRIC
    they are searched for the smallest file that scores at least as well instead.
    """
    from imgcodec.datasets.images import open_dataset
    from imgcodec.eval.anchors.base import taught_of
    from imgcodec.eval.anchors.registry import get_codec, split_names
    from imgcodec.eval.bench import metric_options
    from imgcodec.eval.match import match_dataset, summarise_matches, write_matches
    from imgcodec.eval.metrics.base import create_metrics

    root = Path(data_root) if data_root else None
    options = metric_options("cpu", Path(weights_dir) if weights_dir else None, root)
    names = [name.strip() for name in metrics.split(",")]
    found = find_quality(by)
    quality = found[0] if found else None
    if quality is not None and not any(
        other is not None and other[0] is quality for other in map(find_quality, names)
    ):
        names.append(by)
    codecs = [get_codec(name) for name in (reference, *split_names(against))]
    images = open_dataset(dataset, root)
    rows = list(
        match_dataset(
            images,
            codecs[0],
            codecs[1:],
            create_metrics(names, options),
            console.note,
            quality,
        )
    )
    num_bad = len(images.image_names) - len({row.image for row in rows})
    if not rows:
        raise Failure(f"none of {num_bad} images can be read")
    if out is not None:
        write_matches(rows, out)
    _print(summarise_matches(rows), by, taught_of(codecs), console)
    if num_bad:
        raise Failure(f"{num_bad} of {len(images.image_names)} images cannot be read")


def _print(
    records: list[dict[str, Any]], by: str, taught: dict[str, frozenset[str]], console: Console
) -> None:
    if console.is_json:
        console.record(records)
        return
    pad = " " if taught else ""  # keeps digits below each other
    measured = [quality for quality in QUALITIES if quality.column in records[0]]
    click.echo(
        format_table(
            (f"{by} of", "codec", "bpp", "fits", *(quality.label for quality in measured)),
            [
                (
                    record["setting"],
                    record["codec"],
                    f"{record['bpp']:.4f}",
                    f"{record['fits']}/{record['images']}",
                    *(
                        quality.text(record[quality.column])
                        + (quality.taught_mark(taught.get(record["codec"], ())) or pad)
                        for quality in measured
                    ),
                )
                for record in records
            ],
        )
    )
    if taught:
        click.echo(TAUGHT_NOTE)
