"""What a weights file holds, and what it refuses to hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from imgcodec.codec.errors import OptionError, UnknownModelError
from imgcodec.codec.models.registry import build_model
from imgcodec.codec.models.stored import stored_arrays
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from tests.codec.conftest import make_tiny_weights, tiny_recipe_of


def test_weights_of_layers_and_nodes_take_two_bytes_and_all_else_four(family_weights):
    arrays = load_file(family_weights)
    names = load_model(find_model(family_weights)).arrays
    are_short = {name: arrays[name].ndim == 4 or name.endswith(".nodes") for name in names}
    kinds = {(are_short[name], arrays[name].dtype) for name in names}
    assert kinds <= {
        (True, np.dtype(np.int16)),
        (True, np.dtype(np.float16)),
        (False, np.dtype(np.int32)),
        (False, np.dtype(np.float32)),
    }


def test_integers_that_do_not_fit_are_refused():
    model = build_model("beta", tiny_recipe_of("beta").model)
    model.prepare().z_log_scale[0, 0] = 2.0**11
    with pytest.raises(OptionError, match="z_log_scale does not lie on its grid"):
        stored_arrays(model)


def test_models_with_a_history_can_be_remembered():
    """Runs are mappings; what is made of a model, such as for effort, is kept by the model."""
    loaded = load_model(find_model("beta"))
    trained = replace(loaded, info=replace(loaded.info, runs=({"steps": 1},)))
    assert len({loaded, trained}) == 2


def test_tensors_of_a_file_that_was_replaced_are_refused(tmp_path):
    """They are read when torch wants them, and may be those of other weights by then."""
    weights = make_tiny_weights("beta", tmp_path)
    loaded = load_model(find_model(weights))
    make_tiny_weights("hier", tmp_path).replace(weights)
    with pytest.raises(UnknownModelError, match="replaced"):
        _ = loaded.arrays
