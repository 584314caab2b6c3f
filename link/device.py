"""Which device models run on."""

from typing import TYPE_CHECKING

from link.errors import UsageError

if TYPE_CHECKING:
    import torch


def pick_device(name: str) -> "torch.device":
    """Return the device *name*, or for `auto` the first GPU, else the CPU. Raise UsageError where it is not there."""
    import torch  # which the link itself never needs

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"profile.device {name}: not on this machine ({line})") from None
    return device
