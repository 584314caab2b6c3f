"""One training loop for every part: resumable, seeded, EMA, losses and samples written as it goes.

    OUT/checkpoint.pt      weights, optimiser, step, seconds: what `resume` reads (weights_only)
    OUT/log.jsonl          a line every few steps: step, seconds, learning rate, losses
    OUT/samples/           what the part makes of fixed inputs, as pictures
    OUT/model/             the averaged weights in `save_pretrained` layout, written at every checkpoint

Step n draws its examples from the generator (seed, "part/n"), so that a run that was stopped goes on as if it
had not been. One process on a CPU, or `accelerate launch` on one GPU or several.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from safetensors import SafetensorError
from torch import Tensor, nn

from link.errors import StorageError, UsageError
from link.seeds import generator

Losses = dict[str, float]
PACE_STEPS = 3
"""Steps that are timed to know what one takes."""


class TrainedPart(Protocol):
    """What is trained: it knows its modules, its data and its loss."""

    name: str
    modules: nn.ModuleDict
    """What is trained, averaged and kept. What is only used stays out of it."""

    def to(self, device: torch.device) -> None:
        """Move what is used but not trained."""

    def loss(self, rng: np.random.Generator, progress: float) -> tuple[Tensor, Losses]:
        """Return the loss of one batch drawn with *rng*, and what to log; *progress* goes from 0 to 1."""

    def save(self, folder: Path) -> None:
        """Write the modules as they are now, in `save_pretrained` layout."""

    def sample(self, folder: Path, step: int) -> Losses:
        """Write pictures of what the modules do now into *folder*; return scores for the log."""


@dataclass(frozen=True)
class Recipe:
    """How a part is trained."""

    steps: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup: int = 100
    final: float = 0.1
    """The learning rate falls to this share of itself along a cosine; 1: it stays."""
    accumulate: int = 1
    ema: float = 0.999
    """Decay of the averaged weights; 0: none are kept, and the weights themselves are written."""
    clip: float = 1.0
    seed: int = 1
    mixed_precision: str = "bf16"
    """`bf16` or `no`; on a CPU bf16 is used where the processor has it."""
    log_every: int = 25
    save_every: int = 250
    sample_every: int = 500

    def rate(self, step: int) -> float:
        """Return the factor on the learning rate at *step*."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        along = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, along)))


class Ema:
    """An exponential moving average of weights, warmed up so that the first steps do not linger; none at decay 0."""

    def __init__(self, modules: nn.Module, decay: float) -> None:
        self._decay = decay
        weights = modules.state_dict() if decay else {}
        self.shadow = {name: value.detach().clone() for name, value in weights.items()}

    def update(self, modules: nn.Module, step: int) -> None:
        """Move the average towards the weights."""
        if not self.shadow:
            return
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in modules.state_dict().items():
                kept = self.shadow[name]
                if kept.is_floating_point():
                    kept.lerp_(value.detach().to(kept.dtype), 1.0 - decay)
                else:
                    kept.copy_(value)


def train(
    part: TrainedPart, recipe: Recipe, out: Path, clock: Callable[[], float], say: Callable[[str], None]
) -> int:
    """Train *part* until `recipe.steps`, going on from OUT/checkpoint.pt where there is one.

    Returns the steps done in this call. Raises UsageError where the checkpoint is of another part, StorageError
    where the disk is full: the last checkpoint is whole then, as after an interruption.
    """
    accelerator = Accelerator(mixed_precision=recipe.mixed_precision)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(int(generator(recipe.seed, f"{part.name}/init").integers(1 << 62)))
    part.to(accelerator.device)
    # What was loaded is in evaluation mode, what went on after a sample is not: their gradients round differently.
    part.modules.to(accelerator.device).train()
    ema = Ema(part.modules, recipe.ema)
    parameters = [weight for weight in part.modules.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    first, before_s = _resume(part, out / "checkpoint.pt", ema, optimizer)
    ema.shadow = {name: value.to(accelerator.device) for name, value in ema.shadow.items()}
    if accelerator.num_processes > 1:
        broadcast(list(part.modules.state_dict().values()))
    if first and accelerator.is_main_process:
        say(json.dumps({"going_on_from_step": first}))
    started = clock()
    for step in range(first, recipe.steps):
        norm, losses = _learn(part, recipe, accelerator, parameters, optimizer, step)
        ema.update(part.modules, step)
        if not accelerator.is_main_process:
            continue
        done = step + 1
        seconds = before_s + clock() - started
        if done % recipe.log_every == 0 or done == recipe.steps:
            row = {"step": done, "seconds": round(seconds, 1), "gradient": norm, **losses}
            _log(out, row, say)
        last = done == recipe.steps
        if done % recipe.save_every == 0 or last:
            with _averaged(part, ema), storing(out):
                part.save(out / "model")
                if done % recipe.sample_every == 0 or last:
                    (out / "samples").mkdir(exist_ok=True)
                    _log(out, {"step": done, **part.sample(out / "samples", done)}, say)
            # Last: who is ended before it comes back to the step before, and after it everything else is there.
            _checkpoint(part, out / "checkpoint.pt", ema, optimizer, done, seconds)
    return max(0, recipe.steps - first)


def _learn(
    part: TrainedPart,
    recipe: Recipe,
    accelerator: Accelerator,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    step: int,
) -> tuple[float, Losses]:
    """Take one step; return the gradient's norm and what to log."""
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * recipe.rate(step)
    losses: Losses = {}
    for turn in range(recipe.accumulate):
        rank = accelerator.process_index
        rng = generator(recipe.seed, f"{part.name}/{step}/{turn}/{rank}")
        torch.manual_seed(int(rng.integers(1 << 62)))
        with accelerator.autocast():
            loss, losses = part.loss(rng, step / recipe.steps)
        accelerator.backward(loss / recipe.accumulate)
    if accelerator.num_processes > 1:
        _share_gradients(part.modules, accelerator)
    norm = float(nn.utils.clip_grad_norm_(parameters, recipe.clip))
    if math.isfinite(norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm, losses


def measure_pace(part: TrainedPart, recipe: Recipe, clock: Callable[[], float]) -> float:
    """Return the seconds that a step of *part* takes here, the mean of a few after a first one.

    What was learned by them is forgotten: *part* is as it was.
    """
    accelerator = Accelerator(mixed_precision=recipe.mixed_precision)
    part.to(accelerator.device)
    part.modules.to(accelerator.device).train()
    kept = {name: value.detach().clone() for name, value in part.modules.state_dict().items()}
    parameters = [weight for weight in part.modules.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    ema = Ema(part.modules, recipe.ema)
    started = clock()
    for step in range(1 + PACE_STEPS):
        if step == 1:
            started = clock()  # the first one makes buffers, and chooses kernels
        _learn(part, recipe, accelerator, parameters, optimizer, step)
        ema.update(part.modules, step)
    took = clock() - started
    part.modules.load_state_dict(kept)
    return took / PACE_STEPS


class _averaged:
    """Swaps the averaged weights in for the time of a `with`."""

    def __init__(self, part: TrainedPart, ema: Ema) -> None:
        self._modules, self._ema = part.modules, ema

    def __enter__(self) -> None:
        self._own = (
            {}
            if not self._ema.shadow
            else {name: value.detach().clone() for name, value in self._modules.state_dict().items()}
        )
        if self._own:
            self._modules.load_state_dict(self._ema.shadow)
        self._modules.eval()

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._modules.load_state_dict(self._own)
        self._modules.train()


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what torch and safetensors raise where nothing more can be written into StorageError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path}: cannot write: {error}") from None


def _share_gradients(modules: nn.Module, accelerator: Accelerator) -> None:
    """Average the gradients of the processes: parts call their modules by name, past the hook of DDP."""
    for weight in modules.parameters():
        if weight.grad is not None:
            weight.grad = accelerator.reduce(weight.grad, "mean")


def _log(out: Path, row: dict[str, Any], say: Callable[[str], None]) -> None:
    line = json.dumps({key: _short(value) for key, value in row.items()})
    with storing(out), (out / "log.jsonl").open("a") as file:
        file.write(line + "\n")
    say(line)


def _short(value: float) -> float | None:
    """Five digits; a whole number as it is; None, JSON's null, for what no number says."""
    if isinstance(value, int):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _checkpoint(
    part: TrainedPart, path: Path, ema: Ema, optimizer: torch.optim.Optimizer, step: int, seconds: float
) -> None:
    """Write everything that `_resume` needs, and only then take the place of the last one."""
    state = {
        "part": part.name,
        "step": step,
        "seconds": seconds,
        "weights": part.modules.state_dict(),
        "ema": ema.shadow,
        "optimizer": optimizer.state_dict(),
    }
    new = path.with_suffix(".new")
    try:
        torch.save(state, new)
        new.replace(path)
    except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError
        raise StorageError(f"{new}: cannot write: {str(error).splitlines()[0]}") from None


def _resume(part: TrainedPart, path: Path, ema: Ema, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    if not path.is_file():
        return 0, 0.0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        name = state["part"]
    except Exception as error:  # a damaged file makes torch raise many kinds
        raise UsageError(f"{path}: no checkpoint: {(str(error).splitlines() or ['unreadable'])[0]}") from None
    if name != part.name:
        raise UsageError(f"{path}: a checkpoint of {name}, not of {part.name}")
    try:
        part.modules.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        line = " ".join(str(error).split())[:200]
        raise UsageError(f"{path}: a checkpoint of another {part.name}: {line}") from None
    if ema.shadow:
        ema.shadow = state["ema"] or ema.shadow
    return int(state["step"]), float(state["seconds"])
