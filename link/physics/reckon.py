"""Fills into a hop's configuration what its budget comes to, before a run: the core is given figures alone."""

import math
from typing import Any, TypeVar

from link.channel.loss.codewords import CodewordLoss
from link.errors import UsageError
from link.hops import HopConfig, ReturnHop
from link.physics.media import come_to

_AnyHop = TypeVar("_AnyHop", HopConfig, ReturnHop)


def reckon_budget(hop: _AnyHop) -> _AnyHop:
    """Return *hop*, or the way back, with what its budget comes to filled in; without one it stays as it is.

    Raise UsageError where the budget cannot be reckoned, or the hop says another rate or other losses beside it.
    """
    if hop.budget is None:
        return hop
    name = f"hop {hop.name}" if isinstance(hop, HopConfig) else "the return"
    try:
        found = come_to(hop.budget)
    except UsageError as error:
        raise UsageError(f"{name}: budget: {error}") from None
    blocks = None
    if found.block_bits is not None and found.error_rate > 0.0:
        blocks = CodewordLoss(
            model="codewords", error_rate=found.error_rate, block_bits=found.block_bits,
            damaged_ratio=hop.budget.damaged_ratio,
        )  # fmt: skip
    full = {
        "rate_bps": found.rate_bps,
        "loss": blocks,
        "bit_error_rate": found.error_rate if found.block_bits is None else 0.0,
        "budget_steps": found.steps,
    }
    for key, value in full.items():
        if (given := getattr(hop, key)) and not _alike(given, value):
            raise UsageError(
                f"{name}: {key} is not what its budget comes to: leave it out; a rate of one's own is "
                "budget.rate_bps"
            )
    return hop.model_copy(update=full)


def _alike(given: Any, value: Any) -> bool:
    """Return whether what a file says is what is reckoned again, but for another machine's rounding."""
    if isinstance(given, CodewordLoss) and isinstance(value, CodewordLoss):
        return (given.block_bits, given.damaged_ratio) == (value.block_bits, value.damaged_ratio) and _alike(
            given.error_rate, value.error_rate
        )
    if isinstance(given, tuple) and isinstance(value, tuple):
        return len(given) == len(value) and all(map(_alike, given, value))
    if isinstance(given, float) and isinstance(value, float):
        return math.isclose(given, value, rel_tol=1e-6, abs_tol=1e-15)
    return bool(given == value)
