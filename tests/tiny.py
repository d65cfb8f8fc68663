"""The smallest things that are real: a tokenizer, a pair of towers, a batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from mmcl.batch import PairBatch, TokenBatch
from mmcl.recipe import Recipe
from mmcl.recipe_model import ModelConfig
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = "a greek letter alpha beta small capital digit one two black white knight arrow".split()  # noqa: SIM905
SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[EOS]"]


def save_tokenizer(folder: Path) -> str:
    """Save a word-level tokenizer for `WORDS`; its end token is not id 2, which CLIP text models would misread."""
    vocabulary = {word: index for index, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token="[EOS]",
        cls_token="[BOS]",
        sep_token="[EOS]",
        model_max_length=32,
    ).save_pretrained(folder)
    return str(folder)


def clip_text_config(**fields: Any) -> dict[str, Any]:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return {"model_type": "clip_text_model", "max_position_embeddings": 32, **sizes, **fields}


def resnet_pair(tokenizer: str, **fields: Any) -> ModelConfig:
    """A timm ResNet, batch norms and all, with a CLIP text model."""
    image = {"config": {"model_type": "timm_wrapper", "architecture": "test_resnet"}, "image_size": 32}
    text = {"config": clip_text_config(), "tokenizer": tokenizer}
    return ModelConfig.model_validate({"image": image, "text": text, "embedding_dim": 8, **fields})


def vit_bert_pair(tokenizer: str, dropout: float = 0.0, **fields: Any) -> ModelConfig:
    """A ViT with a BERT, pooled by the mean."""
    dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    image = {"config": {"model_type": "vit", "image_size": 16, "patch_size": 8, **sizes, **dropouts}, "image_size": 16}
    text = {"config": {"model_type": "bert", **sizes, **dropouts}, "tokenizer": tokenizer, "pooling": "mean"}
    return ModelConfig.model_validate({"image": image, "text": text, "embedding_dim": 8, **fields})


def bert_alone(tokenizer: str, dropout: float = 0.0) -> ModelConfig:
    """A text tower without a picture tower."""
    text = vit_bert_pair(tokenizer, dropout).text
    assert text is not None
    return ModelConfig.model_validate({"text": text.model_dump()})


def random_batch(
    num_rows: int,
    image_size: int,
    seed: int = 0,
    num_groups: int | None = None,
    image_views: int = 1,
    text_views: int = 1,
    num_classes: int = 0,
    longest_text: int = 7,
) -> PairBatch:
    """Random pictures and token ids; texts of different lengths; ``num_groups`` shared groups, by default none.

    With ``num_classes`` every row has a label but each fourth.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = torch.arange(num_rows) if num_groups is None else torch.arange(num_rows) % num_groups
    pictures = [_random_pictures(num_rows, image_size, generator) for _ in range(image_views)]
    texts = [random_texts(num_rows, generator, longest_text) for _ in range(text_views)]
    labels = None
    if num_classes:
        labels = torch.arange(num_rows) % num_classes
        labels[3::4] = -1
    return PairBatch(tuple(pictures), tuple(texts), groups, torch.arange(num_rows), labels)


def _random_pictures(num_rows: int, image_size: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 256, (num_rows, 3, image_size, image_size), dtype=torch.uint8, generator=generator)


def random_texts(num_rows: int, generator: torch.Generator, longest: int = 7) -> TokenBatch:
    """Token ids of texts of 3 tokens to ``longest``, and a column of padding."""
    lengths = torch.randint(3, longest + 1, (num_rows, 1), generator=generator)
    mask = (torch.arange(longest + 1) < lengths).long()
    ids = torch.randint(len(SPECIAL), len(SPECIAL) + len(WORDS), (num_rows, longest + 1), generator=generator)
    return TokenBatch(ids.scatter(1, lengths - 1, 3) * mask, mask)


def without_some(batch: PairBatch) -> PairBatch:
    """The batch of a partly paired source: each third row has no picture, each third no text."""
    rows = torch.arange(len(batch))
    with_picture, with_text = rows[rows % 3 != 0], rows[rows % 3 != 1]
    return replace(
        batch,
        images=tuple(view[with_picture] for view in batch.images),
        texts=tuple(TokenBatch(view.input_ids[with_text], view.attention_mask[with_text]) for view in batch.texts),
        image_rows=with_picture,
        text_rows=tuple(with_text for _ in batch.texts),
    )


def save_pairs(folder: Path, num_rows: int = 60, num_groups: int = 40) -> Path:
    """Save small coloured pictures and ``pairs.csv`` with columns image, text, group and label."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,text,group,label"]
    for row in range(num_rows):
        group = row % num_groups
        colour = (37 * group % 256, 91 * group % 256, 53 * group % 256)
        picture = Image.new("RGB", (20, 18), colour)
        picture.putpixel((row % 20, row % 18), (255, 255, 255))
        picture.save(folder / f"{row}.png")
        words = " ".join(WORDS[(group * 3 + offset * 5) % len(WORDS)] for offset in range(2 + group % 3))
        lines.append(f"{row}.png,{words},{group},{WORDS[group % 3]}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder / "pairs.csv"


def tiny_recipe(folder: Path, **fields: Any) -> Recipe:
    """A recipe with everything that has state: batch norm, dropout, augmentation, an average of the weights."""
    tokenizer = save_tokenizer(folder / "tokenizer")
    text = {"config": clip_text_config(attention_dropout=0.2), "tokenizer": tokenizer}
    image = {"config": {"model_type": "timm_wrapper", "architecture": "test_resnet"}, "image_size": 32}
    return Recipe.model_validate(
        {
            "name": "tiny",
            "model": {"image": image, "text": text, "embedding_dim": 8},
            "data": {
                "train": str(save_pairs(folder / "data")),
                "validation": 0.2,
                "image_views": [{"random_resized_crop": [0.5, 1.0], "horizontal_flip": 0.5}],
            },
            "batch_size": 4,
            "max_steps": 6,
            "lr": 1e-2,
            "ema": 0.9,
            "log_every": 1,
            "output_dir": str(folder / "runs"),
            **fields,
        }
    )
