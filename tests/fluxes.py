"""FLUX's folders at toy size with random weights, in the layout that `farlink models pull flux` leaves behind."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from compressai.models import MeanScaleHyperprior
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxTransformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from link import transform
from link.config import Session
from receiver.conditioning import Conditioning
from receiver.parts import ChannelControlNet

CHANNELS = 6
ROWS, COLUMNS = 3, 5
WORDS = "a street with cars and trees under grey sky".split()
SIZE = {
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": 24,
    "pooled_projection_dim": 16,
    "in_channels": 64,
    "axes_dims_rope": (2, 2, 4),
}
BLOCKS = (3, 4)
NUDGE = 0.3
"""Spread of the weights where a fresh ControlNet has zeros, so that it says something."""


def build(home: Path) -> None:
    """Write all folders below *home*/flux."""
    torch.manual_seed(0)
    base = home / "flux" / "generator"
    transformer = build_transformer()
    transformer.save_pretrained(base / "transformer")
    build_controlnet("FluxControlNetModel", transformer).save_pretrained(base / "controlnet")
    build_controlnet("union", transformer).save_pretrained(home / "flux" / "union")
    build_controlnet("ChannelControlNet", transformer).save_pretrained(home / "flux" / "channels")
    ChannelControlNet.from_base(transformer, CHANNELS, 2, 1).save_pretrained(home / "flux" / "fresh")
    build_vae().save_pretrained(base / "vae")
    tiny: Any = AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(1,) * 4,
        num_decoder_blocks=(1,) * 4,
        latent_channels=16,
    )
    tiny.save_pretrained(home / "flux" / "preview")
    scheduler: Any = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    scheduler.save_pretrained(base / "scheduler")
    build_text(base)
    model = MeanScaleHyperprior(8, CHANNELS)
    torch.nn.init.normal_(model.g_s[-1].weight, std=0.1)
    transform.save(home / "flux" / "transform", model, {"N": 8, "M": CHANNELS})


def build_transformer() -> Any:
    return awake(FluxTransformer2DModel(num_layers=3, num_single_layers=4, guidance_embeds=True, **SIZE))


def build_controlnet(kind: str, transformer: Any) -> Any:
    if kind == "ChannelControlNet":
        return awake(ChannelControlNet.from_base(transformer, CHANNELS, 2, 1))
    modes = {"num_mode": 10} if kind == "union" else {}
    return awake(
        FluxControlNetModel(num_layers=2, num_single_layers=1, guidance_embeds=True, **SIZE, **modes)
    )


def awake(model: Any) -> Any:
    """Give the zero-initialised layers of a ControlNet weights, and every block more to say than at its start."""
    for name, weight in model.named_parameters():
        if not weight.any() and name.endswith("weight"):
            torch.nn.init.normal_(weight, std=NUDGE / weight.shape[-1] ** 0.5)
    return model


def build_vae() -> Any:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        norm_num_groups=2,
        layers_per_block=1,
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


def build_text(folder: Path) -> None:
    words = {word: at for at, word in enumerate(["<pad>", "<unk>", "<bos>", "<eos>", *WORDS])}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 3)]
    )
    special = {name: f"<{name[:3]}>" for name in ("pad_token", "unk_token", "bos_token", "eos_token")}
    tokens = PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=12, **special)
    size: dict[str, Any] = {"vocab_size": len(words), "pad_token_id": 0, "eos_token_id": 3}
    clip = CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=12, bos_token_id=2, **size,
    )  # fmt: skip
    t5 = T5Config(d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=3, dropout_rate=0.0, **size)
    CLIPTextModel(clip).save_pretrained(folder / "text_encoder")
    T5EncoderModel(t5).save_pretrained(folder / "text_encoder_2")
    for name in ("tokenizer", "tokenizer_2"):
        tokens.save_pretrained(folder / name)


def session(
    profile: dict[str, Any] | None = None,
    codec: dict[str, Any] | None = None,
    size: tuple[int, int] = (72, 40),
) -> Session:
    """Return a session on the toy folders at *size* pixels, by default no multiple of 16."""
    tree = {
        "name": "toy",
        "camera": {"width": size[0], "height": size[1]},
        "codec": {
            "name": "gsc", "profile": "flux", "channels": 4, "caption": "vlm", "frame_bytes": 4000,
            "steps": 3, "guidance": 3.5, **(codec or {}),
        },
        "profile": {"device": "cpu", "dtype": "float32", **(profile or {})},
        "link": {"hops": [{"name": "a", "rate_bps": 8000}]},
    }  # fmt: skip
    return Session.model_validate(tree)


def wish(number=0, channels=(0, 1, 3), caption="a street with trees"):
    """What might arrive: some channels of a random latent."""
    rng = np.random.default_rng(number)
    there = np.isin(np.arange(CHANNELS), channels)
    maps = rng.integers(-9, 10, (CHANNELS, ROWS, COLUMNS)).astype(np.int32)
    return Conditioning(maps * there[:, None, None], there, caption)


def apart(first, second):
    """Return the largest difference of two pictures."""
    return int(np.abs(first.astype(int) - second).max())
