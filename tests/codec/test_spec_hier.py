"""A decoder of chapter 6 of SPEC.md in numpy, written from its text: same integers and pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import imgcodec
from imgcodec.codec.session.coding import decode_latents
from imgcodec.codec.stream.coder import PassDecoder
from imgcodec.codec.stream.container import read_stream
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from tests.codec.conftest import make_tiny_weights, smooth_pictures
from tests.codec.test_spec import SpecDecoder, act, coded_size, enlarged, index, shuffle


class HierSpecDecoder(SpecDecoder):
    """Decodes a one-tile stream of the family hier."""

    def __init__(self, weights, tables, data: bytes) -> None:
        super().__init__(weights, tables)
        self.stream = read_stream(data)
        header, self.anchors = self.stream.header, self.sizes["num_anchors"]
        self.side = tuple(-(-side // 64) for side in coded_size(header))
        self.p = (header.quality - 1) * (self.anchors - 1) * 64 // 99
        if self.positions is not None:
            self.p = int(self.positions[header.quality - 1])

    def at(self, tensor: np.ndarray, position: int) -> np.ndarray:
        a, s = position // 64, position % 64
        upper = tensor[a + 1] if s else 0.0
        return ((64 - s) * tensor[a] + s * upper) / 64

    def grid(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sides = (self.sizes["latent_channels"][n], self.side[0] << n, self.side[1] << n)
        return np.meshgrid(*map(np.arange, sides), indexing="ij")

    def masks(self, n: int) -> list[np.ndarray]:
        c, i, j = self.grid(n)
        k_max = self.sizes["num_passes"]
        phase = 2 * (i % 2) + (j % 2) if k_max == 4 else (i + j) % 2
        return [(c % k_max) ^ phase == k for k in range(k_max)]

    def cell(self, name: str, n: int) -> np.ndarray:
        i, j = (axis[0] % 2 for axis in self.grid(n)[1:])
        return self.t[name][:, i, j]

    def integers(self) -> list[np.ndarray]:
        """All passes; keeps what the reconstruction needs."""
        decoders = [PassDecoder(self.tables, tiles[0]) for tiles in self.stream.segments]
        assert len(decoders) == 3
        passes = [decoders[0].decode(np.full(2, 23))]
        limit = 64 * (self.anchors - 1)
        self.pn = [min(max(self.p + 16 * int(a), 0), limit) for a in (*passes[0], 0)]
        f = act(self.at(self.t["row_context.level"], self.pn[0]))
        f = np.broadcast_to(f[:, None, None], (len(f), *self.side))
        self.q: list[np.ndarray] = []
        for n in range(3):
            if n:
                q, s = self.q[-1], f"row_context.stages.{n - 1}."
                above, own = np.split(self.t[s + "level"], 2)
                level = self.at(above, self.pn[n - 1]) + self.at(own, self.pn[n])
                seen = np.concatenate([np.clip(q, -64, 64), sizes(q)])
                x = self.pw(s + "decoded", seen) + self.pw(s + "carried", f)
                x = act(self.dw(s + "depthwise", act(x + level[:, None, None])))
                f = shuffle(act(self.pw(s + "up", x)))
            base = self.at(self.t[f"levels.{n}.log_scale"], self.pn[n])[:, None, None]
            q = np.zeros(self.grid(n)[0].shape)
            for k, mask in enumerate(self.masks(n)):
                s = f"levels.{n}.rows.{k}."
                g = self.pw(s + "features", f) + self.cell(s + "phase", n)
                if k:
                    g += self.pw(s + "decoded", sizes(q))
                g = act(self.dw(s + "depthwise", act(g)))
                g = self.pw(s + "out", act(self.pw(s + "mix", g)))
                q[mask] = decoders[n].decode(index(8 * (base + g))[mask])
                passes.append(q[mask])
            self.q.append(q)
        return passes

    def picture(self) -> np.ndarray:
        """Pixels (H, W, 3), after `integers`."""
        w: list[np.ndarray] = []
        f = self.at(self.t["mean_context.level"], self.pn[0])
        f = np.broadcast_to(f[:, None, None], (len(f), *self.side))
        prediction = np.zeros(self.q[0].shape)
        for n in range(3):
            if n:
                s = f"mean_context.stages.{n - 1}."
                x = self.pw(s + "decoded", self.normal(w, n - 1)) + self.pw(s + "carried", f)
                x = act1(self.affine(s + "affine.", x, self.pn[n - 1]))
                x = self.block(s + "block.", x)
                side = self.sizes.get("context_windows", (4, 8))[n - 1]
                if side:
                    x = self.attention(s + "attention.", x, side)
                else:
                    x = self.block(s + "second_block.", x)
                f = shuffle(self.pw(s + "up.mix", act1(x)))
                prediction = shuffle(self.pw(f"klt_steps.{n - 1}.expand", w[-1]))
            gain = np.exp(self.at(self.t[f"levels.{n}.log_gain"], self.pn[n]))[:, None, None]
            if n and self.sizes.get("learned_width"):
                gain = gain / np.exp(np.clip(self.pw(f"widths.{n - 1}", f), -1.5, 1.5))
            spread = self.t[f"levels.{n}.spread"][:, None, None]
            t = np.zeros(self.q[n].shape)
            for k, mask in enumerate(self.masks(n)):
                s = f"levels.{n}.means.{k}."
                u = self.pw(s + "features", f) + self.cell(s + "phase", n)
                if k:
                    u = u + self.pw(s + "decoded", t / spread)
                x = self.block(s + "block.", act1(u))
                if f"{s}more_blocks.0.gate_in.bias" in self.t:
                    x = self.blocks(s + "more_blocks.", x)
                mean = spread * self.pw(s + "out", x)
                t = np.where(mask, mean + self.q[n] / gain, t)
            w.append(prediction + t)
        c = np.zeros(())
        for n in range(2):
            own = self.pw(f"g_s_coarse.levels.{n}", self.normal(w, n))
            c = act1(shuffle(self.pw(f"g_s_coarse.ups.{n}.mix", act1(own + c))))
        linear = shuffle(self.pw("klt_synthesis", w[2]), 16)
        x = self.affine("g_s.affine.", self.pw("g_s.first", self.normal(w, 2)), self.p)
        x = x + self.pw("g_s_coarse.out", c)
        x = shuffle(self.pw("g_s.up.mix", self.blocks("g_s.blocks16.", x)))
        x = self.pw("g_s.out", self.blocks("g_s.blocks8.", x))
        picture = np.moveaxis(linear + shuffle(x, 8) + 0.5, 0, 2)
        header = self.stream.header
        height, width = coded_size(header)
        picture = np.clip(np.round(255 * picture[:height, :width]), 0, 255)
        if header.reduction == 2:
            picture = enlarged(picture)[: header.height, : header.width]
        return picture

    def normal(self, w: list[np.ndarray], n: int) -> np.ndarray:
        return w[n] / self.t[f"levels.{n}.deviation"][:, None, None]

    def affine(self, s: str, x: np.ndarray, position: int) -> np.ndarray:
        scale = np.exp(self.at(self.t[s + "log_scale"], position))[:, None, None]
        return x * scale + self.at(self.t[s + "shift"], position)[:, None, None]

    def block(self, s: str, x: np.ndarray) -> np.ndarray:
        inner = self.dw(s + "depthwise", act1(self.pw(s + "spatial_in", x)))
        x = x + self.pw(s + "spatial_out", inner)
        a, b = np.split(self.pw(s + "gate_in", x), 2)
        return x + self.pw(s + "gate_out", a / (1 + np.exp(-b)))

    def blocks(self, s: str, x: np.ndarray) -> np.ndarray:
        number = 0
        while f"{s}{number}.gate_in.bias" in self.t:
            x = self.block(f"{s}{number}.", x)
            number += 1
        assert number
        return x

    def attention(self, s: str, x: np.ndarray, side: int) -> np.ndarray:
        channels, height, width = x.shape
        heads = max(1, channels // 32)
        norm = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
        projected = self.pw(s + "queries_keys_values", norm)
        queries, keys, values = projected.reshape(3, heads, channels // heads, height, width)
        mixed = np.zeros((heads, channels // heads, height, width))
        for i in range(height):
            for j in range(width):
                top, left = i // side * side, j // side * side
                window = np.s_[:, :, top : top + side, left : left + side]
                k, m = np.mgrid[top : top + side, left : left + side]
                rows, columns = keys[window].shape[2:]
                k, m = k[:rows, :columns], m[:rows, :columns]
                place = (i - k + side - 1) * (2 * side - 1) + j - m + side - 1
                scores = np.einsum("hd,hdkm->hkm", queries[:, :, i, j], keys[window])
                scores = scores / np.sqrt(channels / heads) + self.t[s + "bias"][:, place]
                weights = np.exp(scores - scores.max(axis=(1, 2), keepdims=True))
                weights /= weights.sum(axis=(1, 2), keepdims=True)
                mixed[:, :, i, j] = np.einsum("hkm,hdkm->hd", weights, values[window])
        return x + self.pw(s + "out", mixed.reshape(x.shape))


def sizes(q: np.ndarray) -> np.ndarray:
    a = np.abs(q)
    return np.minimum(a, 2) / 2 + np.minimum(a, 8) / 8 + np.minimum(a, 32) / 32


def act1(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, x / 10)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_tiny_weights("hier", tmp_path_factory.mktemp("hier"))


@pytest.mark.parametrize("level_bits", [None, "1.5,-0.7"])
@pytest.mark.parametrize("quality", [1, 50, 77, 100])
def test_decoder_written_from_the_spec_finds_the_same_picture(quality, level_bits, weights):
    loaded = load_model(find_model(weights))
    noise = np.random.default_rng(1).normal(0, 30, (90, 350, 3))
    pixels = (smooth_pictures(1, side=350)[0][:90] + noise).clip(0, 255).astype(np.uint8)
    data = imgcodec.encode(pixels, model=weights, quality=quality, level_bits=level_bits)
    expected = []
    with torch.inference_mode():
        decode_latents(loaded, read_stream(data), observe=lambda *seen: expected.append(seen[-1]))
    decoder = HierSpecDecoder(weights, loaded.tables, data)
    found = decoder.integers()
    assert len(expected) == 13
    assert sum(np.abs(q).max() > 0 for q in expected) > 8
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    back = np.asarray(imgcodec.decode(data, model=weights)).astype(float)
    assert np.abs(decoder.picture() - back).max() <= 1
