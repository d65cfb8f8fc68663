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
from mmcl.model import build_model
from mmcl.recipe_model import ModelConfig
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, pair, scramble

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
    "clip-gpt2-last": ["sentence_transformers"],
    "resnet-bert": ["sentence_transformers"],
    "open_clip": ["open_clip"],
}


def configs(tokenizer: str, open_clip_name: str) -> dict[str, ModelConfig]:
    return {
        "clip": joint("clip", tokenizer),
        "siglip": joint("siglip", tokenizer),
        "chinese_clip": joint("chinese_clip", tokenizer),
        "timm-clip": pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer, {"image_mean": (0.2, 0.5, 0.7)}),
        "convnext-bert-pooler": pair(tiny.CONVNEXT, tiny.BERT, tokenizer, None, {"pooling": "pooler"}),
        "vit-bert-mean": pair(tiny.VIT, tiny.BERT, tokenizer, {"image_std": (0.2, 0.3, 0.4)}),
        "convnext-roberta-cls": pair(tiny.CONVNEXT, tiny.ROBERTA, tokenizer, None, {"pooling": "cls"}),
        "clip-gpt2-last": pair(tiny.CLIP_VISION, tiny.GPT2, tokenizer, {"pooling": "cls"}, {"pooling": "last"}),
        "resnet-bert": pair(tiny.RESNET, tiny.BERT, tokenizer, None, {"max_length": 7}),
        "open_clip": ModelConfig(name=open_clip_name, pretrained=False),
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
        scramble(model)
        (folder / name).mkdir()
        write_form(model, folder / name, form_of(model))
        embedder = ModelEmbedder(model, name)
        expected[name] = (embedder.encode_images(pictures), embedder.encode_texts(TEXTS))
        nearest = max(float((rows @ rows.T - 2 * np.eye(len(rows))).max()) for rows in expected[name])
        assert nearest < 0.999, f"rows of {name} must differ to prove anything"
        padding = "max_length" if model.tokenizer.pads_to_max_length else True
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
            found[name, way] = min(cosine(one, two) for one, two in pairs)
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
