"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pytest

ROOT = Path(__file__).resolve().parent.parent

RunCli = Callable[..., "subprocess.CompletedProcess[bytes]"]

SHARED_FOLDER = "IMGCODEC_TESTS_SHARED"
"""Variable that names the folder in which the processes of a run keep what takes them long."""
LONGEST = {
    "tests/test_distributed.py",
    "tests/web/test_page.py",
    "tests/codec/training/test_distributed.py",
    "tests/codec/training/test_captured.py",
    "tests/codec/weights/test_graphs.py",
}
"""Files with a test of ten seconds, or one that waits as long for other processes."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder, in the process that starts the others."""
    if SHARED_FOLDER not in os.environ:
        folder = TemporaryDirectory(prefix="imgcodec-tests-")
        os.environ[SHARED_FOLDER] = folder.name
        config.add_cleanup(lambda: os.environ.pop(SHARED_FOLDER))
        config.add_cleanup(folder.cleanup)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what takes longest: begun last, it would keep one process alone at work."""
    items.sort(key=lambda item: item.path.relative_to(ROOT).as_posix() not in LONGEST)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture
def run_cli(tmp_path: Path) -> RunCli:
    """Run `imgcodec ARGS...` as a process of its own in a temporary folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(*args: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "imgcodec", *map(str, args)],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env=environment,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def synthetic_rgb() -> npt.NDArray[np.uint8]:
    """A uint8 96x130x3 picture with gradients, an edge and a little noise."""
    generator = np.random.default_rng(7)
    rows, columns = np.mgrid[0:96, 0:130]
    rgb = np.stack([rows * 2, columns * 1.5, 128 + 60 * np.sin(columns / 9)], axis=-1)
    rgb[30:60, 40:90] = (200, 60, 40)
    rgb += generator.normal(0, 3, rgb.shape)
    return np.clip(rgb, 0, 255).astype(np.uint8)
