"""Graphs of the float networks of a model, and ONNX Runtime, which runs them.

`graphs/<weights>/` beside a weights file holds a file for each network, without weights of its own:
initializers point into the safetensors files. `graphs.json` lists them, with the hash of the
weights. Graphs are made by `training.graphs`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

FOLDER, INDEX = "graphs", "graphs.json"
MAX_THREADS = 8


@dataclass(frozen=True)
class Network:
    """A float network in a graph.

    Attributes:
        file: the graph.
        inputs: names, in the order of the arguments; None for one that has no effect.
        outputs: names; None for one that the network does not have.
    """

    file: Path
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]


@dataclass(frozen=True)
class Graphs:
    """The networks of a model.

    Attributes:
        networks: by name and numbers, such as "mean.3".
        weights: the folder of the weights files.
    """

    networks: dict[str, Network]
    weights: Path


def graphs_folder(weights: Path) -> Path:
    """Return where the graphs of a weights file lie."""
    return weights.parent / FOLDER / weights.name.removesuffix(".safetensors")


def graphs_of(paths: Sequence[Path]) -> Graphs | str:
    """Return the graphs of weights files, later ones in the place of earlier ones, or why not.

    Args:
        paths: the weights file of a model and, maybe, that of a further decoder.
    """
    networks: dict[str, Network] = {}
    for path in paths:
        folder = graphs_folder(path)
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
        except (OSError, ValueError, SafetensorError):
            return f"{path.name} has no graphs for onnxruntime"
        if index.get("hash") != metadata.get("hash"):
            return f"the graphs of {path.name} belong to other weights"
        for name, entry in index["networks"].items():
            networks[name] = Network(
                folder / entry["file"], tuple(entry["inputs"]), tuple(entry["outputs"])
            )
    return Graphs(networks, paths[0].parent)


class OnnxNets:
    """The float networks of a model by name, NumPy arrays in and out.

    Sessions start when a network is asked for. Numbers among the arguments come first and choose
    the network. What has no graph is the family's own, over NumPy.

    Args:
        graphs: of the model.
        model: whose walk asks.
    """

    def __init__(self, graphs: Graphs, model: Any) -> None:
        self._graphs, self._model = graphs, model

    def __getattr__(self, name: str) -> Callable[..., Any]:
        networks = self._graphs.networks
        if not any(key.partition(".")[0] == name for key in networks):
            return getattr(self._model, name)

        def run(*arguments: Any) -> Any:
            numbers = [x for x in arguments if not isinstance(x, np.ndarray)]
            arrays = arguments[len(numbers) :]
            network = networks[".".join((name, *map(str, numbers)))]
            return _run(network, self._graphs.weights, arrays)

        return run


def _run(network: Network, weights: Path, arrays: Sequence[np.ndarray]) -> Any:
    session = _session(network.file, weights, num_threads())
    feeds = {
        name: np.ascontiguousarray(array)
        for name, array in zip(network.inputs, arrays, strict=True)
        if name is not None
    }
    wanted = [name for name in network.outputs if name is not None]
    found = iter(session.run(wanted, feeds))
    outputs = tuple(None if name is None else next(found) for name in network.outputs)
    return outputs[0] if len(outputs) == 1 else outputs


@lru_cache(maxsize=64)
def _session(file: Path, weights: Path, threads: int) -> Any:
    """Return a session of a graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(weights)
    )
    return onnxruntime.InferenceSession(
        file.read_bytes(), options, providers=["CPUExecutionProvider"]
    )


_threads = 0


def set_threads(count: int) -> None:
    """Let float networks use so many threads; 0 for as many as help."""
    global _threads
    _threads = count


def num_threads() -> int:
    """Return how many threads float networks use.

    As `set_threads` or the variable OMP_NUM_THREADS says, else the processors of this process, up
    to 8.
    """
    variable = os.environ.get("OMP_NUM_THREADS", "")
    if _threads or variable.isdecimal():
        return _threads or max(1, int(variable))
    affinity = getattr(os, "sched_getaffinity", None)
    return min(len(affinity(0)) if affinity else os.cpu_count() or 1, MAX_THREADS)
