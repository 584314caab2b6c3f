"""Toy analysis models: random weights of the real classes, saved in the real layout."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
    GLPNConfig,
    GLPNForDepthEstimation,
    GLPNImageProcessor,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessor,
    ResNetConfig,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
    SegformerImageProcessor,
    SwinConfig,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)
from transformers.utils import logging

NAMES = ("sky", "road", "car")
THINGS = ("rock", "lander")
SIZE = {"height": 48, "width": 64}


def _labels(names):
    return {"id2label": dict(enumerate(names)), "label2id": {name: at for at, name in enumerate(names)}}


def _config(kind: Any, **fields: Any) -> Any:
    """Return *kind* of *fields*, some of which its signature hides from type checkers."""
    return kind(**fields)


def _save(folder, model, processor):
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def upernet(folder: Path, names=NAMES, seed=0, **settings) -> Path:
    torch.manual_seed(seed)
    backbone = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    backbone.out_features = ["stage1", "stage2"]
    config = UperNetConfig(
        backbone_config=backbone,
        hidden_size=8,
        pool_scales=[1, 2],
        use_auxiliary_head=False,
        **_labels(names),
    )
    for key, value in settings.items():
        setattr(config, key, value)
    model = UperNetForSemanticSegmentation(config)
    with torch.no_grad():  # so that pictures differ in what is found in them
        classifier = model.decode_head.classifier
        classifier.bias.zero_()
        classifier.weight.normal_()
        classifier.weight -= classifier.weight.mean(1, keepdim=True)
    return _save(folder, model, SegformerImageProcessor(size=SIZE))


def mask2former(folder: Path, names=NAMES) -> Path:
    torch.manual_seed(1)
    swin = _config(
        SwinConfig, image_size=32, patch_size=4, embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=swin, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=16, num_queries=6,
        **_labels(names),
    )  # fmt: skip
    return _save(folder, Mask2FormerForUniversalSegmentation(config), Mask2FormerImageProcessor(size=SIZE))


def glpn(folder: Path) -> Path:
    torch.manual_seed(2)
    config = _config(
        GLPNConfig, num_encoder_blocks=2, depths=[1, 1], hidden_sizes=[8, 16], num_attention_heads=[1, 2], sr_ratios=[4, 2],
        patch_sizes=[7, 3], strides=[4, 2], mlp_ratios=[2, 2], decoder_hidden_size=16, out_indices=[0, 1],
        max_depth=80,
    )  # fmt: skip
    return _save(folder, GLPNForDepthEstimation(config), GLPNImageProcessor(size_divisor=8))


def depth_anything(folder: Path, kind="relative") -> Path:
    torch.manual_seed(3)
    backbone = _config(
        Dinov2Config, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=2,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, patch_size=14, neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8, head_hidden_size=8, depth_estimation_type=kind, max_depth=60,
    )  # fmt: skip
    model = DepthAnythingForDepthEstimation(config)
    with torch.no_grad():  # or the last ReLU leaves nothing
        model.head.conv3.bias.fill_(1.0)
        model.head.conv3.weight.normal_(std=0.5)
    size = {"height": 56, "width": 70}
    processor = DPTImageProcessor(size=size, ensure_multiple_of=14, keep_aspect_ratio=True)
    return _save(folder, model, processor)


def rtdetr(folder: Path, names=THINGS) -> Path:
    torch.manual_seed(4)
    backbone = _config(
        RTDetrResNetConfig, embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = RTDetrV2Config(
        backbone_config=backbone, encoder_hidden_dim=16, encoder_in_channels=[8, 16, 16], encoder_ffn_dim=16,
        encoder_attention_heads=2, d_model=16, num_queries=20, decoder_in_channels=[16] * 3, decoder_ffn_dim=16,
        decoder_layers=2, decoder_attention_heads=2, decoder_n_points=2, num_denoising=0, **_labels(names),
    )  # fmt: skip
    processor = RTDetrImageProcessor(size={"height": 64, "width": 64})
    return _save(folder, RTDetrV2ForObjectDetection(config), processor)


def fcos(folder: Path, names=THINGS) -> Path:
    from link.analysis.fcos import FcosDetector

    torch.manual_seed(5)
    model = FcosDetector(list(names), [64, 48], sizes=[8, 16], depths=[1, 1], features=32)
    with torch.no_grad():  # torchvision starts at a probability of 0.01, under its own threshold
        for name, weights in model.named_parameters():
            if "cls_logits" in name:
                weights.normal_(std=0.3) if weights.ndim > 1 else weights.zero_()
    model.save_pretrained(folder)
    return folder
