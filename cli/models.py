"""``imgcodec models``: the weights that this installation can use."""

from __future__ import annotations

import click

from imgcodec.cli.console import Console, console_options, format_table


@click.command("models")
@console_options
def command(console: Console) -> None:
    """List the installed models: size, complexity, hash, licence."""
    from imgcodec.codec.weights.installed import list_models

    models = list_models()
    if console.is_json:
        console.record(
            [
                {
                    "id": model.id,
                    "family": model.family,
                    "params": model.params,
                    "kmac_encode": model.kmac_encode,
                    "kmac_decode": model.kmac_decode,
                    "bytes": model.bytes,
                    "hash": model.hash,
                    "licence": model.licence,
                    "provenance": model.provenance,
                    "runs": list(model.runs),
                    "path": str(model.path),
                    "decoders": list(model.decoders),
                }
                for model in models
            ]
        )
        return
    if not models:
        console.note("no models installed")
        return
    rows = [
        (
            model.id,
            model.family,
            f"{model.params / 1e6:.2f} M",
            f"{model.kmac_encode:.1f}",
            f"{model.kmac_decode:.1f}",
            str(model.bytes),
            model.hash[:8],
            model.licence,
            " ".join(model.decoders),
        )
        for model in models
    ]
    click.echo(
        format_table(
            (
                "id",
                "family",
                "params",
                "enc kMAC/px",
                "dec kMAC/px",
                "bytes",
                "hash",
                "licence",
                "decoders",
            ),
            rows,
        )
    )
    for model in models:
        console.detail(f"{model.id}: {model.path}\n  {model.provenance}")
        for run in model.runs:
            console.detail("  run: " + ", ".join(f"{key} {value}" for key, value in run.items()))
