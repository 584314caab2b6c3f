"""The tiny base: a FLUX transformer with its text encoders, trained together from nothing.

Conditional flow matching on the VAE's latents (Lipman et al. 2023; the straight path of Liu et al. 2022):
z_t = (1 - t) z + t noise, the velocity noise - z is learned, t uniform. Captions come from the labels by the
captioner's own grammar and are left out one time in ten.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from link.bitstream.grammar import vocabulary
from link.seeds import generator
from receiver.generator import Flow as Steered
from receiver.generator import decode, pack, unpack
from receiver.parts import Parts
from receiver.text_encoder import TextEncoder, embed
from scenarios.training.autoencoder import grid
from scenarios.training.examples import Examples
from scenarios.training.loop import Losses
from scenarios.training.request import load

LENGTH = 32
"""Tokens of a caption, filled up."""
LATER = "crater ridge dust hill night moon seafloor water habitat antenna wheel".split()
"""Words that captions do not use yet, with rows of their own in the embedding tables."""
NO_CAPTION = 0.1
SAMPLES = 6


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of the grammar's words; any other word is <unk>."""
    special = ["<pad>", "<unk>", "<bos>", "<eos>"]
    words = {word: at for at, word in enumerate([*special, *sorted({*vocabulary(), *LATER})])}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(",", " ")])
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", words["<bos>"]), ("<eos>", words["<eos>"])]
    )
    kind: Any = PreTrainedTokenizerFast
    finished: PreTrainedTokenizerFast = kind(
        tokenizer_object=made,
        model_max_length=LENGTH,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
    )
    return finished


def build_text() -> TextEncoder:
    """Return untrained text encoders of tiny size."""
    tokens = tokenizer()
    size = len(tokens)
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=size,
            d_model=128,
            d_kv=32,
            d_ff=256,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=3,
        )
    )
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=size,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=LENGTH,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
        )
    )
    return TextEncoder(clip, tokens, t5, tokens, LENGTH)


def extend_vocabulary(encoder: TextEncoder) -> TextEncoder:
    """Return *encoder* with untrained rows for the words of the grammar that it does not know yet."""
    old, _ = encoder.tokenizers()
    new = build_text()
    words, known = new.tokenizers()[0].get_vocab(), old.get_vocab()
    if words == known:
        return encoder
    for mine, theirs in zip(new.modules(), encoder.modules(), strict=True):
        own = mine.state_dict()
        for key, value in theirs.state_dict().items():
            if value.shape == own[key].shape and len(value) != len(known):
                own[key].copy_(value)
                continue
            for word, row in words.items():
                if word in known:
                    own[key][row] = value[known[word]]
    return new


def build_transformer(channels: int) -> Any:
    """Return an untrained FLUX transformer of 160 features for *channels* latent channels, packed 2x2.

    2 double and 4 single blocks, 3.6 million weights: on a laptop it sees ten times as many pictures as one of 256.
    """
    kind: Any = FluxTransformer2DModel
    return kind(
        patch_size=1,
        in_channels=4 * channels,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=32,
        num_attention_heads=5,
        joint_attention_dim=128,
        pooled_projection_dim=64,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )


class BaseFlow:
    """Trains transformer and text encoders."""

    name = "flow"

    def __init__(
        self,
        examples: Examples,
        held_out: Examples,
        vae: Any,
        batch: int,
        start: dict[str, Path] | None = None,
    ) -> None:
        self._examples, self._held_out, self._vae, self._batch = examples, held_out, vae, batch
        if start is None:
            self.text, transformer = build_text(), build_transformer(vae.config.latent_channels)
        else:
            self.text = extend_vocabulary(TextEncoder.from_pretrained(start, torch.float32))
            transformer = load(FluxTransformer2DModel, start["transformer"], torch_dtype=torch.float32)
        clip, t5 = self.text.modules()
        self.modules = nn.ModuleDict({"transformer": transformer, "text_encoder": clip, "text_encoder_2": t5})
        self.modules.requires_grad_(True).train()

    def to(self, device: torch.device) -> None:
        """Move what is used but not trained."""
        self._vae.to(device)

    def loss(self, rng: np.random.Generator, progress: float) -> tuple[Tensor, Losses]:
        """Return the mean squared error of the velocity."""
        picks = torch.from_numpy(rng.integers(len(self._examples), size=self._batch))
        error = self._error(self._examples, picks, rng, NO_CAPTION)
        return error.mean(), {"loss": error.mean().item()}

    def _error(
        self, examples: Examples, picks: Tensor, rng: np.random.Generator, no_caption: float
    ) -> Tensor:
        transformer: Any = self.modules["transformer"]
        device = transformer.device
        clean = pack(examples.latents[picks].float()).to(device)
        captions = ["" if rng.random() < no_caption else examples.captions[at] for at in picks.tolist()]
        tokens, pooled = embed(self.text, captions)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32)).to(device)
        time = torch.from_numpy(rng.uniform(0, 1, len(clean)).astype(np.float32)).to(device)
        noisy = torch.lerp(clean, noise, time[:, None, None])
        rows, columns = (side // 2 for side in examples.latents.shape[2:])
        flow = Steered(Parts(transformer, None, None, None), 1.0, rows, columns)
        velocity = flow(noisy, time, tokens, pooled, None, None)
        return (velocity.float() - (noise - clean)).square().flatten(1).mean(1)

    def save(self, folder: Path) -> None:
        """Write the parts in the layout that the receiver loads."""
        save_text(self.text, folder)
        transformer: Any = self.modules["transformer"]
        transformer.save_pretrained(folder / "transformer")
        scheduler: Any = FlowMatchEulerDiscreteScheduler
        scheduler(num_train_timesteps=1000, shift=1.0).save_pretrained(folder / "scheduler")

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> Losses:
        """Write pictures drawn from held-out captions alone; return the loss on held-out examples."""
        rng = generator(0, "held-out")
        errors = [
            self._error(self._held_out, torch.arange(at, min(at + 16, len(self._held_out))), rng, 0.0)
            for at in range(0, len(self._held_out), 16)
        ]
        tokens, pooled = embed(self.text, self._held_out.captions[:SAMPLES])
        rows, columns = (side // 2 for side in self._held_out.latents.shape[2:])
        flow = Steered(Parts(self.modules["transformer"], None, None, None), 1.0, rows, columns)
        features = 4 * self._held_out.latents.shape[1]
        drawn = rng.standard_normal((SAMPLES, rows * columns, features), np.float32)
        latents = torch.from_numpy(drawn).to(tokens.device)
        steps = 16
        for at in range(steps, 0, -1):
            time = torch.full((SAMPLES,), at / steps, device=tokens.device)
            latents = latents - flow(latents, time, tokens, pooled, None, None).float() / steps
        truth = decode(self._vae, self._held_out.latents[:SAMPLES].float().to(tokens.device))
        grid(torch.cat((truth, decode(self._vae, unpack(latents, rows, columns)))), SAMPLES).save(
            folder / f"{step:06d}.png"
        )
        return {"val_loss": float(torch.cat(errors).mean())}


def save_text(text: TextEncoder, folder: Path) -> None:
    """Write both text encoders and their tokenizers under *folder*."""
    clip, t5 = text.modules()
    clip.save_pretrained(folder / "text_encoder")
    t5.save_pretrained(folder / "text_encoder_2")
    for name, tokens in zip(("tokenizer", "tokenizer_2"), text.tokenizers(), strict=True):
        tokens.save_pretrained(folder / name)
