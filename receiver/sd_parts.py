"""The parts of Stable Diffusion 2.1 from their folders, in the layout of `save_pretrained`.

FOLDER/
  unet/           UNet2DConditionModel, with cross-attention on the text
  controlnet/     LatentControlNet (shown latents, as IRControlNet) or ControlNetModel (shown the picture)
  vae/            AutoencoderKL
  scheduler/      DDIMScheduler
  text_encoder/ tokenizer/        OpenCLIP by token
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPTextModel

from receiver.parts import load_part, quiet

LENGTH = 77
"""Tokens of a text at most."""


class NoHint(nn.Module):
    """Stands where a ControlNet embeds pixels: the hint has come in with the latents already."""

    def forward(self, given: Any) -> float:
        """Return what changes nothing when added."""
        return 0.0


class LatentControlNet(ControlNetModel):  # type: ignore[misc]
    """A ControlNet that is shown latents beside those that are drawn, through one first convolution of both.

    IRControlNet (Lin et al., "DiffBIR", arXiv 2308.15070, Section 3.3), which SEDIC and, with one more set of outputs,
    Diff-ICMH build on. `latent_channels` are those of the VAE.
    """

    ignore_for_config = ("conditioning_channels", "conditioning_embedding_out_channels")

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 4,
        down_block_types: tuple[str, ...] = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        cross_attention_dim: int = 1024,
        attention_head_dim: int | tuple[int, ...] = (5, 10, 20, 20),
        use_linear_projection: bool = True,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            in_channels=2 * latent_channels,
            down_block_types=down_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            norm_num_groups=norm_num_groups,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=attention_head_dim,
            use_linear_projection=use_linear_projection,
        )
        self.controlnet_cond_embedding = NoHint()

    @classmethod
    def from_base(cls, base: Any) -> "LatentControlNet":
        """Return a trainable copy of the first half of the UNet *base*, its outputs and the hint's weights zero."""
        names = ("down_block_types", "block_out_channels", "layers_per_block", "norm_num_groups",
                 "cross_attention_dim", "attention_head_dim", "use_linear_projection")  # fmt: skip
        control: Any = cls(base.config.in_channels, **{name: base.config[name] for name in names})
        for name in ("time_embedding", "down_blocks", "mid_block"):
            getattr(control, name).load_state_dict(getattr(base, name).state_dict())
        with torch.no_grad():
            control.conv_in.weight.zero_()
            control.conv_in.weight[:, : base.config.in_channels].copy_(base.conv_in.weight)
            control.conv_in.bias.copy_(base.conv_in.bias)
        made: LatentControlNet = control
        return made


@dataclass
class SdParts:
    """What a generator of Stable Diffusion's kind is made of."""

    unet: Any
    controlnet: Any
    vae: Any
    scheduler: Any
    text_encoder: Any
    tokenizer: Any

    @classmethod
    def from_pretrained(cls, folders: dict[str, Path], dtype: torch.dtype) -> "SdParts":
        """Return the parts, each from its folder in *folders*. Nothing is downloaded.

        Raise ModelMissingError where a folder is not there or does not hold its part.
        """
        quiet()
        weights: dict[str, Any] = {"torch_dtype": dtype}
        unet = load_part([UNet2DConditionModel], folders["unet"], weights)
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # diffusers, of its own import
            controlnet = load_part([LatentControlNet, ControlNetModel], folders["controlnet"], weights)
        return cls(
            unet,
            controlnet,
            load_part([AutoencoderKL], folders["vae"], weights),
            load_part([DDIMScheduler], folders["scheduler"], {}, "scheduler_config.json"),
            load_part([CLIPTextModel], folders["text_encoder"], {"dtype": dtype}, key="architectures"),
            load_part([AutoTokenizer], folders["tokenizer"], {}, "tokenizer_config.json", key=None),
        )

    def to(self, device: torch.device) -> "SdParts":
        """Move the models; return the same parts."""
        for model in (self.unet, self.controlnet, self.vae, self.text_encoder):
            model.to(device)
        return self

    def takes_latents(self) -> bool:
        """Whether the ControlNet is shown latents, not a picture."""
        return isinstance(self.controlnet, LatentControlNet)

    def embed(self, captions: list[str]) -> Tensor:
        """Return the text by token (batch, tokens, features), padded."""
        given = self.tokenizer(
            captions,
            max_length=min(LENGTH, int(self.tokenizer.model_max_length)),
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        )
        tokens: Tensor = self.text_encoder(given.input_ids.to(self.text_encoder.device)).last_hidden_state
        return tokens


class WatchedAttention(AttnProcessor):  # type: ignore[misc]
    """Attends as diffusers' plain processor does, and keeps the probabilities."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **options: Any) -> Tensor:
        probabilities = attn.get_attention_scores

        def keep(*given: Any) -> Tensor:
            made: Tensor = probabilities(*given)
            self.seen.append(made.view(-1, attn.heads, *made.shape[1:]))
            return made

        attn.get_attention_scores = keep
        try:
            out: Tensor = super().__call__(attn, hidden_states, *args, **options)
        finally:
            del attn.get_attention_scores
        return out


@contextmanager
def watch_attention(unet: Any) -> Iterator[list[Tensor]]:
    """Keep the cross-attention of *unet*'s middle up block: (batch, heads, places, tokens) for each of its layers.

    "The middle block of the up branch" (SEDIC, arXiv 2503.00399, Section 3.2). Where that one has no cross-attention
    the nearest that has is watched.
    """
    middle = len(unet.up_blocks) // 2
    order = sorted(range(len(unet.up_blocks)), key=lambda at: abs(at - middle))
    names = list(unet.attn_processors)
    at = next(at for at in order if any(_crosses(name, at) for name in names))
    before = dict(unet.attn_processors)
    watched = {name: WatchedAttention() for name in names if _crosses(name, at)}
    unet.set_attn_processor({**before, **watched})
    maps: list[Tensor] = []
    try:
        yield maps
        maps += [seen for one in watched.values() for seen in one.seen]
    finally:
        unet.set_attn_processor(before)


def _crosses(name: str, block: int) -> bool:
    return name.startswith(f"up_blocks.{block}.") and ".attn2." in name
