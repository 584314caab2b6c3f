"""Pictures from captions and channels: FLUX's rectified flow, steered by a ControlNet, in our own loop.

    caption  -> T5, CLIP -----------------------------.
    channels -> sparse map, mask, synthesis -> VAE ---+-> ControlNet -> first M double, first S single blocks
    noise    -> z(t = 1) -> Euler steps down to t = 0 <------------------------------ velocity, transformer
                            '-> VAE decoder -> picture

`FluxControlNetPipeline` takes control pictures only and spreads the control over all blocks by an interval
rule; GSC adds it to the first blocks (arXiv 2510.27324, Section 3.3): `first_blocks`. A published ControlNet is
shown the synthesis as a picture instead, and is spread by the rule it was trained with: `by_intervals`.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from link.frame import Pixels
from link.seeds import generator as seeded
from link.threads import one_thread
from receiver.acceleration import FirstBlockCache, Residuals
from receiver.conditioning import Conditioning
from receiver.course import Course, usable
from receiver.device import how_many_fit
from receiver.parts import Parts
from receiver.text_encoder import TextEncoder
from receiver.transform import Synthesis


@dataclass(frozen=True)
class Sampling:
    """How pictures are drawn."""

    steps: int = 8
    guidance: float = 1.0
    """FLUX.1-dev's distilled guidance where the transformer has it; else classifier-free, 1 for none."""
    control_scale: float = 1.0
    strength: float = 1.0
    """Share of the way back to noise from which a frame starts, at the last frame's latents; 1: pure noise."""
    seed: int = 1


class Generator:
    """Draws pictures. Keeps the latents of the last one for `Sampling.strength` below 1."""

    def __init__(
        self, parts: Parts, text: TextEncoder, synthesis: Synthesis | None, sampling: Sampling
    ) -> None:
        self.parts = self._parts = parts
        self.text = self._text = text
        self._synthesis = synthesis
        self._sampling = sampling
        self._device = parts.transformer.device
        self._dtype = parts.transformer.dtype
        self._last: Tensor | None = None
        self._noise: dict[tuple[int, int], Tensor] = {}
        self.skipped = 0
        """Steps that the first-block cache spared in the last call."""

    def adjust(self, sampling: Sampling) -> None:
        """Draw as *sampling* says from the next picture on."""
        if sampling.seed != self._sampling.seed:
            self._noise.clear()
        self._sampling = sampling

    @one_thread()
    @torch.inference_mode()
    def generate(self, conditionings: Sequence[Conditioning]) -> list[Pixels]:
        """Return one picture for each of *conditionings*, all of one size, shape (16 x rows, 16 x columns, 3).

        The same seed and conditioning give the same picture. With `strength` below 1 the batch is drawn
        from the picture drawn last before it.
        """
        vae = self._parts.preview or self._parts.vae
        return [to_pixels(picture) for picture in decode(vae, self.latents(conditionings))]

    @torch.inference_mode()
    def latents(self, conditionings: Sequence[Conditioning]) -> Tensor:
        """Return what `generate` decodes, shape (pictures, channels, 2 x rows, 2 x columns)."""
        rows, columns = conditionings[0].maps.shape[1:]
        control, scale = self._control(conditionings)
        flow = Flow(self._parts, scale, rows, columns)
        latents = self._sample(flow, control, [item.caption for item in conditionings], rows, columns)
        self._last, self.skipped = latents[-1:], flow.skipped()
        return unpack(latents, rows, columns)

    def most_at_once(self, rows: int, columns: int, most: int) -> int:
        """Return how many pictures of rows x columns tokens the device's memory has room for together: 1 to *most*."""
        return how_many_fit(self._device, working_bytes(self._parts, rows, columns), most)

    def _control(self, conditionings: Sequence[Conditioning]) -> tuple[Tensor | None, float | Tensor]:
        """Return what the ControlNet is shown, and the factor on what it answers.

        A ChannelControlNet has learned that nothing may have arrived; any other would take the grey synthesis of
        nothing for a grey picture, and is not asked.
        """
        arrived = torch.from_numpy(np.stack([item.arrived for item in conditionings])).to(self._device)
        some = arrived.any(1)
        scale = self._sampling.control_scale
        sent = torch.tensor([item.latent is not None for item in conditionings], device=self._device)
        some = some | sent
        if not self._parts.takes_channels() and not some.any():
            return None, scale
        packed = pack(torch.cat([self._shown(item) for item in conditionings]))
        if not self._parts.takes_channels():
            return packed, scale * some.to(self._dtype)[:, None, None]
        maps = torch.from_numpy(np.stack([item.maps for item in conditionings])).float()
        return self._parts.controlnet.control(
            maps.to(self._device, self._dtype), arrived, packed, some
        ), scale

    def _shown(self, item: Conditioning) -> Tensor:
        """Return the latents (1, channels, height, width) of what is known of a picture without any caption."""
        if item.latent is not None:
            return torch.from_numpy(item.latent)[None].to(self._device, self._dtype)
        if self._synthesis is None:
            shape = (1, self._parts.vae.config.latent_channels, *(2 * side for side in item.maps.shape[1:]))
            return torch.zeros(shape, device=self._device, dtype=self._dtype)
        picture = self._synthesis(item.maps)[None]
        return encode(self._parts.vae, picture.to(self._device, self._dtype))

    def _sample(
        self, flow: "Flow", control: Tensor | None, captions: list[str], rows: int, columns: int
    ) -> Tensor:
        settings = self._sampling
        course = self._course(flow, control, captions, rows, columns, settings.steps)
        first, latents = 0, course.noise
        if settings.strength < 1.0 and self._last is not None and self._last.shape[1:] == latents.shape[1:]:
            first = min(course.steps - 1, round(course.steps * (1.0 - settings.strength)))
            latents = course.noised(self._last, first)
        # The latents stay in float32: eight roundings to bfloat16 show.
        latents = latents.float()
        for at in range(first, course.steps):
            latents = course.step(latents, at)
        return latents

    def _course(
        self,
        flow: "Flow",
        control: Tensor | None,
        captions: list[str],
        rows: int,
        columns: int,
        steps: int,
    ) -> Course:
        """Return the way of some pictures, of *captions*, from noise to latents in *steps* steps."""
        count, settings = len(captions), self._sampling
        embedded = self._parts.transformer.config.guidance_embeds
        free = not embedded and settings.guidance != 1.0
        texts = [self._embed(captions), self._embed([""] * count)] if free else [self._embed(captions)]
        told = torch.full((count,), settings.guidance, device=self._device) if embedded else None
        noise = usable(self._noise_of(rows, columns)).expand(count, -1, -1)
        return Course(
            flow, control, texts, told, settings.guidance, *self._schedule(rows * columns, steps), noise
        )

    def _embed(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        tokens, pooled = self._text.encode(captions)
        return usable(tokens.to(self._device, self._dtype)), usable(pooled.to(self._device, self._dtype))

    def course(self, wish: Conditioning, steps: int) -> Course:
        """Return the way of one picture in *steps* steps, for `receiver.stages`."""
        rows, columns = wish.maps.shape[1:]
        control, scale = self._control([wish])
        flow = Flow(self._parts, scale, rows, columns)
        return self._course(flow, control, [wish.caption], rows, columns, steps)

    def reference(self, wish: Conditioning) -> NDArray[np.float32] | None:
        """Return the latents of the picture that arrived for *wish*, as `Conditioning.latent`; None for none."""
        if wish.latent is None and not wish.arrived.any():
            return None
        return to_array(self._shown(wish))

    def look_again(self, latents: Tensor) -> NDArray[np.float32]:
        """Return the latents of the picture that *latents* are decoded to (Algorithm 1's line 3)."""
        return to_array(encode_again(self._parts.vae, latents))

    @property
    def codec_channels(self) -> int:
        """How many channels of a codec it is shown; 1 where it knows none, and is shown zeros."""
        return int(self._parts.controlnet.config.codec_channels) if self._parts.takes_channels() else 1

    def see(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return the latents of *pixels* in whole cells, as `Conditioning.latent`."""
        return to_array(encode(self._parts.vae, to_picture(pixels).to(self._device, self._dtype)))

    def picture(self, latents: Tensor) -> Pixels:
        """Return the picture of one picture's *latents*."""
        return to_pixels(decode(self._parts.preview or self._parts.vae, latents)[0])

    def _schedule(self, tokens: int, steps: int) -> tuple[Tensor, Tensor]:
        """Return timesteps (0 to 1000) and the noise shares before and after each, as the scheduler sets them."""
        scheduler = self._parts.scheduler
        options = {}
        if scheduler.config.use_dynamic_shifting:
            config = scheduler.config
            slope = (config.max_shift - config.base_shift) / (
                config.max_image_seq_len - config.base_image_seq_len
            )
            options["mu"] = config.base_shift + slope * (tokens - config.base_image_seq_len)
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps), device=self._device, **options)
        return scheduler.timesteps, scheduler.sigmas

    def _noise_of(self, rows: int, columns: int) -> Tensor:
        """The same noise for every picture of a size: a still scene stays still."""
        if (rows, columns) not in self._noise:
            features = self._parts.transformer.config.in_channels
            self._noise[rows, columns] = draw_noise(self._sampling.seed, rows, columns, features).to(
                self._device
            )
        return self._noise[rows, columns]


def draw_noise(seed: int, rows: int, columns: int, features: int) -> Tensor:
    """Return the noise that pictures of a size are drawn from, shape (1, rows x columns, features)."""
    rng = seeded(seed, f"noise/{rows}x{columns}")
    return torch.from_numpy(rng.standard_normal((1, rows * columns, features), np.float32))


class Flow:
    """The velocity of the steered flow at one size, for the steps of one picture or batch."""

    def __init__(self, parts: Parts, scale: float | Tensor, rows: int, columns: int) -> None:
        self._parts, self._scale = parts, scale
        self._places = positions(rows, columns).to(parts.transformer.device)
        self._caches: dict[str, FirstBlockCache] = {}
        parts.forget()

    def __call__(
        self,
        latents: Tensor,
        time: Tensor,
        tokens: Tensor,
        pooled: Tensor,
        control: Tensor | None,
        guidance: Tensor | None,
        branch: str = "steered",
    ) -> Tensor:
        """Return the velocity, shape of *latents* (batch, rows x columns, features); *time* is 0 to 1.

        Caches keep the branches of classifier-free guidance apart by *branch*.
        """
        parts = self._parts
        inputs = {
            "hidden_states": latents,
            "encoder_hidden_states": tokens,
            "pooled_projections": pooled,
            "timestep": time,
            "img_ids": self._places,
            "txt_ids": torch.zeros(tokens.shape[1], 3, device=latents.device),
            "guidance": guidance,
        }

        def steer() -> tuple[Residuals, Residuals]:
            return (None, None) if control is None else self._steer(inputs, control)

        if parts.cache == "first_block":
            cache = self._caches.setdefault(branch, FirstBlockCache(parts.cache_threshold))
            return cache(parts.transformer, inputs, steer)
        double, single = steer()
        with parts.branch(branch) if parts.cache == "taylorseer" else nullcontext():
            velocity: Tensor = parts.transformer(
                **inputs,
                controlnet_block_samples=double,
                controlnet_single_block_samples=single,
                return_dict=False,
            )[0]
        return velocity

    def skipped(self) -> int:
        """Return how many steps the first-block cache has spared so far."""
        return sum(cache.skipped for cache in self._caches.values())

    def _steer(self, inputs: dict[str, Any], control: Tensor) -> tuple[Residuals, Residuals]:
        """Return what the ControlNet adds after each block."""
        controlnet, transformer, mode = (
            self._parts.controlnet,
            self._parts.transformer,
            self._parts.control_mode,
        )
        own = dict(inputs)
        if not controlnet.config.guidance_embeds:
            own["guidance"] = None
        if mode is not None:
            own["controlnet_mode"] = torch.full((len(control), 1), mode, device=control.device)
        double, single = controlnet(
            controlnet_cond=control, conditioning_scale=self._scale, return_dict=False, **own
        )
        spread = first_blocks if self._parts.takes_channels() else by_intervals
        return (
            spread(double, len(transformer.transformer_blocks)),
            spread(single, len(transformer.single_transformer_blocks)),
        )


def first_blocks(samples: Sequence[Tensor] | None, blocks: int) -> list[Tensor | float] | None:
    """Pad the control's outputs with zeros, so that each goes to the block of its own number."""
    if not samples:
        return None
    return [*samples, *[0.0] * (blocks - len(samples))]


def by_intervals(samples: Sequence[Tensor] | None, blocks: int) -> list[Tensor | float] | None:
    """Give each of the control's outputs to several blocks on end: published ControlNets were trained so."""
    if not samples:
        return None
    interval = -(-blocks // len(samples))
    return [samples[number // interval] for number in range(blocks)]


def working_bytes(parts: Parts, rows: int, columns: int) -> int:
    """Return about how much memory one picture of rows x columns tokens takes while it is drawn, weights apart.

    Counted are the widest layers: four maps of the VAE's last stage at the picture's size (or a tile's, where it has
    tiles), and sixteen numbers a token and feature of a transformer block (its MLP's four, queries, keys, values,
    attention, gates, sums). An estimate: what is larger all the same is drawn in smaller batches.
    """
    vae, config = parts.preview or parts.vae, parts.transformer.config
    pixels = rows * columns * 256
    if getattr(vae, "use_tiling", False):
        pixels = min(pixels, vae.tile_sample_min_size**2)
    widths = getattr(vae.config, "block_out_channels", None) or vae.config.decoder_block_out_channels
    maps = 4 * 2 * min(widths) * pixels * vae.dtype.itemsize
    features = config.num_attention_heads * config.attention_head_dim
    blocks = 16 * features * rows * columns * parts.transformer.dtype.itemsize
    return int(maps + blocks)


def positions(rows: int, columns: int) -> Tensor:
    """Return FLUX's position of each token, shape (rows x columns, 3): 0, row, column."""
    places = torch.zeros(rows, columns, 3)
    places[..., 1] = torch.arange(rows)[:, None]
    places[..., 2] = torch.arange(columns)[None, :]
    return places.flatten(0, 1)


def pack(latents: Tensor) -> Tensor:
    """Make one token of each 2x2 latents: (batch, c, 2 rows, 2 columns) -> (batch, rows x columns, 4 c)."""
    batch, channels, height, width = latents.shape
    cells = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(batch, height // 2 * (width // 2), channels * 4)


def unpack(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Undo `pack`."""
    cells = tokens.view(len(tokens), rows, columns, -1, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(len(tokens), -1, 2 * rows, 2 * columns)


def encode(vae: torch.nn.Module, pictures: Tensor) -> Tensor:
    """Return the normalised latents of *pictures* (batch, 3, height, width), 0 to 1."""
    config = vae.config
    latents: Tensor = vae.encode(pictures * 2 - 1).latent_dist.mode()  # type: ignore[operator]
    return (latents - (config.shift_factor or 0.0)) * config.scaling_factor  # type: ignore[union-attr, operator]


def decode(vae: torch.nn.Module, latents: Tensor) -> Tensor:
    """Return pictures (batch, 3, height, width), about 0 to 1, of normalised latents."""
    config = vae.config
    raw = latents / config.scaling_factor + (config.shift_factor or 0.0)  # type: ignore[union-attr, operator]
    pictures: Tensor = vae.decode(raw.to(vae.dtype)).sample  # type: ignore[operator, arg-type]
    return pictures.float() / 2 + 0.5


def encode_again(vae: torch.nn.Module, latents: Tensor) -> Tensor:
    """Return the normalised latents of the picture that *latents* are decoded to."""
    return encode(vae, decode(vae, latents).clamp(0, 1).to(vae.dtype))  # type: ignore[arg-type]


def to_picture(pixels: Pixels) -> Tensor:
    """Return *pixels* (height, width, 3) as (1, 3, height, width), 0 to 1."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255.0


def to_array(latents: Tensor) -> NDArray[np.float32]:
    """Return one picture's *latents*, shape (1, channels, height, width), without the first axis."""
    return np.asarray(latents[0].float().cpu().numpy())


def to_pixels(picture: Tensor) -> NDArray[np.uint8]:
    """Return (3, height, width), 0 to 1, as (height, width, 3) uint8."""
    return np.asarray((picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
