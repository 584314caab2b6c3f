"""Scores of pictures: against re-computations in plain sight, with weights of the real layout and toy size."""

import hashlib
import math
import warnings
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import lpips
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.io import savemat
from scipy.linalg import sqrtm
from torch.nn import functional
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchvision.models import Inception3
from torchvision.models.vgg import cfgs, make_layers
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from link.errors import ModelMissingError, UsageError
from link.frame import Pixels
from scenarios.scoring import niqe, perceptual, pictures, quality, sets
from scenarios.scoring.clip import Clip, clip
from scenarios.scoring.niqe import NiqeModel

SIZE = (192, 224)


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def natural(seed: int, size: tuple[int, int] = SIZE) -> Pixels:
    """Noise whose spectrum falls as that of photographs does, over blocks with edges."""
    rng = generator(seed)
    reach = np.hypot(*np.meshgrid(np.fft.fftfreq(size[1]), np.fft.fftfreq(size[0])))
    waves = np.fft.fft2(rng.normal(size=(3, *size))) / np.maximum(reach, 1 / max(size)) ** 1.2
    noise = np.fft.ifft2(waves).real
    noise = noise / noise.std() * 30
    blocks = np.kron(rng.normal(0, 25, (3, size[0] // 16, size[1] // 16)), np.ones((16, 16)))
    return (128 + noise + blocks).clip(0, 255).transpose(1, 2, 0).astype(np.uint8)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FARLINK_MODELS", str(tmp_path))
    return tmp_path


# The table


def test_scores_that_need_nothing_are_those_of_a_run():
    sent = [natural(1), natural(2), natural(3, (64, 64))]
    received = [natural(4), sent[1], natural(5, (64, 64))]
    found = pictures.measure(sent, received, ["psnr_db", "ms_ssim"], 1)
    psnr, ssim = found.by_picture["psnr_db"], found.by_picture["ms_ssim"]
    assert psnr[0] == quality.psnr_db(sent[0], received[0]) and psnr[1] is None and psnr[2] is not None
    assert ssim[0] == pytest.approx(quality.ms_ssim([(0, sent[0], received[0])])[0], abs=1e-6)
    assert ssim[1] == pytest.approx(1.0) and ssim[2] is None
    assert "infinite" in found.notes["psnr_db"] and "64x64" in found.notes["ms_ssim"]
    assert found.of_set == {}


def test_what_is_not_at_hand_is_none_and_says_where_it_belongs(home, monkeypatch):
    monkeypatch.setattr(pictures, "vgg16_path", lambda: home / pictures.VGG16)
    names = ["dists", "clip_similarity", "clip_iqa", "niqe", "fid", "kid"]
    found = pictures.measure([natural(1)] * 2, [natural(2)] * 2, names, 1)
    assert set(found.notes) == set(names)
    assert all(str(home) in note for note in found.notes.values())
    assert all(values == (None, None) for values in found.by_picture.values())
    assert found.of_set == {"fid": None, "kid": None}


def test_damaged_weights_are_not_used(home):
    path = pictures.inception_path()
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cut short")
    assert "damaged" in pictures.inception_missing()


def test_pictures_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match=r"no picture score 'fud'.*psnr_db"):
        pictures.measure([], [], ["fud"], 1)
    with pytest.raises(ValueError, match="2 pictures sent and 1 received"):
        pictures.measure([natural(1)] * 2, [natural(1)], ["psnr_db"], 1)
    with pytest.raises(ValueError, match="picture 0 was sent as 224x192 and came back as 64x64"):
        pictures.measure([natural(1)], [natural(1, (64, 64))], ["psnr_db"], 1)


def test_no_pictures_have_no_scores():
    found = pictures.measure([], [], ["psnr_db", "fid"], 1)
    assert found.by_picture == {"psnr_db": ()} and found.of_set == {"fid": None}


def test_batches_hold_pictures_of_one_size_and_not_too_many(monkeypatch):
    monkeypatch.setattr(pictures, "_BATCH_PIXELS", 2 * 64 * 64)
    shapes = [(64, 64)] * 5 + [(96, 96)] * 2
    blank = [np.zeros((*shape, 3), np.uint8) for shape in shapes]
    assert list(pictures._alike(blank)) == [(0, 2), (2, 4), (4, 5), (5, 6), (6, 7)]


# DISTS


def test_dists_agrees_with_a_plain_computation(tmp_path, monkeypatch):
    torch.manual_seed(1)
    layers = make_layers(cfgs["D"])
    monkeypatch.setattr(
        "torchmetrics.functional.image.dists.vgg16", lambda weights: SimpleNamespace(features=layers)
    )
    weights = tmp_path / f"vgg16-{hashlib.sha256(b'toy').hexdigest()[:8]}.pth"
    weights.write_bytes(b"toy")
    monkeypatch.setattr(pictures, "vgg16_path", lambda: weights)
    pictures._dists_network.cache_clear()
    sent, received = [natural(n, (64, 80)) for n in (1, 2)], [natural(n, (64, 80)) for n in (3, 2)]
    found = pictures.measure(sent, received, ["dists"], 1).by_picture["dists"]
    network = pictures._dists_network()
    pictures._dists_network.cache_clear()
    alpha, beta = network.alpha.flatten().double(), network.beta.flatten().double()
    window = torch.tensor([0.5, 1.0, 0.5])
    window = torch.outer(window, window) / 4
    with torch.inference_mode():
        for a, b, value in zip(sent, received, found):
            similar, at = 0.0, 0
            x, y = (torch.from_numpy(p).permute(2, 0, 1)[None].float() / 255 for p in (a, b))
            mean, spread = (
                torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
            )
            stages = [[x, y]]
            x, y = (x - mean) / spread, (y - mean) / spread
            for layer in list(layers)[:30]:
                if isinstance(layer, torch.nn.MaxPool2d):
                    stages.append([x, y])
                    kernel = window.expand(x.shape[1], 1, 3, 3)
                    x, y = (
                        (
                            functional.conv2d(v**2, kernel, stride=2, padding=1, groups=v.shape[1]) + 1e-12
                        ).sqrt()
                        for v in (x, y)
                    )
                else:
                    x, y = layer(x), layer(y)
            for one, other in [*stages, [x, y]]:
                for channel in range(one.shape[1]):
                    p, q = one[0, channel].double(), other[0, channel].double()
                    light = (2 * p.mean() * q.mean() + 1e-6) / (p.mean() ** 2 + q.mean() ** 2 + 1e-6)
                    both = ((p - p.mean()) * (q - q.mean())).mean()
                    form = (2 * both + 1e-6) / (p.var(correction=0) + q.var(correction=0) + 1e-6)
                    similar += (alpha[at] * light + beta[at] * form).item()
                    at += 1
            assert at == len(alpha)
            assert value == pytest.approx(1 - similar / (alpha.sum() + beta.sum()).item(), abs=1e-5)
    assert found[0] > found[1] == pytest.approx(0, abs=1e-5)


# FID and KID


@pytest.mark.parametrize(("count", "width"), [(40, 8), (6, 12)])
def test_fid_agrees_with_the_root_of_a_matrix(count, width):
    rng = generator(count)
    a, b = rng.normal(size=(count, width)), rng.normal(0.3, 1.4, (count + 3, width))
    product = np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a, rowvar=False))
    expected += np.trace(np.cov(b, rowvar=False)) - 2 * np.trace(sqrtm(product)).real
    assert sets.fid(a, b) == pytest.approx(expected, rel=1e-5)
    assert sets.fid(a, a) == pytest.approx(0, abs=1e-9)


class Means(torch.nn.Module):
    """Features of a picture that torchmetrics can be given."""

    num_features = 12

    def forward(self, given: Any) -> Any:
        return functional.adaptive_avg_pool2d(given.float(), 2).flatten(1) / 255


def test_fid_and_kid_agree_with_torchmetrics():
    rng = generator(7)
    real, made = (
        torch.from_numpy(rng.integers(0, top, (30, 3, 8, 8)).astype(np.uint8)) for top in (256, 200)
    )
    a, b = (Means()(part).double().numpy() for part in (real, made))
    theirs = FrechetInceptionDistance(feature=Means(), input_img_size=(3, 8, 8)).set_dtype(torch.float64)
    kernel = KernelInceptionDistance(feature=Means(), subsets=1, subset_size=30)
    for judge in (theirs, kernel):
        judge.update(real, real=True)
        judge.update(made, real=False)
    assert sets.fid(a, b) == pytest.approx(theirs.compute().item(), abs=1e-6)
    assert sets.kid(a, b, 1) == pytest.approx(kernel.compute()[0].item(), abs=1e-6)


def test_kid_of_many_pictures_is_a_mean_over_drawn_subsets(monkeypatch):
    rng = generator(3)
    a, b = rng.normal(size=(60, 5)), rng.normal(0.5, 1, (60, 5))
    whole = sets.kid(a, b, 1)
    monkeypatch.setattr(sets, "SUBSET_SIZE", 20)
    assert sets.kid(a, b, 1) == sets.kid(a, b, 1) != sets.kid(a, b, 2)
    assert 0.5 * whole < sets.kid(a, b, 1) < 2 * whole


def test_sets_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="two or more"):
        sets.fid(np.ones((1, 3)), np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(4, 2\)"):
        sets.kid(np.ones((4, 3)), np.ones((4, 2)), 1)


@pytest.mark.slow
def test_inception_pools_as_tensorflow_does(home, monkeypatch):
    torch.manual_seed(2)
    plain = Inception3(num_classes=1008, aux_logits=False, transform_input=False, init_weights=False).eval()
    scratch = home / "weights.pth"
    torch.save(plain.state_dict(), scratch)
    digest = hashlib.sha256(scratch.read_bytes()).hexdigest()
    monkeypatch.setattr(sets, "INCEPTION", f"toy-{digest[:8]}.pth")
    path = pictures.inception_path()
    path.parent.mkdir(parents=True)
    scratch.rename(path)
    model = sets.inception(path)
    with torch.inference_mode():
        for name, channels in (("5b", 192), ("6c", 768), ("7b", 1280), ("7c", 2048)):
            own, theirs = getattr(model, f"Mixed_{name}"), getattr(plain, f"Mixed_{name}")
            x = torch.rand(1, channels, 5, 6)
            pooled = torch.zeros_like(x)
            for row in range(5):
                for column in range(6):
                    near = x[:, :, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
                    pooled[:, :, row, column] = near.amax((2, 3)) if name == "7c" else near.mean((2, 3))
            last = theirs.branch_pool(pooled)
            expected = torch.cat([theirs(x)[:, : -last.shape[1]], last], 1)
            assert torch.allclose(own(x), expected, atol=1e-5)
            assert not torch.allclose(own(x), theirs(x), atol=1e-5)
    features = sets.inception_features([natural(1), natural(2, (64, 64))], path)
    assert features.shape == (2, 2048) and features.std() > 0
    found = pictures.measure([natural(1), natural(2)], [natural(3), natural(4)], ["fid", "kid"], 1)
    assert found.of_set["fid"] > 0 and found.of_set["kid"] is not None and not found.notes
    sets.inception.cache_clear()


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save(OrderedDict(weight=torch.zeros(3)), path)
    with pytest.raises(ModelMissingError, match=r"other\.pth: not the Inception of FID"):
        sets.inception(path)


# CLIP


def toy_clip(folder: Any) -> None:
    torch.manual_seed(5)
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: at for at, token in enumerate(tokens)}
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=40).save_pretrained(folder)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1, "pad_token_id": len(tokens) - 1}
    config = CLIPConfig(
        text_config={**shape, **ends, "vocab_size": len(tokens), "max_position_embeddings": 40},
        vision_config={**shape, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        folder
    )


def test_clip_scores_agree_with_the_model_itself(home):
    folder = pictures.clip_folder()
    toy_clip(folder)
    sent, received = [natural(1), natural(2)], [natural(3), natural(2)]
    found = pictures.measure(sent, received, ["clip_similarity", "clip_iqa"], 1)
    assert not found.notes
    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPImageProcessor.from_pretrained(folder)
    tokens = CLIPTokenizer.from_pretrained(folder)(
        ["Good photo.", "Bad photo."], padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        images = [
            model(pixel_values=processor(images=[p], return_tensors="pt").pixel_values, **tokens)
            for p in received
        ]
        others = [
            model(pixel_values=processor(images=[p], return_tensors="pt").pixel_values, **tokens)
            for p in sent
        ]
    likeness = [
        functional.cosine_similarity(a.image_embeds, b.image_embeds).item() for a, b in zip(images, others)
    ]
    assert found.by_picture["clip_similarity"] == pytest.approx(likeness, abs=1e-5)
    assert likeness[0] < likeness[1] == pytest.approx(1.0)
    shares = [out.logits_per_image.softmax(-1)[0, 0].item() for out in images]
    assert found.by_picture["clip_iqa"] == pytest.approx(shares, abs=1e-5)
    clip.cache_clear()


def test_a_folder_without_a_clip_is_refused(tmp_path):
    with pytest.raises(ModelMissingError, match="no CLIP model"):
        Clip(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelMissingError, match="no CLIP model"):
        Clip(tmp_path)


# NIQE


@pytest.fixture(scope="module")
def model() -> NiqeModel:
    return NiqeModel.fit(natural(seed) for seed in range(40, 56))


def test_niqe_rises_with_what_is_done_to_a_picture(model):
    clean = natural(90)
    noisy = (clean + generator(1).normal(0, 25, clean.shape)).clip(0, 255).astype(np.uint8)
    small = Image.fromarray(clean).resize((56, 48), Image.Resampling.BOX)
    soft = np.asarray(small.resize((224, 192), Image.Resampling.BICUBIC))
    assert model.score(clean) < model.score(noisy)
    assert model.score(clean) < model.score(soft)


def test_niqe_models_are_read_back(model, home):
    folder = home / "scores" / "niqe"
    folder.mkdir(parents=True)
    savemat(
        folder / "niqe_image_params.mat",
        {"mu_prisparam": model.mean[None], "cov_prisparam": model.covariance},
    )
    wanted = model.score(natural(91))
    found = pictures.measure([natural(90)], [natural(91)], ["niqe"], 1)
    assert found.by_picture["niqe"] == pytest.approx((wanted,))
    model.save(folder / "niqe.npz")
    assert pictures.niqe_path() == folder / "niqe.npz"
    assert NiqeModel.load(folder / "niqe.npz").score(natural(91)) == wanted
    flat = np.full((*SIZE, 3), 128, np.uint8)
    found = pictures.measure([flat, flat[:96, :96]], [flat, flat[:96, :96]], ["niqe"], 1)
    assert found.by_picture["niqe"] == (None, None) and "flat" in found.notes["niqe"]


def test_bad_niqe_models_and_pictures_are_refused(model, tmp_path):
    bad = tmp_path / "niqe.npz"
    bad.write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"niqe\.npz: no NIQE model"):
        NiqeModel.load(bad)
    np.savez(bad, mean=np.zeros(3), covariance=np.zeros((3, 3)))
    with pytest.raises(UsageError, match=r"mean \(36,\)"):
        NiqeModel.load(bad)
    with pytest.raises(ValueError, match=r"two patches.*100x100"):
        model.score(natural(1, SIZE)[:100, :100])
    with pytest.raises(ValueError, match="64x64"):
        NiqeModel.fit([natural(1)[:64, :64]])
    with pytest.raises(ValueError, match="two sharp patches"):
        NiqeModel.fit([])
    with pytest.raises(ValueError, match="finite"):
        NiqeModel(np.full(36, np.nan), np.eye(36))


@pytest.mark.parametrize(("shape", "left", "right"), [(2.0, 1.0, 1.0), (0.8, 0.5, 1.5), (4.0, 2.0, 1.0)])
def test_the_fit_finds_the_parameters_that_were_drawn_from(shape, left, right):
    rng = generator(11)
    size = rng.gamma(1 / shape, 1, 200_000) ** (1 / shape)
    negative = rng.random(len(size)) < left / (left + right)
    values = np.where(negative, -left * size, right * size)
    found = [part[0] for part in niqe.fitted(values[None])]
    assert found == pytest.approx([shape, left, right], rel=0.04)


def test_niqe_features_agree_with_loops():
    grey = natural(12, (96, 96)).astype(float).mean(2)[:24, :24]
    normal, spread = niqe.normalised(grey)
    window = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
    window = np.outer(window, window) / window.sum() ** 2
    wide = np.pad(grey, 3, mode="edge")
    for row, column in ((0, 0), (5, 11), (23, 7)):
        near = wide[row : row + 7, column : column + 7]
        mean = (window * near).sum()
        deviation = math.sqrt(abs((window * near**2).sum() - mean**2))
        assert spread[row, column] == pytest.approx(deviation, abs=1e-6)
        assert normal[row, column] == pytest.approx((grey[row, column] - mean) / (deviation + 1), abs=1e-6)
    features = niqe._of_patches(normal[None])[0]
    rows = [normal, *(normal * np.roll(normal, shift, (0, 1)) for shift in ((0, 1), (1, 0), (1, 1), (1, -1)))]
    expected: list[float] = []
    for number, values in enumerate(rows):
        below = math.sqrt(np.mean([v**2 for v in values.ravel() if v < 0]))
        above = math.sqrt(np.mean([v**2 for v in values.ravel() if v > 0]))
        balance = below / above
        flat = np.abs(values).mean() ** 2 / (values**2).mean()
        wanted = flat * (balance**3 + 1) * (balance + 1) / (balance**2 + 1) ** 2
        shape = min(
            np.arange(200, 10001) / 1000,
            key=lambda g: abs(math.gamma(2 / g) ** 2 / (math.gamma(1 / g) * math.gamma(3 / g)) - wanted),
        )
        scale = math.sqrt(math.gamma(1 / shape) / math.gamma(3 / shape))
        left, right = below * scale, above * scale
        if number == 0:
            expected += [shape, (left + right) / 2]
        else:
            expected += [shape, (right - left) * math.gamma(2 / shape) / math.gamma(1 / shape), left, right]
    assert features == pytest.approx(expected, abs=1e-6)


# LPIPS on the AlexNet that comes with farlink


@pytest.fixture(scope="module")
def published() -> Any:
    """The package's own network and forward pass, with the weights of this farlink put in by name."""
    weights = load_file(perceptual.SHIPPED / perceptual.FILE)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    state = model.state_dict()
    for key in state:
        if key.startswith("net."):
            number, kind = key.split(".")[2:]
            state[key] = weights[f"features.{number}.{kind}"].float()
    model.load_state_dict(state)
    return model


def test_lpips_is_what_the_published_package_computes(published):
    sent, received = [natural(1), natural(2)], [natural(3), natural(2)]
    found = pictures.measure(sent, received, ["lpips"], 1)
    assert not found.notes
    one, other = (
        torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2) / 127.5 - 1 for seen in (sent, received)
    )
    with torch.no_grad():
        expected = published(one, other).flatten().tolist()
    assert found.by_picture["lpips"] == pytest.approx(expected, abs=1e-5)
    assert found.by_picture["lpips"][0] > 0.3 and found.by_picture["lpips"][1] == 0.0


def test_lpips_grows_with_noise_and_does_not_depend_on_the_batch():
    base = natural(4)
    noise = generator(5).normal(0, 1, base.shape)
    noisy = [np.clip(base + noise * scale, 0, 255).astype(np.uint8) for scale in (0, 4, 12, 36, 108)]
    values = quality.lpips_alex([(at, base, other) for at, other in enumerate(noisy)])
    assert values[0] == 0.0
    assert values == sorted(values) and 0.003 < values[1] < 0.06 and 0.5 < values[4] < 1.6
    assert quality.lpips_alex([(0, base, noisy[2])])[0] == pytest.approx(values[2], abs=1e-5)


def test_lpips_sees_blur_and_hardly_sees_light():
    base = natural(6)
    blurred = np.asarray(Image.fromarray(base).resize((56, 48)).resize((base.shape[1], base.shape[0])))
    lighter = np.clip(base.astype(int) + 6, 0, 255).astype(np.uint8)
    blur, light = quality.lpips_alex([(0, base, blurred), (1, base, lighter)])
    assert 0.2 < blur < 1.0 and light < 0.05
    assert quality.psnr_db(base, lighter) == pytest.approx(20 * math.log10(255 / 6), abs=0.3)


def test_pictures_too_small_for_lpips_have_none_and_the_notes_say_so():
    small = [natural(1, (16, 64)), natural(1, (32, 32))]
    found = pictures.measure(small, small, ["lpips"], 1)
    assert found.by_picture["lpips"] == (None, 0.0)
    assert "30 pixels" in found.notes["lpips"]
    with pytest.raises(ValueError, match="31 pixels"):
        perceptual.lpips_model()(torch.zeros(1, 3, 30, 64), torch.zeros(1, 3, 30, 64))


def test_lpips_can_be_trained_with():
    one, other = torch.rand(2, 3, 64, 64, requires_grad=True), torch.rand(2, 3, 64, 64)
    before = perceptual.lpips_model()(one, other)
    (gradient,) = torch.autograd.grad(before.sum(), one)
    after = perceptual.lpips_model()(one - 1e-2 * gradient / gradient.std(), other)
    assert (after < before).all()


def test_weights_that_are_not_alexnets_are_told(tmp_path, monkeypatch):
    with pytest.raises(ModelMissingError, match="not the convolutions of AlexNet"):
        perceptual.AlexNet(tmp_path)
    for name in (perceptual.FILE, "SHA256SUMS"):
        (tmp_path / name).write_bytes((perceptual.SHIPPED / name).read_bytes())
    monkeypatch.setattr(perceptual, "SHIPPED", tmp_path)
    assert perceptual.weights_missing.__wrapped__() is None
    with (tmp_path / perceptual.FILE).open("r+b") as file:
        file.seek(5000)
        file.write(b"\0\1\2\3")
    assert "damaged" in perceptual.weights_missing.__wrapped__()
    (tmp_path / perceptual.FILE).unlink()
    assert "missing" in perceptual.weights_missing.__wrapped__()


def test_kid_on_alexnet_tells_sets_apart_without_a_download(home):
    same = [natural(seed, (64, 64)) for seed in range(6)]
    alike = [natural(seed, (64, 64)) for seed in range(10, 16)]
    blurred = [np.asarray(Image.fromarray(one).resize((8, 8)).resize((64, 64))) for one in alike]
    near = pictures.measure(same, alike, ["kid_alexnet", "kid"], 1)
    far = pictures.measure(same, blurred, ["kid_alexnet"], 1)
    assert near.of_set["kid"] is None and "kid" in near.notes and "kid_alexnet" not in near.notes
    close = near.of_set["kid_alexnet"]
    assert close is not None and abs(close) < far.of_set["kid_alexnet"] / 5
    features = [sets.alexnet_features(part) for part in (same, blurred)]
    assert features[0].shape == (6, 256)
    assert far.of_set["kid_alexnet"] == pytest.approx(sets.kid(features[0], features[1], 1))
