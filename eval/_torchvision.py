"""Import torchvision where its compiled operators cannot be loaded.

With the CPU build of torch and a CUDA wheel of torchvision, torchvision's operator library fails
to load, and the import then stops because it registers shape functions for operators that do not
exist. Declaring the two operators it asks for first is enough: none of them is used here.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_LIBRARIES: list[Any] = []


def import_torchvision() -> ModuleType:
    """Return the torchvision module.

    Raises:
        ImportError: torchvision is not installed or does not fit the installed torch.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise ImportError(f"torchvision cannot be imported: {error}") from error
        torchvision = _import_with_declared_operators()
    module: ModuleType = torchvision
    return module


def _import_with_declared_operators() -> Any:
    import torch

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    if not _LIBRARIES:
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}{_SCHEMA}")
        # The declarations live as long as the library object.
        _LIBRARIES.append(library)
    import torchvision

    return torchvision
