"""The decoder at toy size, loaded from folders by the code that loads FLUX.1-dev."""

import dataclasses
import json
import shutil
from functools import cache

import fluxes
import numpy as np
import pytest
import torch
from fluxes import COLUMNS, ROWS, apart, wish

from link.errors import ModelMissingError
from receiver.codecs.gsc import GscDecoder, part_folders
from receiver.conditioning import Conditioning
from receiver.generator import Flow, Generator, Sampling, by_intervals, first_blocks, pack, unpack
from receiver.parts import ChannelControlNet, Parts
from receiver.text_encoder import TextEncoder
from receiver.transform import Synthesis


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    fluxes.build(folder)
    return folder


@pytest.fixture(autouse=True)
def pulled(home, monkeypatch):
    monkeypatch.setenv("FARLINK_MODELS", str(home))


def generator(home, profile=None, **sampling):
    """The generator with the channel control unless *profile* says otherwise."""
    parts, text, synthesis = loaded(home, (profile or {}).get("controlnet", str(home / "flux" / "channels")))
    return Generator(parts, text, synthesis, Sampling(**{"steps": 3, "guidance": 3.5, **sampling}))


@cache
def loaded(home, controlnet):
    folders = part_folders(fluxes.session({"controlnet": controlnet}))
    return (
        Parts.from_pretrained(folders, torch.float32).to(torch.device("cpu")),
        TextEncoder.from_pretrained(folders, torch.float32),
        Synthesis.from_pretrained(home / "flux" / "transform"),
    )


def test_the_same_seed_and_conditioning_give_the_same_picture(home):
    picture = generator(home).generate([wish()])[0]
    assert picture.shape == (16 * ROWS, 16 * COLUMNS, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 10
    again = generator(home)
    assert np.array_equal(again.generate([wish()])[0], picture)
    assert np.array_equal(again.generate([wish()])[0], picture), "nothing is left over from the first"
    assert apart(generator(home, seed=2).generate([wish()])[0], picture) > 8


def test_caption_and_channels_steer(home):
    draw = generator(home)
    picture = draw.generate([wish()])[0]
    assert apart(draw.generate([wish(caption="cars under grey sky")])[0], picture) > 0
    assert apart(draw.generate([wish(channels=(0, 1))])[0], picture) > 0
    assert apart(draw.generate([wish(number=5)])[0], picture) > 0


def test_a_control_of_zeros_changes_nothing(home):
    fresh = generator(home, {"controlnet": str(home / "flux" / "fresh")})
    picture = fresh.generate([wish()])[0]
    assert np.array_equal(picture, fresh.generate([wish(number=5)])[0]), "channels have no say yet"
    assert np.array_equal(picture, generator(home, control_scale=0.0).generate([wish()])[0])
    assert apart(picture, generator(home).generate([wish()])[0]) > 0


@pytest.mark.parametrize("channels", [(), (0,), (5,), (1, 4), tuple(range(6))], ids=str)
@pytest.mark.parametrize("caption", ["", "a street"])
def test_any_subset_of_the_sections_gives_a_picture(home, channels, caption):
    picture = generator(home, steps=1).generate([wish(channels=channels, caption=caption)])[0]
    assert picture.std() > 1


def test_what_did_not_arrive_does_not_matter(home):
    """Values of channels that are not marked as arrived are not looked at by the ControlNet."""
    control = generator(home)._parts.controlnet
    arrived = torch.tensor([[True, False, True, False, False, False]])
    maps = torch.randn(1, fluxes.CHANNELS, ROWS, COLUMNS)
    picture = torch.randn(1, ROWS * COLUMNS, 64)
    other = torch.where(arrived[:, :, None, None], maps, torch.randn_like(maps))
    assert torch.equal(control.control(maps, arrived, picture), control.control(other, arrived, picture))
    nothing = control.control(maps, torch.zeros_like(arrived), picture)
    assert not nothing.any()


def test_a_batch_is_its_pictures_one_by_one(home):
    draw = generator(home)
    wishes = [wish(0), wish(1, (), "cars"), wish(2, (5,), "")]
    for picture, one in zip(draw.generate(wishes), wishes, strict=True):
        assert apart(picture, draw.generate([one])[0]) <= 1


def test_control_goes_to_the_first_blocks_or_by_intervals(home):
    samples = [torch.tensor(float(number + 1)) for number in range(4)]
    assert first_blocks(samples, 19) == [*samples, *[0.0] * 15]
    assert [float(item) for item in by_intervals(samples, 19)] == [1.0] * 5 + [2.0] * 5 + [3.0] * 5 + [
        4.0
    ] * 4
    assert first_blocks(None, 3) is None is by_intervals([], 3)
    # The second is diffusers' own rule, which the published ControlNets were trained with.
    parts = generator(home)._parts
    common = flow_inputs()
    double, single = parts.controlnet(
        controlnet_cond=torch.randn(1, ROWS * COLUMNS, 2 * fluxes.CHANNELS + 64), return_dict=False, **common
    )

    def velocity(double, single):
        return parts.transformer(
            controlnet_block_samples=double,
            controlnet_single_block_samples=single,
            return_dict=False,
            **common,
        )[0]

    with torch.inference_mode():
        padded = velocity(first_blocks(double, 3), first_blocks(single, 4))
        spread = velocity(by_intervals(double, 3), by_intervals(single, 4))
        assert torch.allclose(spread, velocity(double, single), atol=1e-6)
        assert (padded - spread).abs().max() > 0.01


def flow_inputs():
    torch.manual_seed(1)
    return {
        "hidden_states": torch.randn(1, ROWS * COLUMNS, 64),
        "encoder_hidden_states": torch.randn(1, 12, 24),
        "pooled_projections": torch.randn(1, 16),
        "timestep": torch.tensor([0.7]),
        "img_ids": torch.zeros(ROWS * COLUMNS, 3),
        "txt_ids": torch.zeros(12, 3),
        "guidance": torch.tensor([3.5]),
    }


def test_a_frame_starts_from_the_last_ones_latents(home, monkeypatch):
    draw = generator(home, steps=4, strength=0.5)
    started = []
    call = Flow.__call__

    def noted(self, latents, *rest, **more):
        started.append(latents)
        return call(self, latents, *rest, **more)

    monkeypatch.setattr(Flow, "__call__", noted)
    first = draw.generate([wish()])[0]
    assert len(started) == 4, "the first frame has nothing to start from"
    last, noise = draw._last, draw._noise_of(ROWS, COLUMNS)
    started.clear()
    draw.generate([wish(1)])
    assert len(started) == 2, "half of the steps"
    _, sigmas = draw._schedule(ROWS * COLUMNS, 4)
    assert torch.allclose(started[0], (1 - sigmas[2]) * last + sigmas[2] * noise, atol=1e-6)
    # Another scene changes the picture less when it starts from the last one.
    loose = generator(home, steps=4)
    loose.generate([wish()])
    tight = generator(home, steps=4, strength=0.25)
    tight.generate([wish()])

    def moved(one):
        return np.abs(one.generate([wish(1, caption="cars under trees")])[0].astype(float) - first).mean()

    assert moved(tight) < moved(loose)


def test_another_size_starts_from_noise(home):
    draw = generator(home, strength=0.5)
    draw.generate([wish()])
    maps = np.zeros((fluxes.CHANNELS, 2, 2), np.int32)
    assert draw.generate([Conditioning(maps, np.zeros(fluxes.CHANNELS, bool), "a")])[0].shape == (32, 32, 3)


def test_the_decoder_crops_to_the_scenarios_size(home):
    session = fluxes.session({"controlnet": str(home / "flux" / "channels")}, size=(72, 40))
    decoder = GscDecoder.from_session(session)
    from link.bitstream import latent
    from link.codecs import gsc
    from link.codecs.gsc import Transmission
    from link.frame import Payload

    sent = wish(channels=(0, 1, 2, 3))
    tables = latent.LatentTables.generic(fluxes.CHANNELS)
    payload = gsc.write(
        session.codec, Transmission("a street", (0, 1, 2, 3), sent.maps[:4]), tables, (0, 1, 2, 3)
    )
    picture = decoder.decode(payload)
    assert picture.shape == (40, 72, 3)
    for lost in range(len(payload.sections)):
        kept = tuple(None if at == lost else data for at, data in enumerate(payload.sections))
        assert decoder.decode(Payload(kept)).shape == (40, 72, 3)
    assert decoder.decode(Payload((None,) * len(payload.sections))) is None


def test_packing_is_fluxs():
    latents = torch.randn(2, 4, 2 * ROWS, 2 * COLUMNS)
    from diffusers import FluxPipeline

    assert torch.equal(pack(latents), FluxPipeline._pack_latents(latents, 2, 4, 2 * ROWS, 2 * COLUMNS))
    assert torch.equal(unpack(pack(latents), ROWS, COLUMNS), latents)


def test_steps_are_the_pipelines(home):
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift, retrieve_timesteps

    draw = generator(home, steps=7)
    timesteps, sigmas = draw._schedule(1200, 7)
    scheduler = draw._parts.scheduler
    shift = calculate_shift(1200, 256, 4096, 0.5, 1.15)
    expected, _ = retrieve_timesteps(
        scheduler, 7, "cpu", sigmas=np.linspace(1.0, 1 / 7, 7).tolist(), mu=shift
    )
    assert torch.allclose(timesteps, expected)
    assert float(sigmas[-1]) == 0.0


@pytest.mark.parametrize(
    "part", ["transformer", "controlnet", "vae", "scheduler", "text_encoder", "tokenizer_2"]
)
def test_a_missing_folder_is_named(home, tmp_path, part):
    whole = tmp_path / "generator"
    shutil.copytree(home / "flux" / "generator", whole)
    shutil.rmtree(whole / part)
    with pytest.raises(ModelMissingError, match=rf"{part}: no such folder"):
        GscDecoder.from_session(fluxes.session({"generator": str(whole)}))


def test_a_folder_of_another_class_is_refused(home, tmp_path):
    for part, other, words in (
        ("transformer", "vae", "FluxTransformer2DModel was expected there, but it holds a AutoencoderKL"),
        ("vae", "transformer", "AutoencoderKL was expected"),
        ("controlnet", "vae", "ChannelControlNet or FluxControlNetModel was expected"),
    ):
        with pytest.raises(ModelMissingError, match=words):
            GscDecoder.from_session(fluxes.session({part: str(home / "flux" / "generator" / other)}))
    with pytest.raises(ModelMissingError, match="AutoencoderTiny was expected"):
        GscDecoder.from_session(fluxes.session({"preview_vae": str(home / "flux" / "generator" / "vae")}))
    broken = tmp_path / "vae"
    shutil.copytree(home / "flux" / "generator" / "vae", broken)
    next(broken.glob("*.safetensors")).write_bytes(b"no weights")
    with pytest.raises(ModelMissingError, match="no usable AutoencoderKL"):
        GscDecoder.from_session(fluxes.session({"vae": str(broken)}))
    (broken / "config.json").write_text("[]")
    with pytest.raises(ModelMissingError, match="no usable AutoencoderKL"):
        GscDecoder.from_session(fluxes.session({"vae": str(broken)}))


def test_weights_that_are_not_all_there_are_refused(home, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "transformer"
    shutil.copytree(home / "flux" / "generator" / "transformer", folder)
    file = next(folder.glob("*.safetensors"))
    weights = load_file(file)
    del weights["proj_out.weight"]
    save_file(weights, file)
    with pytest.raises(
        ModelMissingError, match="1 weights of the FluxTransformer2DModel are missing, proj_out"
    ):
        GscDecoder.from_session(fluxes.session({"transformer": str(folder)}))


def test_a_controlnet_keeps_its_channels_when_it_is_saved(home, tmp_path):
    control = ChannelControlNet.from_pretrained(home / "flux" / "channels")
    control.channel_scale.copy_(torch.arange(6.0))
    control.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["_class_name"] == "ChannelControlNet"
    assert ChannelControlNet.from_pretrained(tmp_path).channel_scale.tolist() == [0, 1, 2, 3, 4, 5]


def test_loading_says_nothing(home, capfd):
    GscDecoder.from_session(fluxes.session())
    GscDecoder.from_session(fluxes.session({"controlnet": str(home / "flux" / "channels")}))
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_conditionings_are_checked():
    with pytest.raises(ValueError, match="expected"):
        dataclasses.replace(wish(), arrived=np.zeros(3, bool))
