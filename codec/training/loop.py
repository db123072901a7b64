"""The training loop: knows optimisers, schedules and files, but not what is inside a model."""

from __future__ import annotations

import copy
import csv
import math
import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist

from imgcodec.codec.models.registry import build_model
from imgcodec.codec.nets.klt import klt_of_patches
from imgcodec.codec.training.bank import CropBank
from imgcodec.codec.training.checkpoint import (
    load_checkpoint,
    load_initial_weights,
    save_checkpoint,
    save_ema,
)
from imgcodec.codec.training.optim import build_optimisers
from imgcodec.codec.training.recipe import Recipe, TrainRecipe
from imgcodec.codec.training.validation import save_grid, validate

LAMBDA_REFERENCE = 0.013
KLT_PATCHES = 60000
HELD_OUT = 16
LOG_SECONDS, LOG_STEPS = 20, 50


@dataclass
class TrainState:
    """What a resumed run needs besides tensors and generators."""

    step: int = 0
    elapsed_s: float = 0.0
    skipped: int = 0


def train(
    recipe: Recipe,
    pictures: Iterable[np.ndarray],
    out_dir: Path,
    *,
    resume: bool = False,
    init: Path | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Train the model of a recipe and return the path of the averaged (EMA) weights.

    One process per GPU under ``torchrun`` trains data-parallel; otherwise one process on the GPU
    if there is one, else on the CPU.

    Args:
        recipe: resolved recipe.
        pictures: RGB uint8 arrays (H, W, 3); smaller ones than the crops are left out.
        out_dir: receives checkpoint.pt, ema.safetensors, log.csv and samples/.
        resume: continue from out_dir/checkpoint.pt with the same loss.
        init: weights to start from (a new schedule), instead of the KLT.
        report: receives one progress line at a time.

    Raises:
        FileNotFoundError: `resume` without a checkpoint.
    """
    cfg = recipe.train
    world, rank, device = _setup_process()
    if rank > 0:
        report = _say_nothing
    out_dir.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(cfg.seed + rank)
    rng = random.Random(cfg.seed * 1000 + rank)
    bank_pictures = list(pictures)
    held_out, bank_pictures = bank_pictures[:HELD_OUT], bank_pictures[HELD_OUT:]
    bank = CropBank(bank_pictures or held_out, cfg.crop_px, device)
    report(f"{len(bank.pictures)} pictures, {world} process(es) on {device}")

    model = build_model(recipe.family, recipe.model)
    state = TrainState()
    if init is not None:
        load_initial_weights(model, init)
    elif not resume:
        patches = bank.patches(KLT_PATCHES, model.stride_px, random.Random(cfg.seed)).cpu()
        model.init_from_klt(*klt_of_patches(patches, model.latent_channels))
    model = model.to(device, memory_format=torch.channels_last)
    ema = copy.deepcopy(model).requires_grad_(False)
    optimisers = build_optimisers(model, cfg.lr, cfg.weight_decay)
    if resume:
        load_checkpoint(out_dir / "checkpoint.pt", model, ema, optimisers, state, rng)
        report(f"resumed at step {state.step}")
        if rank > 0:  # the checkpoint holds the generators of rank 0
            rng.seed((cfg.seed + state.step) * 1000 + rank)
            torch.manual_seed(cfg.seed + rank + state.step)
    loss_of = _LossOf(model, cfg)
    runner: nn.Module = loss_of
    if world > 1:
        runner = nn.parallel.DistributedDataParallel(loss_of, broadcast_buffers=False)
    if cfg.compile:
        runner = torch.compile(runner)
    trainer = _Trainer(recipe, runner, model, ema, optimisers, bank, rng, state, out_dir, report)
    return trainer.run(held_out, is_main=rank == 0)


class _LossOf(nn.Module):
    """Loss of a batch: weighted mean of bpp + lambda * 255^2 * MSE."""

    def __init__(self, model: nn.Module, cfg: TrainRecipe) -> None:
        super().__init__()
        self.model = model
        self.cfg = cfg

    def forward(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.cfg.bfloat16):
            x_hat, bits_y, bits_z = self.model(x, level)
        pixels = x.shape[2] * x.shape[3]
        bpp = (bits_y + bits_z) / pixels
        mse = (x_hat.float() - x).square().mean(dim=(1, 2, 3)) * 255.0**2
        lmbda = self.model.lambdas(level)
        weight = (LAMBDA_REFERENCE / lmbda) ** self.cfg.lambda_weight_power
        loss = (weight * (bpp + lmbda * mse)).mean()
        stats = torch.stack([bpp, bits_z / pixels, mse.log10()]).mean(dim=1).detach()
        return loss, stats


class _Trainer:
    """One run: steps, averages, log lines, checkpoints and validation."""

    def __init__(
        self,
        recipe: Recipe,
        runner: nn.Module,
        model: nn.Module,
        ema: nn.Module,
        optimisers: list[torch.optim.Optimizer],
        bank: CropBank,
        rng: random.Random,
        state: TrainState,
        out_dir: Path,
        report: Callable[[str], None],
    ) -> None:
        self.recipe, self.cfg, self.runner, self.model = recipe, recipe.train, runner, model
        self.ema, self.optimisers, self.bank, self.rng = ema, optimisers, bank, rng
        self.state, self.out_dir, self.report = state, out_dir, report
        self.stopped = False
        self.num_processes = dist.get_world_size() if dist.is_initialized() else 1
        self.started = time.monotonic() - state.elapsed_s
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.averages = list(ema.parameters())

    def run(self, held_out: list[np.ndarray], *, is_main: bool) -> Path:
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopped", True))
        next_checkpoint = next_validation = 0.0
        window: list[Tensor] = []
        window_start, window_step = time.monotonic(), self.state.step
        if is_main:
            next_checkpoint = time.monotonic() + 60 * self.cfg.checkpoint_minutes
            next_validation = time.monotonic() + 60 * self.cfg.validate_minutes
        while (progress := self._progress()) < 1.0 and not self.stopped:
            window.append(self._step(progress))
            now = time.monotonic()
            if is_main and (now - window_start > LOG_SECONDS or len(window) >= LOG_STEPS):
                crops = (self.state.step - window_step) * self.cfg.batch_size * self.num_processes
                self._log(torch.stack(window).mean(dim=0), progress, crops / (now - window_start))
                window, window_start, window_step = [], now, self.state.step
            if is_main and now > next_checkpoint:
                self._save()
                next_checkpoint = time.monotonic() + 60 * self.cfg.checkpoint_minutes
            if is_main and now > next_validation:
                self._validate(held_out)
                next_validation = time.monotonic() + 60 * self.cfg.validate_minutes
        if is_main:
            self._save()
            self._validate(held_out)
        return self.out_dir / "ema.safetensors"

    def _progress(self) -> float:
        self.state.elapsed_s = time.monotonic() - self.started
        if self.cfg.minutes > 0:
            progress = self.state.elapsed_s / (60 * self.cfg.minutes)
        else:
            progress = self.state.step / self.cfg.steps
        if dist.is_initialized():
            shared = torch.tensor(progress, device=self.bank.device)
            dist.broadcast(shared, 0)
            progress = float(shared)
        return progress

    def _step(self, progress: float) -> Tensor:
        cfg, state = self.cfg, self.state
        warmup = min(1.0, (state.step + 1) / max(1, cfg.warmup_steps))
        cosine = cfg.lr_end + (1 - cfg.lr_end) * 0.5 * (1 + math.cos(math.pi * progress))
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = cfg.lr * warmup * cosine * group["lr_scale"]
        x = self.bank.sample(cfg.batch_size, self.rng, cfg.scale_min, cfg.scale_probability)
        x = x.to(memory_format=torch.channels_last)
        level = self._levels(cfg.batch_size).to(x.device)
        loss, stats = self.runner(x, level)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, cfg.clip_norm)
        if not torch.isfinite(norm):
            state.skipped += 1
            self.report(f"step {state.step}: gradient norm is {float(norm)}, step skipped")
            if state.skipped > 100:
                raise FloatingPointError("more than 100 steps had no finite gradient")
        else:
            for optimiser in self.optimisers:
                optimiser.step()
            self._average()
        state.step += 1
        return torch.cat([loss.detach()[None], stats, norm[None]])

    def _levels(self, count: int) -> Tensor:
        """Return levels uniform on the rate axis, one in each of `count` equal strata."""
        last = self.model.cfg.num_anchors - 1
        return torch.tensor([(i + self.rng.random()) / count * last for i in range(count)])

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.cfg.ema_decay, (1 + self.state.step) / (10 + self.state.step))
        torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)

    def _log(self, values: Tensor, progress: float, crops_per_s: float) -> None:
        loss, bpp, bpp_z, log_mse, norm = values.tolist()
        row = {
            "step": self.state.step,
            "minutes": round(self.state.elapsed_s / 60, 2),
            "loss": round(loss, 5),
            "bpp": round(bpp, 5),
            "bpp_z": round(bpp_z, 5),
            "psnr_db": round(10 * (2 * math.log10(255) - log_mse), 3),
            "grad_norm": round(norm, 3),
            "crops_per_s": round(crops_per_s, 1),
        }
        path = self.out_dir / "log.csv"
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        fields = "  ".join(f"{key} {value}" for key, value in row.items())
        self.report(f"{progress:6.1%}  {fields}")

    def _save(self) -> None:
        save_checkpoint(
            self.out_dir / "checkpoint.pt",
            self.recipe,
            self.model,
            self.ema,
            self.optimisers,
            self.state,
            self.rng,
        )
        save_ema(self.out_dir / "ema.safetensors", self.recipe, self.ema, self.state.step)

    def _validate(self, held_out: list[np.ndarray]) -> None:
        if not held_out:
            return
        started = time.monotonic()
        rows, pairs = validate(self.ema, held_out)
        for row in rows:
            self.report("validation  " + "  ".join(f"{k} {v}" for k, v in row.items()))
        save_grid(pairs, self.out_dir / "samples" / f"step-{self.state.step:07d}.png")
        # Validation does not count as training time.
        self.started += time.monotonic() - started


def _say_nothing(_: str) -> None:
    """Report of all processes but the first."""


def _setup_process() -> tuple[int, int, torch.device]:
    """Return (number of processes, rank, device), joining the process group of torchrun."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if not torch.cuda.is_available():
        if world > 1 and not dist.is_initialized():
            dist.init_process_group("gloo")
        return world, dist.get_rank() if world > 1 else 0, torch.device("cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(local)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl")
    return world, dist.get_rank() if world > 1 else 0, torch.device("cuda", local)
