"""The parts of FLUX from their folders; `receiver.sd_parts` is the like of Stable Diffusion.

FOLDER/
  transformer/    FluxTransformer2DModel
  controlnet/     ChannelControlNet (the paper's control) or FluxControlNetModel (`picture` control)
  vae/            AutoencoderKL
  scheduler/      FlowMatchEulerDiscreteScheduler
  text_encoder/ tokenizer/        CLIP, pooled
  text_encoder_2/ tokenizer_2/    T5, by token
"""

import importlib
import json
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxTransformer2DModel,
)
from diffusers.configuration_utils import register_to_config
from diffusers.loaders.lora_pipeline import FluxLoraLoaderMixin
from safetensors import safe_open
from torch import Tensor, nn

from link.config import ProfileConfig
from link.errors import ModelMissingError, UsageError
from link.models import pull_hint
from link.pretrained import first_line, load_settings, load_weights
from receiver.acceleration import TEXT_ENCODERS, compile_blocks, merge_lora, refuse_unmerged, require

UNION_MODES = {"tile": 1, "blur": 3, "gray": 5, "low_quality": 6}
"""The numbers of union ControlNets for what a synthesis may pass as (InstantX's and Shakker Labs' tables)."""
LORA = "farlink"


class ChannelControlNet(FluxControlNetModel):  # type: ignore[misc]
    """A FLUX ControlNet that is shown codec channels: GSC (arXiv 2510.27324) with one model for every choice.

    A token's control is [channels | what arrived | latents of the channels' own synthesis], through one linear
    layer that starts at zero: `codec_channels` values scaled to about unit variance by `channel_scale`, as
    many zeros and ones, and `in_channels` packed VAE latents.
    """

    channel_scale: Tensor
    ignore_for_config = ("conditioning_embedding_channels", "num_mode")  # its base class has them, we do not

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        patch_size: int = 1,
        in_channels: int = 64,
        num_layers: int = 4,
        num_single_layers: int = 2,
        attention_head_dim: int = 128,
        num_attention_heads: int = 24,
        joint_attention_dim: int = 4096,
        pooled_projection_dim: int = 768,
        guidance_embeds: bool = True,
        axes_dims_rope: tuple[int, ...] = (16, 56, 56),
        codec_channels: int = 320,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            patch_size=patch_size,
            in_channels=in_channels,
            num_layers=num_layers,
            num_single_layers=num_single_layers,
            attention_head_dim=attention_head_dim,
            num_attention_heads=num_attention_heads,
            joint_attention_dim=joint_attention_dim,
            pooled_projection_dim=pooled_projection_dim,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=axes_dims_rope,
        )
        embedder = nn.Linear(2 * codec_channels + in_channels, num_attention_heads * attention_head_dim)
        nn.init.zeros_(embedder.weight)
        nn.init.zeros_(embedder.bias)
        self.controlnet_x_embedder = embedder
        self.register_buffer("channel_scale", torch.ones(codec_channels))  # type: ignore[attr-defined]

    @classmethod
    def from_base(
        cls, base: FluxTransformer2DModel, codec_channels: int, layers: int, single_layers: int
    ) -> "ChannelControlNet":
        """Return a trainable copy of *base*'s first blocks whose outputs are all zero (the paper's M and S)."""
        names = (
            "patch_size",
            "in_channels",
            "attention_head_dim",
            "num_attention_heads",
            "joint_attention_dim",
            "pooled_projection_dim",
            "guidance_embeds",
            "axes_dims_rope",
        )
        settings = {name: base.config[name] for name in names}  # type: ignore[attr-defined]
        control: ChannelControlNet = cls(
            **settings, num_layers=layers, num_single_layers=single_layers, codec_channels=codec_channels
        )
        for name in ("pos_embed", "time_text_embed", "context_embedder", "x_embedder"):
            getattr(control, name).load_state_dict(getattr(base, name).state_dict())
        for name in ("transformer_blocks", "single_transformer_blocks"):
            for own, copied in zip(getattr(control, name), getattr(base, name), strict=False):
                own.load_state_dict(copied.state_dict())
        return control

    def control(
        self, channels: Tensor, arrived: Tensor, picture: Tensor, shown: Tensor | None = None
    ) -> Tensor:
        """Return the control tokens, shape (batch, rows x columns, features).

        *channels* (batch, codec_channels, rows, columns) are rounded latents, *arrived* (batch,
        codec_channels) ones and zeros, *picture* (batch, rows x columns, in_channels) packed latents of the
        synthesis. Where nothing arrived all three are taken as zero, but for a *picture* that is *shown* (batch,) all
        the same: a reference that came without channels.
        """
        mask = arrived[:, :, None, None].to(channels.dtype)
        scaled = channels * mask * self.channel_scale.to(channels)[:, None, None]
        maps = torch.cat((scaled, mask.expand_as(scaled)), 1).flatten(2).transpose(1, 2)
        some = (arrived.any(1) if shown is None else shown)[:, None, None]
        return torch.cat((maps, picture * some), 2)


@dataclass
class Parts:
    """What a generator is made of."""

    transformer: Any
    controlnet: Any
    vae: Any
    scheduler: Any
    preview: Any = None
    """An AutoencoderTiny that decodes in place of the VAE, or None."""
    control_mode: int | None = None
    """What a union ControlNet is told it is shown; None for any other."""
    cache: Literal["none", "first_block", "taylorseer"] = "none"
    cache_threshold: float = 0.0
    offloaded: bool = False
    """Whether layers visit the device one by one, in the order of whole forward passes."""

    @classmethod
    def from_pretrained(
        cls, folders: dict[str, Path], dtype: torch.dtype, profile: ProfileConfig | None = None
    ) -> "Parts":
        """Return the parts, each from its folder in *folders* by its name here, set up as *profile* says.

        Nothing is downloaded. Raise ModelMissingError where a folder is not there or does not hold its part,
        or where an optional package is not installed.
        """
        profile = profile or ProfileConfig()
        quiet()
        weights: dict[str, Any] = {"torch_dtype": dtype}
        packed = weights | _quantization(profile.quantize, dtype)
        transformer = load_part([FluxTransformer2DModel], folders["transformer"], packed)
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # diffusers, of its own import
            controlnet = _load_control(folders["controlnet"], packed, profile.control)
        if profile.lora is not None:
            _add_lora(transformer, Path(profile.lora), profile.lora_scale, profile.quantize)
        if profile.quantize == "fp8_storage":
            for model in (transformer, controlnet):
                model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
        vae = load_part([AutoencoderKL], folders["vae"], weights)
        if profile.vae_tiles:
            vae.enable_tiling()
        return cls(
            transformer,
            controlnet,
            vae,
            load_part([FlowMatchEulerDiscreteScheduler], folders["scheduler"], {}, "scheduler_config.json"),
            None
            if profile.preview_vae is None
            else load_part([AutoencoderTiny], Path(profile.preview_vae), weights),
            _union_mode(controlnet, folders["controlnet"], profile.control_mode),
            profile.cache,
            profile.cache_threshold,
        )

    def to(self, device: torch.device, offload: bool = False) -> "Parts":
        """Move the models; return the same parts.

        With *offload* transformer and ControlNet stay in main memory, and each layer visits *device* when it is
        its turn.
        """
        self.offloaded = offload
        for model in (self.transformer, self.controlnet):
            if offload:
                # The stream fetches the next layer ahead, but only knows the order of whole forward passes.
                ahead = device.type == "cuda" and self.cache != "first_block"
                model.enable_group_offload(device, offload_type="leaf_level", use_stream=ahead)
            else:
                model.to(device)
        for model in (self.vae, self.preview):
            if model is not None:
                model.to(device)
        return self

    def hasten(self, compiled: bool) -> "Parts":
        """Hook in TaylorSeer where `cache` says so, compile the blocks where *compiled*; return the same parts."""
        if self.cache == "taylorseer":
            seer: Any = diffusers.TaylorSeerCacheConfig
            self.transformer.enable_cache(seer(taylor_factors_dtype=self.transformer.dtype))
        if compiled:
            compile_blocks([self.transformer, self.controlnet])
        return self

    def takes_channels(self) -> bool:
        """Whether the ControlNet is shown channels (`ChannelControlNet`), not a picture's latents."""
        return isinstance(self.controlnet, ChannelControlNet)

    def forget(self) -> None:
        """Drop what TaylorSeer keeps of the steps before."""
        if self.cache == "taylorseer":
            self.transformer._reset_stateful_cache()

    def branch(self, name: str) -> AbstractContextManager[None]:
        """Return the context in which TaylorSeer keeps the steps of the branch of guidance *name*."""
        context: AbstractContextManager[None] = self.transformer.cache_context(name)
        return context


def _load_control(folder: Path, options: dict[str, Any], wanted: str) -> Any:
    """Return the ControlNet in *folder*, of the class that its config names, if that is what is *wanted*."""
    kinds = {"channels": [ChannelControlNet], "picture": [FluxControlNetModel]}
    control = load_part(kinds.get(wanted, [ChannelControlNet, FluxControlNetModel]), folder, options)
    if control.input_hint_block is not None:
        raise ModelMissingError(
            f"{folder}: this ControlNet takes pixels; one that takes latents was expected"
        )
    return control


def _union_mode(controlnet: Any, folder: Path, mode: str) -> int | None:
    if isinstance(controlnet, ChannelControlNet) or not controlnet.union:
        return None
    if UNION_MODES[mode] >= controlnet.config.num_mode:
        raise UsageError(f"profile.control_mode {mode}: {folder} has {controlnet.config.num_mode} modes only")
    return UNION_MODES[mode]


def quiet() -> None:
    """Keep diffusers' bars and remarks out of the way: what matters is checked in `load_part`."""
    diffusers.utils.logging.disable_progress_bar()
    # It warns of settings that ChannelControlNet inherits.
    diffusers.utils.logging.set_verbosity_error()


def load_part(
    kinds: list[Any],
    folder: Path,
    options: dict[str, Any],
    config: str = "config.json",
    key: str | None = "_class_name",
) -> Any:
    """Return the model in *folder*, of the one of *kinds* that its *config* names at *key*, with all its weights.

    *key* None: the first of *kinds*, whatever is named. Raise ModelMissingError where it is not there, or not whole.
    """
    names = " or ".join(kind.__name__ for kind in kinds)
    if not folder.is_dir():
        raise ModelMissingError(f"{folder}: no such folder; a {names} was expected there{pull_hint(folder)}")
    try:
        held = json.loads((folder / config).read_text())
        named = kinds[0].__name__ if key is None else held.get(key)
        named = named[0] if isinstance(named, list) and named else named
        # diffusers would make any class of any folder, with random weights where names differ.
        kind = next((kind for kind in kinds if kind.__name__ == named), None)
        if kind is None:
            raise ModelMissingError(f"{folder}: a {names} was expected there, but it holds a {named}")
        if not issubclass(kind, nn.Module):
            return load_settings(kind, folder, **options)
        return load_weights(kind, folder, **options)
    except ModelMissingError:
        raise
    except Exception as error:  # safetensors and the quantisers raise their own kinds
        raise ModelMissingError(f"{folder}: no usable {names}: {first_line(error)}") from None


def _quantization(name: str, dtype: torch.dtype) -> dict[str, Any]:
    """Return what makes diffusers quantise while it loads."""
    if name == "nf4":
        require("bitsandbytes", "profile.quantize nf4")
        kind: Any = diffusers.BitsAndBytesConfig
        own = kind(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
        return {"quantization_config": own}
    if name in ("int8", "fp8"):
        require("torchao", f"profile.quantize {name}")
        quantization = importlib.import_module("torchao.quantization")
        kinds = {"int8": "Int8WeightOnlyConfig", "fp8": "Float8DynamicActivationFloat8WeightConfig"}
        own = diffusers.TorchAoConfig(getattr(quantization, kinds[name])())  # type: ignore[no-untyped-call]
        return {"quantization_config": own}
    return {}


def _add_lora(transformer: Any, path: Path, scale: float, quantize: str) -> None:
    """Merge the LoRA at *path* into the weights, or, where they are quantised, set it beside them by peft."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if len(files) != 1 or not files[0].is_file():
        raise ModelMissingError(f"profile.lora {path}: one .safetensors file was expected there")
    beside = quantize not in ("none", "fp8_storage")
    if beside:
        require("peft", "profile.lora with quantised weights")
    try:
        with safe_open(files[0], "pt") as held:
            # diffusers drops these without a word
            names = [name for name in held.keys() if "dora_scale" in name or name.startswith(TEXT_ENCODERS)]
        refuse_unmerged(names)
        # diffusers knows the layouts of half a dozen trainers
        weights, alphas, note = FluxLoraLoaderMixin.lora_state_dict(
            str(files[0]), return_alphas=True, return_lora_metadata=True, local_files_only=True, use_safetensors=True
        )  # fmt: skip
        if beside:
            FluxLoraLoaderMixin.load_lora_into_transformer(
                weights, alphas, transformer, adapter_name=LORA, metadata=note
            )
            transformer.set_adapters(LORA, weights=scale)
        else:
            merge_lora(transformer, weights, alphas or {}, (note or {}).get("transformer.lora_alpha"), scale)
    except Exception as error:  # as above
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelMissingError(f"{files[0]}: no LoRA for this transformer: {line}") from None
