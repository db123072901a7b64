"""``imgcodec datasets``: which pictures can be evaluated on, and how to get them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imgcodec.cli.console import Console, console_options, format_table
from imgcodec.cli.errors import Failure
from imgcodec.cli.values import DATASET_NAME

_root_option = click.option(
    "--data-root",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the datasets [default: $IMGCODEC_DATA, else imgcodec/data in the user's cache]",
)


@click.group("datasets")
def command() -> None:
    """List, fetch and verify evaluation datasets.

    \b
    imgcodec datasets list
    imgcodec datasets fetch kodak
    imgcodec datasets verify --data-root ~/data
    """


@command.command("list")
@_root_option
@console_options
def list_(data_root: Path | None, console: Console) -> None:
    """List the datasets: what is on disk, its size and that of the download, terms."""
    from imgcodec.datasets.fetch import is_complete, present_files
    from imgcodec.datasets.manifest import data_root as resolve
    from imgcodec.datasets.manifest import load_manifest, manifest_names

    root = resolve(data_root)
    records: list[dict[str, Any]] = []
    for name in manifest_names():
        manifest = load_manifest(name)
        records.append(
            {
                "name": name,
                "title": manifest.title,
                "images": manifest.num_images,
                "download_bytes": manifest.download_bytes,
                "disk_bytes": sum(path.stat().st_size for path in present_files(manifest, root)),
                "is_complete": is_complete(manifest, root),
                "folder": str(root / manifest.folder),
                "homepage": manifest.homepage,
                "licence": manifest.licence,
                "note": manifest.note,
            }
        )
    if console.is_json:
        console.record(records)
        return
    console.note(f"data root: {root}")
    rows = [
        (
            record["name"],
            "yes" if record["is_complete"] else "no",
            str(record["images"]),
            _megabytes(record["disk_bytes"]),
            _megabytes(record["download_bytes"]),
            record["title"],
            record["licence"],
        )
        for record in records
    ]
    click.echo(
        format_table(("name", "here", "images", "MB here", "MB to fetch", "what", "terms"), rows)
    )


@command.command("fetch")
@click.argument("names", type=DATASET_NAME, metavar="NAME...", nargs=-1, required=True)
@_root_option
@click.option("--mirror", default="", help="Take the files from URL/<folder>/<file> instead.")
@click.option("--attempts", default=5, show_default=True, help="Connections to try in a row.")
@console_options
def fetch(
    names: tuple[str, ...], data_root: Path | None, mirror: str, attempts: int, console: Console
) -> None:
    """Download datasets; an unfinished download is continued."""
    from imgcodec.datasets import fetch as fetching
    from imgcodec.datasets.manifest import data_root as resolve
    from imgcodec.datasets.manifest import load_manifest

    root = resolve(data_root)
    for manifest in [load_manifest(name) for name in names]:
        with console.progress(manifest.name) as show:
            added = fetching.fetch(manifest, root, mirror=mirror, progress=show, attempts=attempts)
        what = f"{added} files added" if added else "already there"
        console.note(f"{manifest.name}: {what} in {root / manifest.folder} ({manifest.licence})")


@command.command("verify")
@click.argument("names", type=DATASET_NAME, metavar="[NAME]...", nargs=-1)
@_root_option
@console_options
def verify(names: tuple[str, ...], data_root: Path | None, console: Console) -> None:
    """Compare datasets on disk with their manifests; exit code 1 if anything is not right.

    Without a NAME all that are there, in whole or in part.
    """
    from imgcodec.datasets import fetch as fetching
    from imgcodec.datasets.manifest import data_root as resolve
    from imgcodec.datasets.manifest import load_manifest

    root = resolve(data_root)
    manifests = [load_manifest(name) for name in names] or fetching.datasets_here(root)
    if not manifests:
        raise Failure(f"no dataset is in {root}: see imgcodec datasets list")
    bad, incomplete = 0, []
    records: dict[str, list[dict[str, str]]] = {}
    for manifest in manifests:
        name = manifest.name
        entries = fetching.verify(manifest, root)
        records[name] = [vars(entry) for entry in entries]
        counts = {status: 0 for status in ("ok", "missing", "changed", "unknown")}
        for entry in entries:
            counts[entry.status] += 1
            if entry.status in ("missing", "changed"):
                bad += 1
                console.note(f"{name}: {entry.name} {entry.status}: {entry.detail}")
            else:
                console.detail(f"{name}: {entry.name} {entry.status}: {entry.detail}")
        if counts["missing"] or counts["changed"]:
            incomplete.append(name)
        if not console.is_json:
            told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
            click.echo(f"{name}: {told}")
    if console.is_json:
        console.record(records)
    if bad:
        raise Failure(
            f"{bad} files are missing or changed: delete the changed ones, then "
            f"imgcodec datasets fetch {' '.join(incomplete)}"
        )


def _megabytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:.0f}" if size >= 10e6 else f"{size / 1e6:.1f}"
