"""Likelihood and bytes of digits under a convvae model.

    python -m imgcodec.eval.elbo convvae
    python -m imgcodec.eval.elbo runs/convvae/convvae-mnist-1.safetensors --data mnist.npz

prints a CSV table. The same in each line, over the test digits of MNIST: the evidence lower bound
in nats per digit with its two parts (one sample of the posterior for each digit; the padding to
32x32 pixels does not count). A line a quality, means over the first of them: bytes of the payload
and of the file, PSNR in dB.
The likelihood is that of the recipe: with "bernoulli" the cross entropy of grey values, not of
binarised digits, which would be another figure.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import torch

from imgcodec.codec import api
from imgcodec.codec.errors import OptionError
from imgcodec.codec.stream.container import read_stream
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from imgcodec.datasets.mnist import load_mnist, to_block

QUALITIES = (1, 20, 40, 60, 80, 100)
BATCH = 500


@torch.inference_mode()
def elbo_of(model: str, digits: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Return the means of the statistics in nats (`ConvVaeModel.forward`) over digits (N, H, W).

    Args:
        model: family, id or weights file of a convvae model.
        digits: uint8.
        seed: of the posterior samples.

    Raises:
        UnknownModelError: no such model.
        OptionError: the model is of another family.
    """
    info = find_model(model)
    if info.family != "convvae":
        raise OptionError(f"{info.id} is of the family {info.family}, not convvae")
    network = load_model(info).torch_model
    torch.manual_seed(seed)
    totals: dict[str, float] = {}
    for start in range(0, len(digits), BATCH):
        blocks = np.stack([to_block(digit) for digit in digits[start : start + BATCH]])
        x = torch.from_numpy(blocks).permute(0, 3, 1, 2).float() / 255.0
        for name, value in network(x, torch.zeros(len(x))).stats.items():
            totals[name] = totals.get(name, 0.0) + float(value) * len(x) / len(digits)
    return totals


def payload_of(model: str, digits: np.ndarray, quality: int) -> tuple[float, float, float]:
    """Return mean payload bytes, mean file bytes and mean PSNR in dB of encoded digits."""
    payloads, files, errors = [], [], []
    for digit in digits:
        data = api.encode(digit, model=model, quality=quality)
        decoded = np.asarray(api.decode(data, model=model), np.float64)
        payloads.append(sum(len(part) for part in read_stream(data).segments[0]))
        files.append(len(data))
        errors.append(np.mean((decoded - digit) ** 2))
    psnr = 10 * np.log10(255.0**2 / np.maximum(errors, 1e-6))
    return float(np.mean(payloads)), float(np.mean(files)), float(np.mean(psnr))


def main() -> None:
    """Print the figures of a model as CSV."""
    parser = argparse.ArgumentParser(prog="python -m imgcodec.eval.elbo")
    parser.add_argument("model", help="family, model id or weights file")
    parser.add_argument("--data", type=Path, help="mnist.npz or its folder")
    parser.add_argument("--digits", type=int, default=10000, help="for the ELBO")
    parser.add_argument("--files", type=int, default=1000, help="digits to encode")
    arguments = parser.parse_args()
    digits, _ = load_mnist("test", arguments.data)
    nats = elbo_of(arguments.model, digits[: arguments.digits])
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["model", *nats, "quality", "payload_bytes", "file_bytes", "psnr"])
    for quality in QUALITIES:
        figures = payload_of(arguments.model, digits[: arguments.files], quality)
        writer.writerow([find_model(arguments.model).id, *nats.values(), quality, *figures])


if __name__ == "__main__":
    main()
