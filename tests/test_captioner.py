"""Captioners: nothing is named that is not there, words are limited, models that are missing are named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from link.bitstream import grammar, text
from link.bitstream.grammar import SCENES, Item
from link.errors import ModelMissingError, UsageError
from link.seeds import generator
from sender.captioner import CARD, CLASSES, LEAST_SHARE, PICTURE, UNKNOWN, GrammarCaptioner, describe
from sender.vlm import QwenCaptioner, device_map, trim

NOUNS = tuple(SCENES["street"].nouns)
SKY, BUILDING, ROAD, CAR, PEDESTRIAN = (
    NOUNS.index(noun) for noun in ("sky", "building", "road", "car", "pedestrian")
)
BLUE, GREY, RED, BLACK = (60, 110, 230), (120, 120, 120), (200, 20, 30), (10, 10, 10)


def street() -> tuple[np.ndarray, np.ndarray]:
    """Sky above a road, a red car on the right, a black pedestrian on the left."""
    labels = np.full((192, 256), SKY, np.uint8)
    pixels = np.full((192, 256, 3), BLUE, np.uint8)
    for number, colour, box in (
        (ROAD, GREY, (96, 192, 0, 256)),
        (CAR, RED, (100, 140, 190, 250)),
        (PEDESTRIAN, BLACK, (90, 120, 20, 32)),
    ):
        top, bottom, left, right = box
        labels[top:bottom, left:right] = number
        pixels[top:bottom, left:right] = colour
    return labels, pixels


def test_a_street_in_words():
    assert describe(*street(), 40).sentence() == (
        "bright cool street, huge grey road across, huge blue sky across, small red car right, "
        "tiny black pedestrian left"
    )


def test_a_word_limit_keeps_what_matters():
    assert describe(*street(), 15).sentence() == (
        "bright cool street, huge grey road across, huge blue sky across, small red car right"
    )
    assert describe(*street(), 3).sentence() == "bright cool street"
    assert describe(*street(), 0).sentence() == "bright street"
    for words in range(2, 40):
        assert describe(*street(), words).words() <= words


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 50), st.sets(st.integers(0, 255), min_size=1, max_size=14))
def test_only_classes_that_are_there_are_named(seed, words, present):
    rng = generator(seed, "labels")
    blocks = rng.choice(sorted(present), (12, 16)).astype(np.uint8)
    labels = blocks.repeat(4, 0).repeat(4, 1)
    pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    caption = describe(labels, pixels, words)
    numbers = CLASSES[caption.scene]
    if grammar.SCENES[caption.scene].sized:
        nouns = list(grammar.SCENES[caption.scene].nouns)
        for item in caption.items:
            assert (labels == numbers[nouns.index(item.noun)]).mean() >= LEAST_SHARE
    else:
        known = labels[labels < max(map(max, CLASSES.values())) + 1]
        assert not known.size or np.isin(known, numbers).any()
    assert caption.words() <= max(words, 3)
    assert grammar.decode(grammar.encode(caption)) == caption


def test_a_few_pixels_are_not_named():
    labels, pixels = street()
    labels[labels == PEDESTRIAN] = SKY
    labels[:13, :15] = PEDESTRIAN  # 195 of 49152 pixels: just under the least share
    assert "pedestrian" not in describe(labels, pixels, 40).sentence()
    labels[:14, :15] = PEDESTRIAN
    assert "pedestrian" in describe(labels, pixels, 40).sentence()


@pytest.mark.parametrize(
    ("columns", "place"),
    [
        ([(0, 60)], "left"),
        ([(100, 150)], "centre"),
        ([(200, 256)], "right"),
        ([(0, 60), (200, 256)], "sides"),
        ([(0, 256)], "across"),
        ([(40, 130)], "left"),
    ],
)
def test_places(columns, place):
    labels, pixels = np.full((192, 256), ROAD, np.uint8), np.full((192, 256, 3), 99, np.uint8)
    for left, right in columns:
        labels[:100, left:right] = BUILDING
    (found,) = [item for item in describe(labels, pixels, 40).items if item.noun == "building"]
    assert found.place == place


@pytest.mark.parametrize(
    ("pixel", "colour"),
    [
        ((8, 8, 8), "black"),
        ((120, 122, 118), "grey"),
        ((70, 75, 85), "grey"),
        ((240, 240, 238), "white"),
        ((210, 30, 30), "red"),
        ((240, 140, 20), "orange"),
        ((110, 70, 40), "brown"),
        ((230, 210, 40), "yellow"),
        ((60, 140, 60), "green"),
        ((40, 80, 200), "blue"),
        ((140, 190, 240), "blue"),
        ((120, 40, 160), "purple"),
        ((240, 120, 190), "pink"),
    ],
)
def test_colours(pixel, colour):
    pixels = np.full((8, 8, 3), pixel, np.uint8)
    assert describe(np.full((8, 8), CAR, np.uint8), pixels, 40).items == (
        Item("car", colour, "huge", "across"),
    )


@pytest.mark.parametrize(("grey", "light"), [(20, "dark"), (75, "dim"), (120, "bright"), (200, "glaring")])
def test_light(grey, light):
    labels = np.full((8, 8), PICTURE, np.uint8)
    for shift, tint in ((0, "neutral"), (30, "warm"), (-30, "cool")):
        pixel = (grey + max(shift, 0), grey, grey + max(-shift, 0))
        pixels = np.full((8, 8, 3), pixel, np.uint8)
        caption = describe(labels, pixels, 40)
        assert (caption.level, caption.tint) == (light, tint)


def test_cards_and_other_pictures():
    pixels = np.concatenate([np.full((20, 64, 3), colour, np.uint8) for colour in (BLUE, GREY, RED)])
    for number, sentence in (
        (PICTURE, "bright picture, blue top, grey middle, red bottom"),
        (CARD, "bright test card, grey ground"),
        (UNKNOWN, "bright picture, blue top, grey middle, red bottom"),
        (77, "bright picture, blue top, grey middle, red bottom"),
    ):
        said = describe(np.full((60, 64), number, np.uint8), pixels, 40)
        assert (
            said.sentence().replace(" cool", "").replace(" warm", "").replace("blue g", "grey g") == sentence
        )


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 500), (7, 1), (1000, 1500)])
def test_any_size(size):
    labels = np.full(size, ROAD, np.uint8)
    caption = describe(labels, np.full((*size, 3), 200, np.uint8), 40)
    assert [item.noun for item in caption.items] == ["road"]


def test_sizes_must_agree():
    for labels, pixels in (((4, 4), (4, 5, 3)), ((4, 4), (4, 4)), ((0, 4), (0, 4, 3))):
        with pytest.raises(ValueError, match="of one size"):
            describe(np.zeros(labels, np.uint8), np.zeros(pixels, np.uint8), 20)


def test_the_grammar_captioner_says_what_its_finder_finds():
    labels, pixels = street()

    class Finder:
        def segment(self, given):
            assert given is pixels
            return labels

    assert GrammarCaptioner(Finder(), 40).caption(pixels) == describe(labels, pixels, 40).sentence()


def test_trimmed():
    assert trim("  a quiet\n\tstreet, with   cars ", 4) == "a quiet street, with"
    assert trim("a quiet street, with cars", 3) == "a quiet street"
    assert trim("\x1b[31mred\x00\u202e \ud800x", 9) == "[31mred x"
    assert len(trim("é" * 2000, 1).encode()) == 1024
    assert trim(" ", 3) == trim("a", 0) == ""
    text.encode(trim("🎉" * 3000, 9))


# The segmenter


@pytest.fixture(scope="module")
def toy_segmenter(tmp_path_factory):
    torch = pytest.importorskip("torch")
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    folder = tmp_path_factory.mktemp("segmenter")
    torch.manual_seed(1)
    names = ["road", "sidewalk", "sky", "person", "lava"]
    config = SegformerConfig(
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessor(size={"width": 64, "height": 48}).save_pretrained(folder)
    return folder


def test_a_segmenter_speaks_our_classes(toy_segmenter):
    from sender.segmenter import Segmenter, map_classes

    segmenter = Segmenter(toy_segmenter)
    pixels = street()[1]
    pixels.flags.writeable = False
    labels = segmenter.segment(pixels)
    assert labels.shape == (192, 256) and labels.dtype == np.uint8
    numbers = map_classes(
        {0: "road", 1: "Sidewalk", 2: "sky", 3: "person", 4: "lava", 5: "test card", 6: "picture"}
    )
    assert numbers == [ROAD, NOUNS.index("pavement"), SKY, PEDESTRIAN, UNKNOWN, CARD, PICTURE]
    assert set(np.unique(labels)) <= set(numbers)
    assert (labels == segmenter.segment(pixels)).all()
    assert segmenter.segment(pixels[:31, :17]).shape == (31, 17)
    sentence = GrammarCaptioner(segmenter, 24).caption(pixels)
    assert grammar.parse(sentence).words() <= 24


def test_folders_that_hold_no_segmenter(toy_segmenter, tmp_path):
    from safetensors.numpy import load_file, save_file

    from sender.segmenter import Segmenter

    with pytest.raises(ModelMissingError, match="no segmentation model there"):
        Segmenter(tmp_path / "none")
    for file in toy_segmenter.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "classifier" not in k}, tmp_path / "model.safetensors")
    with pytest.raises(ModelMissingError, match=r"weights of the .* are missing"):
        Segmenter(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UsageError, match="cannot be read as a segmentation model"):
        Segmenter(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="cannot be read as a segmentation model"):
        Segmenter(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read as a segmentation model"):
        Segmenter(tmp_path)


# Qwen2.5-VL

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def toy_qwen(tmp_path_factory):
    """Random weights and a tokenizer of bytes, in the layout and with the chat format of the real one."""
    torch = pytest.importorskip("torch")
    import transformers
    from tokenizers.pre_tokenizers import ByteLevel

    folder = tmp_path_factory.mktemp("qwen")
    marks = ("endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")
    letters = sorted(ByteLevel.alphabet())
    vocabulary = {word: number for number, word in enumerate([*letters, *(f"<|{mark}|>" for mark in marks)])}
    number = {mark: vocabulary[f"<|{mark}|>"] for mark in marks}
    tokenizer = transformers.Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[],
        eos_token="<|im_end|>",
        extra_special_tokens=[f"<|{mark}|>" for mark in marks[1:]],
    )
    transformers.Qwen2_5_VLProcessor(
        transformers.Qwen2VLImageProcessor(min_pixels=4 * 28 * 28, max_pixels=16 * 28 * 28),
        tokenizer,
        transformers.Qwen2VLVideoProcessor(),
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    size = {"hidden_size": 32, "intermediate_size": 32}
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            **size,
            "vocab_size": len(tokenizer),
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": rope,
            "eos_token_id": number["im_end"],
            "bos_token_id": number["endoftext"],
            "pad_token_id": number["endoftext"],
        },
        vision_config={
            **size,
            "depth": 1,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        image_token_id=number["image_pad"],
        video_token_id=number["video_pad"],
        vision_start_token_id=number["vision_start"],
        vision_end_token_id=number["vision_end"],
    )
    torch.manual_seed(0)
    model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    with torch.no_grad():  # so that random weights say letters
        model.lm_head.weight[number["endoftext"] :] = 0
    model.save_pretrained(folder)
    return folder


def test_qwen_captions_are_repeatable_and_short(toy_qwen):
    captioner = QwenCaptioner(str(toy_qwen), 12)
    pixels = street()[1]
    caption = captioner.caption(pixels)
    assert caption == captioner.caption(pixels)
    assert 0 < len(caption.encode()) <= 1024 and len(caption.split()) <= 12
    assert text.decode(text.encode(caption)) == caption


def test_qwen_models_that_are_not_here(toy_qwen, toy_segmenter, tmp_path):
    from safetensors.torch import load_file, save_file

    for name in (str(tmp_path / "none"), "Qwen/Qwen2.5-VL-no-such"):
        with pytest.raises(ModelMissingError, match="farlink models pull") as missing:
            QwenCaptioner(name, 12)
        assert missing.value.exit_code == 4 and "\n" not in str(missing.value)
    with pytest.raises(UsageError, match="of the kind segformer"):
        QwenCaptioner(str(toy_segmenter), 12)
    for file in toy_qwen.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    for lost in ("lm_head.weight", next(name for name in weights if name.startswith("visual."))):
        save_file(
            {k: v for k, v in weights.items() if k != lost}, tmp_path / "model.safetensors", {"format": "pt"}
        )
        with pytest.raises(ModelMissingError, match=r"1 weights of the Qwen2_5_VL.* are missing") as missing:
            QwenCaptioner(str(tmp_path), 12)
        assert missing.value.exit_code == 4 and "\n" not in str(missing.value)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UsageError, match="cannot be read"):
        QwenCaptioner(str(tmp_path), 12)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelMissingError, match="farlink models pull"):
        QwenCaptioner(str(tmp_path), 12)


def test_a_model_larger_than_its_gpu_is_spread():
    gigabyte = 10**9
    assert device_map("cuda", 147 * gigabyte, 80 * gigabyte) == "auto"
    assert device_map("cuda", 17 * gigabyte, 80 * gigabyte) == {"": "cuda"}
    assert device_map("cuda:1", 147 * gigabyte, 80 * gigabyte) == {"": "cuda:1"}, "where it was told to be"
    assert device_map("cpu", 147 * gigabyte, 0) == {"": "cpu"}
