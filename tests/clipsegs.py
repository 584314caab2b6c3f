"""CLIPSeg at toy size with random weights, in the layout that transformers saves."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, ViTImageProcessor

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def build(folder: Path) -> None:
    """Write the model and its processor to *folder*, the words as they are published: `vocab.json`, `merges.txt`."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "ca", "car</w>", *SPECIAL]
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca r</w>\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 16})
    )
    start, end = len(words) - 2, len(words) - 1
    heads: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = CLIPSegConfig(
        text_config={
            "vocab_size": len(words), "num_hidden_layers": 1, "max_position_embeddings": 16, "pad_token_id": end,
            "bos_token_id": start, "eos_token_id": end, **heads,
        },
        vision_config={"num_hidden_layers": 3, "image_size": 32, "patch_size": 8, **heads},
        projection_dim=12, reduce_dim=8, extract_layers=[0, 1, 2], decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )  # fmt: skip
    model: Any = CLIPSegForImageSegmentation(config)
    for weight in model.decoder.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder)
    sight: Any = ViTImageProcessor(size={"height": 32, "width": 32})
    sight.save_pretrained(folder)
