"""Pictures by Stable Diffusion 2.1: a UNet steered by a ControlNet, in our own loop of deterministic DDIM steps.

    caption -> OpenCLIP ------------------------.
    latents or picture -> ControlNet -----------+-> UNet -> noise (or velocity) -> DDIM step down to t = 0
    noise   -> z(t = 1) ------------------------'                                  '-> VAE decoder -> picture

The same interface as `receiver.generator.Generator`, and the same noise for the same seed and size. Guidance is
classifier-free, against the empty text (Ho and Salimans 2022), 1 for none; steps are those of Song et al. 2021 with
eta 0. What steers is the latents that a codec sent, or those of its synthesis (`LatentControlNet`, IRControlNet's
kind), or the picture (`ControlNetModel`).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from link.frame import Pixels
from link.seeds import generator as seeded
from link.threads import one_thread
from receiver.conditioning import Conditioning
from receiver.device import how_many_fit
from receiver.generator import Sampling, decode, encode, encode_again, to_array, to_picture, to_pixels
from receiver.sd_parts import LENGTH, SdParts, watch_attention
from receiver.text_encoder import word_places
from receiver.transform import Synthesis

Control = tuple[Tensor | None, Tensor]
"""What the ControlNet is shown, and the factor on its answer for each picture, shape (batch,)."""


class Diffusion:
    """Draws pictures. Keeps the latents of the last one for `Sampling.strength` below 1."""

    def __init__(self, parts: SdParts, synthesis: Synthesis | None, sampling: Sampling) -> None:
        self._parts, self._synthesis, self._sampling = parts, synthesis, sampling
        self._device, self._dtype = parts.unet.device, parts.unet.dtype
        self._last: Tensor | None = None

    codec_channels = 1
    """As of `receiver.generator.Generator`: it is shown pictures and latents alone."""

    def adjust(self, sampling: Sampling) -> None:
        """Draw as *sampling* says from the next picture on."""
        self._sampling = sampling

    @one_thread()
    @torch.inference_mode()
    def generate(self, conditionings: Sequence[Conditioning]) -> list[Pixels]:
        """Return one picture for each of *conditionings*, all of one size, shape (16 x rows, 16 x columns, 3)."""
        return [to_pixels(picture) for picture in decode(self._parts.vae, self.latents(conditionings))]

    @torch.inference_mode()
    def latents(self, conditionings: Sequence[Conditioning]) -> Tensor:
        """Return what `generate` decodes, shape (pictures, channels, 2 x rows, 2 x columns)."""
        rows, columns = conditionings[0].maps.shape[1:]
        control = self._control(conditionings)
        tokens, blank = (
            self._parts.embed(texts).to(self._dtype)
            for texts in ([item.caption for item in conditionings], [""] * len(conditionings))
        )
        settings, scheduler = self._sampling, self._parts.scheduler
        scheduler.set_timesteps(settings.steps, device=self._device)
        timesteps = scheduler.timesteps
        latents = noise = self._noise_of(rows, columns).expand(len(conditionings), -1, -1, -1)
        if settings.strength < 1.0 and self._last is not None and self._last.shape[1:] == noise.shape[1:]:
            timesteps = timesteps[
                min(len(timesteps) - 1, round(len(timesteps) * (1.0 - settings.strength))) :
            ]
            latents = scheduler.add_noise(self._last.expand_as(noise), noise, timesteps[:1])
        for timestep in timesteps:
            latents = self.step(latents, timestep, tokens, blank, control)
        self._last = latents[-1:]
        return latents

    def step(
        self, latents: Tensor, timestep: Tensor, tokens: Tensor, blank: Tensor, control: Control
    ) -> Tensor:
        """Return *latents* after the step at *timestep*, which the scheduler's `set_timesteps` has named."""
        told = self.predict(latents, timestep, tokens, control)
        if self._sampling.guidance != 1.0:
            plain = self.predict(latents, timestep, blank, control)
            told = plain + self._sampling.guidance * (told - plain)
        after: Tensor = self._parts.scheduler.step(told, timestep, latents, eta=0.0).prev_sample
        return after

    def predict(self, latents: Tensor, timestep: Tensor, tokens: Tensor, control: Control) -> Tensor:
        """Return what the UNet predicts (`scheduler.config.prediction_type`), shape of *latents*, float32."""
        unet, net = self._parts.unet, self._parts.controlnet
        shown, scale = control
        given = latents.to(self._dtype)
        steered = {}
        if shown is not None:
            hint = shown.to(self._dtype)
            own = torch.cat((given, hint), 1) if self._parts.takes_latents() else given
            down, middle = net(
                own, timestep, encoder_hidden_states=tokens, controlnet_cond=hint, return_dict=False
            )
            factor = scale.to(self._dtype)[:, None, None, None]
            steered = {
                "down_block_additional_residuals": [one * factor for one in down],
                "mid_block_additional_residual": middle * factor,
            }
        told: Tensor = unet(given, timestep, encoder_hidden_states=tokens, return_dict=False, **steered)[0]
        return told.float()

    def attention_maps(
        self,
        latents: Tensor,
        timestep: Tensor,
        captions: list[str],
        chosen: Sequence[int],
        control: Control | None = None,
    ) -> Tensor:
        """Return how much each place attends to the *chosen* tokens: (batch, tokens, rows, columns), 0 to 1.

        The mean over heads and layers of the UNet's middle up block, differentiable in *latents*, shape (batch,
        channels, height, width). Raise ValueError for a token that the text does not have.
        """
        with torch.no_grad():
            tokens = self._parts.embed(captions).to(self._dtype)
        if not all(0 <= one < tokens.shape[1] for one in chosen):
            raise ValueError(f"tokens {list(chosen)} of {tokens.shape[1]}")
        with watch_attention(self._parts.unet) as maps:
            self.predict(latents, timestep, tokens, control or (None, torch.zeros(len(latents))))
        wide = torch.promote_types(self._dtype, torch.float32)
        mean = torch.stack([one.to(wide).mean(1) for one in maps]).mean(0)[..., list(chosen)]
        places, (height, width) = mean.shape[1], latents.shape[2:]
        factor = round((height * width / places) ** 0.5)
        shape = (len(mean), len(chosen), -(-height // factor), -(-width // factor))
        return mean.transpose(1, 2).reshape(shape)

    def reference(self, wish: Conditioning) -> NDArray[np.float32] | None:
        """As of `receiver.generator.Generator`."""
        if wish.latent is not None or not wish.arrived.any() or self._synthesis is None:
            return wish.latent
        picture = self._synthesis(wish.maps)[None].to(self._device, self._parts.vae.dtype)
        return to_array(encode(self._parts.vae, picture))

    def look_again(self, latents: Tensor) -> NDArray[np.float32]:
        """As of `receiver.generator.Generator`."""
        return to_array(encode_again(self._parts.vae, latents))

    def see(self, pixels: Pixels) -> NDArray[np.float32]:
        """As of `receiver.generator.Generator`."""
        vae = self._parts.vae
        return to_array(encode(vae, to_picture(pixels).to(self._device, vae.dtype)))

    def picture(self, latents: Tensor) -> Pixels:
        """As of `receiver.generator.Generator`."""
        return to_pixels(decode(self._parts.vae, latents)[0])

    def most_at_once(self, rows: int, columns: int, most: int) -> int:
        """Return how many pictures of rows x columns cells the device's memory has room for together: 1 to *most*."""
        widest = 4 * 2 * min(self._parts.vae.config.block_out_channels) * rows * columns * 256
        heads = self._parts.unet.config.attention_head_dim
        attention = (max(heads) if isinstance(heads, list | tuple) else heads) * (4 * rows * columns) ** 2
        return how_many_fit(self._device, (widest + attention) * self._parts.vae.dtype.itemsize, most)

    def _control(self, conditionings: Sequence[Conditioning]) -> Control:
        """Return what arrived as the ControlNet takes it; pictures of which nothing did are not steered."""
        some = torch.tensor([item.latent is not None or bool(item.arrived.any()) for item in conditionings])
        scale = (self._sampling.control_scale * some).to(self._device)
        if not some.any():
            return None, scale
        shown = torch.stack([self._shown(item) for item in conditionings])
        return shown, scale

    def _shown(self, item: Conditioning) -> Tensor:
        vae = self._parts.vae
        if item.latent is not None:
            latent = torch.from_numpy(item.latent)[None].to(self._device, vae.dtype)
            return latent[0] if self._parts.takes_latents() else decode(vae, latent)[0].clamp(0, 1)
        if self._synthesis is None:
            raise ValueError("channels without the transform that they are of")
        picture = self._synthesis(item.maps)[None].to(self._device, vae.dtype)
        return encode(vae, picture)[0] if self._parts.takes_latents() else picture[0]

    def _noise_of(self, rows: int, columns: int) -> Tensor:
        """The same noise for every picture of a size: a still scene stays still."""
        rng = seeded(self._sampling.seed, f"noise/{rows}x{columns}")
        shape = (1, self._parts.unet.config.in_channels, 2 * rows, 2 * columns)
        return torch.from_numpy(rng.standard_normal(shape, np.float32)).to(self._device)


class DiffusionCourse:
    """The way of one picture as `receiver.guidance` takes it; see `GuidedCourse` there."""

    def __init__(self, generator: Diffusion, wish: Conditioning, steps: int) -> None:
        self._generator, self._caption, self.steps = generator, wish.caption, steps
        self._parts = generator._parts
        self._control = generator._control([wish])
        self._tokens, self._blank = (
            self._parts.embed([text]).to(generator._dtype) for text in (wish.caption, "")
        )
        self._noise = generator._noise_of(*wish.maps.shape[1:])
        self._parts.scheduler.set_timesteps(steps, device=generator._device)
        self._timesteps = self._parts.scheduler.timesteps

    def start(self) -> Tensor:
        """Return the noise that it starts from."""
        return self._noise

    def noised(self, latents: Tensor, at: int) -> Tensor:
        """Return what clean *latents* are before step *at*."""
        if at == self.steps:
            return latents
        made: Tensor = self._parts.scheduler.add_noise(latents, self._noise, self._timesteps[at : at + 1])
        return made

    def step(self, latents: Tensor, at: int) -> Tensor:
        """Return *latents* after step *at*."""
        return self._generator.step(latents, self._timesteps[at], self._tokens, self._blank, self._control)

    def attention(self, latents: Tensor, at: int, words: str) -> Tensor:
        """Return the cross-attention of the middle up block: (tokens, rows, columns)."""
        length = min(LENGTH, int(self._parts.tokenizer.model_max_length))
        chosen = word_places(self._parts.tokenizer, self._caption, words, length)
        maps = self._generator.attention_maps(
            latents, self._timesteps[at], [self._caption], chosen, self._control
        )
        return maps[0]
