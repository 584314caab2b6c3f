"""SGGIC: texts and a half-size picture; masks found by name in what arrived; objects blended in; steps foretold."""

import json
from dataclasses import replace
from typing import Any

import clipsegs
import diffusions
import fluxes
import numpy as np
import pytest
import torch
from PIL import Image

from link import transform
from link.analysis import analyst
from link.analysis.segmentation import SegmentationModel
from link.bitstream.latent import LatentTables
from link.codecs import SYNTAXES, gsc, sggic
from link.codecs.gsc import Transmission
from link.codecs.objects import ObjectText, object_text
from link.config import Codec
from link.errors import BudgetError, ModelMissingError, PartialError, UsageError
from link.frame import Frame, Payload
from link.models import transform_folder
from receiver.clipseg import ClipSegFinder
from receiver.codecs.sggic import SggicDecoder
from receiver.dyndiff import FEATURES, DynDiff, Look, Ranges, detect_edges, normalise
from receiver.generator import Sampling
from receiver.masking import ClassMaskFinder
from receiver.refinement import blend
from scenarios import schema
from scenarios.training import dyndiff as training
from scenarios.training.data import Pictures
from scenarios.training.request import TrainingRequest
from sender.codecs.sggic import SggicEncoder
from sender.objects import FreeDescriber, WordLimits
from sender.transform import AnalysisTransform

TABLES = LatentTables.generic(6)
HALF = (32, 24)
OVERALL = "dim street, large grey building left, small red car right"
CAR = ObjectText("car", "dim street, small red car right")
BUILDING = ObjectText("building", "dim street, large grey building left")


def codec(**fields: Any) -> Codec:
    return Codec.model_validate({"name": "sggic", "channels": 2, "frame_bytes": 400, **fields})


def write(plan, texts=(CAR, BUILDING)):
    rng = np.random.default_rng(1)
    sent = Transmission(None, (0, 1), rng.integers(-2, 3, (2, 2, 2)).astype(np.int32))
    return sggic.write(plan, OVERALL, sent, texts, TABLES, [0, 1])


def read(plan, *sections):
    return sggic.read(plan, Payload(sections), HALF, TABLES)


# Sections


def test_sections_come_back_and_each_lost_one_costs_what_it_held_alone():
    plan = codec()
    sections = write(plan).sections
    kinds = [SYNTAXES["sggic"].kind(plan, at) for at in range(len(sections))]
    assert kinds == ["caption", "channels", "channels", "object", "object"], "and no mask"
    whole = read(plan, *sections)
    assert (whole.overall, whole.texts, whole.reference.channels) == (OVERALL, (CAR, BUILDING), (0, 1))
    for lost in range(len(sections)):
        heard = read(plan, *(None if at == lost else section for at, section in enumerate(sections)))
        assert (heard.overall is None) == (lost == 0)
        assert heard.reference.channels == tuple(at for at in (0, 1) if at + 1 != lost)
        assert heard.texts == tuple(text for at, text in ((3, CAR), (4, BUILDING)) if at != lost)
        assert heard.anything
    assert not read(plan, *[None] * 5).anything


def test_bytes_are_those_of_this_version():
    """A change here is a change of the wire format."""
    golden = ["00e438d0723d", "ec3f", "f70c18", "00e2bf3686", "00e2cf"]
    assert [section.hex() for section in write(codec()).sections if section is not None] == golden


def test_the_reference_is_of_half_the_size():
    plan = schema.load("mars-relay", (), {"codec.name": "sggic", "codec.channels": 32}).session()
    encoder = SggicEncoder.from_session(plan)
    rng = np.random.default_rng(2)
    pixels = np.asarray(
        Image.fromarray(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)).resize((256, 192)), np.uint8
    )
    payload = encoder.encode(Frame(1, 0, pixels, "drawn"))
    tables = gsc.load_tables(transform_folder(plan), 32)
    heard = sggic.read(plan.codec, payload, (128, 96), tables)
    assert heard.reference.channels == tuple(range(32)) and heard.reference.maps.shape == (32, 6, 8)
    assert sggic.half_size((17, 33)) == (9, 17)
    contents = SYNTAXES["sggic"].reader(plan)
    assert contents is not None
    assert np.array_equal(contents(payload).maps[3], heard.reference.maps[3])


class Answers:
    """A vision language model with one answer."""

    def __init__(self, answer):
        self.answer, self.words = answer, []

    def ask(self, _pixels, _question, words):
        self.words.append(words)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_what_is_said_of_objects_is_sent_and_where_they_are_is_not():
    plan = schema.load("mars-relay", (), {"codec.name": "sggic"}).session()
    folder = transform_folder(plan)
    own = codec(caption="vlm", channels=3, frame_bytes=2000)
    asked = Answers("OVERALL: A quiet street.\nOBJECT: Red car | small, rusty\nOBJECT: Unicorn | white")
    tables, analysis = gsc.load_tables(folder, 32), AnalysisTransform.from_pretrained(folder)
    made = SggicEncoder(own, analysis, tables, FreeDescriber(asked, WordLimits(24, 4, 20)), (64, 48))
    payload = made.encode(Frame(1, 0, np.full((48, 64, 3), 120, np.uint8), "drawn"))
    heard = sggic.read(own, payload, HALF, tables)
    assert heard.overall == "A quiet street."
    assert [item.prompt for item in heard.texts] == ["Red car: small, rusty", "Unicorn: white"]
    assert len(payload.sections) == 1 + 3 + 2 and asked.words == [24 + 3 * 24]
    made.adjust(own.model_copy(update={"frame_bytes": 3}))
    with pytest.raises(BudgetError, match=r"frame 1 .drawn.: codec sggic: frame_bytes 3 is too small"):
        made.encode(Frame(1, 0, np.full((48, 64, 3), 120, np.uint8), "drawn"))
    asked.answer = OSError("no route")
    with pytest.raises(PartialError, match=r"frame 1 .drawn.: no description: no route"):
        made.encode(Frame(1, 0, np.full((48, 64, 3), 120, np.uint8), "drawn"))


# Masks by name


class Shares:
    """A segmentation model that is as sure as it is told to be."""

    def __init__(self, names, shares):
        self.names, self._shares, self.looks = names, shares, 0

    def shares(self, _):
        self.looks += 1
        return self._shares


PIXELS = np.zeros((6, 4, 3), np.uint8)


def test_things_are_found_by_their_nouns_in_the_scene_that_is_named():
    street, planet = np.zeros((2, 6, 4), np.float32), np.zeros((2, 6, 4), np.float32)
    street[0, :2], street[1, 3:] = 0.25, 0.75
    planet[0, :1], planet[1, 2] = 0.5, 1.0
    models: Any = {
        "street": Shares(("sky", "car"), street),
        "planet": Shares(("sky", "rock"), planet),
    }
    finder = ClassMaskFinder(models)
    found = finder.find(PIXELS[:], CAR)
    assert found is not None and np.array_equal(found, street[1])
    assert finder.find(PIXELS[:], ObjectText("sky", "dim street, huge white sky across")) is not None
    both = finder.find(PIXELS[:], object_text("Skies above the sky", "grey"))
    assert both is not None and np.array_equal(both, np.maximum(street[0], planet[0])), (
        "free words: any scene"
    )
    assert finder.find(PIXELS[:], object_text("unicorn", "white")) is None
    middle = finder.find(PIXELS[:], ObjectText("middle", "bright picture, green middle"))
    assert middle is not None and middle[:, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert finder.find(PIXELS[:], ObjectText("ground", "bright test card, grey ground")) is None, "all of it"
    assert models["street"].looks == models["planet"].looks == 1
    assert finder.agree(PIXELS[:], "dim street, small red car right") == pytest.approx(0.75)
    assert finder.agree(PIXELS, "") == 0.0


def test_shares_of_the_shipped_model_say_what_its_labels_say():
    model = SegmentationModel(analyst.place("segmentation-street"))
    rng = np.random.default_rng(3)
    pixels = np.asarray(
        Image.fromarray(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)).resize((128, 96)), np.uint8
    )
    shares = model.shares(pixels)
    assert shares.shape == (11, 96, 128) and np.allclose(shares.sum(0), 1.0, atol=1e-4)
    assert (shares.argmax(0) == model.find(pixels).labels).mean() > 0.97


def test_clipseg_finds_any_words(tmp_path):
    clipsegs.build(tmp_path / "model")
    finder = ClipSegFinder(tmp_path / "model")
    pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    car, sky = (finder.find(pixels, object_text(name, "")) for name in ("car", "sky"))
    assert car is not None and sky is not None and car.shape == (48, 64)
    assert 0.0 < car.min() < car.max() < 1.0, "soft, without a threshold"
    assert not np.allclose(car, sky, atol=1e-4)
    logits = finder._model(**finder._given(pixels, "car")).logits.reshape(1, 1, 32, 32)
    expected = torch.nn.functional.interpolate(logits.sigmoid(), (48, 64), mode="bilinear")
    assert np.allclose(car, expected[0, 0].detach().numpy(), atol=1e-6)
    alike = [finder.agree(pixels, said) for said in ("a street", "sky", "a street " * 40)]
    assert all(-1.0 <= one <= 1.0 for one in alike) and alike[0] != alike[1]
    with pytest.raises(ModelMissingError, match="no such folder; a CLIPSegForImageSegmentation was expected"):
        ClipSegFinder(tmp_path / "none")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ModelMissingError, match="no usable CLIPSegForImageSegmentation"):
        ClipSegFinder(tmp_path / "model")


# Refinement


def test_blending_takes_each_pixel_from_one_picture_or_mixes_them():
    rng = np.random.default_rng(5)
    new, old = (rng.integers(0, 256, (3, 4, 3)).astype(np.uint8) for _ in range(2))
    mask = np.repeat(np.array([[0.0], [0.25], [1.0]], np.float32), 4, 1)
    made = blend(new, old, mask)
    assert np.array_equal(made[0], old[0]) and np.array_equal(made[2], new[2])
    mixed = 0.25 * new[1].astype(float) + 0.75 * old[1]
    assert np.abs(made[1] - mixed).max() <= 0.5


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    fluxes.build(folder)
    diffusions.build(folder / "sd21" / "generator")
    clipsegs.build(folder / "flux" / "mask-finder")
    ranges = Ranges(tuple(FEATURES), (0.0,) * 6, (1.0, 1.0, 3000.0, 1.0, 1.0, 1.0), (1, 5), (1.0, 4.0))
    torch.manual_seed(1)
    DynDiff(ranges).save(folder / "dyndiff")
    return folder


@pytest.fixture
def pulled(home, monkeypatch):
    monkeypatch.setenv("FARLINK_MODELS", str(home))


def toy(kind="flux", profile=None, **fields):
    fields = {"name": "sggic", "generator": kind, "steps": 2, "objects": 1, **fields}
    return SggicDecoder.from_session(fluxes.session(profile or {}, fields))


def sent(decoder):
    """Caption, ids, four channels of the half-size picture, an object."""
    rng = np.random.default_rng(4)
    shape = transform.grid(*sggic.half_size((72, 40)))
    channels = Transmission(None, (0, 1, 3, 5), rng.integers(-3, 4, (4, *shape)).astype(np.int32))
    text = [object_text("cars", "under grey sky")]
    return sggic.write(decoder._codec, "a street", channels, text, decoder._tables, (0, 1, 3, 5))


@pytest.mark.usefixtures("pulled")
@pytest.mark.parametrize("kind", ["flux", "sd21"])
def test_sections_become_a_picture_on_either_generator(kind):
    decoder = toy(kind)
    payload = sent(decoder)
    assert len(payload.sections) == 7
    whole, again = decoder.decode(payload), toy(kind).decode(payload)
    assert whole is not None and whole.shape == (40, 72, 3)
    assert np.array_equal(whole, again), "same seed, same picture"
    for lost in range(7):
        shown = decoder.decode(
            Payload(tuple(None if at == lost else one for at, one in enumerate(payload.sections)))
        )
        assert shown is not None and shown.shape == whole.shape
        assert not np.array_equal(shown, whole), "each has a say"
    assert decoder.decode(Payload((None,) * 7)) is None


class Finds:
    """A finder that finds what it is told to, and says where it was asked."""

    def __init__(self, mask):
        self.mask, self.asked = mask, []

    def find(self, pixels, item):
        self.asked.append((pixels, item.name))
        return self.mask

    def agree(self, _pixels, _said):
        return 0.5


@pytest.mark.usefixtures("pulled")
def test_an_object_is_refined_where_it_is_found_and_nowhere_else():
    decoder = toy()
    refining, payload = decoder.refining, sent(decoder)
    mask = np.zeros((40, 72), np.float32)
    mask[8:24, 16:48] = 1.0
    finder = Finds(mask)
    refining.parts = replace(refining.parts, finder=finder)
    made = decoder.decode(payload)
    refining.parts = replace(refining.parts, finder=None)
    plain = decoder.decode(payload)
    assert made is not None and plain is not None
    assert np.array_equal(made[mask == 0], plain[mask == 0]), "bit-equal outside"
    assert (made[mask == 1] != plain[mask == 1]).any()
    wish = decoder.wish(payload)
    shown = refining.reference(wish)
    assert shown.shape == (48, 80, 3), "in whole cells"
    ((seen, name),) = finder.asked
    assert name == "cars" and np.array_equal(seen, shown[:40, :72]), "in what arrived, not in what was drawn"
    refining.parts = replace(refining.parts, finder=Finds(np.full((40, 72), 0.001, np.float32)))
    faint = decoder.decode(payload)
    assert np.array_equal(faint, plain), "no pass for what changes no grey level"
    bare = Payload(payload.sections[:1] + (None,) * 5 + payload.sections[6:])
    asked = Finds(mask)
    refining.parts = replace(refining.parts, finder=asked)
    assert decoder.decode(bare) is not None
    assert len(asked.asked) == 1, "without a reference it is looked for in the picture that was drawn"


@pytest.mark.usefixtures("pulled")
def test_a_control_that_knows_channels_is_shown_those_of_the_enlarged_reference(home):
    channels = toy(profile={"controlnet": str(home / "flux" / "channels")})
    refining = channels.refining
    assert refining.parts.reanalysis is not None and toy().refining.parts.reanalysis is None
    shown = refining.reference(channels.wish(sent(channels)))
    made = refining.draw(refining.recode(shown), shown, "a street", Sampling(2))
    refining.parts = replace(refining.parts, reanalysis=lambda _: np.full((6, 3, 5), 7, np.int32))
    other = refining.draw(refining.recode(shown), shown, "a street", Sampling(2))
    assert made.shape == other.shape and not np.array_equal(made, other)


# DynDiff


def test_edges_are_thin_and_go_on_from_strong_to_weak():
    step = np.zeros((12, 16))
    step[:, 8:] = 200.0
    edges = detect_edges(step)
    assert edges.sum(1).tolist() == [1] * 12 and set(np.nonzero(edges)[1]) <= {7, 8}
    assert not detect_edges(np.full((12, 16), 90.0)).any()
    ramp = np.zeros((12, 16))
    ramp[:, 8:] = np.linspace(35.0, 80.0, 12)[:, None]  # Sobel answers four times the step: weak, then strong
    assert detect_edges(ramp).sum() >= 12
    weak = np.zeros((12, 16))
    weak[:, 8:] = 30.0
    assert not detect_edges(weak).any(), "an edge without a strong place is none"


def look(pixels, agreement=0.5, bpp=0.25):
    return Look(pixels, agreement, bpp)


def test_features_are_those_of_their_formulas():
    flat = np.full((32, 32, 3), 77, np.uint8)
    assert {name: of(look(flat)) for name, of in FEATURES.items()} == pytest.approx(
        {"agreement": 0.5, "edges": 0.0, "blur": 0.0, "peak": 0.0, "spread": 0.0, "bpp": 0.25}, abs=1e-6
    )
    noise = np.repeat(
        np.random.default_rng(0).normal(128, 20, (96, 96, 1)).clip(0, 255).astype(np.uint8), 3, 2
    )
    # of a normal distribution the squared mean over the mean square is 2/pi; a Laplacian adds up 20 variances
    assert 0.5 < FEATURES["peak"](look(noise)) < 0.8
    assert FEATURES["blur"](look(noise)) == pytest.approx(20 * 400, rel=0.1)
    assert 0.6 < FEATURES["spread"](look(noise)) < 0.85
    # One place by hand, by eq. 1 of BRISQUE: a Gaussian window of 11 x 11 with a deviation of 7/6.
    grey, at = look(noise).grey, np.arange(-5, 6)
    weights = np.exp(-(at**2) / 2 / (7 / 6) ** 2)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    near = grey[43:54, 47:58]
    mean = (weights * near).sum()
    deviation = np.sqrt((weights * (near - mean) ** 2).sum())
    assert normalise(grey)[48, 52] == pytest.approx((grey[48, 52] - mean) / (deviation + 1), rel=1e-3)


def test_dyndiff_chooses_within_its_ranges_and_is_read_as_it_was_written(tmp_path):
    ranges = Ranges(("blur", "bpp"), (0.0, 0.0), (100.0, 1.0), (2, 80), (0.0, 10.0))
    made = DynDiff(ranges)
    made.save(tmp_path)
    again = DynDiff.from_pretrained(tmp_path)
    assert again.ranges == ranges
    pixels = np.random.default_rng(1).integers(0, 255, (24, 32, 3)).astype(np.uint8)
    steps, guidance = again.choose(look(pixels))
    assert (steps, guidance) == made.choose(look(pixels))
    assert 2 <= steps <= 80 and 0.0 <= guidance <= 10.0
    assert [made.unscale(0.0, 0.0), made.unscale(1.0, 1.0)] == [(2, 0.0), (80, 10.0)]
    assert ranges.scale({"blur": 1e9, "bpp": float("nan")}).tolist() == [1.0, 0.0]
    config = json.loads((tmp_path / "config.json").read_text())
    for key, bad in (
        ("features", ["blur", "taste"]),
        ("steps", [0, 4]),
        ("lows", [0.0]),
        ("guidance", [3.0, 1.0]),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, key: bad}))
        with pytest.raises(ModelMissingError, match="no usable DynDiff"):
            DynDiff.from_pretrained(tmp_path)
    with pytest.raises(ModelMissingError, match="no usable DynDiff"):
        DynDiff.from_pretrained(tmp_path / "none")


@pytest.mark.usefixtures("pulled")
def test_steps_and_guidance_are_those_foretold_of_what_arrived(home):
    decoder = toy(adaptive=True, profile={"dyndiff": str(home / "dyndiff")})
    payload, refining = sent(decoder), decoder.refining
    shown = decoder.decode(payload)
    wish = decoder.wish(payload)
    assert refining.parts.dyndiff is not None
    reference = refining.reference(wish)
    foretold, seen = refining.choose(wish, reference), refining.look(wish, reference)
    assert seen.bpp == pytest.approx(8 * payload.size_bytes / (72 * 40)) and seen.pixels.shape == (40, 72, 3)
    assert (foretold.steps, foretold.guidance) == refining.parts.dyndiff.choose(seen)
    fixed = toy(steps=foretold.steps, guidance=foretold.guidance)
    assert np.array_equal(shown, fixed.decode(payload)), "what is drawn is what is said"
    bare = decoder.wish(Payload(payload.sections[:1] + (None,) * 6))
    assert refining.choose(bare, refining.reference(bare)).steps == 2, "nothing to foretell it from"


def test_what_dyndiff_needs_is_said_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("FARLINK_MODELS", str(tmp_path))
    fluxes.build(tmp_path)
    with pytest.raises(ModelMissingError, match=r"mask-finder: no such folder"):
        toy()
    with pytest.raises(
        UsageError, match=r"codec.adaptive needs profile.dyndiff=DIR, as farlink train dyndiff leaves"
    ):
        toy(objects=0, caption="none", adaptive=True)
    with pytest.raises(ModelMissingError, match=r"elsewhere: no usable DynDiff"):
        toy(objects=0, caption="none", adaptive=True, profile={"dyndiff": str(tmp_path / "elsewhere")})
    assert toy(objects=0).refining.parts.finder is None


def test_the_loss_asks_for_few_steps():
    """Where features say nothing the answer of least loss is the mean of p* over 1 + lambda."""
    wanted = torch.tensor([0.2, 0.8, 0.5])
    answers = torch.linspace(0, 1, 1001)
    for penalty in (0.0, 0.16, 1.0):
        losses = torch.stack([training.loss(one.expand(3), wanted, penalty) for one in answers])
        assert float(answers[losses.argmin()]) == pytest.approx(0.5 / (1 + penalty), abs=2e-3)


def row(feature, steps, guidance):
    features = dict.fromkeys(FEATURES, 0.0) | {"blur": feature}
    return {
        "name": str(feature),
        "features": features,
        "steps": [abs(one - steps) for one in training.STEPS],
        "guidance": [abs(one - guidance) for one in training.GUIDANCE],
    }


def test_it_learns_what_the_features_say():
    rows = [row(0.1 * n, 16 if n % 10 > 4 else 4, 4.0 if n % 10 > 4 else 1.0) for n in range(10)]
    made = training.learn(rows, 1, 150)
    low, high = (made.foretell(rows[at]["features"]) for at in (1, 8))
    assert low[0] + 3 <= high[0] <= 12, "half of what is best, for the penalty"
    assert low[1] < 1.5 and high[1] > 3.5


def test_pictures_of_the_same_name_are_searched_each(tmp_path, monkeypatch):
    """As `train/000000.png` and `val/000000.png` are."""
    monkeypatch.setattr(training, "STEPS", (1,))
    monkeypatch.setattr(training, "GUIDANCE", (1.0,))
    searched = []

    class Searching:
        def look(self, pixels, name):
            searched.append(int(pixels.mean()))
            return {"name": name, "features": {}, "steps": [0.1], "guidance": [0.1]}

    sets = []
    for name, shade in (("train", 10), ("val", 240)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (256, 192), (shade,) * 3).save(tmp_path / name / "000000.png")
        sets.append(training.pick(Pictures.open(tmp_path / name), 3))
    request, kept = TrainingRequest(out=tmp_path), tmp_path / "search.jsonl"
    searching: Any = Searching()
    for _ in range(2):
        for one in sets:
            training.search_all(searching, one, request, kept, lambda _line: None)
    assert searched == [10, 240], "and a second time none of them"


def test_it_is_trained_and_tested_on_different_pictures_and_searches_once(tmp_path, monkeypatch):
    streets = tmp_path / "streets"
    streets.mkdir()
    rng = np.random.default_rng(7)
    for name in ("a1", "a2", "b1"):
        drawn = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(drawn).resize((256, 192)).save(streets / f"{name}.png")
    monkeypatch.setattr(training, "STEPS", (1, 2))
    few = {"codec.name": "sggic", "codec.steps": 2, "profile.device": "cpu"}
    monkeypatch.setattr(training, "open_session", lambda _: schema.load("mars-relay", (), few).session())
    monkeypatch.setattr(training, "GUIDANCE", (1.0, 2.0))
    said: list[str] = []
    request = TrainingRequest(out=tmp_path / "out", streets=streets, leave_out="b", steps=2)
    file = training.dyndiff(request, said.append)
    lines = [json.loads(line) for line in said]
    assert [line["searched"] for line in lines] == ["a1.png", "a2.png", "b1.png", 2]
    assert lines[-1]["held_out"] == 1 and lines[-1]["steps_fixed"] == 2
    assert 0.0 < lines[-1]["lpips"] < 1.5 and 1 <= lines[-1]["steps"] <= 2
    DynDiff.from_pretrained(file.parent)
    kept = tmp_path / "out" / "search.jsonl"
    kept.write_text(kept.read_text() + '{"name": "cut sh')
    first, said[:] = file.read_bytes(), []
    assert training.dyndiff(request, said.append).read_bytes() == first, "same searches, same weights"
    assert len(said) == 1
    with pytest.raises(UsageError, match="at least 2"):
        training.dyndiff(replace(request, examples=1, out=tmp_path / "one"), said.append)
