"""Seconds a picture and memory of FLUX.1-dev with GSC's ControlNet, random weights: time does not depend on values.

    python tests/bench/flux.py            needs a GPU with 40 GB; prints a markdown table
    python tests/bench/flux.py --toy      the same code at toy size on the processor, to see that it runs

How many steps the first-block cache spares does depend on values, so the table says how many it were; a trained
FLUX.1-dev spares about half of 28 at this threshold. Text encoders are left out (their embeddings are kept); VAE and ControlNet are in. The rows of the peer are diffusers'
own FluxControlNetPipeline with the same transformer, on the same machine, in the same run.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxTransformer2DModel,
)

from receiver.conditioning import Conditioning
from receiver.generator import Generator, Sampling
from receiver.parts import ChannelControlNet, Parts

CHANNELS = 320
SIZES = ((1024, 1024), (512, 384))
STEPS = (28, 8)
BATCHES = (1, 8)
THRESHOLD = 0.12
FULL = {"num_layers": 19, "num_single_layers": 38, "guidance_embeds": True}
TOY = {
    "num_layers": 2, "num_single_layers": 2, "guidance_embeds": True, "attention_head_dim": 8,
    "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 16, "axes_dims_rope": (2, 2, 4),
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    device: torch.device
    dtype: torch.dtype
    transformer: dict[str, Any]
    blocks: tuple[int, int]
    vae: tuple[int, ...]
    channels: int = CHANNELS
    sizes: Sequence[tuple[int, int]] = SIZES
    steps: Sequence[int] = STEPS
    batches: Sequence[int] = BATCHES
    compiler: str = "inductor"
    repeats: int = 3


class Captions:
    """Stands for the text encoders: embeddings that are kept."""

    def __init__(self, tokens: int, pooled: int, length: int) -> None:
        self._tokens, self._pooled = torch.randn(1, length, tokens), torch.randn(1, pooled)

    def encode(self, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the same embeddings for every caption."""
        return self._tokens.expand(len(captions), -1, -1), self._pooled.expand(len(captions), -1)


def drawn(build: Callable[[], Any], plan: Plan) -> Any:
    """Return a model with random weights, made on the device: FLUX in main memory first would take minutes."""
    with torch.device("meta"):
        model = build()
    model = model.to(plan.dtype).to_empty(device=plan.device)
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.normal_(0.0, 0.02) if tensor.is_floating_point() else tensor.data.zero_()
    return model.eval().requires_grad_(False)


def build_parts(plan: Plan) -> Parts:
    """Return all parts at the plan's size."""
    base = plan.transformer
    width = {key: value for key, value in base.items() if not key.startswith("num_") or key.endswith("heads")}
    layers, single = plan.blocks
    return Parts(
        drawn(lambda: FluxTransformer2DModel(**base), plan),
        drawn(
            lambda: ChannelControlNet(
                num_layers=layers, num_single_layers=single, codec_channels=plan.channels, **width
            ),
            plan,
        ),
        drawn(
            lambda: AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                block_out_channels=plan.vae,
                norm_num_groups=min(32, plan.vae[0]),
                layers_per_block=2,
                latent_channels=16,
                scaling_factor=0.3611,
                shift_factor=0.1159,
                use_quant_conv=False,
                use_post_quant_conv=False,
            ),
            plan,
        ),
        FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )


def measure(plan: Plan, draw: Callable[[], Any]) -> tuple[float, float, int]:
    """Return the fastest run's seconds, the most memory in GiB and the steps spared, after one run to warm up."""
    gpu = plan.device.type == "cuda"
    draw()
    if gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    best, skipped = float("inf"), 0
    for _ in range(plan.repeats):
        started = time.perf_counter()
        skipped = draw()
        if gpu:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best, torch.cuda.max_memory_allocated() / 2**30 if gpu else float("nan"), skipped


def ours(
    plan: Plan, parts: Parts, captions: Any, size: tuple[int, int], steps: int, batch: int
) -> Callable[[], Any]:
    """Return a call that draws a batch by farlink's decoder."""
    rows, columns = size[1] // 16, size[0] // 16
    rng = np.random.default_rng(1)
    there = np.arange(plan.channels) < 16
    maps = rng.integers(-4, 5, (plan.channels, rows, columns)).astype(np.int32) * there[:, None, None]
    synthesis: Any = lambda maps: torch.full((3, 16 * rows, 16 * columns), 0.5)  # noqa: E731
    decoder = Generator(parts, captions, synthesis, Sampling(steps, 3.5))

    def draw() -> int:
        decoder.generate([Conditioning(maps, there, "")] * batch)
        return decoder.skipped

    return draw


def peer(
    plan: Plan, parts: Parts, captions: Any, size: tuple[int, int], steps: int, batch: int
) -> Callable[[], Any]:
    """Return a call that draws a batch by diffusers' pipeline and a ControlNet of the same blocks."""
    base = plan.transformer
    width = {key: value for key, value in base.items() if not key.startswith("num_") or key.endswith("heads")}
    layers, single = plan.blocks
    control = drawn(lambda: FluxControlNetModel(num_layers=layers, num_single_layers=single, **width), plan)
    pipeline: Any = FluxControlNetPipeline(
        parts.scheduler, parts.vae, None, None, None, None, parts.transformer, control
    )
    pipeline.set_progress_bar_config(disable=True)
    tokens, pooled = (item.to(plan.device, plan.dtype) for item in captions.encode([""] * batch))
    picture = torch.full((batch, 3, size[1], size[0]), 0.5)

    def draw() -> int:
        pipeline(
            prompt_embeds=tokens, pooled_prompt_embeds=pooled, control_image=picture, width=size[0],
            height=size[1], num_inference_steps=steps, guidance_scale=3.5,
        )  # fmt: skip
        return 0

    return draw


def rows(plan: Plan) -> list[str]:
    """Return the table."""
    captions = Captions(
        plan.transformer.get("joint_attention_dim", 4096),
        plan.transformer.get("pooled_projection_dim", 768),
        512,
    )
    parts = build_parts(plan)
    out = [
        "| size | steps | batch | how | s a picture | GiB | steps spared |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]

    def row(
        how: str, make: Callable[..., Callable[[], Any]], size: tuple[int, int], steps: int, batch: int
    ) -> None:
        name = f"| {size[0]}x{size[1]} | {steps} | {batch} | {how} |"
        try:
            with torch.inference_mode():
                seconds, memory, spared = measure(plan, make(plan, parts, captions, size, steps, batch))
            out.append(f"{name} {seconds / batch:.3f} | {memory:.1f} | {spared} |")
        except torch.cuda.OutOfMemoryError:
            out.append(f"{name} out of memory | | |")
        print(out[-1], file=sys.stderr, flush=True)
        gc.collect()
        torch.cuda.empty_cache()

    cells = [(size, steps, batch) for size in plan.sizes for steps in plan.steps for batch in plan.batches]
    for cell in cells:
        row("diffusers FluxControlNetPipeline", peer, *cell)
        row("farlink", ours, *cell)
        parts.cache, parts.cache_threshold = "first_block", THRESHOLD
        row(f"farlink, first-block cache {THRESHOLD:g}", ours, *cell)
        parts.cache = "none"
    for model in (parts.transformer, parts.controlnet):
        for block in (*model.transformer_blocks, *model.single_transformer_blocks):
            block.compile(backend=plan.compiler)
    for cell in cells:
        row("farlink, compiled", ours, *cell)
        parts.cache = "first_block"
        row("farlink, compiled, first-block cache", ours, *cell)
        parts.cache = "none"
    return out


def main() -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--toy", action="store_true", help="toy size on the processor")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.toy:
        plan = Plan(
            torch.device("cpu"),
            torch.float32,
            TOY,
            (1, 1),
            (8, 8, 8, 8),
            6,
            [(64, 48)],
            [2],
            [1, 2],
            "eager",
            1,
        )
        where = "the processor, toy size: these figures mean nothing"
    elif torch.cuda.is_available():
        plan = Plan(
            torch.device("cuda"), torch.bfloat16, FULL, (4, 2), (128, 256, 512, 512), repeats=options.repeats
        )
        where = torch.cuda.get_device_name(0)
    else:
        print(
            "flux: no GPU here, and FLUX.1-dev on a processor takes minutes a picture; try --toy",
            file=sys.stderr,
        )
        return 2
    table = rows(plan)
    print(f"torch {torch.__version__}, {where}, fastest of {plan.repeats}\n")
    print("\n".join(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
