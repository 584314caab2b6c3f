"""The models that `farlink models pull` fetches: where from, which revision, under which licence, how large.

A revision is a commit: what is fetched today is what was fetched then. Where no commit could be confirmed when
this table was written the revision is None: the first `pull` asks the hub for the newest one, writes it into
the manifest and the lock file, and every later `pull` fetches that one. Those of Depth Anything and RT-DETRv2 are the
ones that public projects on GitHub pin: several each, all the same commit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

FLUX_LICENCE = "FLUX.1-dev non-commercial"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.json")
"""What a model folder needs: no pickled weights are fetched, ever."""
TOKENS = ("*.json", "*.txt", "*.model")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


@dataclass(frozen=True)
class CataloguePart:
    """One thing to fetch."""

    source: str
    """The hub's id, OWNER/NAME, or for `zoo` the CompressAI architecture and its quality."""
    revision: str | None
    """Forty hexadecimal digits; None: see above."""
    licence: str
    size_bytes: int
    """About: what must be free on the disk."""
    folder: str
    """Below `link.models.home()`."""
    files: tuple[str, ...]
    """Patterns of the files that are needed."""
    use: str
    by_profile: bool = True
    """Whether the profile's name alone fetches it."""
    gated: bool = False
    """Whether the hub asks for an account that accepted the licence."""
    kind: str = "hub"
    """`hub`, or `zoo`: a CompressAI checkpoint that becomes a transform folder."""


DEPTH_LICENCE = "CC-BY-NC-4.0 (non-commercial)"


def _analyst(
    source: str, folder: str, licence: str, size_bytes: int, use: str, revision: str | None = None
) -> CataloguePart:
    """Return an analysis model, which is fetched by its own name alone."""
    files = ("config.json", "preprocessor_config.json", "model.safetensors")
    return CataloguePart(source, revision, licence, size_bytes, folder, files, use, by_profile=False)


def _depth(
    name: str, folder: str, size_bytes: int, use: str, *, free: bool, revision: str | None = None
) -> CataloguePart:
    source = f"depth-anything/Depth-Anything-V2-{name}-hf"
    return _analyst(source, folder, "Apache-2.0" if free else DEPTH_LICENCE, size_bytes, use, revision)


def _under(folders: tuple[str, ...], patterns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{folder}/{pattern}" for folder in folders for pattern in patterns)


CATALOGUE: Mapping[str, CataloguePart] = {
    "flux/generator": CataloguePart(
        source="black-forest-labs/FLUX.1-dev",
        revision="3de623fc3c33e44ffbe2bad470d0f45bccf2eb21",
        licence=FLUX_LICENCE,
        size_bytes=33_750_000_000,
        folder="flux/generator",
        files=_under(("transformer", "vae", "text_encoder", "text_encoder_2"), WEIGHTS)
        + _under(("tokenizer", "tokenizer_2"), TOKENS)
        + ("scheduler/*.json",),
        use="transformer, VAE, T5-XXL, CLIP, tokenizers, scheduler",
        gated=True,
    ),
    "flux/controlnet": CataloguePart(
        source="Shakker-Labs/FLUX.1-dev-ControlNet-Union-Pro",
        revision=None,
        licence=FLUX_LICENCE,
        size_bytes=6_650_000_000,
        folder="flux/generator/controlnet",
        files=("config.json", "diffusion_pytorch_model.safetensors"),
        use="picture control in the modes blur, tile, gray, low_quality; control_scale 0.3 to 0.8",
    ),
    "flux/transform": CataloguePart(
        source="mbt2018-mean/5",
        revision="d504e8eb",
        licence="BSD-3-Clause-Clear",
        size_bytes=150_000_000,
        folder="flux/transform",
        files=("config.json", "*.safetensors"),
        use="CompressAI's transform with 320 channels (quality 5, MSE); the revision is its file's SHA-256",
        kind="zoo",
    ),
    "flux/captioner": CataloguePart(
        source="Qwen/Qwen2.5-VL-7B-Instruct",
        revision="cc594898137f460bfe9f0759e9844b3ce807cfb5",
        licence="Apache-2.0",
        size_bytes=16_650_000_000,
        folder="flux/captioner",
        files=(*WEIGHTS, "merges.txt"),
        use="captions (codec.caption=vlm)",
    ),
    "flux/captioner-3b": CataloguePart(
        source="Qwen/Qwen2.5-VL-3B-Instruct",
        revision="66285546d2b821cf421d4f5eb2576359d3770cd3",
        licence="Qwen Research (non-commercial)",
        size_bytes=7_550_000_000,
        folder="flux/captioner-3b",
        files=(*WEIGHTS, "merges.txt"),
        use="captions with less memory (profile.captioner=FOLDER)",
        by_profile=False,
    ),
    "flux/captioner-72b": CataloguePart(
        source="Qwen/Qwen2.5-VL-72B-Instruct",
        revision="89c86200743eec961a297729e7990e8f2ddbc4c5",
        licence="Qwen",
        size_bytes=146_900_000_000,
        folder="flux/captioner-72b",
        files=(*WEIGHTS, "merges.txt"),
        use="captions as in the GSC paper (profile.captioner=FOLDER)",
        by_profile=False,
    ),
    "flux/grounder/detector": CataloguePart(
        source="IDEA-Research/grounding-dino-tiny",
        revision=None,
        licence="Apache-2.0",
        size_bytes=700_000_000,
        folder="flux/grounder/detector",
        files=("config.json", "model.safetensors", "preprocessor_config.json", *_TOKENIZER),
        use="sedic: boxes of named objects (Swin-T, as in the paper's code)",
        by_profile=False,
    ),
    "flux/grounder/masker": CataloguePart(
        source="facebook/sam-vit-huge",
        revision=None,
        licence="Apache-2.0",
        size_bytes=2_570_000_000,
        folder="flux/grounder/masker",
        files=("config.json", "model.safetensors", "preprocessor_config.json"),
        use="sedic: masks in those boxes (ViT-H, as in the paper's code)",
        by_profile=False,
    ),
    "flux/mask-finder": CataloguePart(
        source="CIDAS/clipseg-rd64-refined",
        revision=None,
        licence="Apache-2.0",
        size_bytes=605_000_000,
        folder="flux/mask-finder",
        files=(
            "config.json",
            "model.safetensors",
            "preprocessor_config.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "vocab.json",
            "merges.txt",
        ),
        use="sggic: masks of named objects in decoded pictures (CLIPSeg, the paper's)",
        by_profile=False,
    ),
    "flux/controlnet-upscaler": CataloguePart(
        source="jasperai/Flux.1-dev-Controlnet-Upscaler",
        revision=None,
        licence=FLUX_LICENCE,
        size_bytes=3_600_000_000,
        folder="flux/controlnet-upscaler",
        files=("config.json", "diffusion_pytorch_model.safetensors"),
        use="picture control for low-quality pictures, half the size (profile.controlnet=FOLDER)",
        by_profile=False,
    ),
    "flux/preview": CataloguePart(
        source="madebyollin/taef1",
        revision="2d552378e58c9c94201075708d7de4e1163b2689",
        licence="MIT",
        size_bytes=10_000_000,
        folder="flux/preview",
        files=("config.json", "diffusion_pytorch_model.safetensors"),
        use="the tiny VAE (profile.preview_vae=FOLDER)",
        by_profile=False,
    ),
    "flux/lora-hyper": CataloguePart(
        source="ByteDance/Hyper-SD",
        revision=None,
        licence=FLUX_LICENCE,
        size_bytes=1_400_000_000,
        folder="flux/lora-hyper",
        files=("Hyper-FLUX.1-dev-8steps-lora.safetensors",),
        use="8 steps (profile.lora=FOLDER, profile.lora_scale=0.125)",
        by_profile=False,
    ),
    "flux/lora-turbo": CataloguePart(
        source="alimama-creative/FLUX.1-Turbo-Alpha",
        revision=None,
        licence=FLUX_LICENCE,
        size_bytes=700_000_000,
        folder="flux/lora-turbo",
        files=("diffusion_pytorch_model.safetensors",),
        use="8 steps, guidance 3.5 (profile.lora=FOLDER)",
        by_profile=False,
    ),
    # Analysis models. Sizes of Base, Mask2Former, r18vd and r101vd are from memory; the others are the hub's own.
    "flux/segmentation": _analyst(
        "facebook/mask2former-swin-large-cityscapes-semantic",
        "flux/segmentation",
        "MIT code; weights trained on Cityscapes (non-commercial)",
        870_000_000,
        "segmentation, 19 classes of Cityscapes (analysis: [segmentation])",
    ),
    "flux/depth": _depth(
        "Small",
        "flux/depth",
        99_200_000,
        "relative depth (analysis: [depth])",
        free=True,
        revision="5426e4f0f36572d16453bbda7a8389317b1bef99",
    ),
    "flux/depth-base": _depth(
        "Base",
        "flux/depth-base",
        390_000_000,
        "relative depth (profile.depth=flux/depth-base)",
        free=False,
        revision="b1958afc87fb45a9e3746cb387596094de553ed8",
    ),
    "flux/depth-large": _depth(
        "Large",
        "flux/depth-large",
        1_340_000_000,
        "relative depth (profile.depth=flux/depth-large)",
        free=False,
        revision="7581137eff8d4e94f6e796d3baea0e9fa79b22d2",
    ),
    "flux/depth-indoor": _depth(
        "Metric-Indoor-Small",
        "flux/depth-indoor",
        99_200_000,
        "metres, rooms up to 20 m (profile.depth=flux/depth-indoor)",
        free=True,
        revision="8078d68a9c75a972131914f6afd0c1723be0da7f",
    ),
    "flux/depth-indoor-large": _depth(
        "Metric-Indoor-Large",
        "flux/depth-indoor-large",
        1_340_000_000,
        "metres, rooms up to 20 m (profile.depth=flux/depth-indoor-large)",
        free=False,
        revision="d2fc6a93601aabb1139a3bf0ebfcb4e89c67817f",
    ),
    "flux/depth-outdoor": _depth(
        "Metric-Outdoor-Small",
        "flux/depth-outdoor",
        99_200_000,
        "metres, streets up to 80 m (profile.depth=flux/depth-outdoor)",
        free=True,
        revision="2fd93bd764b15eea94dcf7763bba7ddc25007d0f",
    ),
    "flux/depth-outdoor-large": _depth(
        "Metric-Outdoor-Large",
        "flux/depth-outdoor-large",
        1_340_000_000,
        "metres, streets up to 80 m (profile.depth=flux/depth-outdoor-large)",
        free=False,
        revision="4eab4cf1983c2801c515804005214de56a4b67cc",
    ),
    "flux/detection": _analyst(
        "PekingU/rtdetr_v2_r50vd",
        "flux/detection",
        "Apache-2.0",
        172_000_000,
        "detection, 80 categories of COCO (analysis: [detection])",
        "282494075698cab9faa1096ae26856890030c817",
    ),
    "flux/detection-r18": _analyst(
        "PekingU/rtdetr_v2_r18vd",
        "flux/detection-r18",
        "Apache-2.0",
        81_000_000,
        "detection, the smallest (profile.detection=flux/detection-r18)",
        "5650961749fa93567c0d46fc7f43ea4f9e914107",
    ),
    "flux/detection-r34": _analyst(
        "PekingU/rtdetr_v2_r34vd",
        "flux/detection-r34",
        "Apache-2.0",
        126_000_000,
        "detection (profile.detection=flux/detection-r34)",
        "5d60d8fb5eb2a3ee5575bf200ecbce4e2cfa420c",
    ),
    "flux/detection-r101": _analyst(
        "PekingU/rtdetr_v2_r101vd",
        "flux/detection-r101",
        "Apache-2.0",
        308_000_000,
        "detection, the largest (profile.detection=flux/detection-r101)",
    ),
}
"""YOLO11 is not among them: it is under the AGPL-3.0 and comes with `pip install ultralytics`; a user who accepts that
gives its weights file as profile.detection=yolo11n.pt."""
