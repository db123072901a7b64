"""Weights files: safetensors with metadata, checked and loaded once; see also `installed`.

Weights of convolutions, tensors of four dimensions, are most of a file and take two bytes an
element, all other tensors four. What table rows depend on (`nets.exact.exact_tensors`) is integer:
int16 in units of 2**-12, int32 in units of 2**-20. The rest is float16 or float32; the first files
have more of it in float16, which is read all the same. The hash in a file's metadata is the SHA-256
of names, types, shapes and bytes of all tensors; streams carry its first four bytes.

Further decoders of a model are files beside it, ``<id>.<decoder>.safetensors``: other tensors for
the synthesis alone, bound to the hash of the model, and the sizes of the model with this synthesis
where they differ. Streams know nothing of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from imgcodec.codec.errors import UnknownModelError
from imgcodec.codec.families.base import CodecModel
from imgcodec.codec.families.registry import config_of, find_family
from imgcodec.codec.numeric.parameters import as_stored, tree_of
from imgcodec.codec.numeric.thumbnail import Thumbnail
from imgcodec.codec.stream.tables import Tables
from imgcodec.codec.weights.backends import ONNXRUNTIME, backend_of, require_package
from imgcodec.codec.weights.graphs import Graphs, OnnxNets, graphs_of
from imgcodec.codec.weights.installed import (
    FIDELITY,
    HASH_BYTES,
    ModelInfo,
    decoder_path,
    read_info,
)

if TYPE_CHECKING:
    from imgcodec.codec.models.base import TorchModel

QUALITY_POSITIONS = "quality.positions"
"""Tensor of the calibrated quality scale, if there is one; see `numeric.rate.RateAxis`."""
TABLE_PREFIX = "tables."
THUMBNAIL_PREFIX = "thumbnails."


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready for coding, with its tables and what it was trained for; equal to itself alone.

    Attributes:
        info: of the model's own file.
        model: as the codec runs it.
        tables: of the entropy coder.
        losses: weights of the terms of the loss that it was trained with.
        thumbnails: by reduction; none for another decoder, or where the weights have none.
        sizes: of the model, as its recipe has them.
        paths: the model's own file, and that of a further decoder.
        backend: "onnxruntime" or "torch", who computes its float networks.
    """

    info: ModelInfo
    model: CodecModel
    tables: Tables
    losses: Mapping[str, float]
    thumbnails: Mapping[int, Thumbnail]
    sizes: dict[str, Any]
    paths: tuple[Path, ...]
    backend: str

    @property
    def stream_hash(self) -> bytes:
        """Return the four bytes that streams carry."""
        return bytes.fromhex(self.info.hash)[:HASH_BYTES]

    @property
    def arrays(self) -> dict[str, NDArray]:
        """Its tensors as they are stored, read once more: the codec needs few of them.

        Raises:
            UnknownModelError: a file cannot be read any more, or is another one by now.
        """
        arrays, metadata = _read_all(self.paths)
        if metadata.get("hash") != self.info.hash:
            raise UnknownModelError(f"{self.info.path} was replaced after it had been loaded")
        apart = (QUALITY_POSITIONS, TABLE_PREFIX, THUMBNAIL_PREFIX)
        return {name: x for name, x in arrays.items() if not name.startswith(apart)}

    @cached_property
    def torch_model(self) -> TorchModel:
        """The same model in torch, for what needs gradients or single modules.

        Raises:
            MissingPackageError: torch is not installed.
        """
        require_package("torch", f"{self.info.id} with gradients")
        from imgcodec.codec.models.stored import model_of_arrays

        model = model_of_arrays(self.info.family, self.sizes, self.arrays)
        model.axis = self.model.axis
        return model


def load_model(info: ModelInfo, decoder: str = FIDELITY) -> LoadedModel:
    """Load a model with one of its decoders, once per process, file and backend.

    Raises:
        UnknownModelError: there is no such decoder, or a file is damaged or does not fit.
        MissingPackageError: nothing that computes float networks is installed.
        OptionError: `IMGCODEC_BACKEND` names no backend, or one that cannot run this model.
    """
    if decoder not in info.decoders:
        known = ", ".join(info.decoders)
        raise UnknownModelError(f"{info.id} has no decoder '{decoder}'; known: {known}")
    path = info.path if decoder == FIDELITY else decoder_path(info.path, decoder)
    return _load(info.path, path, path.stat().st_mtime_ns, backend_of(info, decoder).name)


def hash_of_tensors(arrays: Mapping[str, NDArray]) -> str:
    """Return the SHA-256 over names, types, shapes and little-endian bytes, in order of names."""
    return _hash_of((name, arrays[name]) for name in sorted(arrays))


def _hash_of(tensors: Iterable[tuple[str, NDArray]]) -> str:
    digest = hashlib.sha256()
    kinds: dict[np.dtype, str] = {}
    for name, tensor in tensors:
        array = np.ascontiguousarray(tensor)
        kind = kinds.setdefault(array.dtype, array.dtype.name)
        digest.update(f"{name} {kind} {array.shape}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    return digest.hexdigest()


@lru_cache(maxsize=4)
def _load(model_path: Path, decoder_file: Path, _mtime_ns: int, backend: str) -> LoadedModel:
    info = read_info(model_path)
    paths = tuple(dict.fromkeys((model_path, decoder_file)))
    arrays, metadata = _read_all(paths, _is_of_codec)
    positions = arrays.pop(QUALITY_POSITIONS, None)
    thumbnails = _pop_thumbnails(arrays)
    tables = {name: arrays.pop(name) for name in list(arrays) if name.startswith(TABLE_PREFIX)}
    try:
        sizes = json.loads(metadata["model"])
        model = find_family(info.family).model(config_of(info.family, sizes))
        if positions is not None and model.axis is not None:
            model.axis = replace(model.axis, positions=tuple(map(int, positions)))
        loaded = LoadedModel(
            info=info,
            model=model,
            tables=Tables.from_arrays(
                {name.removeprefix(TABLE_PREFIX): table for name, table in tables.items()}
            ),
            losses=json.loads(metadata.get("recipe", "{}")).get("loss") or {},
            thumbnails=thumbnails if len(paths) == 1 else {},
            sizes=sizes,
            paths=paths,
            backend=backend,
        )
        model.take(tree_of(dict(as_stored(arrays))), _nets(loaded))
    except (KeyError, RuntimeError, ValueError) as error:
        raise UnknownModelError(
            f"{model_path}: not a weights file of this version: {error}"
        ) from error
    return loaded


def _nets(loaded: LoadedModel) -> Any:
    """Return the float networks of a model, computed by its backend."""
    if loaded.backend == ONNXRUNTIME:
        graphs = graphs_of(loaded.paths)
        assert isinstance(graphs, Graphs)
        return OnnxNets(graphs, loaded.model)
    from imgcodec.codec.models.coding import TorchNets

    return TorchNets(loaded.torch_model)


def thumbnail_arrays(thumbnails: Mapping[int, Thumbnail]) -> dict[str, NDArray]:
    """Return maps as tensors of a weights file."""
    return {
        f"{THUMBNAIL_PREFIX}{scale}.{part}": getattr(found, part)
        for scale, found in thumbnails.items()
        for part in ("weight", "bias")
    }


def _pop_thumbnails(arrays: dict[str, NDArray]) -> dict[int, Thumbnail]:
    """Take the maps out of the tensors of a weights file."""
    scales = {name.split(".")[1] for name in arrays if name.startswith(THUMBNAIL_PREFIX)}
    return {
        int(scale): Thumbnail(
            *(arrays.pop(f"{THUMBNAIL_PREFIX}{scale}.{part}") for part in ("weight", "bias"))
        )
        for scale in scales
    }


def _is_of_codec(name: str, array: NDArray) -> bool:
    """Return whether a tensor is no weight of a float convolution: those are a backend's."""
    return name.startswith(THUMBNAIL_PREFIX) or array.ndim != 4 or array.dtype.kind != "f"


def _read_all(
    paths: Sequence[Path], is_wanted: Callable[[str, NDArray], bool] | None = None
) -> tuple[dict[str, NDArray], dict[str, str]]:
    """Return the tensors of a model, with those of a further decoder, and its metadata."""
    arrays, metadata = read_tensors(paths[0], is_wanted)
    for path in paths[1:]:
        others, details = read_tensors(path, is_wanted)
        if details.get("model_hash") != metadata.get("hash"):
            raise UnknownModelError(f"{path} belongs to other weights than {metadata.get('id')}")
        if not all(name.startswith(_decoder_prefixes(metadata)) for name in others):
            raise UnknownModelError(f"{path} has tensors that are no part of a decoder")
        arrays |= others
        if "model" in details:
            if not do_share_integers(metadata["model"], details["model"]):
                raise UnknownModelError(f"{path} has other sizes than {metadata.get('id')}")
            metadata = {**metadata, "model": details["model"]}
    return arrays, metadata


def do_share_integers(sizes: str, others: str) -> bool:
    """Return whether two sizes of a model, in JSON, differ in what a decoder may have alone."""
    first, second = (
        {key: value for key, value in json.loads(x).items() if key not in CodecModel.decoder_sizes}
        for x in (sizes, others)
    )
    return first == second


def _decoder_prefixes(metadata: Mapping[str, str]) -> tuple[str, ...]:
    return find_family(metadata.get("family", "")).model.decoder_prefixes


def read_tensors(
    path: Path, is_wanted: Callable[[str, NDArray], bool] | None = None
) -> tuple[dict[str, NDArray], dict[str, str]]:
    """Return tensors and metadata of a weights file.

    Args:
        path: of the file.
        is_wanted: from a name and a tensor to whether it is returned; by default all are.

    Raises:
        UnknownModelError: it cannot be read, or does not have the hash of its metadata.
    """
    arrays: dict[str, NDArray] = {}

    def read() -> Iterator[tuple[str, NDArray]]:
        for name in sorted(file.keys()):
            array = file.get_tensor(name)
            if is_wanted is None or is_wanted(name, array):
                arrays[name] = array
            yield name, array

    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            found = _hash_of(read())
    except (OSError, SafetensorError) as error:
        raise UnknownModelError(f"cannot read weights {path}: {error}") from error
    if found != metadata.get("hash"):
        raise UnknownModelError(f"{path}: the tensors do not have the hash of the metadata")
    return arrays, metadata
