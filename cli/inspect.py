"""``imgcodec inspect``: what is inside a .cvb file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgcodec.cli.console import Console, console_options, format_table, threads_option
from imgcodec.cli.files import INPUT, check_writable, model_option, picture_format, read_source

if TYPE_CHECKING:
    from imgcodec.codec.session.inspection import Inspection


EXAMPLES = """\b
Examples:
  imgcodec inspect photo.cvb
  imgcodec inspect photo.cvb --verify --json
  imgcodec inspect photo.cvb --heatmap bits.png"""


@click.command("inspect", epilog=EXAMPLES)
@click.argument("source", metavar="IN", type=INPUT)
@click.option(
    "--verify", is_flag=True, help="Decode every integer and print the SHA-256 of them all."
)
@click.option(
    "--heatmap",
    "heatmap_path",
    metavar="PICTURE",
    type=click.Path(dir_okay=False),
    help="Draw the bits that each part took over the faded picture.",
)
@click.option("--allow-truncated", is_flag=True, help="Describe what there is of a cut file.")
@model_option
@click.option("-f", "--force", is_flag=True, help="Overwrite the heatmap.")
@threads_option
@console_options
def command(
    source: str,
    verify: bool,
    heatmap_path: str | None,
    allow_truncated: bool,
    model: str | None,
    force: bool,
    console: Console,
) -> None:
    """Show header, model, levels and chunks of a .cvb file (- for stdin)."""
    if heatmap_path is not None:
        check_writable(Path(heatmap_path), force=force)
        heatmap_format = picture_format(heatmap_path)

    from imgcodec.codec.picture.heatmap import draw_heatmap
    from imgcodec.codec.picture.write import write_image
    from imgcodec.codec.session.inspection import inspect

    data = read_source(source)
    inspection = inspect(
        data,
        verify=verify,
        heatmap=heatmap_path is not None,
        model=model,
        allow_truncated=allow_truncated,
    )
    if heatmap_path is not None:
        assert inspection.heatmap is not None and inspection.heatmap_cell_px is not None
        from imgcodec.codec.api import decode

        picture = decode(data, model=model, allow_truncated=allow_truncated)
        heatmap = draw_heatmap(inspection.heatmap, inspection.heatmap_cell_px, picture)
        write_image(heatmap, Path(heatmap_path), heatmap_format)
        console.note(
            f"heatmap: {heatmap_path}, at most {inspection.heatmap.max():.3g} bits a pixel"
        )
    if console.is_json:
        console.record(_as_json(inspection))
    else:
        click.echo(_as_text(inspection))


def _as_json(inspection: Inspection) -> dict[str, Any]:
    header = inspection.header
    passes = inspection.passes
    return {
        "file_bytes": inspection.file_bytes,
        "expected_bytes": inspection.expected_bytes,
        "is_size_known": inspection.is_size_known,
        "bpp": inspection.bpp,
        "model": inspection.model,
        "exact_share": inspection.exact_share,
        "header": {
            "model_hash": header.model_hash.hex(),
            "height": header.height,
            "width": header.width,
            "quality": header.quality,
            "is_gray": header.is_gray,
            "has_alpha": header.has_alpha,
            "has_exact": header.has_exact,
            "reduction": header.reduction,
            "tile_px": header.tile_px,
            "num_tiles": header.num_tiles,
            "num_segments": header.num_segments,
        },
        "chunks": [
            {"name": chunk.name, "bytes": chunk.bytes, "bpp": chunk.bpp, "share": chunk.share}
            for chunk in inspection.chunks
        ],
        "levels": [dataclasses.asdict(level) for level in inspection.levels],
        "passes": None
        if passes is None
        else [
            {"name": entry.name, "symbols": entry.symbols, "bits": entry.bits} for entry in passes
        ],
        "integers_sha256": inspection.integers_sha256,
        "estimated_bytes": inspection.estimated_bytes,
        "heatmap_max_bpp": None if inspection.heatmap is None else float(inspection.heatmap.max()),
    }


def _size(inspection: Inspection) -> str:
    present, expected = inspection.file_bytes, inspection.expected_bytes
    if inspection.is_size_known and present == expected:
        return f"{present} bytes"
    least, most = ("", "") if inspection.is_size_known else ("at least ", "at most ")
    return f"{present} of {least}{expected} bytes ({most}{present / expected:.0%})"


def _as_text(inspection: Inspection) -> str:
    header = inspection.header
    colours = ("gray" if header.is_gray else "RGB") + (" + alpha" if header.has_alpha else "")
    lines = [
        f"picture   {header.width}x{header.height} {colours}",
        f"file      {_size(inspection)}, {inspection.bpp:.4f} bpp",
        f"model     {inspection.model or 'not installed'} (hash {header.model_hash.hex()})",
        f"quality   {header.quality}{' at half size' if header.reduction == 2 else ''}",
        f"tiles     {header.num_tiles} of {header.tile_px} px, {header.num_segments} segment(s)",
        *([f"exact     {inspection.exact_share:.1%} of the pixels"] if header.has_exact else []),
        "",
        format_table(
            ("chunk", "bytes", "bpp", "share"),
            [
                (chunk.name, str(chunk.bytes), f"{chunk.bpp:.4f}", f"{chunk.share:.1%}")
                for chunk in inspection.chunks
            ],
        ),
    ]
    if len(inspection.levels) > 1:
        levels = [
            (
                str(level.number),
                str(level.bytes),
                f"{level.bpp:.4f}",
                f"{level.share:.1%}",
                str(level.bytes_so_far),
            )
            for level in inspection.levels
        ]
        lines += ["", format_table(("level", "bytes", "bpp", "share", "bytes so far"), levels)]
    if inspection.passes is not None:
        rows = [
            (p.name, str(p.symbols), f"{p.bits / 8:.0f}", f"{p.bits / max(p.symbols, 1):.3f}")
            for p in inspection.passes
        ]
        lines += ["", format_table(("pass", "symbols", "bytes (ideal)", "bits/symbol"), rows)]
    if inspection.estimated_bytes is not None:
        lines += ["", f"likelihood estimate   {inspection.estimated_bytes:.1f} bytes"]
    if inspection.integers_sha256 is not None:
        lines.append(f"integers SHA-256      {inspection.integers_sha256}")
    return "\n".join(lines)
