from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from mmcl.batch import PairBatch
from mmcl.embedder import ModelEmbedder
from mmcl.model import TwoTower, build_model
from mmcl.objectives.teacher import Teacher
from mmcl.recipe_model import ModelConfig
from mmcl.text.prompts import Prompts
from tests.tiny import bert_alone, save_tokenizer, vit_bert_pair
from tests.towers import sentence_models

TEXTS = ["a small knight", "black arrow two", "beta"]
OTHER_MEAN = (0.1, 0.2, 0.3)


def other(tokenizer: str, image_size: int, max_length: int) -> ModelConfig:
    """A pair of other sizes, mean and longest text."""
    config = vit_bert_pair(tokenizer).model_dump()
    config["image"] |= {"image_size": image_size, "image_mean": OTHER_MEAN}
    config["image"]["config"]["image_size"] = image_size
    config["text"]["max_length"] = max_length
    return ModelConfig.model_validate(config)


def batch_for(student: TwoTower, texts: list[str]) -> PairBatch:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (len(texts), 3, 16, 16), dtype=torch.uint8, generator=generator)
    assert student.tokenizer is not None
    ids = torch.arange(len(texts))
    return PairBatch((pixels,), (replace(student.tokenizer(texts), strings=tuple(texts)),), ids, ids)


@pytest.fixture
def student(tokenizer: str) -> TwoTower:
    return build_model(vit_bert_pair(tokenizer))


def test_texts_are_cut_into_its_own_tokens(student: TwoTower, tmp_path: Path) -> None:
    folder = Path(save_tokenizer(tmp_path / "words"))
    file = folder / "tokenizer.json"
    # The same words by other numbers: the student's ids would mean something else.
    file.write_text(file.read_text().replace('"knight": 16', '"kn": 16').replace('"arrow": 17', '"knight": 17'))
    model = build_model(other(str(folder), 16, 5), seed=1)
    teacher = Teacher(model, student)
    batch = batch_for(student, TEXTS)
    expected = ModelEmbedder(model, "teacher").encode_texts(TEXTS)
    found = teacher.encode(batch, "text.0")
    torch.testing.assert_close(found, torch.from_numpy(expected))
    wrong = model.encode_text(batch.texts[0]).embeddings
    assert not torch.allclose(found, wrong, atol=1e-3)


def test_of_a_tokenizer_that_is_the_same_the_tokens_are_shared(student: TwoTower, tokenizer: str) -> None:
    assert Teacher(build_model(vit_bert_pair(tokenizer), seed=1), student).shares_tokens
    assert not Teacher(build_model(other(tokenizer, 16, 5), seed=1), student).shares_tokens


def test_texts_go_behind_its_own_default_prompt(student: TwoTower, tokenizer: str) -> None:
    model = build_model(vit_bert_pair(tokenizer), seed=1)
    assert model.tokenizer is not None
    model.tokenizer.prompts = Prompts({"query": "black "}, default="query")
    found = Teacher(model, student).encode(batch_for(student, TEXTS), "text.0")
    torch.testing.assert_close(found, torch.from_numpy(ModelEmbedder(model, "teacher").encode_texts(TEXTS)))


def test_pictures_are_scaled_to_its_size_and_normalised_by_its_mean(student: TwoTower, tokenizer: str) -> None:
    model = build_model(other(tokenizer, 32, 32), seed=1)
    batch = batch_for(student, TEXTS)
    pictures = [Image.fromarray(pixels.permute(1, 2, 0).numpy()) for pixels in batch.images[0]]
    expected = torch.from_numpy(ModelEmbedder(model, "teacher").encode_images(pictures))
    found = Teacher(model, student).encode(batch, "image.0")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-2)  # two ways to resize, a level or two apart
    same_mean = ModelConfig.model_validate(vit_bert_pair(tokenizer).model_dump())
    unlike = build_model(same_mean, seed=1).eval().encode_image(batch.images[0]).embeddings
    assert not torch.allclose(found, unlike, atol=1e-2)


def test_of_no_rows_it_makes_none(student: TwoTower, tokenizer: str) -> None:
    teacher = Teacher(build_model(vit_bert_pair(tokenizer), seed=1), student)
    batch = batch_for(student, TEXTS).part(0, 0)
    assert teacher.encode(batch, "image.0").shape == teacher.encode(batch, "text.0").shape == (0, 8)


def test_it_follows_the_students_precision(student: TwoTower, tokenizer: str) -> None:
    teacher = Teacher(build_model(vit_bert_pair(tokenizer), seed=1), student)
    teacher.follow(student.double())
    assert teacher.encode(batch_for(student, TEXTS), "image.0").dtype == torch.float64


def test_a_model_of_sentence_transformers_teaches_texts_alone(tokenizer: str, tmp_path: Path) -> None:
    peer, student = sentence_models.save(tmp_path, tokenizer, "cls"), build_model(bert_alone(tokenizer))
    expected = peer.encode(TEXTS, normalize_embeddings=True)
    teacher = Teacher.of(str(tmp_path / "model"), student)
    torch.testing.assert_close(teacher.encode(batch_for(student, TEXTS), "text.0"), torch.from_numpy(expected))
