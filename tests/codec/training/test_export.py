"""What a weights file holds."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load_file

from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model


def test_weights_of_convolutions_take_two_bytes_and_all_else_four(family_weights):
    arrays = load_file(family_weights)
    names = load_model(find_model(family_weights)).model.state_dict()
    kinds = {(arrays[name].ndim == 4, arrays[name].dtype) for name in names}
    assert kinds <= {
        (True, np.dtype(np.int16)),
        (True, np.dtype(np.float16)),
        (False, np.dtype(np.int32)),
        (False, np.dtype(np.float32)),
    }
