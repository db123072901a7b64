"""Who computes the float networks of a model: ONNX Runtime, or torch.

Both give the same integers, and pixels within one level. ONNX Runtime needs the graphs of the
weights (`graphs`), starts in a tenth of the time and waits without spinning; torch runs every
model. The environment variable IMGCODEC_BACKEND forces one: `onnxruntime`, `torch`, or `auto`, the
first that can run a model.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec

from imgcodec.codec.errors import MissingPackageError, OptionError
from imgcodec.codec.weights.graphs import Graphs, graphs_of
from imgcodec.codec.weights.installed import FIDELITY, ModelInfo, decoder_path

VARIABLE = "IMGCODEC_BACKEND"
AUTO, ONNXRUNTIME, TORCH = "auto", "onnxruntime", "torch"
TORCH_EXTRA = "pip install 'imgcodec[torch]'"


@dataclass(frozen=True)
class Backend:
    """The backend of a model.

    Attributes:
        name: "onnxruntime" or "torch".
        reason: why it is this one.
    """

    name: str
    reason: str


def backend_of(info: ModelInfo, decoder: str = FIDELITY) -> Backend:
    """Return the backend that IMGCODEC_BACKEND names, else the first that can run a model.

    Raises:
        OptionError: the variable names none, or one that cannot run the model.
        MissingPackageError: the backend is not installed.
    """
    wanted = os.environ.get(VARIABLE) or AUTO
    if wanted not in (AUTO, ONNXRUNTIME, TORCH):
        raise OptionError(f"{VARIABLE} is {wanted!r}; it may be {AUTO}, {ONNXRUNTIME} or {TORCH}")
    reason = f"{VARIABLE} says so"
    if wanted != TORCH:
        further = [] if decoder == FIDELITY else [decoder_path(info.path, decoder)]
        found = graphs_of([info.path, *further])
        if isinstance(found, Graphs) and find_spec("onnxruntime"):
            return Backend(ONNXRUNTIME, reason if wanted != AUTO else "it has the graphs")
        reason = found if isinstance(found, str) else "onnxruntime is not installed"
        if wanted == ONNXRUNTIME:
            raise OptionError(f"{VARIABLE} is {ONNXRUNTIME}, but {reason}")
    if not find_spec("torch"):
        raise MissingPackageError(f"{reason}, and torch is not installed: {TORCH_EXTRA}")
    return Backend(TORCH, reason)


def require_package(name: str, purpose: str) -> None:
    """Refuse what needs a package of the extra `torch` where that is not installed.

    Args:
        name: of the package.
        purpose: what needs it, such as "effort beyond 1".

    Raises:
        MissingPackageError: it is not.
    """
    if not find_spec(name):
        raise MissingPackageError(f"{purpose} needs {name}, which is not installed: {TORCH_EXTRA}")
