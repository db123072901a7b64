"""Graphics drawn on the fly: text, interfaces, charts, line art, gradients and one-bit scans.

Photographs teach a codec nothing about hard edges between flat colours. Drawings are made anew for
every crop, from a seeded generator; fonts are those that the machine has, Pillow's own at least.
"""

# Long because each kind of drawing is a function of its own.

from __future__ import annotations

import random
import string
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
TEXT = (
    "the of and to in is that for it as was with be by on not he his but at are this have from "
    "file edit view help open save close window search settings account name date price total "
    "image quality bytes rate error model latent entropy table figure section photograph light "
    "Kodak Paris Monday January 2024 3.14 100% 42 1,739 $9.99 v1.0 foo() x+1 a/b == :: -> {} [] #"
)
WORDS = TEXT.split()
SYMBOL_FONTS = ("STIXSiz", "STIXNonUni", "cmex", "cmsy")
"""Beginnings of the names of fonts without letters."""
OVERSAMPLING = (1, 1, 1, 2, 3)

Colour = tuple[int, int, int]


@cache
def font_files() -> tuple[Path, ...]:
    """Return the TrueType and OpenType fonts of the machine and of matplotlib, sorted."""
    folders = list(FONT_FOLDERS)
    matplotlib = find_spec("matplotlib")
    if matplotlib is not None and matplotlib.origin:
        folders.append(Path(matplotlib.origin).parent / "mpl-data/fonts/ttf")
    files = [file for folder in folders for file in folder.rglob("*.[to]tf")]
    return tuple(sorted(file for file in files if not file.stem.startswith(SYMBOL_FONTS)))


def draw_graphics(rng: random.Random, side_px: int, photograph: Image.Image) -> Image.Image:
    """Return a drawing of a random kind, RGB.

    Args:
        rng: generator of everything that is random.
        side_px: of the square drawing.
        photograph: RGB, at least as large; drawings may lie on it or show it.
    """
    return _Drawing(rng, side_px, photograph).draw()


class _Drawing:
    """One drawing: a canvas, its colours, and the kinds of things that can be drawn."""

    def __init__(self, rng: random.Random, side_px: int, photograph: Image.Image) -> None:
        self.rng = rng
        self.photograph = photograph
        self.factor = rng.choice(OVERSAMPLING)
        self.side = side_px * self.factor
        self.out_side = side_px
        self.is_dark = rng.random() < 0.4
        self.ground = self._shade(self.is_dark)
        self.image = Image.new("RGB", (self.side, self.side), self.ground)
        self.pen = ImageDraw.Draw(self.image)
        if rng.random() < 0.15:
            self.pen.fontmode = "1"

    def draw(self) -> Image.Image:
        kinds = [
            (4, self._page),
            (3, self._terminal),
            (4, self._interface),
            (2, self._chart),
            (2, self._line_art),
            (1, self._gradient),
            (2, self._caption),
            (1, self._scan),
        ]
        weights = [weight for weight, _ in kinds]
        self.rng.choices([kind for _, kind in kinds], weights)[0]()
        if self.factor == 1:
            return self.image
        size = (self.out_side, self.out_side)
        return self.image.resize(
            size, self.rng.choice((Image.Resampling.BOX, Image.Resampling.LANCZOS))
        )

    # ---- kinds -------------------------------------------------------------------------

    def _page(self) -> None:
        """Paragraphs, as in a document or on a web page."""
        font, heading = self._font(8, 22), self._font(16, 40)
        ink = self._ink()
        y = -self.rng.randrange(heading.size)
        left = self.rng.randint(-40, 20) * self.factor
        while y < self.side:
            is_heading = self.rng.random() < 0.12
            used = heading if is_heading else font
            colour = self._ink() if self.rng.random() < 0.15 else ink
            self.pen.text((left, y), self._words(used), colour, used)
            y += round(used.size * self.rng.choice((1.2, 1.35, 1.5)))

    def _terminal(self) -> None:
        """Lines of code or of a terminal: one font, many colours."""
        font = self._font(9, 20, "Mono")
        colours = [self._ink() for _ in range(5)]
        advance = max(1, round(font.getlength("m")))
        y = -self.rng.randrange(font.size)
        while y < self.side:
            x = advance * self.rng.choice((0, 0, 2, 4, 8)) - self.rng.choice((0, 0, 30))
            while x < self.side and self.rng.random() < 0.85:
                word = self.rng.choice(WORDS)
                self.pen.text((x, y), word, self.rng.choice(colours), font)
                x += advance * (len(word) + 1)
            y += round(font.size * 1.25)

    def _interface(self) -> None:
        """Windows, bars, buttons and icons with labels."""
        if self.rng.random() < 0.3:
            self._paste_photograph((0, 0, self.side, self.side))
        font = self._font(9, 16)
        for _ in range(self.rng.randint(3, 14)):
            box = self._box(16, 150)
            fill = self._shade(self.rng.random() < 0.3) if self.rng.random() < 0.7 else self._any()
            radius = self.rng.choice((0, 0, 3, 6, 12)) * self.factor
            outline = self._any() if self.rng.random() < 0.5 else None
            self.pen.rounded_rectangle(box, radius, fill, outline, self.factor)
            what = self.rng.random()
            if what < 0.5:
                is_dark = sum(fill) < 384
                ink = self._shade(not is_dark)
                self.pen.text((box[0] + 6, box[1] + 4), self._words(font)[:18], ink, font)
            elif what < 0.65:
                self._icon(box)
            elif what < 0.75:
                self._paste_photograph(box)
        if self.rng.random() < 0.5:
            self._ruler()

    def _chart(self) -> None:
        """Axes with ticks and labels, and curves, bars or points."""
        font = self._font(8, 14)
        ink, line = self._ink(), self.factor * self.rng.choice((1, 1, 2, 3))
        left, bottom = self.side // 6, self.side - self.side // 6
        for step in range(0, self.side, self.side // self.rng.randint(4, 9)):
            if self.rng.random() < 0.6:
                self.pen.line((left, step, self.side, step), self._shade(self.is_dark), self.factor)
            self.pen.text((2, step), f"{self.rng.randint(0, 100)}", ink, font)
            self.pen.text((left + step, bottom + 4), f"{self.rng.random():.1f}", ink, font)
        self.pen.line((left, 0, left, bottom, self.side, bottom), ink, line)
        kind = self.rng.random()
        for _ in range(self.rng.randint(1, 5)):
            colour, y = self._any(), self.rng.randint(0, bottom)
            points = []
            for x in range(left, self.side, self.side // self.rng.randint(6, 24)):
                y = min(bottom, max(0, y + round(self.rng.gauss(0, self.side / 12))))
                points.append((x, y))
            if kind < 0.4:
                self.pen.line(points, colour, line)
            elif kind < 0.7:
                width = self.side // 30
                for x, top in points:
                    self.pen.rectangle((x, top, x + width, bottom), colour)
            else:
                for x, top in points:
                    reach = 3 * self.factor
                    self.pen.ellipse((x - reach, top - reach, x + reach, top + reach), colour)

    def _line_art(self) -> None:
        """Outlines and flat shapes, as in drawings, maps and logos."""
        ink = self._ink()
        for _ in range(self.rng.randint(4, 25)):
            colour = ink if self.rng.random() < 0.6 else self._any()
            width = self.factor * self.rng.choice((1, 1, 2, 3, 6))
            kind = self.rng.random()
            if kind < 0.3:
                self.pen.ellipse(self._box(4, 150), None, colour, width)
            elif kind < 0.45:
                self.pen.polygon(self._points(self.rng.randint(3, 7)), self._any(), colour)
            elif kind < 0.6:
                angle = self.rng.uniform(0, 360)
                self.pen.arc(self._box(20, 250), angle, angle + 120, colour, width)
            else:
                self.pen.line(self._points(self.rng.randint(2, 8)), colour, width)

    def _gradient(self) -> None:
        """A slow change of colour, with a shape or a word on it."""
        rows, columns = np.mgrid[0 : self.side, 0 : self.side] / self.side
        angle = self.rng.uniform(0, 2 * np.pi)
        if self.rng.random() < 0.5:
            position = rows * np.sin(angle) + columns * np.cos(angle)
        else:
            position = np.hypot(rows - self.rng.random(), columns - self.rng.random())
        position = (position - position.min()) / np.ptp(position)
        ends = np.array([self._any(), self._any()], np.float64)
        mixed = ends[0] + (ends[1] - ends[0]) * position[..., None] * self.rng.uniform(0.1, 1)
        self.image.paste(Image.fromarray(mixed.round().astype(np.uint8)))
        if self.rng.random() < 0.6:
            self._write_large()

    def _caption(self) -> None:
        """Lettering on a photograph, as in signs and titles."""
        self._paste_photograph((0, 0, self.side, self.side))
        for _ in range(self.rng.randint(1, 3)):
            if self.rng.random() < 0.4:
                self.pen.rectangle(self._box(40, 150), self._any())
            self._write_large()

    def _scan(self) -> None:
        """A page of black and white pixels, as a fax or a scanner of documents makes it."""
        self.pen.rectangle((0, 0, self.side, self.side), "white")
        self.is_dark = False
        if self.rng.random() < 0.3:
            self._paste_photograph((0, 0, self.side, self.side))
            dither = Image.Dither.FLOYDSTEINBERG
        else:
            self._page()
            turned = self.image.rotate(
                self.rng.uniform(-2, 2), Image.Resampling.BICUBIC, fillcolor="white"
            )
            self.image.paste(turned)
            dither = Image.Dither.NONE
        size = (self.out_side, self.out_side)
        small = self.image.resize(size, Image.Resampling.BOX).convert("1", dither=dither)
        self.factor, self.side = 1, self.out_side
        self.image = small.convert("RGB")

    # ---- parts -------------------------------------------------------------------------

    def _write_large(self) -> None:
        font = self._font(18, 72)
        position = (self.rng.randint(-20, self.side // 2), self.rng.randint(-10, self.side - 10))
        stroke = self.factor * self.rng.choice((0, 0, 1, 2))
        self.pen.text(
            position,
            self._words(font)[:24],
            self._any(),
            font,
            stroke_width=stroke,
            stroke_fill=self._shade(self.rng.random() < 0.5),
        )

    def _icon(self, box: tuple[int, int, int, int]) -> None:
        left, top = box[:2]
        size = min(box[2] - left, box[3] - top, 32 * self.factor)
        inner = (left + 2, top + 2, left + size - 2, top + size - 2)
        if size > 8:
            shape = self.rng.choice((self.pen.ellipse, self.pen.rectangle))
            shape(inner, self._any(), self._any(), self.factor)
            self.pen.line((*inner[:2], *inner[2:]), self._any(), 2 * self.factor)

    def _ruler(self) -> None:
        """Lines, one pixel wide, at equal distances."""
        step, colour = self.rng.randint(2, 24), self._any()
        start = self.rng.randrange(self.side)
        for offset in range(0, self.side // 3, step * self.factor):
            if self.rng.random() < 0.98:
                position = start + offset
                self.pen.line((0, position, self.side // 2, position), colour, self.factor)

    def _paste_photograph(self, box: tuple[int, int, int, int]) -> None:
        left, top, right, bottom = box
        size = (max(1, right - left), max(1, bottom - top))
        self.image.paste(self.photograph.resize(size, Image.Resampling.BILINEAR), (left, top))

    def _font(self, smallest: int, largest: int, name: str = "") -> ImageFont.FreeTypeFont:
        size = round(smallest * (largest / smallest) ** self.rng.random()) * self.factor
        files = [file for file in font_files() if name in file.stem] or list(font_files())
        return _load_font(self.rng.choice(files) if files else None, size)

    def _words(self, font: ImageFont.FreeTypeFont) -> str:
        """Return words for a line that may leave the drawing."""
        count = max(1, round(self.side / max(1, font.size) / 2.2))
        words = self.rng.choices(WORDS, k=count)
        if self.rng.random() < 0.2:
            letters = string.ascii_letters + string.digits + string.punctuation
            words[0] = "".join(self.rng.choices(letters, k=8))
        return " ".join(words)

    def _points(self, count: int) -> list[tuple[int, int]]:
        return [
            (self.rng.randint(0, self.side), self.rng.randint(0, self.side)) for _ in range(count)
        ]

    def _box(self, smallest: int, largest: int) -> tuple[int, int, int, int]:
        width, height = (self.rng.randint(smallest, largest) * self.factor for _ in range(2))
        left, top = (self.rng.randint(-20, self.side - 8) for _ in range(2))
        return left, top, left + width, top + height

    def _any(self) -> Colour:
        """Return a colour: bright, or one of those that screens are full of."""
        if self.rng.random() < 0.4:
            return tuple(self.rng.choice((0, 0, 128, 192, 255)) for _ in range(3))
        return tuple(self.rng.randint(0, 255) for _ in range(3))

    def _shade(self, is_dark: bool) -> Colour:
        """Return black or white, more or less, now and then with a tint."""
        if self.rng.random() < 0.4:
            return (0, 0, 0) if is_dark else (255, 255, 255)
        grey = self.rng.randint(0, 60) if is_dark else self.rng.randint(190, 255)
        if self.rng.random() < 0.6:
            return grey, grey, grey
        return tuple(min(255, max(0, grey + self.rng.randint(-20, 20))) for _ in range(3))

    def _ink(self) -> Colour:
        """Return a colour that can be read on the ground."""
        return self._any() if self.rng.random() < 0.35 else self._shade(not self.is_dark)


@lru_cache(maxsize=256)
def _load_font(file: Path | None, size: int) -> ImageFont.FreeTypeFont:
    if file is None:
        return ImageFont.load_default(size)
    return ImageFont.truetype(str(file), size)
