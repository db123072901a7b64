"""The training loop: knows optimisers, schedules and files, but not what is inside a model."""

# Long because one run, from its first step to its last file, reads top to bottom.

from __future__ import annotations

import copy
import csv
import math
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch import distributed as dist

from imgcodec.codec.models.base import TorchModel, TrainOutput
from imgcodec.codec.models.registry import build_model
from imgcodec.codec.training.adversarial import Adversary
from imgcodec.codec.training.bank import Augmentation, CropBank, DeviceBank
from imgcodec.codec.training.captured import CapturedStep, let_compile
from imgcodec.codec.training.checkpoint import (
    family_of_weights,
    load_checkpoint,
    load_initial_weights,
    read_weights,
    runs_of_weights,
    save_checkpoint,
    save_ema,
)
from imgcodec.codec.training.divergence import LastGoodState
from imgcodec.codec.training.graphics import draw_graphics
from imgcodec.codec.training.losses import Criterion
from imgcodec.codec.training.optim import build_optimisers, make_capturable, rate_factor, set_rates
from imgcodec.codec.training.precision import choose_precision
from imgcodec.codec.training.processes import join_processes
from imgcodec.codec.training.recipe import DECODER, Recipe
from imgcodec.codec.training.validation import GRID_QUALITY, SIDE_PX, save_grid, validate

PATCH_VALUES = 46_000_000
"""Pixel values in the patches from which a model starts."""
ADOPTION_CROPS = 384
HELD_OUT = 8
"""Pictures of each kind for validation alone."""
VALIDATION_SHARE = 0.2
"""Of the time of a run, at most for its last validation."""
LOG_SECONDS, LOG_STEPS = 20, 50
DRAWINGS = 6000
"""In the memory of a GPU, for the share of crops that are drawn."""


@dataclass
class TrainState:
    """What a resumed run needs besides tensors and generators."""

    step: int = 0
    elapsed_s: float = 0.0
    skipped: int = 0
    lr_scale: float = 1.0
    best_lpips: float = math.inf
    earlier_runs: list[dict[str, Any]] = field(default_factory=list)


def train(
    recipe: Recipe,
    pictures: Iterable[tuple[str, np.ndarray]],
    out_dir: Path,
    *,
    resume: bool = False,
    init: Path | None = None,
    perceptual: nn.Module | None = None,
    texture: nn.Module | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Train the model of a recipe and return the path of the averaged (EMA) weights.

    One process per GPU under ``torchrun`` trains data-parallel; otherwise one process on the GPU
    if there is one, else on the CPU.

    Args:
        recipe: resolved recipe.
        pictures: kinds and RGB uint8 arrays (H, W, 3); smaller ones than the crops are left out,
            and the first of each kind are kept for validation.
        out_dir: receives checkpoint.pt, ema.safetensors, log.csv, validation.csv, samples/ and,
            with a perceptual module, best.safetensors: the averaged weights of the lowest LPIPS.
        resume: continue from out_dir/checkpoint.pt with the same loss.
        init: weights to start from (a new schedule), instead of the statistics of patches; those
            of another family where the model can adopt them.
        perceptual: maps x and x_hat (B, 3, H, W) in [0, 1] to (B,), for the loss, validation and
            the choice of the best weights.
        texture: the same for textures, for the loss alone.
        report: receives one progress line at a time.

    Raises:
        FileNotFoundError: `resume` without a checkpoint.
        ValueError: the recipe weights LPIPS and `perceptual` is missing.
    """
    entered = time.monotonic()
    cfg = recipe.train
    world, rank, device = join_processes()
    if rank > 0:
        report = _say_nothing
    out_dir.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(cfg.seed + rank)
    rng = random.Random(cfg.seed * 1000 + rank)
    held_out, others = _hold_out(pictures)
    first = next(others, None)
    for_training = [p for _, p in held_out] if first is None else chain([first], others)
    bank_class = CropBank if device.type == "cpu" else DeviceBank
    bank = bank_class(for_training, cfg.crop_px, device)
    if isinstance(bank, DeviceBank) and cfg.graphics_share:
        bank.draw_all(DRAWINGS, cfg.seed)
    if cfg.graphics_share:
        held_out += _held_out_graphics(held_out[0][1])
    precision = choose_precision(cfg.precision, device)
    is_half = precision is torch.bfloat16
    report(f"{len(bank)} pictures, {world} process(es) on {device} in {precision}")

    model = build_model(recipe.family, recipe.model, recipe.terms)
    state = TrainState(earlier_runs=[] if init is None else runs_of_weights(init))
    if init is not None and family_of_weights(init) != recipe.family:
        crops = bank.sample(ADOPTION_CROPS, random.Random(cfg.seed), Augmentation(0.5, 0.5, 0.5))
        model.adopt(read_weights(init), crops.cpu())
    elif init is not None:
        load_initial_weights(model, init)
    elif not resume:
        count = min(60000, PATCH_VALUES // (3 * model.stride_px**2))
        patches = bank.patches(count, model.stride_px, random.Random(cfg.seed))
        model.init_from_patches(patches)
    if cfg.only == DECODER:
        model.eval()  # codebooks that follow the latents stay where they are
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(model.decoder_prefixes))
    # Depthwise layers are slow in this order on GPUs, all others on processors in any other.
    order = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    model = model.to(device, memory_format=order)
    ema = copy.deepcopy(model).requires_grad_(False)
    optimisers = build_optimisers(model, cfg.lr, cfg.weight_decay, precision)
    adversary = None
    if recipe.adversarial is not None:
        adversary = Adversary(recipe.adversarial, device, bfloat16=is_half)
    if perceptual is not None:
        perceptual = perceptual.to(device).requires_grad_(False).train()
    if texture is not None:
        texture = texture.to(device).requires_grad_(False).train()
    if resume:
        path = out_dir / "checkpoint.pt"
        load_checkpoint(path, model, ema, optimisers, adversary, state, rng)
        report(f"resumed at step {state.step}")
        if rank > 0:  # the checkpoint holds the generators of rank 0
            rng.seed((cfg.seed + state.step) * 1000 + rank)
            torch.manual_seed(cfg.seed + rank + state.step)
    runner: nn.Module = model
    if world > 1:
        runner = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
    criterion = Criterion(recipe.loss, perceptual, adversary, texture=texture, bfloat16=is_half)
    if cfg.compile:
        crops = bank.sample(2, random.Random(cfg.seed))
        let_compile(model, criterion, crops)
        runner = torch.compile(runner, dynamic=False)
        criterion.compile()
    trainer = _Trainer(
        recipe, runner, model, ema, optimisers, criterion, bank, rng, state, out_dir, report
    )
    trainer.started = entered - state.elapsed_s
    return trainer.run(held_out, is_main=rank == 0)


class _Trainer:
    """One run: steps, averages, log lines, checkpoints and validation."""

    def __init__(
        self,
        recipe: Recipe,
        runner: nn.Module,
        model: TorchModel,
        ema: TorchModel,
        optimisers: list[torch.optim.Optimizer],
        criterion: Criterion,
        bank: CropBank,
        rng: random.Random,
        state: TrainState,
        out_dir: Path,
        report: Callable[[str], None],
    ) -> None:
        self.recipe, self.cfg, self.runner, self.model = recipe, recipe.train, runner, model
        self.ema, self.optimisers, self.criterion = ema, optimisers, criterion
        self.bank, self.rng = bank, rng
        self.state, self.out_dir, self.report = state, out_dir, report
        self.stopped = False
        self.last_validation_s = 0.0
        self.num_processes = dist.get_world_size() if dist.is_initialized() else 1
        self.started = time.monotonic() - state.elapsed_s
        self.average_rate = torch.zeros((), device=bank.device)
        self.last_good = LastGoodState(self._tensors)
        pairs = zip(model.parameters(), ema.parameters(), strict=True)
        trained = [(own, average) for own, average in pairs if own.requires_grad]
        self.parameters = [own for own, _ in trained]
        self.averages = [average for _, average in trained]
        buffers = zip(model.buffers(), ema.buffers(), strict=True)
        self.buffers = [(own, average) for own, average in buffers]
        self.captured = self._captured_step()

    def _captured_step(self) -> CapturedStep | None:
        """Return the step as a graph of the GPU, None where the host has to take part."""
        is_alone = self.criterion.adversary is None and self.num_processes == 1
        if not (isinstance(self.bank, DeviceBank) and is_alone and self.model.is_capturable):
            return None
        make_capturable(self.optimisers, self.bank.device)
        return CapturedStep(
            self.bank,
            self.cfg.batch_size,
            lambda x, level: self._losses(x, level, 0.0)[:2],
            self.parameters,
            self.optimisers,
            self.cfg.clip_norm,
            self._average,
            [*self.averages, *chain.from_iterable(self.buffers)],
        )

    def run(self, held_out: list[tuple[str, np.ndarray]], *, is_main: bool) -> Path:
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopped", True))
        if is_main:
            held_out = self._affordable(held_out)
        next_checkpoint = next_validation = 0.0
        window: list[dict[str, Tensor]] = []
        window_start = time.monotonic()
        if is_main:
            next_checkpoint = time.monotonic() + 60 * self.cfg.checkpoint_minutes
            next_validation = time.monotonic() + 60 * self.cfg.validate_minutes
        while (progress := self._progress()) < 1.0 and not self.stopped:
            window.append(self._step(progress))
            now = time.monotonic()
            if is_main and (now - window_start > LOG_SECONDS or len(window) >= LOG_STEPS):
                loss = self._log(window, progress, window_start)
                self._look_after(loss)
                window, window_start = [], time.monotonic()
            if is_main and now > next_checkpoint:
                self._save()
                next_checkpoint = time.monotonic() + 60 * self.cfg.checkpoint_minutes
            if is_main and self._is_validation_due(now > next_validation):
                self._validate(held_out)
                next_validation = time.monotonic() + 60 * self.cfg.validate_minutes
        if is_main:
            if window:
                self._log(window, progress, window_start)
            self._save()
            self._validate(held_out)
        return self.out_dir / "ema.safetensors"

    def _is_validation_due(self, is_time: bool) -> bool:
        steps = self.cfg.validate_steps
        return self.state.step % steps == 0 if steps else is_time

    def _progress(self) -> float:
        self.state.elapsed_s = time.monotonic() - self.started
        if self.cfg.minutes > 0:
            progress = self.state.elapsed_s / (60 * self.cfg.minutes - self.last_validation_s)
        else:
            progress = self.state.step / self.cfg.steps
        if dist.is_initialized():
            shared = torch.tensor(progress, device=self.bank.device)
            dist.broadcast(shared, 0)
            progress = float(shared)
        return progress

    def _step(self, progress: float) -> dict[str, Tensor]:
        cfg, state = self.cfg, self.state
        rate = rate_factor(state.step, progress, cfg)
        decay = min(cfg.ema_decay, (1 + state.step) / (10 + state.step))
        self.average_rate.fill_(1 - decay)
        set_rates(self.optimisers, cfg.lr * rate * state.lr_scale)
        augmentation = Augmentation(
            cfg.scale_min,
            cfg.scale_probability,
            cfg.flip_probability,
            cfg.graphics_share,
        )
        if self.captured is not None:
            assert isinstance(self.bank, DeviceBank)
            squares = self.bank.draw(cfg.batch_size, self.rng, augmentation)
            state.step += 1
            return self.captured(squares, self._levels(cfg.batch_size))
        x = self.bank.sample(cfg.batch_size, self.rng, augmentation)
        x = x.to(memory_format=torch.channels_last)
        level = self._levels(cfg.batch_size).to(x.device)
        loss, stats, output = self._losses(x, level, progress)
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
            adversary = self.criterion.adversary
            if adversary is not None:
                x_hat = output.x_hat.detach().float()
                stats |= adversary.discriminator_step(x, x_hat, progress, rate)
        state.step += 1
        return stats | {"grad_norm": norm}

    def _losses(
        self, x: Tensor, level: Tensor, progress: float
    ) -> tuple[Tensor, dict[str, Tensor], TrainOutput]:
        """Return the loss of crops at levels (B,), scalars for the log, and the model's output."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.criterion.bfloat16):
            output = self.runner(x, level)
        loss, stats = self.criterion(x, output, self.model.lambdas(level), progress)
        return loss, stats, output

    def _levels(self, count: int) -> Tensor:
        """Return levels uniform on the rate axis, one in each of `count` equal strata."""
        last = self.model.max_level
        return torch.tensor([(i + self.rng.random()) / count * last for i in range(count)])

    @torch.no_grad()
    def _average(self) -> None:
        changes = torch._foreach_sub(self.parameters, self.averages)
        torch._foreach_mul_(changes, self.average_rate)
        torch._foreach_add_(self.averages, changes)
        for own, average in self.buffers:  # codewords follow as the weights around them do
            if own.is_floating_point():
                average.lerp_(own, self.average_rate.to(own.dtype))
            else:
                average.copy_(own)

    def _look_after(self, loss: float) -> None:
        """Let a run that diverged go on from its last good state, at half the rate."""
        if self.criterion.adversary is not None or self.num_processes > 1:
            return  # losses that change their meaning; processes that would have to agree
        if self.last_good.after(loss):
            self.state.lr_scale *= 0.5
            rate = self.cfg.lr * self.state.lr_scale
            self.report(f"step {self.state.step}: loss {loss:.3g}, back to the last good state")
            self.report(f"learning rate {rate:.2g} from here")

    def _tensors(self) -> list[Tensor]:
        """Return all that steps change on the device."""
        states = [
            value
            for optimiser in self.optimisers
            for parameter in self.parameters
            for value in optimiser.state.get(parameter, {}).values()
            if isinstance(value, Tensor)
        ]
        return [*self.parameters, *self.averages, *(own for own, _ in self.buffers), *states]

    def _log(self, window: list[dict[str, Tensor]], progress: float, since: float) -> float:
        # A skipped step has no numbers of the discriminator.
        names = dict.fromkeys(name for stats in window for name in stats)
        values = {
            name: float(torch.stack([s[name].float() for s in window if name in s]).mean())
            for name in names
        }
        crops = len(window) * self.cfg.batch_size * self.num_processes
        crops_per_s = crops / (time.monotonic() - since)  # a GPU has done its part by now
        log10_mse = values.pop("log10_mse")
        row = {
            "step": self.state.step,
            "minutes": round(self.state.elapsed_s / 60, 2),
            "psnr_db": round(10 * (2 * math.log10(255) - log10_mse), 3),
            **{name: float(f"{value:.5g}") for name, value in values.items()},
            "crops_per_s": round(crops_per_s, 1),
        }
        self._append("log.csv", [row])
        fields = "  ".join(f"{key} {value}" for key, value in row.items())
        self.report(f"{progress:6.1%}  {fields}")
        return values["loss"]

    def _append(self, name: str, rows: list[dict[str, float]]) -> None:
        path = self.out_dir / name
        columns = list(rows[0])
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                columns = next(csv.reader(file))
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            if not file.tell():
                writer.writeheader()
            writer.writerows(rows)

    def _save(self) -> None:
        save_checkpoint(
            self.out_dir / "checkpoint.pt",
            self.recipe,
            self.model,
            self.ema,
            self.optimisers,
            self.criterion.adversary,
            self.state,
            self.rng,
        )
        self._save_average("ema.safetensors")

    def _save_average(self, name: str) -> None:
        state = self.state
        save_ema(self.out_dir / name, self.recipe, self.ema, state.step, state.earlier_runs)

    def _validate(self, held_out: list[tuple[str, np.ndarray]]) -> None:
        if not held_out:
            return
        rows, pairs = validate(self.ema, held_out, self.criterion)
        for row in rows:
            self.report("validation  " + "  ".join(f"{k} {v}" for k, v in row.items()))
        times = {"step": self.state.step, "minutes": round(self.state.elapsed_s / 60, 2)}
        self._append("validation.csv", [times | row for row in rows])
        if "lpips" in rows[0]:
            lpips = float(np.mean([row["lpips"] for row in rows]))
            if lpips < self.state.best_lpips:
                self.state.best_lpips = lpips
                self._save_average("best.safetensors")
        step = self.state.step
        title = f"{self.recipe.name}, step {step}, quality {GRID_QUALITY}"
        save_grid(pairs, self.out_dir / "samples" / f"step-{step:07d}.png", title)

    def _affordable(self, held_out: list[tuple[str, np.ndarray]]) -> list[tuple[str, np.ndarray]]:
        """Return the pictures for which a short run has time, and keep it for the last validation.

        The clock counts everything that someone waits for.
        """
        if not self.cfg.validate_minutes:
            return []
        if not self.cfg.minutes or not held_out:
            return held_out
        started = time.monotonic()
        validate(self.ema, held_out[:1], self.criterion)
        of_one_s = time.monotonic() - started
        count = int(VALIDATION_SHARE * 60 * self.cfg.minutes / of_one_s)
        chosen = held_out[:: max(1, math.ceil(len(held_out) / max(1, count)))]
        self.last_validation_s = len(chosen) * of_one_s
        return chosen


def _hold_out(
    pictures: Iterable[tuple[str, np.ndarray]],
) -> tuple[list[tuple[str, np.ndarray]], Iterator[np.ndarray]]:
    """Return the first pictures of each kind, with it, and all others.

    The list is complete once the iterator is at its end: only the first are held in memory.
    """
    held_out: list[tuple[str, np.ndarray]] = []

    def others() -> Iterator[np.ndarray]:
        counts: Counter[str] = Counter()
        for kind, picture in pictures:
            if counts[kind] < HELD_OUT:
                held_out.append((kind, picture))
            else:
                yield picture
            counts[kind] += 1

    return held_out, others()


def _held_out_graphics(picture: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return drawings for validation, the same ones in every run on a machine (and its fonts)."""
    rng = random.Random(0)
    photograph = Image.fromarray(picture)
    drawings = [draw_graphics(rng, SIDE_PX, photograph) for _ in range(HELD_OUT)]
    return [("graphics", np.asarray(drawing)) for drawing in drawings]


def _say_nothing(_: str) -> None:
    """Report of all processes but the first."""
