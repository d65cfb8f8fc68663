"""The proof of the export: another process, in which mmcl cannot be imported, gets the same embeddings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmcl.embedder import ModelEmbedder
from mmcl.export import MIN_COSINE
from mmcl.export.forms import form_of, write_form
from mmcl.export.to_open_clip import as_open_clip_crops
from mmcl.model import build_model
from mmcl.recipe_model import ModelConfig
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, lone_image, lone_text, pair, scramble

NOTHING = np.zeros((0, 1), dtype=np.float32)
READER = Path(__file__).with_name("reader.py")
TEXTS = ["alpha", "a greek letter " * 20, "one two black white knight", "no word that is known"]
WAYS = {
    "clip": ["transformers", "sentence_transformers"],
    "siglip": ["transformers", "sentence_transformers"],
    "chinese_clip": ["transformers", "sentence_transformers"],
    "timm-clip": ["transformers", "sentence_transformers"],
    "convnext-bert-pooler": ["transformers", "sentence_transformers"],
    "vit-bert-mean": ["towers", "sentence_transformers"],
    "convnext-roberta-cls": ["sentence_transformers"],
    "vit-bert-max": ["sentence_transformers"],
    "clip-gpt2-last": ["sentence_transformers"],
    "resnet-bert": ["sentence_transformers"],
    "open_clip": ["open_clip"],
    "clip-to-open_clip": ["open_clip"],
    "lone-vit-mean": ["image_encoder", "sentence_transformers_of_pictures"],
    "lone-vit-pooler": ["sentence_transformers_of_pictures"],
    "lone-dinov2-cls": ["sentence_transformers_of_pictures"],
    "lone-convnext-mean": ["sentence_transformers_of_pictures"],
    "lone-resnet": ["sentence_transformers_of_pictures"],
    "lone-timm": ["sentence_transformers_of_pictures"],
    "lone-clip-vision": ["sentence_transformers_of_pictures"],
    "lone-bert-cls": ["text_encoder", "sentence_transformers_of_texts"],
    "lone-bert-max": ["sentence_transformers_of_texts"],
    "lone-bert-head": ["sentence_transformers_of_texts"],
    "lone-bert-pooler": ["sentence_transformers_of_texts"],
    "lone-roberta": ["sentence_transformers_of_texts"],
    "lone-gpt2-last": ["sentence_transformers_of_texts"],
    "lone-clip-text": ["sentence_transformers_of_texts"],
    "static": ["sentence_transformers_of_texts"],
    "vit-bert-prompts": ["sentence_transformers_of_queries"],
    "lone-bert-prompts": ["sentence_transformers_of_queries"],
    "static-prompts": ["sentence_transformers_of_queries"],
}
PROMPTS = {"prompts": {"query": "one black ", "document": "two "}}


def configs(tokenizer: str, open_clip_name: str) -> dict[str, ModelConfig]:
    return {
        "clip": joint("clip", tokenizer),
        "siglip": joint("siglip", tokenizer),
        "chinese_clip": joint("chinese_clip", tokenizer),
        "timm-clip": pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer, {"image_mean": (0.2, 0.5, 0.7)}),
        "convnext-bert-pooler": pair(tiny.CONVNEXT, tiny.BERT, tokenizer, None, {"pooling": "pooler"}),
        "vit-bert-mean": pair(tiny.VIT, tiny.BERT, tokenizer, {"image_std": (0.2, 0.3, 0.4)}),
        "convnext-roberta-cls": pair(tiny.CONVNEXT, tiny.ROBERTA, tokenizer, None, {"pooling": "cls"}),
        "vit-bert-max": pair(tiny.VIT, tiny.BERT, tokenizer, None, {"pooling": "max"}),
        "clip-gpt2-last": pair(tiny.CLIP_VISION, tiny.GPT2, tokenizer, {"pooling": "cls"}, {"pooling": "last"}),
        "resnet-bert": pair(tiny.RESNET, tiny.BERT, tokenizer, None, {"max_length": 7}),
        "clip-to-open_clip": joint("clip", tokenizer),
        "open_clip": ModelConfig(name=open_clip_name, pretrained=False),
        "lone-vit-mean": lone_image(tiny.VIT, image_std=(0.2, 0.3, 0.4)),
        "lone-vit-pooler": lone_image(tiny.VIT, pooling="pooler"),
        "lone-dinov2-cls": lone_image(tiny.DINOV2, pooling="cls"),
        "lone-convnext-mean": lone_image(tiny.CONVNEXT, pooling="mean"),
        "lone-resnet": lone_image(tiny.RESNET),
        "lone-timm": lone_image(tiny.TIMM_RESNET, image_mean=(0.2, 0.5, 0.7)),
        "lone-clip-vision": lone_image(tiny.CLIP_VISION),
        "lone-bert-cls": lone_text(tiny.BERT, tokenizer, pooling="cls", max_length=7),
        "lone-bert-max": lone_text(tiny.BERT, tokenizer, pooling="max"),
        "lone-bert-head": lone_text(tiny.BERT, tokenizer, pooling="cls"),
        "lone-bert-pooler": lone_text(tiny.BERT, tokenizer, pooling="pooler"),
        "lone-roberta": lone_text(tiny.ROBERTA, tokenizer, pooling="mean"),
        "lone-gpt2-last": lone_text(tiny.GPT2, tokenizer, pooling="last"),
        "lone-clip-text": lone_text(tiny.CLIP_TEXT, tokenizer),
        "static": lone_text(tiny.STATIC, tokenizer, max_length=9),
        "vit-bert-prompts": pair(tiny.VIT, tiny.BERT, tokenizer, **PROMPTS),
        "lone-bert-prompts": lone_text(tiny.BERT, tokenizer, pooling="mean").model_copy(update=PROMPTS),
        "static-prompts": lone_text(tiny.STATIC, tokenizer).model_copy(update=PROMPTS),
    }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    random = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    colours = ([250, 20, 20], [20, 250, 60], [10, 40, 250], [230, 230, 230])
    for (height, width), colour in zip(((33, 57), (101, 64), (32, 32), (7, 19)), colours, strict=True):
        paths.append(str(folder / f"{height}.png"))
        noise = random.integers(-90, 90, (height, width, 3))
        Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def cosines(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: str, open_clip_name: str, pictures: list[str]
) -> dict[tuple[str, str], float]:
    """Smallest cosine of every model opened in every way, between here and a process without mmcl."""
    folder = tmp_path_factory.mktemp("exports")
    expected, jobs = {}, []
    for name, config in configs(tokenizer, open_clip_name).items():
        model = build_model(config, seed=1)
        if name.endswith("-head"):
            model.keep_text_head()
        scramble(model)
        (folder / name).mkdir()
        if name.endswith("-to-open_clip"):
            model.preprocessing = as_open_clip_crops(model.preprocessing)
            write_form(model, folder / name, "open_clip")
        else:
            write_form(model, folder / name, form_of(model))
        embedder = ModelEmbedder(model, name)
        expected[name] = (
            embedder.encode_images(pictures) if model.has_image_tower and not model.prompts.texts else NOTHING,
            embedder.encode_texts(TEXTS, "query" if model.prompts.texts else None) if model.has_text_tower else NOTHING,
        )
        nearest = max(float((rows @ rows.T - 2 * np.eye(len(rows))).max()) for rows in expected[name] if len(rows))
        assert nearest < 0.999, f"rows of {name} must differ to prove anything"
        padding = "max_length" if model.tokenizer is not None and model.tokenizer.pads_to_max_length else True
        jobs += [(name, str(folder / name), way, padding) for way in WAYS[name]]
    (folder / "jobs.json").write_text(json.dumps({"jobs": jobs, "pictures": pictures, "texts": TEXTS}))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-I", "-W", "ignore", str(READER), str(folder / "jobs.json")]
    # An empty folder, so that nothing of the repository lies in the path.
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr[-3000:]
    found = {}
    for name, _, way, _ in jobs:
        with np.load(folder / f"{name}-{way}.npz") as rows:
            pairs = [(rows["images"], expected[name][0]), (rows["texts"], expected[name][1])]
            assert all(len(one) == len(two) for one, two in pairs)
            found[name, way] = min(cosine(one, two) for one, two in pairs if len(two))
    return found


def cosine(rows: np.ndarray, reference: np.ndarray) -> float:
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(reference, axis=1)
    return float(((rows * reference).sum(axis=1) / norms).min())


@pytest.mark.parametrize(("name", "way"), [(name, way) for name, ways in WAYS.items() for way in ways])
def test_same_embeddings_without_mmcl(cosines: dict[tuple[str, str], float], name: str, way: str) -> None:
    assert cosines[name, way] >= MIN_COSINE


def test_the_reader_really_has_no_mmcl() -> None:
    code = READER.read_text().split("import numpy")[0] + "\nimport mmcl"
    process = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert "import of mmcl halted" in process.stderr
