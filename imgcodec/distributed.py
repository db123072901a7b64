"""Batches past one machine: the same job on a Ray cluster, from and to any fsspec location.

    >>> from imgcodec.distributed import decode_many, encode_many
    >>> rows = encode_many("s3://photos/2024/**/*.jpg", "s3://small/2024", quality=50)
    >>> [(row.source, row.error) for row in rows if row.status == "failed"]

Needs ``pip install 'imgcodec[ray]'``, here and on the workers. The job goes to the cluster that Ray
is connected to (``ray.init(address=...)`` or RAY_ADDRESS); where there is none, Ray starts one on
this machine. Credentials of object stores come from the workers' environment or the configuration
of fsspec; local paths, those of weights files too, must mean the same on every machine.

A file is a task of its own, tried again where its worker dies. A target appears only when it is
complete: object stores put objects whole, elsewhere a temporary file is moved into place. So a job
that was cut short can be run again, with `skip_existing` for what is left of it.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from glob import has_magic
from io import BytesIO
from typing import Any

from fsspec.core import url_to_fs

from imgcodec.codec.errors import CodecError
from imgcodec.codec.files import temporary_name

MAX_ATTEMPTS = 3
"""How often a file is begun; it is begun again where its worker died."""
STREAM_SUFFIX = ".cvb"
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"}
"""Protocols of fsspec under which a file is put as a whole or not at all."""


@dataclass(frozen=True)
class Row:
    """What became of one input.

    Attributes:
        source: URL of the input.
        target: URL of the output.
        status: "ok", "skipped" or "failed".
        bytes: size of the output, 0 of a failure.
        error: message of a failure.
    """

    source: str
    target: str
    status: str
    bytes: int = 0
    error: str | None = None


def encode_many(
    inputs: str | Iterable[str],
    output: str,
    *,
    skip_existing: bool = False,
    resources: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[Row]:
    """Encode pictures to `.cvb` files on a Ray cluster; a bad file is a row, not an exception.

    Args:
        inputs: URLs, paths, or patterns of them. What a pattern yields keeps its path below the
            fixed part of the pattern, other inputs their name. Outputs are named
            after their input alone: a.png.cvb of a.png, a.png of a.cvb.
        output: URL or path of the folder to write to; files that exist are replaced.
        skip_existing: leave inputs alone whose output exists.
        resources: what a file takes, as in `ray.data.Dataset.map`: num_cpus (threads; 1), memory,
            concurrency and so on.
        options: keywords of `imgcodec.encode`.

    Returns:
        A row for every input, in their order.

    Raises:
        ImportError: Ray is not installed.
        TypeError: `imgcodec.encode` has no such keyword.
    """
    from imgcodec.codec import api

    inspect.signature(api.encode).bind(b"", **options)
    return _run(_encode, _plan(inputs, output, ".cvb"), skip_existing, resources, options)


def decode_many(
    inputs: str | Iterable[str],
    output: str,
    *,
    suffix: str = ".png",
    skip_existing: bool = False,
    resources: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[Row]:
    """Decode `.cvb` files to pictures on a Ray cluster; see `encode_many`.

    Args:
        inputs: as of `encode_many`.
        output: as of `encode_many`.
        suffix: of the outputs, which tells their format.
        skip_existing: as of `encode_many`.
        resources: as of `encode_many`.
        options: keywords of `imgcodec.decode`.

    Raises:
        ImageFormatError: Pillow cannot write such files.
        ImportError: Ray is not installed.
        TypeError: `imgcodec.decode` has no such keyword.
    """
    from imgcodec.codec import api
    from imgcodec.codec.picture.write import format_of

    inspect.signature(api.decode).bind(b"", **options)
    options["format"] = format_of(f"picture{suffix}")
    return _run(_decode, _plan(inputs, output, suffix), skip_existing, resources, options)


def _encode(data: bytes, **options: Any) -> bytes:
    from imgcodec.codec import api

    return api.encode(data, **options)


def _decode(data: bytes, format: str, **options: Any) -> bytes:
    from imgcodec.codec import api
    from imgcodec.codec.picture.write import write_image

    buffer = BytesIO()
    write_image(api.decode(data, **options), buffer, format)
    return buffer.getvalue()


def _plan(inputs: str | Iterable[str], output: str, suffix: str) -> list[Row]:
    """Return a row for every input: with status "planned", or "failed" and the problem it has.

    URLs are absolute: workers have working folders of their own.
    """
    found: dict[str, str | None] = {}  # source: path below the output, None: no such file
    for name in [inputs] if isinstance(inputs, str) else inputs:
        fs, path = url_to_fs(name)
        if not has_magic(path) or fs.exists(path):
            found.setdefault(fs.unstrip_protocol(path), path.rstrip("/").rpartition("/")[2])
            continue
        fixed = path[: path.index(next(filter(has_magic, path.split("/"))))]
        infos = fs.glob(path, detail=True)
        files = [file for file in sorted(infos) if infos[file]["type"] == "file"]
        for file in files:
            found.setdefault(fs.unstrip_protocol(file), file.removeprefix(fixed))
        if not files:
            found.setdefault(name, None)
    fs, path = url_to_fs(output)
    folder = fs.unstrip_protocol(path).rstrip("/")
    taken: dict[str, str] = {}
    rows = []
    for source, below in found.items():
        if below is None:
            rows.append(Row(source, "", "failed", error="no file fits the pattern"))
            continue
        stem = below[: -len(STREAM_SUFFIX)] if below.lower().endswith(STREAM_SUFFIX) else below
        target = f"{folder}/{stem}{suffix}"
        other = taken.setdefault(target, source)
        if other != source:
            error = f"its output would be that of {other}"
            rows.append(Row(source, target, "failed", error=error))
        else:
            rows.append(Row(source, target, "planned"))
    return rows


def _run(
    work: Callable[..., bytes],
    rows: list[Row],
    skip_existing: bool,
    resources: Mapping[str, Any] | None,
    options: dict[str, Any],
) -> list[Row]:
    """Do the planned rows on the cluster and return all of them."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("imgcodec.distributed needs Ray: pip install 'imgcodec[ray]'") from error
    max_attempts = MAX_ATTEMPTS
    planned = [asdict(row) for row in rows if row.status == "planned"]
    if not planned:
        return rows
    counter: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Attempts).remote()

    def task(row: dict[str, Any]) -> dict[str, Any]:
        if ray.get(counter.begin.remote(row["source"])) > max_attempts:
            error = f"its worker died {max_attempts} times (killed, or out of memory)"
            return row | {"status": "failed", "error": error}
        return handle_row(row, work, skip_existing, options)

    dataset = ray.data.from_items(planned, override_num_blocks=len(planned))
    results = dataset.map(task, **(resources or {})).iter_rows()
    done = {result["source"]: Row(**result) for result in results}
    return [done.get(row.source, row) for row in rows]


class _Attempts:
    """Counts how often each file was begun, in a process that no file can kill.

    Ray itself would try a file for ever that kills its worker.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def begin(self, source: str) -> int:
        """Return the number of this attempt, from 1."""
        self._counts[source] += 1
        return self._counts[source]


def handle_row(
    row: dict[str, Any], work: Callable[..., bytes], skip_existing: bool, options: dict[str, Any]
) -> dict[str, Any]:
    """Do what a planned row says, on a worker; whatever is raised becomes a failed row.

    Args:
        row: fields of a `Row`.
        work: bytes of the input and options to the bytes of the output.
        skip_existing: leave it at that where the target exists.
        options: of `work`.
    """
    try:
        fs, path = url_to_fs(row["target"])
        if skip_existing and fs.exists(path):
            return row | {"status": "skipped", "bytes": fs.size(path)}
        source_fs, source_path = url_to_fs(row["source"])
        data = work(source_fs.cat_file(source_path), **options)
        write_file(row["target"], data)
    except Exception as error:
        text = str(error) or type(error).__name__
        if not isinstance(error, (CodecError, OSError)):  # a bug, but not for others to suffer from
            text = f"{type(error).__name__}: {text}"
        return row | {"status": "failed", "error": text}
    return row | {"status": "ok", "bytes": len(data)}


def write_file(url: str, data: bytes) -> None:
    """Write a file that appears only when it is complete; folders are made where needed.

    Raises:
        OSError: it cannot be written; an older file is left as it was.
    """
    fs, path = url_to_fs(url)
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if protocols & OBJECT_STORES:
        fs.pipe_file(path, data)
        return
    folder, _, name = path.rpartition("/")
    fs.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/{temporary_name(name)}"
    try:
        fs.pipe_file(temporary, data)
        fs.mv(temporary, path)
    finally:
        if fs.exists(temporary):
            fs.rm_file(temporary)
