"""Which number format models run with, and how much fits on a device."""

import os

import torch


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the number format *name*, or for `auto` bfloat16 where *device* computes with it natively."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if native.get("avx512_bf16") or native.get("amx_bf16") else torch.float32


_SHARE = 0.9  # what libraries keep for themselves is left free


def memory_bytes(device: torch.device) -> int:
    """Return how much memory *device* has, however much of it is taken."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def how_many_fit(device: torch.device, each_bytes: int, most: int) -> int:
    """Return how many things of *each_bytes* fit beside what this process has on *device* already: 1 to *most*.

    What other processes hold is not asked: a batch's size, which pictures depend on by rounding, should not hang on
    who else is there.
    """
    held = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    room = int(_SHARE * memory_bytes(device)) - held
    return max(1, min(most, room // max(1, each_bytes)))
