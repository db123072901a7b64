"""Training pictures from tars, folders and files."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from imgcodec.datasets.shards import iter_pictures


def _png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 3), value).save(buffer, "PNG")
    return buffer.getvalue()


def test_pictures_of_shards_and_folders_come_in_order(tmp_path):
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        for name, data in (("x.png", _png(2)), ("readme.txt", b"no picture"), ("y.png", _png(3))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    (tmp_path / "a.png").write_bytes(_png(1))
    (tmp_path / "c.csv").write_text("no picture")
    pictures = list(iter_pictures([tmp_path]))
    assert [int(p[0, 0, 0]) for p in pictures] == [1, 2, 3]
    assert all(p.shape == (3, 4, 3) and p.dtype == np.uint8 for p in pictures)


def test_missing_data_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(iter_pictures([tmp_path / "nowhere"]))
    with pytest.raises(FileNotFoundError, match="no pictures"):
        list(iter_pictures([tmp_path]))
