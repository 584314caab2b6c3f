"""Attention guidance, latent fusion and the stages of SEDIC's Algorithm 1, on toy weights in the real layouts."""

from dataclasses import replace

import diffusions
import fluxes
import numpy as np
import pytest
import torch
from diffusers.models.transformers import transformer_flux
from fluxes import COLUMNS, ROWS, wish

from link.codecs import gsc, sedic
from link.codecs.gsc import Transmission
from link.codecs.objects import object_text
from link.codecs.sedic import MaskedObject
from link.errors import UsageError
from link.frame import Payload
from link.models import transform_folder
from receiver.attention import joint_attention
from receiver.codecs.gsc import GscDecoder
from receiver.codecs.sedic import SedicDecoder, spread_mask
from receiver.diffusion import Diffusion, DiffusionCourse
from receiver.generator import Sampling
from receiver.guidance import Guidance, ObjectWish, energy, finish, fuse, guide, on_grid, restore
from receiver.stages import FlowCourse, StagedGenerator
from receiver.text_encoder import word_places

SENTENCE = "a street with cars and trees"
MASK = np.zeros((2 * ROWS, 2 * COLUMNS), np.float32)
MASK[2:5, 1:6] = 1.0
CARS = ObjectWish(SENTENCE, "cars", MASK)
ETA = 40.0


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    fluxes.build(folder)
    diffusions.build(folder / "sd21" / "generator")
    return folder


@pytest.fixture(autouse=True)
def pulled(home, monkeypatch):
    monkeypatch.setenv("FARLINK_MODELS", str(home))
    with torch.no_grad():
        yield


def drawer(kind):
    return GscDecoder.from_session(fluxes.session({}, {"generator": kind}))._generator


def open_course(made, item=None, steps=4):
    item = item or wish(caption=SENTENCE)
    return (DiffusionCourse if isinstance(made, Diffusion) else FlowCourse)(made, item, steps)


both = pytest.mark.parametrize("kind", ["flux", "sd21"])


# Attention


def test_the_maps_are_what_diffusers_attends_with(monkeypatch):
    made = drawer("flux")
    course = open_course(made)
    block, texts = made.parts.transformer.transformer_blocks[1].attn, 12
    queries = []
    attend = vars(transformer_flux)["dispatch_attention_fn"]

    def keep(query, key, value, **options):
        queries.append((query, key))
        return attend(query, key, value, **options)

    monkeypatch.setattr(transformer_flux, "dispatch_attention_fn", keep)
    latents = fluxes_latents(course)
    maps = joint_attention(made.parts.transformer, 1, range(texts), lambda: latents(), whole=True)
    count = len(made.parts.transformer.transformer_blocks)
    query, key = queries[-len(made.parts.transformer.single_transformer_blocks) - count + 1]
    shares = torch.einsum("bqhd,bkhd->bhqk", query, key) / block.head_dim**0.5
    expected = shares.softmax(-1).mean(1)[:, texts:, :texts].transpose(1, 2)
    assert maps.shape == (1, texts, ROWS * COLUMNS)
    assert torch.allclose(maps, expected, atol=1e-6)
    assert float(maps.std()) > 0
    early = joint_attention(made.parts.transformer, 1, range(texts), lambda: latents())
    assert torch.equal(early, maps), "leaving early changes nothing"
    with pytest.raises(ValueError, match="12"):
        joint_attention(made.parts.transformer, 1, [12], lambda: latents())
    assert not block._forward_pre_hooks


def fluxes_latents(course):
    return lambda: course._course.velocity(course._course.noise, 0)


def test_the_places_of_words_are_found():
    made = drawer("flux")
    tokenizer = made.text.tokenizers()[1]
    assert word_places(tokenizer, SENTENCE, "cars", 12) == [4]
    assert word_places(tokenizer, SENTENCE, "a street", 12) == [1, 2]
    everything = [1, 2, 3, 4, 5, 6]
    assert word_places(tokenizer, SENTENCE, "sky", 12) == everything
    assert word_places(tokenizer, SENTENCE, "", 12) == everything
    assert word_places(tokenizer, "", "cars", 12) == [0]
    assert word_places(tokenizer, SENTENCE, "trees", 5) == [1, 2, 3]


# Energy and its gradient


def test_the_energy_is_the_share_outside_squared():
    maps = torch.tensor([[[1.0, 1.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 1.0]]])
    mask = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    assert float(energy(maps, mask)) == pytest.approx(((4 / 8) ** 2 + 0.0) / 2)
    assert float(energy(maps, torch.ones(2, 2))) == 0.0
    assert float(energy(maps, torch.zeros(2, 2))) == 1.0
    assert float(energy(torch.zeros(1, 2, 2), mask)) == 1.0
    half = torch.tensor([[0.0, 0.0], [0.0, 0.5]])
    assert float(energy(maps[:1], half)) == pytest.approx((1 - 2 / 8) ** 2)


@both
def test_the_gradient_is_that_of_finite_differences(kind):
    made = drawer(kind)
    for model in vars(made._parts).values():
        if isinstance(model, torch.nn.Module):
            model.double()
    made._dtype = torch.float64
    if kind == "flux":
        for model in made.text.modules():
            model.double()
    course = open_course(made)
    start = course.start().double()
    mask = torch.from_numpy(MASK).double()

    def of(latents):
        maps = course.attention(latents, 1, "cars")
        return energy(maps, on_grid(mask, tuple(maps.shape[1:])))

    moved, before = guide(start, lambda latents: course.attention(latents, 1, "cars"), mask, 1.0)
    gradient = start - moved
    assert before == pytest.approx(float(of(start)), rel=1e-6)
    assert float(gradient.abs().max()) > 0
    torch.manual_seed(1)
    for _ in range(3):
        way = torch.randn_like(start)
        step = 1e-3
        slope = (of(start + step * way) - of(start - step * way)) / (2 * step)
        assert float(slope) == pytest.approx(float((gradient * way).sum()), rel=2e-2, abs=1e-7)


@both
@pytest.mark.parametrize("eta", [30.0, ETA, 50.0])
def test_guidance_lowers_the_energy_at_every_step(kind, eta):
    """The paper's eta. Measured anew behind each guided step, on the latents that it left."""
    course = open_course(drawer(kind), steps=6)
    latents, mask = course.start(), torch.from_numpy(MASK)
    for at in range(course.steps):

        def attention(held, at=at):
            return course.attention(held, at, "cars")

        moved, before = guide(latents, attention, mask, eta)
        _, after = guide(moved, attention, mask, eta)
        assert after < before
        assert not torch.equal(moved, latents)
        latents = course.step(moved, at)


def test_a_gradient_that_is_no_number_moves_nothing():
    latents = torch.ones(1, 4, 4, 4)
    moved, _ = guide(latents, lambda held: held[0] * float("nan"), torch.ones(4, 4), 1.0)
    assert torch.equal(moved, latents)


# Fusion


def test_fusion_takes_each_place_from_one_pass_or_mixes_them():
    new, old = torch.randn(1, 4, 3, 4), torch.randn(1, 4, 3, 4)
    mask = torch.tensor([0.0, 0.25, 1.0]).view(3, 1).expand(3, 4)
    made = fuse(new, old, mask)
    assert torch.equal(made[:, :, 0], old[:, :, 0]) and torch.equal(made[:, :, 2], new[:, :, 2])
    assert torch.allclose(made[:, :, 1], 0.25 * new[:, :, 1] + 0.75 * old[:, :, 1])


@both
def test_fusion_leaves_the_outside_of_the_mask_bit_equal_at_every_step(kind):
    course = open_course(drawer(kind))
    before = [course.noised(torch.randn_like(course.start()), at + 1) for at in range(course.steps)]
    passed = restore(course, CARS, before, Guidance(ETA, 0.5))
    inside = torch.from_numpy(MASK) == 1
    assert len(passed) == course.steps
    for made, was in zip(passed, before, strict=True):
        assert torch.equal(made[..., ~inside], was[..., ~inside])
        assert not torch.isclose(made[..., inside], was[..., inside]).any()


@both
def test_guidance_is_for_the_first_steps_alone(kind):
    course = open_course(drawer(kind))
    asked = []
    attention = course.attention

    def keep(latents, at, words):
        asked.append((at, words))
        return attention(latents, at, words)

    course.attention = keep
    restore(course, CARS, None, Guidance(ETA, 0.5))
    assert asked == [(0, "cars"), (1, "cars")]
    asked.clear()
    for item, how in (
        (CARS, Guidance(0.0)),
        (CARS, Guidance(ETA, 0.0)),
        (replace(CARS, mask=MASK * 0), Guidance()),
    ):
        free = restore(course, item, None, how)
        assert not asked and torch.equal(free[-1], finish(course)), "without guidance it is a plain pass"


# Stages


def staged(made, eta=ETA):
    return StagedGenerator(made, Sampling(steps=3, guidance=made._sampling.guidance), 4, Guidance(eta, 0.5))


@both
def test_without_objects_it_draws_what_the_generator_does(kind):
    made = drawer(kind)
    assert np.array_equal(staged(made).generate([wish()])[0], made.generate([wish()])[0])


@both
def test_objects_change_the_picture_and_the_same_wish_gives_the_same_one(kind):
    made = drawer(kind)
    trees = replace(CARS, words="trees", mask=np.ascontiguousarray(MASK[::-1, ::-1]))
    drawn = {
        "none": wish(caption=SENTENCE),
        "one": replace(wish(caption=SENTENCE), objects=(CARS,)),
        "two": replace(wish(caption=SENTENCE), objects=(CARS, trees)),
        "bare": replace(wish(channels=(), caption=SENTENCE), objects=(CARS, trees)),
    }
    latents = {name: staged(made).latents(item) for name, item in drawn.items()}
    latents["unguided"] = staged(made, 0.0).latents(drawn["two"])
    names = list(latents)
    assert not any(torch.allclose(latents[one], latents[two]) for one in names for two in names if one < two)
    first, again = (staged(made).generate([drawn["two"]])[0] for _ in range(2))
    assert np.array_equal(first, again)


@both
def test_each_stage_is_shown_what_the_one_before_drew(kind):
    """Algorithm 1's line 3: the picture, decoded and encoded, not the latents themselves."""
    generator = drawer(kind)
    made = staged(generator)
    shown, drawn = [], []
    opened, looked = made._open, generator.look_again

    def keep(item, steps):
        shown.append((item.latent, item.caption, steps))
        return opened(item, steps)

    def look(latents):
        drawn.append(looked(latents))
        return drawn[-1]

    made._open, generator.look_again = keep, look
    item = replace(wish(caption="under grey sky"), objects=(CARS, CARS))
    made.latents(item)
    assert [told for _, *told in shown] == [[SENTENCE, 4], [SENTENCE, 4], ["under grey sky", 3]]
    assert np.array_equal(shown[0][0], generator.reference(item))
    assert shown[1][0] is drawn[0] and shown[2][0] is drawn[1]
    shown.clear()
    made.latents(replace(item, maps=item.maps * 0, arrived=item.arrived & False))
    assert shown[0][0] is None and shown[1][0] is not None


def test_a_mask_lies_on_the_latents_and_beyond_the_edge_is_as_at_it():
    mask = np.array([[1, 0], [0, 1]], np.bool_)
    coarse = spread_mask(mask, 16, (2, 3))
    assert coarse.shape == (4, 6)
    assert coarse[0].tolist() == [1, 1, 0, 0, 0, 0] and coarse[3].tolist() == [0, 0, 1, 1, 1, 1]
    fine = np.zeros((24, 40), np.bool_)
    fine[:8, :3], fine[8:16, :4] = True, True
    assert spread_mask(fine, 1, (2, 3)).astype(int)[:, 0].tolist() == [0, 1, 0, 0]
    assert spread_mask(fine, 4, (2, 3)).shape == (4, 6)


@pytest.mark.parametrize(
    ("profile", "said"),
    [({"cache": "taylorseer"}, "profile.cache=none"), ({"compile": True}, "profile.compile=false")],
)
def test_what_hides_or_foretells_attention_is_refused_where_it_is_guided(profile, said):
    with pytest.raises(UsageError, match=f"codec.attention=0 or {said}"):
        SedicDecoder.from_session(fluxes.session(profile, {"name": "sedic"}))


@both
def test_sections_become_a_picture_on_either_generator(kind):
    """Real sections on toy weights: caption, channels, an object; each of them lost in turn."""
    plan = fluxes.session({}, {"name": "sedic", "generator": kind, "steps": 2, "mask_px": 4, "objects": 1})
    decoder = SedicDecoder.from_session(plan)
    folder = transform_folder(plan)
    rng = np.random.default_rng(4)
    channels = Transmission(None, (0, 1, 3, 5), rng.integers(-3, 4, (4, ROWS, COLUMNS)).astype(np.int32))
    mask = np.zeros(sedic.mask_shape(plan.codec, (72, 40)), np.bool_)
    mask[2:8, 3:11] = True
    thing = MaskedObject(object_text("cars", "under grey sky"), mask)
    tables = gsc.load_tables(folder, fluxes.CHANNELS)
    payload = sedic.write(plan.codec, SENTENCE, channels, [thing], tables, (0, 1, 3, 5))
    assert len(payload.sections) == 8
    whole = decoder.decode(payload)
    assert whole is not None and whole.shape == (40, 72, 3)
    for lost in range(8):
        shown = decoder.decode(
            Payload(tuple(None if at == lost else one for at, one in enumerate(payload.sections)))
        )
        assert shown is not None and shown.shape == whole.shape
        assert not np.array_equal(shown, whole), "each has a say"
    assert decoder.decode(Payload((None,) * 7 + payload.sections[7:])) is None, "a mask alone shows nothing"
