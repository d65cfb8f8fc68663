from __future__ import annotations

from pathlib import Path

import pytest

from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from mmcl.recipe_model import ModelConfig
from mmcl.towers.tokenizer_of import tokenizer_of
from tests.tiny import bert_alone, resnet_pair, save_tokenizer, vit_bert_pair
from tests.towers.tiny_configs import DINOV2, lone_image

LONG, SHORT = "a " * 40, "a " * 30


@pytest.fixture
def words(tmp_path: Path) -> str:
    return save_tokenizer(tmp_path / "words")


def _joint(words: str, **fields: int) -> ModelConfig:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    parts = {
        "vision_config": {**sizes, "image_size": 16, "patch_size": 8},
        "text_config": {**sizes, "max_position_embeddings": 32, **fields},
    }
    return ModelConfig(config={"model_type": "clip", "projection_dim": 8, **parts}, tokenizer=words)


@pytest.mark.parametrize("make", [resnet_pair, vit_bert_pair, bert_alone, _joint])
def test_it_cuts_what_the_built_model_cuts(words: str, make: type) -> None:
    config = make(words)
    alone, built = tokenizer_of(config), build_model(config).tokenizer
    assert alone is not None
    assert built is not None
    assert alone.max_length == built.max_length == 32
    assert alone.count_too_long([LONG, SHORT]) == built.count_too_long([LONG, SHORT]) == 1


def test_the_model_may_allow_less_than_the_tokenizer(words: str) -> None:
    tokenizer = tokenizer_of(_joint(words, max_position_embeddings=16))
    assert tokenizer is not None
    assert tokenizer.max_length == 16


def test_the_recipes_own_limit_counts(words: str) -> None:
    config = ModelConfig.model_validate({"text": {**bert_alone(words).model_dump()["text"], "max_length": 7}})
    tokenizer = tokenizer_of(config)
    assert tokenizer is not None
    assert tokenizer.max_length == 7


def test_a_run_has_the_tokenizer_it_was_trained_with(words: str, tmp_path: Path) -> None:
    for name, config in (("pair", vit_bert_pair(words)), ("text", bert_alone(words))):
        export_model(build_model(config), tmp_path / name / "model", ModelCardFacts("x"))
    pair = tokenizer_of(ModelConfig(name=str(tmp_path / "pair")))
    text = tokenizer_of(ModelConfig.model_validate({"text": str(tmp_path / "text")}))
    assert pair is not None
    assert text is not None
    assert pair.max_length == text.max_length == 32


def test_open_clip_needs_no_weights() -> None:
    tokenizer = tokenizer_of(ModelConfig(name="ViT-B-32,openai"))
    assert tokenizer is not None
    assert tokenizer.max_length == 77
    assert tokenizer.count_too_long(["a " * 75, "a " * 76]) == 1


def test_a_model_of_pictures_has_none() -> None:
    assert tokenizer_of(lone_image(DINOV2)) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [("nobody/nothing", 'cannot load "nobody/nothing"'), ("ViT-B-3,openai", 'Did you mean "ViT-B-32"')],
)
def test_a_model_that_cannot_be_had_is_an_error(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tokenizer_of(ModelConfig(name=name))
