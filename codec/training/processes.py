"""Processes that train one model together, as torchrun starts them."""

from __future__ import annotations

import atexit
import os

import torch
from torch import distributed as dist


def join_processes() -> tuple[int, int, torch.device]:
    """Return (number of processes, rank, device), joining the process group of torchrun."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    has_gpu = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if has_gpu:
        torch.cuda.set_device(local)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if has_gpu else "gloo")
        atexit.register(_leave_group)
    device = torch.device("cuda", local) if has_gpu else torch.device("cpu")
    return world, dist.get_rank() if world > 1 else 0, device


def _leave_group() -> None:
    """End the threads of the process group, which could abort a process at its end."""
    if dist.is_initialized():
        dist.destroy_process_group()
