"""Grounding DINO and SAM at toy size with random weights, in the layout that transformers saves."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    PreTrainedTokenizerFast,
    SamConfig,
    SamImageProcessor,
    SamMaskDecoderConfig,
    SamModel,
    SamProcessor,
    SamPromptEncoderConfig,
    SamVisionConfig,
    SwinConfig,
)

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "car", "tree", "?")


def build(folder: Path) -> None:
    """Write `detector` and `masker` below *folder*."""
    torch.manual_seed(0)
    heads: dict[str, Any] = {"num_hidden_layers": 1, "num_attention_heads": 2}
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")}
    tokens = PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=32, **special)
    swin: Any = SwinConfig
    detector: Any = GroundingDinoForObjectDetection(
        GroundingDinoConfig(
            backbone_config=swin(
                image_size=32, embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=2, out_indices=[2, 3, 4]
            ),
            text_config=BertConfig(
                vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, max_position_embeddings=32, **heads
            ),
            d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=5, max_text_len=16,
        )
    )  # fmt: skip
    detector.save_pretrained(folder / "detector")
    sight: Any = GroundingDinoImageProcessor(size={"shortest_edge": 96, "longest_edge": 128})
    reading: Any = GroundingDinoProcessor(sight, tokens)
    reading.save_pretrained(folder / "detector")
    vision: Any = SamVisionConfig(
        hidden_size=16, output_channels=8, image_size=64, mlp_dim=16, global_attn_indexes=[0], window_size=2,
        num_pos_feats=4, **heads,
    )  # fmt: skip
    prompts: Any = SamPromptEncoderConfig(hidden_size=8, image_size=64, mask_input_channels=4)
    decoder: Any = SamMaskDecoderConfig(
        hidden_size=8, mlp_dim=16, iou_head_hidden_dim=8, iou_head_depth=2, **heads
    )
    masker: Any = SamModel(
        SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    )
    masker.save_pretrained(folder / "masker")
    size = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    small = {"mask_size": {"longest_edge": 16}, "mask_pad_size": {"height": 16, "width": 16}}
    sam: Any = SamImageProcessor
    points: Any = SamProcessor(sam(**size, **small))
    points.save_pretrained(folder / "masker")
