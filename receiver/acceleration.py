"""What makes a FLUX transformer faster without another model: skipped blocks, compiled blocks, merged LoRAs.

    step n      embed -> block 0 -> residual r(n) changed?  yes -> all other blocks, ControlNet -> tail t
                                                            no  -> block 0's output + the tail kept from before

First-block caching follows ParaAttention's. The kept tail holds what the ControlNet added, so that a cached step
neither runs the ControlNet nor adds its outputs again: given the same input twice, it gives the same velocity.
(The hooks of diffusers 0.42 add them twice there.)
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from link.errors import ModelMissingError

Residuals = Sequence[Tensor | float] | None
"""What is added after each block of a kind, one entry a block."""
TEXT_ENCODERS = ("text_encoder", "lora_te", "te1_", "te2_", "text_encoders.", "clip_l.", "t5xxl.")
"""How trainers begin the names of what belongs to CLIP and T5."""
BLOCKS = ("transformer_blocks", "single_transformer_blocks")


class FirstBlockCache:
    """Runs a FLUX transformer, and skips all but its first block where that changed by at most *threshold*.

    The change is that of the first block's residual since the last full step, relative, the largest of a batch:
    a batch is skipped together. One cache serves one picture (or batch) and one branch of guidance.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._residual: Tensor | None = None
        self._tail: Tensor | None = None
        self.skipped = 0
        """Steps that were cached."""

    def __call__(
        self,
        transformer: Any,
        inputs: Mapping[str, Any],
        control: Callable[[], tuple[Residuals, Residuals]],
    ) -> Tensor:
        """Return the velocity. *inputs* are those of the transformer; *control* runs the ControlNet where needed."""
        hidden, text, embedded, rotary = _embed(transformer, inputs)
        start = hidden
        text, hidden = _block(transformer.transformer_blocks[0], text, hidden, embedded, rotary)
        residual = hidden - start
        if self._tail is not None and self._change(residual) <= self._threshold:
            self.skipped += 1
            return _finish(transformer, hidden + self._tail, embedded)
        first = hidden
        double, single = control()
        if double is not None:
            hidden = hidden + double[0]
        for number, block in enumerate(transformer.transformer_blocks[1:], 1):
            text, hidden = _block(block, text, hidden, embedded, rotary)
            if double is not None:
                hidden = hidden + double[number]
        for number, block in enumerate(transformer.single_transformer_blocks):
            text, hidden = _block(block, text, hidden, embedded, rotary)
            if single is not None:
                hidden = hidden + single[number]
        self._residual, self._tail = residual, hidden - first
        return _finish(transformer, hidden, embedded)

    def _change(self, residual: Tensor) -> float:
        assert self._residual is not None
        moved = (residual - self._residual).abs().flatten(1).mean(1)
        return float((moved / self._residual.abs().flatten(1).mean(1).clamp_min(1e-12)).max())


def _embed(transformer: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor, Any]:
    """Return what a FLUX transformer feeds its blocks: image and text tokens, time and guidance, positions."""
    hidden = transformer.x_embedder(inputs["hidden_states"])
    scaled = [inputs["timestep"].to(hidden.dtype) * 1000]
    if inputs["guidance"] is not None:
        scaled.append(inputs["guidance"].to(hidden.dtype) * 1000)
    embedded = transformer.time_text_embed(*scaled, inputs["pooled_projections"])
    text = transformer.context_embedder(inputs["encoder_hidden_states"])
    rotary = transformer.pos_embed(torch.cat((inputs["txt_ids"], inputs["img_ids"])))
    return hidden, text, embedded, rotary


def _block(
    block: nn.Module, text: Tensor, hidden: Tensor, embedded: Tensor, rotary: Any
) -> tuple[Tensor, Tensor]:
    text, hidden = block(
        hidden_states=hidden, encoder_hidden_states=text, temb=embedded, image_rotary_emb=rotary
    )
    return text, hidden


def _finish(transformer: Any, hidden: Tensor, embedded: Tensor) -> Tensor:
    velocity: Tensor = transformer.proj_out(transformer.norm_out(hidden, embedded))
    return velocity


def compile_blocks(models: Sequence[Any], **options: Any) -> None:
    """Compile the repeated blocks of *models* in place: one graph serves all blocks of a kind."""
    for model in models:
        for name in BLOCKS:
            for block in getattr(model, name):
                block.compile(**options)


def merge_lora(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    alphas: Mapping[str, Any],
    alpha: float | None,
    scale: float,
) -> int:
    """Add the pairs lora_A, lora_B of *weights* to the layers of *model*; return how many there were.

    W += scale * alpha / rank * B A; *alphas* by layer go before *alpha* for all, and without either alpha is the
    rank. Raise KeyError, ValueError or AttributeError where a pair fits no layer, ValueError where *weights* hold
    anything else: a picture drawn with a part of a LoRA is not the LoRA's.
    """
    merged = 0
    downs = {name: down for name, down in weights.items() if name.endswith(".lora_A.weight")}
    taken = {*downs, *(name.replace(".lora_A.", ".lora_B.") for name in downs)}
    refuse_unmerged(sorted(set(weights) - taken))
    for name, down in downs.items():
        layer = name.removesuffix(".lora_A.weight")
        up = weights[f"{layer}.lora_B.weight"]
        target = model.get_submodule(layer.removeprefix("transformer.")).weight
        rank = len(down)
        own = float(alphas.get(f"{layer}.alpha", rank if alpha is None else alpha))
        change = (up.float() @ down.float()) * (scale * own / rank)
        if not isinstance(target, Tensor) or change.shape != target.shape:
            raise ValueError(f"{layer}: the LoRA's shape is {tuple(change.shape)}")
        with torch.no_grad():
            target += change.to(target)
        merged += 1
    if not merged:
        raise ValueError("no LoRA of a FLUX transformer in it")
    return merged


def refuse_unmerged(names: Sequence[str]) -> None:
    """Raise ValueError for the first of *names* of a LoRA file that `merge_lora` would leave out, saying what it is."""
    for name in names:
        if "dora_scale" in name or "lora_magnitude_vector" in name:
            raise ValueError(f"it is a DoRA ({name}), whose magnitudes are not merged: give a plain LoRA")
        if name.startswith(TEXT_ENCODERS):
            raise ValueError(
                f"it changes the text encoders too ({name}), and only the transformer's part would be merged: give "
                "a LoRA of the transformer alone, or merged text encoders by profile.text"
            )
        if not name.startswith("transformer.") or not name.endswith((".lora_A.weight", ".lora_B.weight")):
            raise ValueError(f"{name} is no lora_A or lora_B of the transformer and would not be merged")


def require(package: str, why: str) -> None:
    """Raise ModelMissingError where the optional *package* that *why* needs is not installed."""
    if importlib.util.find_spec(package) is None:
        raise ModelMissingError(
            f"{why} needs the package {package}, which is not installed: pip install {package}"
        )
