"""Pillow plugin: after ``import imgcodec.pillow`` Pillow opens and saves `.cvb` files.

    >>> import imgcodec.pillow
    >>> from PIL import Image
    >>> image = Image.open("photo.cvb")  # reads the header; pixels are decoded when needed
    >>> image.save("small.cvb", quality=30)
    >>> image.thumbnail((200, 200))  # decoded at a half to a sixteenth, where that is enough

`image.info` holds `quality`, `model` (hash of the weights as in `imgcodec models`) and, where the
file has them, `icc_profile`, `exif` and `xmp`; they are stored when the image is saved. Options of
`save` are those of `imgcodec.encode`, such as quality, target_bytes, effort and model, and
icc_profile, exif and xmp as with other formats. Damaged files raise OSError when
they are opened or loaded, with the error of the codec as its cause.
"""

from __future__ import annotations

from inspect import signature
from typing import IO, Any

from PIL import Image, ImageFile

from imgcodec.codec.errors import CodecError
from imgcodec.codec.picture.base import mode_of
from imgcodec.codec.picture.metadata import info_of_metadata
from imgcodec.codec.stream.container import MAGIC, read_header, read_stream

FORMAT = "CVB"

_NOT_OPTIONS = {"image", "frame", "max_pixels"}
"""Of `imgcodec.encode`: they are about reading."""
_INFO = ("icc_profile", "exif", "xmp")
SCALES = (1, 2, 4, 8, 16)
"""Of `CvbImageFile.draft`: those that many models have without the whole decoder."""


class CvbImageFile(ImageFile.ImageFile):
    """A `.cvb` file whose pixels are decoded by `load`."""

    format = FORMAT
    format_description = "imgcodec learned image"

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read()
        try:
            header = read_header(data)
        except CodecError as error:
            raise SyntaxError(str(error)) from error  # Pillow's way to say "not my format"
        try:
            stream = read_stream(data, max_pixels=header.height * header.width)
        except CodecError as error:
            raise OSError(str(error)) from error
        self._data, self._scale = data, 1
        self._size = (header.width, header.height)
        self._mode = mode_of(header.is_gray, header.has_alpha)
        metadata: dict[Any, Any] = info_of_metadata(stream.metadata)
        self.info = {
            **metadata,
            "quality": header.quality,
            "reduction": header.reduction,
            "model": header.model_hash.hex(),
        }
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]

    def draft(
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Decode at the smallest scale, 1 to 1/16, with sides of at least a size; see Pillow."""
        if size is None or not self.tile or self._scale != 1:
            return None
        largest = min(side // wanted for side, wanted in zip(self.size, size, strict=True))
        self._scale = max(scale for scale in SCALES if scale <= max(largest, 1))
        box = (0, 0, self.width / self._scale, self.height / self._scale)
        self._size = (-(-self.width // self._scale), -(-self.height // self._scale))
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
        return self.mode, box

    def load(self) -> Any:
        """Decode the pixels, the first time."""
        if self.tile:
            from imgcodec.codec.api import decode

            try:
                header = read_header(self._data)
                limit = header.width * header.height
                decoded = decode(self._data, scale=self._scale, max_pixels=limit)
            except CodecError as error:
                raise OSError(str(error)) from error
            self.im = decoded.im
            self.tile, self._data = [], b""
            if self._exclusive_fp and self.fp is not None:
                self.fp.close()
                self.fp = None
        return super().load()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    from imgcodec.codec.api import encode

    given = image.encoderinfo
    changed: dict[Any, Any] = {name: given[name] for name in _INFO if name in given}
    if changed:
        image = image.copy()
        image.info |= changed
    options = set(signature(encode).parameters) - _NOT_OPTIONS
    file.write(encode(image, **{name: given[name] for name in sorted(options & set(given))}))


def _save_all(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    raise ValueError("a .cvb file holds one frame: save without save_all and append_images")


Image.register_open(FORMAT, CvbImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_save_all(FORMAT, _save_all)
Image.register_extension(FORMAT, ".cvb")
Image.register_mime(FORMAT, "image/x-cvb")
