"""Stable Diffusion 2.1's folders at toy size with random weights, in the layout that diffusers saves."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from fluxes import WORDS, awake
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from receiver.sd_parts import LatentControlNet

SIZE: dict[str, Any] = {
    "block_out_channels": (8, 16, 16, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 24,
    "attention_head_dim": (2, 4, 4, 4),
    "use_linear_projection": True,
}
DOWN = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
UP = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3


def build(base: Path, channels: int = 4, prediction: str = "epsilon") -> None:
    """Write all folders below *base*; `pixels` holds a ControlNet that is shown pictures."""
    torch.manual_seed(0)
    unet: Any = UNet2DConditionModel(
        in_channels=channels,
        out_channels=channels,
        down_block_types=DOWN,
        up_block_types=UP,
        sample_size=8,
        **SIZE,
    )
    unet.save_pretrained(base / "unet")
    control: Any = awake(LatentControlNet.from_base(unet))
    torch.nn.init.normal_(control.conv_in.weight, std=0.3)  # the hint's half, which begins at zero, as well
    control.save_pretrained(base / "controlnet")
    pixels: Any = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4, 8, 8))
    awake(pixels).save_pretrained(base / "pixels")
    vae: Any = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        norm_num_groups=2,
        layers_per_block=1,
        latent_channels=channels,
        scaling_factor=0.18215,
    )
    vae.save_pretrained(base / "vae")
    scheduler: Any = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, prediction_type=prediction,
    )  # fmt: skip
    scheduler.save_pretrained(base / "scheduler")
    words = {word: at for at, word in enumerate(["<pad>", "<unk>", "<bos>", "<eos>", *WORDS])}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 3)]
    )
    special = {name: f"<{name[:3]}>" for name in ("pad_token", "unk_token", "bos_token", "eos_token")}
    PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=12, **special).save_pretrained(
        base / "tokenizer"
    )
    clip = CLIPTextConfig(
        vocab_size=len(words), hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=12, bos_token_id=2, pad_token_id=0, eos_token_id=3,
    )  # fmt: skip
    CLIPTextModel(clip).save_pretrained(base / "text_encoder")
