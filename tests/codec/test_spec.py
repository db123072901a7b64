"""A decoder of chapters 3 and 4 of SPEC.md in numpy, written from its text: same integers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

import imgcodec
from imgcodec.codec.session.coding import decode_latents
from imgcodec.codec.stream.coder import PassDecoder
from imgcodec.codec.stream.container import Header, read_stream
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from tests.codec.conftest import make_tiny_weights, smooth_pictures


class SpecDecoder:
    """Decodes the integers of a one-tile stream from the tensors of a weights file."""

    def __init__(self, weights, tables) -> None:
        units = {"int16": 2.0**-12, "int32": 2.0**-20}
        with safe_open(weights, "numpy") as file:
            self.sizes = json.loads(file.metadata()["model"])
            self.sizes = {"num_passes": 4, "num_anchors": 8, **self.sizes}
            self.t = {
                name: file.get_tensor(name).astype(np.float64)
                * units.get(file.get_tensor(name).dtype.name, 1.0)
                for name in file.keys()  # noqa: SIM118
            }
            has_positions = "quality.positions" in file.keys()  # noqa: SIM118
            self.positions = file.get_tensor("quality.positions") if has_positions else None
        self.tables = tables

    def level(self, tensor: np.ndarray, quality: int) -> np.ndarray:
        p = (quality - 1) * (self.sizes["num_anchors"] - 1) * 64 // 99
        if self.positions is not None:
            p = int(self.positions[quality - 1])
        a, s = p // 64, p % 64
        upper = tensor[a + 1] if s else 0.0
        return ((64 - s) * tensor[a] + s * upper) / 64

    def pw(self, name: str, x: np.ndarray) -> np.ndarray:
        w, b = self.t[f"{name}.weight"][:, :, 0, 0], self.t[f"{name}.bias"]
        return np.einsum("oc,chw->ohw", w, x) + b[:, None, None]

    def dw(self, name: str, x: np.ndarray) -> np.ndarray:
        w, b = self.t[f"{name}.weight"][:, 0], self.t[f"{name}.bias"]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        h, v = x.shape[1:]
        out = np.zeros_like(x) + b[:, None, None]
        for i in (2, 1, 0):
            for j in (2, 1, 0):
                out += w[:, i, j, None, None] * padded[:, i : i + h, j : j + v]
        return out

    def integers(self, data: bytes) -> list[np.ndarray]:
        stream = read_stream(data)
        quality = stream.header.quality
        h, w = (-(-side // 16) for side in coded_size(stream.header))
        hp, wp = -(-h // 4) * 4, -(-w // 4) * 4
        decoder = PassDecoder(self.tables, stream.segments[0][0])
        k_max, m = self.sizes["num_passes"], self.sizes["latent_channels"]

        rows = 8 * self.level(self.t["z_log_scale"], quality)
        shape = (self.sizes["hyper_channels"], hp // 4, wp // 4)
        z = decoder.decode(np.broadcast_to(index(rows)[:, None, None], shape))

        e = "exact.features."
        level = self.level(self.t[e + "level"], quality)
        f = act(self.pw(e + "first", np.clip(z, -64, 64).astype(float)) + level[:, None, None])
        f = act(self.dw(e + "depthwise", f))
        f = shuffle(act(self.pw(e + "up1", f)))
        f = shuffle(act(self.pw(e + "up2", f)))

        base = self.level(self.t["y_log_scale"], quality)[:, None, None]
        lead = self.sizes.get("lead_channels", 0)
        c, i, j = np.meshgrid(np.arange(m), np.arange(hp), np.arange(wp), indexing="ij")
        phase = 2 * (i % 2) + (j % 2) if k_max == 4 else (i + j) % 2
        v = np.zeros((m, hp, wp))
        result = [z]
        passes = [("lead_rows", k) for k in range(1, k_max + 1)] if lead else []
        for name, k in [*passes, *(("rows", k) for k in range(1, k_max + 1))]:
            p = f"exact.{name}.{k - 1}."
            first, last = (0, lead) if name == "lead_rows" else (lead, m)
            n = lead if name == "lead_rows" else m
            cell = np.tile(self.t[p + "phase"], (1, hp // 2, wp // 2))
            g = self.pw(p + "features", f) + cell
            if k > 1 or (lead and name == "rows"):
                g += self.pw(p + "decoded", v[:n])
            g = act(self.dw(p + "depthwise", act(g)))
            g = self.pw(p + "out", act(self.pw(p + "mix", g)))
            mask = ((c % k_max) ^ phase == k - 1) & (i < h) & (j < w)
            mask &= (c >= first) & (c < last)
            q = decoder.decode(index(8 * (base[:n] + g))[mask[:n]])
            a = np.abs(q).astype(float)
            v[mask] = np.minimum(a, 2) / 2 + np.minimum(a, 8) / 8 + np.minimum(a, 32) / 32
            result.append(q)
        return result

    def codes(self, data: bytes) -> list[np.ndarray]:
        stream = read_stream(data)
        h, w = (-(-side // 16) for side in coded_size(stream.header))
        d, num_stages = self.sizes["latent_channels"], self.sizes["stages"]
        bits = self.sizes.get("num_bits") or self.sizes["pose_bits"] + self.sizes["level_bits"]
        segments = 1 + (stream.header.quality - 1) * num_stages // 100
        assert len(stream.segments) == segments
        v = np.zeros((d, h, w))
        result = []
        for stage in range(segments):
            decoder = PassDecoder(self.tables, stream.segments[stage][0])
            p = f"priors.{stage}."
            u, known = np.zeros_like(v), np.zeros((1, h, w))
            for first in ((0, 0), (1, 1), (0, 1), (1, 0)):
                group = (slice(None), slice(first[0], None, 2), slice(first[1], None, 2))
                if not known[group].size:
                    continue
                x = act(self.pw(p + "known", np.concatenate([v, u, known])))
                x = act(self.pw(p + "mix", act(self.dw(p + "near", x))))
                x = act(self.pw(p + "out", act(self.dw(p + "far", x))))
                m = np.zeros_like(v)
                if self.sizes.get("context_mean"):
                    m = np.clip(self.pw(p + "mean", x), -8, 8)
                x = x[group]
                n = np.ones(x.shape[1:], np.int64)
                for _ in range(bits):
                    dot = np.einsum("ehw,hwe->hw", x, self.t[p + "nodes"][n])
                    row = 4 * (dot + self.t[p + "node_bias"][n]) + 63 / 2
                    q = decoder.decode(index(row))
                    result.append(q.ravel())
                    n = 2 * n + q
                u[group] = m[group] + np.moveaxis(self.vectors(stage, n - 2**bits), 2, 0)
                known[group] = 1
            v = v + u
        return result

    def vectors(self, stage: int, codes: np.ndarray) -> np.ndarray:
        p = f"quantisers.{stage}."
        if p + "codewords" in self.t:
            return self.t[p + "codewords"][codes]
        levels = 2 ** self.sizes["level_bits"]
        gain = (2 * (codes % levels) + 1) / (2 * levels)
        return self.t[p + "poses"][codes // levels] * gain[..., None]


def act(x: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(x * 256 + 0.5) / 256, 0, 16 - 1 / 256)


def index(row: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(row + 0.5), 0, 63).astype(np.int64)


def shuffle(x: np.ndarray, n: int = 2) -> np.ndarray:
    channels, h, w = x.shape
    x = x.reshape(channels // n**2, n, n, h, w)
    return x.transpose(0, 3, 1, 4, 2).reshape(channels // n**2, n * h, n * w)


def coded_size(header: Header) -> tuple[int, int]:
    """Return the sides of the coded picture (1.3)."""
    half = header.reduction == 2
    return tuple((side + 1) // 2 if half else side for side in (header.height, header.width))


def enlarged(x: np.ndarray) -> np.ndarray:
    """Enlarge a coded picture (h, w, C): rows first, then columns (1.7)."""
    rows = _enlarged_lines(x.astype(float).transpose(1, 0, 2)).transpose(1, 0, 2)
    return _enlarged_lines(rows)


def _enlarged_lines(v: np.ndarray) -> np.ndarray:
    n = len(v)
    t = np.pi * (np.arange(6) - 11 / 4)
    g = 3 * np.sin(t) * np.sin(t / 3) / t**2
    out = np.zeros((2 * n, *v.shape[1:]))
    for i in range(n):
        for place, first, weights in ((2 * i, i - 3, g), (2 * i + 1, i - 2, g[::-1])):
            used = [k for k in range(6) if 0 <= first + k < n]
            out[place] = sum(weights[k] * v[first + k] for k in used) / weights[used].sum()
    return np.rint(out).clip(0, 255)


@pytest.mark.parametrize(
    ("model", "quality"),
    [("tiny", 1), ("tiny", 50), ("tiny", 77), ("tiny", 100), ("beta-base-2", 77)],
)
def test_decoder_written_from_the_spec_finds_the_same_integers(tiny_weights, model, quality):
    pixels = smooth_pictures(1)[0][:90, :110]
    info = find_model(tiny_weights if model == "tiny" else model)
    loaded = load_model(info)
    data = imgcodec.encode(pixels, model=info.path, quality=quality, exact="none")
    expected = []
    with torch.inference_mode():
        decode_latents(loaded, read_stream(data), observe=lambda *seen: expected.append(seen[-1]))
    found = SpecDecoder(info.path, loaded.tables).integers(data)
    assert sum(int(np.abs(q).sum()) for q in expected) > 0
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.ravel(), b)


@pytest.mark.parametrize("family", ["vq", "cv"])
@pytest.mark.parametrize("quality", [1, 50, 100])
def test_decoder_written_from_the_spec_finds_the_same_codes(family, quality, tmp_path):
    weights = make_tiny_weights(family, tmp_path)
    loaded = load_model(find_model(weights))
    pixels = smooth_pictures(1)[0][:90, :110]
    data = imgcodec.encode(pixels, model=weights, quality=quality)
    expected = []
    with torch.inference_mode():
        decode_latents(loaded, read_stream(data), observe=lambda *seen: expected.append(seen[-1]))
    found = SpecDecoder(weights, loaded.tables).codes(data)
    assert sum(int(np.abs(q).sum()) for q in expected) > 0
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
