"""Graphs of the float networks of weights, for runtimes without torch; see `weights.graphs`.

    python -m imgcodec.codec.training.graphs codec/weights/*.safetensors

writes `graphs/<weights>/` beside each file. Networks are traced on what a small picture makes of
them; what they read of the weights stays in the safetensors files.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imgcodec.codec.families.coders import Count
from imgcodec.codec.models.base import TorchModel
from imgcodec.codec.models.coding import TorchNets, as_codec
from imgcodec.codec.models.stored import model_of_arrays
from imgcodec.codec.numeric.exact import BIAS_BITS, WEIGHT_BITS
from imgcodec.codec.session.tiling import analyse_whole
from imgcodec.codec.weights.backends import require_package
from imgcodec.codec.weights.graphs import INDEX, graphs_folder
from imgcodec.codec.weights.installed import FIDELITY, decoder_path, read_info
from imgcodec.codec.weights.store import read_tensors

OPSET, IR_VERSION = 17, 8
SIZE_PX = (320, 192)
"""Sides that are no multiples of what attention windows cover."""

Call = tuple[str, ...]
"""Name and numbers of a network."""


def write_graphs(weights: Path, decoder: str = FIDELITY) -> Path:
    """Write the graphs of a model, or of what a further decoder of it replaces.

    Args:
        weights: file of the model.
        decoder: one that it has.

    Returns:
        The folder.

    Raises:
        MissingPackageError: onnx is not installed.
        UnknownModelError: a weights file cannot be read.
    """
    require_package("onnx", "making graphs")
    import onnx

    info = read_info(weights)
    path = info.path if decoder == FIDELITY else decoder_path(info.path, decoder)
    arrays, metadata = read_tensors(path)
    stored = {name: path for name in arrays}
    sizes = metadata.get("model")
    if decoder != FIDELITY:
        others, details = read_tensors(info.path)
        sizes = sizes or details["model"]
        stored = {name: info.path for name in others} | stored
        arrays = others | arrays
    state = {n: a for n, a in arrays.items() if not n.startswith(("tables.", "thumb", "quality."))}
    model = model_of_arrays(info.family, json.loads(sizes), state)
    folder = graphs_folder(path)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    networks: dict[str, Any] = {}
    calls = _calls_of(model)
    model.float()
    for call, example in calls.items():
        if decoder != FIDELITY and call != ("synthesise",):
            continue
        graph, entry = _trace(model, call, example)
        _point_into_weights(graph, arrays, stored)
        onnx.helper.set_model_props(graph, {"weights": metadata["hash"]})
        label = ".".join(call)
        file = folder / f"{label}.onnx"
        file.write_bytes(graph.SerializeToString(deterministic=True))
        networks[label] = {"file": file.name, **entry}
    index = {"hash": metadata["hash"], "networks": networks}
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return folder


class _Recorder(TorchNets):
    """Networks that remember the first arguments of each call."""

    def __init__(self, model: TorchModel, calls: dict[Call, list[NDArray]]) -> None:
        super().__init__(model)
        self.calls = calls

    def __getattr__(self, name: str) -> Any:
        run = super().__getattr__(name)

        def recorded(*arguments: Any) -> Any:
            numbers = [str(x) for x in arguments if not isinstance(x, np.ndarray)]
            self.calls.setdefault((name, *numbers), list(arguments[len(numbers) :]))
            return run(*arguments)

        return recorded


def _calls_of(model: TorchModel) -> dict[Call, list[NDArray]]:
    """Return the networks of a model with arguments; not those that run over NumPy as well."""
    calls: dict[Call, list[NDArray]] = {}
    coded = as_codec(model)
    coded.nets = _Recorder(model, calls)
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE_PX, 3), np.uint8)
    y = analyse_whole(coded, picture, 100)
    y_hat = coded.code((y.shape[2], y.shape[3]), 100, Count(coded.default_tables()), y)
    coded.synthesis(y_hat, 100)
    return {call: arrays for call, arrays in calls.items() if not hasattr(type(coded), call[0])}


class _Network(nn.Module):
    """One network of a model."""

    def __init__(self, model: TorchModel, call: Call) -> None:
        super().__init__()
        self.model, self.name, self.numbers = model, call[0], tuple(map(int, call[1:]))

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor | None, ...]:
        """Return what the network does."""
        return getattr(self.model, self.name)(*self.numbers, *inputs)


def _trace(model: TorchModel, call: Call, example: list[NDArray]) -> tuple[Any, dict[str, Any]]:
    """Return the graph of a network, and the names of its inputs and outputs."""
    import onnx

    network = _Network(model, call).eval()
    tensors = tuple(torch.from_numpy(np.ascontiguousarray(x)) for x in example)
    with torch.no_grad():
        found = network(*tensors)
    parts = found if isinstance(found, tuple) else (found,)
    inputs = [f"input{number}" for number in range(len(tensors))]
    outputs = [None if x is None else f"output{number}" for number, x in enumerate(parts)]
    sides = {}
    for name, x in zip(inputs, tensors, strict=True):
        if x.ndim == 4:
            sides[name] = {2: f"height_of_{name}", 3: f"width_of_{name}"}
        elif len(x) > 1:
            sides[name] = {0: "number"}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shapes that are traced are meant to be
        torch.onnx.export(
            network,
            tensors,
            buffer,
            dynamo=False,
            opset_version=OPSET,
            do_constant_folding=False,
            input_names=inputs,
            output_names=[name for name in outputs if name],
            dynamic_axes=sides,
        )
    graph = onnx.load_from_string(buffer.getvalue())
    graph.ir_version = IR_VERSION
    del graph.graph.value_info[:]
    for node in graph.graph.node:
        node.ClearField("doc_string")
    used = {found.name for found in graph.graph.input}
    read = [name if name in used else None for name in inputs]
    return graph, {"inputs": read, "outputs": outputs}


def _point_into_weights(graph: Any, arrays: dict[str, NDArray], stored: dict[str, Path]) -> None:
    """Replace the values of initializers by where they lie in safetensors files."""
    from onnx import TensorProto, helper, numpy_helper

    kept, nodes = [], []
    for own in graph.graph.initializer:
        name = own.name.removeprefix("model.")
        if name not in arrays:
            kept.append(own)
            continue
        values, array = numpy_helper.to_array(own), arrays[name]
        tensor = TensorProto(name=f"{own.name}/stored", dims=array.shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor.data_location = TensorProto.EXTERNAL
        offset, length = _place_of(stored[name], name)
        for key, value in (
            ("location", stored[name].name),
            ("offset", offset),
            ("length", length),
        ):
            tensor.external_data.add(key=key, value=str(value))
        kept.append(tensor)
        is_integer = array.dtype.kind == "i"
        floats = f"{own.name}/units" if is_integer else own.name
        nodes.append(helper.make_node("Cast", [tensor.name], [floats], to=TensorProto.FLOAT))
        meant = array.astype(np.float32)
        if is_integer:
            unit = np.float32(2.0 ** -(WEIGHT_BITS if array.dtype == np.int16 else BIAS_BITS))
            meant = meant * unit
            kept.append(numpy_helper.from_array(unit, f"{own.name}/unit"))
            nodes.append(helper.make_node("Mul", [floats, f"{own.name}/unit"], [own.name]))
        if not np.array_equal(meant, values):
            raise ValueError(f"the graph has other values than the weights: {name}")
    nodes += graph.graph.node
    del graph.graph.initializer[:], graph.graph.node[:]
    graph.graph.initializer.extend(kept)
    graph.graph.node.extend(nodes)


def _place_of(path: Path, name: str) -> tuple[int, int]:
    """Return offset and length in bytes of a tensor in a safetensors file."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        start, end = json.loads(file.read(size))[name]["data_offsets"]
    return 8 + size + start, end - start


def main() -> None:
    """Write the graphs of weights files."""
    parser = argparse.ArgumentParser(prog="python -m imgcodec.codec.training.graphs")
    parser.add_argument("weights", nargs="+", type=Path, help="safetensors files of models")
    for path in parser.parse_args().weights:
        if "." in path.stem:  # a further decoder, written with its model
            continue
        for decoder in read_info(path).decoders:
            print(write_graphs(path, decoder))


if __name__ == "__main__":
    main()
