"""Files that the command line tests start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from imgcodec.cli.main import cli


@pytest.fixture
def photo(tmp_path: Path, synthetic_rgb: npt.NDArray[np.uint8]) -> Path:
    """A PNG file in the test's folder."""
    path = tmp_path / "photo.png"
    Image.fromarray(synthetic_rgb).save(path)
    return path


@pytest.fixture(scope="session")
def stream(synthetic_rgb: npt.NDArray[np.uint8]) -> bytes:
    """The bytes of a valid .cvb file."""
    import imgcodec

    return imgcodec.encode(synthetic_rgb, quality=40)


@pytest.fixture
def cvb(tmp_path: Path, stream: bytes) -> Path:
    """A valid .cvb file in the test's folder."""
    path = tmp_path / "file.cvb"
    path.write_bytes(stream)
    return path


@pytest.fixture(scope="session")
def levelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small weights of a family with levels."""
    from imgcodec.codec.models.registry import FAMILIES
    from tests.codec.conftest import make_tiny_weights

    family = next(name for name, kind in FAMILIES.items() if kind.model.allocation_size)
    return make_tiny_weights(family, tmp_path_factory.mktemp("levelled"))


class Invoke:
    """Runs the command in this process."""

    def __call__(self, *args: object, stdin: bytes | None = None) -> Result:
        """Return click's result of `imgcodec ARGS...`."""
        return CliRunner().invoke(cli, [str(arg) for arg in args], input=stdin)


@pytest.fixture
def invoke() -> Invoke:
    """Run `imgcodec ARGS...` in this process."""
    return Invoke()
