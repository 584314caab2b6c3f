"""Training: two steps of every part by the command line, and what holds for all: resuming, averages, full disks."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from PIL import Image
from safetensors.numpy import load_file
from streets import street
from torch import nn
from typer.testing import CliRunner

from link import transform as transform_files
from link.bitstream import text as text_code
from link.codecs import gsc as codec
from link.errors import ModelMissingError, UsageError
from link.seeds import generator
from receiver.parts import ChannelControlNet
from receiver.text_encoder import TextEncoder
from scenarios.commands import train as command
from scenarios.scoring.perceptual import lpips_model
from scenarios.training import autoencoder, captions, flow, gsc
from scenarios.training.autoencoder import Autoencoder
from scenarios.training.data import Pictures
from scenarios.training.decoder import DecoderTraining
from scenarios.training.drawn import DrawnLatents
from scenarios.training.examples import load_or_make, make, stamp
from scenarios.training.loop import Ema, Recipe, train
from scenarios.training.parts import PARTS
from scenarios.training.request import SHIPPED, TrainingRequest, find
from scenarios.training.sources import open_streets
from scenarios.training.transform import Transform

SMALL = ("--size", "64x48", "--seed", "3")
TEXTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")

app = typer.Typer(pretty_exceptions_enable=False)
command.register(app)


def farlink_train(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def trained(*arguments):
    """Train by the command line and return its JSON object."""
    done = farlink_train(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def rows(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Streets with labels, other pictures, photos of two sizes, captions."""
    base = tmp_path_factory.mktemp("data")
    for name, numbers in (("train", range(3)), ("val", range(3, 5))):
        (base / name).mkdir()
        (base / f"{name}_labels").mkdir()
        for number in numbers:
            picture, labels = street(number)
            picture.save(base / name / f"{number}.png")
            labels.save(base / f"{name}_labels" / f"{number}.png")
    (base / "natural").mkdir()
    (base / "photos").mkdir()
    (base / "deep" / "streets").mkdir(parents=True)
    street(0)[0].save(base / "deep" / "streets" / "0.png")
    lines = []
    for number in range(5):
        street(number)[0].rotate(90, expand=True).save(base / "natural" / f"{number}.jpg")
        street(number, (70, 50) if number < 3 else (66, 97))[0].save(base / "photos" / f"{number}.png")
        lines.append(json.dumps({"file": f"{number}.png", "caption": f"a road,\nnumber {number % 2}"}))
    (base / "photos.jsonl").write_text("\n".join(lines[:4]))
    words = "a red car on the grey road under a bright blue sky near tall trees".split()
    (base / "captions").mkdir()
    answers = []
    for number in range(24):
        said = " ".join(generator(number, "words").permutation(words))
        answers.append(
            {"image": f"{number}.png", "objects": ["car"], "details": ["red car"], "overall": said}
        )
    (base / "captions" / captions.DOMAIN).write_text("\n".join(map(json.dumps, answers)))
    for name in captions.GENERAL:
        (base / "captions" / f"iiw_{name}.jsonl").write_text(json.dumps({"IIW": " ".join(words)}))
    return base


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """The parts that others build on, each trained for two steps."""
    base = tmp_path_factory.mktemp("runs")
    common = ("--streets", data / "train", *SMALL, "--steps", 2)
    results = {}
    for part, more in (
        ("autoencoder", ("--natural", data / "natural", "--batch", 2)),
        ("transform", ("--natural", data / "natural", "--batch", 2)),
        ("flow", ("--from", base, "--examples", 16, "--batch", 3)),
        ("control", ("--from", base, "--examples", 16, "--batch", 3)),
    ):
        results[part] = trained(part, "--out", base / part, *common, *more)
    return base, results


@pytest.mark.parametrize("part", ["autoencoder", "transform", "flow", "control"])
def test_two_steps_of_each_part(runs, part):
    base, results = runs
    found = rows(base / part)
    assert results[part]["step"] == 2 and results[part]["steps_now"] == 2
    assert results[part]["folder"] == str(base / part / "model")
    assert [row["step"] for row in found] == [2, 2]
    assert found[0]["seconds"] > 0 and found[0]["gradient"] > 0
    assert all(isinstance(value, int | float) for row in found for value in row.values() if value is not None)
    with Image.open(base / part / "samples" / "000002.png") as picture:
        assert picture.width % 64 == 0 and picture.height % 48 == 0


def test_the_receiver_loads_what_was_trained(runs):
    base, _ = runs
    assert find(base, "transformer", "--from") == base / "flow" / "model" / "transformer"
    made = [name for name, place in SHIPPED.items() if "analysis" not in place.parts and name != "segmenter"]
    assert len(made) >= 8 and all(find(base, name, "--from").is_dir() for name in made)
    control = ChannelControlNet.from_pretrained(base / "control" / "model" / "controlnet")
    assert control.config.codec_channels == transform_files.channels(base / "transform" / "model")
    assert float(control.controlnet_blocks[0].weight.detach().abs().max()) > 0  # it starts at zero
    vae = AutoencoderKL.from_pretrained(base / "autoencoder" / "model")
    assert vae.config.scaling_factor == 1.0


def test_a_vae_grows_from_one_of_fewer_channels():
    small = AutoencoderKL.from_pretrained(SHIPPED["vae"])
    had = small.config.latent_channels
    wide = autoencoder.widen(small)
    pictures = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        before = small.encode(pictures).latent_dist
        after = wide.encode(pictures).latent_dist
        assert after.mean.shape[1] == autoencoder.CHANNELS
        assert torch.allclose(after.mean[:, :had], before.mean, atol=1e-4)
        assert torch.allclose(after.logvar[:, :had], before.logvar, atol=1e-4)
        # Whatever the new channels say, nothing is made of it yet.
        assert torch.allclose(wide.decode(after.mean).sample, small.decode(before.mean).sample, atol=1e-4)


def test_two_steps_of_the_decoder_leave_the_latents_as_they_are(runs, data, tmp_path):
    base, earlier, out = runs[0], tmp_path / "from", tmp_path / "out"
    earlier.mkdir()
    for name in ("autoencoder", "transform", "flow", "control"):
        (earlier / name).symlink_to(base / name)
    (earlier / "segmenter").symlink_to(SHIPPED["segmenter"])
    common = ("--streets", data / "train", "--size", "128x80", "--seed", "3", "--batch", 2)
    done = trained(
        "decoder", "--out", out, *common, "--from", earlier, "--examples", 4, "--steps", 2, "--lr", 0.01
    )
    assert done["step"] == 2 and done["val_lpips"] > 0 and done["drawn_lpips"] > 0
    before = load_file(base / "autoencoder" / "model" / "diffusion_pytorch_model.safetensors")
    after = load_file(out / "model" / "diffusion_pytorch_model.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved and all(name.startswith(("decoder.", "post_quant_conv.")) for name in moved)
    assert {name for name in before if name.startswith("decoder.")} <= moved
    assert sorted(path.name for path in (out / "samples").iterdir()) == [
        "000002-drawn.png",
        "000002.png",
    ]
    small = farlink_train(
        "decoder", "--streets", data / "train", "--size", "64x48", "--out", tmp_path / "small"
    )
    assert small.exit_code == 2 and "31 pixels" in small.stderr


def test_a_decoder_learns_what_it_is_shown_and_resumes_to_the_same_bits(runs, data, tmp_path):
    def part():
        held = Pictures.open(data / "train")
        draws = [(1.0, lambda rng: held.whole(0, (64, 48)))]
        start = runs[0] / "autoencoder" / "model"
        return DecoderTraining(draws, [held.whole(0, (64, 48))], 1, start, lpips_model())

    recipe = Recipe(24, 3e-3, warmup=2, ema=0.0, save_every=8, sample_every=8)
    train(part(), recipe, tmp_path / "whole", lambda: 0.0, lambda line: None)
    scores = [row for row in rows(tmp_path / "whole") if "val_lpips" in row]
    assert scores[-1]["val_lpips"] < 0.9 * scores[0]["val_lpips"]

    def stop(line):
        if '"step": 16' in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(part(), recipe, tmp_path / "cut", lambda: 0.0, stop)
    train(part(), recipe, tmp_path / "cut", lambda: 0.0, lambda line: None)
    ends = [
        load_file(tmp_path / name / "model" / "diffusion_pytorch_model.safetensors")
        for name in ("whole", "cut")
    ]
    assert all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_drawn_windows_are_where_their_pictures_are_and_are_kept(tmp_path):
    latents = torch.arange(2 * 6 * 8).reshape(2, 1, 6, 8).half()
    pictures = latents.repeat_interleave(8, 2).repeat_interleave(8, 3).to(torch.uint8)
    made = DrawnLatents(latents, pictures, (4, 3))
    found, shown = made.draw(generator(1, "windows"), 20)
    assert found.shape == (20, 1, 3, 4) and shown.shape == (20, 1, 24, 32)
    assert torch.allclose(shown[:, :, ::8, ::8] * 255, found)
    assert len({tuple(window.flatten().tolist()) for window in found}) > 8


def test_a_drive_that_is_left_out_is_never_shown(data, tmp_path):
    request = TrainingRequest(streets=data / "train", leave_out="1")
    assert [path.stem for path in open_streets(request).files] == ["0", "2"]
    assert [path.stem for path in Pictures.open(data / "train", only="1").files] == ["1"]
    done = farlink_train(
        "transform", "--streets", data / "deep" / "streets", "--leave-out", "0", "--out", tmp_path
    )
    assert done.exit_code == 2 and "but 0*" in done.stderr


def test_each_number_of_channels_is_steered_to_its_own_cost(data):
    pictures = Pictures.open(data / "train")
    draws = [(1.0, lambda rng: pictures.random_cut(rng, (64, 48)))]
    part = Transform(draws, [pictures.whole(0, (64, 48))], 16)
    before = part.modules["steer"]["log_weight"].clone()
    part.loss(generator(1, "early"), 0.0)
    assert torch.equal(part.modules["steer"]["log_weight"], before)
    for turn in range(4):
        part.loss(generator(turn, "steered"), 0.5)
    # An untrained prior finds every symbol dear: one channel costs less than it may, all of them cost more.
    moved = part.modules["steer"]["log_weight"] - before
    assert moved[-1] < -0.02 and moved[0] > moved[-1] + 0.02


def test_a_transform_of_other_networks_is_trained_on_as_it_is(data, tmp_path):
    pictures = Pictures.open(data / "train")
    part = Transform([], [pictures.whole(0, (64, 48))], 1, start=SHIPPED["transform"])
    assert all(weight.requires_grad for weight in part.model.parameters())
    part.save(tmp_path)
    whole = transform_files.load(SHIPPED["transform"], "synthesis").state_dict()
    again = transform_files.load(tmp_path, "synthesis").state_dict()
    assert whole.keys() == again.keys() and all(torch.equal(whole[name], again[name]) for name in whole)


def test_tables_are_written_beside_the_transform(runs, data):
    folder = runs[0] / "transform" / "model"
    done = trained("tables", "--transform", folder, "--streets", data / "train", "--examples", 20, *SMALL)
    assert done == {"part": "tables", "file": str(folder / codec.TABLES), "bytes": done["bytes"]}
    assert codec.load_tables(folder, 32).kind == "trained"
    refused = farlink_train("tables", "--streets", data / "train")
    assert refused.exit_code == 2 and "--transform is needed" in refused.stderr


def test_two_steps_of_the_segmenter(data, tmp_path):
    done = trained(
        "segmenter", "--streets", data / "train", "--natural", data / "natural", "--size", "128x96",
        "--out", tmp_path, "--steps", 2, "--batch", 3,
    )  # fmt: skip
    assert 0 <= done["val_miou"] <= 1
    more = farlink_train(
        "segmenter", "--streets", data / "train", "--natural", data / "natural", "--size", "128x96",
        "--out", tmp_path / "more", "--steps", 1, "--batch", 3, "--init", tmp_path / "model",
    )  # fmt: skip
    assert more.exit_code == 0, more.stderr
    assert more.stdout.startswith(f"{tmp_path / 'more' / 'model'}: segmenter after 1 steps")


def test_grammar_tables(data, tmp_path):
    done = trained("grammar", "--streets", data / "train", "--natural", data / "natural", "--out", tmp_path)
    assert Path(done["file"]).name == "grammar.safetensors"
    assert (tmp_path / "SHA256SUMS").is_file()


@pytest.mark.slow
def test_the_caption_model(data, tmp_path):
    done = trained("text", "--captions", data / "captions", "--out", tmp_path, "--steps", 1)
    tables = text_code.TextTables(load_file(done["file"]))
    said = "a red car under a grey sky"
    assert text_code.decode(text_code.encode(said, tables), tables) == said
    (tmp_path / "none").mkdir()
    refused = farlink_train("text", "--captions", tmp_path / "none", "--out", tmp_path)
    assert refused.exit_code == 2 and captions.DOMAIN in refused.stderr


# The paper's recipe at toy size


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A guidance-distilled FLUX of toy size with its VAE and texts, and a transform of 12 channels."""
    folder = tmp_path_factory.mktemp("flux")
    torch.manual_seed(1)
    transformer: Any = FluxTransformer2DModel(
        patch_size=1, in_channels=4 * autoencoder.CHANNELS, num_layers=5, num_single_layers=3, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=128, pooled_projection_dim=64, guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    transformer.save_pretrained(folder / "base" / "transformer")
    autoencoder.build().save_pretrained(folder / "base" / "vae")
    flow.save_text(flow.build_text(), folder / "base")
    shifting = {"use_dynamic_shifting": True, "base_image_seq_len": 256, "max_image_seq_len": 4096}
    scheduler: Any = FlowMatchEulerDiscreteScheduler(**shifting)
    scheduler.save_pretrained(folder / "base" / "scheduler")
    from compressai.models import FactorizedPrior

    transform_files.save(folder / "transform", FactorizedPrior(8, 12), {"N": 8, "M": 12})
    return folder


def flux(base, data):
    return (
        "control", "--profile", "flux", "--base", base / "base", "--transform", base / "transform",
        "--pictures", data / "photos", "--captions", data / "photos.jsonl",
    )  # fmt: skip


def test_two_steps_of_the_papers_recipe(base, data, tmp_path):
    done = trained(*flux(base, data), "--out", tmp_path, "--steps", 2)
    assert done["step"] == 2 and math.isfinite(done["val_loss"])
    control = ChannelControlNet.from_pretrained(tmp_path / "model" / "controlnet")
    assert (control.config.num_layers, control.config.num_single_layers) == gsc.LAYERS
    assert control.config.guidance_embeds and control.config.codec_channels == 12
    assert float(control.controlnet_blocks[3].weight.detach().abs().max()) > 0
    # Two captions and the empty one; a file a picture. A second run computes none of them again.
    texts, examples = sorted((tmp_path / "text").iterdir()), sorted((tmp_path / "examples").iterdir())
    assert (len(texts), len(examples)) == (3, 5)
    times = [path.stat().st_mtime_ns for path in texts + examples]
    again = farlink_train(*flux(base, data), "--out", tmp_path, "--steps", 3)
    assert again.exit_code == 0, again.stderr
    assert '{"going_on_from_step": 2}' in again.stderr and "(1 of them now)" not in again.stdout
    assert "3 steps, 1 of them now" in again.stdout
    assert times == [path.stat().st_mtime_ns for path in texts + examples]


def flux_part(base, data, out, batch=1):
    request = TrainingRequest(
        out=out, pictures=data / "photos", captions=data / "photos.jsonl", base=base / "base"
    )
    return gsc.control(replace(request, transform=base / "transform"), batch)


def test_the_base_is_frozen_and_checkpointing_changes_no_gradient(base, data, tmp_path):
    part = flux_part(base, data, tmp_path, batch=2)
    control = part.controlnet
    with torch.no_grad():  # leave the zeros at which nothing but the last layers has a gradient
        for block in (*control.controlnet_blocks, *control.controlnet_single_blocks):
            block.weight.normal_(0, 0.02)
    assert not any(weight.requires_grad for weight in part._parts.transformer.parameters())
    found = []
    for on in (True, False):
        for model in (control, part._parts.transformer):
            assert model.is_gradient_checkpointing != (not on)
        part.modules.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = part.loss(generator(1, "batch"), 0.0)
        loss.backward()
        found.append([weight.grad.clone() for weight in control.parameters() if weight.grad is not None])
        for model in (control, part._parts.transformer):
            model.disable_gradient_checkpointing()
    assert len(found[0]) > 50
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-7)


def test_photos_keep_their_sizes_and_their_order(base, data, tmp_path):
    part = flux_part(base, data, tmp_path)
    examples, held = part._examples, part._held_out
    assert len(examples) + len(held) == 5
    sizes = {tuple(examples.rows(torch.tensor([at])).maps.shape[2:]) for at in range(len(examples))}
    assert sizes == {(6, 4), (3, 4)}  # 66x97 and 70x50, cut to whole cells
    for number in range(20):
        picks = examples.draw(generator(number, "draw"), 3)
        rows = examples.rows(picks)  # would not stack if the sizes differed
        assert rows.latents.shape[2:] == tuple(2 * side for side in rows.maps.shape[2:])
        assert all(sorted(order) == list(range(12)) for order in rows.order.tolist())
    assert {caption for caption in examples._captions + held._captions} == {
        "",
        "a road, number 0",
        "a road, number 1",
    }
    tokens, pooled = part._text.encode(["a road, number 0"])
    folders = {name: base / "base" / name for name in TEXTS}
    true_tokens, true_pooled = TextEncoder.from_pretrained(folders, tokens.dtype).encode(["a road, number 0"])
    assert torch.equal(tokens, true_tokens) and torch.equal(pooled, true_pooled)


def test_large_photos_are_scaled_down(tmp_path):
    for size, found in (((4000, 3000), (800, 592)), ((1216, 352), (1216, 352)), ((40, 20), (32, 16))):
        Image.new("L", size).save(tmp_path / "a.png")
        assert gsc.cut_size(tmp_path / "a.png") == found
        assert found[0] * found[1] <= gsc.MOST_CELLS * 256
    Image.new("L", (15, 300)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="less than a cell"):
        gsc.cut_size(tmp_path / "a.png")


def test_tables_of_any_transform(base, data, tmp_path):
    done = trained(
        "tables", "--profile", "flux", "--transform", base / "transform", "--pictures", data / "photos",
        "--examples", 12, "--size", "64x48", "--out", tmp_path,
    )  # fmt: skip
    assert done["file"] == str(tmp_path / codec.TABLES)
    assert codec.load_tables(tmp_path, 12).kind == "trained"


# What holds for every part


@pytest.fixture
def part(data):
    def made(weights=1):
        torch.manual_seed(weights)
        pictures = Pictures.open(data / "train")
        draws = [(1.0, lambda rng: pictures.random_cut(rng, (32, 32)))]
        return Autoencoder(draws, [pictures.whole(0, (32, 32))], 2, lpips_model())

    return made


RECIPE = Recipe(steps=4, learning_rate=1e-3, warmup=1, log_every=1, save_every=2, sample_every=4)


def interrupted(at):
    """Return what to say lines to: it is interrupted by the user at step *at*."""

    def say(line):
        if json.loads(line).get("step") == at:
            raise KeyboardInterrupt

    return say


def test_resumed_is_as_if_never_stopped(part, tmp_path):
    assert train(part(), RECIPE, tmp_path / "whole", iter(range(99)).__next__, lambda line: None) == 4
    with pytest.raises(KeyboardInterrupt):
        train(part(), RECIPE, tmp_path / "cut", iter(range(99)).__next__, interrupted(3))
    said = []
    assert train(part(weights=2), RECIPE, tmp_path / "cut", iter(range(99)).__next__, said.append) == 2
    assert json.loads(said[0]) == {"going_on_from_step": 2}
    whole, cut = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "cut")
    )
    assert whole["step"] == cut["step"] == 4 and cut["seconds"] > 0
    for key in ("weights", "ema"):
        assert whole[key].keys() == cut[key].keys()
        for name, value in whole[key].items():
            assert torch.equal(value, cut[key][name]), name
    models = [
        load_file(tmp_path / name / "model" / "diffusion_pytorch_model.safetensors")
        for name in ("whole", "cut")
    ]
    assert all(np.array_equal(value, models[1][name]) for name, value in models[0].items())
    again = train(part(), RECIPE, tmp_path / "cut", iter(range(99)).__next__, said.append)
    assert again == 0  # nothing is left to do


def test_interrupted_by_the_user(data, tmp_path, monkeypatch):
    arguments = (
        "autoencoder", "--streets", data / "train", *SMALL, "--out", tmp_path, "--batch", 1, "--steps",
    )  # fmt: skip
    entry: Any = PARTS["tiny"]["autoencoder"]
    often = replace(entry.recipe, save_every=2, log_every=1)
    monkeypatch.setitem(PARTS["tiny"], "autoencoder", replace(entry, recipe=often))
    monkeypatch.setattr(command, "_say", interrupted(3))
    done = farlink_train(*arguments, 5)
    assert done.exit_code == 130 and "interrupted" in done.stderr
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2
    monkeypatch.undo()
    done = farlink_train(*arguments, 3)
    assert done.exit_code == 0 and '{"going_on_from_step": 2}' in done.stderr


def test_a_full_disk_leaves_the_last_checkpoint(part, data, tmp_path):
    train(part(), replace(RECIPE, steps=2), tmp_path, iter(range(99)).__next__, lambda line: None)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.new").symlink_to("/dev/full")
    done = farlink_train(
        "autoencoder", "--streets", data / "train", *SMALL, "--out", tmp_path, "--steps", 3, "--batch", 1
    )
    assert done.exit_code == 74, done.stderr
    assert "cannot write" in done.stderr.splitlines()[-1]
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_wrong_checkpoint_is_refused(part, tmp_path):
    path = tmp_path / "checkpoint.pt"
    state = {"part": "autoencoder", "step": 1, "seconds": 1.0, "weights": {}, "ema": {}, "optimizer": {}}
    for found, words in (({"part": "flow"}, "not of autoencoder"), (state, "of another autoencoder")):
        torch.save(found, path)
        with pytest.raises(UsageError, match=words):
            train(part(), RECIPE, tmp_path, float, print)
    path.write_text("not a checkpoint")
    with pytest.raises(UsageError, match="no checkpoint"):
        train(part(), RECIPE, tmp_path, float, print)


def test_averages():
    torch.manual_seed(1)
    modules = nn.ModuleDict({"layer": nn.Linear(3, 2)})
    ema = Ema(modules, 0.9)
    expected = ema.shadow["layer.weight"].clone()
    for step in range(200):
        with torch.no_grad():
            modules["layer"].weight.add_(0.1)
        ema.update(modules, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * modules["layer"].weight.detach()
    torch.testing.assert_close(ema.shadow["layer.weight"], expected)
    behind = modules["layer"].weight.detach() - expected  # 0.1 a step, 1 / (1 - 0.9) steps, less this one
    assert float(behind.mean()) == pytest.approx(0.9, rel=0.01)
    none = Ema(modules, 0.0)
    none.update(modules, 1)
    assert none.shadow == {}


def test_without_averages_the_weights_themselves_are_written(part, tmp_path):
    train(part(), replace(RECIPE, ema=0.0, steps=1), tmp_path, iter(range(99)).__next__, lambda line: None)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["ema"] == {}
    written = load_file(tmp_path / "model" / "diffusion_pytorch_model.safetensors")
    assert np.array_equal(written["decoder.conv_in.weight"], state["weights"]["vae.decoder.conv_in.weight"])


def test_the_rate_warms_up_and_falls_to_its_share():
    recipe = Recipe(100, 1.0, warmup=10, final=0.1)
    assert [recipe.rate(step) for step in (0, 9, 10)] == [0.1, 1.0, 1.0]
    assert recipe.rate(55) == pytest.approx(0.55) and recipe.rate(100) == pytest.approx(0.1)
    assert {gsc.RECIPE.rate(step) for step in range(0, 15_000, 99)} == {1.0}
    assert (gsc.RECIPE.learning_rate, gsc.RECIPE.weight_decay, gsc.RECIPE.accumulate) == (4e-5, 0.01, 4)


# The command line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["flaw"], "the tiny profile has no part 'flaw' to train; it has world, text, segmenter"),
        (["flow", "--profile", "flux"], "it has tables, control"),
        (["flow"], "needs --out"),
        (["autoencoder", "--out", "OUT"], "needs --streets"),
        (["autoencoder", "--out", "OUT", "--streets", "nowhere"], "--streets nowhere: no such folder"),
        (["autoencoder", "--out", "OUT", "--streets", "DATA/captions", "--held-out", "DATA/val"], "no pictures there"),
        (["autoencoder", "--out", "OUT", "--streets", "DATA/train", "--base", "b"], "has no use for --base"),
        (["autoencoder", "--out", "OUT", "--streets", "DATA/train", "--size", "64"], "expected WIDTHxHEIGHT"),
        (["autoencoder", "--out", "OUT", "--streets", "DATA/train", "--size", "60x48"], "whole 16s"),
        (["autoencoder", "--out", "OUT", "--streets", "DATA/train", "--init", "DATA"], "neither vae nor autoencoder/model"),
        (["transform", "--out", "OUT", "--streets", "DATA/deep/streets"], "--held-out is needed"),
        (["flow", "--out", "OUT", "--streets", "DATA/train", "--from", "DATA"], "--from DATA: neither vae"),
        (["segmenter", "--out", "OUT", "--streets", "DATA/photos", "--natural", "DATA/natural"], "photos_labels"),
        (["grammar", "--streets", "DATA/train", "--natural", "DATA/natural"], "needs --out (of --out, --streets, --natural)"),
        (["grammar", "--out", "OUT", "--streets", "DATA/train", "--natural", "DATA/natural", "--batch", "3"], "no use for --batch"),
        (["control", "--profile", "flux", "--out", "OUT"], "needs --pictures (of --out, --base, --transform, --pictures)"),
    ],
)  # fmt: skip
def test_bad_input_ends_with_one_line_and_2(data, tmp_path, arguments, words):
    given = [one.replace("DATA", str(data)).replace("OUT", str(tmp_path)) for one in arguments]
    done = farlink_train(*given)
    assert done.exit_code == 2
    assert words.replace("DATA", str(data)) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_captions_that_fit_no_picture(data, tmp_path):
    files = Pictures.open(data / "photos").files
    for text, words in (
        ('{"file": "0.png"}', "line 1: expected"),
        ("[]", "line 1: expected"),
        ('{"file": "9.png", "caption": "a"}', "names none of the pictures"),
    ):
        (tmp_path / "c.jsonl").write_text(text)
        with pytest.raises(UsageError, match=words):
            gsc.read_captions(tmp_path / "c.jsonl", files)
    assert set(gsc.read_captions(None, files).values()) == {""}


def test_models_that_are_not_there(data, tmp_path):
    (tmp_path / "empty" / "autoencoder" / "model").mkdir(parents=True)
    done = farlink_train(
        "flow", "--streets", data / "train", "--from", tmp_path / "empty", "--out", tmp_path, *SMALL
    )
    assert done.exit_code == ModelMissingError.exit_code
    assert "no usable AutoencoderKL" in done.stderr


# Data


def test_cuts_have_their_size_and_labels_follow_pixels(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a_labels").mkdir()
    labels = np.zeros((90, 120), np.uint8)
    labels[:, 70:] = 7
    labels[30:, :40] = 3
    Image.fromarray(np.repeat((labels * 30)[..., None], 3, 2)).save(tmp_path / "a" / "x.png")
    Image.fromarray(labels).save(tmp_path / "a_labels" / "x.png")
    pictures = Pictures.open(tmp_path / "a")
    sides = []
    for number in range(40):
        cut: Any = pictures.random_cut(generator(number, "cut"), (40, 32), (1.0, 1.6))
        assert cut.pixels.shape == (32, 40, 3) and cut.labels.shape == (32, 40)
        assert set(np.unique(cut.labels)) <= {0, 3, 7}  # never between classes
        assert np.mean(np.abs(cut.pixels[..., 0] - cut.labels * 30.0) < 20) > 0.9
        columns = np.nonzero((cut.labels == 7).any(0))[0]
        sides.append(columns.size and columns.mean() > 20)
    assert 5 < sum(sides) < 35  # some are mirrored, some not
    same = [pictures.random_cut(generator(1, "cut"), (40, 32)).pixels for _ in range(2)]
    assert np.array_equal(same[0], same[1])
    whole: Any = pictures.whole(0, (120, 90))
    assert np.array_equal(whole.labels, labels)
    (tmp_path / "a" / "y.png").write_text("no picture")
    Image.fromarray(labels).save(tmp_path / "a_labels" / "y.png")
    with pytest.raises(UsageError, match="cannot be read as a picture"):
        Pictures.open(tmp_path / "a").read(1)
    (tmp_path / "a_labels" / "y.png").unlink()
    with pytest.raises(UsageError, match="no such label file"):
        Pictures.open(tmp_path / "a")


def test_examples_are_the_same_again_and_are_kept(data, tmp_path):
    pictures = Pictures.open(data / "train")
    draws = [(1.0, lambda rng: pictures.random_cut(rng, (32, 32)))]
    torch.manual_seed(1)
    vae, analysis = autoencoder.build().eval(), nn.Conv2d(3, 5, 16, 16)
    path = tmp_path / "deep" / "examples.safetensors"
    first: Any = load_or_make(path, draws, 18, 3, vae, analysis)
    again: Any = make(draws, 18, 3, vae, analysis)
    read: Any = load_or_make(path, None, 0, 0, None)  # nothing is computed
    for other in (again, read):
        assert torch.equal(first.latents, other.latents) and torch.equal(first.maps, other.maps)
        assert first.captions == other.captions
    # What was just made is laid out as what was kept, else kernels add up in another order.
    assert first.latents.stride() == read.latents.stride() and first.maps.stride() == read.maps.stride()
    assert len(first) == 18 and first.channels == 5 and any(first.captions)
    assert torch.equal(
        make(draws, 2, 3, vae).latents, first.latents[:2]
    )  # example n does not depend on the count
    assert not torch.equal(make(draws, 2, 4, vae).latents, first.latents[:2])
    assert stamp(data, 1) == stamp(data, 1) != stamp(data, 2)
    with pytest.raises(ValueError, match="without channel maps"):
        _ = make(draws, 2, 3, vae).channels
