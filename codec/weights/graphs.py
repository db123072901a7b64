"""Graphs of the float networks of a model, and ONNX Runtime, which runs them.

`graphs/<weights>/` beside a weights file holds a file for each network, without weights of its own:
initializers point into the safetensors files. `graphs.json` lists them, with the hash of the
weights. Graphs are made by `training.graphs`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from imgcodec.processors import num_threads

FOLDER, INDEX = "graphs", "graphs.json"


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
        try:
            stamps = (path.stat().st_mtime_ns, (graphs_folder(path) / INDEX).stat().st_mtime_ns)
            found = _networks_of(path, *stamps)
        except (OSError, ValueError, SafetensorError):
            return f"{path.name} has no graphs for onnxruntime"
        if found is None:
            return f"the graphs of {path.name} belong to other weights"
        networks |= found
    return Graphs(networks, paths[0].parent)


@lru_cache(maxsize=16)
def _networks_of(path: Path, *_mtimes_ns: int) -> dict[str, Network] | None:
    """Return the networks of a weights file, None if they are of another one."""
    folder = graphs_folder(path)
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    with safe_open(path, "numpy") as file:
        metadata = file.metadata() or {}
    if index.get("hash") != metadata.get("hash"):
        return None
    return {
        name: Network(folder / entry["file"], tuple(entry["inputs"]), tuple(entry["outputs"]))
        for name, entry in index["networks"].items()
    }


class OnnxNets:
    """The float networks of a model by name, NumPy arrays in and out.

    Sessions start when a network is asked for and, where there are processors to spare, those of
    the networks after it follow in the background: a walk asks for them in this order. Numbers
    among the arguments come first and choose the network. What has no graph is the family's own,
    over NumPy.

    Args:
        graphs: of the model.
        model: whose walk asks.
    """

    def __init__(self, graphs: Graphs, model: Any) -> None:
        self._graphs, self._model = graphs, model
        self._names = {key.partition(".")[0] for key in graphs.networks}
        self._sessions: dict[tuple[Path, int], Future[Any]] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._names:
            return getattr(self._model, name)

        def run(*arguments: Any) -> Any:
            numbers = [x for x in arguments if not isinstance(x, np.ndarray)]
            network = self._graphs.networks[".".join((name, *map(str, numbers)))]
            return self._run(network, arguments[len(numbers) :])

        return run

    def _run(self, network: Network, arrays: Sequence[np.ndarray]) -> Any:
        feeds = {
            name: np.ascontiguousarray(array)
            for name, array in zip(network.inputs, arrays, strict=True)
            if name is not None
        }
        wanted = [name for name in network.outputs if name is not None]
        found = iter(self._session(network.file).run(wanted, feeds))
        outputs = tuple(None if name is None else next(found) for name in network.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _session(self, file: Path) -> Any:
        threads = num_threads()
        if (file, threads) not in self._sessions:
            files = list(dict.fromkeys(entry.file for entry in self._graphs.networks.values()))
            wanted = files[files.index(file) :] if threads > 1 else [file]
            pool = ThreadPoolExecutor(1, "sessions")
            for each in wanted:
                if (each, threads) not in self._sessions:
                    started = pool.submit(_start, each, self._graphs.weights, threads)
                    self._sessions[each, threads] = started
            pool.shutdown(wait=False)
        return self._sessions[file, threads].result()


def _start(file: Path, weights: Path, threads: int) -> Any:
    """Return a session of a graph whose initializers lie in a folder of weights files."""
    import onnxruntime

    _share_memory()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # errors are raised
    # Not all: in blocks of channels convolutions of large tiles take nearly twice as long.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    # One arena for all sessions, and no further block for each shape that comes along.
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(weights)
    )
    return onnxruntime.InferenceSession(
        file.read_bytes(), options, providers=["CPUExecutionProvider"]
    )


@lru_cache(maxsize=1)
def _share_memory() -> None:
    """Make an arena that sessions of this process may share: networks run one after another."""
    import onnxruntime

    memory = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    onnxruntime.create_and_register_allocator(memory, None)
