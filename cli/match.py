"""``imgcodec match``: codecs in the same bytes, over a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imgcodec.cli.console import Console, console_options, format_table
from imgcodec.cli.errors import Failure

EXAMPLES = """\b
Examples:
  imgcodec match --codec imgcodec-vq
  imgcodec match --codec imgcodec-beta@10,30,50 --against imgcodec-beta-perceptual,avif
  imgcodec match --dataset photos/ --codec imgcodec-vq --metrics psnr,lpips-alex --json"""


@click.command("match", epilog=EXAMPLES)
@click.option("--dataset", default="kodak", show_default=True, help="Name, folder or pattern.")
@click.option(
    "--codec", "reference", required=True, help="Codec whose ladder sets the bytes of each image."
)
@click.option(
    "--against",
    default="avif,webp,jpeg",
    show_default=True,
    help="Codecs that get at most these bytes, at the best setting within them.",
)
@click.option("--metrics", default="psnr,lpips-squeeze", show_default=True, help="What to measure.")
@click.option("--data-root", type=click.Path(file_okay=False), help="[default: $IMGCODEC_DATA]")
@click.option(
    "--weights-dir", type=click.Path(file_okay=False), help="Folder of the metrics' backbones."
)
@console_options
def command(
    dataset: str,
    reference: str,
    against: str,
    metrics: str,
    data_root: str | None,
    weights_dir: str | None,
    console: Console,
) -> None:
    """Compare codecs in the same bytes, image by image, and print means per rate.

    For every image and every setting of --codec the other codecs are searched for their best
    setting that does not exceed its bytes. Where even the smallest file of a codec is larger,
    that file is measured all the same and the column "fits" counts one image less.
    """
    from imgcodec.datasets.images import open_dataset
    from imgcodec.eval.anchors import get_codec, split_names
    from imgcodec.eval.bench import metric_options
    from imgcodec.eval.match import match_dataset, summarise_matches
    from imgcodec.eval.metrics.base import create_metrics

    root = Path(data_root) if data_root else None
    options = metric_options("cpu", Path(weights_dir) if weights_dir else None, root)
    images = open_dataset(dataset, root)
    rows = list(
        match_dataset(
            images,
            get_codec(reference),
            [get_codec(name) for name in split_names(against)],
            create_metrics([name.strip() for name in metrics.split(",")], options),
            console.note,
        )
    )
    num_bad = len(images.image_names) - len({row.image for row in rows})
    if not rows:
        raise Failure(f"none of {num_bad} images can be read")
    _print(summarise_matches(rows), console)
    if num_bad:
        raise Failure(f"{num_bad} of {len(images.image_names)} images cannot be read")


def _print(records: list[dict[str, Any]], console: Console) -> None:
    if console.is_json:
        console.record(records)
        return
    measured = [name for name in records[0] if name not in _PLAIN]
    click.echo(
        format_table(
            ("bytes of", "codec", "bpp", "fits", *measured),
            [
                (
                    record["setting"],
                    record["codec"],
                    f"{record['bpp']:.4f}",
                    f"{record['fits']}/{record['images']}",
                    *(f"{record[name]:.4f}" for name in measured),
                )
                for record in records
            ],
        )
    )


_PLAIN = ("setting", "codec", "bpp", "fits", "images")
