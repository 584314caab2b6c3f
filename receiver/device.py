"""Which device and which number format models run with."""

import torch

from link.errors import UsageError


def pick_device(name: str) -> torch.device:
    """Return the device *name*, or for `auto` the first GPU, else the CPU. Raise UsageError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"profile.device {name}: not on this machine ({line})") from None
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the number format *name*, or for `auto` bfloat16 where *device* computes with it natively."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if native.get("avx512_bf16") or native.get("amx_bf16") else torch.float32
