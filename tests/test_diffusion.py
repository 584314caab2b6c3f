"""Stable Diffusion 2.1 as the generator, on toy weights in the real layout: steering, guidance, attention maps."""

import diffusions
import fluxes
import numpy as np
import pytest
import torch
from fluxes import COLUMNS, ROWS, apart, wish

from link.errors import ModelMissingError
from receiver.codecs.gsc import GscDecoder
from receiver.conditioning import Conditioning
from receiver.diffusion import Diffusion
from receiver.generator import Sampling
from receiver.sd_parts import LatentControlNet


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    fluxes.build(folder)
    diffusions.build(folder / "sd21" / "generator")
    diffusions.build(folder / "wide", channels=8, prediction="v_prediction")
    return folder


@pytest.fixture(autouse=True)
def pulled(home, monkeypatch):
    monkeypatch.setenv("FARLINK_MODELS", str(home))


def drawer(**profile):
    session = fluxes.session({name: str(value) for name, value in profile.items()}, {"generator": "sd21"})
    made = GscDecoder.from_session(session)._generator
    assert isinstance(made, Diffusion)
    made.adjust(Sampling(steps=3, guidance=5.0))
    return made


def latent_wish(channels=4, caption="a street"):
    rng = np.random.default_rng(3)
    latent = rng.standard_normal((channels, 2 * ROWS, 2 * COLUMNS)).astype(np.float32)
    blank = np.zeros((fluxes.CHANNELS, ROWS, COLUMNS), np.int32)
    return Conditioning(blank, np.zeros(fluxes.CHANNELS, np.bool_), caption, latent)


def test_it_draws_what_gsc_sends_by_the_same_interface():
    made = drawer()
    first = made.generate([wish()])[0]
    assert first.shape == (16 * ROWS, 16 * COLUMNS, 3)
    assert np.array_equal(first, made.generate([wish()])[0])
    drawn = made.latents([wish()])
    assert not torch.equal(drawn, made.latents([wish(channels=(2,))]))
    assert not torch.equal(drawn, made.latents([wish(caption="cars")]))
    together = made.generate([wish(), wish(1)])
    assert apart(together[0], first) <= 1
    assert made.most_at_once(ROWS, COLUMNS, 8) == 8


@pytest.mark.parametrize("kind", ["controlnet", "pixels"])
def test_latents_that_were_sent_steer_it(home, kind):
    made = drawer(controlnet=home / "sd21" / "generator" / kind)
    steered, same = (made.latents([latent_wish()]) for _ in range(2))
    assert torch.equal(steered, same)
    bare = made.latents([wish(channels=())])
    assert not torch.allclose(steered, bare)
    made.adjust(Sampling(steps=3, guidance=5.0, control_scale=0.0))
    alone = made.latents([latent_wish(caption=wish().caption)])
    assert torch.allclose(alone, bare)


def test_a_fresh_control_adds_nothing_and_a_vae_may_have_other_channels(home):
    made = drawer(generator=home / "wide")
    assert made.latents([latent_wish(8)]).shape == (1, 8, 2 * ROWS, 2 * COLUMNS)
    parts = made._parts
    parts.controlnet = LatentControlNet.from_base(parts.unet)
    fresh = made.latents([latent_wish(8)])
    made.adjust(Sampling(steps=3, guidance=5.0, control_scale=0.0))
    assert torch.equal(fresh, made.latents([latent_wish(8)]))


def test_guidance_is_what_the_formula_says():
    made = drawer()
    shown: dict[float, torch.Tensor] = {}
    for scale in (0.0, 1.0, 5.0):
        made.adjust(Sampling(steps=1, guidance=scale))
        shown[scale] = made.latents([latent_wish()])
    # one step is affine in what is predicted, and that is affine in the guidance
    assert torch.allclose(shown[5.0], shown[0.0] + 5.0 * (shown[1.0] - shown[0.0]), atol=1e-3)


def test_a_frame_starts_from_the_last_one():
    made = drawer()
    made.adjust(Sampling(steps=4, strength=0.5))
    first = made.latents([wish()])
    assert not torch.allclose(first, made.latents([wish()]))


# Attention maps


def inputs(made, grad=False):
    torch.manual_seed(5)
    latents = torch.randn(1, 4, 8, 12, requires_grad=grad)
    made._parts.scheduler.set_timesteps(4)
    return latents, made._parts.scheduler.timesteps[1]


def test_attention_maps_are_shares_and_leave_the_model_as_it_was():
    made = drawer()
    latents, when = inputs(made)
    before = made._parts.unet(latents, when, made._parts.embed(["a street"])).sample
    maps = made.attention_maps(latents, when, ["a street"], range(12))
    assert maps.shape[:2] == (1, 12) and maps.shape[2] * 3 == maps.shape[3] * 2
    assert torch.allclose(maps.sum(1), torch.ones(maps.shape[0], *maps.shape[2:]), atol=1e-5)
    assert torch.equal(before, made._parts.unet(latents, when, made._parts.embed(["a street"])).sample)
    assert not any(
        type(one).__name__ == "WatchedAttention" for one in made._parts.unet.attn_processors.values()
    )
    with pytest.raises(ValueError, match="12"):
        made.attention_maps(latents, when, ["a street"], [12])


def energy(made, latents, when):
    """SEDIC's eq. 2 of the second token over the left half."""
    maps = made.attention_maps(latents, when, ["a street with cars"], [2])[:, 0]
    inside = maps[..., : maps.shape[-1] // 2].sum((1, 2)) / maps.sum((1, 2))
    return (1.0 - inside).square().sum()


def test_their_gradient_in_the_latent_is_that_of_finite_differences():
    made = drawer()
    made._parts.unet.double(), made._parts.text_encoder.double()
    made._dtype = torch.float64
    latents, when = inputs(made)
    latents = latents.double()
    held = latents.clone().requires_grad_(True)
    gradient = torch.autograd.grad(energy(made, held, when), held)[0]
    assert float(gradient.abs().max()) > 0
    torch.manual_seed(1)
    for _ in range(3):
        way, step = torch.randn_like(latents), 1e-4
        apart_by = energy(made, latents + step * way, when) - energy(made, latents - step * way, when)
        assert float((gradient * way).sum()) == pytest.approx(
            float(apart_by) / (2 * step), rel=1e-5, abs=1e-11
        )


def test_a_step_against_the_gradient_lowers_the_energy():
    made = drawer()
    latents, when = inputs(made)
    for _ in range(4):
        held = latents.clone().requires_grad_(True)
        now = energy(made, held, when)
        latents = latents - 5.0 * torch.autograd.grad(now, held)[0]
        assert float(energy(made, latents, when)) < float(now.detach())


def test_missing_and_wrong_folders_are_one_line(home):
    for part, other in (("vae", "unet"), ("controlnet", "vae")):
        with pytest.raises(ModelMissingError, match="was expected"):
            drawer(**{part: home / "sd21" / "generator" / other})
    with pytest.raises(ModelMissingError, match="no such folder"):
        drawer(generator=home / "nowhere")
