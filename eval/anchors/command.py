"""Any codec with a command line: `custom:NAME:encode-cmd:decode-cmd`."""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from imgcodec.eval.anchors.base import AnchorError, RgbArray, Setting, parse_settings

DEFAULT_LADDER = (10, 20, 30, 40, 50, 60, 70, 80, 90)
TIMEOUT_S = 600


@dataclasses.dataclass(frozen=True)
class CommandCodec:
    """Encode and decode by two commands that read and write files.

    The commands are run without a shell, once per image. `{in}`, `{out}` and `{q}` stand for the
    input file, the output file and the setting; pictures go in and out as PNG. Time therefore
    includes the start of the process and the PNG work of the command.

    Attributes:
        name: value of the `codec` column.
        settings: values for `{q}`, low to high rate.
        encode_command: from PNG to the coded file.
        decode_command: from the coded file to PNG.
    """

    name: str
    settings: Sequence[Setting]
    encode_command: str
    decode_command: str

    @classmethod
    def parse(cls, text: str) -> CommandCodec:
        r"""Return the codec of `custom:NAME[@s1,s2,...]:encode-cmd:decode-cmd`.

        A colon inside a command is written `\:`.

        Raises:
            AnchorError: the text has not four parts or a command lacks `{in}` or `{out}`.
        """
        parts = [part.replace("\0", ":") for part in text.replace("\\:", "\0").split(":")]
        if len(parts) != 4 or not all(parts):
            raise AnchorError(
                f"{text!r} is not custom:NAME:encode-cmd:decode-cmd "
                "(write \\: for a colon inside a command)"
            )
        name, _, settings_text = parts[1].partition("@")
        for command in parts[2:]:
            missing = [mark for mark in ("{in}", "{out}") if mark not in command]
            if missing:
                raise AnchorError(f"codec {name!r}: {' and '.join(missing)} missing in {command!r}")
        settings = parse_settings(settings_text) if settings_text else DEFAULT_LADDER
        return cls(name, tuple(settings), parts[2], parts[3])

    def encode(self, rgb: RgbArray, setting: Setting) -> bytes:
        """Return the file that the encode command wrote for a uint8 HxWx3 array."""
        with tempfile.TemporaryDirectory(prefix="imgcodec-") as folder:
            source, target = Path(folder, "in.png"), Path(folder, "coded.bin")
            Image.fromarray(rgb).save(source, compress_level=1)
            self._run(self.encode_command, source, target, setting)
            return target.read_bytes()

    def decode(self, data: bytes) -> RgbArray:
        """Return the uint8 HxWx3 array that the decode command wrote as PNG."""
        with tempfile.TemporaryDirectory(prefix="imgcodec-") as folder:
            source, target = Path(folder, "coded.bin"), Path(folder, "out.png")
            source.write_bytes(data)
            self._run(self.decode_command, source, target, "")
            with Image.open(target) as image:
                return np.asarray(image.convert("RGB"))

    def describe(self, setting: Setting) -> str:
        """Return the setting as `q=value`."""
        return f"q={setting}"

    def describe_codec(self) -> str:
        """Return the encode command."""
        return self.encode_command

    def _run(self, command: str, source: Path, target: Path, setting: Setting) -> None:
        values = {"{in}": str(source), "{out}": str(target), "{q}": str(setting)}
        arguments = shlex.split(command)
        for mark, value in values.items():
            arguments = [argument.replace(mark, value) for argument in arguments]
        try:
            result = subprocess.run(arguments, capture_output=True, timeout=TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AnchorError(f"codec {self.name!r}: {error}") from error
        if result.returncode != 0:
            tail = result.stderr.decode(errors="replace").strip()[-300:]
            raise AnchorError(
                f"codec {self.name!r}: exit code {result.returncode} of {arguments[0]}: {tail}"
            )
        if not target.is_file():
            raise AnchorError(f"codec {self.name!r}: {arguments[0]} wrote no {target.name}")
