"""Graphs of the installed weights: no weights of their own, and the same files as with torch."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from safetensors import safe_open

import imgcodec
from imgcodec.codec.errors import MissingPackageError, OptionError
from imgcodec.codec.training.graphs import write_graphs
from imgcodec.codec.weights import backends, graphs
from imgcodec.codec.weights.backends import ONNXRUNTIME, TORCH, VARIABLE, backend_of
from imgcodec.codec.weights.graphs import INDEX, OnnxNets, graphs_folder, graphs_of
from imgcodec.codec.weights.installed import WEIGHTS_DIR, find_model
from imgcodec.codec.weights.store import load_model
from tests.codec.conftest import make_tiny_weights, smooth_pictures

WEIGHTS = sorted(WEIGHTS_DIR.glob("*.safetensors"))
MAX_CONSTANT_BYTES = 1 << 16
"""The positions in an attention window are the largest."""
SIZES = ((70, 90), (1, 1), (128, 66))


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
def test_graphs_belong_to_their_weights_and_hold_none(path):
    folder = graphs_folder(path)
    index = json.loads((folder / INDEX).read_text())
    with safe_open(path, "numpy") as file:
        weights_hash = file.metadata()["hash"]
    assert index["hash"] == weights_hash
    files = {entry["file"] for entry in index["networks"].values()}
    assert files == {file.name for file in folder.glob("*.onnx")}
    for name in files:
        graph = onnx.load(folder / name, load_external_data=False)
        assert {entry.key: entry.value for entry in graph.metadata_props}["weights"] == weights_hash
        own = [t for t in graph.graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
        own += [a.t for node in graph.graph.node for a in node.attribute if a.HasField("t")]
        assert all(t.ByteSize() <= MAX_CONSTANT_BYTES for t in own)


@pytest.fixture
def backend(monkeypatch):
    return lambda name: monkeypatch.setenv(VARIABLE, name)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_both_backends_read_each_others_files(installed, backend, size):
    pixels = smooth_pictures(2, side=256)[1][: size[0], : size[1]]
    found = {}
    for writer in (ONNXRUNTIME, TORCH):
        backend(writer)
        data = imgcodec.encode(pixels, model=installed.info.id, quality=70, exact="none")
        for reader in (ONNXRUNTIME, TORCH):
            backend(reader)
            inspection = imgcodec.inspect(data, verify=True)
            pictures = [
                np.asarray(imgcodec.decode(data, decoder=d)) for d in installed.info.decoders
            ]
            found[reader] = inspection.integers_sha256, pictures
        assert found[ONNXRUNTIME][0] == found[TORCH][0]
        for one, other in zip(found[ONNXRUNTIME][1], found[TORCH][1], strict=True):
            assert np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.parametrize("family", ["beta", "hier"])
def test_new_weights_get_graphs(family, tmp_path, backend):
    """The beta of these has channels that lead, which no installed weights have."""
    weights = make_tiny_weights(family, tmp_path)
    write_graphs(weights)
    pixels = smooth_pictures(2, side=160)[1][:, :99]
    backend(TORCH)
    data = imgcodec.encode(pixels, model=weights, quality=70, exact="none")
    for scale in (1, 2, 8):  # at 8 those that lead are enough
        shown = []
        for name in (ONNXRUNTIME, TORCH):
            backend(name)
            assert load_model(find_model(weights)).backend == name
            shown.append(np.asarray(imgcodec.decode(data, model=weights, scale=scale)).astype(int))
        assert np.abs(shown[0] - shown[1]).max() <= 1


def test_weights_without_graphs_run_by_torch(tiny_weights, backend):
    info = find_model(tiny_weights)
    backend("auto")
    assert backend_of(info).name == TORCH
    assert "has no graphs" in backend_of(info).reason
    backend(ONNXRUNTIME)
    with pytest.raises(OptionError, match="has no graphs"):
        backend_of(info)
    backend("cuda")
    with pytest.raises(OptionError, match="it may be auto, onnxruntime or torch"):
        backend_of(info)


def test_graphs_of_other_weights_do_not_run(tiny_weights, backend):
    folder = graphs_folder(tiny_weights)
    folder.mkdir(parents=True)
    (folder / INDEX).write_text(json.dumps({"hash": "00", "networks": {}}))
    try:
        assert "belong to other weights" in graphs.graphs_of([tiny_weights])
    finally:
        (folder / INDEX).unlink()


def test_without_any_backend_the_message_says_what_to_install(tiny_weights, backend, monkeypatch):
    backend("auto")
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'imgcodec\[torch\]'"):
        backend_of(find_model(tiny_weights))


@pytest.mark.parametrize("threads", [1, 2])
def test_with_processors_to_spare_sessions_start_ahead(threads, shipped, monkeypatch):
    nets = OnnxNets(graphs_of([shipped.info.path]), shipped.model)
    names = list(nets._graphs.networks)
    started = []
    monkeypatch.setattr(graphs, "num_threads", lambda: threads)
    monkeypatch.setattr(graphs, "_start", lambda file, *_: started.append(file.stem))
    nets._session(nets._graphs.networks["features"].file)
    if threads == 1:
        assert started == ["features"]
        return
    nets._session(nets._graphs.networks["synthesise"].file)
    assert started == names[names.index("features") :]
    for name in ("analyse", "hyper_analysis"):
        nets._session(nets._graphs.networks[name].file)
    assert sorted(started) == sorted(names)
