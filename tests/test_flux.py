"""What the flux profile adds: control by pictures, caches, LoRAs, the tiny VAE, offloading, quantised weights."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fluxes
import numpy as np
import pytest
import torch
from fluxes import COLUMNS, ROWS, apart, wish
from safetensors.torch import save_file

from link.bitstream import text
from link.errors import ModelMissingError, UsageError
from link.fingerprint import fingerprint
from link.frame import Payload
from receiver import parts as parts_module
from receiver.acceleration import FirstBlockCache, compile_blocks
from receiver.codecs.gsc import GscDecoder, part_folders
from receiver.conditioning import Conditioning
from receiver.generator import Flow, Sampling, decode, working_bytes
from receiver.parts import Parts

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    fluxes.build(folder)
    return folder


@pytest.fixture(autouse=True)
def pulled(home, monkeypatch):
    monkeypatch.setenv("FARLINK_MODELS", str(home))


def load(home, **profile):
    session = fluxes.session(
        {name: str(value) if "/" in str(value) else value for name, value in profile.items()}
    )
    parts = Parts.from_pretrained(part_folders(session), torch.float32, session.profile)
    return parts.to(CPU, session.profile.offload).hasten(session.profile.compile)


def inputs(parts, count=1, rows=ROWS, columns=COLUMNS):
    torch.manual_seed(3)
    tokens = rows * columns
    width = 2 * fluxes.CHANNELS + 64 if parts.takes_channels() else 64
    return {
        "latents": torch.randn(count, tokens, 64),
        "time": torch.full((count,), 0.6),
        "tokens": torch.randn(count, 12, 24),
        "pooled": torch.randn(count, 16),
        "control": torch.randn(count, tokens, width),
        "guidance": torch.full((count,), 3.5),
    }


def draw(home, steps=3, wishes=None, **profile):
    session = fluxes.session(
        {name: str(value) if "/" in str(value) else value for name, value in profile.items()}
    )
    decoder = GscDecoder.from_session(session)
    decoder._generator._sampling = Sampling(steps=steps, guidance=3.5)
    return decoder._generator.generate(wishes or [wish()])


# Control by the synthesis as a picture


def test_a_pulled_profile_works_without_training(home):
    """No ControlNet of channels: what `models pull` leaves takes the synthesis as a control picture."""
    picture = draw(home)[0]
    assert picture.shape == (48, 80, 3)
    assert apart(draw(home, wishes=[wish(4)])[0], picture) > 0, "the synthesis steers"


def test_picture_control_is_spread_as_in_diffusers_own_pipeline(home, monkeypatch):
    """Our loop and FluxControlNetPipeline draw the same picture from the same noise, picture and caption."""
    from diffusers import FluxControlNetPipeline
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution as Drawn

    # The pipeline draws the control picture's latents from the VAE's distribution; here it is their mode.
    monkeypatch.setattr(Drawn, "sample", lambda self, generator=None: self.mode())
    session = fluxes.session()
    decoder = GscDecoder.from_session(session)
    own: Any = decoder._generator
    own._sampling = Sampling(steps=3, guidance=3.5)
    parts, text = own._parts, own._text
    clip, t5 = text.modules()
    clip_tokens, t5_tokens = text.tokenizers()
    pipeline: Any = FluxControlNetPipeline(
        parts.scheduler, parts.vae, clip, clip_tokens, t5, t5_tokens, parts.transformer, parts.controlnet
    )
    pipeline.set_progress_bar_config(disable=True)
    tokens, pooled = text.encode([wish().caption])
    theirs = pipeline(
        prompt_embeds=tokens,
        pooled_prompt_embeds=pooled,
        control_image=own._synthesis(wish().maps)[None] * 2 - 1,  # tensors are taken as they are
        height=48,
        width=80,
        num_inference_steps=3,
        guidance_scale=3.5,
        latents=own._noise_of(ROWS, COLUMNS).clone(),
        output_type="np",
        generator=torch.Generator().manual_seed(0),
    ).images[0]
    picture = own.generate([wish()])[0]
    assert np.abs(picture / 255.0 - theirs).max() < 1 / 255


def test_nothing_arrived_is_not_a_grey_picture(home):
    parts = load(home)
    assert parts.controlnet.__class__.__name__ == "FluxControlNetModel"
    nothing = draw(home, wishes=[wish(channels=())])[0]
    without = draw(home, wishes=[wish(channels=()), wish()])
    assert apart(nothing, without[0]) <= 1, "also beside one that has something"
    assert apart(without[1], draw(home)[0]) <= 1


def test_a_union_controlnet_is_told_what_it_is_shown(home):
    union = home / "flux" / "union"
    blur, tile = (draw(home, controlnet=union, control_mode=mode)[0] for mode in ("blur", "tile"))
    assert apart(blur, tile) > 0
    assert load(home, controlnet=union, control_mode="low_quality").control_mode == 6
    assert load(home, controlnet=home / "flux" / "channels").control_mode is None


def test_the_kind_of_control_may_be_asked_for(home):
    assert load(home, control="picture").takes_channels() is False
    assert load(home, control="channels", controlnet=home / "flux" / "channels").takes_channels()
    with pytest.raises(
        ModelMissingError, match="ChannelControlNet was expected there, but it holds a FluxControlNet"
    ):
        load(home, control="channels")
    with pytest.raises(
        ModelMissingError, match="FluxControlNetModel was expected there, but it holds a Channel"
    ):
        load(home, control="picture", controlnet=home / "flux" / "channels")


def test_a_union_controlnet_without_the_mode_and_one_of_pixels_are_refused(home, tmp_path):
    from diffusers import FluxControlNetModel

    few: Any = FluxControlNetModel(
        num_layers=1, num_single_layers=0, guidance_embeds=True, num_mode=3, **fluxes.SIZE
    )
    few.save_pretrained(tmp_path / "few")
    with pytest.raises(UsageError, match="3 modes only"):
        load(home, controlnet=tmp_path / "few")
    pixels: Any = FluxControlNetModel(
        num_layers=1, num_single_layers=0, conditioning_embedding_channels=4, **fluxes.SIZE
    )
    pixels.save_pretrained(tmp_path / "pixels")
    with pytest.raises(ModelMissingError, match="takes pixels"):
        load(home, controlnet=tmp_path / "pixels")


# Caches


@pytest.mark.parametrize("steered", [True, False], ids=["control", "alone"])
@pytest.mark.parametrize("control", ["picture", "channels"])
@pytest.mark.parametrize("cache", ["first_block", "taylorseer"])
def test_a_cached_step_gives_what_the_full_step_gave(home, cache, control, steered):
    """The same input twice: whatever is kept from the first time may not change the second."""
    folder = {"controlnet": home / "flux" / "channels"} if control == "channels" else {}
    plain, cached = load(home, **folder), load(home, cache=cache, **folder)
    given = inputs(plain, count=2)
    if not steered:
        given["control"] = None
    with torch.inference_mode():
        full = Flow(plain, 0.8, ROWS, COLUMNS)(**given)
        flow = Flow(cached, 0.8, ROWS, COLUMNS)
        again = [flow(**given) for _ in range(6)]
    for velocity in again:
        assert torch.allclose(velocity, full, atol=1e-5)
    assert flow.skipped() == (5 if cache == "first_block" else 0)
    if steered:
        with torch.inference_mode():
            bare = Flow(plain, 0.8, ROWS, COLUMNS)(**{**given, "control": None})
        assert (bare - full).abs().max() > 0.01


def test_a_cached_step_does_not_run_the_controlnet(home, monkeypatch):
    parts = load(home, cache="first_block")
    given = inputs(parts)
    flow = Flow(parts, 1.0, ROWS, COLUMNS)
    calls = []
    forward = parts.controlnet.forward
    monkeypatch.setattr(parts.controlnet, "forward", lambda **named: calls.append(1) or forward(**named))
    with torch.inference_mode():
        for _ in range(3):
            flow(**given)
        assert len(calls) == 1
        flow(**{**given, "latents": -given["latents"]})
    assert len(calls) == 2
    assert flow.skipped() == 2


def test_the_threshold_is_on_the_first_blocks_change(home):
    parts = load(home)
    given = inputs(parts, count=2)
    near = given["latents"] * 1.01
    mixed = torch.stack((given["latents"][0], -given["latents"][1]))

    def skips(threshold, second):
        parts.cache, parts.cache_threshold = "first_block", threshold
        flow = Flow(parts, 1.0, ROWS, COLUMNS)
        with torch.inference_mode():
            flow(**given)
            flow(**{**given, "latents": second})
        return flow.skipped()

    assert (skips(0.0, near), skips(0.2, near), skips(10.0, -given["latents"])) == (0, 1, 1)
    assert skips(0.2, mixed) == 0, "one picture of a batch that changed is enough"


def test_uncached_steps_of_the_cache_are_the_transformers_own(home):
    plain = load(home)
    cached = load(home, cache="first_block", cache_threshold=0.0)
    given = inputs(plain)
    with torch.inference_mode():
        ours = Flow(cached, 1.0, ROWS, COLUMNS)
        ours(**{**given, "latents": -given["latents"]})
        assert torch.allclose(ours(**given), Flow(plain, 1.0, ROWS, COLUMNS)(**given), atol=1e-6)
    assert ours.skipped() == 0


def test_branches_of_guidance_are_cached_apart(home):
    parts = load(home, cache="first_block")
    given = inputs(parts)
    other = {**given, "tokens": -given["tokens"], "branch": "plain"}
    with torch.inference_mode():
        flow = Flow(parts, 1.0, ROWS, COLUMNS)
        first = [flow(**given), flow(**other)]
        second = [flow(**given), flow(**other)]
    assert flow.skipped() == 2
    for one, two in zip(first, second, strict=True):
        assert torch.allclose(one, two, atol=1e-5)
    assert (first[0] - first[1]).abs().max() > 1e-3


@pytest.mark.parametrize("cache", ["first_block", "taylorseer"])
def test_pictures_share_nothing_that_is_cached(home, cache):
    """A picture is the same whatever was drawn before it, alone or in a batch, at this size or another."""
    session = fluxes.session({"cache": cache, "cache_threshold": 0.5})
    own = GscDecoder.from_session(session)._generator
    own._sampling = Sampling(steps=8, guidance=3.5)
    alone = own.generate([wish()])[0]
    small = Conditioning(np.zeros((fluxes.CHANNELS, 2, 2), np.int32), np.zeros(fluxes.CHANNELS, bool), "cars")
    own.generate([small, small])
    own.generate([wish(2, (4,), "cars"), wish(3), wish(4)])
    assert np.array_equal(own.generate([wish()])[0], alone)
    assert own.skipped == (0 if cache == "taylorseer" else own.skipped)
    exact = draw(home, steps=8)[0]
    assert np.abs(alone.astype(float) - exact).mean() < 12, "an approximation of the picture without a cache"


# LoRA, tiny VAE, offloading, compiling, quantising


def lora(path, scale_by=1.0, **extra):
    torch.manual_seed(5)
    layers = ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.1.proj_mlp", "x_embedder")
    weights = {}
    for layer in layers:
        wide = fluxes.build_transformer().get_submodule(layer).weight
        weights[f"transformer.{layer}.lora_A.weight"] = torch.randn(2, wide.shape[1]) * 0.3
        weights[f"transformer.{layer}.lora_B.weight"] = torch.randn(wide.shape[0], 2) * 0.3 * scale_by
    save_file({**weights, **extra}, path)
    return weights


def test_a_lora_is_merged(home, tmp_path):
    weights = lora(tmp_path / "few.safetensors")
    plain, merged = load(home), load(home, lora=tmp_path / "few.safetensors", lora_scale=0.5)
    layer = "transformer_blocks.0.attn.to_q"
    before, after = (one.transformer.get_submodule(layer).weight for one in (plain, merged))
    change = weights[f"transformer.{layer}.lora_B.weight"] @ weights[f"transformer.{layer}.lora_A.weight"]
    assert torch.allclose(after, before + 0.5 * change, atol=1e-6)
    assert apart(draw(home, lora=tmp_path)[0], draw(home)[0]) > 0, "a folder with one file will do"
    assert apart(draw(home, lora=tmp_path, lora_scale=0)[0], draw(home)[0]) == 0


def test_a_loras_alpha_counts(home, tmp_path):
    layer = "transformer.transformer_blocks.0.attn.to_q"
    weights = lora(tmp_path / "a.safetensors", **{f"{layer}.alpha": torch.tensor(1.0)})
    merged = load(home, lora=tmp_path / "a.safetensors").transformer.get_submodule(
        layer.removeprefix("transformer.")
    )
    plain = load(home).transformer.get_submodule(layer.removeprefix("transformer."))
    change = weights[f"{layer}.lora_B.weight"] @ weights[f"{layer}.lora_A.weight"] / 2  # alpha 1, rank 2
    assert torch.allclose(merged.weight, plain.weight + change, atol=1e-6)


def test_a_lora_that_does_not_fit_is_refused(home, tmp_path):
    with pytest.raises(ModelMissingError, match=r"one \.safetensors file"):
        load(home, lora=tmp_path)
    save_file({"transformer.x_embedder.lora_A.weight": torch.ones(2, 5), "transformer.x_embedder.lora_B.weight": torch.ones(7, 2)}, tmp_path / "a.safetensors")  # fmt: skip
    with pytest.raises(ModelMissingError, match="no LoRA for this transformer"):
        load(home, lora=tmp_path)
    save_file({"something.else": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelMissingError, match="no LoRA for this transformer"):
        load(home, lora=tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("transformer.x_embedder.lora_magnitude_vector", "DoRA"),
        ("transformer.x_embedder.dora_scale", "DoRA"),
        ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight", "text encoders"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "text encoders"),
        ("transformer.x_embedder.lora_B.bias", "would not be merged"),
        ("transformer.norm_out.linear.diff", "would not be merged"),
    ],
)
def test_what_of_a_lora_would_be_left_out_is_refused(home, tmp_path, name, words):
    lora(tmp_path / "a.safetensors", **{name: torch.ones(2, 2)})
    with pytest.raises(ModelMissingError, match=words) as caught:
        load(home, lora=tmp_path)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["transform", "generator/transformer", "generator/text_encoder"])
def test_a_profile_that_was_not_pulled_says_what_helps(home, tmp_path, monkeypatch, part):
    shutil.copytree(home / "flux", tmp_path / "flux")
    shutil.rmtree(tmp_path / "flux" / part)
    monkeypatch.setenv("FARLINK_MODELS", str(tmp_path))
    with pytest.raises(ModelMissingError, match=r"; farlink models pull flux$"):
        GscDecoder.from_session(fluxes.session())
    if part == "transform":
        with pytest.raises(ModelMissingError, match=r"; farlink models pull flux$"):
            fingerprint(fluxes.session())


def test_a_folder_of_the_users_own_is_not_to_be_pulled(tmp_path):
    for profile in ({"transformer": str(tmp_path / "mine")}, {"transform": str(tmp_path / "mine")}):
        with pytest.raises(ModelMissingError, match="mine") as caught:
            GscDecoder.from_session(fluxes.session(profile))
        assert "pull" not in str(caught.value)


def test_no_code_of_a_model_folder_is_run(home, tmp_path):
    folder = tmp_path / "generator"
    shutil.copytree(home / "flux" / "generator", folder)
    for part in ("tokenizer", "tokenizer_2"):
        settings = json.loads((folder / part / "tokenizer_config.json").read_text())
        settings |= {
            "auto_map": {"AutoTokenizer": ["mine.Tokens", "mine.Tokens"]},
            "tokenizer_class": "Tokens",
        }
        (folder / part / "tokenizer_config.json").write_text(json.dumps(settings))
        (folder / part / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Tokens: pass\n")
    code = (
        "import sys, fluxes; from receiver.codecs.gsc import GscDecoder; "
        f"GscDecoder.from_session(fluxes.session({{'generator': {str(folder)!r}}}))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path]), "FARLINK_MODELS": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="y\ny\n",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (tmp_path / "ran").exists()
    assert "Do you wish to run" not in done.stdout + done.stderr


def test_a_batch_is_as_large_as_memory_allows(home, monkeypatch):
    decoder = GscDecoder.from_session(fluxes.session())
    generator: Any = decoder._generator
    each = working_bytes(generator._parts, ROWS, COLUMNS)
    assert each > 4 * ROWS * COLUMNS * 256 * 4, "some maps of the picture's size in single precision"
    sizes = []
    drawn = generator.generate
    monkeypatch.setattr(generator, "generate", lambda items: sizes.append(len(items)) or drawn(items))
    payloads = [Payload((text.encode("a street with trees"), None))] * 5
    for memory, batches in ((100 * each, [8]), (3.5 * each, [3, 3]), (0.1 * each, [1] * 5)):
        monkeypatch.setattr("receiver.device.memory_bytes", lambda _device, memory=memory: int(memory))
        decoder._batch = None
        pictures = decoder.decode_many(payloads)
        assert (sizes, len(pictures)) == (batches, 5)
        assert all(picture is not None for picture in pictures)
        sizes.clear()


def test_a_batch_that_does_not_fit_is_halved(home, monkeypatch):
    decoder = GscDecoder.from_session(fluxes.session())
    drawn, sizes = decoder._generator.generate, []

    def generate(items):
        sizes.append(len(items))
        if len(items) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return drawn(items)

    monkeypatch.setattr(decoder._generator, "generate", generate)
    payloads = [Payload((text.encode("a street with trees"), None))] * 3
    assert all(picture is not None for picture in decoder.decode_many(payloads))
    assert sizes == [8, 4, 2, 2]
    decoder.decode_many(payloads[:1])
    assert sizes[4:] == [2], "it is not tried again"


def test_the_vae_decodes_in_tiles_where_asked(home):
    whole, tiled = load(home), load(home, vae_tiles=True)
    assert tiled.vae.use_tiling and not whole.vae.use_tiling
    latents = torch.randn(1, 16, 12, 12, generator=torch.Generator().manual_seed(1))
    seen = []
    tiled.vae.decoder.register_forward_pre_hook(lambda _module, given: seen.append(given[0].shape[-1]))
    picture = decode(tiled.vae, latents)
    assert picture.shape == (1, 3, 96, 96)
    assert len(seen) > 1 and max(seen) <= tiled.vae.tile_latent_min_size
    assert working_bytes(tiled, 64, 64) < working_bytes(whole, 64, 64)


def test_the_tiny_vae_decodes(home):
    picture = draw(home, preview_vae=home / "flux" / "preview")[0]
    assert picture.shape == (48, 80, 3)
    assert apart(picture, draw(home)[0]) > 0


def test_offloaded_layers_draw_the_same_picture(home):
    assert apart(draw(home, offload=True)[0], draw(home)[0]) <= 1
    channels = home / "flux" / "channels"
    cached = {"controlnet": channels, "cache": "first_block", "cache_threshold": 0.0}
    assert apart(draw(home, offload=True, **cached)[0], draw(home, controlnet=channels)[0]) <= 1


@pytest.mark.slow
def test_compiled_blocks_draw_the_same_picture(home, monkeypatch):
    compiled = []
    own = compile_blocks

    def eagerly(models):
        compiled.extend(models)
        own(models, backend="eager")  # the blocks are traced, but no compiler is called

    monkeypatch.setattr(parts_module, "compile_blocks", eagerly)
    assert apart(draw(home, 1, compile=True)[0], draw(home, 1)[0]) <= 1
    assert [type(model).__name__ for model in compiled] == ["FluxTransformer2DModel", "FluxControlNetModel"]


def test_eight_bit_storage_draws_nearly_the_same_picture(home):
    stored = load(home, quantize="fp8_storage")
    sizes = {weight.dtype for weight in stored.transformer.transformer_blocks[0].parameters()}
    assert torch.float8_e4m3fn in sizes
    assert np.abs(draw(home, quantize="fp8_storage")[0].astype(float) - draw(home)[0]).mean() < 10


@pytest.mark.parametrize(
    ("options", "package"),
    [
        ({"quantize": "int8"}, "torchao"),
        ({"quantize": "fp8"}, "torchao"),
        ({"quantize": "nf4"}, "bitsandbytes"),
    ],
    ids=str,
)
def test_an_optional_package_that_is_missing_is_named(home, monkeypatch, options, package):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelMissingError, match=f"needs the package {package}.*pip install {package}"):
        parts_module._quantization(options["quantize"], torch.float32)


def test_a_lora_beside_quantised_weights_needs_peft(monkeypatch, tmp_path):
    lora(tmp_path / "few.safetensors")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelMissingError, match="pip install peft"):
        parts_module._add_lora(fluxes.build_transformer(), tmp_path, 1.0, "nf4")


def test_eight_bit_integers(home, tmp_path):
    pytest.importorskip("torchao")
    assert np.abs(draw(home, quantize="int8")[0].astype(float) - draw(home)[0]).mean() < 10
    pytest.importorskip("peft")
    lora(tmp_path / "few.safetensors")
    beside, merged = (draw(home, lora=tmp_path, quantize=kind)[0].astype(float) for kind in ("int8", "none"))
    assert np.abs(beside - merged).mean() < 10


@pytest.mark.slow
def test_the_benchmark_runs_at_toy_size():
    bench = Path(__file__).parent / "bench" / "flux.py"
    done = subprocess.run([sys.executable, bench, "--toy"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("| 64x48")]
    assert len(table) == 10
    assert sum("FluxControlNetPipeline" in line for line in table) == 2
    assert all(float(line.split("|")[5]) > 0 for line in table)
    if not torch.cuda.is_available():
        done = subprocess.run([sys.executable, bench], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "no GPU here" in done.stderr.splitlines()[-1]


def test_a_cache_of_the_batch_is_one_number():
    cache = FirstBlockCache(0.5)
    cache._residual = torch.ones(2, 3, 4)
    assert cache._change(torch.ones(2, 3, 4)) == 0.0
    assert cache._change(torch.stack((torch.ones(3, 4), torch.full((3, 4), 3.0)))) == pytest.approx(2.0)
