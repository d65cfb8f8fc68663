"""A table of token vectors as a text tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import lone_text, pair

# Of the word-level tokenizer of these tests: a greek letter alpha beta ..., after four special tokens.
A, GREEK, ALPHA, UNKNOWN = 4, 5, 7, 1


@pytest.fixture
def model(tokenizer: str) -> TwoTower:
    return build_model(lone_text(tiny.STATIC, tokenizer))


def test_a_text_is_the_mean_of_its_tokens_without_special_ones_and_padding(model: TwoTower) -> None:
    weight = model.towers.embedding.weight
    assert weight.shape == (18, 6)
    features = model.encode_text(model.tokenizer(["a greek alpha", "alpha", "a what"])).features
    expected = [weight[[A, GREEK, ALPHA]].mean(0), weight[ALPHA], weight[[A, UNKNOWN]].mean(0)]
    torch.testing.assert_close(features, torch.stack(expected))


def test_a_text_without_tokens_is_zero(model: TwoTower) -> None:
    for texts, rows in ((["", "alpha"], 2), ([""], 1)):
        tokens = model.tokenizer(texts)
        assert tokens.input_ids.shape == (rows, 1)
        assert tokens.attention_mask[0].sum() == 0
        assert not model.encode_text(tokens).embeddings[0].any()


def test_long_texts_are_cut_and_counted(tokenizer: str) -> None:
    model = build_model(lone_text(tiny.STATIC, tokenizer, max_length=3))
    assert model.tokenizer(["alpha " * 5]).input_ids.tolist() == [[ALPHA] * 3]
    assert model.tokenizer.count_too_long(["alpha " * 3, "alpha " * 4, ""]) == 1


def test_vectors_start_as_word2vecs_do(model: TwoTower) -> None:
    weight = model.towers.embedding.weight
    assert weight.abs().max() <= 0.5 / 6
    assert weight.abs().max() > 0.4 / 6
    assert weight.requires_grad


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        ({"model_type": "static"}, {}, "embedding_dim must be a whole number above 0, got None"),
        ({"model_type": "static", "embedding_dim": 0}, {}, "embedding_dim must be a whole number above 0, got 0"),
        ({"model_type": "static", "embedding_dim": "6"}, {}, "embedding_dim must be a whole number above 0, got 6"),
        ({**tiny.STATIC, "embeding_dim": 6}, {}, 'static has no "embeding_dim". Did you mean "embedding_dim"'),
        (tiny.STATIC, {"pooling": "cls"}, "text.pooling of a static tower must be auto or mean, got cls"),
    ],
)
def test_mistakes_are_refused(tokenizer: str, config: dict[str, Any], fields: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model(lone_text(config, tokenizer, **fields))


def test_it_stands_alone(tokenizer: str, tmp_path: Path, model: TwoTower) -> None:
    with pytest.raises(UserError, match="a static text tower is a table of token vectors, which stands alone"):
        build_model(pair(tiny.VIT, tiny.STATIC, tokenizer))
    export_model(model, tmp_path / "model", ModelCardFacts("x"))
    image = {"config": tiny.VIT, "image_size": 32}
    with pytest.raises(UserError, match="is a table of token vectors, which stands alone"):
        build_model(ModelConfig.model_validate({"image": image, "text": str(tmp_path)}))
    with pytest.raises(UserError, match="the model has no image tower"):
        model.encode_image(torch.zeros(1, 3, 8, 8))
    with pytest.raises(UserError, match=r"a kept head .* needs a transformers text model alone"):
        model.keep_text_head()


def test_a_run_is_taken_as_it_is_or_its_shape_alone(tokenizer: str, tmp_path: Path, model: TwoTower) -> None:
    with torch.no_grad():
        model.towers.embedding.weight.normal_()
    export_model(model, tmp_path / "model", ModelCardFacts("x"))
    again = build_model(ModelConfig.model_validate({"text": str(tmp_path)}))
    assert torch.equal(again.towers.embedding.weight, model.towers.embedding.weight)
    assert again.logit_scale().item() == pytest.approx(1 / 0.07)
    fresh = build_model(ModelConfig.model_validate({"text": {"name": str(tmp_path), "pretrained": False}}))
    assert fresh.towers.embedding.weight.shape == (18, 6)
    assert fresh.towers.embedding.weight.abs().max() <= 0.5 / 6
